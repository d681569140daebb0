// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Each method that the library brings, for each kind of model, against a dense
// solve with the matrix that it is defined by.
#include "operators/solve_hvp.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/kron.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/linalg_inv.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/generalized_linear_model.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/inversion_methods.h"
#include "operators/inversion_options.h"
#include "operators/inversion_registry.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "operators/twice_differentiable.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// A solve with a condition number of a few hundred.
constexpr double kTolerance = 1e-10;
constexpr double kLambda = 0.05;
constexpr int64_t kSize = 24;

std::shared_ptr<const BatchSequence> InBatches(const Batch& batch) {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, 10));
}

// (c + lambda I)^-1 b, row by row.
at::Tensor DenseSolve(const at::Tensor& c, const at::Tensor& b,
                      double lambda = kLambda) {
  const at::Tensor a = c.add(at::eye(c.size(0), at::kDouble).mul(lambda));
  return at::linalg_solve(a, b.t()).t().contiguous();
}

std::shared_ptr<const TwiceDifferentiable> MakeModel(
    const std::string& kind, const std::shared_ptr<const Model>& network,
    const Batch& batch) {
  if (kind == AutogradModel::kKind) {
    return *AutogradModel::Create(
        *AutogradGradientProvider::Create(network, CrossEntropyLoss()));
  }
  if (kind == CapturingModel::kKind) {
    return *CapturingModel::Create(
        *CapturingGradientProvider::Create(network, CrossEntropyLoss(), batch));
  }
  return *ClosedFormModel::Create(*GeneralizedLinearModel::Create(
      GeneralizedLinearLoss::kCrossEntropy, network->parameters()[0].tensor,
      network->parameters()[1].tensor));
}

// Softmax regression, which all kinds can do: a single layer has no tanh.
class SolveHvpTest : public testing::TestWithParam<std::string> {
 protected:
  // Thousands of products of a few numbers each: threads would only wait.
  void SetUp() override { at::set_num_threads(1); }

  absl::StatusOr<InverseHvpResult> Solve(
      const std::string& method, const InversionOptions& options = {}) const {
    return SolveHvp(method, *model_, data_, b_, kLambda, options);
  }

  std::shared_ptr<const Model> network_ = TanhMlp({3, 4}, at::kDouble, 1);
  Batch batch_ = SeededClassification(kSize, 3, 4, at::kDouble, 2);
  std::shared_ptr<const TwiceDifferentiable> model_ =
      MakeModel(GetParam(), network_, batch_);
  std::shared_ptr<const BatchSequence> data_ = InBatches(batch_);
  std::shared_ptr<const AutogradGradientProvider> reference_ =
      *AutogradGradientProvider::Create(network_, CrossEntropyLoss());
  at::Tensor b_ = SeededNormal({3, 16}, at::kDouble, 4);
};

INSTANTIATE_TEST_SUITE_P(, SolveHvpTest,
                         testing::Values("autograd", "capturing",
                                         "generalized_linear"));

TEST_P(SolveHvpTest, Direct) {
  // The Hessian of a model that is linear in its parameters.
  const at::Tensor hessian = DenseGeneralizedGaussNewton(*reference_, batch_);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult result,
                                 Solve("direct"));
  EXPECT_THAT(result.x, TensorNear(DenseSolve(hessian, b_), kTolerance));
  EXPECT_TRUE(result.info.reports.empty());
  EXPECT_TRUE(result.info.numbers.empty());
  EXPECT_THAT(
      Solve("direct", {{"second_order", "generalized_gauss_newton"}})->x,
      TensorNear(DenseSolve(hessian, b_), kTolerance));
  EXPECT_THAT(Solve("direct", {{"second_order", "gauss_newton"}})->x,
              TensorNear(DenseSolve(DenseGaussNewton(*reference_, batch_), b_),
                         kTolerance));
  // A vector gives a vector.
  EXPECT_THAT(SolveHvp("direct", *model_, data_, b_[1], kLambda)->x,
              TensorNear(result.x[1], kTolerance));
  // Equal shifts of all outputs have no curvature.
  EXPECT_THAT(SolveHvp("direct", *model_, data_, b_),
              StatusIs(kInvalid, HasSubstr("singular")));
}

