// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/parameter_blocks.h"

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using testing::ElementsAre;

// Sizes 2, 6, 3, 4.
FunctionModel SmallModel(const std::vector<std::string>& names = {
                             "scale", "body.0.weight", "body.0.bias",
                             "head.weight"}) {
  const std::vector<std::vector<int64_t>> shapes = {{2}, {3, 2}, {3}, {2, 2}};
  std::vector<NamedParameter> parameters;
  for (size_t i = 0; i < shapes.size(); ++i) {
    parameters.push_back({names[i], ParameterLike(at::ones(shapes[i]))});
  }
  return FunctionModel(parameters,
                       [](const std::vector<at::Tensor>& x) { return x[0]; });
}

testing::Matcher<const ParameterBlock&> BlockIs(
    const std::string& name, const std::vector<int64_t>& parameters,
    int64_t size, int64_t offset) {
  return testing::AllOf(
      testing::Field("name", &ParameterBlock::name, name),
      testing::Field("parameters", &ParameterBlock::parameters, parameters),
      testing::Field("size", &ParameterBlock::size, size),
      testing::Field("offset", &ParameterBlock::offset, offset));
}

TEST(ParameterBlocksTest, StructuresHaveNames) {
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer,
        BlockStructure::kParameter}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const BlockStructure parsed,
        ParseBlockStructure(BlockStructureName(structure)));
    EXPECT_EQ(parsed, structure);
  }
  EXPECT_THAT(
      ParseBlockStructure("layers"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("block structure: found \"layers\", expected "
                           "one of full, layer, parameter")));
}

TEST(ParameterBlocksTest, FullIsOneBlock) {
  const ParameterBlocks blocks =
      ParameterBlocks::Create(SmallModel(), BlockStructure::kFull);
  EXPECT_THAT(blocks.blocks(),
              ElementsAre(BlockIs("full", {0, 1, 2, 3}, 15, 0)));
  EXPECT_EQ(blocks.size(), 15);
  EXPECT_THAT(blocks.parameters(), ElementsAre(0, 1, 2, 3));
}

TEST(ParameterBlocksTest, ALayerIsAModuleAndTheRootHasAName) {
  const ParameterBlocks blocks =
      ParameterBlocks::Create(SmallModel(), BlockStructure::kLayer);
  EXPECT_THAT(blocks.blocks(), ElementsAre(BlockIs("_root", {0}, 2, 0),
                                           BlockIs("body.0", {1, 2}, 9, 2),
                                           BlockIs("head", {3}, 4, 11)));
  EXPECT_THAT(blocks.parameters(), ElementsAre(0, 1, 2, 3));
}

TEST(ParameterBlocksTest, ALayerKeepsParametersThatStandApart) {
  const ParameterBlocks blocks = ParameterBlocks::Create(
      SmallModel({"scale", "body.weight", "shift", "head.weight"}),
      BlockStructure::kLayer);
  EXPECT_THAT(blocks.blocks(), ElementsAre(BlockIs("_root", {0, 2}, 5, 0),
                                           BlockIs("body", {1}, 6, 5),
                                           BlockIs("head", {3}, 4, 11)));
  EXPECT_THAT(blocks.parameters(), ElementsAre(0, 2, 1, 3));
}

TEST(ParameterBlocksTest, AParameterIsABlock) {
  const ParameterBlocks blocks =
      ParameterBlocks::Create(SmallModel(), BlockStructure::kParameter);
  EXPECT_THAT(blocks.blocks(), ElementsAre(BlockIs("scale", {0}, 2, 0),
                                           BlockIs("body.0.weight", {1}, 6, 2),
                                           BlockIs("body.0.bias", {2}, 3, 8),
                                           BlockIs("head.weight", {3}, 4, 11)));
}

TEST(ParameterBlocksTest, GroupsMayReorderAndLeaveOut) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ParameterBlocks blocks,
      ParameterBlocks::CreateCustom(
          SmallModel(),
          {{"last", {"head.weight", "scale"}}, {"first", {"body.0.weight"}}}));
  EXPECT_THAT(blocks.blocks(), ElementsAre(BlockIs("last", {3, 0}, 6, 0),
                                           BlockIs("first", {1}, 6, 6)));
  EXPECT_EQ(blocks.size(), 12);
  EXPECT_THAT(blocks.parameters(), ElementsAre(3, 0, 1));
}

TEST(ParameterBlocksTest, RefusesBadGroups) {
  const FunctionModel model = SmallModel();
  const auto error = [&model](const std::vector<ParameterGroup>& groups) {
    const auto blocks = ParameterBlocks::CreateCustom(model, groups);
    EXPECT_EQ(blocks.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(blocks.status().message());
  };
  EXPECT_EQ(error({}), "parameter groups: found none, expected at least one");
  EXPECT_EQ(error({{"a", {}}}),
            "parameter group \"a\": found no parameter, expected at least one");
  EXPECT_EQ(error({{"a", {"scale"}}, {"a", {"head.weight"}}}),
            "parameter group \"a\": found a second time, expected each once");
  EXPECT_EQ(
      error({{"a", {"tail.weight"}}}),
      "parameter group \"a\": found \"tail.weight\", expected a name of a "
      "trainable parameter of the model");
  EXPECT_EQ(
      error({{"a", {"scale"}}, {"b", {"head.weight", "scale"}}}),
      "parameter group \"b\": found \"scale\", which is already in \"a\", "
      "expected each parameter at most once");
}

TEST(ParameterBlocksTest, SplitsAlongTheLastDimension) {
  const ParameterBlocks blocks =
      ParameterBlocks::Create(SmallModel(), BlockStructure::kLayer);
  const at::Tensor flat = at::arange(30, at::kDouble).reshape({2, 15});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> parts,
                                 blocks.Split(flat));
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_THAT(parts[0], TensorNear(flat.slice(1, 0, 2), 0));
  EXPECT_THAT(parts[1], TensorNear(flat.slice(1, 2, 11), 0));
  EXPECT_THAT(parts[2], TensorNear(flat.slice(1, 11, 15), 0));
  EXPECT_TRUE(parts[1].is_alias_of(flat));
}

TEST(ParameterBlocksTest, RefusesToSplitAnotherSize) {
  const ParameterBlocks blocks =
      ParameterBlocks::Create(SmallModel(), BlockStructure::kFull);
  EXPECT_THAT(
      blocks.Split(at::ones({2, 14})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("flat vector: found shape [2, 14], expected last "
                           "dimension 15, the blocks' size")));
}

TEST(ParameterBlocksTest, NamesTheBlockOfAnError) {
  EXPECT_THAT(InBlock("fc1", absl::NotFoundError("rank: found 9")),
              StatusIs(absl::StatusCode::kNotFound,
                       std::string("block fc1: rank: found 9")));
}

}  // namespace
}  // namespace influence
