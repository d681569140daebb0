// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Mistakes that implementations of influence functions are known to make, each
// by its name, on whole models.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/relu.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"
#include "influence/restore_influence.h"
#include "operators/curvature.h"
#include "operators/operator.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "tests/support/function_model.h"
#include "tests/support/influence_method.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// A model, its loss and its data, with the providers of the library and of the
// reference.
struct Problem {
  std::shared_ptr<const GradientProvider> provider;
  std::shared_ptr<const GradientProvider> reference;
  Batch train;
  Batch test;
};

Problem MakeProblem(const std::shared_ptr<const Model>& model,
                    const PerSampleFunction& loss, Batch train, Batch test) {
  at::set_num_threads(1);  // Threads would only wait for each other.
  auto provider = CapturingGradientProvider::Create(model, loss, train);
  auto reference = AutogradGradientProvider::Create(model, loss);
  INFLUENCE_CHECK(provider.ok());
  INFLUENCE_CHECK(reference.ok());
  return {*std::move(provider), *std::move(reference), std::move(train),
          std::move(test)};
}

// P = 26.
Problem Mlp() {
  return MakeProblem(TanhMlp({3, 4, 2}, at::kDouble, 1), CrossEntropyLoss(),
                     SeededClassification(9, 3, 2, at::kDouble, 8),
                     SeededClassification(3, 3, 2, at::kDouble, 7));
}

// The second of three hidden units is never active: nothing depends on row 1 of
// fc1.weight, fc1.bias[1] and column 1 of fc2.weight. P = 17.
Problem DeadUnit() {
  const at::Tensor w1 = ParameterLike(SeededNormal({3, 2}, at::kDouble, 1));
  at::Tensor bias = SeededNormal({3}, at::kDouble, 2, 0.1).add(2);
  bias[1].fill_(-100);
  const at::Tensor b1 = ParameterLike(bias);
  const at::Tensor w2 = ParameterLike(SeededNormal({2, 3}, at::kDouble, 3));
  const at::Tensor b2 = ParameterLike(SeededNormal({2}, at::kDouble, 4));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"fc1.weight", w1},
                                  {"fc1.bias", b1},
                                  {"fc2.weight", w2},
                                  {"fc2.bias", b2}},
      [=](const std::vector<at::Tensor>& x) {
        return at::linear(at::relu(at::linear(x[0], w1, b1)), w2, b2);
      });
  return MakeProblem(model, CrossEntropyLoss(),
                     SeededClassification(8, 2, 2, at::kDouble, 5),
                     SeededClassification(3, 2, 2, at::kDouble, 7));
}

std::shared_ptr<const BatchSequence> Data(const Batch& batch,
                                          int64_t batch_size) {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, batch_size));
}

InfluenceMethod Method(const std::string& name, double regularization,
                       Curvature curvature = Curvature::kHessian) {
  InfluenceMethod method;
  method.method = name;
  method.structure = BlockStructure::kFull;
  method.curvature = curvature;
  method.regularization = *Regularization::Constant(regularization);
  return method;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> Fit(
    const InfluenceMethod& method, const Problem& problem,
    int64_t batch_size = 1000) {
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<ComposableInfluence> influence,
                             CreateInfluence(method, problem.provider));
  INFLUENCE_RETURN_IF_ERROR(influence->Fit(Data(problem.train, batch_size)));
  return influence;
}

const std::vector<std::string>& AllMethods() {
  static const auto* methods = new std::vector<std::string>{
      "identity", "direct", "cg",   "lissa", "arnoldi",
      "nystroem", "ihm",    "kfac", "ekfac"};
  return *methods;
}

bool AllFinite(const at::Tensor& tensor) {
  return at::isfinite(tensor).all().item<bool>();
}

// The reports of the queries, all blocks together.
absl::StatusOr<std::vector<SolveReport>> Reports(
    const ComposableInfluence& influence, const Batch& test) {
  INFLUENCE_ASSIGN_OR_RETURN(const auto prepared,
                             influence.PrepareQueries(test));
  std::vector<SolveReport> all;
  for (const BlockSolveReports& block : prepared->solve_reports()) {
    all.insert(all.end(), block.reports.begin(), block.reports.end());
  }
  return all;
}

