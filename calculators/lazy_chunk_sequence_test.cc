// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/lazy_chunk_sequence.h"

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/progress.h"
#include "calculators/aggregators.h"
#include "calculators/chunk_sink.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_array.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// An empty folder of this test.
std::string TestFolder() {
  const std::string name =
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string folder = ::testing::TempDir() + "/lazy_" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

// [10, 3], and its rows 0..3, 4..7, 8..9.
at::Tensor TenByThree() {
  return at::arange(30, at::TensorOptions(at::kDouble)).reshape({10, 3});
}

LazyChunkSequence Rows(std::vector<std::string>* log) {
  return LazyChunkSequence("rows", 3, 10,
                           [log](int64_t i) -> absl::StatusOr<at::Tensor> {
                             log->push_back(absl::StrCat("chunk ", i));
                             return TenByThree().slice(0, 4 * i, 4 * (i + 1));
                           });
}

// [10, 3] in tiles of 4 x 2.
NestedLazyChunkSequence Tiles(std::vector<std::string>* log) {
  return NestedLazyChunkSequence(
      "tiles", 3, 2, 10, 3,
      [log](
          int64_t i) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        log->push_back(absl::StrCat("row ", i));
        const at::Tensor row = TenByThree().slice(0, 4 * i, 4 * (i + 1));
        return [log, row, i](int64_t j) -> absl::StatusOr<at::Tensor> {
          log->push_back(absl::StrCat("tile ", i, ",", j));
          return row.slice(1, 2 * j, 2 * (j + 1)).contiguous();
        };
      });
}

// Counts the chunks that are alive by the owners of their storage.
class CountAlive : public SequenceAggregator<int64_t> {
 public:
  absl::Status Begin(int64_t) override {
    previous_ = c10::weak_intrusive_ptr<c10::StorageImpl>(
        c10::intrusive_ptr<c10::StorageImpl>());
    most_ = 0;
    return absl::OkStatus();
  }
  absl::Status Add(int64_t, const at::Tensor& chunk) override {
    const int64_t alive = previous_.expired() ? 1 : 2;
    most_ = std::max(most_, alive);
    previous_ = chunk.storage().getWeakStorageImpl();
    return absl::OkStatus();
  }
  absl::StatusOr<int64_t> Finish() override { return most_; }

 private:
  c10::weak_intrusive_ptr<c10::StorageImpl> previous_{
      c10::intrusive_ptr<c10::StorageImpl>()};
  int64_t most_ = 0;
};

class RecordingReporter : public ProgressReporter {
 public:
  void Begin(absl::string_view stage, int64_t total,
             absl::string_view unit) override {
    log.push_back(absl::StrCat("begin ", stage, " ", total, " ", unit));
  }
  void Advance(int64_t steps) override {
    log.push_back(absl::StrCat("advance ", steps));
  }
  void End() override { log.push_back("end"); }

  std::vector<std::string> log;
};

TEST(LazyChunkSequenceTest, NothingRunsBeforeCompute) {
  std::vector<std::string> log;
  const LazyChunkSequence rows = Rows(&log);
  EXPECT_EQ(rows.num_chunks(), 3);
  EXPECT_EQ(rows.num_rows(), 10);
  EXPECT_THAT(log, IsEmpty());
  INFLUENCE_ASSERT_OK(rows.Compute(ListAggregator()));
  EXPECT_THAT(log, ElementsAre("chunk 0", "chunk 1", "chunk 2"));
}

TEST(LazyChunkSequenceTest, ComputesAnewEachTime) {
  std::vector<std::string> log;
  const LazyChunkSequence rows = Rows(&log);
  CatAggregator aggregator;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor first,
                                 rows.Compute(aggregator));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor second,
                                 rows.Compute(aggregator));
  EXPECT_TRUE(at::equal(first, TenByThree()));
  EXPECT_TRUE(at::equal(second, TenByThree()));
  EXPECT_EQ(log.size(), 6);
}

TEST(LazyChunkSequenceTest, HoldsOneChunkAtATime) {
  const LazyChunkSequence chunks("chunks", 5, 5, [](int64_t i) {
    return absl::StatusOr<at::Tensor>(
        at::full({1, 4}, i, at::TensorOptions(at::kFloat)));
  });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const int64_t most,
                                 chunks.Compute(CountAlive()));
  EXPECT_EQ(most, 1);
}

TEST(LazyChunkSequenceTest, GetChecksTheIndex) {
  std::vector<std::string> log;
  const LazyChunkSequence rows = Rows(&log);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor last, rows.Get(2));
  EXPECT_EQ(last.size(0), 2);
  EXPECT_THAT(rows.Get(3), StatusIs(absl::StatusCode::kOutOfRange,
                                    "rows: found chunk 3, expected [0, 3)"));
  EXPECT_THAT(rows.Get(-1),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("chunk -1")));
}

