// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Where a command's arrays go: a Zarr store or a .npy file, by the ending of
// --out. Either appears when it is whole and replaces an older one in one step.
// A file disappears if the process is interrupted or fails; a store keeps the
// tiles that are done, and another run can go on with it.
#ifndef INFLUENCE_CLI_RESULT_OUTPUT_H_
#define INFLUENCE_CLI_RESULT_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/interruption.h"
#include "cli/options.h"
#include "cli/output_store.h"
#include "cli/resume_guard.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"

namespace influence {

struct ResultArray {
  std::string name;            // "" for the only array of a result.
  std::vector<int64_t> shape;  // One dimension or more.

  // What is written at a time, from the first entry on; as many as of shape.
  std::vector<int64_t> tile;

  std::optional<at::ScalarType> dtype = std::nullopt;  // If not the result's.
};

// Open(), Begin(), Write() for each tile, Commit(). Not thread-safe but for
// HasTile(), Write() and KeepSolves(), which may be called concurrently after
// Begin().
class ResultOutput {
 public:
  // Takes possession of the place of a store, see OutputStore, or looks whether
  // a file can be written. Messages begin with the path.
  static absl::StatusOr<std::unique_ptr<ResultOutput>> Open(
      const OutputOptions& options);

  // The store is complete, of an earlier run or of other shards: there is
  // nothing to do but to see, by CheckFinished(), that it is the one meant.
  bool finished() const {
    return store_ != nullptr && store_->writer().finished();
  }

  // The attributes of a store that is finished(), which comes from such a run;
  // errors of CheckSameRun().
  absl::StatusOr<ZarrAttributes> CheckFinished(const RunItems& run) const;

  // AgreeOnPlan() for a store, `make_plan` for a file.
  absl::StatusOr<nlohmann::ordered_json> Plan(
      const RunItems& run,
      absl::FunctionRef<absl::StatusOr<nlohmann::ordered_json>()> make_plan);

  // One array called "" for a .npy file. kFailedPrecondition if an unfinished
  // run has begun other arrays.
  absl::Status Begin(at::ScalarType dtype, std::vector<ResultArray> arrays);

  // The tile of array number `array` that begins at `begin` is there. Always
  // false for a file.
  bool HasTile(size_t array, absl::Span<const int64_t> begin) const;

  // Writes `scale` times `values` at `begin` of array number `array`; a tile,
  // or what is left of one at the array's end. kInvalidArgument as of
  // CheckValues(). From the first tile of a store on
  // an unfinished run leaves what it has done.
  absl::Status Write(size_t array, absl::Span<const int64_t> begin,
                     const at::Tensor& values, double scale = 1);

  // `values` belong to the queries (or samples) from `row` on, one a row.
  // kInvalidArgument, naming the entry, if one of them is not finite; but rows
  // of nothing but NaN are those of queries that KeepSolves() has said to have
  // no answer.
  absl::Status CheckValues(int64_t row, const at::Tensor& values) const;

  // Keeps how the queries (or samples) of part `part` were solved for, beside
  // the unfinished store, so that who goes on with it knows. Before the part's
  // tiles are written.
  absl::Status KeepSolves(int64_t part,
                          const std::vector<BlockSolveReports>& reports);

  // Those of parts 0 to `num_parts` - 1, in this order; empty if none was kept.
  absl::StatusOr<std::vector<BlockSolveReports>> Solves(
      int64_t num_parts) const;

  // The store; null for a file.
  OutputStore* store() { return store_.get(); }

  // No tile is missing. Always so for a file.
  bool IsWhole() const {
    return store_ == nullptr || store_->writer().IsWhole();
  }

  // Lets the output appear. A .npy file has no place for `attributes`.
  absl::Status Commit(const ZarrAttributes& attributes);

  // `status` as it is, or, if it is an error after which --resume can go on,
  // with a remark that it can.
  absl::Status Explain(const absl::Status& status) const;

  // The error `status` as it is if it names the output, as the disk's errors
  // do, else with `source` in front of it.
  absl::Status NameSource(const absl::Status& status,
                          absl::string_view source) const;

 private:
  explicit ResultOutput(const OutputOptions& options) : options_(options) {}

  OutputOptions options_;
  std::unique_ptr<InterruptibleFile> guard_;  // Outlives the file's clean-up.
  std::unique_ptr<NpyWriter> npy_;            // One of these two, in the end.
  std::unique_ptr<OutputStore> store_;
  std::vector<ResultArray> arrays_;
  std::vector<ZarrArrayWriter*> writers_;  // Of store_, by array.

  mutable std::mutex mutex_;  // Guards what follows.
  std::map<int64_t, std::vector<BlockSolveReports>> solves_;  // By part.
};

// kAlreadyExists if options.out is one of `inputs`, or lies in one that is a
// folder, or contains one: overwriting it would take the input away.
absl::Status RefuseToOverwriteInputs(const OutputOptions& options,
                                     const std::vector<std::string>& inputs);

// Is `path` to be a Zarr store, not a .npy file?
bool IsZarrPath(absl::string_view path);

}  // namespace influence

#endif  // INFLUENCE_CLI_RESULT_OUTPUT_H_
