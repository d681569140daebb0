// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A small network for the digits, 64-32-10 with tanh (P = 2,410), trained to a
// minimum of
//   (1/N) sum_n l(theta; z_n) + weight_decay / 2 * |theta|^2,
// l being the cross entropy. At a minimum the Hessian of this objective is
// H + weight_decay * I: the curvature of influence functions whose
// regularization is the weight decay, so that their predictions can be compared
// with training again.
#ifndef INFLUENCE_EXAMPLES_DIGITS_DIGITS_NETWORK_H_
#define INFLUENCE_EXAMPLES_DIGITS_DIGITS_NETWORK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "examples/digits/digits_data.h"
#include "gradients/model.h"

namespace influence {

struct TrainingOptions {
  double weight_decay = 0.01;  // > 0
  int max_iterations = 3000;   // >= 1; of L-BFGS over all samples at once.
  double gradient_tolerance = 1e-7;  // > 0; on the largest entry.
  uint64_t seed = 0;                 // Of the initial weights.
};

struct TrainedNetwork {
  // Parameters hidden.weight [32, 64], hidden.bias, output.weight [10, 32] and
  // output.bias in float64; x [N, 64] -> logits [N, 10].
  std::shared_ptr<const Model> model;
  double objective;         // As above.
  double largest_gradient;  // Largest entry of the objective's gradient.
  int num_evaluations;      // Of the objective and its gradient.
};

// kInvalidArgument if the data or an option are out of range.
absl::StatusOr<TrainedNetwork> TrainNetwork(const DigitImages& train,
                                            const TrainingOptions& options);

// Trains on, from the weights of `start`, without the samples `left_out` of
// `train`; N stays the number of all of them, as in the definition of
// influence. `start` is left as it is.
absl::StatusOr<TrainedNetwork> RetrainWithout(
    const TrainedNetwork& start, const DigitImages& train,
    absl::Span<const int64_t> left_out, const TrainingOptions& options);

// Writes a TorchScript file with the same parameters, under the same names, and
// the same forward function. kUnavailable, naming the file, if it cannot be
// written.
absl::Status WriteTorchScript(const TrainedNetwork& network,
                              const std::string& path);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_DIGITS_NETWORK_H_
