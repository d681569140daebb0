// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/direct_influence.h"

#include <cstddef>
#include <string>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "operators/dense_curvature.h"
#include "operators/fit_checkpoint.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "direct";
constexpr char kCurvatureOption[] = "curvature";
constexpr absl::string_view kCurvatureStage = "curvature";

std::string ArrayName(const std::string& block) {
  return absl::StrCat(block, "/curvature");
}

}  // namespace

absl::StatusOr<std::unique_ptr<DirectInfluence>> DirectInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    const DirectInfluenceOptions& options) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: found ", options.num_threads, ", expected >= 0"));
  }
  if (!options.regularization.is_auto()) {
    INFLUENCE_RETURN_IF_ERROR(options.regularization.Resolve(blocks).status());
  }
  return std::unique_ptr<DirectInfluence>(
      new DirectInfluence(std::move(provider), std::move(blocks), options));
}

DirectInfluence::DirectInfluence(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    DirectInfluenceOptions options)
    : ComposableInfluence(std::move(provider), std::move(blocks),
                          options.query_function),
      options_(std::move(options)) {}

std::vector<BlockReport> DirectInfluence::report() const {
  std::vector<BlockReport> report;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    report.push_back({block.name, block.size, inverses_[b]->regularization(),
                      inverses_[b]->smallest_eigenvalue(),
                      RegularizationRemarks(regularization_, b)});
  }
  return report;
}

std::vector<at::Tensor> DirectInfluence::curvatures() const {
  std::vector<at::Tensor> curvatures;
  for (const auto& inverse : inverses_) curvatures.push_back(inverse->c());
  return curvatures;
}

absl::StatusOr<std::vector<at::Tensor>> DirectInfluence::CurvatureEigenvalues()
    const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return CatchTorch(
      "eigenvalues", [&]() -> absl::StatusOr<std::vector<at::Tensor>> {
        const at::NoGradGuard no_grad;
        std::vector<at::Tensor> eigenvalues;
        for (const auto& inverse : inverses_) {
          eigenvalues.push_back(at::linalg_eigvalsh(inverse->c()).flip(0));
        }
        return eigenvalues;
      });
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
DirectInfluence::FitOperators(std::shared_ptr<const BatchSequence> data,
                              ProgressReporter* progress) {
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<at::Tensor> curvatures,
                             FormCurvatures(*data, progress));
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization regularization,
      FitRegularization(options_.regularization, blocks(), [&] {
        return options_.curvature == Curvature::kGaussNewton
                   ? AutoRegularizationFromGaussNewton(
                         blocks(), curvatures,
                         RoundingUnit(provider().model().dtype()))
                   : AutoRegularization(provider(), blocks(), *data,
                                        options_.communicator.get());
      }));
  INFLUENCE_ASSIGN_OR_RETURN(
      inverses_, Factorize(std::move(curvatures), regularization.values));
  regularization_ = std::move(regularization);
  return std::vector<std::shared_ptr<const Operator>>(inverses_.begin(),
                                                      inverses_.end());
}

absl::StatusOr<std::vector<at::Tensor>> DirectInfluence::FormCurvatures(
    const BatchSequence& data, ProgressReporter* progress) const {
  if (fit_checkpoint() != nullptr) {
    INFLUENCE_ASSIGN_OR_RETURN(auto found,
                               fit_checkpoint()->Find(kCurvatureStage));
    if (found.has_value()) {
      bool fits = found->size() == blocks().blocks().size();
      for (size_t b = 0; fits && b < found->size(); ++b) {
        const int64_t size = blocks().blocks()[b].size;
        fits = (*found)[b].scalar_type() == at::kDouble &&
               (*found)[b].sizes() == at::IntArrayRef({size, size});
      }
      if (fits) return *std::move(found);
      return absl::DataLossError(
          "fit: found other curvatures kept of an earlier run, expected those "
          "of this model");
    }
  }
  DenseCurvatureOptions curvature_options;
  curvature_options.num_threads = options_.num_threads;
  curvature_options.communicator = options_.communicator;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<at::Tensor> curvatures,
      FormDenseCurvature(options_.curvature, provider(), blocks(), data,
                         curvature_options, progress));
  if (fit_checkpoint() != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(
        fit_checkpoint()->Keep(kCurvatureStage, curvatures));
  }
  return curvatures;
}

