// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Matrices defined by a batch of data, reached through their product with
// vectors: m(b) v, where m(b) is the MEAN over the samples of b. Averages and
// recursions over a data set too large for memory are made of them.
#ifndef INFLUENCE_OPERATORS_BATCH_OPERATION_H_
#define INFLUENCE_OPERATORS_BATCH_OPERATION_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"
#include "gradients/tensor_map.h"

namespace influence {

// Immutable; as thread-safe as the provider. The provider states the model, the
// per-sample loss and the parameters: an operation restricted to a subset of
// them is one with a provider->Restrict(...), and is the diagonal block of the
// unrestricted one.
class BatchOperation {
 public:
  virtual ~BatchOperation() = default;

  int64_t input_size() const { return provider_->num_parameters(); }  // P

  const GradientProvider& provider() const { return *provider_; }

  // m(batch) v for a vector [P] or for the rows of [K, P] -> the same shape.
  // kInvalidArgument if the batch fails ValidateBatch(), on another size (both
  // are named) or a dtype other than the model's.
  absl::StatusOr<at::Tensor> Apply(const Batch& batch,
                                   const at::Tensor& tensor) const;

  // The same in dictionary form: an entry per parameter of the provider's
  // selection, by the parameter's name and in its shape, or in all entries with
  // the same dimension K in front. Any order in, the selection's order out.
  // kInvalidArgument naming an entry that is missing, unknown or mis-sized.
  absl::StatusOr<TensorMap> Apply(const Batch& batch,
                                  const TensorMap& tensors) const;

 protected:
  // `provider` is not null.
  explicit BatchOperation(std::shared_ptr<const GradientProvider> provider);

  // A valid batch and matrix [K, P] in the model's dtype -> [K, P]. May throw.
  virtual absl::StatusOr<at::Tensor> DoApply(
      const Batch& batch, const at::Tensor& matrix) const = 0;

 private:
  std::shared_ptr<const GradientProvider> provider_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_BATCH_OPERATION_H_
