// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Scores with EKFAC on the models of benchmark_models.h with random weights:
// how many eigenvalues a score tolerance leaves out depends on model and data,
// and trained models leave out more. Times are wall-clock; threads as LibTorch
// is set (OMP_NUM_THREADS). The matrix product shows the rate they are measured
// against.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mm.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "benchmarks/benchmark_models.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "influence/kronecker_influence.h"
#include "influence/regularization.h"

namespace influence {
namespace {

// The sizes of every benchmark below.
struct Problem {
  const char* name;
  BenchmarkModel model;
  int64_t num_train;
  int64_t num_queries;
};

const Problem kProblems[] = {
    {"mlp", BenchmarkModel::kMlp, 1024, 256},
    {"cnn", BenchmarkModel::kCnn, 512, 256},
    {"transformer", BenchmarkModel::kTransformer, 128, 64},
};

constexpr int64_t kBatchSize = 256;

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
  Batch queries;
};

Data MakeData(const Problem& problem) {
  const int64_t size = problem.num_train + problem.num_queries;
  BenchmarkProblem made = MakeBenchmarkProblem(problem.model, size);
  Data data;
  data.train = OrDie(SliceBatch(made.batch, 0, problem.num_train));
  data.queries = OrDie(SliceBatch(made.batch, problem.num_train, size));
  data.provider = OrDie(CapturingGradientProvider::Create(
      std::move(made.model), CrossEntropyLoss(),
      OrDie(SliceBatch(data.train, 0, 3))));
  return data;
}

std::unique_ptr<KroneckerInfluence> Fit(const Data& data,
                                        double score_tolerance) {
  KroneckerInfluenceOptions options;
  options.regularization = OrDie(Regularization::Constant(1e-3));
  options.score_tolerance = score_tolerance;
  auto model = OrDie(KroneckerInfluence::Create(data.provider, options));
  OrDie(model->Fit(std::make_shared<const TensorBatchSequence>(
      OrDie(TensorBatchSequence::Create(data.train, kBatchSize)))));
  return model;
}

void SetSizes(const Problem& problem, const Data& data,
              benchmark::State& state) {
  state.SetLabel(problem.name);
  state.counters["P"] = static_cast<double>(data.provider->num_parameters());
  state.counters["threads"] = at::get_num_threads();
}

// The tolerance is the second argument's power of ten, exact with 0.
void BM_KroneckerInfluence_Scores(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  double tolerance = state.range(1) == 0 ? 0 : 1;
  for (int64_t i = 0; i < state.range(1); ++i) tolerance /= 10;
  const Data data = MakeData(problem);
  const auto model = Fit(data, tolerance);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        OrDie(model->Influences(data.queries, data.train)));
  }
  SetSizes(problem, data, state);
  double contracted = 0;
  for (const auto& inverse : model->inverses()) {
    contracted += inverse->contracted_share() *
                  static_cast<double>(inverse->num_factored());
  }
  state.counters["contracted"] =
      contracted / static_cast<double>(data.provider->num_parameters());
  // As if everything was contracted.
  state.counters["flop"] = benchmark::Counter(
      2.0 * static_cast<double>(data.provider->num_parameters()) *
          static_cast<double>(problem.num_train) *
          static_cast<double>(problem.num_queries),
      benchmark::Counter::kIsIterationInvariantRate);
}

void BM_MatrixProduct(benchmark::State& state) {
  const at::Tensor x = at::empty({1024, 4096}, at::kFloat).normal_();
  const at::Tensor y = at::empty({1024, 4096}, at::kFloat).normal_();
  for (auto _ : state) {
    benchmark::DoNotOptimize(at::mm(x, y.t()));
  }
  state.counters["threads"] = at::get_num_threads();
  state.counters["flop"] = benchmark::Counter(
      2.0 * 1024 * 1024 * 4096, benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(BM_MatrixProduct)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(BM_KroneckerInfluence_Scores)
    ->ArgNames({"problem", "tolerance"})
    ->ArgsProduct({{0, 1, 2}, {0, 3, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace influence
