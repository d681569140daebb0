// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/zarr_store_writer.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "calculators/atomic_file.h"
#include "calculators/folder_writer.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/without_root_privileges.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class ZarrStoreWriterTest : public ::testing::Test {
 protected:
  ZarrStoreWriterTest()
      : folder_(fs::path(::testing::TempDir()) /
                absl::StrCat("zarr_store_writer_test.", getpid())),
        path_(folder_ / "scores.zarr") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ZarrStoreWriterTest() override {
    fs::permissions(folder_, fs::perms::owner_all);
    fs::remove_all(folder_);
  }

  fs::path folder_;
  std::string path_;
};

// In chunks of [2, 3]: a grid of 3 x 3.
ZarrArrayMetadata FiveBySeven() {
  ZarrArrayMetadata metadata;
  metadata.shape = {5, 7};
  metadata.chunk_shape = {2, 3};
  metadata.attributes = {{"units", "raw"}};
  metadata.dimension_names = {"query", "train"};
  return metadata;
}

at::Tensor Values() {
  return at::arange(35, at::TensorOptions(at::kFloat)).reshape({5, 7});
}

at::Tensor Part(const at::Tensor& values, int64_t row, int64_t column) {
  return values.slice(0, 2 * row, 2 * row + 2)
      .slice(1, 3 * column, 3 * column + 3);
}

TEST_F(ZarrStoreWriterTest, WritesAnArrayChunkByChunk) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                 store->AddArray("", FiveBySeven()));
  EXPECT_THAT(*array->FirstMissingChunk(), ElementsAre(0, 0));
  for (int64_t row = 2; row >= 0; --row) {
    for (int64_t column = 0; column < 3; ++column) {
      EXPECT_FALSE(array->HasChunk({row, column}));
      INFLUENCE_ASSERT_OK(
          array->WriteChunk({row, column}, Part(Values(), row, column)));
      EXPECT_TRUE(array->HasChunk({row, column}));
    }
  }
  EXPECT_FALSE(array->FirstMissingChunk().has_value());
  EXPECT_FALSE(array->HasChunk({3, 0}));
  EXPECT_FALSE(array->HasChunk({0}));
  EXPECT_FALSE(fs::exists(path_));
  INFLUENCE_ASSERT_OK(store->Commit({{"seconds", 1.5}}));

  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray read, ZarrArray::Open(path_));
  EXPECT_TRUE(at::equal(*read.ReadAll(), Values()));
  EXPECT_EQ(read.metadata().attributes["units"], "raw");
  EXPECT_EQ(read.metadata().attributes["seconds"], 1.5);
  EXPECT_EQ(read.metadata().attributes["complete"], true);
  EXPECT_THAT(read.metadata().dimension_names, ElementsAre("query", "train"));
  INFLUENCE_EXPECT_OK(read.Verify());
  EXPECT_EQ(*ZarrNodeTypeOf(path_), ZarrNodeType::kArray);
}

TEST_F(ZarrStoreWriterTest, WritesRegionsOfWholeChunks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                 store->AddArray("", FiveBySeven()));
  EXPECT_FALSE(array->HasRegion({0, 0}, {2, 7}));
  INFLUENCE_ASSERT_OK(array->Write({0, 0}, Values().slice(0, 0, 2)));
  EXPECT_TRUE(array->HasRegion({0, 0}, {2, 7}));
  EXPECT_FALSE(array->HasRegion({0, 0}, {3, 7}));
  INFLUENCE_ASSERT_OK(array->Write({2, 0}, Values().slice(0, 2, 5)));
  for (const auto& [begin, values] :
       std::vector<std::pair<std::vector<int64_t>, at::Tensor>>{
           {{1, 0}, at::ones({2, 3})},  // Begins within a chunk.
           {{0, 0}, at::ones({2, 4})},  // Ends within one.
           {{4, 6}, at::ones({2, 1})},  // Reaches beyond the array.
           {{0}, at::ones({2, 3})},
           {{0, 0}, at::ones({2, 3}, at::kDouble)}}) {
    EXPECT_THAT(array->Write(begin, values),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected a region of whole chunks of "
                                   "float32 [5, 7] in chunks of [2, 3]")));
  }
  INFLUENCE_ASSERT_OK(store->Commit());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray read, ZarrArray::Open(path_));
  EXPECT_TRUE(at::equal(*read.ReadAll(), Values()));
}

