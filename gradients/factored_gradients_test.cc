// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/factored_gradients.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/gradient_term.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-12;

at::Tensor Numbers(at::IntArrayRef shape, double seed) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return at::arange(count, at::dtype(at::kDouble))
      .add(1.0)
      .mul(12.9898 + seed)
      .sin()
      .view(shape);
}

// Three parameters: a weight used twice, an unused one, and one of which only
// the second half is used.
struct Example {
  FactoredGradients factored;
  at::Tensor dense;  // [N, 6 + 2 + 4]
};

Example MakeExample(int64_t n, double seed) {
  const at::Tensor left = Numbers({n, 1, 2, 3}, seed);
  const at::Tensor right = Numbers({n, 1, 2, 2}, seed + 1);
  const at::Tensor second = Numbers({n, 6}, seed + 2);
  const at::Tensor half = Numbers({n, 2}, seed + 3);
  std::vector<FactoredParameter> parameters = {
      {"weight",
       6,
       {std::make_shared<OuterProductTerm>(0, left, right),
        std::make_shared<DenseTerm>(0, second)}},
      {"unused", 2, {}},
      {"half", 4, {std::make_shared<DenseTerm>(2, half)}}};
  const at::Tensor dense = at::cat(
      {at::einsum("nhtl,nhtr->nlr", {left, right}).reshape({n, 6}).add(second),
       at::zeros({n, 4}, at::kDouble), half},
      1);
  return {FactoredGradients(n, at::kDouble, parameters), dense};
}

TEST(FactoredGradientsTest, FlattensToTheMatrix) {
  const Example example = MakeExample(5, 1);
  EXPECT_EQ(example.factored.num_parameters(), 12);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat, example.factored.Flatten());
  EXPECT_THAT(flat, TensorNear(example.dense, kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor rows,
                                 example.factored.FlattenRows(1, 3));
  EXPECT_THAT(rows, TensorNear(example.dense.narrow(0, 1, 2), kTolerance));
}

TEST(FactoredGradientsTest, FlattensIntoTheColumnsOfAWiderMatrix) {
  const Example example = MakeExample(5, 1);
  const at::Tensor wide = at::zeros({5, 20}, at::kDouble);
  INFLUENCE_ASSERT_OK(example.factored.FlattenInto(wide.narrow(1, 3, 12)));
  EXPECT_THAT(wide.narrow(1, 3, 12), TensorNear(example.dense, kTolerance));
  EXPECT_THAT(example.factored.FlattenInto(wide),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("out: found shape [5, 20], expected shape "
                                 "[5, 12]")));
  EXPECT_THAT(
      example.factored.FlattenInto(at::zeros({5, 12}, at::kFloat)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("out: found dtype float32, expected float64")));
}

TEST(FactoredGradientsTest, ProductsEqualTheMatrixs) {
  const Example example = MakeExample(5, 1);
  const Example other = MakeExample(3, 20);
  const at::Tensor matrix = Numbers({4, 12}, 30);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor contracted,
                                 example.factored.Contract(matrix));
  EXPECT_THAT(contracted,
              TensorNear(example.dense.matmul(matrix.t()), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor vector,
                                 example.factored.Contract(matrix[0]));
  EXPECT_THAT(vector, TensorNear(example.dense.matmul(matrix[0]), kTolerance));
  const at::Tensor weights = Numbers({4, 5}, 40);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor sums,
                                 example.factored.WeightedSum(weights));
  EXPECT_THAT(sums, TensorNear(weights.matmul(example.dense), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor sum,
                                 example.factored.WeightedSum(weights[1]));
  EXPECT_THAT(sum, TensorNear(weights[1].matmul(example.dense), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor gram,
                                 example.factored.Gram(other.factored));
  EXPECT_THAT(gram,
              TensorNear(example.dense.matmul(other.dense.t()), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor norms,
                                 example.factored.SquaredNorms());
  EXPECT_THAT(norms, TensorNear(example.dense.square().sum(1), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor squares,
                                 example.factored.SumOfSquares());
  EXPECT_THAT(squares, TensorNear(example.dense.square().sum(0), kTolerance));
}

TEST(FactoredGradientsTest, SelectsParametersInTheGivenOrder) {
  const Example example = MakeExample(5, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients selected,
                                 example.factored.Select({2, 0}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat, selected.Flatten());
  EXPECT_THAT(flat, TensorNear(at::cat({example.dense.narrow(1, 8, 4),
                                        example.dense.narrow(1, 0, 6)},
                                       1),
                               kTolerance));
  EXPECT_THAT(example.factored.Select({3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("parameter index: found 3, expected a value "
                                 "in [0, 3)")));
}

TEST(FactoredGradientsTest, NamesBothSizesOfAWrongArgument) {
  const Example example = MakeExample(5, 1);
  EXPECT_THAT(example.factored.Contract(Numbers({4, 11}, 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("matrix: found last dimension 11 (shape [4, "
                                 "11]), expected 12")));
  EXPECT_THAT(example.factored.WeightedSum(Numbers({4, 6}, 1)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("weights: found last dimension 6")));
  EXPECT_THAT(
      example.factored.Contract(Numbers({4, 12}, 1).to(at::kFloat)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("matrix: found dtype float32, expected float64")));
  EXPECT_THAT(example.factored.RowwiseInnerProduct(MakeExample(4, 1).factored),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 4 samples, expected 5")));
  EXPECT_THAT(example.factored.FlattenRows(3, 6),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rows: found [3, 6)")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients part,
                                 example.factored.Select({0}));
  EXPECT_THAT(example.factored.Gram(part),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 6 parameters in 1 tensors, expected 12 "
                                 "in 3")));
}

}  // namespace
}  // namespace influence
