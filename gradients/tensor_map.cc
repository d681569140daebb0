// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/tensor_map.h"

#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace influence {

absl::Status TensorMap::Insert(std::string name, at::Tensor tensor) {
  for (const Entry& entry : entries_) {
    if (entry.first == name) {
      return absl::AlreadyExistsError(
          absl::StrCat("tensor: found \"", name, "\" a second time"));
    }
  }
  entries_.emplace_back(std::move(name), std::move(tensor));
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> TensorMap::Find(absl::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.first == name) return entry.second;
  }
  const std::string names = absl::StrJoin(
      entries_, ", ",
      [](std::string* out, const Entry& entry) { out->append(entry.first); });
  return absl::NotFoundError(absl::StrCat("tensor: found no \"", name,
                                          "\", expected one of [", names, "]"));
}

}  // namespace influence
