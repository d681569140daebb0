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
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/communicator.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/tile_workers.h"
#include "calculators/top_k.h"
#include "calculators/zarr_format.h"
#include "cli/console.h"
#include "cli/data_set.h"
#include "cli/factor_file.h"
#include "cli/fitted_source.h"
#include "cli/job.h"
#include "cli/method_factory.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/plan_text.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/result_tile_sink.h"
#include "cli/run_inputs.h"
#include "cli/run_plan.h"
#include "cli/score_tiles.h"
#include "cli/stored_gradients.h"
#include "cli/top_k_tile_sink.h"
#include "cli/usage_error.h"
#include "cli/work_share.h"
#include "gradients/batch_sequence.h"
#include "gradients/parameter_blocks.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "nlohmann/json.hpp"

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

// Which samples a run with --top-k keeps.
absl::StatusOr<TopKOptions> TopKOptionsOf(const ScoresOptions& options,
                                          const OpenedMethod& opened) {
  const int64_t num_train = opened.inputs.train->num_samples();
  const int64_t k = options.top_k.value_or(0);
  if (k > num_train) {
    return UsageError(
        "--top-k", absl::StrCat(k),
        absl::StrCat("at most the ", num_train, " samples of ", options.train));
  }
  const ScoreSign sign = SignOfScores(options.mode, options.units,
                                      QueryName(opened.query_function));
  return TopKOptions{.k = k, .positive_helps = sign.helps == "positive"};
}

// What the run is about, as far as it is known before the fit.
ResultSummary SummaryOf(const ScoresOptions& options,
                        const OpenedMethod& opened, const ScoreArrays& scores) {
  ResultSummary summary;
  summary.kind = options.top_k.has_value() ? "top_k" : "scores";
  summary.out = options.out;
  // Until the arrays are known.
  summary.shape = {0, options.top_k.value_or(0)};
  summary.num_train = opened.inputs.train->num_samples();
  summary.array_blocks = scores.blocks;
  summary.fit = SummarizeFit(opened);
  summary.mode = options.mode;
  summary.units = options.units;
  summary.query = QueryName(opened.query_function);
  summary.score_tolerance = options.score_tolerance;
  summary.paths = opened.paths;
  summary.fingerprints = opened.fingerprints;
  summary.shard = options.shard;
  return summary;
}

// Bytes of all arrays.
int64_t SizeOf(const std::vector<ResultArray>& arrays, at::ScalarType dtype) {
  int64_t bytes = 0;
  for (const ResultArray& array : arrays) {
    bytes +=
        Product(array.shape, 0) *
        static_cast<int64_t>(c10::elementSize(array.dtype.value_or(dtype)));
  }
  return bytes;
}

// Samples a batch, so that each of several workers has a few tiles of every
// row.
int64_t LargestSharedBatch(int64_t num_train, int workers) {
  constexpr int kTilesPerWorker = 4;
  const int64_t tiles = workers == 1 ? 1 : int64_t{workers} * kTilesPerWorker;
  return (num_train + tiles - 1) / tiles;
}

// What the plan depends on beside the sizes.
absl::StatusOr<PlanProblem> ProblemOf(const ScoresOptions& options,
                                      const OpenedMethod& opened,
                                      bool keeps_factors) {
  PlanProblem problem;
  problem.batch_size = options.batch_size;
  problem.memory_limit = options.memory_limit;
  if (const auto* fit = std::get_if<FitSource>(&options.source)) {
    INFLUENCE_RETURN_IF_ERROR(AddFit(fit->method, opened, opened.record.dtype,
                                     options.memory_limit, problem));
  }
  problem.writes_gradients = keeps_factors;
  // What a tolerance saves is saved on the queries' rotated factors.
  problem.may_keep_factors = options.score_tolerance == 0;
  if (!keeps_factors) {
    problem.queries = opened.method == Method::kIdentity
                          ? PlanProblem::Queries::kGradients
                          : PlanProblem::Queries::kRotated;
  }
  return problem;
}

