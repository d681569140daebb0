// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/run_plan.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "cli/batch_probe.h"
#include "cli/batch_sizes.h"
#include "cli/byte_text.h"
#include "cli/data_set.h"
#include "cli/terminal_progress.h"
#include "gradients/gradient_provider.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;
using Queries = PlanProblem::Queries;

// Scratch that does not grow with the batches: of products with the queries,
// tile by tile, and of a part of a fit, at most and at least.
constexpr int64_t kScratchBytes = int64_t{96} << 20;
constexpr int64_t kLeastScratchBytes = int64_t{16} << 20;

// Smaller decompositions are done in a moment.
constexpr int64_t kLargeDecomposition = 1000;

// Samples of a probe.
constexpr int64_t kMaxProbe = 256;

// Batches of the fit for each of its workers, where there are samples enough
// for batches of kMinFitBatch.
constexpr int64_t kBatchesOfFitWorker = 4;
constexpr int64_t kLeastBatchesOfFitWorker = 2;
constexpr int64_t kMinFitBatch = 64;

struct PlanField {
  const char* name;
  int64_t RunPlan::*value;
  int64_t least;
};

constexpr PlanField kFields[] = {
    {"fit_batch_size", &RunPlan::fit_batch_size, 1},
    {"batch_size", &RunPlan::batch_size, 1},
    {"query_batch_size", &RunPlan::query_batch_size, 1},
    {"queries_per_pass", &RunPlan::queries_per_pass, 1},
    {"passes", &RunPlan::passes, 1},
    {"keeps_factors", &RunPlan::keeps_factors, 0},
    {"peak_memory_bytes", &RunPlan::peak_memory_bytes, 0},
    {"written_bytes", &RunPlan::written_bytes, 0},
};

constexpr char kSeconds[] = "estimated_seconds";

// The largest power of two that is not above `value` >= 1: what depends on a
// measurement shall not change with its noise.
int64_t PowerOfTwo(int64_t value) {
  int64_t power = 1;
  while (power <= value / 2) power *= 2;
  return power;
}

// Sets the rows of a tile, and how many of them are taken at a time.
void CutQueries(const PlanProblem& problem, const BatchProbe& probe,
                int64_t queries, RunPlan& plan) {
  const int64_t num_queries = problem.sizes.num_queries;
  // What is kept of queries that are not solved for is as large as their
  // gradients, whose batch is bounded by what it was measured to need.
  int64_t most = plan.batch_size;
  if (problem.queries != Queries::kFactors && !problem.batch_size.has_value() &&
      probe.bytes_per_sample() > 0) {
    most =
        std::max(most, PowerOfTwo(std::max<int64_t>(
                           kMaxGradientBytes / probe.bytes_per_sample(), 1)));
  }
  plan.query_batch_size = std::min(most, queries);
  int64_t group = 1;
  if (problem.queries == Queries::kFactors) {
    group =
        queries == num_queries
            ? (num_queries + plan.query_batch_size - 1) / plan.query_batch_size
            : std::max<int64_t>(queries / plan.query_batch_size, 1);
  }
  plan.queries_per_pass = std::min(group * plan.query_batch_size, num_queries);
  plan.passes =
      (num_queries + plan.queries_per_pass - 1) / plan.queries_per_pass;
}

