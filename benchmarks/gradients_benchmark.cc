// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Per-sample gradients: capturing them as factors, writing them out, and
// products with them. Counters: bytes written per second where a result of
// [N, P] is written; BM_MemoryWrite is the limit that those can reach.
#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/mm.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "benchmark/benchmark.h"
#include "benchmarks/benchmark_models.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/per_sample_function.h"

namespace influence {
namespace {

// One size table for all variants: (model, number of samples).
void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"model", "samples"});
  for (const BenchmarkModel model : {BenchmarkModel::kMlp, BenchmarkModel::kCnn,
                                     BenchmarkModel::kTransformer}) {
    for (const int64_t samples : {32, 256}) {
      benchmark->Args({static_cast<int64_t>(model), samples});
    }
  }
  benchmark->Unit(benchmark::kMillisecond)->UseRealTime();
}

struct Fixture {
  explicit Fixture(const benchmark::State& state)
      : problem(MakeBenchmarkProblem(
            static_cast<BenchmarkModel>(state.range(0)), state.range(1))) {
    auto created = CapturingGradientProvider::Create(
        problem.model, CrossEntropyLoss(), problem.batch);
    INFLUENCE_CHECK(created.ok());
    provider = *created;
    INFLUENCE_CHECK(provider->coverage().covered_share() == 1);
  }

  FactoredGradients Factors() const {
    auto factors = provider->FactoredGrads(problem.batch);
    INFLUENCE_CHECK(factors.ok());
    return *std::move(factors);
  }

  void CountBytes(benchmark::State& state) const {
    state.SetBytesProcessed(state.iterations() * problem.batch.size() *
                            problem.model->num_parameters() * 4);
  }

  BenchmarkProblem problem;
  std::shared_ptr<const CapturingGradientProvider> provider;
};

// Filling [N, P] floats: the limit of everything that writes gradients out.
void BM_MemoryWrite(benchmark::State& state) {
  const Fixture fixture(state);
  for (auto _ : state) {
    at::Tensor flat = at::empty({fixture.problem.batch.size(),
                                 fixture.problem.model->num_parameters()});
    flat.fill_(1);
    benchmark::DoNotOptimize(flat.data_ptr());
  }
  fixture.CountBytes(state);
}
BENCHMARK(BM_MemoryWrite)->Apply(Sizes);

void BM_Gradients_Factored(benchmark::State& state) {
  const Fixture fixture(state);
  for (auto _ : state) benchmark::DoNotOptimize(fixture.Factors());
}
BENCHMARK(BM_Gradients_Factored)->Apply(Sizes);

void BM_Gradients_Flat(benchmark::State& state) {
  const Fixture fixture(state);
  for (auto _ : state) {
    auto flat = fixture.provider->FlatGrads(fixture.problem.batch);
    INFLUENCE_CHECK(flat.ok());
    benchmark::DoNotOptimize(flat->data_ptr());
  }
  fixture.CountBytes(state);
}
BENCHMARK(BM_Gradients_Flat)->Apply(Sizes);

void BM_Gram_FromFactors(benchmark::State& state) {
  const Fixture fixture(state);
  const FactoredGradients factors = fixture.Factors();
  for (auto _ : state) {
    auto gram = factors.Gram(factors);
    INFLUENCE_CHECK(gram.ok());
    benchmark::DoNotOptimize(gram->data_ptr());
  }
}
BENCHMARK(BM_Gram_FromFactors)->Apply(Sizes);

void BM_Gram_ThroughFlat(benchmark::State& state) {
  const Fixture fixture(state);
  const FactoredGradients factors = fixture.Factors();
  for (auto _ : state) {
    auto flat = factors.Flatten();
    INFLUENCE_CHECK(flat.ok());
    benchmark::DoNotOptimize(at::mm(*flat, flat->t()).data_ptr());
  }
}
BENCHMARK(BM_Gram_ThroughFlat)->Apply(Sizes);

// Products with 16 rows of [K, P], and sums with 16 rows of weights.
constexpr int64_t kRows = 16;

void BM_Products_Contract(benchmark::State& state) {
  const Fixture fixture(state);
  const FactoredGradients factors = fixture.Factors();
  const at::Tensor rows =
      at::empty({kRows, fixture.problem.model->num_parameters()}).fill_(1e-3);
  for (auto _ : state) {
    auto products = factors.Contract(rows);
    INFLUENCE_CHECK(products.ok());
    benchmark::DoNotOptimize(products->data_ptr());
  }
}
BENCHMARK(BM_Products_Contract)->Apply(Sizes);

void BM_Products_WeightedSum(benchmark::State& state) {
  const Fixture fixture(state);
  const FactoredGradients factors = fixture.Factors();
  const at::Tensor weights =
      at::empty({kRows, fixture.problem.batch.size()}).fill_(1e-3);
  for (auto _ : state) {
    auto sums = factors.WeightedSum(weights);
    INFLUENCE_CHECK(sums.ok());
    benchmark::DoNotOptimize(sums->data_ptr());
  }
}
BENCHMARK(BM_Products_WeightedSum)->Apply(Sizes);

}  // namespace
}  // namespace influence
