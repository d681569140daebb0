// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_data.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/bincount.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "calculators/npy_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char* g_argv0 = nullptr;

absl::StatusOr<DigitImages> TheDigits() {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string path, FindDigits(g_argv0));
  return LoadDigits(path);
}

std::vector<int64_t> ToVector(const at::Tensor& values) {
  const at::Tensor whole = values.contiguous();
  const int64_t* const data = whole.data_ptr<int64_t>();
  return std::vector<int64_t>(data, data + whole.numel());
}

// Ten images whose first pixel is their number.
DigitImages NumberedImages(int64_t count) {
  at::Tensor x = at::zeros({count, kDigitPixels}, at::kDouble);
  x.select(1, 0).copy_(at::arange(count, at::kDouble));
  return {{x}, at::arange(count, at::kLong).remainder(kNumDigits)};
}

// Writes a folder with x.npy and y.npy, which is read as an archive is.
std::string WriteFolder(const std::string& name, const at::Tensor& x,
                        const at::Tensor& y) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/", name);
  EXPECT_EQ(std::system(absl::StrCat("mkdir -p '", folder, "'").c_str()), 0);
  for (const auto& [file, values] : {std::pair{"x.npy", x}, {"y.npy", y}}) {
    const std::string path = absl::StrCat(folder, "/", file);
    auto writer = NpyWriter::Create(
        path, absl::MakeSpan(values.sizes().data(), values.sizes().size()),
        values.scalar_type(), /*overwrite=*/true);
    INFLUENCE_EXPECT_OK(writer);
    INFLUENCE_EXPECT_OK((*writer)->WriteRows(0, values));
    INFLUENCE_EXPECT_OK((*writer)->Commit());
  }
  return folder;
}

TEST(LoadDigitsTest, ReadsTheImagesThatShip) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const DigitImages digits, TheDigits());
  EXPECT_EQ(digits.size(), 1797);
  EXPECT_THAT(digits.x[0].sizes().vec(), ElementsAre(1797, 64));
  EXPECT_EQ(digits.x[0].scalar_type(), at::kDouble);
  EXPECT_EQ(digits.x[0].min().item<double>(), 0);
  EXPECT_EQ(digits.x[0].max().item<double>(), 1);
  // As the data set's own description counts its test images.
  EXPECT_THAT(ToVector(at::bincount(digits.y)),
              ElementsAre(178, 182, 177, 183, 181, 182, 181, 179, 174, 180));
  // The first line of the table: a zero, whose first row is 0 0 5 13 9 1 0 0.
  EXPECT_EQ(digits.y[0].item<int64_t>(), 0);
  EXPECT_EQ(digits.x[0][0][2].item<double>(), 5. / 16);
  EXPECT_EQ(digits.x[0][0][3].item<double>(), 13. / 16);
}

TEST(LoadDigitsTest, NamesWhatIsWrong) {
  EXPECT_THAT(LoadDigits(absl::StrCat(::testing::TempDir(), "/none.npz")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.npz")));
  const at::Tensor y = at::zeros({2}, at::kLong);
  EXPECT_THAT(LoadDigits(WriteFolder("floating", at::zeros({2, 8, 8}), y)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("floating"), HasSubstr("float64"))));
  EXPECT_THAT(
      LoadDigits(WriteFolder("flat", at::zeros({2, 64}, at::kLong), y)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[2, 64]")));
  EXPECT_THAT(
      LoadDigits(WriteFolder("dark", at::full({2, 8, 8}, 17, at::kLong), y)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("from 17 to 17, expected [0, 16]")));
  EXPECT_THAT(LoadDigits(WriteFolder("eleven", at::zeros({2, 8, 8}, at::kLong),
                                     at::full({2}, 11, at::kLong))),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("from 11 to 11, expected [0, 9]")));
}

TEST(FindDigitsTest, SaysWhatIsMissing) {
  // As a program without runfiles would call it.
  unsetenv("RUNFILES_DIR");
  unsetenv("RUNFILES_MANIFEST_FILE");
  EXPECT_THAT(FindDigits("/nowhere/program"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("runfiles of /nowhere/program")));
}

TEST(MakeMislabelledDigitsTest, DealsEveryImageOnce) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MislabelledDigits task,
      MakeMislabelledDigits(NumberedImages(100),
                            {.num_train = 80, .flipped_share = 0.25}));
  EXPECT_EQ(task.train.size(), 80);
  EXPECT_EQ(task.test.size(), 20);
  std::vector<int> times(100, 0);
  for (const DigitImages* images : {&task.train, &task.test}) {
    for (int64_t n = 0; n < images->size(); ++n) {
      const auto number = images->x[0][n][0].item<double>();
      ++times[static_cast<size_t>(number)];
      const int64_t truth = static_cast<int64_t>(number) % kNumDigits;
      if (images == &task.test) {
        EXPECT_EQ(images->y[n].item<int64_t>(), truth);
      } else {
        EXPECT_EQ(task.true_labels[n].item<int64_t>(), truth);
      }
    }
  }
  EXPECT_THAT(times, ::testing::Each(1));
}

