// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// One batch of training samples tried out before a run, so that batch sizes,
// memory and time are planned from what was measured.
#ifndef INFLUENCE_CLI_BATCH_PROBE_H_
#define INFLUENCE_CLI_BATCH_PROBE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "cli/data_set.h"
#include "gradients/gradient_provider.h"

namespace influence {

struct BatchProbe {
  int64_t num_samples = 1;

  // Of the process before the batch: model, data, LibTorch, a fit that was
  // loaded. Nothing where the system does not tell.
  std::optional<int64_t> baseline_bytes;

  // What the batch needed beyond that at most: its inputs, the activations and
  // gradients of one forward and backward pass.
  std::optional<int64_t> bytes;

  // What is kept of a sample's gradients: factors, or the gradient itself.
  int64_t factor_bytes_per_sample = 0;

  double seconds_per_gradient = 0;  // Of one sample.
  double seconds_per_score = 0;     // Of one sample and one query, beyond that.

  // `bytes` of one sample; 0 where it was not measured.
  int64_t bytes_per_sample() const {
    return bytes.has_value() ? *bytes / num_samples + 1 : 0;
  }
};

// Tries the first `num_samples` >= 1 samples of `data`, or all where there are
// fewer, or as many as need 256 MiB. Costs their gradients and one product a
// few times. Errors of the data and of `provider`.
absl::StatusOr<BatchProbe> ProbeBatch(const GradientProvider& provider,
                                      const DataSet& data, int64_t num_samples);

}  // namespace influence

#endif  // INFLUENCE_CLI_BATCH_PROBE_H_
