// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Scores as one HTML page that needs nothing else: no network, no script,
// images and charts inside. Light or dark as the reader's system is, from
// telephones to paper.
#ifndef INFLUENCE_CLI_REPORT_PAGE_H_
#define INFLUENCE_CLI_REPORT_PAGE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "cli/histogram.h"
#include "nlohmann/json.hpp"

namespace influence {

struct PageSample {
  int64_t index = 0;
  std::string label;
  at::Tensor pixels;  // As EncodePng() takes; undefined where there is none.
};

struct PageScore {
  PageSample train;
  double score = 0;
};

struct PageQuery {
  PageSample query;
  bool has_answer = true;          // Else there are no scores.
  std::vector<PageScore> helpful;  // Strongest first.
  std::vector<PageScore> harmful;
  std::optional<Histogram> distribution;  // Of the scores of this query.
};

struct ReportPage {
  std::string scores;  // Paths, as given.
  std::string train;
  std::string test;
  int64_t num_queries = 0;  // M, of which queries.size() are on the page.
  int64_t num_train = 0;    // N
  bool keeps_all = true;    // Else the store has largest_k of each kind.
  int64_t largest_k = 0;
  bool positive_helps = true;
  std::string units;
  std::string sign_meaning;
  std::string pixels;  // What black and white stand for; "" if no images.
  std::optional<Histogram> distribution;  // Of the queries on the page.
  std::vector<PageQuery> queries;

  // What the store says: result_summary.h. Anything may be missing, or of
  // another type than expected.
  nlohmann::ordered_json attributes = nlohmann::ordered_json::object();
};

// kInternal if an image cannot be made. All texts are escaped.
absl::StatusOr<std::string> RenderReportPage(const ReportPage& page);

// What was run, as names and values in the order of the page: method,
// regularization, curvature, coverage, time, memory and so on, whatever the
// attributes hold. Plain text.
std::vector<std::pair<std::string, std::string>> RunFacts(
    const nlohmann::ordered_json& attributes);

}  // namespace influence

#endif  // INFLUENCE_CLI_REPORT_PAGE_H_
