// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Which layer rule serves each parameter, and what share of the model is on the
// fast path.
#ifndef INFLUENCE_GRADIENTS_COVERAGE_REPORT_H_
#define INFLUENCE_GRADIENTS_COVERAGE_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

namespace influence {

struct ParameterCoverage {
  std::string name;
  std::vector<int64_t> shape;
  // The rules of the parameter's uses, "linear" or "embedding+linear";
  // "autograd" if it is not covered, "unused" if the model never uses it.
  std::string rule;
  // Why it is not covered: the operator no rule knows, or what the self-check
  // found. Empty for a covered parameter.
  std::string reason;
  bool covered;  // Its gradients are kept in factors (true for "unused").
};

struct CoverageReport {
  std::vector<ParameterCoverage> parameters;  // In the model's order.

  // Why samples go through the model one by one: the operator that is not known
  // to keep them apart. Empty where a batch goes through as a whole.
  std::string one_by_one;

  int64_t num_parameters() const;  // P

  // The share of the P scalars on the fast path, in [0, 1]; 0 if one_by_one.
  double covered_share() const;

  // A table of text, one line a parameter, with a closing line on the share.
  std::string ToString() const;
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_COVERAGE_REPORT_H_
