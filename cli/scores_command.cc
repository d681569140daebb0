// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/scores_command.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/chunk_sink.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/npy_file.h"
#include "calculators/npy_sink.h"
#include "calculators/sequential_influence_calculator.h"
#include "cli/batch_sizes.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/interruption.h"
#include "cli/method_factory.h"
#include "cli/options.h"
#include "cli/run_inputs.h"
#include "cli/score_summary.h"
#include "cli/usage_error.h"
#include "gradients/batch.h"
#include "gradients/parameter_blocks.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "operators/curvature.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

// Overwriting what is being read would take the input away.
absl::Status RefuseToOverwriteInputs(const ScoresOptions& options) {
  std::error_code error;
  const auto check = [&](const fs::path& input) -> absl::Status {
    std::error_code ignored;
    if (!fs::equivalent(options.out, input, ignored)) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat(options.out,
                     ": found an input of this run, expected another path for "
                     "--out"));
  };
  for (const std::string& input :
       {options.model, options.train, options.test}) {
    INFLUENCE_RETURN_IF_ERROR(check(input));
    if (!fs::is_directory(input, error)) continue;
    for (const fs::directory_entry& entry :
         fs::directory_iterator(input, error)) {
      INFLUENCE_RETURN_IF_ERROR(check(entry.path()));
    }
  }
  return absl::OkStatus();
}

// What NpyWriter says of a file that exists, in the words of this tool.
absl::Status InWordsOfOptions(const ScoresOptions& options,
                              const absl::Status& status) {
  if (status.code() == absl::StatusCode::kAlreadyExists && !options.overwrite &&
      fs::is_regular_file(options.out)) {
    return absl::AlreadyExistsError(absl::StrCat(
        options.out,
        ": found an existing file, expected none, or --overwrite"));
  }
  return status;
}

// An output that becomes visible when it is complete and disappears if the
// process is interrupted.
struct Output {
  std::unique_ptr<InterruptibleFile> guard;  // Outlives the writer's clean-up.
  std::unique_ptr<NpyWriter> writer;
};

absl::StatusOr<Output> OpenOutput(const ScoresOptions& options,
                                  const std::vector<int64_t>& shape) {
  Output output;
  absl::StatusOr<std::unique_ptr<InterruptibleFile>> guard =
      InterruptibleFile::Create([&]() -> absl::StatusOr<std::string> {
        INFLUENCE_ASSIGN_OR_RETURN(
            output.writer, NpyWriter::Create(options.out, shape, options.dtype,
                                             options.overwrite));
        return output.writer->temporary_path();
      });
  if (!guard.ok()) return InWordsOfOptions(options, guard.status());
  output.guard = *std::move(guard);
  return output;
}

// Which input is perturbed: the one floating input. 0 with kUp.
absl::StatusOr<int64_t> PerturbedInput(const ScoresOptions& options,
                                       const DataSet& train) {
  if (options.mode == InfluenceMode::kUp) return 0;
  std::vector<int64_t> floating;
  std::vector<std::string> names;
  for (int64_t i = 0; i < train.num_inputs(); ++i) {
    if (!train.input_is_floating(i)) continue;
    floating.push_back(i);
    names.push_back(train.input_name(i));
  }
  if (floating.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.train, ": found ", DtypeName(train.input_dtype(0)),
        " inputs (tokens), expected a floating input for --mode perturbation"));
  }
  if (floating.size() > 1) {
    return UsageError(
        "--mode",
        absl::StrCat("perturbation with ", floating.size(),
                     " floating inputs (", absl::StrJoin(names, ", "),
                     ") and one array in a .npy file"),
        "a model with one floating input, or up");
  }
  return floating[0];
}

// Refuses scores that are not finite before they reach the file.
class FiniteTileSink : public TileSink {
 public:
  explicit FiniteTileSink(TileSink* sink) : sink_(sink) {}

  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override {
    return sink_->Begin(row_chunks, column_chunks);
  }
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override {
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite("scores", tile));
    return sink_->Add(row, column, tile);
  }

 private:
  TileSink* sink_;  // Borrowed.
};

// Factors of `group` batches of `test` at a time, so that these share a pass
// over the training data although their gradients are taken batch by batch.
LazyChunkSequence GroupedFactors(
    std::shared_ptr<const ComposableInfluence> model,
    std::shared_ptr<const DataSet> test, int64_t group) {
  const int64_t num_batches = test->num_batches();
  const int64_t num_samples = test->num_samples();
  return LazyChunkSequence(
      "factors", (num_batches + group - 1) / group, num_samples,
      [model = std::move(model), test = std::move(test), group,
       num_batches](int64_t index) -> absl::StatusOr<at::Tensor> {
        std::vector<at::Tensor> factors;
        const int64_t end = std::min((index + 1) * group, num_batches);
        for (int64_t i = index * group; i < end; ++i) {
          INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, test->Get(i));
          INFLUENCE_ASSIGN_OR_RETURN(factors.emplace_back(),
                                     model->InfluenceFactors(batch));
        }
        return factors.size() == 1 ? factors[0] : at::cat(factors, 0);
      });
}

std::string BytesText(double bytes) {
  if (bytes < 1024) return absl::StrFormat("%.0f bytes", bytes);
  const char* unit = "KiB";
  bytes /= 1024;
  for (const char* next : {"MiB", "GiB", "TiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = next;
  }
  return absl::StrFormat("%.3g %s", bytes, unit);
}

}  // namespace

