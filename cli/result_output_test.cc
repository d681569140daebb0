// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/result_output.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ResultOutputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/result_output_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  OutputOptions Options(const std::string& name, bool overwrite = false) const {
    return {.out = folder_ + "/" + name, .overwrite = overwrite};
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  // Rows 0 to 4 of five columns in two tiles of rows.
  static void Fill(ResultOutput& output, const at::Tensor& values) {
    INFLUENCE_ASSERT_OK(output.Write(0, {0, 0}, values.slice(0, 0, 3)));
    INFLUENCE_ASSERT_OK(output.Write(0, {3, 0}, values.slice(0, 3, 5)));
  }

  std::string folder_;
  at::Tensor values_ = at::arange(25, at::kDouble).reshape({5, 5});
};

TEST_F(ResultOutputTest, ZarrAndNpyHoldTheSame) {
  for (const std::string name : {"s.zarr", "s.npy"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<ResultOutput> output,
        ResultOutput::Create(Options(name), at::kDouble,
                             {{"", {5, 5}, {3, 5}}}));
    Fill(*output, values_);
    EXPECT_FALSE(std::filesystem::exists(Options(name).out));
    INFLUENCE_ASSERT_OK(output->Commit({{"units", "raw"}}));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(Options("s.zarr").out));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor zarr, array.ReadAll());
  EXPECT_THAT(zarr, TensorNear(values_, 0));
  EXPECT_EQ(array.metadata().attributes["units"], "raw");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const NpyFile file,
                                 NpyFile::Open(Options("s.npy").out));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor npy, file.ReadAll());
  EXPECT_THAT(npy, TensorNear(values_, 0));
  EXPECT_EQ(Files().size(), 2);
}

TEST_F(ResultOutputTest, SeveralArraysMakeAGroup) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ResultOutput> output,
      ResultOutput::Create(Options("s.zarr"), at::kDouble,
                           {{"fc.1", {5, 5}, {3, 5}}, {"fc.2", {2}, {2}}}));
  Fill(*output, values_);
  INFLUENCE_ASSERT_OK(output->Write(1, {0}, values_[0].slice(0, 0, 2), 0.5));
  INFLUENCE_ASSERT_OK(output->Commit({{"blocks", {"fc.1", "fc.2"}}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrGroup group,
                                 ZarrGroup::Open(Options("s.zarr").out));
  EXPECT_EQ(group.attributes()["blocks"][1], "fc.2");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray second,
                                 group.OpenArray("fc.2"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read, second.ReadAll());
  EXPECT_THAT(read, TensorNear(values_[0].slice(0, 0, 2).mul(0.5), 0));
}

TEST_F(ResultOutputTest, NothingIsLeftOfOneThatIsNotCommitted) {
  for (const std::string name : {"s.zarr", "s.npy"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const std::unique_ptr<ResultOutput> output,
        ResultOutput::Create(Options(name), at::kDouble,
                             {{"", {5, 5}, {3, 5}}}));
    INFLUENCE_ASSERT_OK(output->Write(0, {0, 0}, values_.slice(0, 0, 3)));
    EXPECT_FALSE(
        output->Commit(ZarrAttributes::object()).ok());  // Rows are missing.
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ResultOutputTest, WhatIsThereStaysUnlessOverwritten) {
  for (const std::string name : {"s.zarr", "s.npy"}) {
    const std::vector<ResultArray> arrays = {{"", {5, 5}, {3, 5}}};
    for (const bool overwrite : {false, true}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const std::unique_ptr<ResultOutput> output,
          ResultOutput::Create(Options(name, overwrite), at::kDouble, arrays));
      Fill(*output, values_);
      INFLUENCE_ASSERT_OK(output->Commit(ZarrAttributes::object()));
    }
    const std::string expected = name + ": found an existing " +
                                 (name == "s.zarr" ? "folder" : "file") +
                                 ", expected none, or --overwrite";
    EXPECT_THAT(
        ResultOutput::Check(Options(name)),
        StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(expected)));
    INFLUENCE_EXPECT_OK(ResultOutput::Check(Options(name, true)));
  }
  // Somebody's data are never replaced.
  std::filesystem::create_directories(folder_ + "/mine.zarr");
  std::ofstream(folder_ + "/mine.zarr/notes") << "mine";
  EXPECT_FALSE(ResultOutput::Check(Options("mine.zarr", true)).ok());
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/mine.zarr/notes"));
}

TEST_F(ResultOutputTest, NumbersThatAreNotFiniteAreRefused) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ResultOutput> output,
      ResultOutput::Create(Options("s.zarr"), at::kDouble,
                           {{"", {5, 5}, {5, 5}}}));
  EXPECT_FALSE(
      output
          ->Write(0, {0, 0},
                  at::full({5, 5}, std::numeric_limits<double>::infinity()))
          .ok());
}

TEST_F(ResultOutputTest, InputsAreNotOverwritten) {
  std::filesystem::create_directories(folder_ + "/data.zarr/deep");
  std::ofstream(folder_ + "/data.zarr/deep/x.npy") << "x";
  const std::string data = folder_ + "/data.zarr";
  for (const std::string out : {"data.zarr", "data.zarr/deep/x.npy"}) {
    EXPECT_THAT(RefuseToOverwriteInputs(Options(out), {"", data}),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         HasSubstr("found an input of this run")));
  }
  // Nor a folder that an input lies in.
  EXPECT_THAT(
      RefuseToOverwriteInputs(Options("data.zarr"), {data + "/deep/x.npy"}),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("input")));
  INFLUENCE_EXPECT_OK(RefuseToOverwriteInputs(Options("other.zarr"), {data}));
}

}  // namespace
}  // namespace influence
