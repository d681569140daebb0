// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Per-sample gradients by plain autograd, one sample at a time: slow, and right
// for every model. The reference for everything faster.
#ifndef INFLUENCE_GRADIENTS_AUTOGRAD_GRADIENT_PROVIDER_H_
#define INFLUENCE_GRADIENTS_AUTOGRAD_GRADIENT_PROVIDER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {

// N forward and backward passes over batches of one; the "factors" are dense,
// so memory is O(N P).
class AutogradGradientProvider : public GradientProvider {
 public:
  // kInvalidArgument, naming the modules, if the model has modules in training
  // mode that couple samples or draw random numbers.
  static absl::StatusOr<std::shared_ptr<const AutogradGradientProvider>> Create(
      std::shared_ptr<const Model> model, PerSampleFunction function);

 protected:
  absl::StatusOr<FactoredGradients> DoFactoredGrads(
      const Batch& batch) const override;
  std::shared_ptr<GradientProvider> Clone() const override;

 private:
  AutogradGradientProvider(std::shared_ptr<const Model> model,
                           PerSampleFunction function);
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_AUTOGRAD_GRADIENT_PROVIDER_H_
