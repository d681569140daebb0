// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// LSTMs in pieces. In float32 LibTorch runs an LSTM as one oneDNN operator,
// which no layer rule knows and which has no second derivative; without oneDNN
// it is made of linear layers.
#ifndef INFLUENCE_GRADIENTS_UNFUSED_RECURRENCE_H_
#define INFLUENCE_GRADIENTS_UNFUSED_RECURRENCE_H_

#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace influence {

// While at least one object of this class lives, LibTorch does not use oneDNN;
// the caller's setting comes back with the last one. The setting is the
// process's, not the thread's: what else runs meanwhile (convolutions) changes
// by rounding only. Threads may make and destroy objects at the same time, but
// nobody else may change the setting meanwhile.
class UnfusedRecurrenceScope {
 public:
  UnfusedRecurrenceScope();
  ~UnfusedRecurrenceScope();
  UnfusedRecurrenceScope(const UnfusedRecurrenceScope&) = delete;
  UnfusedRecurrenceScope& operator=(const UnfusedRecurrenceScope&) = delete;
};

// The operator of a fused LSTM.
inline constexpr char kFusedRecurrence[] = "aten::mkldnn_rnn_layer";

// A model each of whose forward passes is within such a scope.
class UnfusedRecurrenceModel : public Model {
 public:
  explicit UnfusedRecurrenceModel(std::shared_ptr<const Model> model);

  absl::StatusOr<at::Tensor> Forward(
      const std::vector<at::Tensor>& x) const override;

  std::vector<std::string> CouplingModules() const override {
    return model_->CouplingModules();
  }

  at::ScalarType exported_dtype() const override {
    return model_->exported_dtype();
  }

  absl::StatusOr<std::shared_ptr<const Model>> CopyAs(
      at::ScalarType dtype) const override;

 private:
  std::shared_ptr<const Model> model_;  // Never null.
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_UNFUSED_RECURRENCE_H_
