// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/kronecker_influence.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/sort.h"
#include "ATen/ops/stack.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/model.h"

namespace influence {
namespace {

constexpr char kFisherOption[] = "fisher";
constexpr char kUncoveredOption[] = "uncovered";
constexpr char kMaxFactorSizeOption[] = "max_factor_size";
constexpr char kSeedOption[] = "seed";
constexpr char kScoreToleranceOption[] = "score_tolerance";
constexpr char kDroppedOption[] = "dropped";
constexpr char kTooWideOption[] = "too_wide";
constexpr char kLayoutArray[] = "/layout";
constexpr char kDiagonalArray[] = "/diagonal";
constexpr int64_t kLayoutSize = 5;

absl::Status ValidateScoreTolerance(double score_tolerance) {
  if (score_tolerance >= 0 && score_tolerance < 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("score_tolerance: found ", score_tolerance,
                   ", expected a value in [0, 1)"));
}

// Of `layers`, the pairs [begin, end) of one layer and its groups: those that
// follow each other.
std::vector<std::pair<size_t, size_t>> GroupedPairs(
    const std::vector<KroneckerFactors>& layers) {
  std::vector<std::pair<size_t, size_t>> grouped;
  for (size_t p = 0; p < layers.size(); ++p) {
    if (layers[p].group == 0) grouped.emplace_back(p, p);
    grouped.back().second = p + 1;
  }
  return grouped;
}

// The tensors `member` of these pairs: one as it is, several as one.
at::Tensor Stacked(const std::vector<KroneckerFactors>& layers, size_t begin,
                   size_t end, at::Tensor KroneckerFactors::*member) {
  if (end == begin + 1) return layers[begin].*member;
  std::vector<at::Tensor> all;
  for (size_t p = begin; p < end; ++p) all.push_back(layers[p].*member);
  return at::stack(all);
}

bool HasArray(const FittedState& state, const std::string& name) {
  return std::any_of(
      state.arrays.begin(), state.arrays.end(),
      [&](const FittedArray& array) { return array.name == name; });
}

// The names of `parameters` (indices), which belong to block `block`.
std::string NamesInBlock(const Model& model, const ParameterBlock& block,
                         const std::vector<int64_t>& parameters) {
  std::vector<std::string> names;
  for (const int64_t index : block.parameters) {
    if (std::find(parameters.begin(), parameters.end(), index) !=
        parameters.end()) {
      names.push_back(model.parameters()[index].name);
    }
  }
  return absl::StrJoin(names, ", ");
}

// Adds the factor pairs of the layer `name` of a state to `layers`.
absl::Status AddLayerOfState(const FittedState& state, const std::string& name,
                             const std::vector<int64_t>& parameters,
                             std::vector<KroneckerFactors>& layers) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor layout_array,
      ArrayOfState(state, absl::StrCat(name, kLayoutArray), at::kLong,
                   {kLayoutSize}));
  const at::Tensor contiguous = layout_array.contiguous();
  const int64_t* layout = contiguous.data_ptr<int64_t>();
  const auto num_parameters = static_cast<int64_t>(parameters.size());
  if (layout[0] < 0 || layout[0] >= num_parameters || layout[1] < 0 ||
      layout[2] < 0 || layout[2] > 1 || layout[3] < -1 ||
      layout[3] >= num_parameters || layout[4] < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("fitted state: ", name, kLayoutArray, ": found [",
                     absl::StrJoin(layout, layout + kLayoutSize, ", "),
                     "], expected parameters below ", num_parameters));
  }
  // With [H] in front where there are groups.
  const std::string eigenvalues_name = absl::StrCat(name, "/eigenvalues");
  const auto found = std::find_if(
      state.arrays.begin(), state.arrays.end(),
      [&](const FittedArray& array) { return array.name == eigenvalues_name; });
  const bool has_groups =
      found != state.arrays.end() && found->values.dim() == 3;
  const auto array = [&](absl::string_view what, std::vector<int64_t> shape,
                         int64_t groups) {
    if (has_groups) shape.insert(shape.begin(), groups);
    return ArrayOfState(state, absl::StrCat(name, "/", what), at::kDouble,
                        shape);
  };
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor eigenvalues,
                             array("eigenvalues", {-1, -1}, -1));
  const int64_t q = eigenvalues.size(-2), r = eigenvalues.size(-1);
  const int64_t groups = has_groups ? eigenvalues.size(0) : 1;
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor input_eigenvectors,
                             array("input_eigenvectors", {-1, r}, groups));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor input_eigenvalues,
                             array("input_eigenvalues", {r}, groups));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor gradient_eigenvectors,
                             array("gradient_eigenvectors", {-1, q}, groups));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor gradient_eigenvalues,
                             array("gradient_eigenvalues", {q}, groups));
  for (const auto& [what, vectors] :
       {std::make_pair("input_eigenvectors", input_eigenvectors),
        std::make_pair("gradient_eigenvectors", gradient_eigenvectors)}) {
    if (vectors.size(-2) >= vectors.size(-1)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "fitted state: ", name, "/", what, ": found shape ",
        ShapeString(vectors), ", expected at most as many columns as rows"));
  }
  const int64_t outputs = gradient_eigenvectors.size(-2);
  const int64_t inputs = input_eigenvectors.size(-2) - (layout[3] < 0 ? 0 : 1);
  for (int64_t h = 0; h < groups; ++h) {
    const auto of_group = [&](const at::Tensor& stack) {
      return has_groups ? stack.select(0, h) : stack;
    };
    KroneckerFactors factors;
    factors.layer = name;
    factors.group = h;
    factors.weight = parameters[layout[0]];
    factors.weight_offset = layout[1] + h * outputs * inputs;
    factors.input_major = layout[2] == 1;
    if (layout[3] >= 0) factors.bias = parameters[layout[3]];
    factors.bias_offset = layout[3] >= 0 ? layout[4] + h * outputs : 0;
    factors.eigenvalues = of_group(eigenvalues);
    factors.input_eigenvectors = of_group(input_eigenvectors);
    factors.input_eigenvalues = of_group(input_eigenvalues);
    factors.gradient_eigenvectors = of_group(gradient_eigenvectors);
    factors.gradient_eigenvalues = of_group(gradient_eigenvalues);
    layers.push_back(std::move(factors));
  }
  return absl::OkStatus();
}

