// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/html_checker.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(CheckHtmlTest, AcceptsAPage) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const HtmlSummary summary, CheckHtml(R"html(
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><style>a > b { color: red }</style>
</head><body><!-- a < b -->
<h1 id="top">1 &lt; 2 &amp; &#39;3&#39;</h1><br>
<img alt="one" src="data:image/png;base64,AA=="/>
<input type="checkbox" id="box" checked/><label for="box">Box</label>
<svg viewBox="0 0 1 1"><path d="M0 0h0"/></svg>
<a href="#top">Top</a> <a href="https://example.org/">Elsewhere</a>
</body></html>
)html"));
  EXPECT_EQ(summary.num_images, 1);
  EXPECT_EQ(summary.elements.at("a"), 2);
}

struct BadPage {
  const char* html;
  const char* message;
};

class CheckHtmlRefusesTest : public ::testing::TestWithParam<BadPage> {};

TEST_P(CheckHtmlRefusesTest, WithTheReason) {
  EXPECT_THAT(
      CheckHtml(absl::StrCat("<p>first line</p>\n", GetParam().html)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("line 2"), HasSubstr(GetParam().message))));
}

INSTANTIATE_TEST_SUITE_P(
    Pages, CheckHtmlRefusesTest,
    ::testing::Values(
        BadPage{"<p>", "no end of <p>"},
        BadPage{"<b><i></b></i>", "found </b>, expected </i>"},
        BadPage{"</p>", "expected none"},
        BadPage{"<p class=x></p>", "class without quotes"},
        BadPage{"<p class=\"a\" class=\"b\"></p>", "class twice"},
        BadPage{"a & b", "lone &"},
        BadPage{"<p title=\"a & b\"></p>", "lone &"},
        BadPage{"1 < 2", "lone <"},
        BadPage{"<p id=\"a\"></p><p id=\"a\"></p>", "id a twice"},
        BadPage{"<a href=\"#none\"></a>", "reference to #none"},
        BadPage{"<label for=\"none\"></label>", "reference to #none"},
        BadPage{"<img src=\"data:image/png;base64,AA==\"/>", "without alt"},
        BadPage{"<img alt=\"x\"/>", "without a PNG"},
        BadPage{"<img alt=\"x\" src=\"https://example.org/a.png\"/>",
                "expected a data URI"},
        BadPage{"<img alt=\"x\" src=\"a.png\"/>", "expected a data URI"},
        BadPage{"<a href=\"http://example.org/\"></a>", "expected #..."},
        BadPage{"<script>1</script>", "<script>"},
        BadPage{"<link rel=\"stylesheet\"/>", "<link>"},
        BadPage{"<p onclick=\"x()\"></p>", "onclick"},
        BadPage{"<p style=\"background: url(a.png)\"></p>", "url("},
        BadPage{"<style>@import \"a.css\";</style>", "@import"},
        BadPage{"<p", "no end of <p"}, BadPage{"<!-- open", "no end of <!--"}));

}  // namespace
}  // namespace influence
