// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/score_tiles.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "calculators/distributed_tile_schedule.h"
#include "calculators/rank_chunks.h"
#include "calculators/tile_schedule.h"
#include "calculators/tile_workers.h"
#include "cli/solve_reports_json.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/tensor_map.h"
#include "influence/composable_influence.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

// Queries as rows A^-1 grad q(z_i).
class FactorQueries : public PreparedQueries {
 public:
  FactorQueries(std::shared_ptr<const ComposableInfluence> model,
                at::Tensor factors, std::vector<BlockSolveReports> reports)
      : model_(std::move(model)),
        factors_(std::move(factors)),
        reports_(std::move(reports)) {}

  int64_t num_queries() const override { return factors_.size(0); }

  absl::StatusOr<at::Tensor> Influences(const Batch& train, InfluenceMode mode,
                                        int64_t input) const override {
    return model_->InfluencesFromFactors(factors_, train, mode, input);
  }

  absl::StatusOr<TensorMap> InfluencesByBlock(const Batch& train,
                                              InfluenceMode mode,
                                              int64_t input) const override {
    return model_->InfluencesFromFactorsByBlock(factors_, train, mode, input);
  }

  absl::StatusOr<at::Tensor> InfluencesFromGradients(
      const FactoredGradients& train) const override {
    return model_->InfluencesFromFactorsAndGradients(factors_, train);
  }

  absl::StatusOr<TensorMap> InfluencesFromGradientsByBlock(
      const FactoredGradients& train) const override {
    return model_->InfluencesFromFactorsAndGradientsByBlock(factors_, train);
  }

  std::vector<BlockSolveReports> solve_reports() const override {
    return reports_;
  }

 private:
  std::shared_ptr<const ComposableInfluence> model_;
  at::Tensor factors_;  // [m, P]
  std::vector<BlockSolveReports> reports_;
};

}  // namespace

absl::StatusOr<at::Tensor> SideBySide(const TensorMap& by_block) {
  return CatchTorch("factors", [&]() -> absl::StatusOr<at::Tensor> {
    std::vector<at::Tensor> parts;
    for (const auto& [name, part] : by_block) parts.push_back(part);
    return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  });
}

QueryGroups BatchesOfQueries(std::shared_ptr<const ComposableInfluence> model,
                             std::shared_ptr<const BatchSequence> test) {
  const int64_t num_groups = test->num_batches();
  return {num_groups,
          [model = std::move(model), test = std::move(test)](int64_t group)
              -> absl::StatusOr<std::unique_ptr<const PreparedQueries>> {
            INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, test->Get(group));
            return model->PrepareQueries(batch);
          }};
}

namespace {

// What is known of a batch of queries whose rows of factors are at hand.
using Reports = std::vector<BlockSolveReports>;

// Solves for batch `batch` of `test` into `rows`, on this rank.
absl::StatusOr<Reports> SolveForBatch(const ComposableInfluence& model,
                                      const BatchSequence& test, int64_t batch,
                                      const at::Tensor& rows) {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch queries, test.Get(batch));
  Reports reports;
  INFLUENCE_ASSIGN_OR_RETURN(
      const TensorMap by_block,
      model.InfluenceFactorsWithReports(queries, &reports));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor factors, SideBySide(by_block));
  INFLUENCE_RETURN_IF_ERROR(CatchTorch("factors", [&] {
    rows.copy_(factors);
    return absl::OkStatus();
  }));
  return reports;
}

// Sends what rank `owner` has made of a batch to the others. Collective.
absl::Status SendBatch(Communicator& job, int owner, const at::Tensor& rows,
                       Reports& reports) {
  INFLUENCE_RETURN_IF_ERROR(job.Broadcast(rows, owner));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::string text,
      job.BroadcastText(SolveReportsJson(reports).dump(), owner));
  reports = ParseSolveReports(
      nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false));
  return absl::OkStatus();
}

