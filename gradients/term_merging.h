// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Fewer terms for the same gradients: a parameter that is used at every step of
// a recurrence has one term of T positions in place of T terms, so that
// products cost one matrix product and Gram matrices are not quadratic in T.
#ifndef INFLUENCE_GRADIENTS_TERM_MERGING_H_
#define INFLUENCE_GRADIENTS_TERM_MERGING_H_

#include <memory>
#include <vector>

#include "gradients/gradient_term.h"

namespace influence {

// The terms of one parameter; the gradient is their sum.
using Terms = std::vector<std::shared_ptr<const GradientTerm>>;

// The same gradients with terms of the same kind, range and widths joined along
// their positions, dense ones added up. Copies what it joins. Throws c10::Error
// on a LibTorch failure.
Terms MergeTerms(const Terms& terms);

// samples[n]: the terms of one parameter for sample n alone (one sample each).
// The terms for all of them. Samples may have any numbers of positions: the
// shorter ones are filled up with zeros, as
// OuterProductTerm::real_positions() tells. Throws c10::Error on a
// LibTorch failure.
Terms JoinSamples(const std::vector<Terms>& samples);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_TERM_MERGING_H_
