// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/npy_sink.h"

#include <filesystem>
#include <memory>
#include <string>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "calculators/npy_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

class NpySinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "/npy_sink_" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name() +
            ".npy";
    std::filesystem::remove(path_);
  }

  std::unique_ptr<NpyWriter> Writer(const std::vector<int64_t>& shape) {
    absl::StatusOr<std::unique_ptr<NpyWriter>> writer =
        NpyWriter::Create(path_, shape, at::kFloat, false);
    EXPECT_THAT(writer, IsOk());
    return *std::move(writer);
  }

  at::Tensor Read() {
    const absl::StatusOr<NpyFile> file = NpyFile::Open(path_);
    EXPECT_THAT(file, IsOk());
    return file->ReadAll().value();
  }

  std::string path_;
};

at::Tensor SixByFive() {
  return at::arange(30, at::TensorOptions(at::kFloat)).reshape({6, 5});
}

TEST_F(NpySinkTest, StacksChunks) {
  const std::unique_ptr<NpyWriter> writer = Writer({6, 5});
  NpyChunkSink sink(writer.get());
  INFLUENCE_ASSERT_OK(sink.Begin(2));
  INFLUENCE_ASSERT_OK(sink.Add(0, SixByFive().slice(0, 0, 4)));
  INFLUENCE_ASSERT_OK(sink.Add(1, SixByFive().slice(0, 4, 6)));
  INFLUENCE_ASSERT_OK(writer->Commit());
  EXPECT_TRUE(at::equal(Read(), SixByFive()));
}

TEST_F(NpySinkTest, PlacesTilesAndScalesThem) {
  const std::unique_ptr<NpyWriter> writer = Writer({6, 5});
  NpyTileSink sink(writer.get(), -0.5);
  INFLUENCE_ASSERT_OK(sink.Begin(2, 2));
  INFLUENCE_ASSERT_OK(
      sink.Add(0, 0, SixByFive().slice(0, 0, 4).slice(1, 0, 3)));
  INFLUENCE_ASSERT_OK(
      sink.Add(0, 1, SixByFive().slice(0, 0, 4).slice(1, 3, 5)));
  INFLUENCE_ASSERT_OK(
      sink.Add(1, 0, SixByFive().slice(0, 4, 6).slice(1, 0, 3)));
  INFLUENCE_ASSERT_OK(
      sink.Add(1, 1, SixByFive().slice(0, 4, 6).slice(1, 3, 5)));
  INFLUENCE_ASSERT_OK(writer->Commit());
  EXPECT_TRUE(at::equal(Read(), SixByFive().mul(-0.5)));
}

TEST_F(NpySinkTest, RefusesTilesOfUnequalHeightInARow) {
  const std::unique_ptr<NpyWriter> writer = Writer({6, 5});
  NpyTileSink sink(writer.get());
  INFLUENCE_ASSERT_OK(sink.Begin(1, 2));
  INFLUENCE_ASSERT_OK(sink.Add(0, 0, at::ones({6, 3})));
  EXPECT_THAT(sink.Add(0, 1, at::ones({5, 2})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found 5 rows, expected 6")));
}

TEST_F(NpySinkTest, RefusesTooFewDimensions) {
  const std::unique_ptr<NpyWriter> writer = Writer({6, 5});
  NpyTileSink tiles(writer.get());
  EXPECT_THAT(tiles.Add(0, 0, at::ones({6})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found shape [6]")));
  NpyChunkSink chunks(writer.get());
  EXPECT_THAT(chunks.Add(0, at::ones({})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found shape []")));
}

}  // namespace
}  // namespace influence
