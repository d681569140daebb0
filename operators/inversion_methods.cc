// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/inversion_methods.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/parameter_blocks.h"
#include "operators/arnoldi.h"
#include "operators/closed_form_kronecker.h"
#include "operators/conjugate_gradient.h"
#include "operators/curvature.h"
#include "operators/curvature_source.h"
#include "operators/direct_inverse.h"
#include "operators/fisher_gradients.h"
#include "operators/inversion_options.h"
#include "operators/jacobi_preconditioner.h"
#include "operators/kronecker_curvature.h"
#include "operators/kronecker_fit.h"
#include "operators/kronecker_inverse.h"
#include "operators/lissa.h"
#include "operators/low_rank.h"
#include "operators/low_rank_inverse.h"
#include "operators/nystroem.h"
#include "operators/nystroem_preconditioner.h"
#include "operators/operator.h"
#include "operators/twice_differentiable.h"

namespace influence {
namespace {

absl::StatusOr<Curvature> ReadCurvature(InversionOptionReader& options,
                                        Curvature standard) {
  std::string name(CurvatureName(standard));
  options.Read("second_order", &name);
  return ParseCurvature(name);
}

// Returns whether a seed is given.
bool ReadSeed(InversionOptionReader& options, uint64_t& seed) {
  auto value = static_cast<int64_t>(seed);
  const bool given = options.Read("seed", &value);
  seed = static_cast<uint64_t>(value);
  return given;
}

absl::StatusOr<InverseHvpResult> SolveDirect(const CurvatureSource& source,
                                             const InversionProblem& problem,
                                             InversionOptionReader& options) {
  INFLUENCE_ASSIGN_OR_RETURN(const Curvature curvature,
                             ReadCurvature(options, Curvature::kHessian));
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor c,
                             source.Dense(curvature, *problem.data));
  DirectInverseOptions inverse_options;
  inverse_options.regularization = problem.hessian_perturbation;
  inverse_options.relative_accuracy = source.relative_accuracy();
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const DirectInverse> inverse,
      DirectInverse::Create(std::move(c), inverse_options));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(result.x, inverse->Apply(problem.b));
  if (inverse->smallest_eigenvalue().has_value()) {
    const double smallest = *inverse->smallest_eigenvalue();
    INFLUENCE_RETURN_IF_ERROR(result.info.numbers.Insert(
        "smallest_eigenvalue", at::full({}, smallest, at::kDouble)));
    result.info.remarks.push_back(absl::StrCat(
        "the curvature is indefinite: its smallest eigenvalue is ", smallest));
  }
  return result;
}