TEST(LazyChunkSequenceTest, AnErrorStopsWithItsIndexAndCause) {
  std::vector<std::string> log;
  const LazyChunkSequence chunks(
      "factors", 4, 4, [&log](int64_t i) -> absl::StatusOr<at::Tensor> {
        log.push_back(absl::StrCat("chunk ", i));
        if (i == 2) return absl::InvalidArgumentError("y: found 12");
        return at::full({1}, i, at::TensorOptions(at::kFloat));
      });
  EXPECT_THAT(chunks.Compute(CatAggregator()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "factors chunk 2 of 4: y: found 12"));
  EXPECT_THAT(log, ElementsAre("chunk 0", "chunk 1", "chunk 2"));
}

TEST(LazyChunkSequenceTest, AnExceptionBecomesAStatus) {
  const LazyChunkSequence chunks("factors", 1, 1,
                                 [](int64_t) -> absl::StatusOr<at::Tensor> {
                                   throw std::runtime_error("no such thing");
                                 });
  EXPECT_THAT(chunks.Compute(CatAggregator()),
              StatusIs(absl::StatusCode::kInternal,
                       "factors chunk 0 of 1: computing: no such thing"));
}

TEST(LazyChunkSequenceTest, AnUndefinedChunkIsAnError) {
  const LazyChunkSequence chunks("factors", 1, 1, [](int64_t) {
    return absl::StatusOr<at::Tensor>(at::Tensor());
  });
  EXPECT_THAT(chunks.Get(0), StatusIs(absl::StatusCode::kInvalidArgument,
                                      HasSubstr("found an undefined tensor")));
}

TEST(LazyChunkSequenceTest, ReportsProgressByChunk) {
  std::vector<std::string> log;
  RecordingReporter reporter;
  INFLUENCE_ASSERT_OK(Rows(&log).Compute(ListAggregator(), &reporter));
  EXPECT_THAT(reporter.log, ElementsAre("begin rows 3 chunks", "advance 1",
                                        "advance 1", "advance 1", "end"));
}

TEST(LazyChunkSequenceTest, ToNpyWritesWhatComputeConcatenates) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  INFLUENCE_ASSERT_OK(Rows(&log).ToNpy(folder + "/rows.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(folder + "/rows.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor rows, file.ReadAll());
  EXPECT_TRUE(at::equal(rows, TenByThree()));
  EXPECT_THAT(FilesIn(folder), ElementsAre("rows.npy"));
}