// Whether every scalar is covered is the inverses' business.
absl::StatusOr<KroneckerCurvature> CurvatureOfState(
    const FittedState& state, const Model& model,
    const ParameterBlocks& blocks) {
  KroneckerCurvature curvature;
  curvature.num_samples = state.num_fitted_samples;
  const std::vector<int64_t> parameters = blocks.parameters();
  for (const FittedArray& array : state.arrays) {
    absl::string_view name = array.name;
    if (!absl::ConsumeSuffix(&name, kLayoutArray)) continue;
    INFLUENCE_RETURN_IF_ERROR(AddLayerOfState(state, std::string(name),
                                              parameters, curvature.layers));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const std::string dropped,
                             OptionOfState(state, kDroppedOption));
  const std::vector<std::string> dropped_names =
      absl::StrSplit(dropped, ',', absl::SkipEmpty());
  INFLUENCE_ASSIGN_OR_RETURN(const std::string too_wide,
                             OptionOfState(state, kTooWideOption));
  const std::vector<std::string> too_wide_names =
      absl::StrSplit(too_wide, ',', absl::SkipEmpty());
  for (const int64_t index : parameters) {
    const NamedParameter& parameter = model.parameters()[index];
    const std::string diagonal = absl::StrCat(parameter.name, kDiagonalArray);
    if (HasArray(state, diagonal)) {
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor values,
                                 ArrayOfState(state, diagonal, at::kDouble,
                                              {parameter.tensor.numel()}));
      curvature.diagonals.push_back({index, std::move(values)});
    }
    if (std::find(dropped_names.begin(), dropped_names.end(), parameter.name) !=
        dropped_names.end()) {
      curvature.dropped.push_back(index);
    }
    if (std::find(too_wide_names.begin(), too_wide_names.end(),
                  parameter.name) != too_wide_names.end()) {
      curvature.too_wide.push_back(index);
    }
  }
  return curvature;
}

}  // namespace

absl::string_view KroneckerMethodName(KroneckerMethod method) {
  return method == KroneckerMethod::kKfac ? "kfac" : "ekfac";
}

absl::StatusOr<std::unique_ptr<KroneckerInfluence>> KroneckerInfluence::Create(
    std::shared_ptr<const GradientProvider> provider,
    const KroneckerInfluenceOptions& options) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateScoreTolerance(options.score_tolerance));
  ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), BlockStructure::kLayer);
  if (!options.regularization.is_auto()) {
    INFLUENCE_RETURN_IF_ERROR(options.regularization.Resolve(blocks).status());
  }
  return std::unique_ptr<KroneckerInfluence>(
      new KroneckerInfluence(std::move(provider), std::move(blocks), options));
}