// The rows of the batches [begin, end) of `test`.
absl::StatusOr<std::unique_ptr<const PreparedQueries>> SolveForGroup(
    const std::shared_ptr<const ComposableInfluence>& model,
    const BatchSequence& test, int64_t begin, int64_t end, Communicator* job) {
  std::vector<int64_t> first_rows = {0};  // And the end of the last.
  for (int64_t i = begin; i < end; ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const int64_t size, test.BatchSize(i));
    first_rows.push_back(first_rows.back() + size);
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor factors,
      CatchTorch("factors", [&]() -> absl::StatusOr<at::Tensor> {
        return at::empty({first_rows.back(), model->num_parameters()},
                         model->provider().model().dtype());
      }));
  const auto rows_of = [&](int64_t batch) {
    const int64_t first = first_rows[batch - begin];
    return factors.narrow(0, first, first_rows[batch - begin + 1] - first);
  };
  const int ranks = job == nullptr ? 1 : job->size();
  const bool takes_turns = ranks > 1 && !model->solves_together();
  const auto owner_of = [&](int64_t batch) {
    return static_cast<int>((batch - begin) % ranks);
  };
  std::vector<Reports> by_batch(end - begin);
  for (int64_t i = begin; i < end; ++i) {
    if (takes_turns && owner_of(i) != job->rank()) continue;
    INFLUENCE_ASSIGN_OR_RETURN(by_batch[i - begin],
                               SolveForBatch(*model, test, i, rows_of(i)));
  }
  Reports reports;
  for (int64_t i = begin; i < end; ++i) {
    if (takes_turns) {
      INFLUENCE_RETURN_IF_ERROR(
          SendBatch(*job, owner_of(i), rows_of(i), by_batch[i - begin]));
    }
    AppendReports(by_batch[i - begin], reports);
  }
  return std::make_unique<const FactorQueries>(model, std::move(factors),
                                               std::move(reports));
}

}  // namespace

QueryGroups GroupsOfFactors(std::shared_ptr<const ComposableInfluence> model,
                            std::shared_ptr<const BatchSequence> test,
                            int64_t size, Communicator* job) {
  const int64_t num_groups = (test->num_batches() + size - 1) / size;
  return {num_groups,
          [model = std::move(model), test = std::move(test), size,
           job](int64_t group)
              -> absl::StatusOr<std::unique_ptr<const PreparedQueries>> {
            return SolveForGroup(
                model, *test, group * size,
                std::min((group + 1) * size, test->num_batches()), job);
          }};
}

QueryGroups StoredFactors(std::shared_ptr<const ComposableInfluence> model,
                          ReadRowsFunction read, int64_t num_queries,
                          int64_t size, std::vector<BlockSolveReports> solves) {
  return {(num_queries + size - 1) / size,
          [model = std::move(model), read = std::move(read), num_queries, size,
           solves = std::move(solves)](int64_t group)
              -> absl::StatusOr<std::unique_ptr<const PreparedQueries>> {
            const int64_t begin = group * size;
            const int64_t end = std::min(begin + size, num_queries);
            INFLUENCE_ASSIGN_OR_RETURN(at::Tensor factors, read(begin, end));
            Reports reports;
            for (const BlockSolveReports& of_block : solves) {
              if (static_cast<int64_t>(of_block.reports.size()) < end) continue;
              reports.push_back({of_block.block,
                                 {of_block.reports.begin() + begin,
                                  of_block.reports.begin() + end}});
            }
            return std::make_unique<const FactorQueries>(
                model, std::move(factors), std::move(reports));
          }};
}

namespace {

// The arrays of one tile.
absl::Status ComputeTile(const PreparedQueries& queries, const Batch& batch,
                         const ScoreArrays& arrays, int64_t group,
                         int64_t column, ScoreTileSink& sink) {
  size_t array = 0;
  for (const int64_t input : arrays.inputs) {
    if (arrays.blocks.empty()) {
      INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor scores,
                                 queries.Influences(batch, arrays.mode, input));
      INFLUENCE_RETURN_IF_ERROR(sink.Add(array++, group, column, scores));
      continue;
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        const TensorMap by_block,
        queries.InfluencesByBlock(batch, arrays.mode, input));
    for (const std::string& block : arrays.blocks) {
      INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor scores, by_block.Find(block));
      INFLUENCE_RETURN_IF_ERROR(sink.Add(array++, group, column, scores));
    }
  }
  return absl::OkStatus();
}

