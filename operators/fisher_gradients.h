// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The gradients whose outer products average to a Fisher information matrix:
// those of the loss on the true labels, on labels drawn from the model, or, for
// the expectation over the model's labels, a weighted set of them.
#ifndef INFLUENCE_OPERATORS_FISHER_GRADIENTS_H_
#define INFLUENCE_OPERATORS_FISHER_GRADIENTS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"

namespace influence {

// F = mean_n E_y[ g(x_n, y) g(x_n, y)^T ], g the gradient of the sample's loss.
enum class Fisher {
  kEmpirical,  // y the label in the data.
  kExact,      // y ~ the model's own probabilities, the expectation in full.
  kSampled,    // One draw of y for each prediction.
};

// "empirical", "exact", "sampled".
absl::string_view FisherName(Fisher fisher);

// kInvalidArgument listing the names for another one.
absl::StatusOr<Fisher> ParseFisher(absl::string_view name);

// The model's probabilities: for the loss cross_entropy, softmax(output) of
// each token (tokens labelled -100 have no draw and no gradient); for
// binary_cross_entropy_with_logits an independent label 0 or 1 with probability
// sigmoid(o) for each element o of the output, whose loss is the mean over the
// elements, not rescaled.
//
// Exact: F_n is the sum of the outer products of num_terms() gradients,
//   cross_entropy: sqrt(p_c) grad(-log p_c), a class c each;
//   binary_cross_entropy_with_logits, of E elements:
//     sqrt(p_e (1 - p_e)) / E grad o_e, an element e each.
// Sampled: a draw is a function of the seed, the sample's index in the data set
// and the token or element alone (base/counter_based_random.h), so that
// batches, threads and machines do not change it (but for rounding of the
// model's output).
//
// Immutable; as thread-safe as the model.
class FisherGradients {
 public:
  // `provider` gives model, loss and selection. `probe`: one sample or more, of
  // which the model's output is looked at. kInvalidArgument for exact or
  // sampled with another loss, and for exact where a sample has more than one
  // prediction (a sequence): sampled is for those.
  static absl::StatusOr<FisherGradients> Create(
      Fisher fisher, std::shared_ptr<const GradientProvider> provider,
      const Batch& probe, uint64_t seed = 0);

  // 1, or for exact the number of classes or elements: backward passes a
  // sample.
  int64_t num_terms() const { return num_terms_; }

  // The gradients of term [0, num_terms()) for samples first_sample,
  // first_sample + 1, ... of the data set, which are `batch`, with their true
  // labels. One forward and one backward pass.
  absl::StatusOr<FactoredGradients> Get(int64_t term, const Batch& batch,
                                        int64_t first_sample) const;

 private:
  FisherGradients(Fisher fisher,
                  std::shared_ptr<const GradientProvider> provider,
                  int64_t num_terms, uint64_t seed);

  Fisher fisher_;
  std::shared_ptr<const GradientProvider> provider_;
  int64_t num_terms_;
  uint64_t seed_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_FISHER_GRADIENTS_H_