TEST_F(ZarrStoreWriterTest, WritesGroupsAndKeepsDots) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  INFLUENCE_ASSERT_OK(
      store->SetGroupAttributes({{"blocks", {"fc1.weight", "a/b"}}}));
  for (const char* name : {"fc1.weight", "a/b", "..", "__c", "zarr.json"}) {
    ZarrArrayMetadata metadata;
    metadata.dtype = at::kLong;
    metadata.shape = metadata.chunk_shape = {2};
    INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                   store->AddArray(name, metadata));
    INFLUENCE_ASSERT_OK(array->Write({0}, at::ones({2}, at::kLong)));
  }
  INFLUENCE_ASSERT_OK(store->Commit());
  EXPECT_EQ(*ZarrNodeTypeOf(path_), ZarrNodeType::kGroup);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrGroup group, ZarrGroup::Open(path_));
  EXPECT_EQ(group.attributes()["blocks"].dump(), R"(["fc1.weight","a/b"])");
  EXPECT_TRUE(fs::exists(path_ + "/fc1.weight/zarr.json"));
  EXPECT_EQ(*ZarrNodeTypeOf(path_ + "/a"), ZarrNodeType::kGroup);
  for (const char* name : {"fc1.weight", "a/b", "..", "__c", "zarr.json"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                   group.OpenArray(name));
    EXPECT_TRUE(at::equal(*array.ReadAll(), at::ones({2}, at::kLong)));
  }
  EXPECT_THAT(group.OpenArray("fc2"),
              StatusIs(absl::StatusCode::kNotFound,
                       StartsWith(path_ + "/fc2: found nothing there")));
}

TEST_F(ZarrStoreWriterTest, RefusesNamesThatAreTaken) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  INFLUENCE_ASSERT_OK(store->AddArray("a/b", FiveBySeven()).status());
  for (const char* name : {"a/b", "a", "a/b/c"}) {
    EXPECT_THAT(store->AddArray(name, FiveBySeven()),
                StatusIs(absl::StatusCode::kAlreadyExists,
                         HasSubstr("in the store already")))
        << name;
  }
  for (const std::string& name :
       {std::string("a//b"), std::string("/"), std::string(201, 'x')}) {
    EXPECT_THAT(store->AddArray(name, FiveBySeven()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         StartsWith("name: found")));
  }
}

TEST_F(ZarrStoreWriterTest, NamesTheFirstMissingChunk) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                 store->AddArray("", FiveBySeven()));
  INFLUENCE_ASSERT_OK(array->Write({0, 0}, Values().slice(0, 0, 4)));
  INFLUENCE_ASSERT_OK(array->WriteChunk({2, 0}, Part(Values(), 2, 0)));
  EXPECT_FALSE(store->IsWhole());
  EXPECT_THAT(store->Commit(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(StartsWith(path_), HasSubstr("chunk (2, 1)"))));
  EXPECT_FALSE(fs::exists(path_));
  INFLUENCE_ASSERT_OK(array->Write({4, 3}, Values().slice(0, 4).slice(1, 3)));
  EXPECT_TRUE(store->IsWhole());
  INFLUENCE_ASSERT_OK(store->Commit());
  EXPECT_THAT(array->WriteChunk({0, 0}, Part(Values(), 0, 0)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("complete already")));
}

TEST_F(ZarrStoreWriterTest, RefusesOtherChunks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                 store->AddArray("", FiveBySeven()));
  EXPECT_THAT(
      array->WriteChunk({0, 3}, at::ones({2, 3})),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("found chunk (0, 3), expected one of [3, 3]")));
  EXPECT_THAT(array->WriteChunk({2, 2}, at::ones({2, 3})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected float32 [1, 1] for chunk (2, 2)")));
}

TEST_F(ZarrStoreWriterTest, GoesOnWhereAnEarlierRunStopped) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .keep_unfinished = true};
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                   ZarrStoreWriter::Create(path_, options));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                   store->AddArray("", FiveBySeven()));
    INFLUENCE_ASSERT_OK(array->Write({0, 0}, Values().slice(0, 0, 2)));
    // As a crash in the middle of a chunk leaves it.
    std::string temporary;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const int descriptor,
        OpenTemporaryFile(store->folder() + "/c/0/5", temporary));
    INFLUENCE_ASSERT_OK(WriteAt(descriptor, "half", 0, temporary));
    close(descriptor);
  }
  EXPECT_THAT(ZarrArray::Open(path_),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("found only " + path_ +
                                 ".incomplete of an unfinished run")));
  EXPECT_THAT(ZarrArray::Open(path_ + ".incomplete"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("expected a complete Zarr store")));
  INFLUENCE_EXPECT_OK(ZarrArray::Open(path_ + ".incomplete", true));

  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_, options));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                 store->AddArray("", FiveBySeven()));
  EXPECT_THAT(*array->FirstMissingChunk(), ElementsAre(1, 0));
  INFLUENCE_ASSERT_OK(array->Write({2, 0}, Values().slice(0, 2)));
  INFLUENCE_ASSERT_OK(store->Commit());
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    files += entry.is_regular_file();
  }
  EXPECT_EQ(files, 10);  // Nine chunks and the metadata.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray read, ZarrArray::Open(path_));
  EXPECT_TRUE(at::equal(*read.ReadAll(), Values()));

  // Once more: nothing is left to do.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto again,
                                 ZarrStoreWriter::Create(path_, options));
  EXPECT_TRUE(again->finished());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const found,
                                 again->AddArray("", FiveBySeven()));
  EXPECT_FALSE(found->FirstMissingChunk().has_value());
  INFLUENCE_EXPECT_OK(again->Commit());
}

