// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/regularization.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>

#include "ATen/core/Tensor.h"
#include "ATen/ops/from_blob.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/communicator.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"

namespace influence {
namespace {

std::string NumberToString(double value) {
  // 17 digits bring back every double; shorter where they suffice.
  std::string text = absl::StrCat(value);
  double parsed = 0;
  if (absl::SimpleAtod(text, &parsed) && parsed == value) return text;
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.17g", value);
  return buffer;
}

// Beside rounding units of the block with the largest gradients.
constexpr double kNoiseFactor = 4;

// Puts something in place of the zeros of blocks without information.
absl::StatusOr<std::vector<double>> FillBlocksWithoutInformation(
    const ParameterBlocks& blocks, std::vector<double> values) {
  INFLUENCE_CHECK(values.size() == blocks.blocks().size());
  double of_all = 0;  // As if all parameters were one block.
  for (size_t b = 0; b < values.size(); ++b) {
    of_all += values[b] * static_cast<double>(blocks.blocks()[b].size) /
              static_cast<double>(blocks.size());
  }
  if (!(of_all > 0)) {
    return absl::InvalidArgumentError(
        "regularization: found auto, but the gradients of all training samples "
        "are zero, expected some that are not: no sample has influence (with a "
        "value for --regularization all scores are zero)");
  }
  for (double& value : values) {
    if (value == 0) value = of_all;
  }
  return values;
}

}  // namespace

absl::StatusOr<Regularization> Regularization::Constant(double value) {
  INFLUENCE_RETURN_IF_ERROR(ValidateNonNegative("regularization", value));
  Regularization regularization;
  regularization.values_ = {{"", value}};
  return regularization;
}

absl::StatusOr<Regularization> Regularization::ByBlock(
    std::vector<BlockValue> values) {
  if (values.empty()) {
    return absl::InvalidArgumentError(
        "regularization: found no values, expected one for each block");
  }
  for (size_t i = 0; i < values.size(); ++i) {
    INFLUENCE_RETURN_IF_ERROR(ValidateNonNegative(
        absl::StrCat("regularization of block ", values[i].first),
        values[i].second));
    for (size_t j = 0; j < i; ++j) {
      if (values[i].first != values[j].first) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("regularization: found block ", values[i].first,
                       " twice, expected each once"));
    }
  }
  Regularization regularization;
  regularization.by_block_ = true;
  regularization.values_ = std::move(values);
  return regularization;
}

absl::StatusOr<Regularization> Regularization::Parse(absl::string_view text) {
  if (text == "auto") return Auto();
  double value = 0;
  if (absl::SimpleAtod(text, &value)) return Constant(value);
  std::vector<BlockValue> values;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    // The value follows the last "=": a name may hold one.
    const size_t equals = part.rfind('=');
    if (equals == absl::string_view::npos || equals == 0 ||
        !absl::SimpleAtod(part.substr(equals + 1), &value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("regularization: found \"", text,
                       "\", expected auto, a number, or name=number,..."));
    }
    values.emplace_back(part.substr(0, equals), value);
  }
  return ByBlock(std::move(values));
}

absl::StatusOr<std::vector<double>> Regularization::Resolve(
    const ParameterBlocks& blocks) const {
  INFLUENCE_CHECK(!is_auto());
  const size_t num_blocks = blocks.blocks().size();
  if (!by_block_) return std::vector<double>(num_blocks, values_[0].second);
  std::vector<double> resolved(num_blocks);
  std::vector<bool> has_value(num_blocks, false);
  for (const auto& [name, value] : values_) {
    size_t b = 0;
    while (b < num_blocks && blocks.blocks()[b].name != name) ++b;
    if (b == num_blocks) {
      return absl::InvalidArgumentError(absl::StrCat(
          "regularization: found unknown block ", name, ", expected ",
          absl::StrJoin(blocks.blocks(), ", ",
                        [](std::string* out, const ParameterBlock& block) {
                          out->append(block.name);
                        })));
    }
    resolved[b] = value;
    has_value[b] = true;
  }
  for (size_t b = 0; b < num_blocks; ++b) {
    if (has_value[b]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("regularization: found no value for block ",
                     blocks.blocks()[b].name, ", expected one for each block"));
  }
  return resolved;
}

std::string Regularization::ToString() const {
  if (is_auto()) return "auto";
  if (!by_block_) return NumberToString(values_[0].second);
  return absl::StrJoin(
      values_, ",", [](std::string* out, const BlockValue& value) {
        absl::StrAppend(out, value.first, "=", NumberToString(value.second));
      });
}

