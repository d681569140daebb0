// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A fitted state (influence/fitted_state.h) as a folder: the arrays as a Zarr
// group, which other programs can read, and beside it `fitted.json`, which says
// what they are, what they were fitted to, and how to check them:
//
//   fitted/
//     fitted.json                  written last
//     zarr.json                    the group
//     fc1.weight/eigenvalues/...   an array for each of the state's
//     packed_float64/...           or one for many
//
//   fitted.json: {"format": "influence fitted state", "version": 2,
//                 "sha256": of all that follows,
//                 "method": ..., "options": {...}, "blocks": [...], ...,
//                 "arrays": [{"name", "dtype", "shape", "sha256",
//                             "packed_at"}, ...],
//                 "model": {"path", "sha256"}, "training_data": {...}, ...}
//
// Where more than 32 arrays have less than 4 MiB, these have no folders of
// their own, of which a model with many layers would have thousands: each is
// where "packed_at" says, row-major, in the array "packed_<dtype>" of one
// dimension.
//
// The folder appears whole or not at all (folder_writer.h).
#ifndef INFLUENCE_CALCULATORS_FITTED_STATE_FOLDER_H_
#define INFLUENCE_CALCULATORS_FITTED_STATE_FOLDER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/progress.h"
#include "calculators/zarr_store_writer.h"
#include "influence/fitted_state.h"

namespace influence {

// Of the folder's layout. Another version is refused by name.
inline constexpr int64_t kFittedStateVersion = 2;

// The file that makes a folder a fitted one.
inline constexpr absl::string_view kFittedStateFile = "fitted.json";

// What a state was fitted to and with. Fingerprints as in fingerprint.h.
struct FittedStateOrigin {
  std::string model_path;
  std::string model_fingerprint;
  std::string train_path;
  std::string train_fingerprint;
  std::string loss;                             // "cross_entropy"
  std::string query_function;                   // "loss", "margin", "logit"
  std::string dtype;                            // "float32", "float64"
  std::map<std::string, std::string> versions;  // {"LibTorch": "2.13.0", ...}
  std::map<std::string, std::string> extra;     // Whatever else to remember.
};

struct FittedStateOptions {
  bool overwrite = false;  // Replace a fitted folder, in one step at the end.
  int compression_level = 1;             // Of zstd.
  ProgressReporter* progress = nullptr;  // Borrowed; a step an array.

  // Adds to the folder's store what is not part of the state, and returns what
  // FittedStateOrigin::extra is to say of it. Empty for nothing.
  std::function<absl::StatusOr<std::map<std::string, std::string>>(
      ZarrStoreWriter& store)>
      add_more = nullptr;
};

// Writes `state` to the folder `path`. kAlreadyExists if there is something at
// `path`, or an unfinished run beside it, unless `overwrite` and it is a fitted
// folder; kInvalidArgument if an array is undefined, has no name of its own or
// another dtype than float32, float64 and int64; kResourceExhausted if the disk
// is full, kPermissionDenied and the like, naming the file. After an error the
// folder is as it was.
absl::Status SaveFittedState(const std::string& path, const FittedState& state,
                             const FittedStateOrigin& origin,
                             const FittedStateOptions& options = {});

// The same into `store`, which was opened with the marker kFittedStateFile and
// is committed; options.overwrite does not matter.
absl::Status SaveFittedState(ZarrStoreWriter& store, const FittedState& state,
                             const FittedStateOrigin& origin,
                             const FittedStateOptions& options = {});

struct LoadedFittedState {
  FittedState state;
  FittedStateOrigin origin;
};

// Reads what SaveFittedState() wrote, bit for bit. Each message begins with the
// folder or the file in it:
// - kNotFound: there is no such folder, or none with a fitted.json in it.
// - kFailedPrecondition: it is of another version of the format.
// - kDataLoss: a file is damaged or missing: fitted.json or an array's.
absl::StatusOr<LoadedFittedState> LoadFittedState(
    const std::string& path, ProgressReporter* progress = nullptr);

// The same without the arrays, which are neither read nor checked.
absl::StatusOr<LoadedFittedState> LoadFittedStateWithoutArrays(
    const std::string& path);

// kFailedPrecondition, naming the model's file, the folder and both
// fingerprints, if the state in `path` was not fitted to a model file with this
// fingerprint.
absl::Status CheckFittedModel(const std::string& path,
                              const FittedStateOrigin& origin,
                              const std::string& model_path,
                              const std::string& model_fingerprint);

// The same for the training data, for methods that read it again.
absl::Status CheckFittedData(const std::string& path,
                             const FittedStateOrigin& origin,
                             const std::string& train_path,
                             const std::string& train_fingerprint);

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_FITTED_STATE_FOLDER_H_
