// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/coverage_report.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace influence {
namespace {

int64_t NumScalars(const ParameterCoverage& parameter) {
  int64_t count = 1;
  for (const int64_t size : parameter.shape) count *= size;
  return count;
}

}  // namespace

int64_t CoverageReport::num_parameters() const {
  int64_t count = 0;
  for (const ParameterCoverage& parameter : parameters) {
    count += NumScalars(parameter);
  }
  return count;
}

double CoverageReport::covered_share() const {
  if (!one_by_one.empty()) return 0;
  int64_t covered = 0;
  for (const ParameterCoverage& parameter : parameters) {
    if (parameter.covered) covered += NumScalars(parameter);
  }
  const int64_t all = num_parameters();
  return all == 0 ? 1.0 : static_cast<double>(covered) / all;
}

std::string CoverageReport::ToString() const {
  size_t name_width = 9, shape_width = 5, rule_width = 4;
  for (const ParameterCoverage& parameter : parameters) {
    name_width = std::max(name_width, parameter.name.size());
    rule_width = std::max(rule_width, parameter.rule.size());
    shape_width =
        std::max(shape_width, absl::StrJoin(parameter.shape, " x ").size());
  }
  std::string text = absl::StrFormat("%-*s  %-*s  rule\n", name_width,
                                     "parameter", shape_width, "shape");
  for (const ParameterCoverage& parameter : parameters) {
    absl::StrAppendFormat(&text, "%-*s  %-*s  %-*s", name_width, parameter.name,
                          shape_width, absl::StrJoin(parameter.shape, " x "),
                          rule_width, parameter.rule);
    if (!parameter.reason.empty()) {
      absl::StrAppend(&text, "  (", parameter.reason, ")");
    }
    while (text.back() == ' ') text.pop_back();
    absl::StrAppend(&text, "\n");
  }
  if (!one_by_one.empty()) {
    absl::StrAppend(&text,
                    "sample by sample: not known to keep samples apart: ",
                    one_by_one, "\n");
  }
  absl::StrAppendFormat(&text, "%.1f %% of %d parameters on the fast path\n",
                        100.0 * covered_share(), num_parameters());
  return text;
}

}  // namespace influence
