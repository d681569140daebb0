// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/factors_command.h"

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
#include "gradients/tensor_map.h"
#include "influence/composable_influence.h"
#include "influence/prepared_queries.h"

namespace influence {
namespace {

// Factors of a batch, the blocks' side by side, written from row `row` on.
absl::Status WriteFactors(const OpenedMethod& opened, const Batch& batch,
                          int64_t row, ResultOutput& output,
                          std::vector<BlockSolveReports>& solves) {
  std::vector<BlockSolveReports> of_batch;
  INFLUENCE_ASSIGN_OR_RETURN(
      const TensorMap by_block,
      opened.influence->InfluenceFactorsWithReports(batch, &of_batch));
  AppendReports(of_batch, solves);
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor factors, SideBySide(by_block));
  const std::vector<int64_t> begin = {row, 0};
  return output.Write(0, begin, factors);
}

}  // namespace

absl::Status RunFactors(const FactorsOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {options.source.model, options.source.folder, options.test}));
  INFLUENCE_RETURN_IF_ERROR(ResultOutput::Check(options));
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(const OpenedMethod opened,
                             OpenFitted(options.source, /*train=*/"",
                                        options.test, options.query_function));

  const DataSet& queries = *opened.inputs.test;
  const int64_t num_parameters = opened.influence->num_parameters();
  const at::ScalarType dtype = opened.record.dtype;
  const int64_t item_size = dtype == at::kDouble ? 8 : 4;
  const std::vector<int64_t> shape = {queries.num_samples(), num_parameters};
  // A batch of queries is as large as one of training data.
  const int64_t batch_size =
      ChooseBatchSizes({.num_parameters = num_parameters,
                        .item_size = item_size,
                        .num_train = shape[0],
                        .num_queries = 1,
                        .values_per_input = queries.values_per_sample(),
                        .values_per_score = 1},
                       options.batch_size)
          .train;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ResultOutput> output,
      ResultOutput::Create(options, dtype,
                           {{"", shape, {batch_size, num_parameters}}}));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> test,
                             queries.WithBatchSize(batch_size));
  const double row_bytes = static_cast<double>(num_parameters * item_size);
  console.Say(SizesText(opened, shape[0]));
  console.Say(
      absl::StrCat("plan: factors of ", opened.record.method, ", batches of ",
                   batch_size, " queries; about ",
                   BytesText(2 * row_bytes * static_cast<double>(batch_size)),
                   " beside model, data and fit; writes ",
                   BytesText(row_bytes * static_cast<double>(shape[0]))));

  ResultSummary summary;
  {
    ProgressStage stage(console.Progress(), "factors", test->num_batches(),
                        "batches");
    int64_t row = 0;
    for (int64_t b = 0; b < test->num_batches(); ++b) {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, test->Get(b));
      absl::Status status =
          WriteFactors(opened, batch, row, *output, summary.solves);
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

  summary.kind = "factors";
  summary.out = options.out;
  summary.shape = shape;
  summary.fit = SummarizeFit(opened);
  summary.query = QueryName(opened.query_function);
  summary.paths = opened.paths;
  summary.fingerprints = opened.fingerprints;
  summary.batch_size = batch_size;
  INFLUENCE_RETURN_IF_ERROR(output->Commit(ResultAttributes(summary)));
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return TellSummary(summary, options, console);
}

}  // namespace influence
