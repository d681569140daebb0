// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Puts tiles of scores into the arrays of an output, and leaves out what is
// there already.
#ifndef INFLUENCE_CLI_RESULT_TILE_SINK_H_
#define INFLUENCE_CLI_RESULT_TILE_SINK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "cli/result_output.h"
#include "cli/score_tiles.h"
#include "influence/prepared_queries.h"

namespace influence {

// As thread-safe as ResultOutput.
class ResultTileSink : public ScoreTileSink {
 public:
  // Borrows `output`, which has `num_arrays` arrays of tiles [group_size,
  // batch_size, ...] and must outlive this object. Every value is multiplied by
  // `scale`.
  ResultTileSink(ResultOutput* output, size_t num_arrays, int64_t group_size,
                 int64_t batch_size, double scale)
      : output_(output),
        num_arrays_(num_arrays),
        group_size_(group_size),
        batch_size_(batch_size),
        scale_(scale) {}

  bool Wants(int64_t group, int64_t column) const override;
  absl::Status Prepared(int64_t group,
                        const std::vector<BlockSolveReports>& reports) override;
  absl::Status Add(size_t array, int64_t group, int64_t column,
                   const at::Tensor& tile) override;

 private:
  ResultOutput* output_;  // Borrowed, never null.
  size_t num_arrays_;
  int64_t group_size_;
  int64_t batch_size_;
  double scale_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_RESULT_TILE_SINK_H_
