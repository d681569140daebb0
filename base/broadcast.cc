// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/broadcast.h"

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/ops/empty.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"

namespace influence {

absl::Status BroadcastStatus(Communicator& communicator,
                             const absl::Status& status, int root) {
  if (communicator.size() == 1) return status;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::string text,
      communicator.BroadcastText(
          absl::StrCat(static_cast<int>(status.code()), " ", status.message()),
          root));
  const std::vector<std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(' ', 1));
  int code = 0;
  INFLUENCE_CHECK(parts.size() == 2 && absl::SimpleAtoi(parts[0], &code));
  return absl::Status(static_cast<absl::StatusCode>(code), parts[1]);
}

absl::StatusOr<at::Tensor> BroadcastTensor(Communicator& communicator,
                                           const at::Tensor& tensor, int root) {
  if (communicator.size() == 1) return tensor;
  const bool is_root = communicator.rank() == root;
  return CatchTorch("broadcast", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor values;
    std::string shape;
    if (is_root) {
      values = tensor.detach().contiguous();
      shape = absl::StrCat(static_cast<int>(values.scalar_type()), ",",
                           absl::StrJoin(values.sizes(), ","));
    }
    INFLUENCE_ASSIGN_OR_RETURN(shape, communicator.BroadcastText(shape, root));
    if (!is_root) {
      std::vector<int64_t> numbers;
      for (const absl::string_view part :
           absl::StrSplit(shape, ',', absl::SkipEmpty())) {
        int64_t number = 0;
        INFLUENCE_CHECK(absl::SimpleAtoi(part, &number));
        numbers.push_back(number);
      }
      INFLUENCE_CHECK(!numbers.empty());
      const auto dtype = static_cast<at::ScalarType>(numbers[0]);
      values = at::empty(at::IntArrayRef(numbers).slice(1), dtype);
    }
    INFLUENCE_RETURN_IF_ERROR(communicator.Broadcast(values, root));
    return is_root ? tensor : values;
  });
}

}  // namespace influence
