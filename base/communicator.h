// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What processes that work on one task say to each other: sums of statistics,
// results that one of them has computed, and a counter that hands out work.
// Code above is the same for one process and for many:
//
//   // Every rank has summed its part of the samples.
//   INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(sum));
//   // Now every rank has the sum over all.
//
// SingleProcess() is the one without others; ThreadTeam (thread_team.h) has
// threads for ranks; MpiCommunicator (calculators/mpi_communicator.h) is for
// processes on one machine or many.
#ifndef INFLUENCE_BASE_COMMUNICATOR_H_
#define INFLUENCE_BASE_COMMUNICATOR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace influence {

// A number that all ranks share. Thread-safe.
class SharedCounter {
 public:
  virtual ~SharedCounter() = default;

  // Adds `amount` and returns what the number was before, 0 at first. Needs no
  // other rank to take part.
  virtual absl::StatusOr<int64_t> FetchAdd(int64_t amount) = 0;
};

// A rank's end of the line. The members below RanksOnMachine() are collective:
// every rank calls them, the same ones in the same order, from one thread, and
// waits for the others. A rank that cannot go on must not just return: the
// others would wait for ever; see Abort().
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;  // In [0, size()).
  virtual int size() const = 0;  // >= 1

  // The ranks on this rank's machine, itself among them, ascending. Not
  // collective either.
  virtual std::vector<int> RanksOnMachine() const = 0;

  // Replaces `values` by its sum over the ranks, entry by entry, added in an
  // order that depends on the number of ranks only. The same shape and dtype on
  // every rank: float32, float64 or int64, contiguous, on the CPU;
  // kInvalidArgument else.
  virtual absl::Status AllReduceSum(const at::Tensor& values) = 0;

  // Replaces `values` by those of rank `root`. As AllReduceSum().
  virtual absl::Status Broadcast(const at::Tensor& values, int root) = 0;

  // The text that rank `root` has passed.
  virtual absl::StatusOr<std::string> BroadcastText(const std::string& text,
                                                    int root) = 0;

  // Returns when every rank has called it.
  virtual absl::Status Barrier() = 0;

  // A new counter at 0, which the communicator must outlive.
  virtual absl::StatusOr<std::unique_ptr<SharedCounter>> CreateCounter() = 0;

  // Not collective: ends all ranks, wherever they are, after this one has
  // failed. Where ranks are processes they end with `exit_code`, and this does
  // not return; where they are threads, what they wait for fails with kAborted.
  virtual void Abort(int exit_code) = 0;
};

// The only rank of its kind; nothing fails but for bad tensors. Abort() ends
// the process.
std::unique_ptr<Communicator> SingleProcess();

// Consecutive things [begin, end) of a number of things that ranks share.
struct RankShare {
  int64_t begin, end;
};

// Those of `count` >= 0 things that are this rank's: the ranks' shares follow
// each other and differ by one at most. All where `communicator` is null.
RankShare ShareOf(int64_t count, const Communicator* communicator);

// kInvalidArgument, saying what was found, unless `values` are as
// Communicator::AllReduceSum() wants them. For implementations.
absl::Status ValidateMessage(const at::Tensor& values);

}  // namespace influence

#endif  // INFLUENCE_BASE_COMMUNICATOR_H_
