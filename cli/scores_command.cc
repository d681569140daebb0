// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/scores_command.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "cli/batch_sizes.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/factor_file.h"
#include "cli/fitted_source.h"
#include "cli/method_factory.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/plan_text.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/score_tiles.h"
#include "cli/usage_error.h"
#include "gradients/parameter_blocks.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"

namespace influence {
namespace {

// The floating inputs, which are perturbed. {0} with kUp.
absl::StatusOr<std::vector<int64_t>> PerturbedInputs(
    const ScoresOptions& options, const DataSet& train) {
  if (options.mode == InfluenceMode::kUp) return std::vector<int64_t>{0};
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
  if (floating.size() > 1 && !IsZarrPath(options.out)) {
    return UsageError(
        "--mode",
        absl::StrCat("perturbation with ", floating.size(),
                     " floating inputs (", absl::StrJoin(names, ", "),
                     ") and one array in a .npy file"),
        "a path ending in .zarr for --out, or up");
  }
  return floating;
}

// One array for each perturbed input and each block that is kept apart, all
// cut into tiles of [queries, train_batch].
std::vector<ResultArray> ArraysOf(const ScoreArrays& scores,
                                  const DataSet& train, int64_t num_queries,
                                  int64_t queries, int64_t train_batch) {
  std::vector<ResultArray> arrays;
  for (const int64_t input : scores.inputs) {
    ResultArray array;
    array.shape = {num_queries, train.num_samples()};
    array.tile = {queries, train_batch};
    if (scores.mode == InfluenceMode::kPerturbation) {
      for (const int64_t length : train.input_shape(input).subspan(1)) {
        array.shape.push_back(length);
        array.tile.push_back(length);
      }
    }
    const std::string input_name =
        scores.inputs.size() > 1 ? train.input_name(input) : "";
    if (scores.blocks.empty()) {
      array.name = input_name;
      arrays.push_back(array);
      continue;
    }
    for (const std::string& block : scores.blocks) {
      array.name =
          input_name.empty() ? block : absl::StrCat(block, "/", input_name);
      arrays.push_back(array);
    }
  }
  return arrays;
}

int64_t Product(const std::vector<int64_t>& values, size_t begin) {
  int64_t product = 1;
  for (size_t i = begin; i < values.size(); ++i) product *= values[i];
  return product;
}

// How the queries are cut.
struct QueryPlan {
  BatchSizes sizes;
  int64_t batch;      // Queries whose gradients are taken at a time.
  int64_t group = 1;  // Batches that share a pass.
  int64_t queries_per_pass;
  int64_t passes;  // Over the training data.
};

QueryPlan PlanQueries(const BatchProblem& problem,
                      std::optional<int64_t> requested, bool keeps_factors) {
  QueryPlan plan;
  plan.sizes = ChooseBatchSizes(problem, requested);
  const int64_t num_queries = problem.num_queries;
  // The gradients of queries are taken in batches no larger than the training
  // data's. What is kept of them without solving is as large as the gradients.
  plan.batch = std::min(plan.sizes.train, plan.sizes.queries);
  if (keeps_factors) {
    plan.group = plan.sizes.queries == num_queries
                     ? (num_queries + plan.batch - 1) / plan.batch
                     : std::max<int64_t>(plan.sizes.queries / plan.batch, 1);
  }
  plan.queries_per_pass = std::min(plan.group * plan.batch, num_queries);
  plan.passes =
      (num_queries + plan.queries_per_pass - 1) / plan.queries_per_pass;
  return plan;
}

}  // namespace

absl::Status RunScores(const ScoresOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  const auto* const fit = std::get_if<FitSource>(&options.source);
  const auto* const fitted = std::get_if<FittedSource>(&options.source);
  // Whatever can be found out about the output without the shape comes first.
  INFLUENCE_RETURN_IF_ERROR(RefuseToOverwriteInputs(
      options, {fit != nullptr ? fit->model : fitted->model,
                fitted != nullptr ? fitted->folder : "", options.train,
                options.test, options.factors}));
  INFLUENCE_RETURN_IF_ERROR(ResultOutput::Check(options));
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));

  std::optional<FactorFile> factors;
  if (!options.factors.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(factors, FactorFile::Open(options.factors));
  }
  const std::string query_function =
      factors.has_value() ? factors->query_function() : options.query_function;
  OpenedMethod opened;
  if (fit != nullptr) {
    INFLUENCE_ASSIGN_OR_RETURN(
        opened, OpenUnfitted(*fit, options, options.test, query_function));
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(
        opened,
        OpenFitted(*fitted, options.train, options.test, query_function));
  }
  if (options.score_tolerance > 0) {
    INFLUENCE_RETURN_IF_ERROR(CheckScoreTolerance(
        opened.method, absl::StrCat(options.score_tolerance)));
  }
  if (factors.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(factors->CheckBelongsTo(opened));
    opened.fingerprints.emplace_back("factors", factors->test_fingerprint());
    opened.paths.emplace_back("factors", options.factors);
  }
  const DataSet& train_data = *opened.inputs.train;
  const std::string& model_file = opened.paths[0].second;

  ScoreArrays scores;
  scores.mode = options.mode;
  INFLUENCE_ASSIGN_OR_RETURN(scores.inputs,
                             PerturbedInputs(options, train_data));
  if (options.by_block) {
    for (const ParameterBlock& block : opened.influence->blocks().blocks()) {
      scores.blocks.push_back(block.name);
    }
  }
  const int64_t num_queries = factors.has_value()
                                  ? factors->num_queries()
                                  : opened.inputs.test->num_samples();
  const int64_t num_parameters = opened.influence->num_parameters();
  const at::ScalarType dtype = opened.record.dtype;
  const int64_t item_size = dtype == at::kDouble ? 8 : 4;
  int64_t values_per_score = 1;
  for (const ResultArray& array :
       ArraysOf(scores, train_data, num_queries, 1, 1)) {
    values_per_score = std::max(values_per_score, Product(array.shape, 2));
  }
  const bool keeps_factors = factors.has_value() || KeepsFactors(opened.method);
  const QueryPlan plan =
      PlanQueries({.num_parameters = num_parameters,
                   .item_size = item_size,
                   .num_train = train_data.num_samples(),
                   .num_queries = num_queries,
                   .values_per_input = train_data.values_per_sample(),
                   .values_per_score = values_per_score},
                  options.batch_size, keeps_factors);
  const std::vector<ResultArray> arrays = ArraysOf(
      scores, train_data, num_queries, plan.queries_per_pass, plan.sizes.train);
  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<ResultOutput> output,
                             ResultOutput::Create(options, dtype, arrays));
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> train,
                             train_data.WithBatchSize(plan.sizes.train));

  double output_bytes = 0;
  for (const ResultArray& array : arrays) {
    output_bytes += static_cast<double>(Product(array.shape, 0)) *
                    static_cast<double>(item_size);
  }
  const double tile_bytes = static_cast<double>(plan.queries_per_pass) *
                            static_cast<double>(plan.sizes.train) *
                            static_cast<double>(values_per_score * item_size);
  const double gradient_bytes =
      static_cast<double>(plan.sizes.train + plan.queries_per_pass) *
      static_cast<double>(num_parameters * item_size);
  const double method_bytes =
      fit != nullptr
          ? MethodBytes(fit->method, opened.influence->blocks(), item_size)
          : 0;
  console.Say(SizesText(opened, num_queries));
  const std::string cost = fit != nullptr ? CostText(fit->method) : "";
  console.Say(
      absl::StrCat("plan: ", cost, cost.empty() ? "" : ", ", "scores in ",
                   plan.passes, plan.passes == 1 ? " pass" : " passes",
                   " over the training data, batches of ", plan.sizes.train,
                   ", ", plan.queries_per_pass, " queries a pass; about ",
                   BytesText(method_bytes + gradient_bytes + tile_bytes),
                   " beside model and data; writes ", BytesText(output_bytes)));

  if (fit != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(FitOpened(opened, console.Progress()));
  }
  std::shared_ptr<const ComposableInfluence> influence = opened.influence;
  if (options.score_tolerance > 0) {
    INFLUENCE_ASSIGN_OR_RETURN(
        influence, WithScoreTolerance(*influence, options.score_tolerance));
  }
  QueryGroups queries;
  if (factors.has_value()) {
    queries = StoredFactors(influence, factors->reader(), num_queries,
                            plan.queries_per_pass);
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> test,
                               opened.inputs.test->WithBatchSize(plan.batch));
    queries = keeps_factors ? GroupsOfFactors(influence, test, plan.group)
                            : BatchesOfQueries(influence, test);
  }
  const double units_factor =
      UnitsFactor(options.mode, options.units, influence->num_fitted_samples());
  absl::StatusOr<std::vector<BlockSolveReports>> solves = ForEachScoreTile(
      queries, *train, scores,
      [&](size_t array, int64_t row, int64_t column,
          const at::Tensor& tile) -> absl::Status {
        std::vector<int64_t> begin(tile.dim(), 0);
        begin[0] = row;
        begin[1] = column;
        return output->Write(array, begin, tile, units_factor);
      },
      console.Progress());
  if (!solves.ok()) {
    const absl::Status& status = solves.status();
    // The disk's errors name the output; all others come from the model.
    if (absl::StrContains(status.message(), options.out)) return status;
    return absl::Status(status.code(),
                        absl::StrCat(model_file, ": ", status.message()));
  }

  ResultSummary summary;
  summary.kind = "scores";
  summary.out = options.out;
  summary.shape = arrays[0].shape;
  for (const ResultArray& array : arrays) {
    if (!array.name.empty()) summary.arrays.push_back(array.name);
  }
  summary.array_blocks = scores.blocks;
  opened.influence = std::const_pointer_cast<ComposableInfluence>(influence);
  summary.fit = SummarizeFit(opened);
  summary.mode = options.mode;
  summary.units = options.units;
  summary.query = QueryName(opened.query_function);
  summary.score_tolerance = options.score_tolerance;
  summary.solves = factors.has_value() ? factors->solves() : *solves;
  summary.paths = opened.paths;
  summary.fingerprints = opened.fingerprints;
  summary.batch_size = plan.sizes.train;
  summary.passes = plan.passes;
  INFLUENCE_RETURN_IF_ERROR(output->Commit(ResultAttributes(summary)));
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return TellSummary(summary, options, console);
}

}  // namespace influence
