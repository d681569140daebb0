// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_sink.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ZarrSinkTest : public ::testing::Test {
 protected:
  ZarrSinkTest()
      : path_((fs::path(::testing::TempDir()) /
               absl::StrCat("zarr_sink_test.", getpid(), ".zarr"))
                  .string()) {
    fs::remove_all(path_);
    store_ = ZarrStoreWriter::Create(path_).value();
  }
  ~ZarrSinkTest() override {
    store_ = nullptr;
    fs::remove_all(path_);
  }

  // [6, 5], in chunks of [2, 1].
  ZarrArrayWriter* Array() {
    ZarrArrayMetadata metadata;
    metadata.shape = {6, 5};
    metadata.chunk_shape = {2, 1};
    return store_->AddArray("", metadata).value();
  }

  std::string path_;
  std::unique_ptr<ZarrStoreWriter> store_;
};

at::Tensor SixByFive() {
  return at::arange(30, at::TensorOptions(at::kFloat)).reshape({6, 5});
}

TEST_F(ZarrSinkTest, StacksChunksInAnyOrder) {
  ZarrChunkSink sink(Array(), 4);
  INFLUENCE_ASSERT_OK(sink.Begin(2));
  EXPECT_TRUE(sink.Wants(1));
  INFLUENCE_ASSERT_OK(sink.Add(1, SixByFive().slice(0, 4, 6)));
  EXPECT_FALSE(sink.Wants(1));
  EXPECT_TRUE(sink.Wants(0));
  INFLUENCE_ASSERT_OK(sink.Add(0, SixByFive().slice(0, 0, 4)));
  INFLUENCE_ASSERT_OK(store_->Commit());
  EXPECT_TRUE(at::equal(*ZarrArray::Open(path_)->ReadAll(), SixByFive()));
}

TEST_F(ZarrSinkTest, PlacesTilesAndScalesThem) {
  ZarrTileSink sink(Array(), 4, 3, -0.5);
  INFLUENCE_ASSERT_OK(sink.Begin(2, 2));
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t column = 0; column < 2; ++column) {
      EXPECT_TRUE(sink.Wants(row, column));
      INFLUENCE_ASSERT_OK(sink.Add(row, column,
                                   SixByFive()
                                       .slice(0, 4 * row, 4 * row + 4)
                                       .slice(1, 3 * column, 3 * column + 3)));
      EXPECT_FALSE(sink.Wants(row, column));
    }
  }
  INFLUENCE_ASSERT_OK(store_->Commit());
  EXPECT_TRUE(
      at::equal(*ZarrArray::Open(path_)->ReadAll(), SixByFive().mul(-0.5)));
}

// A tile of several chunks of which a crash has left only some.
TEST_F(ZarrSinkTest, WantsATileThatIsThereInPart) {
  ZarrArrayWriter* const array = Array();
  ZarrTileSink sink(array, 4, 3);
  INFLUENCE_ASSERT_OK(array->WriteChunk({0, 0}, at::ones({2, 1})));
  EXPECT_TRUE(sink.Wants(0, 0));
}

TEST_F(ZarrSinkTest, RefusesOtherTiles) {
  ZarrArrayWriter* const array = Array();
  ZarrTileSink tiles(array, 4, 3);
  EXPECT_THAT(tiles.Begin(2, 3),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("columns of tiles: found 3, expected 2")));
  EXPECT_THAT(tiles.Add(0, 0, at::ones({2, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tile: found shape [2, 3] at (0, 0), expected "
                                 "[4, 3]")));
  EXPECT_THAT(tiles.Add(1, 1, at::ones({4, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected [2, 2]")));
  EXPECT_THAT(tiles.Add(0, 2, at::ones({4, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected [4, 0]")));
  ZarrChunkSink chunks(array, 4);
  EXPECT_THAT(chunks.Begin(1), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("found 1, expected 2")));
  EXPECT_THAT(chunks.Add(1, at::ones({4, 5})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("chunk: found shape [4, 5]")));
  EXPECT_THAT(chunks.Add(0, at::Tensor()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("chunk")));
}

TEST_F(ZarrSinkTest, ChoosesChunksForLargeTiles) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ZarrArrayMetadata metadata,
      ZarrMetadataForTiles({10, 100000000},
                           at::empty({1}).expand({2, 100000000}), {}));
  EXPECT_THAT(metadata.chunk_shape, ElementsAre(2, 12500000));
  EXPECT_EQ(metadata.dtype, at::kFloat);
  EXPECT_THAT(ZarrMetadataForTiles({10}, at::ones({2, 3}), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected 1 dimensions")));
}

}  // namespace
}  // namespace influence
