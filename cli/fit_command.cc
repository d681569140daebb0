// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/fit_command.h"

#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "calculators/fitted_state_folder.h"
#include "calculators/gradient_store.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/fitted_source.h"
#include "cli/job.h"
#include "cli/method_factory.h"
#include "cli/options.h"
#include "cli/output_store.h"
#include "cli/plan_text.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/resume_guard.h"
#include "cli/run_inputs.h"
#include "cli/run_plan.h"
#include "nlohmann/json.hpp"

namespace influence {

namespace {

// What was stored of the gradients, and how well.
absl::Status TellStored(const FitRecord& record, Console& console) {
  INFLUENCE_ASSIGN_OR_RETURN(const GradientStoreLayout layout,
                             GradientStoreLayout::FromText(record.gradients));
  console.Say(absl::StrCat(
      "stored the gradients of ", layout.num_samples, " samples",
      layout.relative_error > 0
          ? absl::StrCat(", cut to rank ", *record.stored_rank,
                         " where layers have positions: relative error ",
                         layout.relative_error, " in the worst layer")
          : ", nothing cut off"));
  return absl::OkStatus();
}

absl::Status RunFitInto(OutputStore& store, const FitOptions& options,
                        absl::Time start, Console& console) {
  const FitSource& source = options.source;
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(
      OpenedMethod opened,
      OpenUnfitted(source, options, /*test=*/"", /*query_function=*/"loss"));
  UseOneThreadIfSmall(options, opened.inputs);
  opened.record.stored_rank = options.stored_rank;
  if (store.writer().finished()) {
    INFLUENCE_RETURN_IF_ERROR(CheckFinishedFit(options.out, opened));
    return TellFinished(options.out, ItemsOfFit(opened).items, options,
                        console);
  }
  const DataSet& train = *opened.inputs.train;
  PlanProblem problem;
  problem.sizes = {.num_parameters = opened.influence->num_parameters(),
                   .item_size = source.dtype == at::kDouble ? 8 : 4,
                   .num_train = train.num_samples(),
                   .num_queries = 1,
                   .values_per_input = train.values_per_sample(),
                   .values_per_score = 1};
  problem.batch_size = options.batch_size;
  problem.memory_limit = options.memory_limit;
  problem.has_scores = false;
  problem.most_samples = opened.record.batch_size;
  INFLUENCE_RETURN_IF_ERROR(AddFit(source.method, opened, source.dtype,
                                   options.memory_limit, problem));
  problem.written_bytes = problem.fitted_bytes;
  INFLUENCE_ASSIGN_OR_RETURN(
      const nlohmann::ordered_json plan_json,
      AgreeOnPlan(store.writer(), ItemsOfFit(opened), [&] {
        return ProbeAndPlan(*opened.inputs.provider, train, problem);
      }));
  INFLUENCE_ASSIGN_OR_RETURN(const RunPlan plan,
                             ParsePlan(options.out, plan_json));
  INFLUENCE_RETURN_IF_ERROR(CheckBatchSize(options.out, plan,
                                           options.batch_size,
                                           opened.inputs.train->num_samples()));
  opened.record.batch_size = plan.fit_batch_size;

  console.Say(SizesText(opened, /*num_queries=*/0));
  const std::string cost = CostText(source.method);
  console.Say(absl::StrCat("plan: ", cost.empty() ? "nothing to fit" : cost,
                           ", batches of ", opened.record.batch_size, "; ",
                           PlanText(plan, options.memory_limit),
                           LargestDecompositionText(problem)));
  INFLUENCE_RETURN_IF_ERROR(FitWithNotes(opened, store, /*keep_fit=*/false,
                                         /*keep_all=*/options.resume,
                                         console.Progress()));
  INFLUENCE_RETURN_IF_ERROR(SaveFitted(opened, store, console.Progress()));
  if (!IsFirstRank()) return absl::OkStatus();
  if (options.stored_rank.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(TellStored(opened.record, console));
  }

  ResultSummary summary;
  summary.kind = "fitted";
  summary.out = options.out;
  summary.fit = SummarizeFit(opened);
  summary.paths = opened.paths;
  summary.plan = plan_json;
  summary.batch_size = opened.record.batch_size;
  summary.peak_memory_bytes = PeakResidentBytes();
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return TellSummary(summary, options, console);
}

}  // namespace

absl::Status RunFit(const FitOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {options.source.model, options.source.train}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<OutputStore> store,
                             OutputStore::Open(options, kFittedStateFile));
  return store->Explain(RunFitInto(*store, options, start, console));
}

}  // namespace influence