TEST(KnownTrapsTest, ARightHandSideAMillionTimesSmallerIsSolvedAsWell) {
  const Problem problem = Mlp();
  const at::Tensor c = DenseGaussNewton(*problem.reference, problem.train);
  const at::Tensor b = SeededNormal({3, 26}, at::kDouble, 5);
  b[1].mul_(1e-6);
  for (const bool forms : {true, false}) {
    InfluenceMethod method = Method("cg", 0.01, Curvature::kGaussNewton);
    method.relative_tolerance = 1e-6;
    method.forms_curvature = forms;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fit(method, problem));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor x,
                                   influence->operators()[0]->Apply(b));
    const at::Tensor residual = x.matmul(c).add(x, 0.01).sub(b);
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_LE(residual[i].norm().item<double>(),
                1.01e-6 * b[i].norm().item<double>())
          << "right-hand side " << i;
    }
  }
}

TEST(KnownTrapsTest, AZeroRightHandSideGivesZero) {
  const Problem problem = Mlp();
  const at::Tensor b = SeededNormal({3, 26}, at::kDouble, 5);
  b[1].zero_();
  for (const std::string& name : AllMethods()) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto influence,
        Fit(Method(name, 0.5, Curvature::kGaussNewton), problem));
    int64_t offset = 0;
    for (const auto& op : influence->operators()) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor x, op->Apply(b.narrow(1, offset, op->input_size())));
      EXPECT_TRUE(AllFinite(x));
      EXPECT_EQ(x[1].abs().max().item<double>(), 0);
      EXPECT_GT(x[2].abs().max().item<double>(), 0);
      offset += op->input_size();
    }
  }
}

TEST(KnownTrapsTest, AnIndefiniteHessianIsSolvedOrReported) {
  const Problem problem = Mlp();
  const at::Tensor hessian =
      HessianByDifferences(*problem.reference, problem.train);
  constexpr double kSmall = 1e-3;
  const double smallest =
      at::linalg_eigvalsh(hessian).min().item<double>() + kSmall;
  ASSERT_LT(smallest, -0.01);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads,
                                 problem.reference->FlatGrads(problem.test));
  for (const std::string name : {"direct", "arnoldi"}) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                   Fit(Method(name, kSmall), problem));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor x,
                                   influence->InfluenceFactors(problem.test));
    EXPECT_THAT(x.matmul(hessian).add(x, kSmall), TensorNear(grads, 1e-4));
    ASSERT_TRUE(influence->report()[0].smallest_eigenvalue.has_value());
    EXPECT_NEAR(*influence->report()[0].smallest_eigenvalue, smallest, 1e-6);
  }
  for (const auto& [name, outcome] :
       {std::pair("cg", SolveOutcome::kNegativeCurvature),
        std::pair("lissa", SolveOutcome::kDiverged)}) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                   Fit(Method(name, kSmall), problem));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<SolveReport> reports,
                                   Reports(*influence, problem.test));
    ASSERT_EQ(reports.size(), 3u);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor x,
                                   influence->InfluenceFactors(problem.test));
    for (size_t i = 0; i < reports.size(); ++i) {
      EXPECT_EQ(reports[i].outcome, outcome);
      const at::Tensor row = x[static_cast<int64_t>(i)];
      if (reports[i].has_answer()) {
        EXPECT_TRUE(AllFinite(row));
      } else {
        EXPECT_TRUE(row.isnan().all().item<bool>());
      }
    }
    EXPECT_EQ(reports[0].has_answer(), name == std::string("cg"));
  }
  EXPECT_THAT(Fit(Method("nystroem", kSmall), problem).status(),
              StatusIs(kInvalid, HasSubstr("--second-order")));
}

