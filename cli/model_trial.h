// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Tries a model on the first samples of a data set, in batches of one, two and
// three as the tool does later on, and says in the user's words which of the
// model, the data file and an option is at fault.
#ifndef INFLUENCE_CLI_MODEL_TRIAL_H_
#define INFLUENCE_CLI_MODEL_TRIAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/model.h"

namespace influence {

// Samples of a trial.
inline constexpr int64_t kTrialSamples = 3;

// Where a trial's model and inputs come from.
struct TrialOrigin {
  std::string model_file;
  std::string data_file;
  std::vector<std::string> input_names;            // "x", or "x0", "x1", ...
  std::vector<std::vector<int64_t>> input_shapes;  // [N, ...], of all the data.
  at::ScalarType dtype = at::kFloat;               // --dtype
};

// The output's shape for three samples. x: inputs of one to three samples, in
// the dtypes in which the model gets them. Cost: passes over six samples, and
// a backward pass of one.
//
// kInvalidArgument in one line that begins with the file at fault, if the model
// fails for one of the sizes, if its outputs are not [n, ...] with the same
// shape of a sample for each, or if an operator without a derivative is in it.
// To find out why, the model is then tried with other sizes and other dtypes
// and, if it was converted, as the file holds it; never to go on with those.
absl::StatusOr<std::vector<int64_t>> TryModel(const Model& model,
                                              const TrialOrigin& origin,
                                              const std::vector<at::Tensor>& x);

// kInvalidArgument, naming the model file, if `model`, which was converted to
// origin.dtype, gives other outputs than its file does in its own dtype: by
// more than 1e-3 of the largest, or sixteen times the rounding unit of the
// file's dtype where that is more. Loads the file once more meanwhile. OK if
// the file's own model cannot be run, which is no fault of the conversion.
absl::Status CheckConversion(const Model& model, const TrialOrigin& origin,
                             const std::vector<at::Tensor>& x);

}  // namespace influence

#endif  // INFLUENCE_CLI_MODEL_TRIAL_H_
