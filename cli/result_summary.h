// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What must be known of a result to read it: printed, as JSON, and stored with
// the arrays where they have a place for it.
#ifndef INFLUENCE_CLI_RESULT_SUMMARY_H_
#define INFLUENCE_CLI_RESULT_SUMMARY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "cli/options.h"
#include "cli/resume_guard.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"

namespace influence {

// How the sign of a score is read.
struct ScoreSign {
  std::string helps;    // "positive" or "negative".
  std::string meaning;  // A sentence without its full stop.
};

// `query`: what is asked for of a query, "loss", "margin" or "logit".
ScoreSign SignOfScores(InfluenceMode mode, Units units,
                       absl::string_view query);

// "loss", whichever it is, or the name of what is asked for instead.
std::string QueryName(const PerSampleFunction& query_function);

// What a raw score is multiplied by: 1, or 1 / N or -1 / N for the change that
// it predicts. num_fitted_samples >= 1.
double UnitsFactor(InfluenceMode mode, Units units, int64_t num_fitted_samples);

// What a method was fitted with and what it found.
struct FitSummary {
  std::string method;                          // "ekfac"
  std::map<std::string, std::string> options;  // MethodOptions::values
  std::string loss;
  at::ScalarType dtype = at::kFloat;
  int64_t seed = 0;
  int64_t num_parameters = 0;      // P
  int64_t num_fitted_samples = 0;  // N
  std::vector<BlockReport> blocks;
  double covered_share = 1;  // Of P on the fast path.
};

struct ResultSummary {
  std::string kind;  // "scores", "top_k", "factors", "self", "fitted"
  std::string out;
  std::vector<int64_t> shape;             // Of each array; empty for a folder.
  std::vector<std::string> arrays;        // Names, where there are several.
  std::vector<std::string> array_blocks;  // The blocks, if an array is one's.
  FitSummary fit;

  // Of scores and self.
  std::optional<InfluenceMode> mode;
  Units units = Units::kRaw;

  std::string query;  // As of QueryName(); empty for a fit.
  double score_tolerance = 0;

  int64_t num_train = 0;  // Of kind "top_k": N; shape is [M, K].

  // How the queries were solved for, by block; empty if nothing iterated.
  std::vector<BlockSolveReports> solves;

  // By role: {"model", "m.pt"}, {"train", "train.npz"}, ...
  std::vector<std::pair<std::string, std::string>> paths;
  std::vector<std::pair<std::string, std::string>> fingerprints;

  // How the run was cut, as of PlanJson(); empty where it was not.
  nlohmann::ordered_json plan = nlohmann::ordered_json::object();

  // Of a run that computes one part of a result, and whether all others are
  // there as well.
  std::optional<Shard> shard;
  bool complete = true;

  int64_t batch_size = 0;  // Samples of the training data.
  int64_t passes = 0;      // Over the training data, for the scores.
  double seconds = 0;
  std::optional<int64_t> peak_memory_bytes;  // As measured, since the plan.
};

// Lines for people, without their ends; what needs attention begins with
// "warning: ".
std::vector<std::string> SummaryLines(const ResultSummary& summary);

// One JSON object and a newline.
std::string SummaryJson(const ResultSummary& summary);

// What another run must have in common with this one to go on with its output,
// of what is known before the fit.
RunItems RunItemsOf(const ResultSummary& summary);

// What is stored with the arrays: all but what belongs to this run alone.
nlohmann::ordered_json ResultAttributes(const ResultSummary& summary);

// {"influence": "0.1.0", "libtorch": "2.13.0"}
nlohmann::ordered_json LibraryVersions();

}  // namespace influence

#endif  // INFLUENCE_CLI_RESULT_SUMMARY_H_
