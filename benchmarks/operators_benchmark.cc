// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Products with curvature matrices, dense curvatures, and influence models that
// solve directly and by iteration, from fit to scores, on networks with tanh,
// cross entropy and synthetic data of fixed seed. Times are wall-clock; threads
// as LibTorch is set (OMP_NUM_THREADS).
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/cg_influence.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/lissa_influence.h"
#include "influence/regularization.h"
#include "operators/batch_operation.h"
#include "operators/curvature.h"
#include "operators/dense_curvature.h"
#include "operators/problem_testing.h"

namespace influence {
namespace {

constexpr uint64_t kSeed = 7;

// The sizes of every benchmark below.
struct Problem {
  const char* name;
  std::vector<int64_t> widths;
  int64_t num_train;
  int64_t num_test;
};

const Problem kProblems[] = {
    {"logistic_64_10", {64, 10}, 1500, 297},
    {"digits_64_32_10", {64, 32, 10}, 1500, 297},
    {"mlp_784_64_10", {784, 64, 10}, 1500, 297},
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

void OrDie(const absl::Status& status) {
  OrDie(status.ok() ? absl::StatusOr<int>(0) : absl::StatusOr<int>(status));
}

struct Data {
  std::shared_ptr<const GradientProvider> provider;
  Batch train;
  Batch test;
};

Data MakeData(const Problem& problem) {
  const int64_t features = problem.widths.front();
  const int64_t classes = problem.widths.back();
  Data data;
  data.train = SeededClassification(problem.num_train, features, classes,
                                    at::kFloat, kSeed);
  data.test = SeededClassification(problem.num_test, features, classes,
                                   at::kFloat, kSeed + 2);
  data.provider = OrDie(CapturingGradientProvider::Create(
      TanhMlp(problem.widths, at::kFloat, kSeed), CrossEntropyLoss(),
      OrDie(SliceBatch(data.train, 0, 3))));
  return data;
}

std::shared_ptr<const BatchSequence> AsSequence(const Batch& batch,
                                                int64_t batch_size) {
  return std::make_shared<const TensorBatchSequence>(
      OrDie(TensorBatchSequence::Create(batch, batch_size)));
}

void SetSizes(const Problem& problem, const Data& data,
              benchmark::State& state) {
  state.SetLabel(problem.name);
  state.counters["P"] = static_cast<double>(data.provider->num_parameters());
  state.counters["threads"] = at::get_num_threads();
}

// m(b) V for 8 right-hand sides over one batch of all samples.
void BM_BatchOperation_Apply(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const auto curvature = static_cast<Curvature>(state.range(1));
  const Data data = MakeData(problem);
  const auto operation = CreateCurvatureOperation(curvature, data.provider);
  const at::Tensor v =
      SeededNormal({8, operation->input_size()}, at::kFloat, kSeed);
  for (auto _ : state) {
    benchmark::DoNotOptimize(OrDie(operation->Apply(data.train, v)));
  }
  SetSizes(problem, data, state);
  state.counters["products"] =
      benchmark::Counter(8, benchmark::Counter::kIsIterationInvariantRate);
}

void BM_DenseCurvature_Form(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const auto curvature = static_cast<Curvature>(state.range(1));
  const Data data = MakeData(problem);
  const auto blocks =
      ParameterBlocks::Create(data.provider->model(), BlockStructure::kFull);
  const auto sequence = AsSequence(data.train, state.range(2));
  for (auto _ : state) {
    benchmark::DoNotOptimize(OrDie(
        FormDenseCurvature(curvature, *data.provider, blocks, *sequence)));
  }
  SetSizes(problem, data, state);
  const auto size = static_cast<double>(blocks.size());
  state.counters["bytes"] = 8 * size * size;
}

std::unique_ptr<DirectInfluence> FitDirect(const Data& data,
                                           Curvature curvature) {
  DirectInfluenceOptions options;
  options.curvature = curvature;
  options.regularization = OrDie(Regularization::Constant(0.1));
  auto model = OrDie(DirectInfluence::Create(
      data.provider,
      ParameterBlocks::Create(data.provider->model(), BlockStructure::kFull),
      options));
  OrDie(model->Fit(AsSequence(data.train, data.train.size())));
  return model;
}

void BM_DirectInfluence_Fit(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const auto curvature = static_cast<Curvature>(state.range(1));
  const Data data = MakeData(problem);
  for (auto _ : state) {
    benchmark::DoNotOptimize(FitDirect(data, curvature));
  }
  SetSizes(problem, data, state);
}

void BM_DirectInfluence_Scores(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const Data data = MakeData(problem);
  const auto model = FitDirect(data, Curvature::kGaussNewton);
  for (auto _ : state) {
    benchmark::DoNotOptimize(OrDie(model->Influences(data.test, data.train)));
  }
  SetSizes(problem, data, state);
}

// Fit, solves for all queries and scores, with lambda = 0.1.
void BM_CgInfluence_All(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const Data data = MakeData(problem);
  CgInfluenceOptions options;
  options.regularization = OrDie(Regularization::Constant(0.1));
  options.block = state.range(1) != 0;
  const auto sequence = AsSequence(data.train, data.train.size());
  for (auto _ : state) {
    const auto model = OrDie(CgInfluence::Create(
        data.provider,
        ParameterBlocks::Create(data.provider->model(), BlockStructure::kFull),
        options));
    OrDie(model->Fit(sequence));
    benchmark::DoNotOptimize(OrDie(model->Influences(data.test, data.train)));
  }
  SetSizes(problem, data, state);
}

void BM_LissaInfluence_All(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const Data data = MakeData(problem);
  LissaInfluenceOptions options;
  options.regularization = OrDie(Regularization::Constant(0.1));
  const auto sequence = AsSequence(data.train, 256);
  for (auto _ : state) {
    const auto model = OrDie(LissaInfluence::Create(
        data.provider,
        ParameterBlocks::Create(data.provider->model(), BlockStructure::kFull),
        options));
    OrDie(model->Fit(sequence));
    benchmark::DoNotOptimize(OrDie(model->Influences(data.test, data.train)));
  }
  SetSizes(problem, data, state);
}

void BM_IdentityInfluence_Scores(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  const Data data = MakeData(problem);
  const auto model = OrDie(IdentityInfluence::Create(
      data.provider,
      ParameterBlocks::Create(data.provider->model(), BlockStructure::kFull)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(OrDie(model->Influences(data.test, data.train)));
  }
  SetSizes(problem, data, state);
}

constexpr int kHessian = static_cast<int>(Curvature::kHessian);
constexpr int kGaussNewton = static_cast<int>(Curvature::kGaussNewton);
constexpr int kGeneralized =
    static_cast<int>(Curvature::kGeneralizedGaussNewton);

BENCHMARK(BM_BatchOperation_Apply)
    ->ArgNames({"problem", "curvature"})
    ->ArgsProduct({{0, 1, 2}, {kHessian, kGaussNewton, kGeneralized}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
// The last problem is left out: 51k x 51k does not fit.
BENCHMARK(BM_DenseCurvature_Form)
    ->ArgNames({"problem", "curvature", "batch"})
    ->ArgsProduct({{0, 1}, {kHessian, kGaussNewton, kGeneralized}, {256, 1500}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_DirectInfluence_Fit)
    ->ArgNames({"problem", "curvature"})
    ->ArgsProduct({{0, 1}, {kHessian, kGaussNewton, kGeneralized}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_DirectInfluence_Scores)
    ->ArgNames({"problem"})
    ->DenseRange(0, 1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_CgInfluence_All)
    ->ArgNames({"problem", "block"})
    ->ArgsProduct({{0, 1}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_LissaInfluence_All)
    ->ArgNames({"problem"})
    ->DenseRange(0, 1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_IdentityInfluence_Scores)
    ->ArgNames({"problem"})
    ->DenseRange(0, 2)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace influence
