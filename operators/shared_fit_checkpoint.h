// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A fit checkpoint for ranks that fit together: the first keeps what they have
// found, and tells the others what it finds.
//
//   SharedFitCheckpoint checkpoint(communicator, rank == 0 ? &folder :
//   nullptr); model->set_fit_checkpoint(&checkpoint);
#ifndef INFLUENCE_OPERATORS_SHARED_FIT_CHECKPOINT_H_
#define INFLUENCE_OPERATORS_SHARED_FIT_CHECKPOINT_H_

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "operators/fit_checkpoint.h"

namespace influence {

class SharedFitCheckpoint : public FitCheckpoint {
 public:
  // `kept`, borrowed, is where rank 0 keeps; that of the others is not looked
  // at. Null on rank 0: nothing is kept or found.
  SharedFitCheckpoint(std::shared_ptr<Communicator> communicator,
                      FitCheckpoint* kept)
      : communicator_(std::move(communicator)), kept_(kept) {}

  // Collective, both: each rank gives the same stage. What rank 0 finds, and
  // its errors, are every rank's; so are the errors of Keep(), which keeps the
  // arrays of rank 0. One broadcast an array found.
  absl::StatusOr<std::optional<std::vector<at::Tensor>>> Find(
      absl::string_view stage) const override;
  absl::Status Keep(absl::string_view stage,
                    const std::vector<at::Tensor>& arrays) override;

 private:
  bool keeps() const { return kept_ != nullptr && communicator_->rank() == 0; }

  std::shared_ptr<Communicator> communicator_;
  FitCheckpoint* kept_;  // Borrowed, may be null.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SHARED_FIT_CHECKPOINT_H_
