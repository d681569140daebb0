// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A fit checkpoint (operators/fit_checkpoint.h) on the disk: a folder with one
// folder a stage, each written as a fitted state is, whole or not at all and
// with checksums (fitted_state_folder.h).
//
//   FitCheckpointFolder checkpoint("fitted.incomplete/.run/fit");
//   model->set_fit_checkpoint(&checkpoint);
//   INFLUENCE_RETURN_IF_ERROR(model->Fit(data));  // Finds what is there.
#ifndef INFLUENCE_CALCULATORS_FIT_CHECKPOINT_FOLDER_H_
#define INFLUENCE_CALCULATORS_FIT_CHECKPOINT_FOLDER_H_

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "operators/fit_checkpoint.h"

namespace influence {

struct FitCheckpointFolderOptions {
  // A stage that took less, since the one before or the beginning, is cheaper
  // to do again than to keep.
  absl::Duration least_time = absl::ZeroDuration();

  // Called when a stage has been kept; may be empty.
  std::function<void()> on_kept = nullptr;
};

class FitCheckpointFolder : public FitCheckpoint {
 public:
  // `path`: made when the first stage is kept; the folder above it must exist.
  explicit FitCheckpointFolder(std::string path,
                               FitCheckpointFolderOptions options = {})
      : path_(std::move(path)),
        options_(std::move(options)),
        stage_start_(absl::Now()) {}

  // Errors of LoadFittedState(), but for a folder that is not there.
  absl::StatusOr<std::optional<std::vector<at::Tensor>>> Find(
      absl::string_view stage) const override;

  // Errors of SaveFittedState().
  absl::Status Keep(absl::string_view stage,
                    const std::vector<at::Tensor>& arrays) override;

 private:
  std::string PathOf(absl::string_view stage) const;

  std::string path_;
  FitCheckpointFolderOptions options_;
  absl::Time stage_start_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_FIT_CHECKPOINT_FOLDER_H_
