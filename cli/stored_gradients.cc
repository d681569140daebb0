// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/stored_gradients.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "absl/strings/str_cat.h"
#include "base/broadcast.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/tensor_map.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"

namespace influence {
namespace {

class Numbers : public BatchSequence {
 public:
  Numbers(int64_t num_samples, int64_t batch_size)
      : num_samples_(num_samples), batch_size_(batch_size) {}

  int64_t num_batches() const override {
    return (num_samples_ + batch_size_ - 1) / batch_size_;
  }
  int64_t num_samples() const override { return num_samples_; }

  absl::StatusOr<Batch> Get(int64_t index) const override {
    if (index < 0 || index >= num_batches()) {
      return absl::OutOfRangeError(absl::StrCat(
          "batch: found index ", index, ", expected [0, ", num_batches(), ")"));
    }
    return CatchTorch("sample numbers", [&]() -> absl::StatusOr<Batch> {
      const at::Tensor numbers = at::arange(
          index * batch_size_,
          std::min((index + 1) * batch_size_, num_samples_), at::kLong);
      return Batch{{numbers}, numbers};
    });
  }

 private:
  int64_t num_samples_;
  int64_t batch_size_;
};

class StoredQueries : public PreparedQueries {
 public:
  StoredQueries(std::unique_ptr<const PreparedQueries> queries,
                std::shared_ptr<const GradientStore> store)
      : queries_(std::move(queries)), store_(std::move(store)) {}

  int64_t num_queries() const override { return queries_->num_queries(); }

  std::vector<BlockSolveReports> solve_reports() const override {
    return queries_->solve_reports();
  }

  absl::StatusOr<at::Tensor> Influences(const Batch& train, InfluenceMode mode,
                                        int64_t /*input*/) const override {
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                               Gradients(train, mode));
    return queries_->InfluencesFromGradients(gradients);
  }

  absl::StatusOr<TensorMap> InfluencesByBlock(
      const Batch& train, InfluenceMode mode,
      int64_t /*input*/) const override {
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                               Gradients(train, mode));
    return queries_->InfluencesFromGradientsByBlock(gradients);
  }

 private:
  absl::StatusOr<FactoredGradients> Gradients(const Batch& train,
                                              InfluenceMode mode) const {
    INFLUENCE_CHECK(mode == InfluenceMode::kUp);
    const at::Tensor& numbers = train.x[0];
    const auto first = numbers[0].item<int64_t>();
    return store_->Get(first, first + numbers.size(0));
  }

  std::unique_ptr<const PreparedQueries> queries_;
  std::shared_ptr<const GradientStore> store_;
};

}  // namespace

std::shared_ptr<const BatchSequence> NumberedSamples(int64_t num_samples,
                                                     int64_t batch_size) {
  return std::make_shared<const Numbers>(num_samples, batch_size);
}

QueryGroups MeetStoredGradients(QueryGroups queries,
                                std::shared_ptr<const GradientStore> store) {
  auto prepare = std::move(queries.prepare);
  queries.prepare = [prepare = std::move(prepare),
                     store = std::move(store)](int64_t group)
      -> absl::StatusOr<std::unique_ptr<const PreparedQueries>> {
    INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<const PreparedQueries> prepared,
                               prepare(group));
    return std::make_unique<const StoredQueries>(std::move(prepared), store);
  };
  return queries;
}

absl::StatusOr<GradientStoreLayout> StoreGradients(
    const ComposableInfluence& model, const BatchSequence& data,
    const GradientStoreOptions& options, ZarrStoreWriter& store,
    Communicator& communicator, ProgressReporter* progress) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const GradientProvider> provider,
      model.provider().Restrict(model.blocks().parameters()));
  if (data.num_batches() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  const auto gradients_of =
      [&](int64_t index) -> absl::StatusOr<FactoredGradients> {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data.Get(index));
    return provider->FactoredGrads(batch);
  };
  const RankShare share = ShareOf(data.num_batches(), &communicator);
  ProgressStage stage(progress, "gradients", share.end - share.begin,
                      "batches");
  INFLUENCE_ASSIGN_OR_RETURN(std::optional<FactoredGradients> gradients,
                             gradients_of(0));
  const int64_t batch_size = gradients->num_samples();
  absl::StatusOr<std::unique_ptr<GradientStoreWriter>> writer = nullptr;
  const auto open = [&] {
    writer = GradientStoreWriter::Create(*gradients, data.num_samples(),
                                         options, &store);
  };
  // The others find the arrays of the first rank.
  if (communicator.rank() == 0) open();
  INFLUENCE_RETURN_IF_ERROR(
      BroadcastStatus(communicator, writer.status(), /*root=*/0));
  if (communicator.rank() != 0) open();
  INFLUENCE_RETURN_IF_ERROR(writer.status());
  for (int64_t b = share.begin; b < share.end; ++b) {
    if (b > 0) {
      INFLUENCE_ASSIGN_OR_RETURN(gradients, gradients_of(b));
    }
    INFLUENCE_RETURN_IF_ERROR((*writer)->Write(b * batch_size, *gradients));
    stage.Advance();
  }
  INFLUENCE_RETURN_IF_ERROR((*writer)->AddUpRanks(communicator));
  return (*writer)->layout();
}

}  // namespace influence