int64_t PeakBytes(const PlanProblem& problem, const BatchProbe& probe,
                  const RunPlan& plan) {
  const BatchProblem& sizes = problem.sizes;
  const int64_t gradient = sizes.num_parameters * sizes.item_size;
  const int64_t batch = plan.batch_size * probe.bytes_per_sample();
  int64_t fit = 0;
  if (problem.fit_passes > 0) {
    // The factors of a batch, contiguous and rotated.
    const int64_t scratch =
        std::clamp(2 * plan.fit_batch_size * probe.factor_bytes_per_sample,
                   kLeastScratchBytes, kScratchBytes);
    const int64_t each =
        scratch + plan.fit_batch_size * probe.bytes_per_sample();
    int64_t pass = problem.fit_pass_bytes + each;
    const int64_t num_batches =
        sizes.num_train / problem.num_ranks / plan.fit_batch_size;
    if (num_batches >= kLeastBatchesOfFitWorker * problem.fit_workers) {
      pass += (problem.fit_workers - 1) * each + problem.fit_worker_bytes;
    }
    fit = std::max(pass, problem.fit_solve_bytes) +
          std::min(problem.kept_factor_bytes,
                   sizes.num_train * probe.factor_bytes_per_sample);
  }
  int64_t scores = 0;
  if (problem.has_scores) {
    const int64_t tile = plan.queries_per_pass * plan.batch_size *
                         sizes.values_per_score * sizes.item_size;
    int64_t kept = plan.queries_per_pass * gradient;
    int64_t preparing =
        plan.query_batch_size * (probe.bytes_per_sample() + gradient);
    if (problem.queries == Queries::kGradients) {
      kept = plan.queries_per_pass *
             std::min(gradient, probe.factor_bytes_per_sample);
      preparing = plan.query_batch_size * probe.bytes_per_sample();
    } else if (problem.queries == Queries::kRotated) {
      preparing = plan.query_batch_size * probe.bytes_per_sample();
    }
    // Where several work, some may be a group of queries ahead of the others.
    if (problem.workers > 1 && plan.passes > 1) kept *= 2;
    // A tile, and what becomes of it on its way to the disk.
    const int64_t each = batch + 2 * tile + kScratchBytes;
    scores = kept + std::max(preparing, each) + (problem.workers - 1) * each;
  }
  if (problem.bytes_per_row > 0) {
    scores = batch + plan.batch_size * problem.bytes_per_row;
  }
  int64_t products = (sizes.num_train / problem.num_ranks + 1) *
                     problem.product_factors * probe.factor_bytes_per_sample;
  if (products > problem.most_product_bytes) products = 0;
  return probe.baseline_bytes.value_or(0) + problem.method_bytes + products +
         std::max(fit, scores);
}

double SecondsOf(const PlanProblem& problem, const BatchProbe& probe,
                 const RunPlan& plan) {
  const auto num_train = static_cast<double>(problem.sizes.num_train);
  const auto num_queries = static_cast<double>(problem.sizes.num_queries);
  const int64_t passes =
      problem.fit_passes + (problem.bytes_per_row > 0 ? 2 : 0);
  double gradients = static_cast<double>(passes) * num_train;
  double seconds = 0;
  if (problem.has_scores) {
    gradients += static_cast<double>(plan.passes) * num_train + num_queries;
    seconds += num_train * num_queries *
               static_cast<double>(problem.sizes.values_per_score) *
               probe.seconds_per_score;
  }
  return seconds + gradients * probe.seconds_per_gradient +
         problem.fit_seconds / static_cast<double>(problem.num_ranks);
}

// Training samples a batch that meets tiles of `num_queries` rows, as far as
// memory is not limited.
int64_t TrainBatch(const PlanProblem& problem, const BatchProbe& probe,
                   int64_t num_queries) {
  BatchProblem sizes = problem.sizes;
  sizes.num_queries = num_queries;
  const BatchSizes chosen = ChooseBatchSizes(sizes, problem.batch_size);
  if (problem.batch_size.has_value() || probe.bytes_per_sample() <= 0) {
    return chosen.train;
  }
  int64_t most = chosen.train;
  if (!problem.writes_gradients) {
    const int64_t tile = kMaxTileBytes / sizes.item_size /
                         sizes.values_per_score / chosen.queries;
    most = std::clamp<int64_t>(std::min(kMaxAutoBatch, tile), most,
                               std::max(most, sizes.num_train));
  }
  return std::min(most, PowerOfTwo(std::max<int64_t>(
                            kMaxGradientBytes / probe.bytes_per_sample(), 1)));
}

