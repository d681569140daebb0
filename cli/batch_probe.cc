// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/batch_probe.h"

#include <algorithm>
#include <cstdint>

#include "ATen/core/Tensor.h"
#include "ATen/ops/zeros.h"
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

double SecondsSince(absl::Time start) {
  return absl::ToDoubleSeconds(absl::Now() - start);
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
    const absl::Time start = absl::Now();
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                               provider.FactoredGrads(batch));
    gradient_seconds = SecondsSince(start);
    probe.factor_bytes_per_sample = FactorBytesPerSample(gradients);
    return absl::OkStatus();
  };
  probe.bytes = MeasurePeakBytes([&] { status = take_gradients(); });
  INFLUENCE_RETURN_IF_ERROR(status);
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor queries,
      CatchTorch("probe", [&]() -> absl::StatusOr<at::Tensor> {
        return at::zeros({num_queries, num_parameters},
                         at::dtype(provider.model().dtype()));
      }));
  const absl::Time start = absl::Now();
  INFLUENCE_RETURN_IF_ERROR(provider.JacobianProd(batch, queries).status());
  const double product_seconds = SecondsSince(start) - gradient_seconds;
  const auto samples = static_cast<double>(probe.num_samples);
  probe.seconds_per_gradient = gradient_seconds / samples;
  probe.seconds_per_score = std::max(product_seconds, 0.0) / samples /
                            static_cast<double>(num_queries);
  return probe;
}

}  // namespace influence
