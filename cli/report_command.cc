// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/report_command.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "calculators/atomic_file.h"
#include "calculators/fingerprint.h"
#include "calculators/top_k.h"
#include "cli/byte_text.h"
#include "cli/console.h"
#include "cli/histogram.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/report_page.h"
#include "cli/result_output.h"
#include "cli/sample_view.h"
#include "cli/score_file.h"
#include "cli/top_command.h"

namespace influence {
namespace {

constexpr int64_t kDefaultK = 8;
constexpr int kBins = 80;       // Of the scores of all queries.
constexpr int kQueryBins = 40;  // Of the scores of one.

absl::Status CheckOutput(const ReportOptions& options) {
  std::error_code error;
  if (!std::filesystem::exists(options.out, error)) return absl::OkStatus();
  const bool is_file = std::filesystem::is_regular_file(options.out, error);
  if (is_file && options.overwrite) return absl::OkStatus();
  return absl::AlreadyExistsError(absl::StrCat(
      options.out, ": found an existing ", is_file ? "file" : "folder",
      ", expected none", is_file ? ", or --overwrite" : ""));
}

// Refuses data that are not those the scores were computed from.
absl::Status CheckData(const ScoreFile& scores, const std::string& path,
                       const std::string& expected, int64_t num_found,
                       int64_t num_expected, absl::string_view role) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string found, FingerprintOfPath(path));
  if (found == expected && num_found == num_expected) return absl::OkStatus();
  if (expected.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(scores.path(), ": found no fingerprint of its ", role,
                     ", expected one, to know ", path, " by"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      path, ": found ", num_found, " samples of fingerprint ",
      found.substr(0, 12), ", expected the ", role, " of ", scores.path(), ", ",
      num_expected, " samples of fingerprint ", expected.substr(0, 12)));
}

// The range of scores, of which `a` and `b` hold the ends; nothing if they are
// all NaN.
std::optional<std::pair<double, double>> RangeOf(const at::Tensor& a,
                                                 const at::Tensor& b) {
  const at::Tensor all = at::cat({a.flatten(), b.flatten()});
  const at::Tensor numbers = all.masked_select(all.isnan().logical_not());
  if (numbers.numel() == 0) return std::nullopt;
  return std::make_pair(numbers.min().item<double>(),
                        numbers.max().item<double>());
}

// Fills in the distributions of the page and of its queries. `top`: of largest
// and smallest scores.
absl::Status AddDistributions(const ScoreFile& scores, const TopKScores& top,
                              Console& console, ReportPage& page) {
  const auto num_queries = static_cast<int64_t>(page.queries.size());
  const auto range = RangeOf(top.helpful_scores, top.harmful_scores);
  if (!range.has_value()) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(
      page.distribution, Histogram::Create(range->first, range->second, kBins));
  for (int64_t i = 0; i < num_queries; ++i) {
    const auto of_query = RangeOf(top.helpful_scores[i], top.harmful_scores[i]);
    if (!of_query.has_value()) continue;
    INFLUENCE_ASSIGN_OR_RETURN(
        page.queries[i].distribution,
        Histogram::Create(of_query->first, of_query->second, kQueryBins));
  }
  return scores.ForEachTile(
      num_queries,
      [&](int64_t row, const at::Tensor& tile) -> absl::Status {
        for (int64_t i = 0; i < tile.size(0); ++i) {
          if (!page.queries[row + i].has_answer) continue;
          INFLUENCE_RETURN_IF_ERROR(page.distribution->Add(tile[i]));
          INFLUENCE_RETURN_IF_ERROR(
              page.queries[row + i].distribution->Add(tile[i]));
        }
        return absl::OkStatus();
      },
      console.Progress());
}

std::string PixelText(const PixelRange& range) {
  return absl::StrFormat("black is %.4g, white is %.4g", range.low, range.high);
}

// The samples of the page: labels and, where `images`, what they look like.
class Samples {
 public:
  Samples(const SampleView* train, const SampleView* test, bool images)
      : train_(train), test_(test), images_(images) {}

  // Looks at the images of all samples, for a range that they share.
  absl::Status FindRange(const TopKScores& top) {
    if (!images_) return absl::OkStatus();
    for (int64_t i = 0; i < top.helpful_indices.size(0); ++i) {
      INFLUENCE_RETURN_IF_ERROR(Include(*test_, i));
      for (const at::Tensor* indices :
           {&top.helpful_indices, &top.harmful_indices}) {
        for (int64_t e = 0; e < indices->size(1); ++e) {
          const int64_t sample = (*indices)[i][e].item<int64_t>();
          if (sample == kNoSample) continue;
          INFLUENCE_RETURN_IF_ERROR(Include(*train_, sample));
        }
      }
    }
    range_ = range_.Rounded();
    return absl::OkStatus();
  }

  const PixelRange& range() const { return range_; }

  absl::StatusOr<PageSample> Query(int64_t index) const {
    return Sample(*test_, index);
  }
  absl::StatusOr<PageSample> Train(int64_t index) const {
    return Sample(*train_, index);
  }

