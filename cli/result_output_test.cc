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
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "calculators/folder_writer.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/options.h"
#include "cli/resume_guard.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "operators/solve_report.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
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
    OutputOptions options;
    options.out = folder_ + "/" + name;
    options.overwrite = overwrite;
    return options;
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  // Opened, with these arrays.
  static absl::StatusOr<std::unique_ptr<ResultOutput>> Create(
      const OutputOptions& options,
      const std::vector<ResultArray>& arrays = {{"", {5, 5}, {3, 5}}}) {
    INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<ResultOutput> output,
                               ResultOutput::Open(options));
    INFLUENCE_RETURN_IF_ERROR(
        output
            ->Plan({},
                   []() -> absl::StatusOr<nlohmann::ordered_json> {
                     return nlohmann::ordered_json::object();
                   })
            .status());
    INFLUENCE_RETURN_IF_ERROR(output->Begin(at::kDouble, arrays));
    return output;
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
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                   Create(Options(name)));
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
      Create(Options("s.zarr"),
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

TEST_F(ResultOutputTest, NothingIsLeftOfOneThatHasWrittenNothing) {
  for (const std::string name : {"s.zarr", "s.npy"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                   Create(Options(name)));
    EXPECT_FALSE(
        output->Commit(ZarrAttributes::object()).ok());  // Rows are missing.
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ResultOutputTest, NothingIsLeftOfAFileThatIsNotCommitted) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                   Create(Options("s.npy")));
    INFLUENCE_ASSERT_OK(output->Write(0, {0, 0}, values_.slice(0, 0, 3)));
  }
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(ResultOutputTest, TakesNanOnlyWhereASolveHasFailed) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                 Create(Options("s.zarr")));
  const at::Tensor tile = values_.slice(0, 0, 3).clone();
  tile[1].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(output->Write(0, {0, 0}, tile),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("NaN throughout row 1")));
  INFLUENCE_ASSERT_OK(
      output->KeepSolves(0, {{"all",
                              {{SolveOutcome::kConverged, 7, 0.5},
                               {SolveOutcome::kDiverged, 7, 1},
                               {SolveOutcome::kConverged, 7, 0.5}}}}));
  INFLUENCE_EXPECT_OK(output->Write(0, {0, 0}, tile));
  tile[0].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(output->Write(0, {0, 0}, tile),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("NaN throughout row 0")));
  // Of a part that has said nothing.
  const at::Tensor last = values_.slice(0, 3, 5).clone();
  last[1].fill_(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(output->Write(0, {3, 0}, last),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("NaN throughout row 4")));
}

TEST_F(ResultOutputTest, ResumingGoesOnWithTheTilesThatAreThere) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                   Create(Options("s.zarr")));
    INFLUENCE_ASSERT_OK(
        output->KeepSolves(0, {{"all", {{SolveOutcome::kStagnated, 7, 0.5}}}}));
    INFLUENCE_ASSERT_OK(output->Write(0, {0, 0}, values_.slice(0, 0, 3)));
    EXPECT_THAT(
        output->Explain(absl::ResourceExhaustedError("disk full")),
        StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("--resume")));
  }
  EXPECT_THAT(Files(), ElementsAre("s.zarr.incomplete"));
  EXPECT_THAT(ResultOutput::Open(Options("s.zarr")),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("s.zarr.incomplete: found"),
                             HasSubstr("--resume"), HasSubstr("--overwrite"))));
  OutputOptions options = Options("s.zarr");
  options.resume = true;
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                   Create(options));
    EXPECT_TRUE(output->HasTile(0, {0, 0}));
    EXPECT_FALSE(output->HasTile(0, {3, 0}));
    EXPECT_FALSE(output->IsWhole());
    INFLUENCE_ASSERT_OK(
        output->KeepSolves(1, {{"all", {{SolveOutcome::kConverged, 9, 0}}}}));
    INFLUENCE_ASSERT_OK(output->Write(0, {3, 0}, values_.slice(0, 3, 5)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto solves, output->Solves(2));
    ASSERT_EQ(solves.size(), 1);
    ASSERT_EQ(solves[0].reports.size(), 2);
    EXPECT_EQ(solves[0].reports[0].iterations, 7);
    EXPECT_EQ(solves[0].reports[1].iterations, 9);
    INFLUENCE_ASSERT_OK(output->Commit({{"units", "raw"}}));
  }
  EXPECT_THAT(Files(), ElementsAre("s.zarr"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(Options("s.zarr").out));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read, array.ReadAll());
  EXPECT_THAT(read, TensorNear(values_, 0));

  // And once more: it is there.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                 ResultOutput::Open(options));
  EXPECT_TRUE(output->finished());
  RunItems items;
  items.items["units"] = "raw";
  EXPECT_EQ(output->CheckFinished(items).value()["units"], "raw");
  items.items["units"] = "loss_change";
  EXPECT_THAT(output->CheckFinished(items),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("--units: found loss_change, expected raw")));
}

