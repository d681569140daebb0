// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/factor_file.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "cli/fitted_source.h"
#include "cli/score_tiles.h"
#include "influence/prepared_queries.h"
#include "operators/solve_report.h"

namespace influence {
namespace {

// attributes[a][b], or attributes[a] where b is empty, if it is a text.
std::string TextAt(const ZarrAttributes& attributes, const std::string& a,
                   const std::string& b = "") {
  if (!attributes.contains(a)) return "";
  const ZarrAttributes& first = attributes.at(a);
  if (b.empty()) return first.is_string() ? first.get<std::string>() : "";
  if (!first.is_object() || !first.contains(b)) return "";
  return first.at(b).is_string() ? first.at(b).get<std::string>() : "";
}

std::optional<SolveOutcome> OutcomeByName(absl::string_view name) {
  for (const SolveOutcome outcome :
       {SolveOutcome::kConverged, SolveOutcome::kIterationLimit,
        SolveOutcome::kStagnated, SolveOutcome::kNegativeCurvature,
        SolveOutcome::kDiverged}) {
    if (SolveOutcomeName(outcome) == name) return outcome;
  }
  return std::nullopt;
}

// What ResultAttributes() wrote; of a damaged one, what can be read.
std::vector<BlockSolveReports> SolvesOf(const ZarrAttributes& attributes) {
  std::vector<BlockSolveReports> solves;
  if (!attributes.contains("solves") || !attributes["solves"].is_object()) {
    return solves;
  }
  for (const auto& [block, entry] : attributes["solves"].items()) {
    BlockSolveReports of_block{block, {}};
    if (!entry.is_object()) continue;
    const ZarrAttributes outcomes = entry.value("outcomes", ZarrAttributes());
    const ZarrAttributes iterations =
        entry.value("iterations", ZarrAttributes());
    const ZarrAttributes residuals =
        entry.value("relative_residuals", ZarrAttributes());
    for (size_t i = 0;
         i < outcomes.size() && i < iterations.size() && i < residuals.size();
         ++i) {
      SolveReport report;
      if (outcomes[i].is_string()) {
        report.outcome = OutcomeByName(outcomes[i].get<std::string>())
                             .value_or(SolveOutcome::kDiverged);
      }
      if (iterations[i].is_number_integer()) {
        report.iterations = iterations[i].get<int64_t>();
      }
      if (residuals[i].is_number()) {
        report.relative_residual = residuals[i].get<double>();
      }
      of_block.reports.push_back(report);
    }
    solves.push_back(std::move(of_block));
  }
  return solves;
}

}  // namespace

absl::StatusOr<FactorFile> FactorFile::Open(const std::string& path) {
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArray array, ZarrArray::Open(path));
  const ZarrAttributes attributes = array.metadata().attributes;
  const std::string kind = TextAt(attributes, "kind");
  if (kind != "factors" || array.shape().size() != 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found ",
        kind.empty() ? "an array of another program" : absl::StrCat(kind),
        ", expected what influence factors has made"));
  }
  FactorFile file(path, std::move(array));
  file.query_function_ = TextAt(attributes, "query_function");
  file.test_fingerprint_ = TextAt(attributes, "fingerprints", "test");
  file.fitted_fingerprint_ = TextAt(attributes, "fingerprints", "fitted");
  file.solves_ = SolvesOf(attributes);
  return file;
}

absl::Status FactorFile::CheckBelongsTo(const OpenedMethod& fitted) const {
  std::string expected;
  for (const auto& [role, fingerprint] : fitted.fingerprints) {
    if (role == "fitted") expected = fingerprint;
  }
  const int64_t num_parameters = fitted.influence->num_parameters();
  std::string folder;
  for (const auto& [role, path] : fitted.paths) {
    if (role == "fitted") folder = path;
  }
  if (fitted_fingerprint_ != expected) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": found factors of another fit (",
                     fitted_fingerprint_.substr(0, 12), "), expected those of ",
                     folder, " (", expected.substr(0, 12), ")"));
  }
  if (array_.shape()[1] != num_parameters ||
      array_.dtype() != fitted.record.dtype) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": found ", array_.metadata().ToString(), ", expected ",
        num_parameters, " columns of the dtype of ", folder));
  }
  return absl::OkStatus();
}

ReadRowsFunction FactorFile::reader() const {
  return [array = array_](int64_t begin, int64_t end) {
    return array.ReadRows(begin, end);
  };
}

}  // namespace influence
