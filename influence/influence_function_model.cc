// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/influence_function_model.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"

namespace influence {
namespace {

std::string InputName(const Batch& batch, int64_t input) {
  return batch.x.size() == 1 ? "x" : absl::StrCat("x", input);
}

}  // namespace

absl::Status InfluenceFunctionModel::Fit(
    std::shared_ptr<const BatchSequence> data, ProgressReporter* progress) {
  if (data == nullptr) return absl::InvalidArgumentError("data: is null");
  if (data->num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  return DoFit(std::move(data), progress);
}

absl::StatusOr<at::Tensor> InfluenceFunctionModel::InfluenceFactors(
    const Batch& test) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return DoInfluenceFactors(test);
}

absl::StatusOr<at::Tensor> InfluenceFunctionModel::Influences(
    const Batch& test, const std::optional<Batch>& train, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(
      CheckInput(train.has_value() ? *train : test, mode, input));
  return DoInfluences(test, train, mode, input);
}

absl::StatusOr<std::unique_ptr<const PreparedQueries>>
InfluenceFunctionModel::PrepareQueries(const Batch& test) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return DoPrepareQueries(test);
}

absl::StatusOr<at::Tensor> InfluenceFunctionModel::InfluencesFromFactors(
    const at::Tensor& factors, const Batch& train, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(CheckInput(train, mode, input));
  return DoInfluencesFromFactors(factors, train, mode, input);
}

absl::StatusOr<TensorMap> InfluenceFunctionModel::PerturbationInfluencesByInput(
    const Batch& test, const std::optional<Batch>& train) const {
  const Batch& right = train.has_value() ? *train : test;
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor factors, InfluenceFactors(test));
  TensorMap by_input;
  for (size_t i = 0; i < right.x.size(); ++i) {
    if (!right.x[i].is_floating_point()) continue;
    const auto input = static_cast<int64_t>(i);
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor influences,
        InfluencesFromFactors(factors, right, InfluenceMode::kPerturbation,
                              input));
    INFLUENCE_RETURN_IF_ERROR(
        by_input.Insert(InputName(right, input), std::move(influences)));
  }
  if (by_input.empty()) {
    return absl::InvalidArgumentError(
        "x: found integer inputs only, expected a floating one to perturb");
  }
  return by_input;
}

absl::Status InfluenceFunctionModel::CheckFitted() const {
  if (is_fitted()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the influence function model is not fitted: call Fit() first");
}

absl::Status InfluenceFunctionModel::CheckInput(const Batch& batch,
                                                InfluenceMode mode,
                                                int64_t input) {
  if (mode == InfluenceMode::kUp) return absl::OkStatus();
  const auto num_inputs = static_cast<int64_t>(batch.x.size());
  if (input < 0 || input >= num_inputs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input: found ", input, ", expected a number below ", num_inputs));
  }
  const at::Tensor& x = batch.x[input];
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(InputName(batch, input), x));
  if (x.is_floating_point()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      InputName(batch, input), ": found dtype ", DtypeName(x.scalar_type()),
      ", expected a floating one: integers cannot be perturbed"));
}

}  // namespace influence
