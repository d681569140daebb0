// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/fitted_state_folder.h"

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "calculators/atomic_file.h"
#include "calculators/zarr_array.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_models_testing.h"
#include "influence/fitted_state.h"
#include "influence/restore_influence.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/without_root_privileges.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The same in every field and bit.
bool Same(const LoadedFittedState& a, const LoadedFittedState& b) {
  const FittedState& s = a.state;
  const FittedState& t = b.state;
  bool same = s.method == t.method && s.options == t.options &&
              s.regularization == t.regularization &&
              s.auto_regularization == t.auto_regularization &&
              s.num_fitted_samples == t.num_fitted_samples &&
              s.blocks.size() == t.blocks.size() &&
              s.arrays.size() == t.arrays.size() &&
              a.origin.model_path == b.origin.model_path &&
              a.origin.model_fingerprint == b.origin.model_fingerprint &&
              a.origin.train_path == b.origin.train_path &&
              a.origin.train_fingerprint == b.origin.train_fingerprint &&
              a.origin.loss == b.origin.loss &&
              a.origin.query_function == b.origin.query_function &&
              a.origin.dtype == b.origin.dtype &&
              a.origin.versions == b.origin.versions &&
              a.origin.extra == b.origin.extra;
  for (size_t i = 0; same && i < s.blocks.size(); ++i) {
    same = s.blocks[i].name == t.blocks[i].name &&
           s.blocks[i].parameters == t.blocks[i].parameters;
  }
  for (size_t i = 0; same && i < s.arrays.size(); ++i) {
    same =
        s.arrays[i].name == t.arrays[i].name &&
        s.arrays[i].values.scalar_type() == t.arrays[i].values.scalar_type() &&
        s.arrays[i].values.equal(t.arrays[i].values);
  }
  return same;
}

LoadedFittedState Example() {
  LoadedFittedState example;
  FittedState& state = example.state;
  state.method = "ekfac";
  state.options = {{"fisher", "empirical"}, {"tolerance", "1e-06"}};
  state.blocks = {{"fc1.0", {"fc1.0.weight", "fc1.0.bias"}}, {"fc2", {"w"}}};
  state.regularization = {0.1, 1.0 / 3};
  state.auto_regularization = {5e-324, 1e300};
  state.num_fitted_samples = 9000;
  state.arrays = {
      {"fc1.0/eigenvalues", SeededNormal({4, 3}, at::kDouble, 1)},
      {"fc1.0/vectors", SeededNormal({3, 3}, at::kFloat, 2).t()},
      {"fc2/count",
       at::full({}, int64_t{1} << 60, at::TensorOptions(at::kLong))},
      {"..", at::empty({0, 3})},
  };
  FittedStateOrigin& origin = example.origin;
  origin = {.model_path = "models/m \"1\".pt",
            .model_fingerprint = "aa11",
            .train_path = "train.npz",
            .train_fingerprint = "bb22",
            .loss = "cross_entropy",
            .query_function = "loss",
            .dtype = "float32",
            .versions = {{"LibTorch", "2.13.0"}},
            .extra = {{"seed", "7"}}};
  return example;
}

class FittedStateFolderTest : public ::testing::Test {
 protected:
  FittedStateFolderTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("fitted_state_folder_test.", getpid())),
        path_(folder_ / "fitted") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~FittedStateFolderTest() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  absl::Status Save(const LoadedFittedState& example,
                    const FittedStateOptions& options = {}) {
    return SaveFittedState(path_, example.state, example.origin, options);
  }

  std::string Json() {
    return ReadFile(path_ + "/fitted.json", 1 << 20).value();
  }

  void WriteJson(const std::string& json) {
    INFLUENCE_ASSERT_OK(WriteFileAtomically(path_ + "/fitted.json", json));
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(FittedStateFolderTest, LoadsWhatItSaved) {
  const LoadedFittedState example = Example();
  INFLUENCE_ASSERT_OK(Save(example));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LoadedFittedState loaded,
                                 LoadFittedState(path_));
  EXPECT_TRUE(Same(loaded, example));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LoadedFittedState without,
                                 LoadFittedStateWithoutArrays(path_));
  EXPECT_TRUE(without.state.arrays.empty());
  EXPECT_EQ(without.origin.model_fingerprint, "aa11");
  // The arrays are there for everybody.
  EXPECT_TRUE(ZarrArray::Open(path_ + "/fc1.0/eigenvalues")
                  ->ReadAll()
                  ->equal(example.state.arrays[0].values));
  EXPECT_FALSE(fs::exists(path_ + ".incomplete"));
}

TEST_F(FittedStateFolderTest, KeepsAnExistingFolderUnlessAskedTo) {
  INFLUENCE_ASSERT_OK(Save(Example()));
  LoadedFittedState other = Example();
  other.state.method = "kfac";
  EXPECT_THAT(Save(other), StatusIs(absl::StatusCode::kAlreadyExists,
                                    StartsWith(path_ + ": found")));
  EXPECT_TRUE(Same(*LoadFittedState(path_), Example()));
  INFLUENCE_ASSERT_OK(Save(other, {.overwrite = true}));
  EXPECT_TRUE(Same(*LoadFittedState(path_), other));

  // A failed one leaves the old one in its place.
  other.state.arrays.push_back(other.state.arrays.front());
  EXPECT_THAT(Save(other, {.overwrite = true}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("fc1.0/eigenvalues")));
  EXPECT_EQ(LoadFittedState(path_)->state.method, "kfac");
  EXPECT_FALSE(fs::exists(path_ + ".incomplete"));
}

