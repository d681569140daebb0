// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/bilinear_form.h"

#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Sums of at most a few dozen products of order one.
constexpr double kTolerance = 1e-13;

// <x, y> = x^T B^T y with a matrix that is not symmetric, so that a swap of the
// sides shows.
class MatrixForm : public BilinearForm {
 public:
  explicit MatrixForm(at::Tensor b) : b_(std::move(b)) {}

  int64_t input_size() const override { return b_.size(0); }

 protected:
  absl::StatusOr<at::Tensor> Transform(const at::Tensor& left) const override {
    return left.matmul(b_.t());
  }

 private:
  at::Tensor b_;
};

at::Tensor Normal(std::vector<int64_t> shape, uint64_t seed) {
  return SeededNormal(std::move(shape), at::kDouble, seed);
}

TEST(BilinearFormTest, ContractsTheTrailingDimension) {
  const at::Tensor b = Normal({4, 4}, 1);
  const at::Tensor left = Normal({3, 4}, 2);
  const at::Tensor right = Normal({5, 4}, 3);
  const MatrixForm form(b);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products,
                                 form.InnerProd(left, right));
  EXPECT_THAT(products, TensorNear(at::einsum("nd,ed,me->nm", {left, b, right}),
                                   kTolerance));
}

TEST(BilinearFormTest, KeepsTheOrderOfAThreeDimensionalRightSide) {
  const at::Tensor b = Normal({4, 4}, 1);
  const at::Tensor left = Normal({3, 4}, 2);
  const at::Tensor right = Normal({5, 2, 4}, 3);
  const MatrixForm form(b);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products,
                                 form.InnerProd(left, right));
  EXPECT_THAT(
      products,
      TensorNear(at::einsum("nd,ed,mxe->nmx", {left, b, right}), kTolerance));
  // Nor does a right side that is a transposed view change it.
  const at::Tensor view = Normal({2, 5, 4}, 4).transpose(0, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(products, form.InnerProd(left, view));
  EXPECT_THAT(
      products,
      TensorNear(at::einsum("nd,ed,mxe->nmx", {left, b, view}), kTolerance));
}

TEST(BilinearFormTest, VectorsDropTheirDimension) {
  const at::Tensor b = Normal({4, 4}, 1);
  const at::Tensor left = Normal({3, 4}, 2);
  const at::Tensor right = Normal({5, 4}, 3);
  const MatrixForm form(b);
  const at::Tensor expected = at::einsum("nd,ed,me->nm", {left, b, right});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor row,
                                 form.InnerProd(left[1], right));
  EXPECT_THAT(row, TensorNear(expected[1], kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor column,
                                 form.InnerProd(left, right[2]));
  EXPECT_THAT(column, TensorNear(expected.select(1, 2), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor scalar,
                                 form.InnerProd(left[1], right[2]));
  EXPECT_THAT(scalar, TensorNear(expected[1][2], kTolerance));
}

TEST(BilinearFormTest, RightSideLeftOutIsTheLeftOne) {
  const MatrixForm form(Normal({4, 4}, 1));
  const at::Tensor left = Normal({3, 4}, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 form.InnerProd(left, left));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products, form.InnerProd(left));
  EXPECT_THAT(products, TensorNear(expected, 0));
}

TEST(BilinearFormTest, RefusesOtherSizesAndDtypes) {
  const MatrixForm form(Normal({4, 4}, 1));
  const at::Tensor good = at::zeros({3, 4}, at::kDouble);
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(form.InnerProd(at::zeros({3, 5}, at::kDouble)),
              StatusIs(invalid, AllOf(HasSubstr("left"), HasSubstr("5"),
                                      HasSubstr("expected 4"))));
  EXPECT_THAT(form.InnerProd(good, at::zeros({2, 3, 5}, at::kDouble)),
              StatusIs(invalid, AllOf(HasSubstr("right"),
                                      HasSubstr("[2, 3, 5]"), HasSubstr("4"))));
  EXPECT_THAT(form.InnerProd(good, at::zeros({2, 4}, at::kFloat)),
              StatusIs(invalid, AllOf(HasSubstr("float32"),
                                      HasSubstr("expected float64"))));
}

class GradsInnerProdTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({3, 4, 2}, at::kDouble, 5), CrossEntropyLoss()));
    form_ = std::make_unique<MatrixForm>(
        Normal({provider_->num_parameters(), provider_->num_parameters()}, 6));
  }

  std::shared_ptr<const GradientProvider> provider_;
  std::unique_ptr<MatrixForm> form_;
  Batch left_ = SeededClassification(3, 3, 2, at::kDouble, 7);
  Batch right_ = SeededClassification(5, 3, 2, at::kDouble, 8);
};

TEST_F(GradsInnerProdTest, IsTheInnerProductOfTheFlatGradients) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, provider_->FlatGrads(left_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor right,
                                 provider_->FlatGrads(right_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 form_->InnerProd(left, right));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor products, form_->GradsInnerProd(left_, right_, *provider_));
  EXPECT_THAT(products, TensorNear(expected, kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(expected, form_->InnerProd(left));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      products, form_->GradsInnerProd(left_, std::nullopt, *provider_));
  EXPECT_THAT(products, TensorNear(expected, kTolerance));
}

TEST_F(GradsInnerProdTest, MixedIsTheInnerProductOfTheFlatMixedGradients) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left, provider_->FlatGrads(left_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                 provider_->FlatMixedGrads(right_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 form_->InnerProd(left, mixed));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor products,
      form_->MixedGradsInnerProd(left_, right_, *provider_));
  EXPECT_THAT(products, TensorNear(expected, kTolerance));
}

TEST_F(GradsInnerProdTest, PreparedLeftSideServesManyRightOnes) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients left,
                                 provider_->FactoredGrads(left_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, form_->PrepareGrads(left));
  EXPECT_EQ(prepared->num_samples(), 3);
  for (int64_t begin : {0, 2}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(Batch part, SliceBatch(right_, begin, 5));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(FactoredGradients right,
                                   provider_->FactoredGrads(part));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor expected, form_->GradsInnerProd(left_, part, *provider_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor products,
                                   prepared->GradsInnerProd(right));
    EXPECT_THAT(products, TensorNear(expected, kTolerance));
  }
}

TEST_F(GradsInnerProdTest, RowwiseIsTheDiagonal) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients left,
                                 provider_->FactoredGrads(left_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch part,
                                 SliceBatch(right_, 0, left_.size()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients right,
                                 provider_->FactoredGrads(part));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto prepared,
                                 form_->PrepareGrads(left));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor all,
                                 prepared->GradsInnerProd(right));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor rowwise,
                                 prepared->RowwiseInnerProd(right));
  EXPECT_THAT(rowwise, TensorNear(all.diagonal(), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients more,
                                 provider_->FactoredGrads(right_));
  EXPECT_THAT(prepared->RowwiseInnerProd(more),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("samples"), HasSubstr("expected"))));
}

TEST_F(GradsInnerProdTest, RefusesGradientsOfAnotherSize) {
  const MatrixForm small(Normal({4, 4}, 1));
  EXPECT_THAT(small.GradsInnerProd(left_, right_, *provider_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("found 26"), HasSubstr("expected 4"))));
  EXPECT_THAT(small.MixedGradsInnerProd(left_, right_, *provider_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("found 26"), HasSubstr("expected 4"))));
}

}  // namespace
}  // namespace influence
