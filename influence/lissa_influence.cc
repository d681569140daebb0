// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/lissa_influence.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <utility>

#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "operators/dense_curvature.h"
#include "operators/dense_operator.h"
#include "operators/kept_curvature_operator.h"
#include "operators/shifted_operator.h"

namespace influence {
namespace {

constexpr absl::string_view kMethod = "lissa";
constexpr char kCurvatureOption[] = "curvature";
constexpr char kScaleOption[] = "scale";
constexpr char kDampenOption[] = "dampen";
constexpr char kMaxIterationsOption[] = "max_iterations";
constexpr char kToleranceOption[] = "tolerance";
constexpr char kSeedOption[] = "seed";
constexpr char kFormedOption[] = "formed";
constexpr char kAutomaticScale[] = "auto";
constexpr char kBatchSizesArray[] = "batch_sizes";
constexpr char kScalesArray[] = "scales";

// Iterations that a query usually takes at most, for what is worth forming.
constexpr int64_t kUsualIterations = 200;

std::string CurvaturesArray(const std::string& block) {
  return absl::StrCat(block, "/curvatures");
}

absl::StatusOr<std::vector<int64_t>> BatchSizes(const BatchSequence& data) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < data.num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data.Get(i));
    INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
    sizes.push_back(batch.size());
  }
  return sizes;
}

// Without what Create() of an operator would need operators to check.
absl::Status ValidateOptions(const LissaInfluenceOptions& options) {
  if (options.scale.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(ValidatePositive("scale", *options.scale));
  }
  if (!(options.dampen >= 0 && options.dampen < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dampen: found ", options.dampen, ", expected [0, 1)"));
  }
  if (options.max_iterations < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_iterations: found ", options.max_iterations, ", expected >= 1"));
  }
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_tolerance", options.relative_tolerance));
  return ValidateCurvatureProducts(options.products);
}

template <typename T>
at::Tensor VectorTensor(const std::vector<T>& values, at::ScalarType dtype) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, dtype);
  std::copy(values.begin(), values.end(), tensor.data_ptr<T>());
  return tensor;
}

template <typename T>
std::vector<T> TensorVector(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  const T* data = values.data_ptr<T>();
  return {data, data + values.numel()};
}

// The scale that Lissa::Create() estimates with products of `average`.
absl::StatusOr<double> LeadScale(const RankAverage& average,
                                 const std::vector<LissaBatch>& batches,
                                 const LissaOptions& options) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const RankAverage::Tensors scale,
      average.LeadTensors([&]() -> absl::StatusOr<RankAverage::Tensors> {
        INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const Lissa> lissa,
                                   Lissa::Create(batches, options));
        return RankAverage::Tensors{at::full({}, lissa->scale(), at::kDouble)};
      }));
  return scale[0].item<double>();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LissaInfluence>> LissaInfluence::Create(
    std::shared_ptr<const GradientProvider> provider, ParameterBlocks blocks,
    const LissaInfluenceOptions& options) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(options));
  if (!options.regularization.is_auto()) {
    INFLUENCE_RETURN_IF_ERROR(options.regularization.Resolve(blocks).status());
  }
  return std::unique_ptr<LissaInfluence>(
      new LissaInfluence(std::move(provider), std::move(blocks), options));
}

LissaInfluence::LissaInfluence(std::shared_ptr<const GradientProvider> provider,
                               ParameterBlocks blocks,
                               LissaInfluenceOptions options)
    : ComposableInfluence(std::move(provider), std::move(blocks),
                          options.query_function),
      options_(std::move(options)) {}

std::vector<BlockReport> LissaInfluence::report() const {
  std::vector<BlockReport> report;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    const ParameterBlock& block = blocks().blocks()[b];
    std::vector<std::string> remarks =
        RegularizationRemarks(regularization_, b);
    remarks.push_back(absl::StrCat("scale ", inverses_[b]->scale()));
    report.push_back({block.name, block.size, regularization_.values[b],
                      std::nullopt, std::move(remarks)});
  }
  return report;
}

std::vector<double> LissaInfluence::scales() const {
  std::vector<double> scales;
  for (const auto& inverse : inverses_) scales.push_back(inverse->scale());
  return scales;
}

bool LissaInfluence::solves_together() const {
  return !inverses_.empty() &&
         std::any_of(products_.begin(), products_.end(),
                     [](const std::shared_ptr<const RankAverage>& products) {
                       return products != nullptr && products->is_shared();
                     });
}