KroneckerInfluence::KroneckerInfluence(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    KroneckerInfluenceOptions options)
    : ComposableInfluence(std::move(provider), std::move(blocks),
                          options.query_function),
      options_(std::move(options)) {}

std::vector<BlockReport> KroneckerInfluence::report() const {
  std::vector<BlockReport> report;
  std::vector<int64_t> diagonals;
  if (curvature_ != nullptr) {
    for (const DiagonalFactor& factor : curvature_->diagonals) {
      diagonals.push_back(factor.parameter);
    }
  }
  for (size_t b = 0; b < inverses_.size(); ++b) {
    const KroneckerInverse& inverse = *inverses_[b];
    const ParameterBlock& block = blocks().blocks()[b];
    BlockReport entry = {block.name, block.size,
                         inverse.options().regularization, std::nullopt,
                         RegularizationRemarks(regularization_, b)};
    if (inverse.num_diagonal() > 0) {
      entry.remarks.push_back(
          absl::StrCat(inverse.num_diagonal(), " of ", block.size,
                       " parameters by the diagonal of the Fisher: ",
                       NamesInBlock(provider().model(), block, diagonals)));
    }
    if (inverse.num_dropped() > 0) {
      entry.remarks.push_back(absl::StrCat(
          inverse.num_dropped(), " of ", block.size, " parameters left out: ",
          NamesInBlock(provider().model(), block, curvature_->dropped)));
    }
    const std::string too_wide =
        NamesInBlock(provider().model(), block, curvature_->too_wide);
    if (!too_wide.empty()) {
      entry.remarks.push_back(
          absl::StrCat("wider than the largest factor size ",
                       options_.max_factor_size, ": ", too_wide));
    }
    if (inverse.contracted_share() < 1) {
      entry.remarks.push_back(absl::StrFormat(
          "scores contract %.1f %% of the eigenvalues where a sample has one "
          "position (score tolerance %g)",
          100 * inverse.contracted_share(), options_.score_tolerance));
    }
    report.push_back(std::move(entry));
  }
  return report;
}

double KroneckerInfluence::covered_share() const {
  int64_t factored = 0;
  for (const auto& inverse : inverses_) factored += inverse->num_factored();
  return static_cast<double>(factored) / static_cast<double>(blocks().size());
}

absl::StatusOr<std::vector<at::Tensor>>
KroneckerInfluence::CurvatureEigenvalues() const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  return CatchTorch(
      "eigenvalues", [&]() -> absl::StatusOr<std::vector<at::Tensor>> {
        std::vector<at::Tensor> eigenvalues;
        for (const ParameterBlock& block : blocks().blocks()) {
          const auto holds = [&](int64_t parameter) {
            return std::find(block.parameters.begin(), block.parameters.end(),
                             parameter) != block.parameters.end();
          };
          std::vector<at::Tensor> parts = {at::empty({0}, at::kDouble)};
          for (const KroneckerFactors& factors : curvature_->layers) {
            if (holds(factors.weight)) {
              parts.push_back(factors.eigenvalues.reshape({-1}));
              // Of what is orthogonal to the eigenvectors.
              parts.push_back(
                  at::zeros({factors.num_outputs() * factors.num_inputs() -
                             factors.eigenvalues.numel()},
                            at::kDouble));
            }
          }
          for (const DiagonalFactor& factor : curvature_->diagonals) {
            if (holds(factor.parameter)) parts.push_back(factor.diagonal);
          }
          eigenvalues.push_back(std::get<0>(
              at::sort(at::cat(parts), /*dim=*/0, /*descending=*/true)));
        }
        return eigenvalues;
      });
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
KroneckerInfluence::FitOperators(std::shared_ptr<const BatchSequence> data,
                                 ProgressReporter* progress) {
  KroneckerFitOptions fit_options;
  fit_options.method = options_.method;
  fit_options.fisher = options_.fisher;
  fit_options.uncovered = options_.uncovered;
  fit_options.max_factor_size = options_.max_factor_size;
  fit_options.keep_covariances = false;
  fit_options.seed = options_.seed;
  fit_options.mean_squared_norms = options_.regularization.is_auto();
  fit_options.kept_factor_bytes = options_.kept_factor_bytes;
  fit_options.worker_bytes = options_.worker_bytes;
  fit_options.communicator = options_.communicator;
  fit_options.checkpoint = fit_checkpoint();
  INFLUENCE_ASSIGN_OR_RETURN(
      KroneckerFit fit,
      FitKronecker(shared_provider(), blocks(), *data, fit_options, progress));
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization regularization,
      FitRegularization(options_.regularization, blocks(), [&] {
        return AutoRegularizationFromMeanSquaredNorms(
            blocks(), fit.mean_squared_norms,
            RoundingUnit(provider().model().dtype()));
      }));
  const auto curvature =
      std::make_shared<const KroneckerCurvature>(std::move(fit.curvature));
  INFLUENCE_ASSIGN_OR_RETURN(inverses_,
                             Invert(curvature, regularization.values));
  curvature_ = curvature;
  regularization_ = std::move(regularization);
  return std::vector<std::shared_ptr<const Operator>>(inverses_.begin(),
                                                      inverses_.end());
}