TEST_F(ZarrStoreWriterTest, NamesWhatDiffersFromTheEarlierRun) {
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .keep_unfinished = true};
  for (const bool finished : {false, true}) {
    {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                     ZarrStoreWriter::Create(path_, options));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                     store->AddArray("", FiveBySeven()));
      if (finished) {
        INFLUENCE_ASSERT_OK(array->Write({0, 0}, Values()));
        INFLUENCE_ASSERT_OK(store->Commit());
      }
    }
    const auto add = [&](const ZarrArrayMetadata& metadata) {
      const auto store = ZarrStoreWriter::Create(path_, options);
      EXPECT_THAT(store, IsOk());
      return (*store)->AddArray("", metadata).status();
    };
    const auto differs = [](const std::string& text) {
      return StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(text));
    };
    INFLUENCE_EXPECT_OK(add(FiveBySeven()));
    ZarrArrayMetadata other = FiveBySeven();
    other.attributes["units"] = "loss_change";
    EXPECT_THAT(add(other),
                differs("zarr.json: found attribute \"units\" \"raw\" of an "
                        "earlier run, expected \"loss_change\""));
    other = FiveBySeven();
    other.attributes["method"] = "ekfac";
    EXPECT_THAT(add(other), differs("found attribute \"method\" null"));
    other = FiveBySeven();
    other.shape = {6, 7};
    EXPECT_THAT(add(other),
                differs("found shape [5,7] of an earlier run, expected [6,7]"));
    other = FiveBySeven();
    other.chunk_shape = {2, 4};
    EXPECT_THAT(add(other), differs("found chunk_grid"));
    other = FiveBySeven();
    other.dtype = at::kDouble;
    EXPECT_THAT(add(other), differs("found data_type"));
  }
}

TEST_F(ZarrStoreWriterTest, KeepsTheOldStoreUntilTheNewOneIsWhole) {
  for (const double factor : {1, 2}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto store,
        ZarrStoreWriter::Create(path_, {.overwrite = factor == 2}));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                   store->AddArray("", FiveBySeven()));
    INFLUENCE_ASSERT_OK(array->Write({0, 0}, Values().mul(factor)));
    if (factor == 2) {
      EXPECT_TRUE(at::equal(*ZarrArray::Open(path_)->ReadAll(), Values()));
    }
    INFLUENCE_ASSERT_OK(store->Commit());
  }
  EXPECT_TRUE(at::equal(*ZarrArray::Open(path_)->ReadAll(), Values().mul(2)));
  EXPECT_FALSE(fs::exists(path_ + ".incomplete"));
}

// Threads of two writers that share, as of two processes, write all chunks,
// many of them twice.
TEST_F(ZarrStoreWriterTest, TakesChunksFromManyThreadsAndWriters) {
  constexpr int64_t kGrid = 6;
  ZarrArrayMetadata metadata;
  metadata.shape = {kGrid * 4, kGrid * 4};
  metadata.chunk_shape = {4, 4};
  metadata.dtype = at::kDouble;
  const at::Tensor values =
      SeededNormal({kGrid * 4, kGrid * 4}, at::kDouble, 1);
  const FolderWriterOptions options = {.unfinished = UnfinishedRun::kContinue,
                                       .shared = true};
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      results[t] = [&]() -> absl::Status {
        INFLUENCE_ASSIGN_OR_RETURN(const auto store,
                                   ZarrStoreWriter::Create(path_, options));
        INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                                   store->AddArray("", metadata));
        for (int64_t i = 0; i < kGrid * kGrid; ++i) {
          const int64_t chunk = t % 2 == 0 ? i : kGrid * kGrid - 1 - i;
          const int64_t row = chunk / kGrid;
          const int64_t column = chunk % kGrid;
          if (store->finished() || array->HasChunk({row, column})) continue;
          INFLUENCE_RETURN_IF_ERROR(array->WriteChunk(
              {row, column}, values.slice(0, 4 * row, 4 * row + 4)
                                 .slice(1, 4 * column, 4 * column + 4)));
        }
        return store->Commit();
      }();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) INFLUENCE_EXPECT_OK(result);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray read, ZarrArray::Open(path_));
  EXPECT_TRUE(at::equal(*read.ReadAll(), values));
  EXPECT_FALSE(fs::exists(path_ + ".incomplete"));
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    EXPECT_NE(entry.path().filename().string()[0], '.') << entry.path();
  }
}

