// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Scores as `influence scores` stored them, all of them or the K strongest of
// each query, with what the store says of them.
//
//   INFLUENCE_ASSIGN_OR_RETURN(const ScoreFile scores,
//                              ScoreFile::Open("scores.zarr"));
//   INFLUENCE_ASSIGN_OR_RETURN(const TopKScores top, scores.Top(10, m));
#ifndef INFLUENCE_CLI_SCORE_FILE_H_
#define INFLUENCE_CLI_SCORE_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "calculators/top_k.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"

namespace influence {

// The arrays of a store that keeps the K strongest only, each [M, K], in the
// order of TopKScores.
inline constexpr const char* kTopKArrays[] = {
    "helpful_indices", "helpful_scores", "harmful_indices", "harmful_scores"};

// Immutable and thread-safe; copies are cheap.
class ScoreFile {
 public:
  // A Zarr store. kInvalidArgument, naming the path, if it is none of scores in
  // mode `up`, summed over the blocks; kDataLoss if it does not say what is
  // needed to read it, or its arrays contradict that; errors of
  // ZarrArray::Open(), which name a store that is not finished.
  static absl::StatusOr<ScoreFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  int64_t num_queries() const { return num_queries_; }  // M
  int64_t num_train() const { return num_train_; }      // N

  // How many of a query can be asked for: N, or the K of a store that keeps K.
  int64_t largest_k() const { return largest_k_; }
  bool keeps_all() const { return all_.has_value(); }

  // A positive score: the training sample helps.
  bool positive_helps() const { return positive_helps_; }

  // All that the store says, and a text of it, empty where there is none.
  const ZarrAttributes& attributes() const { return attributes_; }
  std::string Text(const std::string& attribute) const;
  std::string Fingerprint(const std::string& role) const;

  // The k strongest of queries [0, num_queries), 1 <= k <= largest_k(); of a
  // query without an answer kNoSample and NaN. Reads
  // chunk by chunk: memory is a chunk and the result. kDataLoss, naming the
  // file, if a chunk is missing or damaged or holds what no score is.
  // `progress` (may be null): a step a chunk.
  absl::StatusOr<TopKScores> Top(int64_t k, int64_t num_queries,
                                 ProgressReporter* progress = nullptr) const;

  // Calls `function` with all scores that are kept of queries [0, num_queries),
  // as tiles [m, n] of the queries from `row` on, each score once; NaN for
  // queries without an answer. Memory and
  // errors as Top()'s, or the first error of `function`.
  using TileFunction =
      absl::FunctionRef<absl::Status(int64_t row, const at::Tensor& scores)>;
  absl::Status ForEachTile(int64_t num_queries, TileFunction function,
                           ProgressReporter* progress = nullptr) const;

 private:
  ScoreFile(std::string path, ZarrAttributes attributes)
      : path_(std::move(path)), attributes_(std::move(attributes)) {}

  absl::Status ReadAttributes();
  absl::Status OpenTopK(const ZarrGroup& group);
  absl::StatusOr<TopKScores> ReadTopK(int64_t num_queries) const;

  // Tiles with the number of their first column.
  absl::Status ForEachChunk(
      int64_t num_queries,
      absl::FunctionRef<absl::Status(int64_t row, int64_t column,
                                     const at::Tensor& scores)>
          function,
      ProgressReporter* progress) const;

  std::string path_;
  ZarrAttributes attributes_;
  std::optional<ZarrArray> all_;
  std::vector<ZarrArray> top_;  // As kTopKArrays; empty with all_.
  int64_t num_queries_ = 0;
  int64_t num_train_ = 0;
  int64_t largest_k_ = 0;
  bool positive_helps_ = true;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_SCORE_FILE_H_
