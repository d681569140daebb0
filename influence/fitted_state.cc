// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/fitted_state.h"

#include <cmath>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

bool FitsShape(const at::Tensor& values, const std::vector<int64_t>& shape) {
  if (values.dim() != static_cast<int64_t>(shape.size())) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] >= 0 && values.size(static_cast<int64_t>(d)) != shape[d]) {
      return false;
    }
  }
  return true;
}

// An option that is a whole number of this type.
template <typename Integer>
absl::StatusOr<Integer> WholeNumberOfState(const FittedState& state,
                                           const std::string& name,
                                           absl::string_view expected) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string text,
                             OptionOfState(state, name));
  Integer value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fitted state: ", name, ": found '", text, "', expected ", expected));
  }
  return value;
}

}  // namespace

absl::StatusOr<ParameterBlocks> BlocksOfState(const FittedState& state,
                                              absl::string_view method,
                                              const Model& model) {
  if (state.method != method) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fitted state: found method ", state.method, ", expected ", method));
  }
  for (const std::vector<double>* values :
       {&state.regularization, &state.auto_regularization}) {
    if (!values->empty() && values->size() != state.blocks.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "fitted state: found ", values->size(), " regularizations, expected ",
          state.blocks.size(), ", one a block"));
    }
    for (const double value : *values) {
      INFLUENCE_RETURN_IF_ERROR(
          ValidateNonNegative("fitted state: regularization", value));
    }
  }
  if (state.num_fitted_samples < 0) {
    return absl::InvalidArgumentError(absl::StrCat("fitted state: found ",
                                                   state.num_fitted_samples,
                                                   " samples, expected >= 0"));
  }
  return ParameterBlocks::CreateCustom(model, state.blocks);
}

absl::StatusOr<FittedRegularization> RegularizationOfState(
    const FittedState& state) {
  if (state.regularization.size() != state.blocks.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("fitted state: found ", state.regularization.size(),
                     " regularizations, expected ", state.blocks.size()));
  }
  return FittedRegularization{state.regularization, state.auto_regularization};
}

absl::StatusOr<at::Tensor> ArrayOfState(const FittedState& state,
                                        absl::string_view name,
                                        at::ScalarType dtype,
                                        const std::vector<int64_t>& shape) {
  for (const FittedArray& array : state.arrays) {
    if (array.name != name) continue;
    const std::string label = absl::StrCat("fitted state: ", name);
    INFLUENCE_RETURN_IF_ERROR(ValidateDefined(label, array.values));
    if (array.values.scalar_type() != dtype) {
      return absl::InvalidArgumentError(absl::StrCat(
          label, ": found dtype ", DtypeName(array.values.scalar_type()),
          ", expected ", DtypeName(dtype)));
    }
    if (!FitsShape(array.values, shape)) {
      return absl::InvalidArgumentError(absl::StrCat(
          label, ": found shape ", ShapeString(array.values), ", expected [",
          absl::StrJoin(shape, ", ",
                        [](std::string* out, int64_t length) {
                          absl::StrAppend(out, length < 0
                                                   ? std::string("any")
                                                   : absl::StrCat(length));
                        }),
          "]"));
    }
    INFLUENCE_RETURN_IF_ERROR(CatchTorch(
        "fitted state", [&] { return ValidateFinite(label, array.values); }));
    return array.values;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fitted state: found no array ", name,
                   ", expected one with method ", state.method));
}

absl::StatusOr<std::string> OptionOfState(const FittedState& state,
                                          const std::string& name) {
  const auto option = state.options.find(name);
  if (option == state.options.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("fitted state: found no option ", name,
                     ", expected one with method ", state.method));
  }
  return option->second;
}

absl::StatusOr<double> NumberOfState(const FittedState& state,
                                     const std::string& name) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string text,
                             OptionOfState(state, name));
  double value = 0;
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fitted state: ", name, ": found '", text, "', expected a number"));
  }
  return value;
}

absl::StatusOr<int64_t> IntegerOfState(const FittedState& state,
                                       const std::string& name) {
  return WholeNumberOfState<int64_t>(state, name, "an integer");
}

absl::StatusOr<uint64_t> SeedOfState(const FittedState& state,
                                     const std::string& name) {
  return WholeNumberOfState<uint64_t>(state, name, "an integer >= 0");
}

std::string NumberText(double value) { return absl::StrFormat("%.17g", value); }

}  // namespace influence
