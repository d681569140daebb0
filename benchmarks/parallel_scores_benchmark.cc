// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Two ways to use the cores of one machine for EKFAC scores and for the EKFAC
// fit: between tiles (or shares of the samples), by workers with one LibTorch
// thread each, or within them, by one worker with several threads. Models of
// benchmark_models.h, cross entropy. Times are wall-clock.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/freed_memory.h"
#include "base/mkl_kernels.h"
#include "base/passive_waiting.h"  // For what it does at the start.
#include "base/thread_team.h"
#include "benchmark/benchmark.h"
#include "benchmarks/benchmark_models.h"
#include "calculators/chunk_sink.h"
#include "calculators/parallel_influence_calculator.h"
#include "calculators/sequential_influence_calculator.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/kronecker_influence.h"
#include "operators/kronecker_fit.h"

namespace influence {
namespace {

// The sizes of the benchmarks below; the last two for fits alone.
struct Problem {
  const char* name;
  BenchmarkModel model;
  int64_t num_train, num_queries;
  int64_t train_batch, query_batch;
};

const Problem kProblems[] = {
    {"mlp", BenchmarkModel::kMlp, 2048, 64, 256, 64},
    {"cnn", BenchmarkModel::kCnn, 2048, 64, 128, 64},
    {"mlp, 9000 samples", BenchmarkModel::kMlp, 9000, 64, 256, 64},
    {"cnn, 9000 samples", BenchmarkModel::kCnn, 9000, 64, 128, 64},
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

struct Data {
  std::shared_ptr<const CapturingGradientProvider> provider;
  std::shared_ptr<const BatchSequence> train, test;
};

Data MakeData(const Problem& problem) {
  const BenchmarkProblem made = MakeBenchmarkProblem(
      problem.model, problem.num_train + problem.num_queries);
  Data data;
  data.provider = OrDie(CapturingGradientProvider::Create(
      made.model, CrossEntropyLoss(), OrDie(SliceBatch(made.batch, 0, 3))));
  data.train =
      std::make_shared<TensorBatchSequence>(OrDie(TensorBatchSequence::Create(
          OrDie(SliceBatch(made.batch, 0, problem.num_train)),
          problem.train_batch)));
  data.test =
      std::make_shared<TensorBatchSequence>(OrDie(TensorBatchSequence::Create(
          OrDie(SliceBatch(made.batch, problem.num_train,
                           problem.num_train + problem.num_queries)),
          problem.query_batch)));
  return data;
}

// Lets go of the tiles.
class Discard : public TileSink {
 public:
  absl::Status Begin(int64_t, int64_t) override { return absl::OkStatus(); }
  absl::Status Add(int64_t, int64_t, const at::Tensor& tile) override {
    benchmark::DoNotOptimize(tile.data_ptr());
    return absl::OkStatus();
  }
  bool TakesAnyOrder() const override { return true; }
};

void BM_EkfacScores(benchmark::State& state) {
  KeepFreedMemory();
  ChooseMklKernelsByInstructionSet();
  const Problem& problem = kProblems[state.range(0)];
  const int num_workers = static_cast<int>(state.range(1));
  const int num_threads = static_cast<int>(state.range(2));
  at::set_num_threads(num_threads);
  const Data data = MakeData(problem);
  std::shared_ptr<KroneckerInfluence> model =
      OrDie(KroneckerInfluence::Create(data.provider));
  if (!model->Fit(data.train).ok()) std::exit(1);
  const auto parallel = OrDie(
      ParallelInfluenceCalculator::Create(model, {.num_workers = num_workers}));
  const auto sequential = OrDie(SequentialInfluenceCalculator::Create(model));
  Discard sink;
  for (auto _ : state) {
    const NestedLazyChunkSequence scores =
        num_threads == 1 ? parallel.Influences(data.test, data.train)
                         : sequential.Influences(data.test, data.train);
    if (!scores.ForEach(sink).ok()) std::exit(1);
  }
  state.SetLabel(problem.name);
  state.counters["P"] = static_cast<double>(model->num_parameters());
}

BENCHMARK(BM_EkfacScores)
    ->ArgNames({"problem", "workers", "threads"})
    ->ArgsProduct({{0, 1}, {1, 2}, {1}})
    ->ArgsProduct({{0, 1}, {1}, {2}})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void BM_EkfacFit(benchmark::State& state) {
  KeepFreedMemory();
  ChooseMklKernelsByInstructionSet();
  const Problem& problem = kProblems[state.range(0)];
  const int num_workers = static_cast<int>(state.range(1));
  at::set_num_threads(static_cast<int>(state.range(2)));
  const Data data = MakeData(problem);
  const auto blocks =
      ParameterBlocks::Create(data.provider->model(), BlockStructure::kLayer);
  for (auto _ : state) {
    if (num_workers == 1) {
      benchmark::DoNotOptimize(
          OrDie(FitKronecker(data.provider, blocks, *data.train)));
      continue;
    }
    const absl::Status status =
        FirstError(RunThreadTeam(num_workers, [&](Communicator& communicator) {
          KroneckerFitOptions options;
          options.communicator = std::shared_ptr<Communicator>(
              std::shared_ptr<void>(), &communicator);
          return FitKronecker(data.provider, blocks, *data.train, options)
              .status();
        }));
    if (!status.ok()) std::exit(1);
  }
  state.SetLabel(problem.name);
}

BENCHMARK(BM_EkfacFit)
    ->ArgNames({"problem", "workers", "threads"})
    ->ArgsProduct({{0, 1, 2, 3}, {1, 2}, {1}})
    ->ArgsProduct({{0, 1, 2, 3}, {1}, {2}})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace influence