TEST_P(SolveHvpTest, ConjugateGradient) {
  const at::Tensor hessian = DenseGeneralizedGaussNewton(*reference_, batch_);
  const at::Tensor expected = DenseSolve(hessian, b_);
  for (const std::string preconditioner : {"none", "jacobi", "nystroem"}) {
    for (const bool block : {true, false}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const InverseHvpResult result,
          Solve("cg", {{"tolerance", 1e-12},
                       {"block", block},
                       {"preconditioner", preconditioner}}));
      EXPECT_THAT(result.x, TensorNear(expected, kTolerance));
      ASSERT_EQ(result.info.reports.size(), 3u);
      for (const SolveReport& report : result.info.reports) {
        EXPECT_EQ(report.outcome, SolveOutcome::kConverged);
        EXPECT_LE(report.relative_residual, 1e-12);
      }
    }
  }
  EXPECT_THAT(
      Solve("cg", {{"second_order", "gauss_newton"}, {"tolerance", 1e-12}})->x,
      TensorNear(DenseSolve(DenseGaussNewton(*reference_, batch_), b_),
                 kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult limited,
                                 Solve("cg", {{"max_iterations", 1}}));
  EXPECT_EQ(limited.info.reports[0].outcome, SolveOutcome::kIterationLimit);
}

// With one batch of everything, the recursion has a fixed point.
TEST_P(SolveHvpTest, Lissa) {
  const at::Tensor hessian = DenseGeneralizedGaussNewton(*reference_, batch_);
  const auto whole = std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch_, kSize));
  const double scale = 1;
  const double dampen = 0.1;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult result,
                                 SolveHvp("lissa", *model_, whole, b_, kLambda,
                                          {{"scale", scale},
                                           {"dampen", dampen},
                                           {"max_iterations", 400},
                                           {"tolerance", 1e-12}}));
  EXPECT_THAT(result.x,
              TensorNear(DenseSolve(hessian, b_, kLambda + scale * dampen),
                         kTolerance));
  ASSERT_EQ(result.info.reports.size(), 3u);
  EXPECT_EQ(result.info.reports[0].outcome, SolveOutcome::kConverged);
  EXPECT_EQ(result.info.numbers.Find("scale")->item<double>(), scale);
  // In batches, with a scale of its own: near, and said.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const InverseHvpResult noisy,
      Solve("lissa", {{"seed", 3}, {"max_iterations", 100}}));
  EXPECT_LT(noisy.x.sub(DenseSolve(hessian, b_)).norm().item<double>(),
            0.5 * noisy.x.norm().item<double>());
  EXPECT_GT(noisy.info.numbers.Find("scale")->item<double>(), kLambda);
}

TEST_P(SolveHvpTest, LowRank) {
  const at::Tensor hessian = DenseGeneralizedGaussNewton(*reference_, batch_);
  for (const std::string method : {"arnoldi", "nystroem"}) {
    SCOPED_TRACE(method);
    // Of full rank there is nothing left to approximate.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult full,
                                   Solve(method, {{"rank", 16}}));
    EXPECT_THAT(full.x, TensorNear(DenseSolve(hessian, b_), 1e-6));
    EXPECT_THAT(Solve(method, {{"rank", 17}}),
                StatusIs(kInvalid, HasSubstr("rank")));
    EXPECT_THAT(Solve(method, {{"low_rank_inverse", "none"}}),
                StatusIs(kInvalid, HasSubstr("none")));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult low,
                                   Solve(method, {{"rank", 5}, {"seed", 1}}));
    EXPECT_EQ(low.info.numbers.Find("eigenvalues")->numel(), 5);
  }
  const auto [values, vectors] = at::linalg_eigh(hessian);
  const at::Tensor d = values.narrow(0, 11, 5);
  const at::Tensor u = vectors.narrow(1, 11, 5);
  EXPECT_THAT(Solve("arnoldi", {{"rank", 5}})->x,
              TensorNear(DenseSolve(u.mul(d).mm(u.t()), b_), 1e-6));
  EXPECT_THAT(
      Solve("arnoldi", {{"rank", 5}, {"low_rank_inverse", "projected"}})->x,
      TensorNear(b_.mm(u.div(d.add(kLambda)).mm(u.t())), 1e-6));
}

