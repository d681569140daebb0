// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A command whose result is an array of rows, computed batch by batch: which
// batches are computed here, which are there already, and when it is whole.
#ifndef INFLUENCE_CLI_BATCH_LOOP_H_
#define INFLUENCE_CLI_BATCH_LOOP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/progress.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/options.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/resume_guard.h"
#include "cli/run_plan.h"
#include "gradients/gradient_provider.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"

namespace influence {

// What a batch becomes.
struct BatchRows {
  at::Tensor values;  // A row a sample.
  std::vector<BlockSolveReports> solves = {};
};

class BatchLoop {
 public:
  // Agrees with `output` on the batch size for a row of `values_per_row`
  // scalars for each of `samples`, whose gradients `provider` gives.
  static absl::StatusOr<BatchLoop> Begin(
      ResultOutput& output, const RunItems& items, const OutputOptions& out,
      const RunOptions& run, const GradientProvider& provider,
      const DataSet& samples, int64_t values_per_row);

  // "batches of 64; peak memory about 200 MiB; writes 3 MiB; about 2 s"
  std::string Text() const;

  int64_t batch_size() const { return plan_.batch_size; }
  const nlohmann::ordered_json& plan_json() const { return plan_json_; }

  // Gives the rows of batch `batch`.
  using ComputeFunction =
      absl::FunctionRef<absl::StatusOr<BatchRows>(int64_t batch)>;

  // Computes each batch of this shard, or that the job leaves to this rank,
  // whose rows are not in array 0 of `output` yet, and writes `scale` times
  // them; a step of `progress` (may be null) for each of the shard, or of the
  // job. Ends at the first error. Collective in a job, as is Finish().
  absl::Status Run(const std::string& stage, ResultOutput& output,
                   ProgressReporter* progress, double scale,
                   ComputeFunction compute) const;

  // The same where `compute` is collective: the ranks of the job compute every
  // batch at a time, and the first writes.
  absl::Status RunTogether(const std::string& stage, ResultOutput& output,
                           ProgressReporter* progress, double scale,
                           ComputeFunction compute) const;

  // Commits `output` if no row is missing, and prints `summary`, which is
  // completed here.
  absl::Status Finish(ResultSummary& summary, ResultOutput& output,
                      const RunOptions& run, absl::Time start,
                      Console& console) const;

 private:
  BatchLoop() = default;

  absl::Status Write(int64_t batch, const BatchRows& rows, double scale,
                     ResultOutput& output) const;

  int64_t num_batches() const {
    return (num_rows_ + plan_.batch_size - 1) / plan_.batch_size;
  }

  RunPlan plan_;
  nlohmann::ordered_json plan_json_ = nlohmann::ordered_json::object();
  int64_t num_rows_ = 0;
  OutputOptions options_;
  std::optional<int64_t> memory_limit_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_BATCH_LOOP_H_
