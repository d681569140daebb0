// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/interruption.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

std::string TestFile() {
  return ::testing::TempDir() + "/interruption_" +
         ::testing::UnitTest::GetInstance()->current_test_info()->name();
}

absl::StatusOr<std::string> MakeFile(const std::string& path) {
  std::ofstream(path) << "unfinished";
  return path;
}

// In the child of a death test.
[[noreturn]] void RaiseAndWait(int signal) {
  kill(getpid(), signal);
  sleep(60);
  _exit(99);
}

class InterruptionDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  }
};

TEST_F(InterruptionDeathTest, RemovesTheFileAndExitsWithOne) {
  const std::string path = TestFile();
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EXIT(
        {
          signal(SIGHUP, SIG_DFL);
          HandleInterruptions();
          const auto file =
              InterruptibleFile::Create([&] { return MakeFile(path); });
          if (!file.ok()) _exit(98);
          RaiseAndWait(number);
        },
        ::testing::ExitedWithCode(1),
        "influence: error: run: found SIG[A-Z]+, expected to finish");
    EXPECT_FALSE(std::filesystem::exists(path)) << number;
  }
}

TEST_F(InterruptionDeathTest, LeavesAFileThatHasBeenDealtWith) {
  const std::string path = TestFile();
  EXPECT_EXIT(
      {
        HandleInterruptions();
        {
          const auto file =
              InterruptibleFile::Create([&] { return MakeFile(path); });
          if (!file.ok()) _exit(98);
        }
        RaiseAndWait(SIGINT);
      },
      ::testing::ExitedWithCode(1), "found SIGINT");
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
}

TEST_F(InterruptionDeathTest, RemovesAFolderWithAllThatIsInIt) {
  const std::string path = TestFile();
  EXPECT_EXIT(
      {
        HandleInterruptions();
        const auto folder = InterruptibleFile::Create([&] {
          std::filesystem::create_directories(path + "/c/0");
          std::ofstream(path + "/c/0/1") << "unfinished";
          return path;
        });
        if (!folder.ok()) _exit(98);
        RaiseAndWait(SIGTERM);
      },
      ::testing::ExitedWithCode(1), "found SIGTERM");
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(InterruptionDeathTest, LeavesWhatIsWorthKeeping) {
  const std::string path = TestFile();
  EXPECT_EXIT(
      {
        HandleInterruptions();
        const auto file =
            InterruptibleFile::Create([&] { return MakeFile(path); });
        if (!file.ok()) _exit(98);
        (*file)->Keep();
        RaiseAndWait(SIGTERM);
      },
      ::testing::ExitedWithCode(1), "stays in .*, for --resume to go on with");
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove(path);
}

TEST_F(InterruptionDeathTest, NohupIsRespected) {
  EXPECT_EXIT(
      {
        signal(SIGHUP, SIG_IGN);
        HandleInterruptions();
        kill(getpid(), SIGHUP);
        usleep(100000);
        _exit(7);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST(InterruptibleFileTest, AnErrorOfCreateIsReturned) {
  const auto file =
      InterruptibleFile::Create([]() -> absl::StatusOr<std::string> {
        return absl::PermissionDeniedError("out.npy: found no permission");
      });
  EXPECT_THAT(file, StatusIs(absl::StatusCode::kPermissionDenied,
                             "out.npy: found no permission"));
  // And another may be made.
  INFLUENCE_EXPECT_OK(InterruptibleFile::Create(
      []() -> absl::StatusOr<std::string> { return "x"; }));
}

}  // namespace
}  // namespace influence
