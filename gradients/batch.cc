// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/batch.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

absl::Status ValidateRows(absl::string_view name, const at::Tensor& tensor) {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined(name, tensor));
  if (tensor.dim() >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": found a scalar, expected a first dimension of samples"));
}

}  // namespace

int64_t Batch::size() const {
  return y.defined() && y.dim() >= 1 ? y.size(0) : 0;
}

absl::Status ValidateBatch(const Batch& batch) {
  if (batch.x.empty()) {
    return absl::InvalidArgumentError(
        "x: found no input, expected at least one");
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateRows("y", batch.y));
  if (batch.size() == 0) {
    return absl::InvalidArgumentError(
        "y: found 0 samples, expected at least one");
  }
  for (size_t i = 0; i < batch.x.size(); ++i) {
    const std::string name = absl::StrCat("x", i);
    INFLUENCE_RETURN_IF_ERROR(ValidateRows(name, batch.x[i]));
    if (batch.x[i].size(0) != batch.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found ", batch.x[i].size(0),
                       " samples, expected ", batch.size(), " as in y"));
    }
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite(name, batch.x[i]));
  }
  return ValidateFinite("y", batch.y);
}

absl::StatusOr<Batch> SliceBatch(const Batch& batch, int64_t begin,
                                 int64_t end) {
  if (begin < 0 || begin > end || end > batch.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("samples: found range [", begin, ", ", end,
                     "), expected a range in [0, ", batch.size(), "]"));
  }
  return CatchTorch("samples", [&]() -> absl::StatusOr<Batch> {
    Batch slice;
    slice.x.reserve(batch.x.size());
    for (const at::Tensor& x : batch.x) {
      slice.x.push_back(x.narrow(0, begin, end - begin));
    }
    slice.y = batch.y.narrow(0, begin, end - begin);
    return slice;
  });
}

}  // namespace influence
