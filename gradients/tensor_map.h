// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Tensors by name in a fixed order: the dictionary form of a flat vector, a
// tensor per block of parameters.
#ifndef INFLUENCE_GRADIENTS_TENSOR_MAP_H_
#define INFLUENCE_GRADIENTS_TENSOR_MAP_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// An ordered map; small, so lookup is linear.
class TensorMap {
 public:
  using Entry = std::pair<std::string, at::Tensor>;

  // Appends. kAlreadyExists naming the key if it is there.
  absl::Status Insert(std::string name, at::Tensor tensor);

  // kNotFound naming the key and listing what is there.
  absl::StatusOr<at::Tensor> Find(absl::string_view name) const;

  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  std::vector<Entry>::const_iterator begin() const { return entries_.begin(); }
  std::vector<Entry>::const_iterator end() const { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_TENSOR_MAP_H_
