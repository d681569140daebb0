// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/sample_view.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "calculators/npy_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void WriteNpy(const std::string& path, const at::Tensor& values) {
  auto writer = NpyWriter::Create(path, values.sizes().vec(),
                                  values.scalar_type(), /*overwrite=*/true);
  INFLUENCE_ASSERT_OK(writer);
  INFLUENCE_ASSERT_OK((*writer)->WriteRows(0, values));
  INFLUENCE_ASSERT_OK((*writer)->Commit());
}

// A data folder with x and y.
std::string WriteData(const at::Tensor& x, const at::Tensor& y) {
  const std::string folder = absl::StrCat(
      ::testing::TempDir(), "/sample_view_",
      ::testing::UnitTest::GetInstance()->current_test_info()->name());
  std::filesystem::create_directories(folder);
  WriteNpy(folder + "/x.npy", x);
  WriteNpy(folder + "/y.npy", y);
  return folder;
}

at::Tensor Numbers(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return at::arange(count, at::TensorOptions(at::kFloat)).reshape(shape);
}

at::Tensor Labels(int64_t count) {
  return at::arange(count, at::TensorOptions(at::kLong));
}

std::vector<int64_t> PixelsOf(const at::Tensor& pixels) {
  EXPECT_EQ(pixels.scalar_type(), at::kByte);
  const at::Tensor values = pixels.to(at::kLong).contiguous();
  return {values.data_ptr<int64_t>(),
          values.data_ptr<int64_t>() + values.numel()};
}

TEST(SampleViewTest, ShowsGreyAndColouredImages) {
  struct Case {
    std::vector<int64_t> x;
    std::vector<int64_t> image;
  };
  for (const Case& each : std::vector<Case>{{{4, 5, 6}, {5, 6}},
                                            {{4, 1, 5, 6}, {5, 6}},
                                            {{4, 3, 5, 6}, {5, 6, 3}}}) {
    const at::Tensor x = Numbers(each.x);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const SampleView view,
                                   SampleView::Open(WriteData(x, Labels(4))));
    EXPECT_TRUE(view.has_images());
    EXPECT_EQ(view.num_samples(), 4);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const SampleView::Sample sample,
                                   view.Get(2));
    EXPECT_EQ(sample.label, "2");
    EXPECT_EQ(sample.image.sizes(), at::IntArrayRef(each.image));
    at::Tensor expected = x[2].to(at::kDouble);
    if (each.image.size() == 3) expected = expected.permute({1, 2, 0});
    EXPECT_TRUE(sample.image.equal(expected.reshape(each.image)));
  }
}

TEST(SampleViewTest, OtherInputsHaveNoImage) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{4, 6}, {4, 2, 5, 6}, {4}, {4, 1, 2, 5, 6}}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const SampleView view,
        SampleView::Open(WriteData(Numbers(shape), Labels(4))));
    EXPECT_FALSE(view.has_images());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const SampleView::Sample sample,
                                   view.Get(3));
    EXPECT_FALSE(sample.image.defined());
    EXPECT_EQ(sample.label, "3");
  }
}

TEST(SampleViewTest, LargeImagesAreAveragedDown) {
  at::Tensor x = at::zeros({1, 320, 640});
  x.narrow(2, 0, 320).fill_(1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const SampleView view,
                                 SampleView::Open(WriteData(x, Labels(1))));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const SampleView::Sample sample, view.Get(0));
  EXPECT_EQ(sample.image.sizes(), at::IntArrayRef({80, 160}));
  EXPECT_TRUE(sample.image.narrow(1, 0, 80).eq(1).all().item<bool>());
  EXPECT_TRUE(sample.image.narrow(1, 80, 80).eq(0).all().item<bool>());
}

TEST(SampleViewTest, LabelsOfAnyShapeAreTexts) {
  const auto label = [](const at::Tensor& y) -> std::string {
    const auto view = SampleView::Open(WriteData(Numbers({2, 3}), y));
    INFLUENCE_EXPECT_OK(view);
    const auto sample = view->Get(1);
    INFLUENCE_EXPECT_OK(sample);
    return sample->label;
  };
  EXPECT_EQ(label(at::tensor({0.5, 0.25})), "0.25");
  EXPECT_EQ(label(Numbers({2, 3}).to(at::kLong)), "[3, 4, 5]");
  EXPECT_EQ(label(Numbers({2, 1})), "1");
  EXPECT_EQ(label(Numbers({2, 9}).to(at::kLong)),
            "[9, 10, 11, 12, 13, 14, ...]");
}

TEST(SampleViewTest, ErrorsAreThoseOfTheReader) {
  EXPECT_THAT(
      SampleView::Open("/nonexistent.npz"),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent.npz")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const SampleView view,
      SampleView::Open(WriteData(Numbers({2, 3}), Labels(2))));
  EXPECT_FALSE(view.Get(2).ok());
}

TEST(PixelRangeTest, FollowsTheScaleOfTheImages) {
  const auto range = [](std::vector<double> values) {
    PixelRange found;
    for (const double value : values) {
      found.Include(at::full({1, 1}, value, at::kDouble));
    }
    found = found.Rounded();
    return std::vector<double>{found.low, found.high};
  };
  EXPECT_THAT(range({0.25, 0.5}), ElementsAre(0, 1));
  EXPECT_THAT(range({3, 200}), ElementsAre(0, 255));
  EXPECT_THAT(range({0, 16}), ElementsAre(0, 16));
  EXPECT_THAT(range({-2, 3}), ElementsAre(-2, 3));
  EXPECT_THAT(range({-2, -2}), ElementsAre(-2, -1));
}

TEST(PixelRangeTest, PixelsLieInTheRange) {
  PixelRange range;
  range.Include(at::tensor({-1.0, 3.0}));
  EXPECT_THAT(
      PixelsOf(ToPixels(at::tensor({-1.0, 0.0, 3.0, 7.0, -9.0}), range)),
      ElementsAre(0, 64, 255, 255, 0));
}

}  // namespace
}  // namespace influence
