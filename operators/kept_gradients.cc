// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kept_gradients.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "operators/gradient_factors.h"

namespace influence {
KeptGradients::KeptGradients(std::shared_ptr<const GradientProvider> provider,
                             std::shared_ptr<const BatchSequence> data)
    : provider_(std::move(provider)), data_(std::move(data)) {}

absl::StatusOr<std::shared_ptr<const KeptGradients>> KeptGradients::Create(
    std::shared_ptr<const GradientProvider> provider,
    std::shared_ptr<const BatchSequence> data,
    const KeptGradientsOptions& options, ProgressReporter* progress) {
  if (provider == nullptr || data == nullptr) {
    return absl::InvalidArgumentError(provider == nullptr ? "provider: is null"
                                                          : "data: is null");
  }
  if (options.memory_limit < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "memory_limit: found ", options.memory_limit, ", expected >= 0"));
  }
  if (data->num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  std::shared_ptr<KeptGradients> kept(
      new KeptGradients(std::move(provider), std::move(data)));
  const auto limit = static_cast<double>(options.memory_limit);
  ProgressStage stage(progress, "gradients", kept->num_batches(), "batches");
  std::vector<FactoredGradients> batches;
  double bytes = 0;
  for (int64_t i = 0; i < kept->num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads, kept->Get(i));
    bytes += StoredBytes(grads);
    // What all batches will take, if they are like the first.
    const double expected =
        i > 0 ? bytes
              : bytes * static_cast<double>(kept->num_samples()) /
                    static_cast<double>(grads.num_samples());
    if (expected > limit) return kept;
    batches.push_back(std::move(grads));
    stage.Advance();
  }
  kept->batches_ = std::move(batches);
  return kept;
}

absl::StatusOr<FactoredGradients> KeptGradients::Get(int64_t index) const {
  if (is_kept()) {
    if (index >= 0 && index < num_batches()) return batches_[index];
    return absl::OutOfRangeError(absl::StrCat(
        "batch: found index ", index, ", expected [0, ", num_batches(), ")"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data_->Get(index));
  return provider_->FactoredGrads(batch);
}

}  // namespace influence
