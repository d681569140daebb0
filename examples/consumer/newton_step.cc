// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Uses three single libraries: evaluates a loss per sample, then takes a damped
// Newton step with a dense curvature, and checks both against values by hand.
#include <cmath>
#include <cstdio>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/per_sample_function.h"
#include "operators/direct_inverse.h"

namespace {

// Whether `found` is `expected` to 1e-12; prints both.
bool Check(const char* what, double found, double expected) {
  const bool equal = std::abs(found - expected) < 1e-12;
  std::printf("%s: %.12f, by hand %.12f%s\n", what, found, expected,
              equal ? "" : "  WRONG");
  return equal;
}

absl::StatusOr<bool> Run() {
  // Equal logits of K classes: each sample's loss is log K.
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor losses,
      influence::CrossEntropyLoss().Evaluate(at::zeros({2, 3}, at::kDouble),
                                             at::tensor({0, 2}, at::kLong)));
  bool right = Check("loss", losses[1].item<double>(), std::log(3.0));

  // (C + I / 2) x = b with C = [[1.5, 1], [1, 1.5]], b = [3, 0]: x = [2, -1].
  const at::Tensor c =
      at::tensor({1.5, 1.0, 1.0, 1.5}, at::kDouble).view({2, 2});
  influence::DirectInverseOptions options;
  options.regularization = 0.5;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::DirectInverse> inverse,
      influence::DirectInverse::Create(c, options));
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor x, inverse->Apply(at::tensor({3.0, 0.0}, at::kDouble)));
  right = Check("step[0]", x[0].item<double>(), 2.0) && right;
  right = Check("step[1]", x[1].item<double>(), -1.0) && right;

  // A wrong size is a Status, not an exception.
  const absl::Status refused =
      inverse->Apply(at::zeros({5}, at::kDouble)).status();
  std::printf("a wrong size: %s\n", refused.ToString().c_str());
  return right && refused.code() == absl::StatusCode::kInvalidArgument;
}

}  // namespace

int main() {
  const absl::StatusOr<bool> right = Run();
  if (!right.ok()) std::printf("%s\n", right.status().ToString().c_str());
  return right.ok() && *right ? 0 : 1;
}
