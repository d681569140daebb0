// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/curvature_products.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/model.h"
#include "gradients/sample_range.h"
#include "operators/dense_curvature.h"
#include "operators/kept_curvature_operator.h"
#include "operators/low_rank.h"
#include "operators/rank_average.h"

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
    const BatchSequence& data, const DenseCurvatureOptions& options,
    ProgressReporter* progress) {
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
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<at::Tensor> formed,
      FormDenseCurvature(curvature, provider, part, data, options, progress));
  for (size_t i = 0; i < selected.size(); ++i) {
    matrices[selected[i]] = std::move(formed[i]);
  }
  return matrices;
}

absl::StatusOr<std::shared_ptr<const RankAverage>> KeepCurvatureProducts(
    Curvature curvature, const GradientProvider& provider,
    const ParameterBlock& block,
    const std::vector<std::shared_ptr<const BatchSequence>>& data,
    const KeptCurvatureOptions& options,
    std::shared_ptr<Communicator> communicator) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const GradientProvider> restricted,
      provider.Restrict(block.parameters));
  KeptCurvatureOptions part_options = options;
  std::vector<RankAverage::Part> parts;
  for (const std::shared_ptr<const BatchSequence>& whole : data) {
    INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const BatchSequence> mine,
                               SamplesOfRank(whole, communicator.get()));
    RankAverage::Part part;
    part.num_samples = mine->num_samples();
    if (part.num_samples > 0) {
      INFLUENCE_ASSIGN_OR_RETURN(
          part.op, KeptCurvatureOperator::Create(
                       curvature, restricted, std::move(mine), part_options));
      // Once for all parts: the model is the same.
      part_options.check_second_derivatives = false;
    }
    parts.push_back(std::move(part));
  }
  return RankAverage::Create(std::move(communicator), block.size,
                             std::move(parts));
}

absl::StatusOr<LowRank> LeadEigenpairs(
    const RankAverage& average,
    absl::FunctionRef<absl::StatusOr<LowRank>()> find) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const RankAverage::Tensors found,
      average.LeadTensors([&]() -> absl::StatusOr<RankAverage::Tensors> {
        INFLUENCE_ASSIGN_OR_RETURN(const LowRank pairs, find());
        return RankAverage::Tensors{pairs.u.t().contiguous(), pairs.d};
      }));
  return CatchTorch("eigenpairs", [&]() -> absl::StatusOr<LowRank> {
    return LowRank{found[0].t(), found[1]};
  });
}

}  // namespace influence