absl::StatusOr<std::shared_ptr<const Operator>> MakePreconditioner(
    const std::string& name, const CurvatureSource& source, Curvature curvature,
    const InversionProblem& problem, const NystroemOptions& nystroem_options) {
  const double lambda = problem.hessian_perturbation;
  if (name == "none") return std::shared_ptr<const Operator>();
  if (name == "jacobi") {
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor diagonal,
                               source.GaussNewtonDiagonal(*problem.data));
    return JacobiPreconditioner::Create(diagonal, lambda);
  }
  if (name != "nystroem") {
    return absl::InvalidArgumentError(
        absl::StrCat("preconditioner: found \"", name,
                     "\", expected one of none, jacobi, nystroem"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const Operator> c,
                             source.Products(curvature, problem.data, 0));
  INFLUENCE_ASSIGN_OR_RETURN(LowRank pairs,
                             NystroemEigenpairs(*c, nystroem_options));
  return NystroemPreconditioner::Create(std::move(pairs), lambda);
}

absl::StatusOr<InverseHvpResult> SolveConjugateGradient(
    const CurvatureSource& source, const InversionProblem& problem,
    InversionOptionReader& options) {
  INFLUENCE_ASSIGN_OR_RETURN(const Curvature curvature,
                             ReadCurvature(options, Curvature::kHessian));
  ConjugateGradientOptions cg_options;
  NystroemOptions nystroem_options;
  nystroem_options.dtype = source.dtype();
  std::string preconditioner = "none";
  options.Read("tolerance", &cg_options.relative_tolerance);
  options.Read("max_iterations", &cg_options.max_iterations);
  options.Read("block", &cg_options.block);
  options.Read("preconditioner", &preconditioner);
  const bool has_rank = options.Read("rank", &nystroem_options.rank);
  const bool has_seed = ReadSeed(options, nystroem_options.seed);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  if ((has_rank || has_seed) && preconditioner != "nystroem") {
    return absl::InvalidArgumentError(
        absl::StrCat("options: found ", has_rank ? "rank" : "seed",
                     " with preconditioner \"", preconditioner,
                     "\", expected it only with nystroem"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      cg_options.preconditioner,
      MakePreconditioner(preconditioner, source, curvature, problem,
                         nystroem_options));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::shared_ptr<const Operator> a,
      source.Products(curvature, problem.data, problem.hessian_perturbation));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const ConjugateGradient> inverse,
      ConjugateGradient::Create(std::move(a), cg_options));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(
      result.x, inverse->ApplyWithReports(problem.b, &result.info.reports));
  return result;
}

absl::StatusOr<InverseHvpResult> SolveLissa(const CurvatureSource& source,
                                            const InversionProblem& problem,
                                            InversionOptionReader& options) {
  INFLUENCE_ASSIGN_OR_RETURN(const Curvature curvature,
                             ReadCurvature(options, Curvature::kHessian));
  LissaOptions lissa_options;
  double scale = 0;
  if (options.Read("scale", &scale)) lissa_options.scale = scale;
  options.Read("dampen", &lissa_options.dampen);
  options.Read("max_iterations", &lissa_options.max_iterations);
  options.Read("tolerance", &lissa_options.relative_tolerance);
  ReadSeed(options, lissa_options.seed);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  // Power iterations, too, in what the products are computed in.
  lissa_options.dtype = source.dtype();
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<SingleBatch> singles,
                             SingleBatches(problem.data));
  std::vector<LissaBatch> batches;
  for (const SingleBatch& single : singles) {
    INFLUENCE_ASSIGN_OR_RETURN(
        std::shared_ptr<const Operator> a,
        source.Products(curvature, single.data, problem.hessian_perturbation));
    batches.push_back({std::move(a), single.num_samples});
  }
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const Lissa> inverse,
                             Lissa::Create(std::move(batches), lissa_options));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(
      result.x, inverse->ApplyWithReports(problem.b, &result.info.reports));
  INFLUENCE_RETURN_IF_ERROR(result.info.numbers.Insert(
      "scale", at::full({}, inverse->scale(), at::kDouble)));
  return result;
}

// The rest of arnoldi and nystroem: the inverse of C's low-rank form.
absl::StatusOr<InverseHvpResult> SolveLowRank(LowRank pairs, LowRankForm form,
                                              const CurvatureSource& source,
                                              const InversionProblem& problem) {
  LowRankInverseOptions inverse_options;
  inverse_options.regularization = problem.hessian_perturbation;
  inverse_options.form = form;
  inverse_options.relative_accuracy = source.relative_accuracy();
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const LowRankInverse> inverse,
      LowRankInverse::Create(std::move(pairs), inverse_options));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(result.x, inverse->Apply(problem.b));
  INFLUENCE_RETURN_IF_ERROR(
      result.info.numbers.Insert("eigenvalues", inverse->low_rank().d));
  if (inverse->num_negative() > 0) {
    result.info.remarks.push_back(
        absl::StrCat(inverse->num_negative(), " eigenvalues are negative"));
  }
  if (inverse->num_dropped() > 0) {
    result.info.remarks.push_back(absl::StrCat(
        inverse->num_dropped(), " eigenvalues are zero and were left out"));
  }
  return result;
}

