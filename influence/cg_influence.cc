// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/cg_influence.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "operators/conjugate_gradient.h"
#include "operators/dense_curvature.h"
#include "operators/dense_operator.h"
#include "operators/jacobi_preconditioner.h"
#include "operators/kept_curvature_operator.h"
#include "operators/nystroem.h"
#include "operators/nystroem_preconditioner.h"
#include "operators/rank_average.h"
#include "operators/shifted_operator.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "cg";
constexpr char kCurvatureOption[] = "curvature";
constexpr char kToleranceOption[] = "tolerance";
constexpr char kMaxIterationsOption[] = "max_iterations";
constexpr char kBlockOption[] = "block";
constexpr char kPreconditionerOption[] = "preconditioner";
constexpr char kRankOption[] = "rank";
constexpr char kSeedOption[] = "seed";
constexpr char kFormedOption[] = "formed";

constexpr CgPreconditioner kPreconditioners[] = {CgPreconditioner::kNone,
                                                 CgPreconditioner::kJacobi,
                                                 CgPreconditioner::kNystroem};

std::string CurvatureArray(const std::string& block) {
  return absl::StrCat(block, "/curvature");
}

std::string DiagonalArray(const std::string& block) {
  return absl::StrCat(block, "/diagonal");
}

std::string EigenvectorsArray(const std::string& block) {
  return absl::StrCat(block, "/eigenvectors");
}

std::string EigenvaluesArray(const std::string& block) {
  return absl::StrCat(block, "/eigenvalues");
}

}  // namespace

absl::string_view CgPreconditionerName(CgPreconditioner preconditioner) {
  switch (preconditioner) {
    case CgPreconditioner::kNone:
      return "none";
    case CgPreconditioner::kJacobi:
      return "jacobi";
    case CgPreconditioner::kNystroem:
      return "nystroem";
  }
  return "unknown";
}

absl::StatusOr<CgPreconditioner> ParseCgPreconditioner(absl::string_view name) {
  for (const CgPreconditioner preconditioner : kPreconditioners) {
    if (name == CgPreconditionerName(preconditioner)) return preconditioner;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("preconditioner: found \"", name,
                   "\", expected none, jacobi or nystroem"));
}

absl::StatusOr<std::unique_ptr<CgInfluence>> CgInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    const CgInfluenceOptions& options) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_tolerance", options.relative_tolerance));
  if (options.max_iterations < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_iterations: found ", options.max_iterations, ", expected >= 1"));
  }
  if (options.preconditioner == CgPreconditioner::kNystroem &&
      (options.rank < 1 || options.rank > blocks.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: found ", options.rank,
                     ", expected 1 to the number of "
                     "parameters, ",
                     blocks.size()));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateCurvatureProducts(options.products));
  if (!options.regularization.is_auto()) {
    INFLUENCE_RETURN_IF_ERROR(options.regularization.Resolve(blocks).status());
  }
  return std::unique_ptr<CgInfluence>(
      new CgInfluence(std::move(provider), std::move(blocks), options));
}

CgInfluence::CgInfluence(std::shared_ptr<const GradientProvider> provider,
                         ParameterBlocks blocks, CgInfluenceOptions options)
    : ComposableInfluence(std::move(provider), std::move(blocks),
                          options.query_function),
      options_(std::move(options)) {}

std::vector<BlockReport> CgInfluence::report() const {
  std::vector<BlockReport> report;
  for (size_t b = 0; b < fitted_.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    report.push_back({block.name, block.size, regularization_.values[b],
                      std::nullopt, RegularizationRemarks(regularization_, b)});
    if (fitted_[b].sketch.has_value() && options_.rank > block.size) {
      report.back().remarks.push_back(absl::StrCat(
          "rank: found ", options_.rank, " above the block's size ", block.size,
          "; used ", block.size));
    }
  }
  return report;
}

bool CgInfluence::solves_together() const {
  return std::any_of(fitted_.begin(), fitted_.end(), [](const Block& block) {
    return block.products != nullptr && block.products->is_shared();
  });
}

