// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/inspect_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/options.h"
#include "cli/run_inputs.h"
#include "gradients/coverage_report.h"
#include "gradients/parameter_blocks.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

// Names of the parameters on which the self-check found a difference.
std::vector<std::string> SelfCheckFailures(const CoverageReport& coverage) {
  std::vector<std::string> names;
  for (const ParameterCoverage& parameter : coverage.parameters) {
    if (absl::StartsWith(parameter.reason, "self-check")) {
      names.push_back(parameter.name);
    }
  }
  return names;
}

std::string InspectJson(const InspectOptions& options, const RunInputs& inputs,
                        const ParameterBlocks& blocks) {
  const CoverageReport& coverage = inputs.provider->coverage();
  std::vector<std::string> block_of(coverage.parameters.size());
  for (const ParameterBlock& block : blocks.blocks()) {
    for (const int64_t index : block.parameters) block_of[index] = block.name;
  }
  Json json;
  json["model"] = options.model;
  json["train"] = options.train;
  json["num_parameters"] = inputs.model->num_parameters();
  json["num_train"] = inputs.train->num_samples();
  json["dtype"] = DtypeName(options.dtype);
  json["loss"] = options.loss.name();
  json["block_structure"] =
      std::string(BlockStructureName(options.block_structure));
  json["covered_share"] = coverage.covered_share();
  json["one_by_one"] = coverage.one_by_one;
  const std::vector<std::string> failures = SelfCheckFailures(coverage);
  json["self_check"] = {
      {"samples", std::min(kSelfCheckSamples, inputs.train->num_samples())},
      {"passed", failures.empty()},
      {"failed_parameters", failures}};
  json["inputs"] = Json::array();
  for (int64_t i = 0; i < inputs.train->num_inputs(); ++i) {
    const auto shape = inputs.train->input_shape(i);
    json["inputs"].push_back(
        {{"name", inputs.train->input_name(i)},
         {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
         {"dtype", DtypeName(inputs.train->input_dtype(i))}});
  }
  json["parameters"] = Json::array();
  for (size_t i = 0; i < coverage.parameters.size(); ++i) {
    const ParameterCoverage& parameter = coverage.parameters[i];
    json["parameters"].push_back({{"name", parameter.name},
                                  {"shape", parameter.shape},
                                  {"rule", parameter.rule},
                                  {"covered", parameter.covered},
                                  {"reason", parameter.reason},
                                  {"block", block_of[i]}});
  }
  json["blocks"] = Json::array();
  for (const ParameterBlock& block : blocks.blocks()) {
    json["blocks"].push_back(
        {{"name", block.name}, {"num_parameters", block.size}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string InspectText(const InspectOptions& options, const RunInputs& inputs,
                        const ParameterBlocks& blocks) {
  const CoverageReport& coverage = inputs.provider->coverage();
  std::string text = absl::StrCat(
      options.model, ": P = ", inputs.model->num_parameters(),
      " trainable parameters, ", DtypeName(options.dtype), "\n", options.train,
      ": N = ", inputs.train->num_samples(), " samples");
  for (int64_t i = 0; i < inputs.train->num_inputs(); ++i) {
    absl::StrAppend(&text, ", ", inputs.train->input_name(i), " ",
                    DtypeName(inputs.train->input_dtype(i)), " [",
                    absl::StrJoin(inputs.train->input_shape(i), ", "), "]");
  }
  absl::StrAppend(&text, "\n\n", coverage.ToString(), "\nblocks (",
                  BlockStructureName(options.block_structure), ")\n");
  size_t width = 0;
  for (const ParameterBlock& block : blocks.blocks()) {
    width = std::max(width, block.name.size());
  }
  for (const ParameterBlock& block : blocks.blocks()) {
    absl::StrAppendFormat(&text, "  %-*s  %d\n", static_cast<int>(width),
                          block.name, block.size);
  }
  const std::vector<std::string> failures = SelfCheckFailures(coverage);
  absl::StrAppend(&text, "\nself-check against autograd on ",
                  std::min(kSelfCheckSamples, inputs.train->num_samples()),
                  " samples: ");
  if (failures.empty()) {
    absl::StrAppend(&text, "passed\n");
  } else {
    absl::StrAppend(&text, "differs for ", absl::StrJoin(failures, ", "),
                    ", which autograd serves instead\n");
  }
  return text;
}

}  // namespace

absl::Status RunInspect(const InspectOptions& options, Console& console) {
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(
      const RunInputs inputs,
      OpenRunInputs(options, /*test=*/std::nullopt, options.loss));
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*inputs.model, options.block_structure);
  return console.Print(options.json ? InspectJson(options, inputs, blocks)
                                    : InspectText(options, inputs, blocks));
}

}  // namespace influence
