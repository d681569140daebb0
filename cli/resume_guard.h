// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What a run must have in common with the one that it goes on with: a note
// beside the unfinished output (folder_writer.h) says what that one was made
// from and how it was cut.
//
//   .run/run.json: {"items": {"method": "cg", "options": {"rank": "10"},
//                             "fingerprints": {"train": "9b2e..."}, ...},
//                   "plan": {"batch_size": 1024, ...}}
#ifndef INFLUENCE_CLI_RESUME_GUARD_H_
#define INFLUENCE_CLI_RESUME_GUARD_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/zarr_store_writer.h"
#include "nlohmann/json.hpp"

namespace influence {

// What a run is made from and with.
struct RunItems {
  // By name: "kind" (the command), "fingerprints" and "options", which are
  // objects by role and by option, "method", "loss", "units" and what else the
  // attributes of a result hold. One that is not there counts as null.
  nlohmann::ordered_json items = nlohmann::ordered_json::object();

  // The files, by role: {"train", "train.npz"}.
  std::vector<std::pair<std::string, std::string>> paths;
};

// kFailedPrecondition naming the file or the option in which a run differs from
// that of `earlier`, the items or the attributes of what is at `where`. What
// only `earlier` has is let be, but for options. Of values as typed the numbers
// count: 1e-3 is 0.001.
absl::Status CheckSameRun(const std::string& where,
                          const nlohmann::ordered_json& earlier,
                          const RunItems& run);

// The plan of the run that has begun the output of `store`, if one has: it is
// checked to be the same as `run`, and `make_plan` is not called. Otherwise
// what `make_plan` gives, from here on the plan of all who go on with the
// output or share it; of several who come at once one is the first. Not for
// one that is finished(). kDataLoss, naming the store, if the note is damaged.
absl::StatusOr<nlohmann::ordered_json> AgreeOnPlan(
    ZarrStoreWriter& store, const RunItems& run,
    absl::FunctionRef<absl::StatusOr<nlohmann::ordered_json>()> make_plan);

}  // namespace influence

#endif  // INFLUENCE_CLI_RESUME_GUARD_H_
