// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/validators.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/all.h"
#include "ATen/ops/isfinite.h"
#include "ATen/ops/nonzero.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"

namespace influence {
namespace {

std::string ShapeString(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

std::string ShapeString(const at::Tensor& tensor) {
  if (!tensor.defined()) return "undefined";
  return ShapeString(tensor.sizes());
}

std::string DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kDouble:
      return "float64";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    case at::kByte:
      return "uint8";
    case at::kChar:
      return "int8";
    case at::kShort:
      return "int16";
    case at::kInt:
      return "int32";
    case at::kLong:
      return "int64";
    case at::kBool:
      return "bool";
    default:
      return c10::toString(dtype);
  }
}

absl::Status ValidateDefined(absl::string_view name, const at::Tensor& tensor) {
  if (tensor.defined()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found an undefined tensor, expected a value"));
}

absl::Status ValidateFloating(absl::string_view name,
                              const at::Tensor& tensor) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, tensor));
  const at::ScalarType dtype = tensor.scalar_type();
  if (dtype == at::kFloat || dtype == at::kDouble) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found dtype ", DtypeName(dtype),
                   ", expected float32 or float64"));
}

absl::Status ValidateInteger(absl::string_view name, const at::Tensor& tensor) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, tensor));
  if (at::isIntegralType(tensor.scalar_type(), /*includeBool=*/false)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found dtype ", DtypeName(tensor.scalar_type()),
                   ", expected integers"));
}

absl::Status ValidateShape(absl::string_view name, const at::Tensor& tensor,
                           at::IntArrayRef expected) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, tensor));
  if (tensor.sizes() == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found shape ", ShapeString(tensor),
                   ", expected shape ", ShapeString(expected)));
}

absl::Status ValidateVectorOrMatrix(absl::string_view name,
                                    const at::Tensor& tensor, int64_t size) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating(name, tensor));
  if (tensor.dim() != 1 && tensor.dim() != 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": found shape ", ShapeString(tensor), ", expected a vector [",
        size, "] or a matrix [K, ", size, "]"));
  }
  if (tensor.size(-1) != size) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found last dimension ", tensor.size(-1),
                     " (shape ", ShapeString(tensor), "), expected ", size));
  }
  return absl::OkStatus();
}

absl::Status ValidateFinite(absl::string_view name, const at::Tensor& tensor) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, tensor));
  if (!at::isFloatingType(tensor.scalar_type())) return absl::OkStatus();
  return CatchTorch(name, [&]() -> absl::Status {
    // One pass, where nothing is wrong: a sum is finite only if all entries
    // are. That of finite ones may overflow.
    if (std::isfinite(tensor.detach().sum().item<double>())) {
      return absl::OkStatus();
    }
    const at::Tensor finite = at::isfinite(tensor.detach());
    if (finite.all().item<bool>()) return absl::OkStatus();
    const at::Tensor first = at::nonzero(finite.logical_not())[0];
    at::Tensor entry = tensor.detach();
    std::string index;
    for (int64_t d = 0; d < tensor.dim(); ++d) {
      const int64_t i = first[d].item<int64_t>();
      entry = entry[i];
      absl::StrAppend(&index, d == 0 ? "" : ", ", i);
    }
    const double value = entry.item<double>();
    const std::string found =
        std::isnan(value) ? "NaN" : (value > 0 ? "infinity" : "-infinity");
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found ", found, " at index [", index,
                     "], expected finite values"));
  });
}

absl::Status ValidateNonNegative(absl::string_view name, double value) {
  if (std::isfinite(value) && value >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found ", value, ", expected a value >= 0"));
}

absl::Status ValidatePositive(absl::string_view name, double value) {
  if (std::isfinite(value) && value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found ", value, ", expected a value > 0"));
}

}  // namespace influence