absl::StatusOr<InverseHvpResult> SolveArnoldi(const CurvatureSource& source,
                                              const InversionProblem& problem,
                                              InversionOptionReader& options) {
  INFLUENCE_ASSIGN_OR_RETURN(const Curvature curvature,
                             ReadCurvature(options, Curvature::kHessian));
  ArnoldiOptions arnoldi_options;
  arnoldi_options.dtype = source.dtype();
  std::string form_name(LowRankFormName(LowRankForm::kExact));
  options.Read("rank", &arnoldi_options.rank);
  ReadSeed(options, arnoldi_options.seed);
  options.Read("tolerance", &arnoldi_options.relative_tolerance);
  options.Read("max_restarts", &arnoldi_options.max_restarts);
  options.Read("low_rank_inverse", &form_name);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(const LowRankForm form,
                             ParseLowRankForm(form_name));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const Operator> c,
                             source.Products(curvature, problem.data, 0));
  INFLUENCE_ASSIGN_OR_RETURN(ArnoldiResult found,
                             ArnoldiEigenpairs(*c, arnoldi_options));
  const int64_t rank = found.pairs.rank();
  INFLUENCE_ASSIGN_OR_RETURN(
      InverseHvpResult result,
      SolveLowRank(std::move(found.pairs), form, source, problem));
  INFLUENCE_RETURN_IF_ERROR(result.info.numbers.Insert(
      "products",
      at::full({}, static_cast<double>(found.num_products), at::kDouble)));
  if (!found.converged) {
    result.info.remarks.push_back(
        absl::StrCat(rank, " of ", arnoldi_options.rank,
                     " eigenpairs have converged; the others are left out"));
  }
  return result;
}

absl::StatusOr<InverseHvpResult> SolveNystroem(const CurvatureSource& source,
                                               const InversionProblem& problem,
                                               InversionOptionReader& options) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const Curvature curvature,
      ReadCurvature(options, Curvature::kGeneralizedGaussNewton));
  NystroemOptions nystroem_options;
  nystroem_options.dtype = source.dtype();
  std::string form_name(LowRankFormName(LowRankForm::kExact));
  options.Read("rank", &nystroem_options.rank);
  ReadSeed(options, nystroem_options.seed);
  options.Read("low_rank_inverse", &form_name);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(const LowRankForm form,
                             ParseLowRankForm(form_name));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const Operator> c,
                             source.Products(curvature, problem.data, 0));
  INFLUENCE_ASSIGN_OR_RETURN(LowRank pairs,
                             NystroemEigenpairs(*c, nystroem_options));
  return SolveLowRank(std::move(pairs), form, source, problem);
}

absl::StatusOr<InverseHvpResult> SolveInverseHarmonicMean(
    const CurvatureSource& source, const InversionProblem& problem,
    InversionOptionReader& options) {
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const Operator> inverse,
      source.InverseHarmonicMean(problem.data, problem.hessian_perturbation));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(result.x, inverse->Apply(problem.b));
  return result;
}

// The parameters of the provider's selection as one block.
absl::StatusOr<ParameterBlocks> OneBlock(const GradientProvider& provider) {
  ParameterGroup group{"full", {}};
  for (const int64_t index : provider.selection()) {
    group.parameters.push_back(provider.model().parameters()[index].name);
  }
  return ParameterBlocks::CreateCustom(provider.model(), {group});
}

absl::StatusOr<InverseHvpResult> SolveKronecker(
    KroneckerMethod method, const GradientProviderModel& model,
    const InversionProblem& problem, InversionOptionReader& options) {
  KroneckerFitOptions fit_options;
  fit_options.method = method;
  std::string fisher(FisherName(fit_options.fisher));
  std::string uncovered(UncoveredPolicyName(fit_options.uncovered));
  options.Read("fisher", &fisher);
  options.Read("uncovered", &uncovered);
  ReadSeed(options, fit_options.seed);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(fit_options.fisher, ParseFisher(fisher));
  INFLUENCE_ASSIGN_OR_RETURN(fit_options.uncovered,
                             ParseUncoveredPolicy(uncovered));

  INFLUENCE_ASSIGN_OR_RETURN(const ParameterBlocks blocks,
                             OneBlock(*model.provider()));
  INFLUENCE_ASSIGN_OR_RETURN(
      KroneckerFit fit,
      FitKronecker(model.provider(), blocks, *problem.data, fit_options));
  const auto curvature =
      std::make_shared<const KroneckerCurvature>(std::move(fit.curvature));
  KroneckerInverseOptions inverse_options;
  inverse_options.regularization = problem.hessian_perturbation;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const KroneckerInverse> inverse,
      KroneckerInverse::Create(curvature, model.provider()->model(),
                               blocks.blocks()[0], inverse_options));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(result.x, inverse->Apply(problem.b));
  for (const KroneckerFactors& layer : curvature->layers) {
    INFLUENCE_RETURN_IF_ERROR(result.info.numbers.Insert(
        absl::StrCat("eigenvalues/", layer.layer,
                     layer.group > 0 ? absl::StrCat("/", layer.group) : ""),
        layer.eigenvalues));
  }
  if (inverse->num_dropped() > 0) {
    result.info.remarks.push_back(
        absl::StrCat(inverse->num_dropped(), " of ", inverse->input_size(),
                     " parameters are outside of all layers: left out"));
  } else if (inverse->num_diagonal() > 0) {
    result.info.remarks.push_back(
        absl::StrCat(inverse->num_diagonal(), " of ", inverse->input_size(),
                     " parameters are outside of all layers: the diagonal of "
                     "the Fisher is used"));
  }
  return result;
}

