// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/factors_command.h"

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
#include "cli/score_tiles.h"
#include "gradients/batch.h"
#include "gradients/tensor_map.h"
#include "influence/composable_influence.h"

namespace influence {
namespace {

// Factors of batch `b`, the blocks' side by side.
absl::StatusOr<BatchRows> FactorsOf(const OpenedMethod& opened,
                                    const DataSet& test, int64_t b) {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, test.Get(b));
  BatchRows rows;
  INFLUENCE_ASSIGN_OR_RETURN(
      const TensorMap by_block,
      opened.influence->InfluenceFactorsWithReports(batch, &rows.solves));
  INFLUENCE_ASSIGN_OR_RETURN(rows.values, SideBySide(by_block));
  return rows;
}

absl::Status RunFactorsInto(ResultOutput& output, const FactorsOptions& options,
                            absl::Time start, Console& console) {
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(const OpenedMethod opened,
                             OpenFitted(options.source, /*train=*/"",
                                        options.test, options.query_function));
  const DataSet& queries = *opened.inputs.test;
  const int64_t num_queries = queries.num_samples();
  const int64_t num_parameters = opened.influence->num_parameters();
  ResultSummary summary;
  summary.kind = "factors";
  summary.out = options.out;
  summary.shape = {num_queries, num_parameters};
  summary.fit = SummarizeFit(opened);
  summary.query = QueryName(opened.query_function);
  summary.paths = opened.paths;
  summary.fingerprints = opened.fingerprints;
  summary.shard = options.shard;
  if (output.finished()) {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrAttributes attributes,
                               output.CheckFinished(RunItemsOf(summary)));
    return TellFinished(options.out, attributes, options, console);
  }

  INFLUENCE_ASSIGN_OR_RETURN(
      const BatchLoop loop,
      BatchLoop::Begin(output, RunItemsOf(summary), options, options,
                       *opened.inputs.provider, queries,
                       /*values_per_row=*/num_parameters));
  summary.plan = loop.plan_json();
  summary.batch_size = loop.batch_size();
  INFLUENCE_RETURN_IF_ERROR(output.Begin(
      opened.record.dtype, {{"",
                             {num_queries, num_parameters},
                             {loop.batch_size(), num_parameters}}}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> test,
                             queries.WithBatchSize(loop.batch_size()));
  console.Say(SizesText(opened, num_queries));
  console.Say(absl::StrCat("plan: factors of ", opened.record.method, ", ",
                           loop.Text()));

  const auto compute = [&](int64_t b) { return FactorsOf(opened, *test, b); };
  const absl::Status status =
      opened.influence->solves_together()
          ? loop.RunTogether("factors", output, console.Progress(), /*scale=*/1,
                             compute)
          : loop.Run("factors", output, console.Progress(), /*scale=*/1,
                     compute);
  if (!status.ok()) {
    return output.NameSource(status, opened.paths[0].second);
  }
  return loop.Finish(summary, output, options, start, console);
}

}  // namespace

absl::Status RunFactors(const FactorsOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {options.source.model, options.source.folder, options.test}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<ResultOutput> output,
                             ResultOutput::Open(options));
  return output->Explain(RunFactorsInto(*output, options, start, console));
}

}  // namespace influence
