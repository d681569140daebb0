// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A fitted method with the model and the data sets it meets: fitted here, or
// taken from the folder that `influence fit` made.
#ifndef INFLUENCE_CLI_FITTED_SOURCE_H_
#define INFLUENCE_CLI_FITTED_SOURCE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/progress.h"
#include "calculators/gradient_store.h"
#include "cli/data_set.h"
#include "cli/options.h"
#include "cli/output_store.h"
#include "cli/result_summary.h"
#include "cli/resume_guard.h"
#include "cli/run_inputs.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"

namespace influence {

// What a fit was made from. Paths are absolute, so that they mean the same
// wherever the folder is used.
struct FitRecord {
  std::string model;
  std::string model_fingerprint;
  std::string train;
  std::string train_fingerprint;
  std::string loss;
  at::ScalarType dtype = at::kFloat;
  std::string method;
  std::map<std::string, std::string> options;  // MethodOptions::values
  int64_t seed = 0;
  int64_t batch_size = 1;    // Samples a batch of the fit.
  double covered_share = 1;  // Of P on the fast path.

  // The rank of the stored gradients (GradientStoreOptions), if there are any,
  // and their layout.
  std::optional<int64_t> stored_rank;
  std::string gradients;
};

// A method that may not be fitted yet, and what it works on.
struct OpenedMethod {
  Method method;
  FitRecord record;
  PerSampleFunction loss = CrossEntropyLoss();
  PerSampleFunction query_function = CrossEntropyLoss();
  RunInputs inputs;
  std::shared_ptr<ComposableInfluence> influence;

  // Roles and paths, roles and fingerprints of the inputs, as in ResultSummary.
  std::vector<std::pair<std::string, std::string>> paths;
  std::vector<std::pair<std::string, std::string>> fingerprints;
};

// Opens model and data of source.train and, unless empty, `test`, and makes the
// method, not fitted. record.batch_size is chosen.
absl::StatusOr<OpenedMethod> OpenUnfitted(const FitSource& source,
                                          const RunOptions& run,
                                          const std::string& test,
                                          const std::string& query_function);

// Fits it to its training data. Errors name the option or the file.
absl::Status FitOpened(OpenedMethod& opened, ProgressReporter* progress);

// Opens the folder, the model it was fitted with and the data sets at `train`
// and `test`, each unless empty (without both there is no inputs.provider, and
// nothing but the fit can be looked at); reads the training data of the fit
// again where the method needs them. kFailedPrecondition if the model or these
// data have changed; kDataLoss if the folder is damaged.
absl::StatusOr<OpenedMethod> OpenFitted(const FittedSource& source,
                                        const std::string& train,
                                        const std::string& test,
                                        const std::string& query_function);

// The same with the training data of the fit in place of others, so that
// nothing is to be said about them. They must be as they were.
absl::StatusOr<OpenedMethod> OpenFittedWithItsData(
    const FittedSource& source, const std::string& test,
    const std::string& query_function);

// FitOpened() for a run whose output is `store`: passes over the data, and with
// `keep_fit` the finished fit, that took long are kept beside the unfinished
// output, all of them if `keep_all`, and are not made again if they are there.
// Which fit it is for is for the output's notes to say (resume_guard.h).
absl::Status FitWithNotes(OpenedMethod& opened, OutputStore& store,
                          bool keep_fit, bool keep_all,
                          ProgressReporter* progress);

// What another run must have in common with this one to go on with its fit.
RunItems ItemsOfFit(const OpenedMethod& opened);

// Writes what a fit found and the record to `store`, opened with the marker
// kFittedStateFile, and commits it. With record.stored_rank the gradients of
// the training data too, whose layout becomes record.gradients. Collective in a
// job: the first rank writes all but the gradients, which the ranks share.
absl::Status SaveFitted(OpenedMethod& opened, OutputStore& store,
                        ProgressReporter* progress);

// The gradients of opened.inputs.train, if source.folder has stored them; null
// if it has none, or those of other data.
absl::StatusOr<std::shared_ptr<const GradientStore>> OpenStoredGradients(
    const FittedSource& source, const OpenedMethod& opened);

// kFailedPrecondition, naming what differs, if the complete output `folder` is
// not what this run makes.
absl::Status CheckFinishedFit(const std::string& folder,
                              const OpenedMethod& opened);

FitSummary SummarizeFit(const OpenedMethod& opened);

}  // namespace influence

#endif  // INFLUENCE_CLI_FITTED_SOURCE_H_
