// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How a run is cut into batches and tiles, decided once from what a batch was
// measured to need, and kept with the output, so that whoever goes on with it
// cuts it in the same way. Peak memory is
//
//   baseline + method + max(fit, scores or rows)
//   fit    = kept factors + max(statistics + scratch + batch, decompositions)
//   rows   = batch + what is written
//   scores = queries of a pass + batch of queries or of training data + tiles
//
// all in bytes: the baseline (model, data, libraries) and a batch measured, the
// rest computed from sizes.
#ifndef INFLUENCE_CLI_RUN_PLAN_H_
#define INFLUENCE_CLI_RUN_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/batch_probe.h"
#include "cli/batch_sizes.h"
#include "cli/data_set.h"
#include "gradients/gradient_provider.h"
#include "nlohmann/json.hpp"

namespace influence {

struct RunPlan {
  int64_t fit_batch_size = 1;    // Samples a batch of the fit, if there is one.
  int64_t batch_size = 1;        // Samples a batch: columns of a tile.
  int64_t query_batch_size = 1;  // Queries whose gradients are taken at a time.
  int64_t queries_per_pass = 1;  // Rows of a tile; a multiple of the above, or
                                 // all queries.
  int64_t passes = 1;            // Over the training data, for the scores.
  int64_t keeps_factors = 0;     // 1 if scored with Queries::kFactors.

  int64_t peak_memory_bytes = 0;  // Of the process; 0 where not known.
  int64_t written_bytes = 0;      // Before compression.

  // From the measured rates; without what solves and factorisations take, but
  // for those of kfac and ekfac.
  double estimated_seconds = 0;
};

// What a plan is made for.
struct PlanProblem {
  BatchProblem sizes;

  // --batch-size and --memory-limit, if given.
  std::optional<int64_t> batch_size;
  std::optional<int64_t> memory_limit;

  int64_t workers = 1;  // Threads that compute a tile each, all at a time.

  // A batch, where it is not asked for, has at most so many samples; those of
  // the fit and others.
  std::optional<int64_t> most_fit_samples;
  std::optional<int64_t> most_samples;

  // Queries that share a pass, at most: so that there are passes for all who
  // share them out.
  std::optional<int64_t> most_queries;

  int64_t fit_passes = 0;         // Of the fit, over the training data.
  int64_t method_bytes = 0;       // That it holds afterwards.
  int64_t kept_factor_bytes = 0;  // At most, between its passes.
  int64_t fit_workers = 1;        // That go through batches of it side by side,
                                  // if there are two batches for each.
  int64_t fit_worker_bytes = 0;   // Statistics of all but the first of them.

  // Of a fit that goes through matrices of its own, beyond method_bytes: while
  // it passes over the data, and while it decomposes; how long it takes for
  // them, beside the gradients. The layer that has the largest, its rows and
  // bytes; empty where there is none.
  int64_t fit_pass_bytes = 0;
  int64_t fit_solve_bytes = 0;
  double fit_seconds = 0;
  std::string largest_layer;
  int64_t largest_rows = 0;
  int64_t largest_bytes = 0;

  int64_t fitted_bytes = 0;  // Of method_bytes, what `fit` writes.

  // A method that solves with products keeps, from its fit on, what they are
  // made of: so many times the factors of the samples that are a rank's, where
  // that is within a limit.
  int64_t product_factors = 0;
  int64_t num_ranks = 1;
  int64_t most_product_bytes = 0;

  // Does it fit to whole gradients [n, P] a batch, not to their factors?
  bool writes_gradients = true;

  // How the scores come from the queries; none where there are no rows.
  enum class Queries {
    kFactors,    // Rows A^-1 grad q are kept, of several batches.
    kRotated,    // The same numbers, of one batch; or rows of several, where
                 // those are smaller (and may_keep_factors).
    kGradients,  // Their gradients as they are, of one batch.
  } queries = Queries::kFactors;
  bool may_keep_factors = true;
  bool has_scores = true;

  // Of a command that makes rows, not scores: what each sample of a batch needs
  // beside its gradients, in a pass for these and another for what becomes of
  // them.
  int64_t bytes_per_row = 0;

  int64_t written_bytes = 0;
};

// How many samples to try: enough to be measured, few enough for memory_limit.
int64_t ProbeSize(const PlanProblem& problem);

// Batches as ChooseBatchSizes() has them, or larger where only factors of
// gradients are held; smaller ones where `probe` says that they need more, and
// as small as memory_limit asks for. kResourceExhausted, naming the option to
// change, and the layer if one needs most of it, where not even that suffices.
absl::StatusOr<RunPlan> MakePlan(const PlanProblem& problem,
                                 const BatchProbe& probe);

// The plan from a batch of `data` whose gradients `provider` takes, as
// PlanJson() writes it; errors of ProbeBatch() and MakePlan().
absl::StatusOr<nlohmann::ordered_json> ProbeAndPlan(
    const GradientProvider& provider, const DataSet& data,
    const PlanProblem& problem);

// "; the largest eigendecomposition: 12384 rows (decoder.0)"; empty where there
// is none of 1000 rows or more.
std::string LargestDecompositionText(const PlanProblem& problem);

// "peak memory about 812 MiB (limit 1 GiB); writes 458 MiB; about 12 s"
std::string PlanText(const RunPlan& plan, std::optional<int64_t> memory_limit);

nlohmann::ordered_json PlanJson(const RunPlan& plan);

// The reverse. kDataLoss, naming `where`, if something is missing or out of
// range.
absl::StatusOr<RunPlan> ParsePlan(const std::string& where,
                                  const nlohmann::ordered_json& json);

// kFailedPrecondition if the run at `where`, which is gone on with, has batches
// of another size than what `requested` asks for of `num_samples`.
absl::Status CheckBatchSize(const std::string& where, const RunPlan& plan,
                            std::optional<int64_t> requested,
                            int64_t num_samples);

}  // namespace influence

#endif  // INFLUENCE_CLI_RUN_PLAN_H_
