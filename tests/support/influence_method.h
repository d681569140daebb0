// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Every method by its name and options, so that one test runs them all.
#ifndef INFLUENCE_TESTS_SUPPORT_INFLUENCE_METHOD_H_
#define INFLUENCE_TESTS_SUPPORT_INFLUENCE_METHOD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {

// What a method does not have is not looked at.
struct InfluenceMethod {
  std::string method;  // "cg"; as on the command line.
  BlockStructure structure = BlockStructure::kLayer;
  Curvature curvature = Curvature::kGaussNewton;
  Regularization regularization;  // Auto.
  std::optional<PerSampleFunction> query_function;

  // Of cg and lissa.
  double relative_tolerance = 1e-12;
  int64_t max_iterations = 5000;

  // Of cg and lissa: whether to multiply with a matrix that the fit formed.
  bool forms_curvature = true;

  // Of cg: "none", "jacobi", "nystroem".
  std::string preconditioner = "none";

  // Of lissa.
  std::optional<double> scale;
  double dampen = 0;

  // Of arnoldi and nystroem; 0 means P.
  int64_t rank = 0;
  std::string low_rank_inverse = "exact";

  // Of kfac and ekfac: as on the command line.
  std::string fisher = "empirical";
  std::string uncovered = "diagonal";

  uint64_t seed = 0;

  // Of the ranks that fit and solve together; null for a process alone.
  std::shared_ptr<Communicator> communicator = nullptr;

  bool is_low_rank() const {
    return method == "arnoldi" || method == "nystroem";
  }
  bool is_kronecker() const { return method == "kfac" || method == "ekfac"; }
  bool has_curvature() const;
  bool has_regularization() const { return method != "identity"; }

  // "arnoldi_exact_rank_3_layer_hessian".
  std::string Name() const;
};

// Not fitted.
absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateInfluence(
    const InfluenceMethod& method,
    const std::shared_ptr<const GradientProvider>& provider);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_INFLUENCE_METHOD_H_
