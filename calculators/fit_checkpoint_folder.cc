// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/fit_checkpoint_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "calculators/atomic_file.h"
#include "calculators/fitted_state_folder.h"
#include "influence/fitted_state.h"

namespace influence {

std::string FitCheckpointFolder::PathOf(absl::string_view stage) const {
  return absl::StrCat(path_, "/", stage);
}

absl::StatusOr<std::optional<std::vector<at::Tensor>>>
FitCheckpointFolder::Find(absl::string_view stage) const {
  struct stat status;
  if (stat(PathOf(stage).c_str(), &status) != 0) return std::nullopt;
  INFLUENCE_ASSIGN_OR_RETURN(LoadedFittedState loaded,
                             LoadFittedState(PathOf(stage)));
  std::vector<at::Tensor> arrays;
  arrays.reserve(loaded.state.arrays.size());
  for (FittedArray& array : loaded.state.arrays) {
    arrays.push_back(std::move(array.values));
  }
  return arrays;
}

absl::Status FitCheckpointFolder::Keep(absl::string_view stage,
                                       const std::vector<at::Tensor>& arrays) {
  const absl::Duration took = absl::Now() - stage_start_;
  stage_start_ = absl::Now();
  if (took < options_.least_time) return absl::OkStatus();
  if (mkdir(path_.c_str(), 0777) == 0) {
    SyncFolder(ParentFolder(path_));
  } else if (errno != EEXIST) {
    return ErrnoStatus(errno, path_, "to make this folder");
  }
  FittedState state;
  state.method = std::string(stage);
  state.arrays.reserve(arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    state.arrays.push_back({absl::StrCat("array", i), arrays[i]});
  }
  FittedStateOptions options;
  options.overwrite = true;
  INFLUENCE_RETURN_IF_ERROR(
      SaveFittedState(PathOf(stage), state, /*origin=*/{}, options));
  if (options_.on_kept) options_.on_kept();
  stage_start_ = absl::Now();
  return absl::OkStatus();
}

}  // namespace influence
