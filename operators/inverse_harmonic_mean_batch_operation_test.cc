// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inverse_harmonic_mean_batch_operation.h"

#include <limits>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/inverse.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr double kRegularization = 0.1;

at::Tensor DenseOf(const BatchOperation& operation, const Batch& batch) {
  return *operation.Apply(batch, at::eye(operation.input_size(), at::kDouble));
}

// mean_n (g_n g_n^T + lambda I)^-1 with dense inverses.
at::Tensor DenseInverseHarmonicMean(const GradientProvider& provider,
                                    const Batch& batch) {
  const at::Tensor grads = *provider.FlatGrads(batch);
  const int64_t size = grads.size(1);
  at::Tensor sum = at::zeros({size, size}, at::kDouble);
  for (int64_t n = 0; n < grads.size(0); ++n) {
    sum.add_(
        at::inverse(at::outer(grads[n], grads[n])
                        .add(at::eye(size, at::kDouble), kRegularization)));
  }
  return sum.div(grads.size(0));
}

TEST(InverseHarmonicMeanBatchOperationTest, EqualsTheMeanOfDenseInverses) {
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  const auto model = TanhMlp({3, 4, 3}, at::kDouble, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> plain,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> capturing,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), batch));
  const at::Tensor expected = DenseInverseHarmonicMean(*plain, batch);
  for (const auto& provider : {plain, capturing}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        auto operation,
        InverseHarmonicMeanBatchOperation::Create(provider, kRegularization));
    // The largest |g|^2 / lambda, about 30, times a few roundings.
    EXPECT_THAT(DenseOf(*operation, batch), TensorNear(expected, 1e-13));
  }
}

// The inverse of a block is not the block of the inverse: restriction comes
// first.
TEST(InverseHarmonicMeanBatchOperationTest, RestrictedInvertsTheBlock) {
  const Batch batch = SeededClassification(6, 3, 3, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      AutogradGradientProvider::Create(TanhMlp({3, 4, 3}, at::kDouble, 1),
                                       CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto restricted, provider->Restrict({1, 2}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto operation,
      InverseHarmonicMeanBatchOperation::Create(restricted, kRegularization));
  EXPECT_THAT(DenseOf(*operation, batch),
              TensorNear(DenseInverseHarmonicMean(*restricted, batch), 1e-13));
}

TEST(InverseHarmonicMeanBatchOperationTest, RefusesARegularizationOfZero) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> provider,
      AutogradGradientProvider::Create(TanhMlp({3, 2}, at::kDouble, 1),
                                       CrossEntropyLoss()));
  for (const double value :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THAT(InverseHarmonicMeanBatchOperation::Create(provider, value),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("regularization: found")));
  }
  EXPECT_THAT(
      InverseHarmonicMeanBatchOperation::Create(nullptr, 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("provider")));
}

}  // namespace
}  // namespace influence
