// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/sequential_influence_calculator.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "calculators/lazy_chunk_sequence.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "influence/influence_function_model.h"
#include "influence/influence_mode.h"
#include "influence/prepared_queries.h"

namespace influence {
namespace {

using TileFunction = NestedLazyChunkSequence::TileFunction;

constexpr absl::string_view kFactors = "factors";
constexpr absl::string_view kInfluences = "influences";

absl::Status NullData(absl::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found null, expected a data set"));
}

// One row that reports the error as soon as it is computed.
NestedLazyChunkSequence Failing(absl::Status status) {
  return NestedLazyChunkSequence(
      std::string(kInfluences), 1, 1, 1, 1,
      [status = std::move(status)](int64_t) -> absl::StatusOr<TileFunction> {
        return status;
      });
}

}  // namespace

absl::StatusOr<SequentialInfluenceCalculator>
SequentialInfluenceCalculator::Create(
    std::shared_ptr<const InfluenceFunctionModel> model) {
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        "model: found null, expected an influence function model");
  }
  return SequentialInfluenceCalculator(std::move(model));
}

SequentialInfluenceCalculator::SequentialInfluenceCalculator(
    std::shared_ptr<const InfluenceFunctionModel> model)
    : model_(std::move(model)) {}

LazyChunkSequence SequentialInfluenceCalculator::InfluenceFactors(
    std::shared_ptr<const BatchSequence> data) const {
  if (data == nullptr) {
    return LazyChunkSequence(
        std::string(kFactors), 1, 1,
        [](int64_t) -> absl::StatusOr<at::Tensor> { return NullData("data"); });
  }
  const int64_t num_batches = data->num_batches();
  const int64_t num_samples = data->num_samples();
  return LazyChunkSequence(
      std::string(kFactors), num_batches, num_samples,
      [model = model_,
       data = std::move(data)](int64_t index) -> absl::StatusOr<at::Tensor> {
        INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data->Get(index));
        return model->InfluenceFactors(batch);
      });
}

NestedLazyChunkSequence SequentialInfluenceCalculator::Influences(
    std::shared_ptr<const BatchSequence> test,
    std::shared_ptr<const BatchSequence> train, InfluenceMode mode,
    int64_t input) const {
  if (test == nullptr) return Failing(NullData("test data"));
  if (train == nullptr) train = test;
  const int64_t row_chunks = test->num_batches();
  const int64_t column_chunks = train->num_batches();
  const int64_t num_rows = test->num_samples();
  const int64_t num_columns = train->num_samples();
  return NestedLazyChunkSequence(
      std::string(kInfluences), row_chunks, column_chunks, num_rows,
      num_columns,
      [model = model_, test = std::move(test), train = std::move(train), mode,
       input](int64_t row) -> absl::StatusOr<TileFunction> {
        INFLUENCE_ASSIGN_OR_RETURN(const Batch left, test->Get(row));
        INFLUENCE_ASSIGN_OR_RETURN(
            std::shared_ptr<const PreparedQueries> queries,
            model->PrepareQueries(left));
        return [model, train, mode, input, queries = std::move(queries)](
                   int64_t column) -> absl::StatusOr<at::Tensor> {
          INFLUENCE_ASSIGN_OR_RETURN(const Batch right, train->Get(column));
          return queries->Influences(right, mode, input);
        };
      });
}

NestedLazyChunkSequence SequentialInfluenceCalculator::InfluencesFromFactors(
    LazyChunkSequence factors, std::shared_ptr<const BatchSequence> train,
    InfluenceMode mode, int64_t input) const {
  if (train == nullptr) return Failing(NullData("training data"));
  const int64_t row_chunks = factors.num_chunks();
  const int64_t column_chunks = train->num_batches();
  const int64_t num_rows = factors.num_rows();
  const int64_t num_columns = train->num_samples();
  return NestedLazyChunkSequence(
      std::string(kInfluences), row_chunks, column_chunks, num_rows,
      num_columns,
      [model = model_, factors = std::move(factors), train = std::move(train),
       mode, input](int64_t row) -> absl::StatusOr<TileFunction> {
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor chunk, factors.Get(row));
        return [model, train, mode, input, chunk = std::move(chunk)](
                   int64_t column) -> absl::StatusOr<at::Tensor> {
          INFLUENCE_ASSIGN_OR_RETURN(const Batch right, train->Get(column));
          return model->InfluencesFromFactors(chunk, right, mode, input);
        };
      });
}

}  // namespace influence