TEST_F(FittedStateFolderTest, NeverReplacesWhatIsNoFittedFolder) {
  fs::create_directories(path_);
  EXPECT_THAT(Save(Example(), {.overwrite = true}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("without fitted.json")));
}

TEST_F(FittedStateFolderTest, RefusesWhatCannotBeStored) {
  const auto with = [](FittedArray array) {
    LoadedFittedState example = Example();
    example.state.arrays.push_back(std::move(array));
    return example;
  };
  const auto refused = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  EXPECT_THAT(Save(with({"a", at::Tensor()})), refused("fitted array a"));
  EXPECT_THAT(Save(with({"a", at::ones({2}, at::kHalf)})), refused("float16"));
  EXPECT_THAT(Save(with({"", at::ones({2})})), refused("name: found"));
  LoadedFittedState example = Example();
  example.state.regularization[0] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Save(example), refused("regularization"));
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(FittedStateFolderTest, SaysWhatIsNoFittedFolder) {
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kNotFound,
                       path_ + ": found nothing there, expected a fitted "
                               "folder"));
  fs::create_directories(path_);
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kNotFound,
                       StartsWith(path_ + ": found no fitted.json in it")));
  fs::rename(path_, path_ + ".incomplete");
  EXPECT_THAT(
      LoadFittedState(path_),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("of an unfinished fit")));
}

TEST_F(FittedStateFolderTest, NamesAnotherVersionOfTheFormat) {
  INFLUENCE_ASSERT_OK(Save(Example()));
  WriteJson(
      absl::StrReplaceAll(Json(), {{"\"version\": 2", "\"version\": 1"}}));
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(StartsWith(path_ + "/fitted.json: found version 1 "
                                                "of the format"),
                             HasSubstr("expected version 2; fit again"))));
  WriteJson("{\"format\": \"something else\"}");
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("\"format\"")));
}

TEST_F(FittedStateFolderTest, NamesAMissingArray) {
  INFLUENCE_ASSERT_OK(Save(Example()));
  fs::remove_all(path_ + "/fc1.0/vectors");
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(StartsWith(path_),
                             HasSubstr("no array \"fc1.0/vectors\""))));
  INFLUENCE_EXPECT_OK(LoadFittedStateWithoutArrays(path_));
}

TEST_F(FittedStateFolderTest, NamesAMissingChunk) {
  INFLUENCE_ASSERT_OK(Save(Example()));
  const std::string chunk = path_ + "/fc1.0/eigenvalues/c/0/0";
  ASSERT_TRUE(fs::remove(chunk));
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       StartsWith(chunk + ": found no such file")));
}

// Undamaged, but from another place.
TEST_F(FittedStateFolderTest, NamesAnArrayOfAnotherFit) {
  LoadedFittedState other = Example();
  other.state.arrays[0].values = SeededNormal({4, 3}, at::kDouble, 8);
  INFLUENCE_ASSERT_OK(Save(other));
  fs::rename(path_, folder_ / "other");
  INFLUENCE_ASSERT_OK(Save(Example()));
  fs::copy(folder_ / "other/fc1.0/eigenvalues", path_ + "/fc1.0/eigenvalues",
           fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(StartsWith(path_ + "/fc1.0/eigenvalues: found "
                                                "other values"),
                             HasSubstr("sha256"))));
  fs::remove_all(path_ + "/fc1.0/eigenvalues");
  fs::copy(path_ + "/fc1.0/vectors", path_ + "/fc1.0/eigenvalues",
           fs::copy_options::recursive);
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("found float32 [3, 3] in chunks of [3, 3], "
                                 "expected float64 [4,3]")));
}

