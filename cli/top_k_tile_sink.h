// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Keeps the K strongest scores of each query of the tiles that pass, and writes
// those of a group of queries when the last of its tiles has come. What is
// there already is left out, group by group.
#ifndef INFLUENCE_CLI_TOP_K_TILE_SINK_H_
#define INFLUENCE_CLI_TOP_K_TILE_SINK_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "base/communicator.h"
#include "calculators/top_k.h"
#include "cli/result_output.h"
#include "cli/score_tiles.h"
#include "influence/prepared_queries.h"

namespace influence {

// The arrays of a store that keeps the k strongest of num_queries queries, in
// groups of group_size (score_file.h).
std::vector<ResultArray> TopKArrays(int64_t num_queries, int64_t k,
                                    int64_t group_size);

// Thread-safe. All tiles of a group come to one sink, or to those of the ranks
// of a job, which merge what they have kept when the group is over.
class TopKTileSink : public ScoreTileSink {
 public:
  // Borrows `output`, which has the arrays TopKArrays() and must outlive this
  // object. Tiles are [group_size, batch_size], of num_columns in a row; every
  // value is multiplied by `scale`, which is > 0.
  // shares_groups: the ranks of a job have a sink each, and the first of them
  // writes.
  TopKTileSink(ResultOutput* output, const TopKOptions& options,
               int64_t group_size, int64_t batch_size, int64_t num_columns,
               double scale, bool shares_groups = false);

  bool Wants(int64_t group, int64_t column) const override;
  absl::Status Prepared(int64_t group,
                        const std::vector<BlockSolveReports>& reports) override;
  absl::Status Add(size_t array, int64_t group, int64_t column,
                   const at::Tensor& tile) override;
  absl::Status FinishSharedGroup(int64_t group, Communicator& job) override;

 private:
  // A group of which some tiles have come.
  struct Group {
    explicit Group(TopK empty) : top(std::move(empty)) {}

    std::mutex mutex;  // Guards what follows.
    TopK top;
    int64_t num_tiles = 0;
  };

  absl::Status Write(int64_t group, const TopKScores& top);

  ResultOutput* const output_;  // Borrowed, never null.
  const TopKOptions options_;
  const int64_t group_size_;
  const int64_t batch_size_;
  const int64_t num_columns_;
  const double scale_;
  const bool shares_groups_;

  mutable std::mutex mutex_;  // Guards what follows.
  std::map<int64_t, std::shared_ptr<Group>> groups_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_TOP_K_TILE_SINK_H_
