// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/low_rank_influence.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

#include "ATen/ops/sort.h"
#include "absl/strings/str_cat.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "influence/curvature_products.h"
#include "operators/dense_curvature.h"
#include "operators/kept_curvature_operator.h"
#include "operators/rank_average.h"

namespace influence {
namespace {

constexpr char kCurvatureOption[] = "curvature";
constexpr char kRankOption[] = "rank";
constexpr char kFormOption[] = "low_rank_inverse";
constexpr char kSeedOption[] = "seed";

std::string VectorsName(const std::string& block) {
  return absl::StrCat(block, "/eigenvectors");
}

std::string ValuesName(const std::string& block) {
  return absl::StrCat(block, "/eigenvalues");
}

}  // namespace

absl::Status LowRankInfluence::ValidateOptions(
    const GradientProvider* provider, const ParameterBlocks& blocks,
    const LowRankInfluenceOptions& options) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: found ", options.num_threads, ", expected >= 0"));
  }
  if (options.rank < 1 || options.rank > blocks.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank: found ", options.rank, ", expected 1 to ",
                     blocks.size(), ", the number of parameters"));
  }
  if (options.regularization.is_auto()) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<double> values,
                             options.regularization.Resolve(blocks));
  for (const double value : values) {
    if (value > 0 || options.low_rank_inverse != LowRankForm::kExact) continue;
    return absl::InvalidArgumentError(
        "regularization: found 0, expected a value > 0 with the exact form of "
        "a low-rank inverse (--regularization)");
  }
  return absl::OkStatus();
}

LowRankInfluence::LowRankInfluence(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    LowRankInfluenceOptions options, Curvature default_curvature)
    : ComposableInfluence(std::move(provider), std::move(blocks),
                          options.query_function),
      options_(std::move(options)),
      curvature_(options_.curvature.value_or(default_curvature)) {}

std::vector<BlockReport> LowRankInfluence::report() const {
  std::vector<BlockReport> report;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    const LowRankInverse& inverse = *inverses_[b];
    BlockReport entry{block.name, block.size, inverse.regularization(),
                      std::nullopt, RegularizationRemarks(regularization_, b)};
    const int64_t rank = std::min(options_.rank, block.size);
    if (rank < options_.rank) {
      entry.remarks.push_back(absl::StrCat("rank: found ", options_.rank,
                                           " above the block's size ",
                                           block.size, "; used ", rank));
    }
    const int64_t found = inverse.low_rank().rank();
    if (found < rank) {
      entry.remarks.push_back(
          absl::StrCat("rank: ", found, " of ", rank,
                       " eigenpairs have converged; the others are left out"));
    }
    if (inverse.num_negative() > 0) {
      const double smallest = inverse.low_rank().d.min().item<double>();
      entry.remarks.push_back(absl::StrCat(inverse.num_negative(), " of ",
                                           found, " eigenvalues are negative, ",
                                           "the smallest ", smallest));
      const double damped = smallest + inverse.regularization();
      if (damped < 0) entry.smallest_eigenvalue = damped;
    }
    if (inverse.num_dropped() > 0) {
      entry.remarks.push_back(absl::StrCat(
          inverse.num_dropped(), " of ", found,
          " eigenvalues cannot be told from zero and are left out"));
    }
    report.push_back(std::move(entry));
  }
  return report;
}

std::vector<at::Tensor> LowRankInfluence::eigenvalues() const {
  std::vector<at::Tensor> values;
  for (const auto& inverse : inverses_) values.push_back(inverse->low_rank().d);
  return values;
}

absl::StatusOr<std::vector<at::Tensor>> LowRankInfluence::CurvatureEigenvalues()
    const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return CatchTorch(
      "eigenvalues", [&]() -> absl::StatusOr<std::vector<at::Tensor>> {
        std::vector<at::Tensor> falling;
        for (const at::Tensor& values : eigenvalues()) {
          falling.push_back(
              std::get<0>(at::sort(values, /*dim=*/0, /*descending=*/true)));
        }
        return falling;
      });
}