TEST_F(ResultOutputTest, OverwritingStartsAnew) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                   Create(Options("s.zarr")));
    INFLUENCE_ASSERT_OK(output->Write(0, {0, 0}, values_.slice(0, 0, 3)));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                 Create(Options("s.zarr", true)));
  EXPECT_FALSE(output->HasTile(0, {0, 0}));
}

TEST_F(ResultOutputTest, ShardsShareAStoreAndNobodyElseComesIn) {
  // In place of another process.
  FolderWriterOptions shared;
  shared.unfinished = UnfinishedRun::kContinue;
  shared.shared = true;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ZarrStoreWriter> another,
      ZarrStoreWriter::Create(Options("s.zarr").out, shared));
  OutputOptions alone = Options("s.zarr");
  alone.resume = true;
  EXPECT_THAT(ResultOutput::Open(alone),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("another process")));
  OutputOptions options = Options("s.zarr");
  options.shard = Shard{1, 2};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                 Create(options));
  INFLUENCE_ASSERT_OK(output->Write(0, {0, 0}, values_.slice(0, 0, 3)));
  EXPECT_FALSE(output->IsWhole());
  INFLUENCE_ASSERT_OK(output->Write(0, {3, 0}, values_.slice(0, 3, 5)));
  EXPECT_TRUE(output->IsWhole());
  INFLUENCE_EXPECT_OK(output->Commit(ZarrAttributes::object()));
}

TEST_F(ResultOutputTest, WhatIsThereStaysUnlessOverwritten) {
  for (const std::string name : {"s.zarr", "s.npy"}) {
    for (const bool overwrite : {false, true}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                     Create(Options(name, overwrite)));
      Fill(*output, values_);
      INFLUENCE_ASSERT_OK(output->Commit(ZarrAttributes::object()));
    }
    const std::string expected = name + ": found an existing " +
                                 (name == "s.zarr" ? "folder" : "file") +
                                 ", expected none, or --overwrite";
    EXPECT_THAT(
        ResultOutput::Open(Options(name)),
        StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(expected)));
    INFLUENCE_EXPECT_OK(ResultOutput::Open(Options(name, true)));
  }
  // Somebody's data are never replaced.
  std::filesystem::create_directories(folder_ + "/mine.zarr");
  std::ofstream(folder_ + "/mine.zarr/notes") << "mine";
  EXPECT_FALSE(ResultOutput::Open(Options("mine.zarr", true)).ok());
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/mine.zarr/notes"));
}

TEST_F(ResultOutputTest, NumbersThatAreNotFiniteAreRefused) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<ResultOutput> output,
      Create(Options("s.zarr"), {{"", {5, 5}, {5, 5}}}));
  EXPECT_FALSE(
      output
          ->Write(0, {0, 0},
                  at::full({5, 5}, std::numeric_limits<double>::infinity()))
          .ok());
}

TEST_F(ResultOutputTest, ErrorsThatDoNotNameTheOutputNameTheirSource) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ResultOutput> output,
                                 Create(Options("s.zarr")));
  const absl::Status disk =
      absl::ResourceExhaustedError(folder_ + "/s.zarr: no space left");
  EXPECT_EQ(output->NameSource(disk, "m.pt"), disk);
  EXPECT_EQ(output->NameSource(absl::InternalError("has NaN"), "m.pt"),
            absl::InternalError("m.pt: has NaN"));
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
