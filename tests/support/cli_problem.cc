// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/cli_problem.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_array.h"
#include "gradients/batch.h"
#include "gtest/gtest.h"
#include "tests/support/golden_case.h"
#include "tests/support/influence_command.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

void WriteNpy(const std::string& path, const at::Tensor& values) {
  absl::StatusOr<std::unique_ptr<NpyWriter>> writer = NpyWriter::Create(
      path, values.sizes().vec(), values.scalar_type(), /*overwrite=*/true);
  INFLUENCE_ASSERT_OK(writer);
  INFLUENCE_ASSERT_OK((*writer)->WriteRows(0, values));
  INFLUENCE_ASSERT_OK((*writer)->Commit());
}

}  // namespace

std::string CliProblem::Path(absl::string_view name) const {
  return absl::StrCat(folder, "/", name);
}

std::vector<std::string> CliProblem::Scores(absl::string_view more) const {
  return Words("scores --quiet --overwrite --dtype float64 --loss " +
                   golden.loss + " " + std::string(more),
               {"--model", golden.model_path, "--train", Path("train"),
                "--test", Path("test"), "--out", out});
}

at::Tensor CliProblem::RunScores(absl::string_view more) const {
  std::filesystem::remove(out);
  const CommandResult result = RunInfluence(Scores(more));
  EXPECT_EQ(result.exit_code, 0) << more << "\n" << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "");
  if (result.exit_code != 0) return at::Tensor();
  return ReadNpy(out);
}

at::Tensor CliProblem::Run(absl::string_view more,
                           const std::string& name) const {
  std::vector<std::string> words =
      Words(more, {"--quiet", "--out", Path(name)});
  for (std::string& word : words) {
    if (word[0] == '@') word = Path(word.substr(1));
  }
  const CommandResult result = RunInfluence(words);
  EXPECT_EQ(result.exit_code, 0) << more << "\n" << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "");
  if (result.exit_code != 0) return at::Tensor();
  if (absl::EndsWith(name, ".zarr")) return ReadZarr(Path(name));
  return absl::EndsWith(name, ".npy") ? ReadNpy(Path(name)) : at::Tensor();
}

CliProblem LoadCliProblem(const std::string& name) {
  CliProblem problem;
  const absl::StatusOr<std::vector<GoldenCase>> cases = LoadGoldenCases();
  EXPECT_THAT(cases, IsOk());
  for (const GoldenCase& golden : *cases) {
    if (golden.name == name) problem.golden = golden;
  }
  EXPECT_EQ(problem.golden.name, name);
  absl::StatusOr<GoldenArrays> arrays = LoadGoldenArrays(problem.golden);
  EXPECT_THAT(arrays, IsOk());
  problem.arrays = *std::move(arrays);
  std::string test =
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::replace(test.begin(), test.end(), '/', '_');
  problem.folder = absl::StrCat(::testing::TempDir(), "/cli_", test, "_", name);
  std::filesystem::remove_all(problem.folder);
  WriteDataFolder(problem.Path("train"), problem.golden,
                  GoldenTrainBatch(problem.golden, problem.arrays));
  WriteDataFolder(problem.Path("test"), problem.golden,
                  GoldenTestBatch(problem.golden, problem.arrays));
  problem.out = problem.Path("scores.npy");
  return problem;
}

void WriteDataFolder(const std::string& folder, const GoldenCase& golden,
                     const Batch& batch) {
  std::filesystem::create_directories(folder);
  for (size_t i = 0; i < batch.x.size(); ++i) {
    WriteNpy(absl::StrCat(folder, "/", golden.inputs[i], ".npy"), batch.x[i]);
  }
  WriteNpy(folder + "/y.npy", batch.y);
}

at::Tensor ReadNpy(const std::string& path) {
  const absl::StatusOr<NpyFile> file = NpyFile::Open(path);
  EXPECT_THAT(file, IsOk());
  if (!file.ok()) return at::Tensor();
  return file->ReadAll().value();
}

at::Tensor ReadZarr(const std::string& path) {
  const absl::StatusOr<ZarrArray> array = ZarrArray::Open(path);
  EXPECT_THAT(array, IsOk());
  if (!array.ok()) return at::Tensor();
  const absl::StatusOr<at::Tensor> values = array->ReadAll();
  EXPECT_THAT(values, IsOk());
  return values.ok() ? *values : at::Tensor();
}

std::string NumberText17(double value) {
  return absl::StrFormat("%.17g", value);
}

}  // namespace influence