std::vector<bool> LissaInfluence::formed() const {
  std::vector<bool> formed;
  for (const at::Tensor& curvature : curvatures_) {
    formed.push_back(curvature.defined());
  }
  return formed;
}

absl::StatusOr<std::vector<std::shared_ptr<const Operator>>>
LissaInfluence::FitOperators(std::shared_ptr<const BatchSequence> data,
                             ProgressReporter* progress) {
  // Fitted aside, lest a failure change this model.
  LissaInfluence fit(*this);
  INFLUENCE_ASSIGN_OR_RETURN(fit.batch_sizes_, BatchSizes(*data));
  INFLUENCE_ASSIGN_OR_RETURN(
      fit.regularization_,
      FitRegularization(options_.regularization, blocks(), [&] {
        return AutoRegularization(provider(), blocks(), *data,
                                  options_.communicator.get());
      }));
  const auto num_batches = static_cast<int64_t>(fit.batch_sizes_.size());
  const std::vector<bool> which =
      BlocksToForm(options_.products, blocks(), num_batches,
                   std::min(options_.max_iterations, kUsualIterations));
  INFLUENCE_RETURN_IF_ERROR(fit.FormCurvatures(data, which, progress));
  INFLUENCE_RETURN_IF_ERROR(fit.SetProducts(data));
  INFLUENCE_ASSIGN_OR_RETURN(fit.inverses_,
                             fit.MakeOperators(fit.regularization_.values));
  batch_sizes_ = std::move(fit.batch_sizes_);
  curvatures_ = std::move(fit.curvatures_);
  products_ = std::move(fit.products_);
  inverses_ = std::move(fit.inverses_);
  regularization_ = std::move(fit.regularization_);
  return Operators();
}

std::vector<std::shared_ptr<const Operator>> LissaInfluence::Operators() const {
  std::vector<std::shared_ptr<const Operator>> operators;
  for (size_t b = 0; b < inverses_.size(); ++b) {
    operators.push_back(products_[b] == nullptr
                            ? inverses_[b]
                            : RankAverage::Led(products_[b], inverses_[b]));
  }
  return operators;
}

absl::Status LissaInfluence::FormCurvatures(
    const std::shared_ptr<const BatchSequence>& data,
    const std::vector<bool>& which, ProgressReporter* progress) {
  curvatures_.assign(which.size(), at::Tensor());
  if (std::find(which.begin(), which.end(), true) == which.end()) {
    return absl::OkStatus();
  }
  return CatchTorch("curvatures", [&]() -> absl::Status {
    const auto num_batches = static_cast<int64_t>(batch_sizes_.size());
    for (size_t b = 0; b < which.size(); ++b) {
      if (!which[b]) continue;
      const int64_t size = blocks().blocks()[b].size;
      curvatures_[b] =
          at::zeros({num_batches, size, size}, provider().model().dtype());
    }
    Communicator* const communicator = options_.communicator.get();
    const RankShare mine = ShareOf(num_batches, communicator);
    DenseCurvatureOptions forming;
    forming.num_threads = options_.products.num_threads;
    ProgressStage stage(progress, "curvature", mine.end - mine.begin,
                        "batches");
    for (int64_t t = mine.begin; t < mine.end; ++t) {
      const OneBatchSequence batch(data, t, batch_sizes_[t]);
      INFLUENCE_ASSIGN_OR_RETURN(
          const std::vector<at::Tensor> of_batch,
          FormSelectedBlocks(options_.curvature, provider(), blocks(), which,
                             batch, forming));
      for (size_t b = 0; b < which.size(); ++b) {
        if (which[b]) curvatures_[b][t].copy_(of_batch[b]);
      }
      stage.Advance();
    }
    for (const at::Tensor& curvatures : curvatures_) {
      // The others have zeros where this rank has a matrix.
      if (communicator == nullptr || !curvatures.defined()) continue;
      INFLUENCE_RETURN_IF_ERROR(communicator->AllReduceSum(curvatures));
    }
    return absl::OkStatus();
  });
}

