// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/self_command.h"

#include <cstdint>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "calculators/zarr_format.h"
#include "cli/batch_loop.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/fitted_source.h"
#include "cli/options.h"
#include "cli/plan_text.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/run_inputs.h"
#include "gradients/batch.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"

namespace influence {
namespace {

// The scores of batch `b`.
absl::StatusOr<BatchRows> SelfScoresOf(const OpenedMethod& opened,
                                       const DataSet& train, int64_t b) {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train.Get(b));
  BatchRows rows;
  INFLUENCE_ASSIGN_OR_RETURN(
      rows.values, opened.influence->SelfInfluences(batch, &rows.solves));
  return rows;
}

absl::Status RunSelfInto(ResultOutput& output, const SelfOptions& options,
                         absl::Time start, Console& console) {
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(const OpenedMethod opened,
                             OpenFitted(options.source, options.train,
                                        /*test=*/"", options.query_function));
  INFLUENCE_RETURN_IF_ERROR(
      opened.inputs.train->CheckLabels(opened.query_function));
  UseOneThreadIfSmall(options, opened.inputs);
  const DataSet& samples = *opened.inputs.train;
  ResultSummary summary;
  summary.kind = "self";
  summary.out = options.out;
  summary.shape = {samples.num_samples()};
  summary.fit = SummarizeFit(opened);
  summary.mode = InfluenceMode::kUp;
  summary.units = options.units;
  summary.query = QueryName(opened.query_function);
  summary.paths = opened.paths;
  summary.fingerprints = opened.fingerprints;
  summary.shard = options.shard;
  if (output.finished()) {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrAttributes attributes,
                               output.CheckFinished(RunItemsOf(summary)));
    return TellFinished(options.out, attributes, options, console);
  }

  const int64_t num_samples = samples.num_samples();
  INFLUENCE_ASSIGN_OR_RETURN(
      const BatchLoop loop,
      BatchLoop::Begin(output, RunItemsOf(summary), options, options,
                       *opened.inputs.provider, samples,
                       /*values_per_row=*/1));
  summary.plan = loop.plan_json();
  summary.batch_size = loop.batch_size();
  INFLUENCE_RETURN_IF_ERROR(output.Begin(
      opened.record.dtype, {{"", {num_samples}, {loop.batch_size()}}}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> train,
                             samples.WithBatchSize(loop.batch_size()));
  console.Say(SizesText(opened, /*num_queries=*/0));
  console.Say(absl::StrCat("plan: ", opened.record.method,
                           " in 1 pass over the training data, ", loop.Text()));

  const double scale = UnitsFactor(InfluenceMode::kUp, options.units,
                                   opened.influence->num_fitted_samples());
  const auto compute = [&](int64_t b) {
    return SelfScoresOf(opened, *train, b);
  };
  const absl::Status status =
      opened.influence->solves_together()
          ? loop.RunTogether("self", output, console.Progress(), scale, compute)
          : loop.Run("self", output, console.Progress(), scale, compute);
  if (!status.ok()) {
    return output.NameSource(status, opened.paths[0].second);
  }
  return loop.Finish(summary, output, options, start, console);
}

}  // namespace

absl::Status RunSelf(const SelfOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {options.source.model, options.source.folder, options.train}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<ResultOutput> output,
                             ResultOutput::Open(options));
  return output->Explain(RunSelfInto(*output, options, start, console));
}

}  // namespace influence