// Processes that are killed in the midst of it, each of which goes on where the
// one before it stopped.
TEST_F(ZarrStoreWriterTest, IsCompletedByProcessesThatAreKilled) {
  constexpr int64_t kRows = 40;
  ZarrArrayMetadata metadata;
  metadata.shape = {kRows, 500};
  metadata.chunk_shape = {1, 500};
  const at::Tensor values = SeededNormal({kRows, 500}, at::kFloat, 1);
  const auto write = [&]() -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(
        const auto store,
        ZarrStoreWriter::Create(path_, {.unfinished = UnfinishedRun::kContinue,
                                        .keep_unfinished = true}));
    INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                               store->AddArray("", metadata));
    for (int64_t row = 0; row < kRows; ++row) {
      if (array->HasChunk({row, 0})) continue;
      INFLUENCE_RETURN_IF_ERROR(
          array->WriteChunk({row, 0}, values.slice(0, row, row + 1)));
    }
    return store->Commit();
  };
  std::mt19937 random(7);
  for (int kill_number = 0; kill_number < 12; ++kill_number) {
    const pid_t child = fork();
    if (child == 0) _exit(write().ok() ? 0 : 1);
    usleep(random() % 20000);
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    // Nothing looks complete that is not.
    if (fs::exists(path_)) {
      INFLUENCE_EXPECT_OK(ZarrArray::Open(path_)->Verify());
    }
  }
  INFLUENCE_ASSERT_OK(write());
  EXPECT_TRUE(at::equal(*ZarrArray::Open(path_)->ReadAll(), values));
  EXPECT_FALSE(fs::exists(path_ + ".incomplete"));
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path_)) {
    const std::string name = entry.path().filename();
    files += entry.is_regular_file() && name != ".lock" && name != ".commit";
  }
  EXPECT_EQ(files, kRows + 1);
}

TEST_F(ZarrStoreWriterTest, NamesTheChunkThatTheDiskRefuses) {
  ZarrArrayMetadata metadata;
  metadata.shape = metadata.chunk_shape = {4096};
  metadata.dtype = at::kDouble;
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                   ZarrStoreWriter::Create(path_));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(ZarrArrayWriter* const array,
                                   store->AddArray("", metadata));
    struct rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {4096, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const absl::Status status =
        array->WriteChunk({0}, SeededNormal({4096}, at::kDouble, 1));
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    std::signal(SIGXFSZ, handler);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()),
                AllOf(StartsWith(path_ + ".incomplete/c/0: found"),
                      HasSubstr("expected to write")));
    EXPECT_FALSE(array->HasChunk({0}));
    EXPECT_FALSE(store->Commit().ok());
  }
  EXPECT_THAT(fs::is_empty(folder_), true);
}

TEST_F(ZarrStoreWriterTest, RefusesAFolderThatIsReadOnly) {
  const WithoutRootPrivileges guard;
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(ZarrStoreWriter::Create(path_),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       AllOf(StartsWith(path_),
                             HasSubstr("expected a writable folder"))));
}

TEST_F(ZarrStoreWriterTest, WritesFilesLast) {
  {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto store, ZarrStoreWriter::Create(path_, {}, "state.json"));
    store->SetFile("state.json", "{}");
    EXPECT_FALSE(fs::exists(store->folder() + "/state.json"));
    INFLUENCE_ASSERT_OK(store->Commit());
  }
  EXPECT_EQ(*ReadFile(path_ + "/state.json", 10), "{}");
  // No array: an empty group.
  INFLUENCE_EXPECT_OK(ZarrGroup::Open(path_));
}

}  // namespace
}  // namespace influence
