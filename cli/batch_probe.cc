// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/batch_probe.h"

#include <algorithm>
#include <cstdint>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/data_set.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "operators/gradient_factors.h"

namespace influence {
namespace {

// Queries of the product that tells the time of a score: as many as make it
// about as fast as in the run, in vectors [P] of no more than 64 MiB.
constexpr int64_t kMaxQueries = 256;
constexpr int64_t kMaxQueryScalars = int64_t{1} << 24;

// Samples tried first, and what more of them may need.
constexpr int64_t kFirstSamples = 16;
constexpr int64_t kMaxProbeBytes = int64_t{256} << 20;

// A first call of this length is no longer dominated by what happens once:
// pages touched, threads started, kernels chosen.
constexpr double kLongSeconds = 1;

// Sets `seconds` to what `work` takes: the second time, unless the first is
// long.
absl::Status TimeWarm(absl::FunctionRef<absl::Status()> work, double* seconds) {
  *seconds = 0;
  for (int run = 0; run < 2 && *seconds < kLongSeconds; ++run) {
    const absl::Time start = absl::Now();
    INFLUENCE_RETURN_IF_ERROR(work());
    *seconds = absl::ToDoubleSeconds(absl::Now() - start);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BatchProbe> ProbeBatch(const GradientProvider& provider,
                                      const DataSet& data,
                                      int64_t num_samples) {
  BatchProbe probe;
  probe.num_samples = std::min(num_samples, data.num_samples());
  const int64_t num_parameters = provider.num_parameters();
  const int64_t num_queries =
      std::clamp<int64_t>(kMaxQueryScalars / num_parameters, 1, kMaxQueries);
  ReleaseFreedMemory();
  probe.baseline_bytes = ResidentBytes();
  absl::Status status = absl::OkStatus();
  Batch batch;
  double gradient_seconds = 0;
  const auto take_gradients = [&]() -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(batch, data.First(probe.num_samples));
    return TimeWarm(
        [&]() -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                                     provider.FactoredGrads(batch));
          probe.factor_bytes_per_sample = FactorBytesPerSample(gradients);
          return absl::OkStatus();
        },
        &gradient_seconds);
  };
  const auto measure = [&](int64_t samples) {
    probe.num_samples = samples;
    probe.bytes = MeasurePeakBytes([&] { status = take_gradients(); });
    return status;
  };
  // A few samples first, since many may need more memory than the run will;
  // twice, since the first time is LibTorch's as well.
  const int64_t most = probe.num_samples;
  INFLUENCE_RETURN_IF_ERROR(measure(std::min(most, kFirstSamples)));
  INFLUENCE_RETURN_IF_ERROR(measure(probe.num_samples));
  while (probe.num_samples < most) {
    const int64_t fitting =
        probe.bytes_per_sample() > 0
            ? std::min(most, kMaxProbeBytes / probe.bytes_per_sample())
            : most;
    if (fitting < most && fitting < 2 * probe.num_samples) break;
    INFLUENCE_RETURN_IF_ERROR(measure(fitting));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor queries,
      CatchTorch("probe", [&]() -> absl::StatusOr<at::Tensor> {
        return at::zeros({num_queries, num_parameters},
                         at::dtype(provider.model().dtype()));
      }));
  double product_seconds = 0;
  INFLUENCE_RETURN_IF_ERROR(
      TimeWarm([&] { return provider.JacobianProd(batch, queries).status(); },
               &product_seconds));
  product_seconds -= gradient_seconds;
  const auto samples = static_cast<double>(probe.num_samples);
  probe.seconds_per_gradient = gradient_seconds / samples;
  probe.seconds_per_score = std::max(product_seconds, 0.0) / samples /
                            static_cast<double>(num_queries);
  return probe;
}

}  // namespace influence
