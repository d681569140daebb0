// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Where a command's arrays go: a Zarr store or a .npy file, by the ending of
// --out. Either appears when it is whole, replaces an older one in one step and
// disappears if the process is interrupted.
#ifndef INFLUENCE_CLI_RESULT_OUTPUT_H_
#define INFLUENCE_CLI_RESULT_OUTPUT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/interruption.h"
#include "cli/options.h"

namespace influence {

struct ResultArray {
  std::string name;            // "" for the only array of a result.
  std::vector<int64_t> shape;  // One dimension or more.

  // What is written at a time, from the first entry on; as many as of shape.
  std::vector<int64_t> tile;
};

// Not thread-safe.
class ResultOutput {
 public:
  // The first error of Create() that can be told without knowing the arrays: a
  // path that cannot be written to or already has something.
  static absl::Status Check(const OutputOptions& options);

  // Messages begin with the path. One array called "" for a .npy file.
  static absl::StatusOr<std::unique_ptr<ResultOutput>> Create(
      const OutputOptions& options, at::ScalarType dtype,
      const std::vector<ResultArray>& arrays);

  // Writes `scale` times `values` at `begin` of array number `array`; a tile,
  // or what is left of one at the array's end. kInvalidArgument, naming the
  // entry, if one of `values` is not finite.
  absl::Status Write(size_t array, absl::Span<const int64_t> begin,
                     const at::Tensor& values, double scale = 1);

  // Lets the output appear. A .npy file has no place for `attributes`.
  absl::Status Commit(const ZarrAttributes& attributes);

  bool is_zarr() const { return store_ != nullptr; }

 private:
  ResultOutput() = default;

  OutputOptions options_;
  std::unique_ptr<InterruptibleFile> guard_;  // Outlives the writers' clean-up.
  std::unique_ptr<NpyWriter> npy_;            // One of these two.
  std::unique_ptr<ZarrStoreWriter> store_;
  std::vector<ZarrArrayWriter*> arrays_;  // Of store_.
  at::ScalarType dtype_ = at::kFloat;
};

// kAlreadyExists if options.out is one of `inputs`, or lies in one that is a
// folder, or contains one: overwriting it would take the input away.
absl::Status RefuseToOverwriteInputs(const OutputOptions& options,
                                     const std::vector<std::string>& inputs);

// Is `path` to be a Zarr store, not a .npy file?
bool IsZarrPath(absl::string_view path);

}  // namespace influence

#endif  // INFLUENCE_CLI_RESULT_OUTPUT_H_
