// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The closed form against what autograd finds on the same layer.
#include "operators/closed_form_kronecker.h"

#include <memory>
#include <ostream>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/fisher_gradients.h"
#include "operators/kronecker_curvature.h"
#include "operators/kronecker_fit.h"
#include "operators/kronecker_inverse.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kMse = GeneralizedLinearLoss::kMeanSquaredError;
constexpr auto kBinary = GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits;
constexpr auto kSoftmax = GeneralizedLinearLoss::kCrossEntropy;
constexpr double kLambda = 0.05;

struct Case {
  GeneralizedLinearLoss loss;
  Fisher fisher;
  bool intercept;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << GeneralizedLinearLossName(c.loss) << ", " << FisherName(c.fisher)
       << (c.intercept ? ", with" : ", without") << " intercept";
}

Batch MakeBatch(GeneralizedLinearLoss loss) {
  Batch batch = SeededClassification(30, 3, 2, at::kDouble, 2);
  if (loss == kMse) batch.y = SeededNormal({30, 2}, at::kDouble, 5);
  if (loss == kBinary) {
    batch.y = SeededNormal({30, 2}, at::kDouble, 5).gt(0).to(at::kDouble);
  }
  return batch;
}

std::shared_ptr<const GeneralizedLinearModel> MakeModel(
    GeneralizedLinearLoss loss, const Model& network) {
  return *GeneralizedLinearModel::Create(loss, network.parameters()[0].tensor,
                                         network.parameters().size() > 1
                                             ? network.parameters()[1].tensor
                                             : at::Tensor());
}

class ClosedFormKroneckerTest : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(
    , ClosedFormKroneckerTest,
    testing::Values(Case{kMse, Fisher::kEmpirical, true},
                    Case{kBinary, Fisher::kEmpirical, false},
                    Case{kBinary, Fisher::kExact, true},
                    Case{kSoftmax, Fisher::kEmpirical, true},
                    Case{kSoftmax, Fisher::kExact, false}));

// Eigenvalues and eigenvectors come in another order and with other signs; what
// they do to a right-hand side does not.
TEST_P(ClosedFormKroneckerTest, SolvesAsTheFitByAutogradDoes) {
  const Case& c = GetParam();
  const std::shared_ptr<const Model> network =
      TanhMlp({3, 2}, at::kDouble, 1, c.intercept);
  const auto model = MakeModel(c.loss, *network);
  const Batch batch = MakeBatch(c.loss);
  const auto data = *TensorBatchSequence::Create(batch, 7);
  const auto blocks = ParameterBlocks::Create(*network, BlockStructure::kFull);
  const auto provider = *CapturingGradientProvider::Create(
      network, *LossByName(GeneralizedLinearLossName(c.loss)), batch);
  const at::Tensor b =
      SeededNormal({4, model->num_parameters()}, at::kDouble, 4);
  for (const KroneckerMethod method :
       {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
    KroneckerFitOptions options;
    options.method = method;
    options.fisher = c.fisher;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        KroneckerFit fit, FitKronecker(provider, blocks, data, options));
    KroneckerInverseOptions inverse_options;
    inverse_options.regularization = kLambda;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto inverse, KroneckerInverse::Create(
                                std::make_shared<const KroneckerCurvature>(
                                    std::move(fit.curvature)),
                                *network, blocks.blocks()[0], inverse_options));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const ClosedFormKronecker closed_form,
        FitClosedFormKronecker(*model, data, method, c.fisher));
    EXPECT_EQ(closed_form.eigenvalues.numel(), model->num_parameters());
    EXPECT_THAT(*SolveClosedFormKronecker(*model, closed_form, kLambda, b),
                TensorNear(*inverse->Apply(b), 1e-10));
  }
}

TEST(ClosedFormKroneckerErrorTest, RefusesWhatItCannotDo) {
  const auto network = TanhMlp({3, 2}, at::kDouble, 1);
  const auto fit = [&](GeneralizedLinearLoss loss, Fisher fisher) {
    return FitClosedFormKronecker(
        *MakeModel(loss, *network),
        *TensorBatchSequence::Create(MakeBatch(loss), 7),
        KroneckerMethod::kEkfac, fisher);
  };
  EXPECT_THAT(fit(kSoftmax, Fisher::kSampled),
              StatusIs(kInvalid, HasSubstr("fisher: found sampled")));
  EXPECT_THAT(fit(kMse, Fisher::kExact),
              StatusIs(kInvalid, HasSubstr("fisher: found exact")));
  // The outputs' gradients of a softmax sum to zero: S_G is singular.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ClosedFormKronecker singular,
                                 fit(kSoftmax, Fisher::kEmpirical));
  EXPECT_THAT(SolveClosedFormKronecker(*MakeModel(kSoftmax, *network), singular,
                                       0, at::zeros({1, 8}, at::kDouble)),
              StatusIs(kInvalid, HasSubstr("--regularization")));
}

}  // namespace
}  // namespace influence
