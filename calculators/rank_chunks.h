// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the lazy sequences (lazy_chunk_sequence.h) do where the ranks of a job
// compute their chunks: in turns, for results that every rank is to have, or
// into one store.
#ifndef INFLUENCE_CALCULATORS_RANK_CHUNKS_H_
#define INFLUENCE_CALCULATORS_RANK_CHUNKS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "calculators/tile_workers.h"
#include "calculators/zarr_store_writer.h"

namespace influence {

// Who computes the chunks of a sequence.
struct RankOptions {
  std::shared_ptr<Communicator> communicator = nullptr;  // Not null in use.

  // To compute a chunk, or to open a row of tiles, is collective: every rank
  // does so for each of them, in their order.
  bool together = false;

  // Of each rank, where chunks go to a store and are not computed together.
  WorkerOptions workers = {.num_workers = 1};
};

// Those of `indices` in turns, one a rank at a time; every rank delivers all of
// them, in their order. Collective, with the same indices on all ranks. A chunk
// is float32, float64 or int64.
absl::Status ComputeInTurns(
    Communicator& communicator, const std::vector<int64_t>& indices,
    absl::FunctionRef<absl::StatusOr<at::Tensor>(int64_t index)> compute,
    absl::FunctionRef<absl::Status(int64_t index, const at::Tensor& chunk)>
        deliver);

// Which of `count` things the first rank wants. Collective; `wants` is asked
// there alone.
absl::StatusOr<std::vector<int64_t>> WantedOnFirstRank(
    Communicator& communicator, int64_t count,
    absl::FunctionRef<bool(int64_t index)> wants);

// A store that all ranks write. Collective: where the place is not free, each
// of them has the error.
absl::StatusOr<std::unique_ptr<ZarrStoreWriter>> CreateSharedStore(
    Communicator& communicator, const std::string& path, bool overwrite);

// Commits it when all ranks have done their part. Collective; returns when the
// store is there.
absl::Status CommitSharedStore(Communicator& communicator,
                               ZarrStoreWriter& store);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_RANK_CHUNKS_H_
