// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The factors of queries as `influence factors` wrote them, with what they say
// of where they come from.
#ifndef INFLUENCE_CLI_FACTOR_FILE_H_
#define INFLUENCE_CLI_FACTOR_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/zarr_array.h"
#include "cli/fitted_source.h"
#include "cli/score_tiles.h"
#include "influence/prepared_queries.h"

namespace influence {

// Immutable; copies are cheap.
class FactorFile {
 public:
  // A Zarr array. kInvalidArgument, naming the path, if it is not one of
  // factors; errors of ZarrArray::Open().
  static absl::StatusOr<FactorFile> Open(const std::string& path);

  int64_t num_queries() const { return array_.shape()[0]; }  // M

  // "loss", "margin" or "logit": what was differentiated.
  const std::string& query_function() const { return query_function_; }

  // Of the query data.
  const std::string& test_fingerprint() const { return test_fingerprint_; }

  // How the queries were solved for, by block.
  const std::vector<BlockSolveReports>& solves() const { return solves_; }

  // kFailedPrecondition unless the factors were made from this fit.
  absl::Status CheckBelongsTo(const OpenedMethod& fitted) const;

  // Rows [begin, end). kDataLoss, naming the chunk, if one is damaged.
  ReadRowsFunction reader() const;

 private:
  FactorFile(std::string path, ZarrArray array)
      : path_(std::move(path)), array_(std::move(array)) {}

  std::string path_;
  ZarrArray array_;
  std::string query_function_;
  std::string test_fingerprint_;
  std::string fitted_fingerprint_;
  std::vector<BlockSolveReports> solves_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_FACTOR_FILE_H_
