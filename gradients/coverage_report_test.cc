// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/coverage_report.h"

#include <string>

#include "gtest/gtest.h"

namespace influence {
namespace {

CoverageReport Example() {
  return CoverageReport{
      {{"fc.weight", {3, 5}, "linear", "", true},
       {"slope", {5}, "autograd", "no rule for aten::prelu", false}},
      ""};
}

TEST(CoverageReportTest, CountsScalars) {
  EXPECT_EQ(Example().num_parameters(), 20);
  EXPECT_DOUBLE_EQ(Example().covered_share(), 0.75);
}

TEST(CoverageReportTest, NothingToCoverIsCovered) {
  EXPECT_DOUBLE_EQ(CoverageReport{}.covered_share(), 1);
}

TEST(CoverageReportTest, PrintsALineAParameterAndTheShare) {
  EXPECT_EQ(Example().ToString(),
            "parameter  shape  rule\n"
            "fc.weight  3 x 5  linear\n"
            "slope      5      autograd  (no rule for aten::prelu)\n"
            "75.0 % of 20 parameters on the fast path\n");
}

TEST(CoverageReportTest, SaysWhySamplesGoOneByOne) {
  CoverageReport report = Example();
  report.one_by_one = "aten::index";
  EXPECT_DOUBLE_EQ(report.covered_share(), 0);
  EXPECT_NE(
      report.ToString().find("sample by sample: not known to keep samples "
                             "apart: aten::index\n0.0 % of"),
      std::string::npos);
}

}  // namespace
}  // namespace influence
