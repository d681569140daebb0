// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A model whose row n depends on sample n alone, in every batch: what sums over
// a batch (losses, curvature products, mixed derivatives) take for granted.
//
// Each pass over several samples is followed (sample_tracker.h). Where its
// operators do not prove that the samples kept to themselves, the output is put
// together from passes over one sample each: slower, and by definition right.
#ifndef INFLUENCE_GRADIENTS_INDEPENDENT_MODEL_H_
#define INFLUENCE_GRADIENTS_INDEPENDENT_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace influence {

// As thread-safe as the model that it wraps, whose parameters it shares.
class IndependentModel : public Model {
 public:
  // one_by_one: the samples always go alone; no pass over several is tried.
  IndependentModel(std::shared_ptr<const Model> model, bool one_by_one);

  // As Model::Forward(). kInvalidArgument where samples that go alone have
  // outputs of different shapes, or not one row each.
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

  const std::shared_ptr<const Model>& model() const { return model_; }

 private:
  std::shared_ptr<const Model> model_;  // Never null.
  bool one_by_one_;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_INDEPENDENT_MODEL_H_