absl::Status LissaInfluence::SetProducts(
    const std::shared_ptr<const BatchSequence>& data) {
  products_.assign(curvatures_.size(), {});
  const auto num_operators = static_cast<int64_t>(
      std::count_if(curvatures_.begin(), curvatures_.end(),
                    [](const at::Tensor& c) { return !c.defined(); }) *
      batch_sizes_.size());
  if (num_operators == 0) return absl::OkStatus();  // Without data.
  KeptCurvatureOptions options;
  options.memory_limit /= num_operators;
  std::vector<std::shared_ptr<const BatchSequence>> batches;
  for (size_t t = 0; t < batch_sizes_.size(); ++t) {
    batches.push_back(std::make_shared<const OneBatchSequence>(
        data, static_cast<int64_t>(t), batch_sizes_[t]));
  }
  for (size_t b = 0; b < curvatures_.size(); ++b) {
    if (curvatures_[b].defined()) continue;
    INFLUENCE_ASSIGN_OR_RETURN(
        products_[b], KeepCurvatureProducts(options_.curvature, provider(),
                                            blocks().blocks()[b], batches,
                                            options, options_.communicator));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::shared_ptr<const Lissa>>>
LissaInfluence::MakeOperators(const std::vector<double>& regularization,
                              const std::vector<double>& scales) const {
  std::vector<std::shared_ptr<const Lissa>> inverses;
  for (size_t b = 0; b < curvatures_.size(); ++b) {
    const auto make = [&]() -> absl::StatusOr<std::shared_ptr<const Lissa>> {
      std::vector<LissaBatch> batches;
      for (size_t t = 0; t < batch_sizes_.size(); ++t) {
        const auto index = static_cast<int64_t>(t);
        std::shared_ptr<const Operator> a;
        if (curvatures_[b].defined()) {
          INFLUENCE_ASSIGN_OR_RETURN(
              a,
              DenseOperator::Create(curvatures_[b][index], regularization[b]));
        } else {
          INFLUENCE_ASSIGN_OR_RETURN(
              a,
              ShiftedOperator::Create(products_[b]->op(t), regularization[b]));
        }
        batches.push_back({std::move(a), batch_sizes_[t]});
      }
      LissaOptions options;
      options.scale = options_.scale;
      if (!scales.empty()) options.scale = scales[b];
      options.dampen = options_.dampen;
      options.max_iterations = options_.max_iterations;
      options.relative_tolerance = options_.relative_tolerance;
      options.seed = options_.seed;
      options.dtype = provider().model().dtype();
      if (products_[b] != nullptr && !options.scale.has_value()) {
        INFLUENCE_ASSIGN_OR_RETURN(options.scale,
                                   LeadScale(*products_[b], batches, options));
      }
      return Lissa::Create(std::move(batches), options);
    };
    absl::StatusOr<std::shared_ptr<const Lissa>> inverse = make();
    if (!inverse.ok()) {
      return InBlock(blocks().blocks()[b].name, inverse.status());
    }
    inverses.push_back(*std::move(inverse));
  }
  return inverses;
}

absl::Status LissaInfluence::SetInverses(
    std::vector<std::shared_ptr<const Lissa>> inverses,
    int64_t num_fitted_samples) {
  inverses_ = std::move(inverses);
  return SetOperators(Operators(), num_fitted_samples);
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>>
LissaInfluence::WithRegularization(const Regularization& regularization) const {
  INFLUENCE_RETURN_IF_ERROR(CheckFitted());
  INFLUENCE_ASSIGN_OR_RETURN(
      FittedRegularization refitted,
      RefitRegularization(regularization, blocks(), regularization_));
  std::unique_ptr<LissaInfluence> other(new LissaInfluence(*this));
  other->options_.regularization = regularization;
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<std::shared_ptr<const Lissa>> inverses,
                             MakeOperators(refitted.values));
  other->regularization_ = std::move(refitted);
  INFLUENCE_RETURN_IF_ERROR(
      other->SetInverses(std::move(inverses), num_fitted_samples()));
  return other;
}

absl::StatusOr<FittedState> LissaInfluence::DoExportState() const {
  FittedState state;
  state.method = std::string(kMethod);
  state.options = {
      {kCurvatureOption, std::string(CurvatureName(options_.curvature))},
      {kScaleOption, options_.scale.has_value() ? NumberText(*options_.scale)
                                                : kAutomaticScale},
      {kDampenOption, NumberText(options_.dampen)},
      {kMaxIterationsOption, absl::StrCat(options_.max_iterations)},
      {kToleranceOption, NumberText(options_.relative_tolerance)},
      {kSeedOption, absl::StrCat(options_.seed)}};
  state.regularization = regularization_.values;
  state.auto_regularization = regularization_.auto_values;
  return CatchTorch("fitted state", [&]() -> absl::StatusOr<FittedState> {
    state.arrays.push_back(
        {kBatchSizesArray, VectorTensor(batch_sizes_, at::kLong)});
    state.arrays.push_back({kScalesArray, VectorTensor(scales(), at::kDouble)});
    std::string& formed = state.options[kFormedOption];
    for (size_t b = 0; b < curvatures_.size(); ++b) {
      formed += curvatures_[b].defined() ? '1' : '0';
      if (!curvatures_[b].defined()) continue;
      state.arrays.push_back(
          {CurvaturesArray(blocks().blocks()[b].name), curvatures_[b]});
    }
    return std::move(state);
  });
}

absl::StatusOr<std::unique_ptr<LissaInfluence>> LissaInfluence::Restore(
    std::shared_ptr<const GradientProvider> provider, const FittedState& state,
    const std::shared_ptr<const BatchSequence>& data,
    std::optional<PerSampleFunction> query_function,
    std::shared_ptr<Communicator> communicator) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  INFLUENCE_ASSIGN_OR_RETURN(ParameterBlocks blocks,
                             BlocksOfState(state, kMethod, provider->model()));
  LissaInfluenceOptions options;
  options.query_function = std::move(query_function);
  options.communicator = std::move(communicator);
  INFLUENCE_ASSIGN_OR_RETURN(const std::string curvature,
                             OptionOfState(state, kCurvatureOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.curvature, ParseCurvature(curvature));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string scale,
                             OptionOfState(state, kScaleOption));
  if (scale != kAutomaticScale) {
    INFLUENCE_ASSIGN_OR_RETURN(options.scale,
                               NumberOfState(state, kScaleOption));
  }
  INFLUENCE_ASSIGN_OR_RETURN(options.dampen,
                             NumberOfState(state, kDampenOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.max_iterations,
                             IntegerOfState(state, kMaxIterationsOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.relative_tolerance,
                             NumberOfState(state, kToleranceOption));
  INFLUENCE_ASSIGN_OR_RETURN(options.seed, SeedOfState(state, kSeedOption));
  INFLUENCE_ASSIGN_OR_RETURN(const std::string formed,
                             OptionOfState(state, kFormedOption));
  const size_t num_blocks = blocks.blocks().size();
  if (formed.size() != num_blocks) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fitted state: found ", formed.size(), " kinds of products, expected ",
        num_blocks, ", one a block"));
  }
  INFLUENCE_ASSIGN_OR_RETURN(FittedRegularization regularization,
                             RegularizationOfState(state));
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor batch_sizes,
      ArrayOfState(state, kBatchSizesArray, at::kLong, {-1}));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor scales,
                             ArrayOfState(state, kScalesArray, at::kDouble,
                                          {static_cast<int64_t>(num_blocks)}));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<LissaInfluence> influence,
      Create(std::move(provider), std::move(blocks), options));
  influence->batch_sizes_ = TensorVector<int64_t>(batch_sizes);
  influence->curvatures_.resize(num_blocks);
  bool needs_data = false;
  for (size_t b = 0; b < num_blocks; ++b) {
    const ParameterBlock& block = influence->blocks().blocks()[b];
    if (formed[b] != '1') {
      needs_data = true;
      continue;
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        influence->curvatures_[b],
        ArrayOfState(state, CurvaturesArray(block.name),
                     influence->provider().model().dtype(),
                     {batch_sizes.size(0), block.size, block.size}));
  }
  if (needs_data) {
    if (data == nullptr) {
      return absl::InvalidArgumentError(
          "data: is null, expected the training data, which this fit solves "
          "with");
    }
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes,
                               BatchSizes(*data));
    if (sizes != influence->batch_sizes_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "data: found ", sizes.size(), " batches of ",
          std::accumulate(sizes.begin(), sizes.end(), int64_t{0}),
          " samples, expected the ", influence->batch_sizes_.size(),
          " batches of the fit of ", state.num_fitted_samples,
          " samples, in the same sizes"));
    }
  }
  INFLUENCE_RETURN_IF_ERROR(influence->SetProducts(data));
  INFLUENCE_ASSIGN_OR_RETURN(
      std::vector<std::shared_ptr<const Lissa>> inverses,
      influence->MakeOperators(regularization.values,
                               TensorVector<double>(scales)));
  influence->regularization_ = std::move(regularization);
  INFLUENCE_RETURN_IF_ERROR(
      influence->SetInverses(std::move(inverses), state.num_fitted_samples));
  return influence;
}

}  // namespace influence