std::vector<bool> CgInfluence::formed() const {
  std::vector<bool> formed;
  for (const Block& block : fitted_) {
    formed.push_back(block.curvature.defined());
  }
  return formed;
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
CgInfluence::FitOperators(std::shared_ptr<const BatchSequence> data,
                          ProgressReporter* progress) {
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization regularization,
      FitRegularization(options_.regularization, blocks(), [&] {
        return AutoRegularization(provider(), blocks(), *data,
                                  options_.communicator.get());
      }));
  const std::vector<bool> which =
      BlocksToForm(options_.products, blocks(), /*num_matrices=*/1,
                   std::min(options_.max_iterations, kUsualIterations));
  DenseCurvatureOptions forming;
  forming.num_threads = options_.products.num_threads;
  forming.communicator = options_.communicator;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<at::Tensor> curvatures,
      FormSelectedBlocks(options_.curvature, provider(), blocks(), which, *data,
                         forming, progress));
  std::vector<Block> fitted(which.size());
  for (size_t b = 0; b < fitted.size(); ++b) {
    fitted[b].curvature = std::move(curvatures[b]);
  }
  INFLUENCE_RETURN_IF_ERROR(SetProducts(data, fitted));
  INFLUENCE_RETURN_IF_ERROR(SetPreconditioners(data, progress, fitted));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      MakeOperators(fitted, regularization.values));
  fitted_ = std::move(fitted);
  regularization_ = std::move(regularization);
  return operators;
}

absl::Status CgInfluence::SetProducts(
    const std::shared_ptr<const BatchSequence>& data,
    std::vector<Block>& fitted) const {
  int64_t num_blocks = 0;
  for (const Block& block : fitted) {
    if (!block.curvature.defined()) ++num_blocks;
  }
  KeptCurvatureOptions options;
  options.memory_limit /= std::max<int64_t>(1, num_blocks);
  for (size_t b = 0; b < fitted.size(); ++b) {
    if (fitted[b].curvature.defined()) continue;
    INFLUENCE_ASSIGN_OR_RETURN(
        fitted[b].products,
        KeepCurvatureProducts(options_.curvature, provider(),
                              blocks().blocks()[b], {data}, options,
                              options_.communicator));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Operator>> CgInfluence::CurvatureOperator(
    const Block& block, double regularization) {
  if (block.curvature.defined()) {
    return DenseOperator::Create(block.curvature, regularization);
  }
  return ShiftedOperator::Create(block.products->op(0), regularization);
}

at::ScalarType CgInfluence::Dtype(const Block& block) const {
  return block.curvature.defined() ? at::kDouble : provider().model().dtype();
}

absl::Status CgInfluence::SetPreconditioners(
    const std::shared_ptr<const BatchSequence>& data,
    ProgressReporter* progress, std::vector<Block>& fitted) const {
  if (options_.preconditioner == CgPreconditioner::kJacobi) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::shared_ptr<const GradientProvider> restricted,
        provider().Restrict(blocks().parameters()));
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor diagonal, GaussNewtonDiagonal(*restricted, *data, progress,
                                                 options_.communicator.get()));
    INFLUENCE_ASSIGN_OR_RETURN(std::vector<at::Tensor> parts,
                               blocks().Split(diagonal));
    for (size_t b = 0; b < fitted.size(); ++b) {
      fitted[b].diagonal = parts[b].clone();
    }
  }
  if (options_.preconditioner != CgPreconditioner::kNystroem) {
    return absl::OkStatus();
  }
  for (size_t b = 0; b < fitted.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::shared_ptr<const Operator> c,
        CurvatureOperator(fitted[b], /*regularization=*/0));
    NystroemOptions options;
    options.rank = std::min(options_.rank, block.size);
    options.seed = options_.seed;
    options.dtype = Dtype(fitted[b]);
    // The other curvatures are positive semidefinite by their definition.
    if (options_.curvature != Curvature::kHessian) {
      options.num_definiteness_products = 0;
    }
    const auto find = [&] { return NystroemEigenpairs(*c, options); };
    absl::StatusOr<LowRank> sketch =
        fitted[b].products == nullptr
            ? find()
            : LeadEigenpairs(*fitted[b].products, find);
    if (!sketch.ok()) return InBlock(block.name, sketch.status());
    INFLUENCE_RETURN_IF_ERROR(CatchTorch("sketch", [&] {
      // In the layout that it is stored in.
      sketch->u = sketch->u.t().contiguous().t();
      return absl::OkStatus();
    }));
    fitted[b].sketch = *std::move(sketch);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
