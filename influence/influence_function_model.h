// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What every method of computing influence functions offers: fit once to the
// training data, then ask for the influence of training samples on query
// samples, batch against batch.
#ifndef INFLUENCE_INFLUENCE_INFLUENCE_FUNCTION_MODEL_H_
#define INFLUENCE_INFLUENCE_INFLUENCE_FUNCTION_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/tensor_map.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"

namespace influence {

// q is the query function (the loss unless stated otherwise), l the training
// loss, A the curvature plus regularization. M query samples, N training
// samples, P parameters; results have the model's dtype.
//
// Immutable but for Fit(): calls after it may come from several threads if
// is_thread_safe(). Everything that needs the fit is kFailedPrecondition before
// it.
class InfluenceFunctionModel {
 public:
  virtual ~InfluenceFunctionModel() = default;

  virtual int64_t num_parameters() const = 0;  // P
  virtual bool is_thread_safe() const = 0;
  virtual bool is_fitted() const = 0;

  // The number of samples of the fit: N in "S / N is the change of the query
  // function when j is removed". 0 before any Fit().
  virtual int64_t num_fitted_samples() const = 0;

  // Whether the ranks of a job solve for queries together, each with its part
  // of the training data. Then whatever transforms gradients is collective, as
  // Fit() is: InfluenceFactors(), Influences(), PrepareQueries() and their
  // siblings, and SelfInfluences(). Each rank calls it with the same samples
  // and has the same result; reports of solves are on the first rank. What is
  // prepared may then be used by each on its own. Such a model is not
  // thread-safe. False before Fit(), and where nobody else takes part.
  virtual bool solves_together() const { return false; }

  // Fits to the training data; tells `progress`, which may be null, how far it
  // is. Some methods keep `data` and read it again later. After an error the
  // model is as it was before; fitting again replaces the fit. kInvalidArgument
  // if `data` is null or has no samples.
  absl::Status Fit(std::shared_ptr<const BatchSequence> data,
                   ProgressReporter* progress = nullptr);

  // Rows A^-1 grad q(z_i), [M, P].
  absl::StatusOr<at::Tensor> InfluenceFactors(const Batch& test) const;

  // kUp: grad q(z_i)^T A^-1 grad l(z_j), [M, N].
  // kPerturbation: d/dx_j of that, [M, N, *shape of one x], for input number
  // `input` of Batch::x, which must be floating (kInvalidArgument).
  // `train` left out means the samples of `test`.
  absl::StatusOr<at::Tensor> Influences(
      const Batch& test, const std::optional<Batch>& train = std::nullopt,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;

  // The query side of Influences(), to be met by many training batches: equal
  // results for less work than one Influences() a batch. The model must outlive
  // the result and not be fitted again meanwhile.
  absl::StatusOr<std::unique_ptr<const PreparedQueries>> PrepareQueries(
      const Batch& test) const;

  // The same as Influences() from the rows [M, P] that InfluenceFactors() made.
  // kInvalidArgument, with both sizes, on another P.
  absl::StatusOr<at::Tensor> InfluencesFromFactors(
      const at::Tensor& factors, const Batch& train,
      InfluenceMode mode = InfluenceMode::kUp, int64_t input = 0) const;

  // Mode kPerturbation for every floating input, by name: "x" if the model has
  // one input, else "x0", "x1", ... by its number; integer inputs are left out.
  // kInvalidArgument if no input is floating. The factors are computed once.
  absl::StatusOr<TensorMap> PerturbationInfluencesByInput(
      const Batch& test,
      const std::optional<Batch>& train = std::nullopt) const;

 protected:
  // The same with the state, the arguments' presence and the input checked.
  virtual absl::Status DoFit(std::shared_ptr<const BatchSequence> data,
                             ProgressReporter* progress) = 0;
  virtual absl::StatusOr<at::Tensor> DoInfluenceFactors(
      const Batch& test) const = 0;
  virtual absl::StatusOr<at::Tensor> DoInfluences(
      const Batch& test, const std::optional<Batch>& train, InfluenceMode mode,
      int64_t input) const = 0;
  virtual absl::StatusOr<std::unique_ptr<const PreparedQueries>>
  DoPrepareQueries(const Batch& test) const = 0;
  virtual absl::StatusOr<at::Tensor> DoInfluencesFromFactors(
      const at::Tensor& factors, const Batch& train, InfluenceMode mode,
      int64_t input) const = 0;

  // kFailedPrecondition unless is_fitted().
  absl::Status CheckFitted() const;

  // mode == kUp, or input number `input` of `batch` exists and is floating.
  static absl::Status CheckInput(const Batch& batch, InfluenceMode mode,
                                 int64_t input);
};

}  // namespace influence

#endif  // INFLUENCE_INFLUENCE_INFLUENCE_FUNCTION_MODEL_H_