std::vector<LowRank> LowRankInfluence::eigenpairs() const {
  std::vector<LowRank> pairs;
  for (const auto& inverse : inverses_) pairs.push_back(inverse->low_rank());
  return pairs;
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
LowRankInfluence::FitOperators(std::shared_ptr<const BatchSequence> data,
                               ProgressReporter* progress) {
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization regularization,
      FitRegularization(options_.regularization, blocks(), [&] {
        return AutoRegularization(provider(), blocks(), *data,
                                  options_.communicator.get());
      }));
  const size_t num_blocks = blocks().blocks().size();
  std::vector<bool> dense(num_blocks);
  int64_t num_sparse = 0;
  for (size_t b = 0; b < num_blocks; ++b) {
    const int64_t size = blocks().blocks()[b].size;
    dense[b] = options_.rank >= size || PrefersDense(options_.rank, size);
    if (!dense[b]) ++num_sparse;
  }
  DenseCurvatureOptions forming;
  forming.num_threads = options_.num_threads;
  forming.communicator = options_.communicator;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::vector<at::Tensor> matrices,
      FormSelectedBlocks(curvature_, provider(), blocks(), dense, *data,
                         forming, progress));
  ProgressStage stage(progress, "eigenpairs", num_sparse, "blocks");
  std::vector<LowRank> pairs;
  for (size_t b = 0; b < num_blocks; ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    const int64_t rank = std::min(options_.rank, block.size);
    absl::StatusOr<LowRank> found;
    if (dense[b]) {
      found = DensePairs(matrices[b], rank);
    } else {
      INFLUENCE_ASSIGN_OR_RETURN(
          const std::shared_ptr<const RankAverage> c,
          KeepCurvatureProducts(curvature_, provider(), block, {data},
                                KeptCurvatureOptions(), options_.communicator));
      found =
          LeadEigenpairs(*c, [&] { return OperatorPairs(*c->op(0), rank); });
      stage.Advance();
    }
    if (!found.ok()) return InBlock(block.name, found.status());
    if (found->rank() == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("block ", block.name, ": found no eigenpair that has ",
                       "converged, expected some of ", rank,
                       ": another rank or method may do"));
    }
    pairs.push_back(*std::move(found));
  }
  INFLUENCE_ASSIGN_OR_RETURN(inverses_,
                             Invert(std::move(pairs), regularization.values));
  regularization_ = std::move(regularization);
  return std::vector<std::shared_ptr<const Operator>>(inverses_.begin(),
                                                      inverses_.end());
}

absl::StatusOr<LowRankInfluence::Inverses> LowRankInfluence::Invert(
    std::vector<LowRank> pairs, const std::vector<double>& values) const {
  Inverses inverses;
  for (size_t b = 0; b < pairs.size(); ++b) {
    LowRankInverseOptions inverse_options;
    inverse_options.regularization = values[b];
    inverse_options.form = options_.low_rank_inverse;
    inverse_options.relative_accuracy = RoundingUnit(dtype());
    absl::StatusOr<std::shared_ptr<const LowRankInverse>> inverse =
        LowRankInverse::Create(std::move(pairs[b]), inverse_options);
    if (!inverse.ok()) {
      return InBlock(blocks().blocks()[b].name, inverse.status());
    }
    inverses.push_back(*std::move(inverse));
  }
  return inverses;
}

absl::Status LowRankInfluence::SetInverses(int64_t num_fitted_samples) {
  return SetOperators(std::vector<std::shared_ptr<const Operator>>(
                          inverses_.begin(), inverses_.end()),
                      num_fitted_samples);
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
LowRankInfluence::WithRegularization(
    const Regularization& regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization refitted,
      RefitRegularization(regularization, blocks(), regularization_));
  std::unique_ptr<LowRankInfluence> other = Clone();
  other->options_.regularization = regularization;
  INFLUENCE_ASSIGN_OR_RETURN(other->inverses_,
                             Invert(eigenpairs(), refitted.values));
  other->regularization_ = std::move(refitted);
  INFLUENCE_RETURN_IF_ERROR(other->SetInverses(num_fitted_samples()));
  return other;
}

absl::StatusOr<FittedState> LowRankInfluence::DoExportState() const {
  FittedState state;
  state.method = std::string(method());
  state.options[kCurvatureOption] = std::string(CurvatureName(curvature_));
  state.options[kRankOption] = absl::StrCat(options_.rank);
  state.options[kFormOption] =
      std::string(LowRankFormName(options_.low_rank_inverse));
  state.options[kSeedOption] = absl::StrCat(options_.seed);
  state.regularization = regularization_.values;
  state.auto_regularization = regularization_.auto_values;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    const std::string& name = blocks().blocks()[b].name;
    state.arrays.push_back({VectorsName(name), inverses_[b]->low_rank().u.t()});
    state.arrays.push_back({ValuesName(name), inverses_[b]->low_rank().d});
  }
  return state;
}

absl::StatusOr<LowRankInfluenceOptions> LowRankInfluence::OptionsOfState(
    const FittedState& state) {
  LowRankInfluenceOptions options;
  INFLUENCE_ASSIGN_OR_RETURN(const std::string curvature,
                             OptionOfState(state, kCurvatureOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.curvature, ParseCurvature(curvature));
  INFLUENCE_ASSIGN_OR_RETURN(options.rank, IntegerOfState(state, kRankOption));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string form,
                             OptionOfState(state, kFormOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.low_rank_inverse, ParseLowRankForm(form));
  INFLUENCE_ASSIGN_OR_RETURN(options.seed, SeedOfState(state, kSeedOption));
  return options;
}

absl::Status LowRankInfluence::SetState(const FittedState& state) {
  INFLUENCE_ASSIGN_OR_RETURN(regularization_, RegularizationOfState(state));
  std::vector<LowRank> pairs;
  for (const ParameterBlock& block : blocks().blocks()) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor vectors,
                               ArrayOfState(state, VectorsName(block.name),
                                            dtype(), {-1, block.size}));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor values,
                               ArrayOfState(state, ValuesName(block.name),
                                            at::kDouble, {vectors.size(0)}));
    pairs.push_back({vectors.t(), std::move(values)});
  }
  INFLUENCE_ASSIGN_OR_RETURN(inverses_,
                             Invert(std::move(pairs), regularization_.values));
  return SetInverses(state.num_fitted_samples);
}

}  // namespace influence