TEST(KnownTrapsTest, ADeadUnitsZeroBlockIsDividedByLambdaAlone) {
  const Problem problem = DeadUnit();
  // fc1.weight[1, :], fc1.bias[1], fc2.weight[:, 1].
  const at::Tensor hessian =
      HessianByDifferences(*problem.reference, problem.train);
  for (const int64_t dead : {2, 3, 7, 10, 13}) {
    ASSERT_EQ(hessian[dead].abs().max().item<double>(), 0);
  }
  for (const std::string& name : AllMethods()) {
    SCOPED_TRACE(name);
    if (name == "identity") continue;
    // The Hessian of two layers is indefinite, but for a large lambda.
    const Curvature curvature =
        name == "nystroem" ? Curvature::kGaussNewton : Curvature::kHessian;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                   Fit(Method(name, 2.0, curvature), problem));
    at::Tensor unit = at::zeros({17}, at::kDouble);
    unit[3].fill_(1);
    int64_t offset = 0;
    std::vector<at::Tensor> parts;
    for (const auto& op : influence->operators()) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor part, op->Apply(unit.narrow(0, offset, op->input_size())));
      parts.push_back(part);
      offset += op->input_size();
    }
    EXPECT_THAT(at::cat(parts), TensorNear(unit.div(2), 1e-10));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor scores, influence->Influences(problem.test, problem.train));
    EXPECT_TRUE(AllFinite(scores));
  }
}

TEST(KnownTrapsTest, LambdaZeroWithASingularCurvatureIsNeverInfinite) {
  const Problem problem = DeadUnit();
  for (const std::string& name : AllMethods()) {
    if (name == "identity") continue;
    for (const std::string low_rank_inverse : {"exact", "projected"}) {
      InfluenceMethod method = Method(name, 0, Curvature::kGaussNewton);
      method.low_rank_inverse = low_rank_inverse;
      method.max_iterations = 300;
      if (!method.is_low_rank() && low_rank_inverse == "projected") continue;
      SCOPED_TRACE(method.Name());
      const auto influence = Fit(method, problem);
      const bool is_refused =
          name == "direct" || name == "ihm" || method.is_kronecker() ||
          (method.is_low_rank() && low_rank_inverse == "exact");
      if (is_refused) {
        EXPECT_THAT(influence.status(),
                    StatusIs(kInvalid, HasSubstr("--regularization")));
        continue;
      }
      INFLUENCE_ASSERT_OK(influence);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor scores,
          (*influence)->Influences(problem.test, problem.train));
      EXPECT_TRUE(AllFinite(scores));
      if (method.is_low_rank()) {
        EXPECT_FALSE((*influence)->report()[0].remarks.empty());
        continue;
      }
      // The gradients lie in the span of the curvature only if they are those
      // of the training samples: these three do not.
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<SolveReport> reports,
                                     Reports(**influence, problem.test));
      for (const SolveReport& report : reports) {
        EXPECT_TRUE(std::isfinite(report.relative_residual));
        if (report.relative_residual > 1e-3) {
          EXPECT_NE(report.outcome, SolveOutcome::kConverged);
        }
      }
    }
  }
}

TEST(KnownTrapsTest, LissaWithAScaleTooSmallSaysSoAndGivesNoNumbers) {
  const Problem problem = Mlp();
  const at::Tensor c = DenseGaussNewton(*problem.reference, problem.train);
  const double largest = at::linalg_eigvalsh(c).max().item<double>() + 0.1;
  // With s = largest / 3 the recursion multiplies by -2 along the largest
  // eigenvector; twice that s contracts.
  for (const double scale : {largest / 3, largest / 1000}) {
    InfluenceMethod method = Method("lissa", 0.1, Curvature::kGaussNewton);
    method.scale = scale;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fit(method, problem));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor x,
                                   influence->InfluenceFactors(problem.test));
    if (scale > largest / 10) {
      EXPECT_TRUE(AllFinite(x));
    } else {
      EXPECT_TRUE(x.isnan().all().item<bool>());
    }
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<SolveReport> reports,
                                   Reports(*influence, problem.test));
    ASSERT_EQ(reports.size(), 3u);
    for (const SolveReport& report : reports) {
      EXPECT_EQ(report.outcome, scale < largest / 10
                                    ? SolveOutcome::kDiverged
                                    : SolveOutcome::kConverged);
    }
    if (scale > largest / 10) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          at::Tensor grads, problem.reference->FlatGrads(problem.test));
      EXPECT_THAT(x.matmul(c).add(x, 0.1), TensorNear(grads, 1e-8));
    }
  }
}

