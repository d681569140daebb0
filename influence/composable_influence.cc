// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/composable_influence.h"

#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "gradients/model.h"

namespace influence {

ComposableInfluence::ComposableInfluence(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    std::optional<PerSampleFunction> query_function)
    : provider_(std::move(provider)),
      query_provider_(query_function.has_value()
                          ? provider_->WithFunction(*std::move(query_function))
                          : provider_),
      blocks_(std::move(blocks)) {}

std::vector<std::shared_ptr<const Operator>> ComposableInfluence::operators()
    const {
  if (!mapper_.has_value()) return {};
  return mapper_->operators();
}

absl::Status ComposableInfluence::DoFit(
    std::shared_ptr<const BatchSequence> data, ProgressReporter* progress) {
  const int64_t num_samples = data->num_samples();
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      FitOperators(std::move(data), progress));
  return SetOperators(std::move(operators), num_samples);
}

absl::Status ComposableInfluence::SetOperators(
    std::vector<std::shared_ptr<const Operator>> operators,
    int64_t num_fitted_samples) {
  INFLUENCE_ASSIGN_OR_RETURN(
      mapper_, BlockMapper::Create(blocks_, std::move(operators), provider_,
                                   query_provider_));
  num_fitted_samples_ = num_fitted_samples;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<at::Tensor>>
ComposableInfluence::CurvatureEigenvalues() const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return absl::UnimplementedError(
      "eigenvalues: found a method that finds none, expected direct, arnoldi, "
      "nystroem, kfac or ekfac");
}

absl::StatusOr<FittedState> ComposableInfluence::ExportState() const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(FittedState state, DoExportState());
  const std::vector<NamedParameter>& parameters =
      provider_->model().parameters();
  for (const ParameterBlock& block : blocks_.blocks()) {
    ParameterGroup group{block.name, {}};
    for (const int64_t index : block.parameters) {
      group.parameters.push_back(parameters[index].name);
    }
    state.blocks.push_back(std::move(group));
  }
  state.num_fitted_samples = num_fitted_samples_;
  return state;
}

absl::StatusOr<FittedState> ComposableInfluence::DoExportState() const {
  return absl::UnimplementedError(
      "fitted state: the method does not say how to store it");
}

absl::StatusOr<at::Tensor> ComposableInfluence::DoInfluenceFactors(
    const Batch& test) const {
  return mapper_->FlatTransformedGrads(test);
}

absl::StatusOr<at::Tensor> ComposableInfluence::DoInfluences(
    const Batch& test, const std::optional<Batch>& train, InfluenceMode mode,
    int64_t input) const {
  return mapper_->SummedInteractions(test, train, mode, input);
}

absl::StatusOr<std::unique_ptr<const PreparedQueries>>
ComposableInfluence::DoPrepareQueries(const Batch& test) const {
  return mapper_->PrepareQueries(test);
}

absl::StatusOr<at::Tensor> ComposableInfluence::DoInfluencesFromFactors(
    const at::Tensor& factors, const Batch& train, InfluenceMode mode,
    int64_t input) const {
  return mapper_->SummedInteractionsFromTransformedGrads(factors, train, mode,
                                                         input);
}

absl::StatusOr<at::Tensor> ComposableInfluence::SelfInfluences(
    const Batch& batch, std::vector<BlockSolveReports>* reports) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return mapper_->SelfInteractions(batch, reports);
}

absl::StatusOr<TensorMap> ComposableInfluence::InfluenceFactorsByBlock(
    const Batch& test) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return mapper_->TransformedGrads(test);
}

absl::StatusOr<TensorMap> ComposableInfluence::InfluenceFactorsWithReports(
    const Batch& test, std::vector<BlockSolveReports>* reports) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return mapper_->TransformedGradsWithReports(test, reports);
}

absl::StatusOr<TensorMap> ComposableInfluence::InfluencesByBlock(
    const Batch& test, const std::optional<Batch>& train, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(
      CheckInput(train.has_value() ? *train : test, mode, input));
  return mapper_->Interactions(test, train, mode, input);
}

absl::StatusOr<TensorMap> ComposableInfluence::InfluencesFromFactorsByBlock(
    const at::Tensor& factors, const Batch& train, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(CheckInput(train, mode, input));
  return mapper_->InteractionsFromTransformedGrads(factors, train, mode, input);
}

absl::StatusOr<TensorMap> ComposableInfluence::InfluencesFromFactorsByBlock(
    const TensorMap& factors, const Batch& train, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(CheckInput(train, mode, input));
  return mapper_->InteractionsFromTransformedGrads(factors, train, mode, input);
}

absl::StatusOr<at::Tensor>
ComposableInfluence::InfluencesFromFactorsAndGradients(
    const at::Tensor& factors, const FactoredGradients& train) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return mapper_->SummedInteractionsFromTransformedGrads(factors, train);
}

absl::StatusOr<TensorMap>
ComposableInfluence::InfluencesFromFactorsAndGradientsByBlock(
    const at::Tensor& factors, const FactoredGradients& train) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return mapper_->InteractionsFromTransformedGrads(factors, train);
}

}  // namespace influence
