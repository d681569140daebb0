// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/influence_method.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "influence/arnoldi_influence.h"
#include "influence/cg_influence.h"
#include "influence/curvature_products.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/inverse_harmonic_mean_influence.h"
#include "influence/kronecker_influence.h"
#include "influence/lissa_influence.h"
#include "influence/low_rank_influence.h"
#include "influence/nystroem_influence.h"
#include "operators/fisher_gradients.h"
#include "operators/kronecker_fit.h"
#include "operators/low_rank_inverse.h"

namespace influence {
namespace {

absl::Status UnknownMethod(const std::string& method) {
  return absl::InvalidArgumentError(
      absl::StrCat("method: found ", method, ", expected a known one"));
}

CurvatureProducts Products(const InfluenceMethod& method) {
  return method.forms_curvature ? CurvatureProducts::kFormed
                                : CurvatureProducts::kMatrixFree;
}

}  // namespace

bool InfluenceMethod::has_curvature() const {
  return method == "direct" || method == "cg" || method == "lissa" ||
         is_low_rank();
}

std::string InfluenceMethod::Name() const {
  std::string name = method;
  if (is_low_rank()) {
    absl::StrAppend(&name, "_", low_rank_inverse);
    if (rank > 0) absl::StrAppend(&name, "_rank_", rank);
  }
  if (method == "cg" && preconditioner != "none") {
    absl::StrAppend(&name, "_", preconditioner);
  }
  if (!forms_curvature) absl::StrAppend(&name, "_matrix_free");
  if (is_kronecker()) {
    absl::StrAppend(&name, "_", fisher, "_", uncovered);
  } else {
    absl::StrAppend(&name, "_", BlockStructureName(structure));
  }
  if (has_curvature()) absl::StrAppend(&name, "_", CurvatureName(curvature));
  return name;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateInfluence(
    const InfluenceMethod& method,
    const std::shared_ptr<const GradientProvider>& provider) {
  ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), method.structure);
  if (method.method == "identity") {
    return IdentityInfluence::Create(provider, std::move(blocks),
                                     method.query_function);
  }
  if (method.method == "direct") {
    DirectInfluenceOptions options;
    options.curvature = method.curvature;
    options.regularization = method.regularization;
    options.query_function = method.query_function;
    options.communicator = method.communicator;
    return DirectInfluence::Create(provider, std::move(blocks), options);
  }
  if (method.method == "cg") {
    CgInfluenceOptions options;
    options.curvature = method.curvature;
    options.regularization = method.regularization;
    options.query_function = method.query_function;
    options.communicator = method.communicator;
    options.relative_tolerance = method.relative_tolerance;
    options.max_iterations = method.max_iterations;
    options.products.kind = Products(method);
    INFLUENCE_ASSIGN_OR_RETURN(options.preconditioner,
                               ParseCgPreconditioner(method.preconditioner));
    return CgInfluence::Create(provider, std::move(blocks), options);
  }
  if (method.method == "lissa") {
    LissaInfluenceOptions options;
    options.curvature = method.curvature;
    options.regularization = method.regularization;
    options.query_function = method.query_function;
    options.communicator = method.communicator;
    options.scale = method.scale;
    options.dampen = method.dampen;
    options.relative_tolerance = method.relative_tolerance;
    options.max_iterations = method.max_iterations;
    options.seed = method.seed;
    options.products.kind = Products(method);
    return LissaInfluence::Create(provider, std::move(blocks), options);
  }
  if (method.is_low_rank()) {
    LowRankInfluenceOptions options;
    options.curvature = method.curvature;
    options.regularization = method.regularization;
    options.query_function = method.query_function;
    options.communicator = method.communicator;
    options.rank = method.rank == 0 ? blocks.size() : method.rank;
    options.seed = method.seed;
    INFLUENCE_ASSIGN_OR_RETURN(options.low_rank_inverse,
                               ParseLowRankForm(method.low_rank_inverse));
    if (method.method == "arnoldi") {
      return ArnoldiInfluence::Create(provider, std::move(blocks), options);
    }
    return NystroemInfluence::Create(provider, std::move(blocks), options);
  }
  if (method.method == "ihm") {
    InverseHarmonicMeanInfluenceOptions options;
    options.regularization = method.regularization;
    options.query_function = method.query_function;
    options.communicator = method.communicator;
    return InverseHarmonicMeanInfluence::Create(provider, std::move(blocks),
                                                options);
  }
  if (method.is_kronecker()) {
    KroneckerInfluenceOptions options;
    options.method = method.method == "kfac" ? KroneckerMethod::kKfac
                                             : KroneckerMethod::kEkfac;
    INFLUENCE_ASSIGN_OR_RETURN(options.fisher, ParseFisher(method.fisher));
    INFLUENCE_ASSIGN_OR_RETURN(options.uncovered,
                               ParseUncoveredPolicy(method.uncovered));
    options.regularization = method.regularization;
    options.query_function = method.query_function;
    options.communicator = method.communicator;
    options.seed = method.seed;
    return KroneckerInfluence::Create(provider, options);
  }
  return UnknownMethod(method.method);
}

}  // namespace influence