 private:
  absl::Status Include(const SampleView& view, int64_t index) {
    INFLUENCE_ASSIGN_OR_RETURN(const SampleView::Sample sample,
                               view.Get(index));
    range_.Include(sample.image);
    return absl::OkStatus();
  }

  absl::StatusOr<PageSample> Sample(const SampleView& view,
                                    int64_t index) const {
    INFLUENCE_ASSIGN_OR_RETURN(SampleView::Sample sample, view.Get(index));
    PageSample page;
    page.index = index;
    page.label = std::move(sample.label);
    if (images_) page.pixels = ToPixels(sample.image, range_);
    return page;
  }

  const SampleView* train_;  // Borrowed, never null.
  const SampleView* test_;   // Borrowed, never null.
  bool images_;
  PixelRange range_;
};

absl::StatusOr<std::vector<PageScore>> SideOf(const Samples& samples,
                                              const at::Tensor& indices,
                                              const at::Tensor& scores) {
  std::vector<PageScore> side(indices.numel());
  for (int64_t e = 0; e < indices.numel(); ++e) {
    INFLUENCE_ASSIGN_OR_RETURN(side[e].train,
                               samples.Train(indices[e].item<int64_t>()));
    side[e].score = scores[e].item<double>();
  }
  return side;
}

}  // namespace

absl::Status RunReport(const ReportOptions& options, Console& console) {
  if (!IsFirstRank()) return absl::OkStatus();  // One page for all.
  INFLUENCE_RETURN_IF_ERROR(CheckOutput(options));
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {options.scores, options.train, options.test}));
  INFLUENCE_ASSIGN_OR_RETURN(const ScoreFile scores,
                             ScoreFile::Open(options.scores));
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t k,
                             ChooseK(scores, options.k, kDefaultK));
  INFLUENCE_ASSIGN_OR_RETURN(const SampleView train,
                             SampleView::Open(options.train));
  INFLUENCE_ASSIGN_OR_RETURN(const SampleView test,
                             SampleView::Open(options.test));
  INFLUENCE_RETURN_IF_ERROR(
      CheckData(scores, options.train, scores.Fingerprint("train"),
                train.num_samples(), scores.num_train(), "training data"));
  // Queries whose factors were stored have left theirs with them.
  std::string of_queries = scores.Fingerprint("test");
  if (of_queries.empty()) of_queries = scores.Fingerprint("factors");
  INFLUENCE_RETURN_IF_ERROR(CheckData(scores, options.test, of_queries,
                                      test.num_samples(), scores.num_queries(),
                                      "query data"));

  return CatchTorch("report", [&]() -> absl::Status {
    const int64_t num_queries =
        std::min(options.num_queries, scores.num_queries());
    INFLUENCE_ASSIGN_OR_RETURN(const TopKScores top,
                               scores.Top(k, num_queries, console.Progress()));
    ReportPage page;
    page.scores = options.scores;
    page.train = options.train;
    page.test = options.test;
    page.num_queries = scores.num_queries();
    page.num_train = scores.num_train();
    page.keeps_all = scores.keeps_all();
    page.largest_k = scores.largest_k();
    page.positive_helps = scores.positive_helps();
    page.units = scores.Text("units");
    page.sign_meaning = SignMeaning(scores);
    page.attributes = scores.attributes();

    const bool images = train.has_images() && test.has_images();
    Samples samples(&train, &test, images);
    INFLUENCE_RETURN_IF_ERROR(samples.FindRange(top));
    if (images) page.pixels = PixelText(samples.range());
    page.queries.resize(num_queries);
    for (int64_t i = 0; i < num_queries; ++i) {
      PageQuery& query = page.queries[i];
      INFLUENCE_ASSIGN_OR_RETURN(query.query, samples.Query(i));
      query.has_answer = top.helpful_indices[i][0].item<int64_t>() != kNoSample;
      if (!query.has_answer) continue;
      INFLUENCE_ASSIGN_OR_RETURN(
          query.helpful,
          SideOf(samples, top.helpful_indices[i], top.helpful_scores[i]));
      INFLUENCE_ASSIGN_OR_RETURN(
          query.harmful,
          SideOf(samples, top.harmful_indices[i], top.harmful_scores[i]));
    }
    // Of a store that keeps more than is shown, all that it keeps.
    if (scores.keeps_all()) {
      INFLUENCE_RETURN_IF_ERROR(AddDistributions(scores, top, console, page));
    } else {
      INFLUENCE_ASSIGN_OR_RETURN(const TopKScores kept,
                                 scores.Top(scores.largest_k(), num_queries));
      INFLUENCE_RETURN_IF_ERROR(AddDistributions(scores, kept, console, page));
    }
    INFLUENCE_ASSIGN_OR_RETURN(const std::string html, RenderReportPage(page));
    INFLUENCE_RETURN_IF_ERROR(
        WriteFileAtomically(options.out, html, options.overwrite));
    console.Say(absl::StrCat(
        options.out, ": ", num_queries, " of ", scores.num_queries(),
        " queries, ", k, " most helpful and harmful training samples each, ",
        images ? "with images, " : "",
        BytesText(static_cast<double>(html.size()))));
    return absl::OkStatus();
  });
}

}  // namespace influence
