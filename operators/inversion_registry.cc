// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inversion_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/missing_rows.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

absl::Status ValidateProblem(const TwiceDifferentiable& model,
                             const std::shared_ptr<const BatchSequence>& data,
                             const at::Tensor& b, double hessian_perturbation) {
  if (data == nullptr) return absl::InvalidArgumentError("data: is null");
  if (data->num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  INFLUENCE_RETURN_IF_ERROR(
      ValidateVectorOrMatrix("b", b, model.num_parameters()));
  if (b.scalar_type() != model.dtype()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "b: found dtype ", DtypeName(b.scalar_type()), ", expected ",
        DtypeName(model.dtype()), " as the model's"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("b", b));
  return ValidateNonNegative("hessian_perturbation", hessian_perturbation);
}

// What a function returned, in the shape of b.
absl::Status CheckResult(const at::Tensor& b, InverseHvpResult& result) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("x", result.x));
  if (result.x.scalar_type() != b.scalar_type()) {
    return absl::InternalError(
        absl::StrCat("x: found dtype ", DtypeName(result.x.scalar_type()),
                     ", expected ", DtypeName(b.scalar_type()), " as b's"));
  }
  const int64_t size = b.size(-1);
  INFLUENCE_RETURN_IF_ERROR(
      ValidateShape("x", result.x, {b.dim() == 1 ? 1 : b.size(0), size}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> missing,
                             FindMissingRows("x", result.x));
  const std::vector<int64_t> expected = RowsWithoutAnswer(result.info.reports);
  if (!std::includes(expected.begin(), expected.end(), missing.begin(),
                     missing.end())) {
    return absl::InternalError(
        absl::StrCat("x: found NaN throughout ", missing.size(),
                     " rows, expected it where a report says that there is no "
                     "answer, in ",
                     expected.size()));
  }
  result.x = result.x.reshape(b.sizes());
  return absl::OkStatus();
}

}  // namespace

absl::Status InversionRegistry::Register(absl::string_view model_kind,
                                         absl::string_view inversion_method,
                                         Function function, bool overwrite) {
  if (model_kind.empty()) {
    return absl::InvalidArgumentError("model kind: is empty");
  }
  if (inversion_method.empty()) {
    return absl::InvalidArgumentError("inversion method: is empty");
  }
  if (function == nullptr) {
    return absl::InvalidArgumentError("function: is empty");
  }
  auto shared = std::make_shared<const Function>(std::move(function));
  const std::lock_guard<std::mutex> lock(mutex_);
  auto [position, inserted] = functions_.try_emplace(
      {std::string(model_kind), std::string(inversion_method)}, shared);
  if (inserted) return absl::OkStatus();
  if (!overwrite) {
    return absl::AlreadyExistsError(
        absl::StrCat("inversion method: found \"", inversion_method,
                     "\" registered for model kind \"", model_kind,
                     "\" already, expected another name or overwrite = true"));
  }
  position->second = std::move(shared);
  return absl::OkStatus();
}

std::shared_ptr<const InversionRegistry::Function> InversionRegistry::Find(
    absl::string_view model_kind, absl::string_view inversion_method) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found =
      functions_.find({std::string(model_kind), std::string(inversion_method)});
  return found == functions_.end() ? nullptr : found->second;
}

std::vector<InversionRegistry::Entry> InversionRegistry::Registered() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Entry> entries;
  for (const auto& [names, function] : functions_) {
    entries.push_back({names.first, names.second});
  }
  return entries;
}

absl::StatusOr<InverseHvpResult> InversionRegistry::Call(
    absl::string_view inversion_method, const TwiceDifferentiable& model,
    const std::shared_ptr<const BatchSequence>& data, const at::Tensor& b,
    double hessian_perturbation, const InversionOptions& options) const {
  const std::shared_ptr<const Function> function =
      Find(model.kind(), inversion_method);
  if (function == nullptr) {
    const std::vector<Entry> entries = Registered();
    return absl::NotFoundError(absl::StrCat(
        "inversion method: found \"", inversion_method, "\" for model kind \"",
        model.kind(), "\", expected one of those registered: ",
        entries.empty()
            ? "none"
            : absl::StrJoin(entries, ", ",
                            [](std::string* out, const Entry& entry) {
                              absl::StrAppend(out, entry.model_kind, "/",
                                              entry.inversion_method);
                            })));
  }
  return CatchTorch(
      absl::StrCat("inversion method ", inversion_method),
      [&]() -> absl::StatusOr<InverseHvpResult> {
        INFLUENCE_RETURN_IF_ERROR(
            ValidateProblem(model, data, b, hessian_perturbation));
        InversionOptionReader reader(&options);
        INFLUENCE_ASSIGN_OR_RETURN(
            InverseHvpResult result,
            (*function)(model,
                        {data, (b.dim() == 1 ? b.unsqueeze(0) : b).detach(),
                         hessian_perturbation},
                        reader));
        INFLUENCE_RETURN_IF_ERROR(reader.Finish());
        if (const absl::Status status = CheckResult(b, result); !status.ok()) {
          return absl::InternalError(absl::StrCat(
              "inversion method ", inversion_method, ": ", status.message()));
        }
        return result;
      });
}

}  // namespace influence
