// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The per-sample gradients of a data set as factors, kept in memory where they
// fit: for methods that meet them more than once.
#ifndef INFLUENCE_OPERATORS_KEPT_GRADIENTS_H_
#define INFLUENCE_OPERATORS_KEPT_GRADIENTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"

namespace influence {

struct KeptGradientsOptions {
  // Bytes that the factors may take, >= 0. More, and nothing is kept: gradients
  // are then taken anew each time.
  int64_t memory_limit = int64_t{1} << 29;
};

// Immutable and thread-safe.
class KeptGradients {
 public:
  // Reads the data once, but for the first batch only if its factors show that
  // the others will not fit. kInvalidArgument if an argument is null or the
  // data is empty; what reading and gradients fail with.
  static absl::StatusOr<std::shared_ptr<const KeptGradients>> Create(
      std::shared_ptr<const GradientProvider> provider,
      std::shared_ptr<const BatchSequence> data,
      const KeptGradientsOptions& options = {},
      ProgressReporter* progress = nullptr);

  bool is_kept() const { return !batches_.empty(); }
  int64_t num_samples() const { return data_->num_samples(); }
  int64_t num_batches() const { return data_->num_batches(); }
  const GradientProvider& provider() const { return *provider_; }

  // The gradients of batch `index`, of the provider's parameters.
  absl::StatusOr<FactoredGradients> Get(int64_t index) const;

 private:
  KeptGradients(std::shared_ptr<const GradientProvider> provider,
                std::shared_ptr<const BatchSequence> data);

  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const BatchSequence> data_;
  std::vector<FactoredGradients> batches_;  // All or none.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KEPT_GRADIENTS_H_
