// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/rank_chunks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/from_blob.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/broadcast.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "calculators/folder_writer.h"
#include "calculators/zarr_store_writer.h"

namespace influence {
namespace {

constexpr int kFirst = 0;

}  // namespace

absl::Status ComputeInTurns(
    Communicator& communicator, const std::vector<int64_t>& indices,
    absl::FunctionRef<absl::StatusOr<at::Tensor>(int64_t index)> compute,
    absl::FunctionRef<absl::Status(int64_t index, const at::Tensor& chunk)>
        deliver) {
  const auto ranks = static_cast<size_t>(communicator.size());
  const auto rank = static_cast<size_t>(communicator.rank());
  for (size_t begin = 0; begin < indices.size(); begin += ranks) {
    const size_t end = std::min(begin + ranks, indices.size());
    at::Tensor mine;
    if (begin + rank < end) {
      INFLUENCE_ASSIGN_OR_RETURN(mine, compute(indices[begin + rank]));
    }
    for (size_t i = begin; i < end; ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(
          const at::Tensor chunk,
          BroadcastTensor(communicator, mine, static_cast<int>(i - begin)));
      INFLUENCE_RETURN_IF_ERROR(deliver(indices[i], chunk));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> WantedOnFirstRank(
    Communicator& communicator, int64_t count,
    absl::FunctionRef<bool(int64_t index)> wants) {
  std::vector<int64_t> flags(count, 0);
  if (communicator.rank() == kFirst) {
    for (int64_t i = 0; i < count; ++i) flags[i] = wants(i) ? 1 : 0;
  }
  INFLUENCE_RETURN_IF_ERROR(CatchTorch("chunks", [&] {
    return communicator.Broadcast(
        at::from_blob(flags.data(), {count}, at::kLong), kFirst);
  }));
  std::vector<int64_t> wanted;
  for (int64_t i = 0; i < count; ++i) {
    if (flags[i] != 0) wanted.push_back(i);
  }
  return wanted;
}

absl::StatusOr<std::unique_ptr<ZarrStoreWriter>> CreateSharedStore(
    Communicator& communicator, const std::string& path, bool overwrite) {
  FolderWriterOptions options;
  options.overwrite = overwrite;
  absl::Status free;
  if (communicator.rank() == kFirst) {
    // As a process of its own, which sees whether the place is free and leaves
    // it so.
    if (overwrite) options.unfinished = UnfinishedRun::kDiscard;
    free = ZarrStoreWriter::Create(path, options).status();
  }
  INFLUENCE_RETURN_IF_ERROR(BroadcastStatus(communicator, free, kFirst));
  options.unfinished = UnfinishedRun::kContinue;
  options.shared = true;
  return ZarrStoreWriter::Create(path, options);
}

absl::Status CommitSharedStore(Communicator& communicator,
                               ZarrStoreWriter& store) {
  INFLUENCE_RETURN_IF_ERROR(communicator.Barrier());
  absl::Status committed;
  if (communicator.rank() == kFirst) committed = store.Commit();
  return BroadcastStatus(communicator, committed, kFirst);
}

}  // namespace influence
