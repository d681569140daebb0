// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// `influence top`: the most helpful and harmful training samples of each query.
#ifndef INFLUENCE_CLI_TOP_COMMAND_H_
#define INFLUENCE_CLI_TOP_COMMAND_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calculators/top_k.h"
#include "cli/console.h"
#include "cli/options.h"
#include "cli/score_file.h"

namespace influence {

// Reads the store chunk by chunk and prints a table or, with --json,
// {"queries":[{"query":i,"helpful":[{"train":j,"score":s},...],"harmful":
// [...]},...]}, strongest first. Nothing is printed unless all of it was read.
absl::Status RunTop(const TopOptions& options, Console& console);

// The value of --k, checked, or, if it is not given, `fallback` or as many as
// there are. A usage error above N, or above the K of a store that keeps K.
absl::StatusOr<int64_t> ChooseK(const ScoreFile& scores,
                                std::optional<int64_t> requested,
                                int64_t fallback);

// What the numbers of the store mean: "positive: ...". Of an unknown store,
// what its sign says.
std::string SignMeaning(const ScoreFile& scores);

// Both end in a newline.
std::string TopTable(const ScoreFile& scores, const TopKScores& top);
std::string TopJson(const TopKScores& top);

}  // namespace influence

#endif  // INFLUENCE_CLI_TOP_COMMAND_H_