TEST(KnownTrapsTest, ARankAboveTheNumberOfParametersIsAnError) {
  const Problem problem = Mlp();
  for (const std::string name : {"arnoldi", "nystroem"}) {
    InfluenceMethod method = Method(name, 0.1, Curvature::kGaussNewton);
    method.rank = 27;
    EXPECT_THAT(CreateInfluence(method, problem.provider).status(),
                StatusIs(kInvalid, AllOf(HasSubstr("rank"), HasSubstr("27"),
                                         HasSubstr("26"))));
    // Above a block's size it is clamped, and said so.
    method.rank = 12;
    method.structure = BlockStructure::kParameter;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fit(method, problem));
    const std::vector<BlockReport> report = influence->report();
    ASSERT_EQ(report[1].size, 4);
    ASSERT_FALSE(report[1].remarks.empty());
    EXPECT_THAT(report[1].remarks[0],
                AllOf(HasSubstr("rank"), HasSubstr("12"), HasSubstr("4")));
    EXPECT_TRUE(report[0].remarks.empty());
  }
}

// A single layer o = W x (+ b) at each of T positions under the mean squared
// error over all outputs, where everything has a closed form:
// g_t = 2 (o_t - y_t) / (T O).
struct LinearLayer {
  Problem problem;
  at::Tensor inputs;     // [N, T, I], a 1 appended with a bias.
  at::Tensor gradients;  // [N, T, O]

  // Scores [M, N] by the definition of EKFAC.
  at::Tensor Ekfac(double regularization) const {
    const auto num_samples = static_cast<double>(inputs.size(0));
    const auto num_positions = static_cast<double>(inputs.size(1));
    const at::Tensor s_a = at::einsum("nti,ntj->ij", {inputs, inputs})
                               .div(num_samples * num_positions);
    const at::Tensor s_g =
        at::einsum("nto,ntp->op", {gradients, gradients}).div(num_samples);
    const at::Tensor u_a = std::get<1>(at::linalg_eigh(s_a));
    const at::Tensor u_g = std::get<1>(at::linalg_eigh(s_g));
    const auto rotated = [&](const at::Tensor& g) {
      return u_g.t().matmul(g).matmul(u_a);
    };
    const at::Tensor train = rotated(Whole(problem.train));
    const at::Tensor eigenvalues = train.square().mean(0);
    const at::Tensor test =
        rotated(Whole(problem.test)).div(eigenvalues.add(regularization));
    return at::einsum("moi,noi->mn", {test, train});
  }

  // The whole gradients G of samples, [N, O, I].
  at::Tensor Whole(const Batch& batch) const {
    const at::Tensor flat = *problem.reference->FlatGrads(batch);
    const int64_t outputs = gradients.size(2);
    const int64_t width = batch.x[0].size(-1);
    const at::Tensor weight =
        flat.narrow(1, 0, outputs * width).view({-1, outputs, width});
    if (flat.size(1) == outputs * width) return weight;
    return at::cat(
        {weight, flat.narrow(1, outputs * width, outputs).unsqueeze(2)}, 2);
  }
};

LinearLayer MakeLinearLayer(int64_t positions, bool has_bias) {
  constexpr int64_t kSamples = 12, kInputs = 3, kOutputs = 4;
  const at::Tensor w =
      ParameterLike(SeededNormal({kOutputs, kInputs}, at::kDouble, 1));
  const at::Tensor b =
      has_bias ? ParameterLike(SeededNormal({kOutputs}, at::kDouble, 2))
               : at::Tensor();
  std::vector<NamedParameter> parameters = {{"fc.weight", w}};
  if (has_bias) parameters.push_back({"fc.bias", b});
  const auto model = std::make_shared<const FunctionModel>(
      parameters, [w, b](const std::vector<at::Tensor>& x) {
        return at::linear(x[0], w, b);
      });
  const auto batch = [&](int64_t size, uint64_t seed) {
    std::vector<int64_t> shape = {size};
    if (positions > 1) shape.push_back(positions);
    std::vector<int64_t> outputs = shape;
    shape.push_back(kInputs);
    outputs.push_back(kOutputs);
    return Batch{{SeededNormal(shape, at::kDouble, seed)},
                 SeededNormal(outputs, at::kDouble, seed + 1)};
  };
  LinearLayer layer;
  layer.problem = MakeProblem(model, MeanSquaredErrorLoss(), batch(kSamples, 3),
                              batch(3, 5));
  const Batch& train = layer.problem.train;
  const at::Tensor output = *model->Forward(train.x);
  layer.gradients = output.detach()
                        .sub(train.y)
                        .mul(2.0 / static_cast<double>(positions * kOutputs))
                        .view({kSamples, positions, kOutputs});
  layer.inputs = train.x[0].view({kSamples, positions, kInputs});
  if (has_bias) {
    layer.inputs = at::cat(
        {layer.inputs, at::ones({kSamples, positions, 1}, at::kDouble)}, 2);
  }
  return layer;
}