// 34 small arrays of three dtypes and a large one: four arrays, two files each.
TEST_F(FittedStateFolderTest, ManySmallArraysShareFiles) {
  LoadedFittedState example = Example();
  std::vector<FittedArray>& arrays = example.state.arrays;
  arrays.push_back({"large", SeededNormal({800, 700}, at::kDouble, 5)});
  while (arrays.size() < 35) {
    const auto i = static_cast<int64_t>(arrays.size());
    // Together more than a chunk.
    arrays.push_back({absl::StrCat("layer", i, "/vectors"),
                      SeededNormal({i, 2500}, at::kDouble, i)});
  }
  INFLUENCE_ASSERT_OK(Save(example));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LoadedFittedState loaded,
                                 LoadFittedState(path_));
  EXPECT_TRUE(Same(loaded, example));
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    if (entry.is_regular_file()) ++files;
  }
  EXPECT_LE(files, 2 + 4 * 2 + 1);
  EXPECT_TRUE(
      ZarrArray::Open(path_ + "/large")->ReadAll()->equal(arrays[4].values));
  // Others read it at its place.
  EXPECT_TRUE(ZarrArray::Open(path_ + "/packed_float64")
                  ->ReadAll()
                  ->narrow(0, 0, 12)
                  .equal(arrays[0].values.view({12})));
  EXPECT_FALSE(fs::exists(path_ + "/fc1.0"));

  // Damage is found all the same.
  const std::string chunk = path_ + "/packed_float64/c/0";
  INFLUENCE_ASSERT_OK_AND_ASSIGN(std::string bytes, ReadFile(chunk, 1 << 30));
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  INFLUENCE_ASSERT_OK(WriteFileAtomically(chunk, bytes));
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss, StartsWith(path_)));
  fs::remove_all(path_ + "/packed_float64");
  EXPECT_THAT(LoadFittedState(path_),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("no array \"packed_float64\"")));
  arrays.push_back({"packed_float64", at::ones({2})});
  EXPECT_THAT(Save(example, {.overwrite = true}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("begins with packed_")));
}

// A byte of any file changed (every one of a chunk, every third of the longer
// texts): an error that names a file or folder in the store, or (white space,
// attributes for others) the very same state.
TEST_F(FittedStateFolderTest, NoticesAChangedByteInAnyFile) {
  LoadedFittedState example = Example();
  example.state.arrays.resize(1);
  INFLUENCE_ASSERT_OK(Save(example));
  int refused = 0;
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  EXPECT_EQ(files.size(), 5);  // fitted.json, three zarr.json and one chunk.
  for (const fs::path& file : files) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::string good,
                                   ReadFile(file, 1 << 20));
    const size_t step = file.extension() == ".json" ? 3 : 1;
    for (size_t i = 0; i < good.size(); i += step) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1);
      std::ofstream(file, std::ios::binary) << bad;  // Thousands: unsynced.
      const absl::StatusOr<LoadedFittedState> loaded = LoadFittedState(path_);
      if (loaded.ok()) {
        EXPECT_TRUE(Same(*loaded, example)) << file << " " << i;
      } else {
        ++refused;
        EXPECT_TRUE(absl::StartsWith(loaded.status().message(), path_))
            << loaded.status();
      }
    }
    INFLUENCE_ASSERT_OK(WriteFileAtomically(file, good));
  }
  EXPECT_GT(refused, 400);
  EXPECT_TRUE(Same(*LoadFittedState(path_), example));
}

TEST_F(FittedStateFolderTest, NamesAnotherModelAndOtherData) {
  const FittedStateOrigin origin = Example().origin;
  INFLUENCE_EXPECT_OK(CheckFittedModel(path_, origin, "moved.pt", "aa11"));
  EXPECT_THAT(
      CheckFittedModel(path_, origin, "other.pt", "cc33"),
      StatusIs(
          absl::StatusCode::kFailedPrecondition,
          absl::StrCat("other.pt: found a model with fingerprint cc33, "
                       "expected aa11: ",
                       path_, " was fitted to another (models/m \"1\".pt)")));
  INFLUENCE_EXPECT_OK(CheckFittedData(path_, origin, "train.npz", "bb22"));
  EXPECT_THAT(CheckFittedData(path_, origin, "t.npz", "cc33"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       StartsWith("t.npz: found data with fingerprint cc33")));
}

TEST_F(FittedStateFolderTest, RefusesAFolderThatIsReadOnly) {
  const WithoutRootPrivileges guard;
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(Save(Example()),
              StatusIs(absl::StatusCode::kPermissionDenied, StartsWith(path_)));
}

class FittedMethodTest : public ::testing::TestWithParam<std::string> {};

// Fitted here, scored there: the same scores to the bit.
TEST_P(FittedMethodTest, ScoresAsBeforeFromItsFolder) {
  const std::string path = absl::StrCat(
      ::testing::TempDir(), "/fitted_method_test.", getpid(), ".", GetParam());
  fs::remove_all(path);
  const FittedProblem problem = MakeFittedProblem();
  const auto fitted = FitMethod(GetParam(), problem);
  ASSERT_NE(fitted, nullptr);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                 fitted->ExportState());
  INFLUENCE_ASSERT_OK(SaveFittedState(path, state, FittedStateOrigin()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const LoadedFittedState loaded,
                                 LoadFittedState(path));
  EXPECT_TRUE(Same(loaded, {state, FittedStateOrigin()}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto restored,
      RestoreInfluence(loaded.state, problem.provider, problem.train));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor expected,
      fitted->Influences(problem.test, problem.train_batch));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor scores,
      restored->Influences(problem.test, problem.train_batch));
  EXPECT_TRUE(scores.equal(expected));
  EXPECT_EQ(restored->num_fitted_samples(), fitted->num_fitted_samples());
  fs::remove_all(path);
}

INSTANTIATE_TEST_SUITE_P(Methods, FittedMethodTest,
                         ::testing::ValuesIn(RestorableMethods()),
                         [](const auto& method) { return method.param; });

}  // namespace
}  // namespace influence
