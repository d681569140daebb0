// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/batch_loop.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/process_memory.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "calculators/rank_chunks.h"
#include "calculators/tile_schedule.h"
#include "cli/batch_sizes.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/plan_text.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/resume_guard.h"
#include "cli/run_plan.h"
#include "cli/work_share.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "nlohmann/json.hpp"

namespace influence {

absl::StatusOr<BatchLoop> BatchLoop::Begin(
    ResultOutput& output, const RunItems& items, const OutputOptions& out,
    const RunOptions& run, const GradientProvider& provider,
    const DataSet& samples, int64_t values_per_row) {
  BatchLoop loop;
  loop.num_rows_ = samples.num_samples();
  loop.options_ = out;
  loop.memory_limit_ = run.memory_limit;
  PlanProblem problem;
  problem.sizes = {.num_parameters = provider.num_parameters(),
                   .item_size = provider.model().dtype() == at::kDouble ? 8 : 4,
                   .num_train = samples.num_samples(),
                   .num_queries = 1,
                   .values_per_input = samples.values_per_sample(),
                   .values_per_score = 1};
  const BatchProblem& sizes = problem.sizes;
  problem.batch_size = run.batch_size;
  problem.memory_limit = run.memory_limit;
  problem.has_scores = false;
  // The gradient as it is and as it becomes.
  problem.bytes_per_row = 2 * sizes.num_parameters * sizes.item_size;
  problem.written_bytes = sizes.num_train * values_per_row * sizes.item_size;
  INFLUENCE_ASSIGN_OR_RETURN(loop.plan_json_, output.Plan(items, [&] {
    return ProbeAndPlan(provider, samples, problem);
  }));
  INFLUENCE_ASSIGN_OR_RETURN(loop.plan_, ParsePlan(out.out, loop.plan_json_));
  INFLUENCE_RETURN_IF_ERROR(
      CheckBatchSize(out.out, loop.plan_, run.batch_size, sizes.num_train));
  return loop;
}

std::string BatchLoop::Text() const {
  return absl::StrCat("batches of ", plan_.batch_size, "; ",
                      PlanText(plan_, memory_limit_));
}

absl::Status BatchLoop::Write(int64_t batch, const BatchRows& rows,
                              double scale, ResultOutput& output) const {
  INFLUENCE_RETURN_IF_ERROR(output.KeepSolves(batch, rows.solves));
  std::vector<int64_t> begin(rows.values.dim(), 0);
  begin[0] = batch * plan_.batch_size;
  return output.Write(0, begin, rows.values, scale);
}

absl::Status BatchLoop::RunTogether(const std::string& stage,
                                    ResultOutput& output,
                                    ProgressReporter* progress, double scale,
                                    ComputeFunction compute) const {
  ProgressStage bar(progress, stage, num_batches(), "batches");
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::vector<int64_t> missing,
      WantedOnFirstRank(*Job(), num_batches(), [&](int64_t batch) {
        return !output.HasTile(0, {batch * plan_.batch_size});
      }));
  bar.Advance(num_batches() - static_cast<int64_t>(missing.size()));
  for (const int64_t batch : missing) {
    INFLUENCE_ASSIGN_OR_RETURN(const BatchRows rows, compute(batch));
    if (IsFirstRank()) {
      INFLUENCE_RETURN_IF_ERROR(Write(batch, rows, scale, output));
    }
    bar.Advance();
  }
  return absl::OkStatus();
}

absl::Status BatchLoop::Run(const std::string& stage, ResultOutput& output,
                            ProgressReporter* progress, double scale,
                            ComputeFunction compute) const {
  INFLUENCE_ASSIGN_OR_RETURN(const WorkShare share,
                             ShareWork(options_, num_batches()));
  ProgressStage bar(progress, stage, share.num_tiles, "batches");
  int64_t last_batch = -1;
  while (true) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::optional<int64_t> batch,
                               share.schedule->Next());
    const int64_t reached = batch.value_or(num_batches());
    // Those in between are the others'.
    if (share.schedule->TellsProgressOfAll()) {
      bar.Advance(reached - last_batch - 1);
    }
    last_batch = reached;
    if (!batch.has_value()) return absl::OkStatus();
    if (!output.HasTile(0, {*batch * plan_.batch_size})) {
      INFLUENCE_ASSIGN_OR_RETURN(const BatchRows rows, compute(*batch));
      INFLUENCE_RETURN_IF_ERROR(Write(*batch, rows, scale, output));
    }
    bar.Advance();
  }
}

absl::Status BatchLoop::Finish(ResultSummary& summary, ResultOutput& output,
                               const RunOptions& run, absl::Time start,
                               Console& console) const {
  INFLUENCE_ASSIGN_OR_RETURN(const bool finishes, FinishShares());
  if (!finishes) return absl::OkStatus();
  summary.peak_memory_bytes = PeakResidentBytes();
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  summary.complete = !options_.shard.has_value() || output.IsWhole();
  if (summary.complete) {
    INFLUENCE_ASSIGN_OR_RETURN(summary.solves, output.Solves(num_batches()));
    INFLUENCE_RETURN_IF_ERROR(output.Commit(ResultAttributes(summary)));
  }
  return TellSummary(summary, run, console);
}

}  // namespace influence