// Threads work side by side, on a tile each, where that is worth more than to
// share one (parallel_influence_calculator.h). Queries that are solved for make
// long rows, in which the solver has use for all threads.
int NumWorkers(const ScoresOptions& options, bool are_rows) {
  return are_rows
             ? 1
             : std::min(options.num_threads.value_or(1), DefaultNumWorkers());
}

// Everything that the scores are made of.
struct ScoresRun {
  const FitSource* fit = nullptr;  // Of the options; one of these two.
  const FittedSource* fitted = nullptr;
  std::optional<FactorFile> factors;  // Of queries that were solved for.
  OpenedMethod opened;
  ScoreArrays scores;
  TopKOptions top_k;
  ResultSummary summary;

  int64_t num_queries() const {
    return factors.has_value() ? factors->num_queries()
                               : opened.inputs.test->num_samples();
  }
};

absl::StatusOr<ScoresRun> OpenScores(const ScoresOptions& options) {
  ScoresRun run;
  run.fit = std::get_if<FitSource>(&options.source);
  run.fitted = std::get_if<FittedSource>(&options.source);
  if (!options.factors.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(run.factors, FactorFile::Open(options.factors));
  }
  const std::string query_function = run.factors.has_value()
                                         ? run.factors->query_function()
                                         : options.query_function;
  if (run.fit != nullptr) {
    INFLUENCE_ASSIGN_OR_RETURN(
        run.opened,
        OpenUnfitted(*run.fit, options, options.test, query_function));
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(
        run.opened,
        OpenFitted(*run.fitted, options.train, options.test, query_function));
  }
  OpenedMethod& opened = run.opened;
  if (options.score_tolerance > 0) {
    INFLUENCE_RETURN_IF_ERROR(CheckScoreTolerance(
        opened.method, absl::StrCat(options.score_tolerance)));
  }
  if (run.factors.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(run.factors->CheckBelongsTo(opened));
    opened.fingerprints.emplace_back("factors",
                                     run.factors->test_fingerprint());
    opened.paths.emplace_back("factors", options.factors);
  }
  run.scores.mode = options.mode;
  INFLUENCE_ASSIGN_OR_RETURN(run.scores.inputs,
                             PerturbedInputs(options, *opened.inputs.train));
  if (options.by_block) {
    for (const ParameterBlock& block : opened.influence->blocks().blocks()) {
      run.scores.blocks.push_back(block.name);
    }
  }
  INFLUENCE_ASSIGN_OR_RETURN(run.top_k, TopKOptionsOf(options, opened));
  run.summary = SummaryOf(options, opened, run.scores);
  return run;
}

// The arrays that the run writes, in tiles of [queries, train_batch].
std::vector<ResultArray> ResultArraysOf(const ScoresRun& run, int64_t queries,
                                        int64_t train_batch) {
  return run.summary.kind == "top_k"
             ? TopKArrays(run.num_queries(), run.top_k.k, queries)
             : ArraysOf(run.scores, *run.opened.inputs.train, run.num_queries(),
                        queries, train_batch);
}

