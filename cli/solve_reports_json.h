// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How queries were solved for, as it is kept with a result:
//
//   {"<block>": {"outcomes": ["converged", ...], "iterations": [12, ...],
//                "relative_residuals": [3e-6, ...]}, ...}, an entry a query
#ifndef INFLUENCE_CLI_SOLVE_REPORTS_JSON_H_
#define INFLUENCE_CLI_SOLVE_REPORTS_JSON_H_

#include <cstdint>
#include <vector>

#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"

namespace influence {

// Numbers are kept to the last bit; one that is not finite becomes null, and
// remarks are left out.
nlohmann::ordered_json SolveReportsJson(
    const std::vector<BlockSolveReports>& reports);

// The reverse, null becoming not-a-number. Of a damaged one, what can be read.
std::vector<BlockSolveReports> ParseSolveReports(
    const nlohmann::ordered_json& json);

// The numbers, rising, of the queries that have no answer in some block.
std::vector<int64_t> QueriesWithoutAnswer(
    const std::vector<BlockSolveReports>& reports);

// Appends the reports of further queries, block by block.
void AppendReports(const std::vector<BlockSolveReports>& more,
                   std::vector<BlockSolveReports>& reports);

}  // namespace influence

#endif  // INFLUENCE_CLI_SOLVE_REPORTS_JSON_H_
