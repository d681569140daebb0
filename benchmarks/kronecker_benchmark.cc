// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The statistics of KFAC and EKFAC on the models of benchmark_models.h, cross
// entropy, empirical Fisher. Times are wall-clock; threads as LibTorch is set
// (OMP_NUM_THREADS).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/status/statusor.h"
#include "base/freed_memory.h"
#include "base/mkl_kernels.h"
#include "base/passive_waiting.h"  // For what it does at the start.
#include "benchmark/benchmark.h"
#include "benchmarks/benchmark_models.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "operators/kronecker_fit.h"

namespace influence {
namespace {

// The sizes of every benchmark below.
struct Problem {
  const char* name;
  BenchmarkModel model;
  int64_t num_samples;
  int64_t batch_size;
};

const Problem kProblems[] = {
    {"mlp", BenchmarkModel::kMlp, 9000, 1024},
    {"cnn", BenchmarkModel::kCnn, 9000, 256},
    {"transformer", BenchmarkModel::kTransformer, 2000, 64},
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

void BM_KroneckerFit(benchmark::State& state) {
  KeepFreedMemory();
  ChooseMklKernelsByInstructionSet();
  const Problem& problem = kProblems[state.range(0)];
  KroneckerFitOptions options;
  options.method = static_cast<KroneckerMethod>(state.range(1));
  const BenchmarkProblem data =
      MakeBenchmarkProblem(problem.model, problem.num_samples);
  const std::shared_ptr<const CapturingGradientProvider> provider =
      OrDie(CapturingGradientProvider::Create(
          data.model, CrossEntropyLoss(), OrDie(SliceBatch(data.batch, 0, 3))));
  const auto blocks =
      ParameterBlocks::Create(*data.model, BlockStructure::kLayer);
  const TensorBatchSequence sequence =
      OrDie(TensorBatchSequence::Create(data.batch, problem.batch_size));
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        OrDie(FitKronecker(provider, blocks, sequence, options)));
  }
  state.SetLabel(problem.name);
  state.counters["P"] = static_cast<double>(provider->num_parameters());
  state.counters["threads"] = at::get_num_threads();
}

BENCHMARK(BM_KroneckerFit)
    ->ArgNames({"problem", "ekfac"})
    ->ArgsProduct({{0, 1, 2}, {0, 1}})
    ->MeasureProcessCPUTime()
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace influence