// Agrees with `output` on the plan, whose JSON goes into the summary.
absl::StatusOr<RunPlan> PlanScores(const ScoresOptions& options,
                                   ResultOutput& output, ScoresRun& run) {
  const OpenedMethod& opened = run.opened;
  const DataSet& train = *opened.inputs.train;
  const int64_t num_queries = run.num_queries();
  const int64_t num_train = train.num_samples();
  const at::ScalarType dtype = opened.record.dtype;
  const bool has_rows = run.factors.has_value() || KeepsFactors(opened.method);
  INFLUENCE_ASSIGN_OR_RETURN(PlanProblem problem,
                             ProblemOf(options, opened, has_rows));
  problem.sizes = {.num_parameters = opened.influence->num_parameters(),
                   .item_size = dtype == at::kDouble ? 8 : 4,
                   .num_train = num_train,
                   .num_queries = num_queries,
                   .values_per_input = train.values_per_sample(),
                   .values_per_score = 1};
  for (const ResultArray& array :
       ArraysOf(run.scores, train, num_queries, 1, 1)) {
    problem.sizes.values_per_score =
        std::max(problem.sizes.values_per_score, Product(array.shape, 2));
  }
  problem.workers = NumWorkers(options, has_rows);
  problem.most_samples = LargestSharedBatch(
      num_train, Job()->size() * NumWorkers(options, has_rows));
  // Ranks share the tiles of rows that they solve for; else the strongest are
  // known when a row is over, so whoever shares the work has whole rows.
  const int64_t num_shares = options.shard.has_value()
                                 ? options.shard->count
                                 : (has_rows ? 1 : Job()->size());
  if (options.top_k.has_value() && num_shares > 1) {
    problem.most_queries = (num_queries + num_shares - 1) / num_shares;
  }
  if (run.fit != nullptr) problem.most_fit_samples = opened.record.batch_size;
  problem.written_bytes =
      SizeOf(ResultArraysOf(run, num_queries, /*train_batch=*/1), dtype);
  INFLUENCE_ASSIGN_OR_RETURN(
      run.summary.plan, output.Plan(RunItemsOf(run.summary), [&] {
        return ProbeAndPlan(*opened.inputs.provider, train, problem);
      }));
  INFLUENCE_ASSIGN_OR_RETURN(RunPlan plan,
                             ParsePlan(options.out, run.summary.plan));
  INFLUENCE_RETURN_IF_ERROR(
      CheckBatchSize(options.out, plan, options.batch_size, num_train));
  return plan;
}

// The queries of the run, in groups of plan.queries_per_pass.
absl::StatusOr<QueryGroups> QueriesOf(
    const ScoresRun& run, const RunPlan& plan,
    const std::shared_ptr<const ComposableInfluence>& influence) {
  if (run.factors.has_value()) {
    return StoredFactors(influence, run.factors->reader(), run.num_queries(),
                         plan.queries_per_pass, run.factors->solves());
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const DataSet> test,
      run.opened.inputs.test->WithBatchSize(plan.query_batch_size));
  if (plan.keeps_factors == 0) return BatchesOfQueries(influence, test);
  const int64_t group = (plan.queries_per_pass + plan.query_batch_size - 1) /
                        plan.query_batch_size;
  return GroupsOfFactors(influence, test, group, Job().get());
}

// Computes what is missing of `arrays` into `output`.
absl::Status ComputeScores(
    const ScoresOptions& options, const ScoresRun& run, const RunPlan& plan,
    const std::shared_ptr<const ComposableInfluence>& influence,
    size_t num_arrays, ResultOutput& output, Console& console) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const DataSet> train,
      run.opened.inputs.train->WithBatchSize(plan.batch_size));
  INFLUENCE_ASSIGN_OR_RETURN(QueryGroups queries,
                             QueriesOf(run, plan, influence));
  std::shared_ptr<const BatchSequence> samples = train;
  if (run.fitted != nullptr && options.mode == InfluenceMode::kUp) {
    INFLUENCE_ASSIGN_OR_RETURN(const auto gradients,
                               OpenStoredGradients(*run.fitted, run.opened));
    if (gradients != nullptr) {
      console.Say(
          absl::StrCat("from the gradients stored in ", run.fitted->folder));
      queries = MeetStoredGradients(std::move(queries), gradients);
      samples = NumberedSamples(train->num_samples(), plan.batch_size);
    }
  }
  const double scale =
      UnitsFactor(options.mode, options.units, influence->num_fitted_samples());
  const int64_t columns = samples->num_batches();
  const bool shares_groups = plan.keeps_factors != 0 && Job()->size() > 1;
  ResultTileSink all(&output, num_arrays, plan.queries_per_pass,
                     plan.batch_size, scale);
  TopKTileSink strongest(&output, run.top_k, plan.queries_per_pass,
                         plan.batch_size, columns, scale, shares_groups);
  ScoreTileSink& sink =
      options.top_k.has_value() ? static_cast<ScoreTileSink&>(strongest) : all;
  if (shares_groups) {
    return ForEachSharedScoreTile(queries, *samples, run.scores, *Job(), sink,
                                  console.Progress());
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const WorkShare share,
      ShareWork(options, queries.num_groups * columns,
                /*run_length=*/options.top_k.has_value() ? columns : 1));
  return ForEachScoreTile(queries, *samples, run.scores, *share.schedule,
                          share.num_tiles, sink, console.Progress(),
                          NumWorkers(options, plan.keeps_factors != 0));
}