absl::Status RunScores(const ScoresOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  // Whatever can be found out about the output without the shape comes first.
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(options));
  INFLUENCE_RETURN_IF_ERROR(OpenOutput(options, {1}).status());

  INFLUENCE_ASSIGN_OR_RETURN(
      const RunInputs inputs,
      OpenRunInputs(options, options.test, options.query_function));
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t input,
                             PerturbedInput(options, *inputs.train));
  std::vector<int64_t> shape = {inputs.test->num_samples(),
                                inputs.train->num_samples()};
  int64_t values_per_score = 1;
  if (options.mode == InfluenceMode::kPerturbation) {
    for (const int64_t length : inputs.train->input_shape(input).subspan(1)) {
      shape.push_back(length);
      values_per_score *= length;
    }
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<ComposableInfluence> influence,
      CreateMethod(options, inputs.provider));
  INFLUENCE_ASSIGN_OR_RETURN(const Output output, OpenOutput(options, shape));

  const int64_t num_parameters = influence->num_parameters();
  const int64_t item_size = options.dtype == at::kDouble ? 8 : 4;
  const BatchSizes sizes =
      ChooseBatchSizes({.num_parameters = num_parameters,
                        .item_size = item_size,
                        .num_train = shape[1],
                        .num_queries = shape[0],
                        .values_per_input = inputs.train->values_per_sample(),
                        .values_per_score = values_per_score},
                       options.batch_size);
  const bool keep_factors = options.method != Method::kIdentity;
  // The gradients of queries are taken in batches no larger than the training
  // data's. What is kept of them without solving is as large as the gradients.
  const int64_t query_batch = std::min(sizes.train, sizes.queries);
  const int64_t query_batches = (shape[0] + query_batch - 1) / query_batch;
  int64_t group = 1;  // Batches of queries that share a pass.
  if (keep_factors) {
    group = sizes.queries == shape[0]
                ? query_batches
                : std::max<int64_t>(sizes.queries / query_batch, 1);
  }
  const int64_t queries_per_pass = std::min(group * query_batch, shape[0]);
  const int64_t passes = (shape[0] + queries_per_pass - 1) / queries_per_pass;
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> train,
                             inputs.train->WithBatchSize(sizes.train));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> test,
                             inputs.test->WithBatchSize(query_batch));

  // C and its factor for each block, and once more as much for the block that
  // is being factorised.
  double curvature_bytes = 0;
  double largest_block_bytes = 0;
  if (keep_factors) {
    for (const ParameterBlock& block : influence->blocks().blocks()) {
      const double bytes = 16.0 * static_cast<double>(block.size) *
                           static_cast<double>(block.size);
      curvature_bytes += bytes;
      largest_block_bytes = std::max(largest_block_bytes, bytes);
    }
    curvature_bytes += largest_block_bytes;
  }
  double output_bytes = item_size;
  for (const int64_t length : shape) {
    output_bytes *= static_cast<double>(length);
  }
  const double tile_bytes = static_cast<double>(queries_per_pass) *
                            static_cast<double>(sizes.train) *
                            static_cast<double>(values_per_score * item_size);
  const double gradient_bytes =
      static_cast<double>(sizes.train + queries_per_pass) *
      static_cast<double>(num_parameters * item_size);
  console.Say(absl::StrFormat(
      "P = %d parameters, %.1f %% on the fast path; N = %d training samples, "
      "M = %d queries",
      num_parameters, 100 * inputs.provider->coverage().covered_share(),
      shape[1], shape[0]));
  console.Say(absl::StrCat(
      "plan: ",
      keep_factors
          ? absl::StrCat(
                "fit ", MethodName(options.method), " (",
                CurvatureName(options.curvature), ") in ",
                options.regularization.is_auto() ? "2 passes" : "1 pass", ", ")
          : "",
      "scores in ", passes, passes == 1 ? " pass" : " passes",
      " over the training data, batches of ", sizes.train, ", ",
      queries_per_pass, " queries a pass; about ",
      BytesText(curvature_bytes + gradient_bytes + tile_bytes),
      " beside model and data; writes ", BytesText(output_bytes)));

  if (const absl::Status status = influence->Fit(train, console.Progress());
      !status.ok()) {
    return ExplainFitError(options, status);
  }
  INFLUENCE_ASSIGN_OR_RETURN(const SequentialInfluenceCalculator calculator,
                             SequentialInfluenceCalculator::Create(influence));
  const NestedLazyChunkSequence scores =
      keep_factors ? calculator.InfluencesFromFactors(
                         GroupedFactors(influence, test, group), train,
                         options.mode, input)
                   : calculator.Influences(test, train, options.mode, input);
  NpyTileSink file(output.writer.get(),
                   UnitsFactor(options.mode, options.units,
                               influence->num_fitted_samples()));
  FiniteTileSink sink(&file);
  if (absl::Status status = scores.ForEach(sink, console.Progress());
      !status.ok()) {
    // The disk's errors name the output; all others come from the model.
    if (absl::StrContains(status.message(), options.out)) return status;
    return absl::Status(status.code(),
                        absl::StrCat(options.model, ": ", status.message()));
  }
  if (const absl::Status status = output.writer->Commit(); !status.ok()) {
    return InWordsOfOptions(options, status);
  }

  ScoreSummary summary;
  summary.shape = shape;
  summary.num_parameters = num_parameters;
  summary.num_fitted_samples = influence->num_fitted_samples();
  summary.blocks = influence->report();
  summary.covered_share = inputs.provider->coverage().covered_share();
  summary.train_batch = sizes.train;
  summary.passes = passes;
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  for (const std::string& line : SummaryLines(options, summary)) {
    console.Say(line);
  }
  if (options.json) return console.Print(SummaryJson(options, summary));
  return absl::OkStatus();
}

}  // namespace influence
