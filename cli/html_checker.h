// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Whether a page is well-formed and loads nothing from anywhere. Stricter than
// HTML: every element but the void ones is closed, attributes are quoted, and
// an & starts a character reference.
#ifndef INFLUENCE_CLI_HTML_CHECKER_H_
#define INFLUENCE_CLI_HTML_CHECKER_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

struct HtmlSummary {
  std::map<std::string, int> elements;  // Number of each, by name.
  int num_images = 0;  // <img> with a PNG data URI and a text alternative.
};

// kInvalidArgument, with the line, on: elements that are not closed, or not in
// order; an attribute without quotes or given twice; a lone & or <; an id that
// occurs twice; a reference (href="#...", for, aria-labelledby,
// aria-describedby) to none; an <img> without alt; anything that a browser
// would load, which is every src, srcset, poster or data that is no data URI,
// <script>, <link>, <iframe>, <object>, <embed>, <base>, url( and @import. A
// link a reader may follow, <a href="https://...">, loads nothing.
absl::StatusOr<HtmlSummary> CheckHtml(absl::string_view html);

}  // namespace influence

#endif  // INFLUENCE_CLI_HTML_CHECKER_H_