absl::Status RunScoresInto(ResultOutput& output, const ScoresOptions& options,
                           absl::Time start, Console& console) {
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(ScoresRun run, OpenScores(options));
  UseOneThreadIfSmall(options, run.opened.inputs);
  OpenedMethod& opened = run.opened;
  ResultSummary& summary = run.summary;
  if (output.finished()) {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrAttributes attributes,
                               output.CheckFinished(RunItemsOf(summary)));
    return TellFinished(options.out, attributes, options, console);
  }
  INFLUENCE_ASSIGN_OR_RETURN(const RunPlan plan,
                             PlanScores(options, output, run));
  if (run.fit != nullptr) opened.record.batch_size = plan.fit_batch_size;
  const std::vector<ResultArray> arrays =
      ResultArraysOf(run, plan.queries_per_pass, plan.batch_size);
  INFLUENCE_RETURN_IF_ERROR(output.Begin(opened.record.dtype, arrays));

  console.Say(SizesText(opened, run.num_queries()));
  const std::string cost = run.fit != nullptr ? CostText(run.fit->method) : "";
  console.Say(
      absl::StrCat("plan: ", cost, cost.empty() ? "" : ", ", "scores in ",
                   plan.passes, plan.passes == 1 ? " pass" : " passes",
                   " over the training data, batches of ", plan.batch_size,
                   ", ", plan.queries_per_pass, " queries a pass; ",
                   PlanText(plan, options.memory_limit)));

  if (run.fit != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(
        output.store() == nullptr || opened.method == Method::kIdentity
            ? FitOpened(opened, console.Progress())
            : FitWithNotes(opened, *output.store(), /*keep_fit=*/true,
                           /*keep_all=*/options.resume, console.Progress()));
  }
  if (options.score_tolerance > 0) {
    INFLUENCE_ASSIGN_OR_RETURN(
        opened.influence,
        WithScoreTolerance(*opened.influence, options.score_tolerance));
  }
  if (const absl::Status status = ComputeScores(
          options, run, plan, opened.influence, arrays.size(), output, console);
      !status.ok()) {
    return output.NameSource(status, opened.paths[0].second);
  }

  INFLUENCE_ASSIGN_OR_RETURN(const bool finishes, FinishShares());
  if (!finishes) return absl::OkStatus();
  summary.shape = arrays[0].shape;
  for (const ResultArray& array : arrays) {
    if (!array.name.empty()) summary.arrays.push_back(array.name);
  }
  summary.fit = SummarizeFit(opened);
  summary.batch_size = plan.batch_size;
  summary.passes = plan.passes;
  summary.complete = !options.shard.has_value() || output.IsWhole();
  if (run.factors.has_value()) summary.solves = run.factors->solves();
  summary.peak_memory_bytes = PeakResidentBytes();
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  if (summary.complete) {
    if (!run.factors.has_value()) {
      INFLUENCE_ASSIGN_OR_RETURN(summary.solves, output.Solves(plan.passes));
    }
    INFLUENCE_RETURN_IF_ERROR(output.Commit(ResultAttributes(summary)));
  }
  return TellSummary(summary, options, console);
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
  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<ResultOutput> output,
                             ResultOutput::Open(options));
  return output->Explain(RunScoresInto(*output, options, start, console));
}

}  // namespace influence
