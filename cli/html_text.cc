// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/html_text.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace influence {

std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"},
                                    {"<", "&lt;"},
                                    {">", "&gt;"},
                                    {"\"", "&quot;"},
                                    {"'", "&#39;"}});
}

std::string PercentText(double share, int decimals) {
  return absl::StrFormat("%.*f\u00a0%%", decimals, 100 * share);
}

std::string SignedText(double value, int decimals) {
  std::string zero = absl::StrFormat("%.*f", decimals, 0.0);
  const std::string size = absl::StrFormat("%.*f", decimals, std::abs(value));
  if (size == zero) return zero;
  return absl::StrCat(value < 0 ? "\u2212" : "+", size);
}

std::string CountText(int64_t count) {
  std::string text = absl::StrCat(count);
  for (size_t end = text.size(); end > 3; end -= 3) {
    text.insert(end - 3, 1, ',');
  }
  return text;
}

}  // namespace influence