absl::StatusOr<std::vector<std::shared_ptr<const KroneckerInverse>>>
KroneckerInfluence::Invert(
    const std::shared_ptr<const KroneckerCurvature>& curvature,
    const std::vector<double>& regularization) const {
  std::vector<std::shared_ptr<const KroneckerInverse>> inverses;
  for (size_t b = 0; b < regularization.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    KroneckerInverseOptions options;
    options.regularization = regularization[b];
    options.score_tolerance = options_.score_tolerance;
    options.relative_accuracy = RoundingUnit(provider().model().dtype());
    absl::StatusOr<std::shared_ptr<const KroneckerInverse>> inverse =
        KroneckerInverse::Create(curvature, provider().model(), block, options);
    if (!inverse.ok()) return InBlock(block.name, inverse.status());
    inverses.push_back(*std::move(inverse));
  }
  return inverses;
}

absl::Status KroneckerInfluence::SetInverses(int64_t num_fitted_samples) {
  return SetOperators(std::vector<std::shared_ptr<const Operator>>(
                          inverses_.begin(), inverses_.end()),
                      num_fitted_samples);
}

absl::StatusOr<std::unique_ptr<KroneckerInfluence>>
KroneckerInfluence::WithOptions(const KroneckerInfluenceOptions& options,
                                FittedRegularization regularization) const {
  std::unique_ptr<KroneckerInfluence> other(new KroneckerInfluence(*this));
  other->options_ = options;
  INFLUENCE_ASSIGN_OR_RETURN(other->inverses_,
                             other->Invert(curvature_, regularization.values));
  other->regularization_ = std::move(regularization);
  INFLUENCE_RETURN_IF_ERROR(other->SetInverses(num_fitted_samples()));
  return other;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
KroneckerInfluence::WithRegularization(
    const Regularization& regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization refitted,
      RefitRegularization(regularization, blocks(), regularization_));
  KroneckerInfluenceOptions options = options_;
  options.regularization = regularization;
  return WithOptions(options, std::move(refitted));
}

absl::StatusOr<std::unique_ptr<KroneckerInfluence>>
KroneckerInfluence::WithScoreTolerance(double score_tolerance) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_RETURN_IF_ERROR(ValidateScoreTolerance(score_tolerance));
  KroneckerInfluenceOptions options = options_;
  options.score_tolerance = score_tolerance;
  return WithOptions(options, regularization_);
}

