// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The store that a command makes: opened as the options say, kept if it is
// worth it, taken along by an interruption if it is not.
#ifndef INFLUENCE_CLI_OUTPUT_STORE_H_
#define INFLUENCE_CLI_OUTPUT_STORE_H_

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/interruption.h"
#include "cli/options.h"

namespace influence {

// Thread-safe. One at a time in a process.
class OutputStore {
 public:
  // Takes possession of the place: of several processes one, or all that have
  // asked for a shard. What an unfinished run has left is gone on with
  // (options.resume, options.shard), removed (options.overwrite, or nothing in
  // it that took time), or kAlreadyExists. `marker` as of ZarrStoreWriter.
  // Errors of a path that cannot be written to or already has something.
  // Messages begin with the path. The ranks of a job share the store, and all
  // call this together.
  static absl::StatusOr<std::unique_ptr<OutputStore>> Open(
      const OutputOptions& options,
      absl::string_view marker = kZarrMetadataFile);

  ZarrStoreWriter& writer() { return *writer_; }
  const ZarrStoreWriter& writer() const { return *writer_; }

  // From here on what an unfinished run leaves is left where it is.
  void Keep();

  // `status` as it is, or, if it is an error after which --resume can go on,
  // with a remark that it can.
  absl::Status Explain(const absl::Status& status) const;

 private:
  explicit OutputStore(const OutputOptions& options) : options_(options) {}

  absl::Status Open(absl::string_view marker);

  // As the only process that writes the store, or as one of several.
  absl::Status OpenAs(absl::string_view marker, bool shared);

  const OutputOptions options_;
  std::unique_ptr<InterruptibleFile> guard_;  // Outlives the writer's clean-up.
  std::unique_ptr<ZarrStoreWriter> writer_;   // Never null.
  std::atomic<bool> kept_ = false;
};

// What a writer says of an output that exists, in the words of this tool.
absl::Status InWordsOfOptions(const OutputOptions& options,
                              const absl::Status& status);

}  // namespace influence

#endif  // INFLUENCE_CLI_OUTPUT_STORE_H_