TEST_P(SolveHvpTest, InverseHarmonicMean) {
  const at::Tensor grads = *reference_->FlatGrads(batch_);
  at::Tensor mean = at::zeros({16, 16}, at::kDouble);
  for (int64_t n = 0; n < kSize; ++n) {
    mean.add_(at::linalg_inv(at::outer(grads[n], grads[n])
                                 .add(at::eye(16, at::kDouble).mul(kLambda))),
              1.0 / kSize);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult result, Solve("ihm"));
  EXPECT_THAT(result.x, TensorNear(b_.mm(mean), kTolerance));
  EXPECT_THAT(SolveHvp("ihm", *model_, data_, b_),
              StatusIs(kInvalid, HasSubstr("regularization")));
}

// The definition, written out as a dense matrix over the coordinates (output,
// input), the bias being the last input.
TEST_P(SolveHvpTest, Kronecker) {
  const at::Tensor x =
      at::cat({batch_.x[0], at::ones({kSize, 1}, at::kDouble)}, 1);
  const at::Tensor logits = network_->Forward(batch_.x)->detach();
  const at::Tensor p = at::softmax(logits, 1);
  // Flat position of each coordinate.
  std::vector<int64_t> places;
  for (int64_t k = 0; k < 4; ++k) {
    for (int64_t i = 0; i < 4; ++i) {
      places.push_back(i < 3 ? k * 3 + i : 12 + k);
    }
  }
  for (const std::string fisher : {"empirical", "exact"}) {
    SCOPED_TRACE(fisher);
    // Of each sample, label and weight: the gradient in the logits.
    std::vector<at::Tensor> inputs;
    std::vector<at::Tensor> gradients;
    std::vector<double> weights;
    for (int64_t n = 0; n < kSize; ++n) {
      for (int64_t label = 0; label < 4; ++label) {
        const bool own = batch_.y[n].item<int64_t>() == label;
        if (fisher == "empirical" && !own) continue;
        inputs.push_back(x[n]);
        gradients.push_back(p[n].clone());
        gradients.back()[label].sub_(1);
        weights.push_back(
            (fisher == "empirical" ? 1.0 : p[n][label].item<double>()) / kSize);
      }
    }
    const at::Tensor s_a = x.t().mm(x).div(kSize);
    at::Tensor s_g = at::zeros({4, 4}, at::kDouble);
    for (size_t j = 0; j < weights.size(); ++j) {
      s_g.add_(at::outer(gradients[j], gradients[j]), weights[j]);
    }
    const auto [a_values, u_a] = at::linalg_eigh(s_a);
    const auto [g_values, u_g] = at::linalg_eigh(s_g);
    at::Tensor corrected = at::zeros({4, 4}, at::kDouble);
    for (size_t j = 0; j < weights.size(); ++j) {
      corrected.add_(
          u_g.t().mm(at::outer(gradients[j], inputs[j])).mm(u_a).square(),
          weights[j]);
    }
    const at::Tensor u = at::kron(u_g, u_a);
    for (const std::string method : {"kfac", "ekfac"}) {
      SCOPED_TRACE(method);
      const at::Tensor eigenvalues =
          method == "kfac" ? at::outer(g_values, a_values) : corrected;
      const at::Tensor c = u.mul(eigenvalues.reshape({-1})).mm(u.t());
      at::Tensor ordered = at::zeros_like(b_);
      for (int64_t i = 0; i < 16; ++i) {
        ordered.select(1, i).copy_(b_.select(1, places[i]));
      }
      const at::Tensor solution = DenseSolve(c, ordered);
      at::Tensor expected = at::zeros_like(b_);
      for (int64_t i = 0; i < 16; ++i) {
        expected.select(1, places[i]).copy_(solution.select(1, i));
      }
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const InverseHvpResult result,
                                     Solve(method, {{"fisher", fisher}}));
      // S_G of a softmax is singular, and EKFAC's eigenvalues in the basis of
      // a nearly degenerate pair move with it.
      EXPECT_THAT(result.x, TensorNear(expected, 1e-8));
      ASSERT_EQ(result.info.numbers.size(), 1u);
      EXPECT_EQ(result.info.numbers.begin()->second.numel(), 16);
    }
  }
}