absl::StatusOr<FittedState> KroneckerInfluence::DoExportState() const {
  FittedState state;
  state.method = std::string(KroneckerMethodName(options_.method));
  state.options[kFisherOption] = std::string(FisherName(options_.fisher));
  state.options[kUncoveredOption] =
      std::string(UncoveredPolicyName(options_.uncovered));
  state.options[kMaxFactorSizeOption] = absl::StrCat(options_.max_factor_size);
  state.options[kSeedOption] = absl::StrCat(options_.seed);
  state.options[kScoreToleranceOption] = NumberText(options_.score_tolerance);
  state.regularization = regularization_.values;
  state.auto_regularization = regularization_.auto_values;

  const std::vector<int64_t> parameters = blocks().parameters();
  const auto position = [&](int64_t index) -> int64_t {
    return std::find(parameters.begin(), parameters.end(), index) -
           parameters.begin();
  };
  const std::vector<NamedParameter>& all = provider().model().parameters();
  return CatchTorch("fitted state", [&]() -> absl::StatusOr<FittedState> {
    const std::vector<KroneckerFactors>& layers = curvature_->layers;
    for (const auto& [begin, end] : GroupedPairs(layers)) {
      const KroneckerFactors& factors = layers[begin];
      const auto add = [&, begin = begin, end = end](
                           absl::string_view what,
                           at::Tensor KroneckerFactors::*member) {
        state.arrays.push_back({absl::StrCat(factors.layer, "/", what),
                                Stacked(layers, begin, end, member)});
      };
      const std::vector<int64_t> layout = {
          position(factors.weight), factors.weight_offset,
          factors.input_major ? 1 : 0,
          factors.bias.has_value() ? position(*factors.bias) : -1,
          factors.bias.has_value() ? factors.bias_offset : 0};
      state.arrays.push_back({absl::StrCat(factors.layer, kLayoutArray),
                              at::tensor(layout, at::dtype(at::kLong))});
      add("input_eigenvectors", &KroneckerFactors::input_eigenvectors);
      add("input_eigenvalues", &KroneckerFactors::input_eigenvalues);
      add("gradient_eigenvectors", &KroneckerFactors::gradient_eigenvectors);
      add("gradient_eigenvalues", &KroneckerFactors::gradient_eigenvalues);
      add("eigenvalues", &KroneckerFactors::eigenvalues);
    }
    for (const DiagonalFactor& factor : curvature_->diagonals) {
      state.arrays.push_back(
          {absl::StrCat(all[factor.parameter].name, kDiagonalArray),
           factor.diagonal});
    }
    const auto names_of = [&](const std::vector<int64_t>& indices) {
      return absl::StrJoin(indices, ",", [&](std::string* out, int64_t index) {
        absl::StrAppend(out, all[index].name);
      });
    };
    state.options[kDroppedOption] = names_of(curvature_->dropped);
    state.options[kTooWideOption] = names_of(curvature_->too_wide);
    return std::move(state);
  });
}

absl::StatusOr<std::unique_ptr<KroneckerInfluence>> KroneckerInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    std::optional<PerSampleFunction> query_function) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  KroneckerInfluenceOptions options;
  options.query_function = std::move(query_function);
  options.method = state.method == KroneckerMethodName(KroneckerMethod::kKfac)
                       ? KroneckerMethod::kKfac
                       : KroneckerMethod::kEkfac;
  INFLUENCE_ASSIGN_OR_RETURN(
      ParameterBlocks blocks,
      BlocksOfState(state, KroneckerMethodName(options.method),
                    provider->model()));
  INFLUENCE_ASSIGN_OR_RETURN(FittedRegularization regularization,
                             RegularizationOfState(state));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string fisher,
                             OptionOfState(state, kFisherOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.fisher, ParseFisher(fisher));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string uncovered,
                             OptionOfState(state, kUncoveredOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.uncovered,
                             ParseUncoveredPolicy(uncovered));
  INFLUENCE_ASSIGN_OR_RETURN(const uint64_t max_factor_size,
                             SeedOfState(state, kMaxFactorSizeOption));
  options.max_factor_size = static_cast<int64_t>(max_factor_size);
  INFLUENCE_ASSIGN_OR_RETURN(options.seed, SeedOfState(state, kSeedOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.score_tolerance,
                             NumberOfState(state, kScoreToleranceOption));
  INFLUENCE_RETURN_IF_ERROR(ValidateScoreTolerance(options.score_tolerance));
  INFLUENCE_ASSIGN_OR_RETURN(
      KroneckerCurvature found, CatchTorch("fitted state", [&] {
        return CurvatureOfState(state, provider->model(), blocks);
      }));
  std::unique_ptr<KroneckerInfluence> influence(new KroneckerInfluence(
      std::move(provider), std::move(blocks), std::move(options)));
  influence->curvature_ =
      std::make_shared<const KroneckerCurvature>(std::move(found));
  INFLUENCE_ASSIGN_OR_RETURN(
      influence->inverses_,
      influence->Invert(influence->curvature_, regularization.values));
  influence->regularization_ = std::move(regularization);
  INFLUENCE_RETURN_IF_ERROR(influence->SetInverses(state.num_fitted_samples));
  return influence;
}

}  // namespace influence