absl::Status TooLittle(const PlanProblem& problem, int64_t peak) {
  const std::string found =
      BytesText(static_cast<double>(problem.memory_limit.value_or(0)));
  const std::string needed = BytesText(static_cast<double>(peak));
  const int64_t fit_bytes =
      problem.method_bytes +
      std::max(problem.fit_pass_bytes, problem.fit_solve_bytes);
  if (!problem.largest_layer.empty() && fit_bytes > *problem.memory_limit / 2) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "--memory-limit: found ", found, ", expected ", needed, " or more (",
        BytesText(static_cast<double>(fit_bytes)), " for the factors of the ",
        "layers, ", BytesText(static_cast<double>(problem.largest_bytes)),
        " of them for ", problem.largest_layer, " with ", problem.largest_rows,
        " rows: --max-factor-size ", problem.largest_rows - 1,
        " or less gives such layers a diagonal)"));
  }
  if (problem.method_bytes > *problem.memory_limit / 2) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "--memory-limit: found ", found, ", expected ", needed, " or more (",
        BytesText(static_cast<double>(problem.method_bytes)),
        " for what the method keeps: another --method, --rank or "
        "--block-structure needs less)"));
  }
  if (problem.batch_size.value_or(1) > 1) {
    return absl::ResourceExhaustedError(
        absl::StrCat("--memory-limit: found ", found, ", expected ", needed,
                     " or more with --batch-size ", *problem.batch_size,
                     " (a smaller one, or auto, needs less)"));
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("--memory-limit: found ", found, ", expected ", needed,
                   " or more for model, data and a single sample"));
}

}  // namespace

int64_t ProbeSize(const PlanProblem& problem) {
  const BatchProblem& sizes = problem.sizes;
  int64_t size = std::min(problem.batch_size.value_or(kMaxProbe), kMaxProbe);
  if (problem.memory_limit.has_value()) {
    // As if gradients were written out.
    const int64_t bytes =
        std::max(sizes.num_parameters, sizes.values_per_input) *
        sizes.item_size;
    size = std::min(size, *problem.memory_limit / 8 / bytes);
  }
  return std::max<int64_t>(size, 1);
}

absl::StatusOr<RunPlan> MakePlan(const PlanProblem& given,
                                 const BatchProbe& probe) {
  PlanProblem problem = given;
  RunPlan plan;
  // With many positions a sample a batch of queries fills the memory with
  // activations long before the rows [m, P] do, and these go on to more
  // batches: fewer passes over the training data.
  if (problem.queries == Queries::kRotated && problem.may_keep_factors &&
      probe.factor_bytes_per_sample >
          problem.sizes.num_parameters * problem.sizes.item_size) {
    problem.queries = Queries::kFactors;
    problem.workers = 1;
  }
  plan.keeps_factors =
      problem.has_scores && problem.queries == Queries::kFactors ? 1 : 0;
  plan.written_bytes = problem.written_bytes;
  plan.batch_size = TrainBatch(problem, probe, problem.sizes.num_queries);
  if (!problem.batch_size.has_value() && problem.most_samples.has_value()) {
    plan.batch_size = std::min(plan.batch_size, *problem.most_samples);
  }
  // The fit is the same whatever is scored with it.
  int64_t fit_batch = TrainBatch(problem, probe, /*num_queries=*/1);
  if (!problem.batch_size.has_value() && problem.most_fit_samples.has_value()) {
    fit_batch = std::min(fit_batch, *problem.most_fit_samples);
  }
  if (!problem.batch_size.has_value() && problem.fit_workers > 1) {
    const int64_t shared = problem.sizes.num_train / problem.num_ranks /
                           problem.fit_workers / kBatchesOfFitWorker;
    fit_batch = std::min(
        fit_batch,
        std::max(kMinFitBatch, PowerOfTwo(std::max<int64_t>(shared, 1))));
  }
  int64_t queries = ChooseBatchSizes(problem.sizes, problem.batch_size).queries;
  queries = std::min(queries, problem.most_queries.value_or(queries));
  bool is_limited = false;
  while (true) {
    plan.fit_batch_size =
        is_limited ? std::min(fit_batch, plan.batch_size) : fit_batch;
    if (problem.has_scores) CutQueries(problem, probe, queries, plan);
    plan.peak_memory_bytes =
        probe.baseline_bytes.has_value() && probe.bytes.has_value()
            ? PeakBytes(problem, probe, plan)
            : 0;
    if (!problem.memory_limit.has_value() ||
        plan.peak_memory_bytes <= *problem.memory_limit) {
      break;
    }
    // What frees more is halved first.
    RunPlan fewer = plan;
    const bool can_shrink_queries =
        problem.has_scores && plan.queries_per_pass > 1;
    if (can_shrink_queries) CutQueries(problem, probe, queries / 2, fewer);
    RunPlan smaller = plan;
    const bool can_shrink_batch =
        !problem.batch_size.has_value() && plan.batch_size > 1;
    if (can_shrink_batch) {
      smaller.batch_size = PowerOfTwo(plan.batch_size - 1);
      smaller.fit_batch_size =
          std::min(plan.fit_batch_size, smaller.batch_size);
      if (problem.has_scores) CutQueries(problem, probe, queries, smaller);
    }
    if (!can_shrink_queries && !can_shrink_batch) {
      return TooLittle(problem, plan.peak_memory_bytes);
    }
    const int64_t with_fewer = PeakBytes(problem, probe, fewer);
    const int64_t with_smaller = PeakBytes(problem, probe, smaller);
    if (can_shrink_queries &&
        (!can_shrink_batch || with_fewer < with_smaller)) {
      queries =
          std::max<int64_t>(std::min(queries, plan.queries_per_pass) / 2, 1);
    } else {
      plan.batch_size = smaller.batch_size;
      is_limited = true;
    }
  }
  plan.estimated_seconds = SecondsOf(problem, probe, plan);
  return plan;
}

