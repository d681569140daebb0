// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/prepared_queries.h"

#include "absl/status/status.h"

namespace influence {
namespace {

absl::Status NoGradients() {
  return absl::UnimplementedError(
      "train: found gradients, expected samples: the model does not take "
      "factored gradients");
}

}  // namespace

absl::StatusOr<at::Tensor> PreparedQueries::InfluencesFromGradients(
    const FactoredGradients& /*train*/) const {
  return NoGradients();
}

absl::StatusOr<TensorMap> PreparedQueries::InfluencesFromGradientsByBlock(
    const FactoredGradients& /*train*/) const {
  return NoGradients();
}

}  // namespace influence
