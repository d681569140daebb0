// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// One forward and one backward pass over a batch, and the per-sample gradients
// that the model's operators show (operator_capture.h).
//
// A batch of several samples counts only where its own operators prove that
// each sample kept to itself (sample_tracker.h). A batch of one sample needs no
// proof: all that is in it belongs to that sample.
#ifndef INFLUENCE_GRADIENTS_CAPTURED_PASS_H_
#define INFLUENCE_GRADIENTS_CAPTURED_PASS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"
#include "gradients/model.h"
#include "gradients/operator_capture.h"
#include "gradients/per_sample_function.h"
#include "gradients/term_merging.h"

namespace influence {

// A forward pass and what was observed of it.
struct CapturedPass {
  int64_t num_samples;
  std::vector<CapturedUse>
      uses;  // With axes where the samples' place is known.
  std::vector<DerivedParameter> derived;
  std::vector<UncoveredUse> uncovered_uses;
  std::vector<std::string> coupling_operators;
  at::Tensor output;
  at::Tensor values;  // [N]
  // Why the samples are not known to keep to themselves: the operator. Empty
  // for a batch of one sample.
  std::string unproven;
};

// Follows the caller's grad mode, which must be on for gradients. May throw.
absl::StatusOr<CapturedPass> Capture(const Model& model,
                                     const PerSampleFunction& function,
                                     const Batch& batch);

// The index of the model's own parameter for which `parameter`, an index of a
// use's argument, stands.
int64_t OwnParameter(const CapturedPass& pass, int64_t num_parameters,
                     int64_t parameter);

// By parameter of the model, for a pass without `unproven`: why the pass's uses
// do not give its gradients in factors; empty where they do.
std::vector<std::string> UnservedReasons(const CapturedPass& pass,
                                         int64_t num_parameters);

// How the gradients of a parameter are to be had.
enum class Service { kNone, kFactors, kAutograd };

// The terms by parameter of the model, of sum_n values[n], which consumes the
// pass. kAutograd, one dense term, is for batches of one sample only. A
// parameter whose rule fails has `failure` (LibTorch's message) and no terms.
struct PassGradients {
  std::vector<Terms> terms;
  std::vector<std::string> failures;
};
PassGradients Differentiate(CapturedPass pass, const Model& model,
                            const std::vector<Service>& services);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_CAPTURED_PASS_H_