absl::StatusOr<Json> ProbeAndPlan(const GradientProvider& provider,
                                  const DataSet& data,
                                  const PlanProblem& problem) {
  INFLUENCE_ASSIGN_OR_RETURN(const BatchProbe probe,
                             ProbeBatch(provider, data, ProbeSize(problem)));
  INFLUENCE_ASSIGN_OR_RETURN(const RunPlan plan, MakePlan(problem, probe));
  return PlanJson(plan);
}

std::string LargestDecompositionText(const PlanProblem& problem) {
  if (problem.largest_rows < kLargeDecomposition) return "";
  return absl::StrCat(
      "; the largest eigendecomposition: ", problem.largest_rows, " rows (",
      problem.largest_layer, ")");
}

std::string PlanText(const RunPlan& plan, std::optional<int64_t> memory_limit) {
  std::string text = "peak memory ";
  if (plan.peak_memory_bytes > 0) {
    absl::StrAppend(&text, "about ",
                    BytesText(static_cast<double>(plan.peak_memory_bytes)));
  } else {
    absl::StrAppend(&text, "not known");
  }
  if (memory_limit.has_value()) {
    absl::StrAppend(&text, " (limit ",
                    BytesText(static_cast<double>(*memory_limit)), ")");
  }
  absl::StrAppend(
      &text, "; writes ", BytesText(static_cast<double>(plan.written_bytes)),
      "; about ", DurationText(absl::Seconds(plan.estimated_seconds)));
  return text;
}

Json PlanJson(const RunPlan& plan) {
  Json json;
  for (const PlanField& field : kFields) json[field.name] = plan.*field.value;
  json[kSeconds] = plan.estimated_seconds;
  return json;
}

absl::StatusOr<RunPlan> ParsePlan(const std::string& where, const Json& json) {
  RunPlan plan;
  for (const PlanField& field : kFields) {
    const bool is_there = json.is_object() && json.contains(field.name) &&
                          json[field.name].is_number_integer();
    if (!is_there || json[field.name].get<int64_t>() < field.least) {
      return absl::DataLossError(absl::StrCat(
          where, ": found no plan with ", field.name,
          ", expected that of the run that has begun it; --overwrite in place "
          "of --resume starts anew"));
    }
    plan.*field.value = json[field.name].get<int64_t>();
  }
  if (json.contains(kSeconds) && json[kSeconds].is_number()) {
    plan.estimated_seconds = json[kSeconds].get<double>();
  }
  return plan;
}

absl::Status CheckBatchSize(const std::string& where, const RunPlan& plan,
                            std::optional<int64_t> requested,
                            int64_t num_samples) {
  if (!requested.has_value() ||
      std::min(*requested, num_samples) == plan.batch_size) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat("--batch-size: found ", *requested, ", expected ",
                   plan.batch_size, " (or auto), with which ", where,
                   " was begun; --overwrite in place of --resume starts anew"));
}

}  // namespace influence