CgInfluence::MakeOperators(const std::vector<Block>& fitted,
                           const std::vector<double>& regularization) const {
  std::vector<std::shared_ptr<const Operator>> operators;
  for (size_t b = 0; b < fitted.size(); ++b) {
    const auto make =
        [&]() -> absl::StatusOr<std::shared_ptr<const ConjugateGradient>> {
      ConjugateGradientOptions options;
      options.relative_tolerance = options_.relative_tolerance;
      options.max_iterations = options_.max_iterations;
      options.block = options_.block;
      options.dtype = Dtype(fitted[b]);
      INFLUENCE_ASSIGN_OR_RETURN(
          std::shared_ptr<const Operator> a,
          CurvatureOperator(fitted[b], regularization[b]));
      if (fitted[b].diagonal.defined()) {
        INFLUENCE_ASSIGN_OR_RETURN(options.preconditioner,
                                   JacobiPreconditioner::Create(
                                       fitted[b].diagonal, regularization[b]));
      }
      if (fitted[b].sketch.has_value()) {
        INFLUENCE_ASSIGN_OR_RETURN(options.preconditioner,
                                   NystroemPreconditioner::Create(
                                       *fitted[b].sketch, regularization[b]));
      }
      return ConjugateGradient::Create(std::move(a), options);
    };
    absl::StatusOr<std::shared_ptr<const ConjugateGradient>> cg = make();
    if (!cg.ok()) return InBlock(blocks().blocks()[b].name, cg.status());
    operators.push_back(
        fitted[b].products == nullptr
            ? *std::move(cg)
            : RankAverage::Led(fitted[b].products, *std::move(cg)));
  }
  return operators;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
CgInfluence::WithRegularization(const Regularization& regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization refitted,
      RefitRegularization(regularization, blocks(), regularization_));
  std::unique_ptr<CgInfluence> other(new CgInfluence(*this));
  other->options_.regularization = regularization;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      MakeOperators(fitted_, refitted.values));
  other->regularization_ = std::move(refitted);
  INFLUENCE_RETURN_IF_ERROR(
      other->SetOperators(std::move(operators), num_fitted_samples()));
  return other;
}

absl::StatusOr<FittedState> CgInfluence::DoExportState() const {
  FittedState state;
  state.method = std::string(kMethod);
  state.options = {
      {kCurvatureOption, std::string(CurvatureName(options_.curvature))},
      {kToleranceOption, NumberText(options_.relative_tolerance)},
      {kMaxIterationsOption, absl::StrCat(options_.max_iterations)},
      {kBlockOption, options_.block ? "1" : "0"},
      {kPreconditionerOption,
       std::string(CgPreconditionerName(options_.preconditioner))},
      {kRankOption, absl::StrCat(options_.rank)},
      {kSeedOption, absl::StrCat(options_.seed)}};
  std::string& formed = state.options[kFormedOption];
  state.regularization = regularization_.values;
  state.auto_regularization = regularization_.auto_values;
  for (size_t b = 0; b < fitted_.size(); ++b) {
    const std::string& name = blocks().blocks()[b].name;
    formed += fitted_[b].curvature.defined() ? '1' : '0';
    if (fitted_[b].curvature.defined()) {
      state.arrays.push_back({CurvatureArray(name), fitted_[b].curvature});
    }
    if (fitted_[b].diagonal.defined()) {
      state.arrays.push_back({DiagonalArray(name), fitted_[b].diagonal});
    }
    if (fitted_[b].sketch.has_value()) {
      state.arrays.push_back(
          {EigenvectorsArray(name), fitted_[b].sketch->u.t()});
      state.arrays.push_back({EigenvaluesArray(name), fitted_[b].sketch->d});
    }
  }
  return state;
}

