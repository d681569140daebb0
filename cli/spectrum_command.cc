// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/spectrum_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/fitted_source.h"
#include "cli/options.h"
#include "cli/result_summary.h"
#include "cli/run_inputs.h"
#include "influence/composable_influence.h"
#include "influence/spectrum.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

// As many samples of each data set share a batch.
constexpr int64_t kBatchSize = 256;

Json OptionalNumber(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

std::string SpectrumJson(const SpectrumOptions& options,
                         const OpenedMethod& opened,
                         const std::vector<BlockSpectrum>& spectrum,
                         const std::vector<ScoreSensitivity>& sensitivity) {
  const FitSummary fit = SummarizeFit(opened);
  Json json;
  json["fitted"] = options.source.folder;
  json["method"] = fit.method;
  json["options"] = fit.options;
  json["num_parameters"] = fit.num_parameters;
  json["num_fitted_samples"] = fit.num_fitted_samples;
  json["blocks"] = Json::array();
  for (size_t b = 0; b < spectrum.size(); ++b) {
    const BlockSpectrum& block = spectrum[b];
    Json entry;
    entry["name"] = block.block;
    entry["num_parameters"] = block.size;
    entry["regularization"] = b < fit.blocks.size()
                                  ? OptionalNumber(fit.blocks[b].regularization)
                                  : Json(nullptr);
    entry["num_eigenvalues"] = block.eigenvalues.numel();
    entry["largest"] = block.largest;
    entry["smallest"] = block.smallest;
    entry["mean"] = block.mean;
    entry["num_negative"] = block.num_negative;
    entry["effects"] = Json::array();
    for (const RegularizationEffect& effect : block.effects) {
      entry["effects"].push_back(
          {{"regularization", effect.regularization},
           {"effective_dimension", effect.effective_dimension},
           {"num_above", effect.num_above}});
    }
    const at::Tensor values = block.eigenvalues.contiguous();
    entry["eigenvalues"] = std::vector<double>(
        values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
    json["blocks"].push_back(entry);
  }
  json["sensitivity"] = Json::array();
  for (const ScoreSensitivity& step : sensitivity) {
    json["sensitivity"].push_back(
        {{"regularization", step.regularization},
         {"next_regularization", step.next_regularization},
         {"spearman", OptionalNumber(step.spearman)},
         {"pearson", OptionalNumber(step.pearson)},
         {"relative_change", step.relative_change}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string NumberOrDash(const std::optional<double>& value) {
  return value.has_value() ? absl::StrFormat("%.4f", *value) : "-";
}

std::string SpectrumText(const SpectrumOptions& options,
                         const OpenedMethod& opened,
                         const std::vector<BlockSpectrum>& spectrum,
                         const std::vector<ScoreSensitivity>& sensitivity) {
  const FitSummary fit = SummarizeFit(opened);
  size_t width = 5;
  for (const BlockSpectrum& block : spectrum) {
    width = std::max(width, block.block.size());
  }
  const int w = static_cast<int>(width);
  std::string text = absl::StrCat(options.source.folder, ": ", fit.method,
                                  ", N = ", fit.num_fitted_samples,
                                  " samples, P = ", fit.num_parameters, "\n\n");
  absl::StrAppendFormat(&text,
                        "%-*s  %10s  %10s  %11s  %11s  %11s  %8s  %11s\n", w,
                        "block", "parameters", "known", "largest", "mean",
                        "smallest", "negative", "lambda");
  for (size_t b = 0; b < spectrum.size(); ++b) {
    const BlockSpectrum& block = spectrum[b];
    const std::optional<double> lambda =
        b < fit.blocks.size() ? fit.blocks[b].regularization : std::nullopt;
    absl::StrAppendFormat(
        &text, "%-*s  %10d  %10d  %11.4g  %11.4g  %11.4g  %8d  %11s\n", w,
        block.block, block.size, block.eigenvalues.numel(), block.largest,
        block.mean, block.smallest, block.num_negative,
        lambda.has_value() ? absl::StrFormat("%.4g", *lambda) : "-");
  }
  if (!options.regularizations.empty()) {
    absl::StrAppendFormat(&text, "\n%-*s  %11s  %19s  %17s\n", w, "block",
                          "lambda", "effective dimension", "eigenvalues above");
    for (const BlockSpectrum& block : spectrum) {
      for (const RegularizationEffect& effect : block.effects) {
        absl::StrAppendFormat(&text, "%-*s  %11.4g  %19.5g  %17d\n", w,
                              block.block, effect.regularization,
                              effect.effective_dimension, effect.num_above);
      }
    }
  }
  if (!sensitivity.empty()) {
    absl::StrAppendFormat(&text,
                          "\nscores of %s from one lambda to the next\n"
                          "%11s  %11s  %8s  %8s  %15s\n",
                          options.test, "lambda", "next", "spearman", "pearson",
                          "relative change");
    for (const ScoreSensitivity& step : sensitivity) {
      absl::StrAppendFormat(&text, "%11.4g  %11.4g  %8s  %8s  %15.4g\n",
                            step.regularization, step.next_regularization,
                            NumberOrDash(step.spearman),
                            NumberOrDash(step.pearson), step.relative_change);
    }
  }
  return text;
}

}  // namespace

absl::Status RunSpectrum(const SpectrumOptions& options, Console& console) {
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(
      const OpenedMethod opened,
      options.test.empty() ? OpenFitted(options.source, /*train=*/"",
                                        /*test=*/"", options.query_function)
                           : OpenFittedWithItsData(options.source, options.test,
                                                   options.query_function));
  absl::StatusOr<std::vector<BlockSpectrum>> spectrum =
      FindSpectrum(*opened.influence, options.regularizations);
  if (!spectrum.ok()) {
    return absl::Status(
        spectrum.status().code(),
        absl::StrCat(options.source.folder, ": ", spectrum.status().message()));
  }
  std::vector<ScoreSensitivity> sensitivity;
  if (!options.test.empty()) {
    const int64_t batch_size = options.batch_size.value_or(kBatchSize);
    INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> test,
                               opened.inputs.test->WithBatchSize(batch_size));
    INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> train,
                               opened.inputs.train->WithBatchSize(batch_size));
    absl::StatusOr<std::vector<ScoreSensitivity>> found = FindScoreSensitivity(
        *opened.influence, options.regularizations, *test, *train);
    if (!found.ok()) {
      return absl::Status(
          found.status().code(),
          absl::StrCat("--regularizations: ", found.status().message()));
    }
    sensitivity = *std::move(found);
  }
  return console.Print(
      options.json ? SpectrumJson(options, opened, *spectrum, sensitivity)
                   : SpectrumText(options, opened, *spectrum, sensitivity));
}

}  // namespace influence
