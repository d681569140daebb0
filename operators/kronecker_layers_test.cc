// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_layers.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

// A layer with a bias, one without, and a scale.
struct Example {
  std::shared_ptr<const Model> model;
  AffineLayers layers;
};

Example MakeExample() {
  std::vector<NamedParameter> parameters;
  for (const char* name : {"fc.weight", "fc.bias", "scale", "table"}) {
    parameters.push_back({name, ParameterLike(at::ones({6}))});
  }
  const auto forward = [](const std::vector<at::Tensor>& x) { return x[0]; };
  return {std::make_shared<FunctionModel>(parameters, forward),
          {{{0, 1, 1, 6, 1, false}, {3, std::nullopt, 1, 2, 3, true}},
           {"", "", "used by aten::mul", ""}}};
}

TEST(KroneckerLayersTest, NamesLayersAndWhatIsOutside) {
  const Example example = MakeExample();
  const KroneckerLayers found = FindKroneckerLayers(
      *example.model, example.layers,
      ParameterBlocks::Create(*example.model, BlockStructure::kLayer));
  ASSERT_EQ(found.layers.size(), 2u);
  EXPECT_EQ(found.layers[0].name, "fc");
  EXPECT_EQ(found.layers[0].block, 0);
  EXPECT_TRUE(found.layers[0].has_bias());
  EXPECT_EQ(found.layers[0].num_inputs(), 2);
  EXPECT_EQ(found.layers[1].name, "table");
  EXPECT_EQ(found.layers[1].block, 1);
  EXPECT_FALSE(found.layers[1].has_bias());
  EXPECT_EQ(found.layers[1].num_inputs(), 3);
  ASSERT_EQ(found.uncovered.size(), 1u);
  EXPECT_EQ(found.uncovered[0].parameter, 2);
  EXPECT_EQ(found.uncovered[0].block, 1);
  EXPECT_EQ(UncoveredParametersText(*example.model, found.uncovered),
            "scale (used by aten::mul)");
}

TEST(KroneckerLayersTest, ABiasInAnotherBlockIsByItself) {
  const Example example = MakeExample();
  const KroneckerLayers found = FindKroneckerLayers(
      *example.model, example.layers,
      ParameterBlocks::Create(*example.model, BlockStructure::kParameter));
  ASSERT_EQ(found.layers.size(), 2u);
  EXPECT_FALSE(found.layers[0].has_bias());
  EXPECT_EQ(found.layers[0].num_inputs(), 1);
  ASSERT_EQ(found.uncovered.size(), 2u);
  EXPECT_EQ(UncoveredParametersText(*example.model, found.uncovered),
            "fc.bias (not in the block of fc.weight), scale (used by "
            "aten::mul)");
}

TEST(KroneckerLayersTest, TakesTheParametersOfTheBlocksAlone) {
  const Example example = MakeExample();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ParameterBlocks blocks,
      ParameterBlocks::CreateCustom(
          *example.model, {{"late", {"table"}}, {"early", {"fc.weight"}}}));
  const KroneckerLayers found =
      FindKroneckerLayers(*example.model, example.layers, blocks);
  ASSERT_EQ(found.layers.size(), 2u);
  EXPECT_EQ(found.layers[0].name, "table");
  EXPECT_EQ(found.layers[0].block, 0);
  EXPECT_EQ(found.layers[1].name, "fc");
  EXPECT_FALSE(found.layers[1].has_bias());
  EXPECT_TRUE(found.uncovered.empty());
}

}  // namespace
}  // namespace influence
