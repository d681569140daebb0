// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/inverse_harmonic_mean_influence.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gradients/sample_range.h"
#include "operators/inverse_harmonic_mean_operator.h"
#include "operators/rank_average.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "ihm";

absl::Status ValidateValues(const std::vector<double>& values) {
  for (const double value : values) {
    if (value > 0) continue;
    return absl::InvalidArgumentError(
        "regularization: found 0, expected a value > 0 with the inverse "
        "harmonic mean (--regularization)");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<InverseHarmonicMeanInfluence>>
InverseHarmonicMeanInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    const InverseHarmonicMeanInfluenceOptions& options) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (options.gradients.memory_limit < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory_limit: found ", options.gradients.memory_limit,
                     ", expected >= 0"));
  }
  if (!options.regularization.is_auto()) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<double> values,
                               options.regularization.Resolve(blocks));
    INFLUENCE_RETURN_IF_ERROR(ValidateValues(values));
  }
  return std::unique_ptr<InverseHarmonicMeanInfluence>(
      new InverseHarmonicMeanInfluence(std::move(provider), std::move(blocks),
                                       options));
}

InverseHarmonicMeanInfluence::InverseHarmonicMeanInfluence(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    InverseHarmonicMeanInfluenceOptions options)
    : ComposableInfluence(std::move(provider), std::move(blocks),
                          options.query_function),
      options_(std::move(options)) {}

bool InverseHarmonicMeanInfluence::solves_together() const {
  return is_fitted() && options_.communicator != nullptr &&
         options_.communicator->size() > 1;
}

std::vector<BlockReport> InverseHarmonicMeanInfluence::report() const {
  std::vector<BlockReport> report;
  for (size_t b = 0; b < regularization_.values.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    report.push_back({block.name, block.size, regularization_.values[b],
                      std::nullopt, RegularizationRemarks(regularization_, b)});
  }
  return report;
}

absl::StatusOr<std::shared_ptr<const KeptGradients>>
InverseHarmonicMeanInfluence::KeepGradients(
    std::shared_ptr<const BatchSequence> data,
    ProgressReporter* progress) const {
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const GradientProvider> restricted,
                             provider().Restrict(blocks().parameters()));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::shared_ptr<const BatchSequence> mine,
      SamplesOfRank(std::move(data), options_.communicator.get()));
  if (mine->num_samples() == 0) return nullptr;
  return KeptGradients::Create(std::move(restricted), std::move(mine),
                               options_.gradients, progress);
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
InverseHarmonicMeanInfluence::MakeOperators(
    const std::shared_ptr<const KeptGradients>& gradients,
    const std::vector<double>& regularization) const {
  std::vector<std::shared_ptr<const Operator>> operators;
  int64_t position = 0;
  for (size_t b = 0; b < regularization.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    std::vector<int64_t> positions(block.parameters.size());
    for (int64_t& p : positions) p = position++;
    RankAverage::Part part;
    if (gradients != nullptr) {
      auto mean = InverseHarmonicMeanOperator::Create(
          gradients, std::move(positions), regularization[b]);
      if (!mean.ok()) return InBlock(block.name, mean.status());
      part = {*std::move(mean), gradients->num_samples()};
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::shared_ptr<const RankAverage> average,
        RankAverage::Create(options_.communicator, block.size, {part}));
    operators.push_back(RankAverage::Led(average, average->op(0)));
  }
  return operators;
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
InverseHarmonicMeanInfluence::FitOperators(
    std::shared_ptr<const BatchSequence> data, ProgressReporter* progress) {
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization regularization,
      FitRegularization(options_.regularization, blocks(), [&] {
        return AutoRegularization(provider(), blocks(), *data,
                                  options_.communicator.get());
      }));
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const KeptGradients> gradients,
                             KeepGradients(std::move(data), progress));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      MakeOperators(gradients, regularization.values));
  gradients_ = std::move(gradients);
  regularization_ = std::move(regularization);
  return operators;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
InverseHarmonicMeanInfluence::WithRegularization(
    const Regularization& regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization refitted,
      RefitRegularization(regularization, blocks(), regularization_));
  INFLUENCE_RETURN_IF_ERROR(ValidateValues(refitted.values));
  std::unique_ptr<InverseHarmonicMeanInfluence> other(
      new InverseHarmonicMeanInfluence(*this));
  other->options_.regularization = regularization;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      MakeOperators(gradients_, refitted.values));
  other->regularization_ = std::move(refitted);
  INFLUENCE_RETURN_IF_ERROR(
      other->SetOperators(std::move(operators), num_fitted_samples()));
  return other;
}

absl::StatusOr<FittedState> InverseHarmonicMeanInfluence::DoExportState()
    const {
  FittedState state;
  state.method = std::string(kMethod);
  state.regularization = regularization_.values;
  state.auto_regularization = regularization_.auto_values;
  return state;
}

absl::StatusOr<std::unique_ptr<InverseHarmonicMeanInfluence>>
InverseHarmonicMeanInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    std::shared_ptr<const BatchSequence> data,
    std::optional<PerSampleFunction> query_function,
    std::shared_ptr<Communicator> communicator) {
  if (provider == nullptr || data == nullptr) {
    return absl::InvalidArgumentError(provider == nullptr ? "provider: is null"
                                                          : "data: is null");
  }
  INFLUENCE_ASSIGN_OR_RETURN(ParameterBlocks blocks,
                             BlocksOfState(state, kMethod, provider->model()));
  INFLUENCE_ASSIGN_OR_RETURN(FittedRegularization regularization,
                             RegularizationOfState(state));
  INFLUENCE_RETURN_IF_ERROR(ValidateValues(regularization.values));
  if (data->num_samples() != state.num_fitted_samples) {
    return absl::InvalidArgumentError(
        absl::StrCat("data: found ", data->num_samples(), " samples, expected ",
                     state.num_fitted_samples, ", those of the fit"));
  }
  InverseHarmonicMeanInfluenceOptions options;
  options.query_function = std::move(query_function);
  options.communicator = std::move(communicator);
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<InverseHarmonicMeanInfluence> influence,
      Create(std::move(provider), std::move(blocks), options));
  INFLUENCE_ASSIGN_OR_RETURN(influence->gradients_,
                             influence->KeepGradients(std::move(data),
                                                      /*progress=*/nullptr));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      influence->MakeOperators(influence->gradients_, regularization.values));
  influence->regularization_ = std::move(regularization);
  INFLUENCE_RETURN_IF_ERROR(
      influence->SetOperators(std::move(operators), state.num_fitted_samples));
  return influence;
}

}  // namespace influence
