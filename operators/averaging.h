// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Averages of results computed batch by batch: sum_b w_b t_b / sum_b w_b.
#ifndef INFLUENCE_OPERATORS_AVERAGING_H_
#define INFLUENCE_OPERATORS_AVERAGING_H_

#include <cstdint>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "gradients/tensor_map.h"

namespace influence {

// t_b and the number of samples of the batch b it was computed from.
struct AveragingTerm {
  at::Tensor value;
  int64_t num_samples;
};

struct DictionaryAveragingTerm {
  TensorMap value;
  int64_t num_samples;
};

// Immutable and thread-safe.
class Averaging {
 public:
  // The next term, or nothing after the last one.
  using Generator =
      absl::FunctionRef<absl::StatusOr<std::optional<AveragingTerm>>()>;
  using DictionaryGenerator = absl::FunctionRef<
      absl::StatusOr<std::optional<DictionaryAveragingTerm>>()>;

  virtual ~Averaging() = default;

  // w_b.
  virtual absl::StatusOr<double> Weight(const at::Tensor& value,
                                        int64_t num_samples) const = 0;

  // The average, in the terms' dtype; summed in float64, one term in memory at
  // a time. kInvalidArgument if there is no term or their shapes differ; the
  // generator's error ends the sum and is returned.
  absl::StatusOr<at::Tensor> Average(Generator next) const;

  // The same for every entry of dictionaries with equal keys.
  absl::StatusOr<TensorMap> AverageDictionary(DictionaryGenerator next) const;
};

// w_b = 1: divides by the number of batches. Differs from the mean over the
// samples wherever batches differ in size, as a short last one does.
class ChunkAveraging : public Averaging {
 public:
  absl::StatusOr<double> Weight(const at::Tensor& value,
                                int64_t num_samples) const override;
};

// w_b = the number of samples of batch b, so that every sample weighs the same.
class PointAveraging : public Averaging {
 public:
  PointAveraging() = default;

  // For tensors that have a dimension of samples themselves (t_b is a mean over
  // other things): w_b = value.size(batch_dim), negative from the end. Not for
  // a product m(b) V, whose rows are right-hand sides.
  explicit PointAveraging(int64_t batch_dim) : batch_dim_(batch_dim) {}

  // kInvalidArgument if num_samples < 1, or the value has no such dimension.
  absl::StatusOr<double> Weight(const at::Tensor& value,
                                int64_t num_samples) const override;

 private:
  std::optional<int64_t> batch_dim_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_AVERAGING_H_
