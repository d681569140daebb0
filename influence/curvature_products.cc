// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/curvature_products.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/model.h"
#include "operators/dense_curvature.h"

namespace influence {

absl::Status ValidateCurvatureProducts(
    const CurvatureProductsOptions& options) {
  if (options.expected_queries < 1) {
    return absl::InvalidArgumentError(absl::StrCat("expected_queries: found ",
                                                   options.expected_queries,
                                                   ", expected >= 1"));
  }
  if (options.max_formed_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_formed_bytes: found ",
                                                   options.max_formed_bytes,
                                                   ", expected >= 0"));
  }
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: found ", options.num_threads, ", expected >= 0"));
  }
  return absl::OkStatus();
}

std::vector<bool> BlocksToForm(const CurvatureProductsOptions& options,
                               const ParameterBlocks& blocks,
                               int64_t num_matrices, int64_t iterations) {
  std::vector<bool> which(blocks.blocks().size(),
                          options.kind == CurvatureProducts::kFormed);
  if (options.kind != CurvatureProducts::kAutomatic) return which;
  // In floating point, lest large sizes overflow.
  auto bytes_left = static_cast<double>(options.max_formed_bytes);
  const double products = static_cast<double>(options.expected_queries) *
                          static_cast<double>(iterations);
  for (size_t b = 0; b < which.size(); ++b) {
    const auto size = static_cast<double>(blocks.blocks()[b].size);
    const double columns = size * static_cast<double>(num_matrices);
    const double bytes = 8 * size * columns;
    if (columns > products || bytes > bytes_left) continue;
    which[b] = true;
    bytes_left -= bytes;
  }
  return which;
}

absl::StatusOr<std::vector<at::Tensor>> FormSelectedBlocks(
    Curvature curvature, const GradientProvider& provider,
    const ParameterBlocks& blocks, const std::vector<bool>& which,
    const BatchSequence& data, int num_threads, ProgressReporter* progress) {
  std::vector<at::Tensor> matrices(which.size());
  std::vector<ParameterGroup> groups;
  std::vector<size_t> selected;
  for (size_t b = 0; b < which.size(); ++b) {
    if (!which[b]) continue;
    const ParameterBlock& block = blocks.blocks()[b];
    ParameterGroup group{block.name, {}};
    for (const int64_t index : block.parameters) {
      group.parameters.push_back(provider.model().parameters()[index].name);
    }
    groups.push_back(std::move(group));
    selected.push_back(b);
  }
  if (selected.empty()) return matrices;
  INFLUENCE_ASSIGN_OR_RETURN(
      const ParameterBlocks part,
      ParameterBlocks::CreateCustom(provider.model(), groups));
  DenseCurvatureOptions options;
  options.num_threads = num_threads;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<at::Tensor> formed,
      FormDenseCurvature(curvature, provider, part, data, options, progress));
  for (size_t i = 0; i < selected.size(); ++i) {
    matrices[selected[i]] = std::move(formed[i]);
  }
  return matrices;
}

}  // namespace influence