TEST(MakeMislabelledDigitsTest, FlipsExactlyTheShareAskedFor) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MislabelledDigits task,
      MakeMislabelledDigits(NumberedImages(1000),
                            {.num_train = 900, .flipped_share = 0.2}));
  EXPECT_EQ(task.num_flipped, 180);
  int64_t num_wrong = 0;
  std::vector<int> shifts(kNumDigits, 0);
  for (int64_t n = 0; n < 900; ++n) {
    const int64_t shift =
        task.train.y[n].item<int64_t>() - task.true_labels[n].item<int64_t>();
    EXPECT_EQ(task.flipped[n], shift != 0);
    num_wrong += shift != 0;
    ++shifts[(shift + kNumDigits) % kNumDigits];
  }
  EXPECT_EQ(num_wrong, 180);
  // Each wrong label 20 times on average; 4 is below it by 3.8 deviations.
  for (int64_t shift = 1; shift < kNumDigits; ++shift) {
    EXPECT_GT(shifts[shift], 4) << shift;
  }
}

TEST(MakeMislabelledDigitsTest, DependsOnTheSeedAlone) {
  const DigitImages digits = NumberedImages(100);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MislabelledDigits first,
      MakeMislabelledDigits(digits, {.num_train = 60, .seed = 5}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MislabelledDigits again,
      MakeMislabelledDigits(digits, {.num_train = 60, .seed = 5}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MislabelledDigits other,
      MakeMislabelledDigits(digits, {.num_train = 60, .seed = 6}));
  EXPECT_TRUE(at::equal(first.train.x[0], again.train.x[0]));
  EXPECT_TRUE(at::equal(first.train.y, again.train.y));
  EXPECT_EQ(first.flipped, again.flipped);
  EXPECT_FALSE(at::equal(first.train.x[0], other.train.x[0]));
}

TEST(MakeMislabelledDigitsTest, LeavesItsInputAsItIs) {
  const DigitImages digits = NumberedImages(100);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const MislabelledDigits task,
      MakeMislabelledDigits(digits, {.num_train = 99, .flipped_share = 0.5}));
  EXPECT_TRUE(at::equal(digits.y, NumberedImages(100).y));
  EXPECT_EQ(task.num_flipped, 50);
}

TEST(MakeMislabelledDigitsTest, NamesTheOptionOutOfRange) {
  const DigitImages digits = NumberedImages(10);
  for (const int64_t num_train : {0, 10}) {
    EXPECT_THAT(MakeMislabelledDigits(digits, {.num_train = num_train}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("num_train: found ", num_train,
                                                ", expected [1, 10)"))));
  }
  for (const double share : {-0.1, 0.6}) {
    EXPECT_THAT(
        MakeMislabelledDigits(digits, {.num_train = 5, .flipped_share = share}),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 HasSubstr("flipped_share")));
  }
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  influence::g_argv0 = argv[0];
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
