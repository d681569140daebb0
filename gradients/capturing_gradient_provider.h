// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Per-sample gradients in factored form by observing the model's operators.
//
// One forward pass under a thread-local LibTorch observer finds every use of a
// trainable parameter; one backward pass of sum_n l_n gives the gradient g of
// each use's output. A layer rule (layer_rule.h) turns the input a and g of a
// use into the factors of all samples' gradients. The model is not touched:
// no hooks, no copies, no module replaced.
#ifndef INFLUENCE_GRADIENTS_CAPTURING_GRADIENT_PROVIDER_H_
#define INFLUENCE_GRADIENTS_CAPTURING_GRADIENT_PROVIDER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "gradients/affine_layers.h"
#include "gradients/batch.h"
#include "gradients/captured_pass.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gradients/term_merging.h"

namespace influence {

struct CapturingOptions {
  // Compares the gradients of up to this many probe samples with plain
  // autograd; >= 1. A parameter that differs is served by autograd.
  int self_check_samples = 3;

  // Largest difference allowed, relative to the largest entry of the gradient
  // of that parameter; <= 0 means 1e-3 in float32 and 1e-8 in float64.
  double self_check_tolerance = 0;
};

// In every batch the model's own operators must prove that each sample kept to
// itself (sample_tracker.h); a batch in which they do not is served sample by
// sample, by the same rules. What no rule covers is served by plain autograd,
// sample by sample. Either way is slower and, since a sample that is alone in
// its pass owns all that is in it, right by definition.
//
// model() is the model that was given, behind IndependentModel, so that sums
// over a batch (curvature products, mixed derivatives) keep samples apart too.
class CapturingGradientProvider : public GradientProvider {
 public:
  // `probe`: a few real samples (N >= 1; the first 3 are used) on which the
  // model's operators are observed, coverage is decided and checked.
  // kInvalidArgument, naming the modules or the operator, if the model couples
  // samples or draws random numbers; kInvalidArgument from the loss on labels
  // out of range.
  static absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>>
  Create(std::shared_ptr<const Model> model, PerSampleFunction function,
         const Batch& probe, const CapturingOptions& options = {});

  // Of all the model's trainable parameters.
  const CoverageReport& coverage() const;

  // The Linear and convolution layers among them, as seen on the probe.
  const AffineLayers& affine_layers() const;

  struct Plan;  // What the probe found; internal.

 protected:
  absl::StatusOr<FactoredGradients> DoFactoredGrads(
      const Batch& batch) const override;
  std::shared_ptr<GradientProvider> Clone() const override;

 private:
  // The terms by parameter of the model: of a batch of one sample; of any
  // batch, sample by sample; of a batch of several samples.
  absl::StatusOr<std::vector<Terms>> TermsOfOne(
      const Batch& batch, std::vector<Service> services) const;
  absl::StatusOr<std::vector<Terms>> TermsOneByOne(
      const Batch& batch, const std::vector<Service>& services) const;
  absl::StatusOr<std::vector<Terms>> TermsOfSeveral(
      const Batch& batch, const std::vector<Service>& services) const;

  CapturingGradientProvider(std::shared_ptr<const Model> model,
                            PerSampleFunction function,
                            std::shared_ptr<const Plan> plan);
  CapturingGradientProvider(const CapturingGradientProvider&) = default;

  std::shared_ptr<const Plan> plan_;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_CAPTURING_GRADIENT_PROVIDER_H_
