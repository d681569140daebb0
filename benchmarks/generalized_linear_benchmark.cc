// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Generalized linear models in closed form: the fit (Hessian and its
// factorisation), the influence of every training sample on itself, and scores
// of 100 queries, on synthetic float64 data of fixed seed. Times are
// wall-clock; threads as LibTorch is set (OMP_NUM_THREADS).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "benchmark/benchmark.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/generalized_linear_model.h"
#include "influence/generalized_linear_influence.h"
#include "influence/prepared_queries.h"
#include "operators/curvature.h"
#include "operators/problem_testing.h"

namespace influence {
namespace {

constexpr uint64_t kSeed = 7;
constexpr int64_t kBatchSize = 65536;
constexpr int64_t kQueries = 100;

// The sizes of every benchmark below.
struct Problem {
  const char* name;
  GeneralizedLinearLoss loss;
  int64_t num_samples;
  int64_t num_features;
  int64_t num_outputs;
};

constexpr Problem kProblems[] = {
    {"linear_1e6_100", GeneralizedLinearLoss::kMeanSquaredError, 1000000, 100,
     1},
    {"binary_1e6_100", GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits,
     1000000, 100, 1},
    {"softmax3_1e6_100", GeneralizedLinearLoss::kCrossEntropy, 1000000, 100, 3},
};
constexpr int64_t kNumProblems = sizeof(kProblems) / sizeof(Problem);

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
  Batch train;
  Batch test;
  std::shared_ptr<const BatchSequence> sequence;
  std::unique_ptr<GeneralizedLinearInfluence> influence;
};

Data MakeData(const Problem& problem) {
  Data data;
  const int64_t k = problem.num_outputs;
  data.train = SeededClassification(problem.num_samples, problem.num_features,
                                    k == 1 ? 2 : k, at::kDouble, kSeed);
  if (k == 1) data.train.y = data.train.y.to(at::kDouble).unsqueeze(1);
  data.test = OrDie(SliceBatch(data.train, 0, kQueries));
  data.sequence = std::make_shared<const TensorBatchSequence>(
      OrDie(TensorBatchSequence::Create(data.train, kBatchSize)));
  data.influence = OrDie(GeneralizedLinearInfluence::Create(
      OrDie(GeneralizedLinearModel::Create(
          problem.loss,
          SeededNormal({k, problem.num_features}, at::kDouble, kSeed + 2, 0.1),
          SeededNormal({k}, at::kDouble, kSeed + 3))),
      {Curvature::kHessian, 1e-3}));
  return data;
}

const Problem& ProblemOf(benchmark::State& state) {
  const Problem& problem = kProblems[state.range(0)];
  state.SetLabel(problem.name);
  return problem;
}

void BM_GeneralizedLinear_Fit(benchmark::State& state) {
  const Data data = MakeData(ProblemOf(state));
  for (auto step : state) OrDie(data.influence->Fit(data.sequence));
}
BENCHMARK(BM_GeneralizedLinear_Fit)
    ->DenseRange(0, kNumProblems - 1)
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1)
    ->UseRealTime();

void BM_GeneralizedLinear_SelfInfluences(benchmark::State& state) {
  const Data data = MakeData(ProblemOf(state));
  OrDie(data.influence->Fit(data.sequence));
  for (auto step : state) {
    for (int64_t i = 0; i < data.sequence->num_batches(); ++i) {
      benchmark::DoNotOptimize(
          OrDie(data.influence->SelfInfluences(OrDie(data.sequence->Get(i)))));
    }
  }
}
BENCHMARK(BM_GeneralizedLinear_SelfInfluences)
    ->DenseRange(0, kNumProblems - 1)
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1)
    ->UseRealTime();

void BM_GeneralizedLinear_Scores(benchmark::State& state) {
  const Data data = MakeData(ProblemOf(state));
  OrDie(data.influence->Fit(data.sequence));
  for (auto step : state) {
    const auto queries = OrDie(data.influence->PrepareQueries(data.test));
    for (int64_t i = 0; i < data.sequence->num_batches(); ++i) {
      benchmark::DoNotOptimize(
          OrDie(queries->Influences(OrDie(data.sequence->Get(i)))));
    }
  }
}
BENCHMARK(BM_GeneralizedLinear_Scores)
    ->DenseRange(0, kNumProblems - 1)
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1)
    ->UseRealTime();

}  // namespace
}  // namespace influence