TEST(LazyChunkSequenceTest, ToNpyChecksThePathBeforeAnythingRuns) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  const LazyChunkSequence rows = Rows(&log);
  EXPECT_THAT(rows.ToNpy(folder + "/missing/rows.npy"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_THAT(log, IsEmpty());
  INFLUENCE_ASSERT_OK(rows.ToNpy(folder + "/rows.npy"));
  log.clear();
  EXPECT_THAT(rows.ToNpy(folder + "/rows.npy"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("rows")));
  EXPECT_THAT(log, IsEmpty());
  INFLUENCE_EXPECT_OK(rows.ToNpy(folder + "/rows.npy", {.overwrite = true}));
}

TEST(LazyChunkSequenceTest, AFailedToNpyLeavesTheOldFileAndNothingElse) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  INFLUENCE_ASSERT_OK(Rows(&log).ToNpy(folder + "/rows.npy"));
  const LazyChunkSequence failing(
      "rows", 2, 2, [](int64_t i) -> absl::StatusOr<at::Tensor> {
        if (i == 1) return absl::InternalError("lost");
        return at::full({1}, i, at::TensorOptions(at::kFloat));
      });
  EXPECT_THAT(failing.ToNpy(folder + "/rows.npy", {.overwrite = true}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("lost")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(folder + "/rows.npy"));
  EXPECT_THAT(file.shape(), ElementsAre(10, 3));
  EXPECT_THAT(FilesIn(folder), ElementsAre("rows.npy"));
}

TEST(LazyChunkSequenceTest, ToNpyRefusesFewerRowsThanDeclared) {
  const std::string folder = TestFolder();
  const LazyChunkSequence chunks("rows", 1, 3, [](int64_t) {
    return absl::StatusOr<at::Tensor>(
        at::full({2}, 1, at::TensorOptions(at::kFloat)));
  });
  EXPECT_THAT(
      chunks.ToNpy(folder + "/rows.npy"),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("rows.npy")));
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

TEST(LazyChunkSequenceTest, ToZarrWritesWhatComputeConcatenates) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  INFLUENCE_ASSERT_OK(Rows(&log).ToZarr(
      folder + "/rows.zarr",
      {.attributes = {{"units", "raw"}}, .dimension_names = {"query", ""}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(folder + "/rows.zarr"));
  EXPECT_TRUE(at::equal(*array.ReadAll(), TenByThree()));
  EXPECT_THAT(array.metadata().chunk_shape, ElementsAre(4, 3));
  EXPECT_EQ(array.metadata().attributes["units"], "raw");
  EXPECT_THAT(array.metadata().dimension_names, ElementsAre("query", ""));
  EXPECT_THAT(FilesIn(folder), ElementsAre("rows.zarr"));
}

TEST(LazyChunkSequenceTest, ToZarrChecksThePathBeforeAnythingRuns) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  const LazyChunkSequence rows = Rows(&log);
  EXPECT_THAT(rows.ToZarr(folder + "/missing/rows.zarr"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_THAT(log, IsEmpty());
  INFLUENCE_ASSERT_OK(rows.ToZarr(folder + "/rows.zarr"));
  log.clear();
  EXPECT_THAT(rows.ToZarr(folder + "/rows.zarr"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("rows")));
  EXPECT_THAT(log, IsEmpty());
  INFLUENCE_EXPECT_OK(rows.ToZarr(folder + "/rows.zarr", {.overwrite = true}));
}

TEST(LazyChunkSequenceTest, AFailedToZarrLeavesTheOldStoreAndNothingElse) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  INFLUENCE_ASSERT_OK(Rows(&log).ToZarr(folder + "/rows.zarr"));
  const LazyChunkSequence failing(
      "rows", 2, 2, [](int64_t i) -> absl::StatusOr<at::Tensor> {
        if (i == 1) return absl::InternalError("lost");
        return at::full({1}, i, at::TensorOptions(at::kFloat));
      });
  EXPECT_THAT(failing.ToZarr(folder + "/rows.zarr", {.overwrite = true}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("lost")));
  EXPECT_THAT(ZarrArray::Open(folder + "/rows.zarr")->shape(),
              ElementsAre(10, 3));
  EXPECT_THAT(FilesIn(folder), ElementsAre("rows.zarr"));
}

TEST(LazyChunkSequenceTest, ToZarrRefusesIrregularChunks) {
  const std::string folder = TestFolder();
  const LazyChunkSequence chunks("rows", 2, 5, [](int64_t i) {
    return absl::StatusOr<at::Tensor>(
        at::full({2 + i}, 1, at::TensorOptions(at::kFloat)));
  });
  EXPECT_THAT(chunks.ToZarr(folder + "/rows.zarr"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 2, expected 3")));
  EXPECT_THAT(FilesIn(folder), IsEmpty());
}

// Wants every other chunk.
class EveryOther : public SequenceAggregator<int64_t>,
                   public NestedSequenceAggregator<int64_t> {
 public:
  using SequenceAggregator<int64_t>::Result;
  absl::Status Begin(int64_t) override { return absl::OkStatus(); }
  absl::Status Begin(int64_t, int64_t) override { return absl::OkStatus(); }
  bool Wants(int64_t index) const override { return index % 2 == 0; }
  bool Wants(int64_t row, int64_t column) const override {
    return row != 1 && (row + column) % 2 == 0;
  }
  absl::Status Add(int64_t, const at::Tensor&) override {
    ++count_;
    return absl::OkStatus();
  }
  absl::Status Add(int64_t, int64_t, const at::Tensor&) override {
    ++count_;
    return absl::OkStatus();
  }
  absl::StatusOr<int64_t> Finish() override { return count_; }

 private:
  int64_t count_ = 0;
};

TEST(LazyChunkSequenceTest, ComputesOnlyWhatIsWanted) {
  std::vector<std::string> log;
  EveryOther chunks;
  RecordingReporter reporter;
  INFLUENCE_ASSERT_OK(Rows(&log).ForEach(chunks, &reporter));
  EXPECT_THAT(log, ElementsAre("chunk 0", "chunk 2"));
  EXPECT_EQ(*chunks.Finish(), 2);
  EXPECT_EQ(reporter.log.size(), 5);  // Begin, three chunks, end.

  log.clear();
  EveryOther tiles;
  INFLUENCE_ASSERT_OK(Tiles(&log).ForEach(tiles));
  EXPECT_THAT(log, ElementsAre("row 0", "tile 0,0", "row 2", "tile 2,0"));
  EXPECT_EQ(*tiles.Finish(), 2);
}

TEST(LazyChunkSequenceTest, NoChunksAreAnError) {
  const LazyChunkSequence none("rows", 0, 0, [](int64_t) {
    return absl::StatusOr<at::Tensor>(absl::InternalError("never called"));
  });
  EXPECT_THAT(none.Compute(CatAggregator()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found no chunks")));
  EXPECT_THAT(none.ToNpy(TestFolder() + "/rows.npy"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found no chunks")));
  EXPECT_THAT(none.ToZarr(TestFolder() + "/rows.zarr"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found no chunks")));
}

TEST(NestedLazyChunkSequenceTest, OpensEachRowOnceAndOnlyOnDemand) {
  std::vector<std::string> log;
  const NestedLazyChunkSequence tiles = Tiles(&log);
  EXPECT_THAT(log, IsEmpty());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor whole,
                                 tiles.Compute(NestedCatAggregator()));
  EXPECT_TRUE(at::equal(whole, TenByThree()));
  EXPECT_THAT(log,
              ElementsAre("row 0", "tile 0,0", "tile 0,1", "row 1", "tile 1,0",
                          "tile 1,1", "row 2", "tile 2,0", "tile 2,1"));
}

TEST(NestedLazyChunkSequenceTest, ToNpyWritesWhatComputeConcatenates) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  RecordingReporter reporter;
  INFLUENCE_ASSERT_OK(
      Tiles(&log).ToNpy(folder + "/s.npy", {.progress = &reporter}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(folder + "/s.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor whole, file.ReadAll());
  EXPECT_TRUE(at::equal(whole, TenByThree()));
  EXPECT_EQ(reporter.log.front(), "begin tiles 6 tiles");
  EXPECT_EQ(reporter.log.size(), 8);
}

TEST(NestedLazyChunkSequenceTest, ToNpyKeepsTrailingDimensions) {
  const std::string folder = TestFolder();
  const at::Tensor whole =
      at::arange(3 * 5 * 2 * 2, at::TensorOptions(at::kFloat))
          .reshape({3, 5, 2, 2});
  const NestedLazyChunkSequence tiles(
      "tiles", 2, 3, 3, 5,
      [&](int64_t i) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        return [&whole, i](int64_t j) -> absl::StatusOr<at::Tensor> {
          return whole.slice(0, 2 * i, 2 * (i + 1))
              .slice(1, 2 * j, 2 * (j + 1));
        };
      });
  INFLUENCE_ASSERT_OK(tiles.ToNpy(folder + "/s.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(folder + "/s.npy"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read, file.ReadAll());
  EXPECT_TRUE(at::equal(read, whole));
}

TEST(NestedLazyChunkSequenceTest, ToZarrWritesAChunkATile) {
  const std::string folder = TestFolder();
  std::vector<std::string> log;
  INFLUENCE_ASSERT_OK(Tiles(&log).ToZarr(folder + "/s.zarr"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(folder + "/s.zarr"));
  EXPECT_TRUE(at::equal(*array.ReadAll(), TenByThree()));
  EXPECT_THAT(array.metadata().chunk_shape, ElementsAre(4, 2));
  EXPECT_EQ(array.metadata().num_chunks(), 6);
}

TEST(NestedLazyChunkSequenceTest, ToZarrKeepsTrailingDimensions) {
  const std::string folder = TestFolder();
  const at::Tensor whole =
      at::arange(3 * 5 * 2 * 2, at::TensorOptions(at::kFloat))
          .reshape({3, 5, 2, 2});
  const NestedLazyChunkSequence tiles(
      "tiles", 2, 3, 3, 5,
      [&](int64_t i) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        return [&whole, i](int64_t j) -> absl::StatusOr<at::Tensor> {
          return whole.slice(0, 2 * i, 2 * (i + 1))
              .slice(1, 2 * j, 2 * (j + 1));
        };
      });
  INFLUENCE_ASSERT_OK(tiles.ToZarr(folder + "/s.zarr"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(folder + "/s.zarr"));
  EXPECT_TRUE(at::equal(*array.ReadAll(), whole));
}

TEST(NestedLazyChunkSequenceTest, AnErrorNamesItsTile) {
  const NestedLazyChunkSequence tiles(
      "influences", 2, 3, 2, 3,
      [](int64_t i) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        return [i](int64_t j) -> absl::StatusOr<at::Tensor> {
          if (i == 1 && j == 2) return absl::InternalError("lost");
          return at::full({1, 1}, j, at::TensorOptions(at::kFloat));
        };
      });
  EXPECT_THAT(tiles.Compute(NestedCatAggregator()),
              StatusIs(absl::StatusCode::kInternal,
                       "influences tile (1, 2) of 2 x 3: lost"));
}

TEST(NestedLazyChunkSequenceTest, AnErrorOfARowNamesTheRow) {
  const NestedLazyChunkSequence tiles(
      "influences", 2, 3, 2, 3,
      [](int64_t) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        return absl::FailedPreconditionError("not fitted");
      });
  EXPECT_THAT(tiles.Compute(NestedCatAggregator()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "influences row 0 of 2: not fitted"));
}

}  // namespace
}  // namespace influence
