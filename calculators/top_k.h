// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// For each query the K training samples that help it most and the K that harm
// it most, of scores [M, N] that come tile by tile and are never together in
// memory.
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const TopKScores top,
//       calculator.Influences(test, train).Compute(TopKAggregator({.k = 10})));
//
// The helpful samples of a query are those with the largest scores where a
// positive score means that the sample helps (the loss as query function), with
// the smallest where a negative one does (margin, logit). There are always K of
// each, whatever the signs of the scores are. Of equal scores the one with the
// smaller train index comes first, so that the result depends neither on the
// tiles nor on their order.
//
// A query that has no answer, whose scores are all NaN (missing_rows.h), ranks
// nothing: its entries are index -1 and score NaN.
#ifndef INFLUENCE_CALCULATORS_TOP_K_H_
#define INFLUENCE_CALCULATORS_TOP_K_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/chunk_sink.h"

namespace influence {

struct TopKOptions {
  int64_t k = 10;              // >= 1
  bool positive_helps = true;  // A positive score: the training sample helps.
};

// Strongest first. The scores have the dtype and the units of those that were
// given.
struct TopKScores {
  at::Tensor helpful_indices;  // int64 [M, K], in [0, N), or kNoSample.
  at::Tensor helpful_scores;   // [M, K]
  at::Tensor harmful_indices;  // int64 [M, K], in [0, N), or kNoSample.
  at::Tensor harmful_scores;   // [M, K]
};

// The index beside a score that is NaN.
inline constexpr int64_t kNoSample = -1;

// What is kept of tiles so far: 32 bytes for each of the M * K entries. Tiles
// may be of any extent and come in any order. Not thread-safe: threads and
// processes keep one each, of different tiles, and merge them.
class TopK {
 public:
  // kInvalidArgument unless num_queries >= 0, dtype is kFloat or kDouble and
  // options.k >= 1.
  static absl::StatusOr<TopK> Create(int64_t num_queries, at::ScalarType dtype,
                                     const TopKOptions& options);

  int64_t num_queries() const { return num_queries_; }  // M
  at::ScalarType dtype() const { return dtype_; }
  const TopKOptions& options() const { return options_; }

  // Takes the scores [m, n] of queries row, row + 1, ... and training samples
  // column, column + 1, ...; each pair once. Costs a comparison an entry, and
  // log(K) for each that is kept. kInvalidArgument, and nothing is taken, if
  // they are not of dtype(), reach beyond M, or one of them is not finite,
  // which is named; but a row of nothing but NaN says that the query has no
  // answer, if all its rows say so.
  absl::Status Add(int64_t row, int64_t column, const at::Tensor& scores);

  // Takes what another has kept of other training samples. kInvalidArgument
  // unless shapes and dtypes are those of Kept().
  absl::Status Merge(const TopKScores& kept);

  // What there is: index -1 and score NaN after the last entry of a query that
  // has been given fewer than K scores; index -2 and score NaN in all entries
  // of one that has no answer. kFailedPrecondition, naming both, if a
  // query was given the score of one training sample twice.
  absl::StatusOr<TopKScores> Kept() const;

  // As Kept(), when all tiles are in, and kNoSample for queries that have no
  // answer. kFailedPrecondition if another has fewer than K scores.
  absl::StatusOr<TopKScores> Finish() const;

 private:
  struct Entry {
    double strength;  // The score, or its negative.
    int64_t index;
  };
  // The K strongest of a query, or fewer; a heap with the weakest in front.
  using Heap = std::vector<Entry>;

  TopK(int64_t num_queries, at::ScalarType dtype, const TopKOptions& options);

  static bool IsStronger(const Entry& a, const Entry& b);
  void Offer(const Entry& entry, Heap& heap) const;

  template <typename Scalar>
  void AddRows(int64_t row, int64_t column, const at::Tensor& scores,
               const std::vector<int64_t>& missing);

  // kInvalidArgument if a query has an answer in one place and none in another.
  absl::Status CheckSameAnswer(int64_t query, bool is_missing) const;

  // Kept() with this index where a query has no answer.
  absl::StatusOr<TopKScores> Sorted(int64_t missing_index) const;

  // Merges one of the two sides, whose strength is `sign` times the score.
  void MergeSide(const at::Tensor& indices, const at::Tensor& scores,
                 double sign, std::vector<Heap>& heaps) const;
  absl::Status SortSide(const std::vector<Heap>& heaps, double sign,
                        int64_t missing_index, at::Tensor& indices,
                        at::Tensor& scores) const;

  int64_t num_queries_;
  at::ScalarType dtype_;
  TopKOptions options_;
  std::vector<Heap> largest_;   // By query; strength = score.
  std::vector<Heap> smallest_;  // By query; strength = -score.
  std::vector<bool> missing_;   // By query: it has no answer.
};

// The same for the tiles of a NestedLazyChunkSequence. Memory as of TopK, and a
// bit a tile. Thread-safe: tiles may be added concurrently and in any order.
class TopKAggregator : public NestedSequenceAggregator<TopKScores> {
 public:
  // Every score is multiplied by `scale`, which is > 0: the factor of the units
  // (1 / N for a change of the loss), as that of ZarrTileSink.
  explicit TopKAggregator(const TopKOptions& options, double scale = 1)
      : options_(options), scale_(scale) {}

  // kInvalidArgument if an option or the scale is out of range.
  absl::Status Begin(int64_t row_chunks, int64_t column_chunks) override;

  // kInvalidArgument, and nothing is taken, if the tile is not [m, n] of a
  // floating dtype, is of another dtype than the others or of other extents
  // than those in its row and column, was given already, or has an entry that
  // is not finite.
  absl::Status Add(int64_t row, int64_t column,
                   const at::Tensor& tile) override;

  // Takes what `other`, begun with the same numbers of chunks and options, has
  // been given of other tiles: a part that another thread or process has
  // computed. kInvalidArgument if they do not fit or share a tile. `other`
  // remains as it is.
  absl::Status Merge(const TopKAggregator& other);

  // kFailedPrecondition, naming the first, if a tile is missing;
  // kInvalidArgument if k is larger than N.
  absl::StatusOr<TopKScores> Finish() override;

 private:
  // Both with mutex_ held. What one row of tiles has given; an index is
  // <column chunk> * 2^32 + <column within the tile>: in the order of the train
  // indices, whatever the extents of the tiles before turn out to be.
  absl::StatusOr<TopK*> RowOf(int64_t row, int64_t num_queries,
                              at::ScalarType dtype);
  absl::Status CheckColumn(int64_t column, int64_t extent);

  const TopKOptions options_;
  const double scale_;

  mutable std::mutex mutex_;  // Guards what follows.
  std::vector<std::unique_ptr<TopK>> rows_;
  std::optional<at::ScalarType> dtype_;  // Of all.
  std::vector<int64_t> extents_;         // -1: not known yet.
  std::vector<bool> seen_;               // By tile.
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_TOP_K_H_
