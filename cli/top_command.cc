// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/top_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "calculators/top_k.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/score_file.h"
#include "cli/usage_error.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kDefaultK = 10;

// The entries of a contiguous copy.
std::vector<int64_t> Integers(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  const auto* const data = values.data_ptr<int64_t>();
  return std::vector<int64_t>(data, data + values.numel());
}

std::vector<double> Numbers(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kDouble).contiguous();
  const auto* const data = values.data_ptr<double>();
  return std::vector<double>(data, data + values.numel());
}

// One kind of sample, [M, K] row by row.
struct Side {
  Side(const at::Tensor& train_indices, const at::Tensor& train_scores)
      : indices(Integers(train_indices)), scores(Numbers(train_scores)) {}

  std::vector<int64_t> indices;
  std::vector<double> scores;
};

// To be read; JSON has all digits.
std::string ScoreText(double score) { return absl::StrFormat("%.6g", score); }

// Nothing of a query without an answer.
Json SideJson(const Side& side, int64_t begin, int64_t end) {
  Json json = Json::array();
  for (int64_t e = begin; e < end && side.indices[e] != kNoSample; ++e) {
    json.push_back({{"train", side.indices[e]}, {"score", side.scores[e]}});
  }
  return json;
}

// The widths of the columns of a side.
struct Widths {
  explicit Widths(const Side& side) {
    for (size_t e = 0; e < side.indices.size(); ++e) {
      if (side.indices[e] == kNoSample) continue;
      train = std::max(train, absl::StrCat(side.indices[e]).size());
      score = std::max(score, ScoreText(side.scores[e]).size());
    }
  }

  size_t train = 5;  // Of the headings.
  size_t score = 5;
};

}  // namespace

absl::StatusOr<int64_t> ChooseK(const ScoreFile& scores,
                                std::optional<int64_t> requested,
                                int64_t fallback) {
  if (!requested.has_value()) return std::min(fallback, scores.largest_k());
  if (*requested <= scores.largest_k()) return *requested;
  return UsageError(
      "--k", absl::StrCat(*requested),
      scores.keeps_all()
          ? absl::StrCat("at most the ", scores.largest_k(),
                         " training samples of ", scores.path())
          : absl::StrCat("at most the ", scores.largest_k(),
                         " that --top-k has kept in ", scores.path()));
}

std::string SignMeaning(const ScoreFile& scores) {
  std::string meaning = scores.Text("sign_meaning");
  if (!meaning.empty()) return meaning;
  return scores.positive_helps() ? "positive: the training sample helps"
                                 : "positive: the training sample harms";
}

std::string TopTable(const ScoreFile& scores, const TopKScores& top) {
  const int64_t num_queries = top.helpful_indices.size(0);
  const int64_t k = top.helpful_indices.size(1);
  const Side helpful(top.helpful_indices, top.helpful_scores);
  const Side harmful(top.harmful_indices, top.harmful_scores);
  std::string text = absl::StrCat(
      scores.path(), ": the ", k, " most helpful and harmful of ",
      scores.num_train(), " training samples for each of ", num_queries,
      num_queries == 1 ? " query" : " queries", ", units ",
      scores.Text("units"), "\nsign: ", SignMeaning(scores), "\n\n");
  const Widths left(helpful);
  const Widths right(harmful);
  const auto query_width = static_cast<int>(
      std::max<size_t>(5, absl::StrCat(num_queries - 1).size()));
  const int rank_width =
      static_cast<int>(std::max<size_t>(4, absl::StrCat(k).size()));
  const auto helpful_width = static_cast<int>(left.train + 2 + left.score);
  absl::StrAppendFormat(&text, "%*s  %*s  %-*s  %s\n", query_width, "",
                        rank_width, "", helpful_width, "helpful", "harmful");
  const auto row =
      [&](const std::string& query, const std::string& rank,
          const std::string& helpful_train, const std::string& helpful_score,
          const std::string& harmful_train, const std::string& harmful_score) {
        absl::StrAppendFormat(&text, "%*s  %*s  %*s  %*s  %*s  %*s\n",
                              query_width, query, rank_width, rank,
                              static_cast<int>(left.train), helpful_train,
                              static_cast<int>(left.score), helpful_score,
                              static_cast<int>(right.train), harmful_train,
                              static_cast<int>(right.score), harmful_score);
      };
  row("query", "rank", "train", "score", "train", "score");
  for (int64_t e = 0; e < num_queries * k; ++e) {
    if (helpful.indices[e] == kNoSample) {
      if (e % k == 0) {
        absl::StrAppendFormat(&text, "%*d  no answer: its solve has failed\n",
                              query_width, e / k);
      }
      continue;
    }
    row(absl::StrCat(e / k), absl::StrCat(e % k + 1),
        absl::StrCat(helpful.indices[e]), ScoreText(helpful.scores[e]),
        absl::StrCat(harmful.indices[e]), ScoreText(harmful.scores[e]));
  }
  return text;
}

std::string TopJson(const TopKScores& top) {
  const int64_t num_queries = top.helpful_indices.size(0);
  const int64_t k = top.helpful_indices.size(1);
  const Side helpful(top.helpful_indices, top.helpful_scores);
  const Side harmful(top.harmful_indices, top.harmful_scores);
  // Query by query: all of them as one JSON object would need many times the
  // memory of the numbers.
  std::string text = "{\"queries\":[";
  for (int64_t i = 0; i < num_queries; ++i) {
    Json query;
    query["query"] = i;
    if (helpful.indices[i * k] == kNoSample) query["failed"] = true;
    query["helpful"] = SideJson(helpful, i * k, (i + 1) * k);
    query["harmful"] = SideJson(harmful, i * k, (i + 1) * k);
    absl::StrAppend(&text, i == 0 ? "\n" : ",\n", query.dump());
  }
  absl::StrAppend(&text, "\n]}\n");
  return text;
}

absl::Status RunTop(const TopOptions& options, Console& console) {
  INFLUENCE_ASSIGN_OR_RETURN(const ScoreFile scores,
                             ScoreFile::Open(options.scores));
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t k,
                             ChooseK(scores, options.k, kDefaultK));
  INFLUENCE_ASSIGN_OR_RETURN(
      const TopKScores top,
      scores.Top(k, scores.num_queries(), console.Progress()));
  return console.Print(options.json ? TopJson(top) : TopTable(scores, top));
}

}  // namespace influence