absl::StatusOr<std::unique_ptr<CgInfluence>> CgInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    const std::shared_ptr<const BatchSequence>& data,
    std::optional<PerSampleFunction> query_function,
    std::shared_ptr<Communicator> communicator) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_ASSIGN_OR_RETURN(ParameterBlocks blocks,
                             BlocksOfState(state, kMethod, provider->model()));
  CgInfluenceOptions options;
  options.query_function = std::move(query_function);
  options.communicator = std::move(communicator);
  INFLUENCE_ASSIGN_OR_RETURN(const std::string curvature,
                             OptionOfState(state, kCurvatureOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.curvature, ParseCurvature(curvature));
  INFLUENCE_ASSIGN_OR_RETURN(options.relative_tolerance,
                             NumberOfState(state, kToleranceOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.max_iterations,
                             IntegerOfState(state, kMaxIterationsOption));
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t block,
                             IntegerOfState(state, kBlockOption));
  options.block = block != 0;
  INFLUENCE_ASSIGN_OR_RETURN(const std::string preconditioner,
                             OptionOfState(state, kPreconditionerOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.preconditioner,
                             ParseCgPreconditioner(preconditioner));
  INFLUENCE_ASSIGN_OR_RETURN(options.rank, IntegerOfState(state, kRankOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.seed, SeedOfState(state, kSeedOption));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string formed,
                             OptionOfState(state, kFormedOption));
  if (formed.size() != blocks.blocks().size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fitted state: found ", formed.size(), " kinds of products, expected ",
        blocks.blocks().size(), ", one a block"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(FittedRegularization regularization,
                             RegularizationOfState(state));
  std::vector<Block> fitted(formed.size());
  for (size_t b = 0; b < fitted.size(); ++b) {
    const ParameterBlock& of = blocks.blocks()[b];
    if (formed[b] == '1') {
      INFLUENCE_ASSIGN_OR_RETURN(fitted[b].curvature,
                                 ArrayOfState(state, CurvatureArray(of.name),
                                              at::kDouble, {of.size, of.size}));
    } else if (data == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "data: is null, expected the training data, with which block ",
          of.name, " is solved for"));
    } else if (data->num_samples() != state.num_fitted_samples) {
      return absl::InvalidArgumentError(absl::StrCat(
          "data: found ", data->num_samples(), " samples, expected the ",
          state.num_fitted_samples, " of the fit"));
    }
    if (options.preconditioner == CgPreconditioner::kJacobi) {
      INFLUENCE_ASSIGN_OR_RETURN(
          fitted[b].diagonal,
          ArrayOfState(state, DiagonalArray(of.name), at::kDouble, {of.size}));
    }
    if (options.preconditioner == CgPreconditioner::kNystroem) {
      const int64_t rank = std::min(options.rank, of.size);
      LowRank sketch;
      INFLUENCE_ASSIGN_OR_RETURN(
          sketch.u, ArrayOfState(state, EigenvectorsArray(of.name),
                                 formed[b] == '1' ? at::kDouble
                                                  : provider->model().dtype(),
                                 {rank, of.size}));
      sketch.u = sketch.u.t();
      INFLUENCE_ASSIGN_OR_RETURN(
          sketch.d,
          ArrayOfState(state, EigenvaluesArray(of.name), at::kDouble, {rank}));
      fitted[b].sketch = std::move(sketch);
    }
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<CgInfluence> influence,
      Create(std::move(provider), std::move(blocks), options));
  INFLUENCE_RETURN_IF_ERROR(influence->SetProducts(data, fitted));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Operator>> operators,
      influence->MakeOperators(fitted, regularization.values));
  influence->fitted_ = std::move(fitted);
  influence->regularization_ = std::move(regularization);
  INFLUENCE_RETURN_IF_ERROR(
      influence->SetOperators(std::move(operators), state.num_fitted_samples));
  return influence;
}

}  // namespace influence
