// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/self_command.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "cli/batch_sizes.h"
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
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"

namespace influence {
namespace {

// The scores of a batch, written from entry `row` on.
absl::Status WriteSelf(const OpenedMethod& opened, const Batch& batch,
                       int64_t row, double scale, ResultOutput& output,
                       std::vector<BlockSolveReports>& solves) {
  std::vector<BlockSolveReports> of_batch;
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor self,
      opened.influence->SelfInfluences(batch, &of_batch));
  AppendReports(of_batch, solves);
  const std::vector<int64_t> begin = {row};
  return output.Write(0, begin, self, scale);
}

}  // namespace

absl::Status RunSelf(const SelfOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {options.source.model, options.source.folder, options.train}));
  INFLUENCE_RETURN_IF_ERROR(ResultOutput::Check(options));
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(const OpenedMethod opened,
                             OpenFitted(options.source, options.train,
                                        /*test=*/"", options.query_function));
  INFLUENCE_RETURN_IF_ERROR(
      opened.inputs.train->CheckLabels(opened.query_function));

  const DataSet& samples = *opened.inputs.train;
  const int64_t num_parameters = opened.influence->num_parameters();
  const at::ScalarType dtype = opened.record.dtype;
  const int64_t item_size = dtype == at::kDouble ? 8 : 4;
  const std::vector<int64_t> shape = {samples.num_samples()};
  const int64_t batch_size =
      ChooseBatchSizes({.num_parameters = num_parameters,
                        .item_size = item_size,
                        .num_train = shape[0],
                        .num_queries = 1,
                        .values_per_input = samples.values_per_sample(),
                        .values_per_score = 1},
                       options.batch_size)
          .train;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ResultOutput> output,
      ResultOutput::Create(options, dtype, {{"", shape, {batch_size}}}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> train,
                             samples.WithBatchSize(batch_size));
  console.Say(SizesText(opened, /*num_queries=*/0));
  console.Say(absl::StrCat(
      "plan: ", opened.record.method,
      " in 1 pass over the training data, batches of ", batch_size, "; about ",
      BytesText(2 * static_cast<double>(batch_size) *
                static_cast<double>(num_parameters * item_size)),
      " beside model, data and fit; writes ",
      BytesText(static_cast<double>(shape[0] * item_size))));

  ResultSummary summary;
  const double scale = UnitsFactor(InfluenceMode::kUp, options.units,
                                   opened.influence->num_fitted_samples());
  {
    ProgressStage stage(console.Progress(), "self", train->num_batches(),
                        "batches");
    int64_t row = 0;
    for (int64_t b = 0; b < train->num_batches(); ++b) {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train->Get(b));
      absl::Status status =
          WriteSelf(opened, batch, row, scale, *output, summary.solves);
      if (!status.ok()) {
        if (absl::StrContains(status.message(), options.out)) return status;
        return absl::Status(
            status.code(),
            absl::StrCat(opened.paths[0].second, ": ", status.message()));
      }
      row += batch.size();
      stage.Advance();
    }
  }

  summary.kind = "self";
  summary.out = options.out;
  summary.shape = shape;
  summary.fit = SummarizeFit(opened);
  summary.mode = InfluenceMode::kUp;
  summary.units = options.units;
  summary.query = QueryName(opened.query_function);
  summary.paths = opened.paths;
  summary.fingerprints = opened.fingerprints;
  summary.batch_size = batch_size;
  INFLUENCE_RETURN_IF_ERROR(output->Commit(ResultAttributes(summary)));
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return TellSummary(summary, options, console);
}

}  // namespace influence