absl::StatusOr<InverseHvpResult> SolveKronecker(
    KroneckerMethod method, const ClosedFormModel& model,
    const InversionProblem& problem, InversionOptionReader& options) {
  std::string name(FisherName(Fisher::kEmpirical));
  options.Read("fisher", &name);
  INFLUENCE_RETURN_IF_ERROR(options.Finish());
  INFLUENCE_ASSIGN_OR_RETURN(const Fisher fisher, ParseFisher(name));
  INFLUENCE_ASSIGN_OR_RETURN(
      const ClosedFormKronecker curvature,
      FitClosedFormKronecker(*model.model(), *problem.data, method, fisher));
  InverseHvpResult result;
  INFLUENCE_ASSIGN_OR_RETURN(
      result.x,
      SolveClosedFormKronecker(*model.model(), curvature,
                               problem.hessian_perturbation, problem.b));
  INFLUENCE_RETURN_IF_ERROR(
      result.info.numbers.Insert("eigenvalues/linear", curvature.eigenvalues));
  return result;
}

std::unique_ptr<const CurvatureSource> SourceOf(
    const GradientProviderModel& model) {
  return CreateCurvatureSource(model.provider());
}

std::unique_ptr<const CurvatureSource> SourceOf(const ClosedFormModel& model) {
  return CreateCurvatureSource(model.model());
}

struct Method {
  const char* name;
  absl::StatusOr<InverseHvpResult> (*solve)(const CurvatureSource& source,
                                            const InversionProblem& problem,
                                            InversionOptionReader& options);
};

constexpr Method kMethods[] = {
    {"direct", SolveDirect},     {"cg", SolveConjugateGradient},
    {"lissa", SolveLissa},       {"arnoldi", SolveArnoldi},
    {"nystroem", SolveNystroem}, {"ihm", SolveInverseHarmonicMean},
};

template <typename ModelType>
absl::Status RegisterAll(InversionRegistry& registry) {
  for (const Method& method : kMethods) {
    INFLUENCE_RETURN_IF_ERROR(registry.RegisterFor<ModelType>(
        method.name, [solve = method.solve](const ModelType& model,
                                            const InversionProblem& problem,
                                            InversionOptionReader& options) {
          return solve(*SourceOf(model), problem, options);
        }));
  }
  for (const KroneckerMethod method :
       {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
    INFLUENCE_RETURN_IF_ERROR(registry.RegisterFor<ModelType>(
        method == KroneckerMethod::kKfac ? "kfac" : "ekfac",
        [method](const ModelType& model, const InversionProblem& problem,
                 InversionOptionReader& options) {
          return SolveKronecker(method, model, problem, options);
        }));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RegisterBuiltInInversionMethods(InversionRegistry& registry) {
  INFLUENCE_RETURN_IF_ERROR(RegisterAll<AutogradModel>(registry));
  INFLUENCE_RETURN_IF_ERROR(RegisterAll<CapturingModel>(registry));
  return RegisterAll<ClosedFormModel>(registry);
}

}  // namespace influence
