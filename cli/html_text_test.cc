// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/html_text.h"

#include "gtest/gtest.h"

namespace influence {
namespace {

TEST(EscapeHtmlTest, ReplacesWhatMeansSomething) {
  EXPECT_EQ(EscapeHtml("a < b & \"c\" > 'd'"),
            "a &lt; b &amp; &quot;c&quot; &gt; &#39;d&#39;");
  EXPECT_EQ(EscapeHtml("&lt;"), "&amp;lt;");
  EXPECT_EQ(EscapeHtml(""), "");
  EXPECT_EQ(EscapeHtml("\u00e9 \u2212"), "\u00e9 \u2212");
}

TEST(PercentTextTest, Rounds) {
  EXPECT_EQ(PercentText(0.9333), "93.3\u00a0%");
  EXPECT_EQ(PercentText(1, 0), "100\u00a0%");
}

TEST(SignedTextTest, HasASignUnlessItRoundsToZero) {
  EXPECT_EQ(SignedText(0.0914), "+0.091");
  EXPECT_EQ(SignedText(-0.0914), "\u22120.091");
  EXPECT_EQ(SignedText(0.0001), "0.000");
  EXPECT_EQ(SignedText(-0.0001), "0.000");
  EXPECT_EQ(SignedText(-0.0), "0.000");
  EXPECT_EQ(SignedText(-12.5, 1), "\u221212.5");
}

TEST(CountTextTest, GroupsThousands) {
  EXPECT_EQ(CountText(0), "0");
  EXPECT_EQ(CountText(999), "999");
  EXPECT_EQ(CountText(1797), "1,797");
  EXPECT_EQ(CountText(1234567), "1,234,567");
}

}  // namespace
}  // namespace influence