TEST_P(SolveHvpTest, OptionsAreCheckedByName) {
  EXPECT_THAT(Solve("direct", {{"second_order", "first"}}),
              StatusIs(kInvalid, HasSubstr("first")));
  EXPECT_THAT(Solve("direct", {{"rank", 3}}),
              StatusIs(kInvalid, AllOf(HasSubstr("found rank = 3"),
                                       HasSubstr("one of second_order"))));
  EXPECT_THAT(Solve("cg", {{"preconditioner", "magic"}}),
              StatusIs(kInvalid, HasSubstr("magic")));
  EXPECT_THAT(Solve("cg", {{"preconditioner", "jacobi"}, {"rank", 3}}),
              StatusIs(kInvalid, HasSubstr("expected it only with nystroem")));
  EXPECT_THAT(Solve("lissa", {{"rank", 3}}),
              StatusIs(kInvalid, HasSubstr("found rank = 3")));
  EXPECT_THAT(Solve("ihm", {{"second_order", "hessian"}}),
              StatusIs(kInvalid, HasSubstr("expected none")));
  EXPECT_THAT(Solve("ekfac", {{"fisher", "fuzzy"}}),
              StatusIs(kInvalid, HasSubstr("fuzzy")));
  EXPECT_THAT(Solve("kfac", {{"tolerance", 1e-3}}),
              StatusIs(kInvalid, HasSubstr("tolerance")));
}

TEST_P(SolveHvpTest, AnUnknownMethodListsTheOthers) {
  EXPECT_THAT(Solve("magic"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("magic"), HasSubstr(GetParam()),
                             HasSubstr("autograd/direct"),
                             HasSubstr("generalized_linear/ekfac"))));
}

// A network with a hidden layer, whose Hessian is not its Gauss-Newton matrix
// and is indefinite.
TEST(SolveHvpNetworkTest, DirectSolvesWithTheHessianAndReportsItsSign) {
  const auto network = TanhMlp({3, 4, 2}, at::kDouble, 1);
  const Batch batch = SeededClassification(kSize, 3, 2, at::kDouble, 2);
  const auto provider =
      *CapturingGradientProvider::Create(network, CrossEntropyLoss(), batch);
  const auto model = *CapturingModel::Create(provider);
  const at::Tensor hessian = HessianByDifferences(*provider, batch);
  const double smallest = at::linalg_eigvalsh(hessian)[0].item<double>() + 1e-3;
  ASSERT_LT(smallest, 0);
  const at::Tensor b = SeededNormal({2, 26}, at::kDouble, 4);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const InverseHvpResult result,
      SolveHvp("direct", *model, InBatches(batch), b, 1e-3));
  // Differences are exact to 1e-9, times a condition number of about 1e3.
  EXPECT_THAT(result.x, TensorNear(DenseSolve(hessian, b, 1e-3), 1e-4));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor reported,
      result.info.numbers.Find("smallest_eigenvalue"));
  EXPECT_NEAR(reported.item<double>(), smallest, 1e-7);
  EXPECT_THAT(result.info.remarks,
              testing::ElementsAre(HasSubstr("indefinite")));
}

TEST(SolveHvpRegistryTest, BuiltInMethodsAreRegisteredOnce) {
  EXPECT_THAT(RegisterBuiltInInversionMethods(DefaultInversionRegistry()),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("direct")));
  InversionRegistry registry;
  EXPECT_THAT(RegisterBuiltInInversionMethods(registry), IsOk());
  EXPECT_EQ(registry.Registered().size(),
            DefaultInversionRegistry().Registered().size());
}

}  // namespace
}  // namespace influence
