// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Text and numbers as they stand in a page.
#ifndef INFLUENCE_CLI_HTML_TEXT_H_
#define INFLUENCE_CLI_HTML_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace influence {

// `text` with & < > " ' replaced by references: safe between tags and within a
// quoted attribute.
std::string EscapeHtml(absl::string_view text);

// "93.3 %" for 0.933, with a no-break space.
std::string PercentText(double share, int decimals = 1);

// "+0.091", "−0.091" with a true minus sign, "0.000"; `decimals` from 0 to 12.
std::string SignedText(double value, int decimals = 3);

// "1,797"; `count` >= 0.
std::string CountText(int64_t count);

}  // namespace influence

#endif  // INFLUENCE_CLI_HTML_TEXT_H_
