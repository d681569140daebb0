// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Looks at the second derivatives that LibTorch gives of a model before they
// are used. Some operators have none, and of some they are wrong: those of
// aten::_weight_norm_interface take the norms for constants (LibTorch 2.13).
#ifndef INFLUENCE_OPERATORS_SECOND_DERIVATIVE_CHECK_H_
#define INFLUENCE_OPERATORS_SECOND_DERIVATIVE_CHECK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gradients/batch.h"
#include "gradients/gradient_provider.h"

namespace influence {

// On up to three samples of `batch`, which is valid, for the parameters
// `parameters` of provider.model(): is u^T H v = v^T H u for random u and v,
// and is H v the derivative of the gradient by central differences? Both are
// computed in float64 on a copy of the model (Model::CopyAs()), so that nobody
// sees its parameters move; where there is no copy or it cannot be run, the
// first is computed with the model itself, in its own dtype. An error that
// rounding explains is none: it is compared with the curvature of the model
// under a loss that does not flatten out.
//
// kInvalidArgument, naming the operator, the parameter and what else can be
// done, where an operator has no second derivative or a wrong one. Cost: some
// thirty passes over three samples at most, nine as a rule.
absl::Status CheckHessian(const GradientProvider& provider,
                          const std::vector<int64_t>& parameters,
                          const Batch& batch);

// The same for J^T H J, whose products differentiate J^T u once more; symmetry
// alone.
absl::Status CheckGeneralizedGaussNewton(const GradientProvider& provider,
                                         const std::vector<int64_t>& parameters,
                                         const Batch& batch);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SECOND_DERIVATIVE_CHECK_H_