// By several threads. Sinks take tiles in any order, so a tile is added by the
// worker that has computed it.
absl::Status ForEachByWorkers(const QueryGroups& queries,
                              const BatchSequence& train,
                              const ScoreArrays& arrays, TileSchedule& schedule,
                              ScoreTileSink& sink, ProgressStage* stage,
                              int num_workers) {
  TileWork work;
  work.rows = queries.num_groups;
  work.columns = train.num_batches();
  work.wants = [&](int64_t group, int64_t column) {
    return sink.Wants(group, column);
  };
  work.open_row =
      [&](int64_t group) -> absl::StatusOr<TileWork::ComputeFunction> {
    INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const PreparedQueries> prepared,
                               queries.prepare(group));
    INFLUENCE_RETURN_IF_ERROR(sink.Prepared(group, prepared->solve_reports()));
    return [&, group, prepared = std::move(prepared)](
               int64_t column) -> absl::StatusOr<TileWork::DeliverFunction> {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train.Get(column));
      INFLUENCE_RETURN_IF_ERROR(
          ComputeTile(*prepared, batch, arrays, group, column, sink));
      return [] { return absl::OkStatus(); };
    };
  };
  work.takes_any_order = [] { return true; };
  return RunTileWorkers(work, schedule, {.num_workers = num_workers}, stage);
}

}  // namespace

absl::Status ForEachScoreTile(const QueryGroups& queries,
                              const BatchSequence& train,
                              const ScoreArrays& arrays, TileSchedule& schedule,
                              int64_t num_tiles, ScoreTileSink& sink,
                              ProgressReporter* progress, int num_workers) {
  ProgressStage stage(progress, "influences", num_tiles, "tiles");
  if (num_workers > 1) {
    return ForEachByWorkers(queries, train, arrays, schedule, sink, &stage,
                            num_workers);
  }
  const int64_t columns = train.num_batches();
  int64_t last_tile = -1;
  int64_t prepared_group = -1;
  std::unique_ptr<const PreparedQueries> prepared;
  while (true) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::optional<int64_t> tile,
                               schedule.Next());
    const int64_t reached = tile.value_or(queries.num_groups * columns);
    // Those in between are the others'.
    if (schedule.TellsProgressOfAll()) stage.Advance(reached - last_tile - 1);
    last_tile = reached;
    if (!tile.has_value()) return absl::OkStatus();
    const int64_t group = *tile / columns;
    const int64_t column = *tile % columns;
    if (sink.Wants(group, column)) {
      if (group != prepared_group) {
        prepared = nullptr;  // Its memory first.
        INFLUENCE_ASSIGN_OR_RETURN(prepared, queries.prepare(group));
        INFLUENCE_RETURN_IF_ERROR(
            sink.Prepared(group, prepared->solve_reports()));
        prepared_group = group;
      }
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train.Get(column));
      INFLUENCE_RETURN_IF_ERROR(
          ComputeTile(*prepared, batch, arrays, group, column, sink));
    }
    stage.Advance();
  }
}

absl::Status ForEachSharedScoreTile(const QueryGroups& queries,
                                    const BatchSequence& train,
                                    const ScoreArrays& arrays,
                                    Communicator& job, ScoreTileSink& sink,
                                    ProgressReporter* progress) {
  const int64_t columns = train.num_batches();
  ProgressStage stage(progress, "influences", queries.num_groups * columns,
                      "tiles");
  for (int64_t group = 0; group < queries.num_groups; ++group) {
    // One rank looks what is there: each of them would see what others write.
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::vector<int64_t> wanted,
        WantedOnFirstRank(job, columns, [&](int64_t column) {
          return sink.Wants(group, column);
        }));
    if (wanted.empty()) {
      stage.Advance(columns);
      continue;
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<const PreparedQueries> prepared,
        queries.prepare(group));
    // On every rank: each must know which queries have no answer.
    INFLUENCE_RETURN_IF_ERROR(sink.Prepared(group, prepared->solve_reports()));
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<DistributedTileSchedule> schedule,
        DistributedTileSchedule::Create(job, columns));
    for (int64_t reached = 0; reached < columns;) {
      INFLUENCE_ASSIGN_OR_RETURN(const std::optional<int64_t> column,
                                 schedule->Next());
      if (column.has_value() &&
          std::binary_search(wanted.begin(), wanted.end(), *column)) {
        INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train.Get(*column));
        INFLUENCE_RETURN_IF_ERROR(
            ComputeTile(*prepared, batch, arrays, group, *column, sink));
      }
      // Those in between are the others'.
      const int64_t next = column.has_value() ? *column + 1 : columns;
      stage.Advance(next - reached);
      reached = next;
    }
    INFLUENCE_RETURN_IF_ERROR(sink.FinishSharedGroup(group, job));
  }
  return absl::OkStatus();
}

}  // namespace influence