absl::StatusOr<std::vector<double>> AutoRegularization(
    const GradientProvider& provider, const ParameterBlocks& blocks,
    const BatchSequence& data, Communicator* communicator) {
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const GradientProvider> restricted,
                             provider.Restrict(blocks.parameters()));
  std::vector<double> sums(blocks.blocks().size(), 0.0);
  double num_samples = 0;
  const RankShare mine = ShareOf(data.num_batches(), communicator);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data.Get(i));
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                               restricted->FactoredGrads(batch));
    int64_t position = 0;
    for (size_t b = 0; b < sums.size(); ++b) {
      std::vector<int64_t> positions(blocks.blocks()[b].parameters.size());
      for (int64_t& p : positions) p = position++;
      INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                                 grads.Select(positions));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor norms, part.SquaredNorms());
      INFLUENCE_ASSIGN_OR_RETURN(
          double sum,
          CatchTorch("squared norms", [&]() -> absl::StatusOr<double> {
            return norms.to(at::kDouble).sum().item<double>();
          }));
      sums[b] += sum;
    }
    num_samples += static_cast<double>(batch.size());
  }
  if (communicator != nullptr) {
    sums.push_back(num_samples);
    INFLUENCE_RETURN_IF_ERROR(CatchTorch("squared norms", [&] {
      return communicator->AllReduceSum(at::from_blob(
          sums.data(), {static_cast<int64_t>(sums.size())}, at::kDouble));
    }));
    num_samples = sums.back();
    sums.pop_back();
  }
  if (num_samples < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  for (double& sum : sums) sum /= num_samples;
  return AutoRegularizationFromMeanSquaredNorms(
      blocks, sums, RoundingUnit(provider.model().dtype()));
}

absl::StatusOr<std::vector<double>> AutoRegularizationFromMeanSquaredNorms(
    const ParameterBlocks& blocks,
    const std::vector<double>& mean_squared_norms, double relative_accuracy) {
  INFLUENCE_CHECK(mean_squared_norms.size() == blocks.blocks().size());
  std::vector<double> values;
  double largest = 0;
  for (size_t b = 0; b < mean_squared_norms.size(); ++b) {
    const ParameterBlock& block = blocks.blocks()[b];
    const double value =
        0.1 * mean_squared_norms[b] / static_cast<double>(block.size);
    if (!std::isfinite(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("block ", block.name,
                       ": regularization: found auto, but the mean "
                       "squared norm of the gradients is ",
                       mean_squared_norms[b], ", expected a finite number"));
    }
    values.push_back(value);
    largest = std::max(largest, value);
  }
  const double noise = kNoiseFactor * relative_accuracy;
  for (double& value : values) {
    if (value <= noise * noise * largest) value = 0;
  }
  return values;
}

absl::StatusOr<std::vector<double>> AutoRegularizationFromGaussNewton(
    const ParameterBlocks& blocks, const std::vector<at::Tensor>& matrices,
    double relative_accuracy) {
  std::vector<double> traces;
  for (const at::Tensor& matrix : matrices) {
    INFLUENCE_ASSIGN_OR_RETURN(
        double trace, CatchTorch("trace", [&]() -> absl::StatusOr<double> {
          return matrix.diagonal().to(at::kDouble).sum().item<double>();
        }));
    traces.push_back(trace);
  }
  return AutoRegularizationFromMeanSquaredNorms(blocks, traces,
                                                relative_accuracy);
}

std::vector<std::string> RegularizationRemarks(
    const FittedRegularization& fitted, size_t block) {
  if (block >= fitted.auto_values.size() || fitted.auto_values[block] != 0) {
    return {};
  }
  return {"all gradients are zero: contributes nothing"};
}

absl::StatusOr<FittedRegularization> FitRegularization(
    const Regularization& regularization, const ParameterBlocks& blocks,
    absl::FunctionRef<absl::StatusOr<std::vector<double>>()> find_auto) {
  FittedRegularization fitted;
  if (regularization.is_auto()) {
    INFLUENCE_ASSIGN_OR_RETURN(fitted.auto_values, find_auto());
    INFLUENCE_ASSIGN_OR_RETURN(fitted.values, FillBlocksWithoutInformation(
                                                  blocks, fitted.auto_values));
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(fitted.values, regularization.Resolve(blocks));
  }
  return fitted;
}

absl::StatusOr<FittedRegularization> RefitRegularization(
    const Regularization& regularization, const ParameterBlocks& blocks,
    const FittedRegularization& fitted) {
  FittedRegularization other = fitted;
  if (!regularization.is_auto()) {
    INFLUENCE_ASSIGN_OR_RETURN(other.values, regularization.Resolve(blocks));
  } else if (fitted.auto_values.empty()) {
    return absl::FailedPreconditionError(
        "regularization: found auto, expected values: the model was fitted "
        "with values and has not kept the gradients' norms");
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(
        other.values, FillBlocksWithoutInformation(blocks, fitted.auto_values));
  }
  return other;
}

}  // namespace influence