void ExpectEkfac(const LinearLayer& layer, int64_t batch_size) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto influence,
      Fit(Method("ekfac", 0.01), layer.problem, batch_size));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores,
      influence->Influences(layer.problem.test, layer.problem.train));
  EXPECT_THAT(scores, TensorNear(layer.Ekfac(0.01), 1e-10));
}

TEST(KnownTrapsTest, EkfacWithoutBias) {
  ExpectEkfac(MakeLinearLayer(1, /*has_bias=*/false), 12);
  ExpectEkfac(MakeLinearLayer(1, /*has_bias=*/true), 12);
}

TEST(KnownTrapsTest, EkfacWithSequenceInputsSquaresWholeSamples) {
  ExpectEkfac(MakeLinearLayer(5, /*has_bias=*/false), 12);
  ExpectEkfac(MakeLinearLayer(5, /*has_bias=*/true), 12);
}

TEST(KnownTrapsTest, EkfacIsTheSameWithAnotherBatchSize) {
  for (const int64_t batch_size : {1, 5, 12}) {
    ExpectEkfac(MakeLinearLayer(1, /*has_bias=*/true), batch_size);
    ExpectEkfac(MakeLinearLayer(5, /*has_bias=*/true), batch_size);
  }
}

TEST(KnownTrapsTest, EkfacWithATransposedEigenvectorMatrixIsAnother) {
  const LinearLayer layer = MakeLinearLayer(1, /*has_bias=*/true);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                 Fit(Method("ekfac", 0.01), layer.problem));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 influence->ExportState());
  const at::Tensor expected = layer.Ekfac(0.01);
  int num_matrices = 0;
  for (size_t i = 0; i < state.arrays.size(); ++i) {
    if (!absl::EndsWith(state.arrays[i].name, "eigenvectors")) continue;
    ++num_matrices;
    FittedState transposed = state;
    transposed.arrays[i].values = state.arrays[i].values.t().contiguous();
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto restored,
        RestoreInfluence(transposed, layer.problem.provider));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor scores,
        restored->Influences(layer.problem.test, layer.problem.train));
    EXPECT_THAT(scores, Not(TensorNear(expected, 1e-2)))
        << state.arrays[i].name;
  }
  EXPECT_EQ(num_matrices, 2);
}

// [N, n, P], the derivative of each sample's gradient by its input, would
// be 3.2 GB here; the result is 0.5 MB.
TEST(KnownTrapsTest, PerturbationNeverHoldsSamplesByInputsByParameters) {
  constexpr int64_t kInputs = 500, kSamples = 64, kQueries = 2;
  const Problem problem =
      MakeProblem(TanhMlp({kInputs, 50, 2}, at::kFloat, 1), CrossEntropyLoss(),
                  SeededClassification(kSamples, kInputs, 2, at::kFloat, 8),
                  SeededClassification(kQueries, kInputs, 2, at::kFloat, 7));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                 Fit(Method("identity", 1), problem));
  absl::StatusOr<at::Tensor> scores;
  const std::optional<int64_t> peak = MeasurePeakBytes([&] {
    scores = influence->Influences(problem.test, problem.train,
                                   InfluenceMode::kPerturbation);
  });
  INFLUENCE_ASSERT_OK(scores.status());
  EXPECT_EQ(scores->sizes(), at::IntArrayRef({kQueries, kSamples, kInputs}));
  if (!peak.has_value()) GTEST_SKIP() << "memory cannot be measured here";
  const int64_t forbidden =
      kSamples * kInputs * influence->num_parameters() * 4;
  EXPECT_LT(*peak, forbidden / 10);
}

}  // namespace
}  // namespace influence
