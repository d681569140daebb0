// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/function_model.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(FunctionModelTest, HoldsTheTrainableTensorsAndCallsTheFunction) {
  const at::Tensor w = ParameterLike(at::ones({3, 2}));
  EXPECT_TRUE(w.requires_grad() && w.is_leaf());
  const FunctionModel model(
      {{"w", w}, {"alias", w}, {"frozen", at::ones({4})}},
      [w](const std::vector<at::Tensor>& x) { return x[0].mm(w); },
      {"drop (Dropout in training mode)"});
  ASSERT_EQ(model.parameters().size(), 1u);
  EXPECT_EQ(model.parameters()[0].name, "w");
  EXPECT_EQ(model.num_parameters(), 6);
  EXPECT_THAT(model.CouplingModules(),
              ElementsAre("drop (Dropout in training mode)"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model.Forward({at::ones({5, 3})}));
  EXPECT_THAT(output, TensorNear(at::ones({5, 2}).mul(3), 0));
}

TEST(FunctionModelTest, AFailingFunctionIsAStatus) {
  const at::Tensor w = ParameterLike(at::ones({3}));
  const FunctionModel model({{"w", w}},
                            [](const std::vector<at::Tensor>&) -> at::Tensor {
                              throw std::runtime_error("no output");
                            });
  EXPECT_THAT(model.Forward({}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("no output")));
}

}  // namespace
}  // namespace influence
