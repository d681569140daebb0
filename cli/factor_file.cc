// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/factor_file.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "cli/fitted_source.h"
#include "cli/score_tiles.h"
#include "cli/solve_reports_json.h"

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
  if (attributes.contains("solves")) {
    file.solves_ = ParseSolveReports(attributes["solves"]);
  }
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