absl::StatusOr<std::vector<std::shared_ptr<const DirectInverse>>>
DirectInfluence::Factorize(std::vector<at::Tensor> curvatures,
                           const std::vector<double>& regularization) const {
  std::vector<std::shared_ptr<const DirectInverse>> inverses;
  for (size_t b = 0; b < curvatures.size(); ++b) {
    DirectInverseOptions inverse_options;
    inverse_options.regularization = regularization[b];
    inverse_options.relative_accuracy =
        RoundingUnit(provider().model().dtype());
    absl::StatusOr<std::shared_ptr<const DirectInverse>> inverse =
        DirectInverse::Create(std::move(curvatures[b]), inverse_options);
    if (!inverse.ok()) {
      return InBlock(blocks().blocks()[b].name, inverse.status());
    }
    inverses.push_back(*std::move(inverse));
  }
  return inverses;
}

absl::Status DirectInfluence::SetInverses(int64_t num_fitted_samples) {
  return SetOperators(std::vector<std::shared_ptr<const Operator>>(
                          inverses_.begin(), inverses_.end()),
                      num_fitted_samples);
}

absl::StatusOr<FittedState> DirectInfluence::DoExportState() const {
  FittedState state;
  state.method = std::string(kMethod);
  state.options[kCurvatureOption] =
      std::string(CurvatureName(options_.curvature));
  state.regularization = regularization_.values;
  state.auto_regularization = regularization_.auto_values;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    state.arrays.push_back(
        {ArrayName(blocks().blocks()[b].name), inverses_[b]->c()});
  }
  return state;
}

absl::StatusOr<std::unique_ptr<DirectInfluence>> DirectInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    std::optional<PerSampleFunction> query_function) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_ASSIGN_OR_RETURN(ParameterBlocks blocks,
                             BlocksOfState(state, kMethod, provider->model()));
  INFLUENCE_ASSIGN_OR_RETURN(FittedRegularization regularization,
                             RegularizationOfState(state));
  DirectInfluenceOptions options;
  options.query_function = std::move(query_function);
  INFLUENCE_ASSIGN_OR_RETURN(const std::string curvature,
                             OptionOfState(state, kCurvatureOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.curvature, ParseCurvature(curvature));
  std::vector<at::Tensor> curvatures;
  for (const ParameterBlock& block : blocks.blocks()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor c, ArrayOfState(state, ArrayName(block.name), at::kDouble,
                                   {block.size, block.size}));
    curvatures.push_back(std::move(c));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<DirectInfluence> influence,
      Create(std::move(provider), std::move(blocks), options));
  INFLUENCE_ASSIGN_OR_RETURN(
      influence->inverses_,
      influence->Factorize(std::move(curvatures), regularization.values));
  influence->regularization_ = std::move(regularization);
  INFLUENCE_RETURN_IF_ERROR(influence->SetInverses(state.num_fitted_samples));
  return influence;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
DirectInfluence::WithRegularization(
    const Regularization& regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization refitted,
      RefitRegularization(regularization, blocks(), regularization_));
  std::unique_ptr<DirectInfluence> other(new DirectInfluence(*this));
  other->options_.regularization = regularization;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    if (refitted.values[b] == regularization_.values[b]) continue;
    absl::StatusOr<std::shared_ptr<const DirectInverse>> inverse =
        inverses_[b]->WithRegularization(refitted.values[b]);
    if (!inverse.ok()) {
      return InBlock(blocks().blocks()[b].name, inverse.status());
    }
    other->inverses_[b] = *std::move(inverse);
  }
  other->regularization_ = std::move(refitted);
  INFLUENCE_RETURN_IF_ERROR(other->SetInverses(num_fitted_samples()));
  return other;
}

}  // namespace influence
