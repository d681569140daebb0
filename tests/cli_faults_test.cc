// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What may happen to a long run: it is killed at any moment, its disk fills up,
// a file is damaged, another process comes in its way. Afterwards the output is
// the one of an unbroken run, byte for byte, or an error says what is wrong.
#include <signal.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/cli_problem.h"
#include "tests/support/golden_case.h"
#include "tests/support/influence_command.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kSeed = 20261123;

// All files below `folder`, by their names relative to it. Of the metadata the
// measured part is left out: it differs from run to run.
std::map<std::string, std::string> Contents(const fs::path& folder) {
  std::map<std::string, std::string> contents;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::string text = ReadText(entry.path());
    if (entry.path().filename() == "zarr.json") {
      auto json = nlohmann::ordered_json::parse(text);
      if (json.contains("attributes")) {
        for (const char* measured : {"peak_memory_bytes", "seconds"}) {
          json["attributes"].erase(measured);
        }
      }
      if (json.contains("attributes") && json["attributes"].contains("plan")) {
        for (const char* measured :
             {"peak_memory_bytes", "estimated_seconds"}) {
          json["attributes"]["plan"].erase(measured);
        }
      }
      text = json.dump();
    }
    contents[fs::relative(entry.path(), folder)] = text;
  }
  return contents;
}

void ExpectSameFiles(const fs::path& found, const fs::path& expected) {
  const std::map<std::string, std::string> there = Contents(found);
  const std::map<std::string, std::string> wanted = Contents(expected);
  for (const auto& [name, contents] : wanted) {
    const auto file = there.find(name);
    ASSERT_TRUE(file != there.end()) << found << " lacks " << name;
    EXPECT_EQ(file->second == contents, true) << found / name << " differs";
  }
  for (const auto& [name, contents] : there) {
    EXPECT_EQ(wanted.count(name), 1) << found << " has " << name;
  }
}

// A small network with data that give a few hundred tiles.
class CliFaultsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    problem_ = LoadCliProblem("mlp");
    const Batch small = GoldenTrainBatch(problem_.golden, problem_.arrays);
    Batch large = small;
    std::vector<at::Tensor> inputs, labels;
    for (int copy = 0; copy < 30; ++copy) {
      inputs.push_back(small.x[0].mul(1 + 0.05 * copy));
      labels.push_back(small.y);
    }
    large.x = {at::cat(inputs)};
    large.y = at::cat(labels);
    WriteDataFolder(Path("large"), problem_.golden, large);
    num_large_ = large.size();
  }

  std::string Path(absl::string_view name) const { return problem_.Path(name); }

  // The command line `words`, in which "@" stands for the folder.
  std::vector<std::string> Line(const std::string& words) const {
    std::vector<std::string> line = Words(words);
    for (std::string& word : line) {
      if (word[0] == '@') word = Path(word.substr(1));
    }
    return line;
  }

  CommandResult Run(const std::string& words) const {
    return RunInfluence(Line(words));
  }

  void Succeed(const std::string& words) const {
    const CommandResult result = Run(words);
    ASSERT_EQ(result.exit_code, 0) << words << "\n" << result.err;
  }

  std::string FitLine(const std::string& method, const std::string& out) const {
    return absl::StrCat("fit --quiet --dtype float64 --batch-size 4 --loss ",
                        problem_.golden.loss, " --model ",
                        problem_.golden.model_path, " --train @large ", method,
                        " --out @", out);
  }

  // How long a run takes that is not disturbed.
  absl::Duration TimeOf(const std::string& words) const {
    const absl::Time start = absl::Now();
    Succeed(words);
    return absl::Now() - start;
  }

  // Runs "<words> --out <name>" and kills it at `kills` moments drawn from
  // [0, duration of an unbroken run), resuming after each; a run that is over
  // before its moment has come is begun anew. Each output that is complete is
  // compared with the unbroken one.
  void KillAndCompare(const std::string& words, const std::string& out,
                      int kills) const {
    const std::string unbroken = absl::StrCat("unbroken.", out);
    const absl::Duration duration =
        TimeOf(absl::StrCat(words, " --out @", unbroken));
    const std::string resumed =
        absl::StrCat(words, " --resume --out ", Path(out));
    std::mt19937_64 random(kSeed);
    std::uniform_real_distribution<double> share(0, 1);
    int killed = 0;
    int whole = 0;
    while (killed < kills) {
      const absl::Duration moment = duration * share(random);
      RunningInfluence running(Line(resumed));
      absl::SleepFor(moment);
      running.Signal(SIGKILL);
      const CommandResult result = running.Wait();
      if (result.exit_code == 128 + SIGKILL) {
        ++killed;
        // What looks complete is complete.
        if (fs::exists(Path(out))) Succeed(resumed);
      } else {
        ASSERT_EQ(result.exit_code, 0) << result.err;
      }
      if (fs::exists(Path(out))) {
        ++whole;
        ExpectSameFiles(Path(out), Path(unbroken));
        fs::remove_all(Path(out));
      }
    }
    Succeed(resumed);
    ExpectSameFiles(Path(out), Path(unbroken));
    EXPECT_FALSE(fs::exists(Path(out) + ".incomplete"));
    RecordProperty("killed", killed);
    RecordProperty("whole", whole);
  }

  // Starts `words`, waits until `file` is there and kills it.
  void KillWhenThereIs(const std::string& file,
                       const std::string& words) const {
    RunningInfluence running(Line(words));
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!fs::exists(Path(file)) && absl::Now() < deadline) usleep(500);
    running.Signal(SIGKILL);
    EXPECT_EQ(running.Wait().exit_code, 128 + SIGKILL) << words;
  }

  // Runs a script in mounts of its own; -1 where that is not allowed.
  int RunWithMounts(const std::string& script) const {
    if (std::system("unshare -m true 2>/dev/null") != 0) return -1;
    const std::string path = Path("script.sh");
    std::ofstream(path) << script;
    return WEXITSTATUS(std::system(
        absl::StrCat("unshare -m bash ", path, " 2> ", path, ".err").c_str()));
  }

  CliProblem problem_;
  int64_t num_large_ = 0;
};

constexpr char kScores[] =
    "scores --quiet --fitted @fitted --train @large --test @test "
    "--batch-size 4";

TEST_F(CliFaultsTest, KilledScoresGoOnWhereTheyStopped) {
  // Of a method that iterates, whose reports by query must not be lost.
  Succeed(FitLine("--method cg --regularization 0.5", "fitted"));
  KillAndCompare(kScores, "s.zarr", 20);
}

TEST_F(CliFaultsTest, KilledSelfAndFactorsGoOnWhereTheyStopped) {
  Succeed(FitLine("--method cg --regularization 0.5", "fitted"));
  KillAndCompare("self --quiet --fitted @fitted --train @large --batch-size 4",
                 "self.zarr", 3);
  KillAndCompare(
      "factors --quiet --fitted @fitted --test @large "
      "--batch-size 4",
      "factors.zarr", 3);
}

TEST_F(CliFaultsTest, KilledFitsGoOnAfterTheirFinishedPasses) {
  const std::string line = absl::StrCat(
      "fit --quiet --dtype float64 --batch-size 1 --loss ",
      problem_.golden.loss, " --model ", problem_.golden.model_path,
      " --train @large --regularization 0.5 --method ");
  KillAndCompare(line + "ekfac", "ekfac", 4);
  KillAndCompare(line + "direct", "direct", 2);
}

TEST_F(CliFaultsTest, KilledScoresKeepTheirOwnFit) {
  KillAndCompare(
      absl::StrCat("scores --quiet --dtype float64 --batch-size 4 --loss ",
                   problem_.golden.loss, " --model ",
                   problem_.golden.model_path,
                   " --train @large --test @test --method ekfac"),
      "s.zarr", 4);
}

TEST_F(CliFaultsTest, ShardsMakeTheStoreOfOneProcess) {
  Succeed(FitLine("--method cg --regularization 0.5", "fitted"));
  Succeed(absl::StrCat(kScores, " --out @whole.zarr"));
  const std::string shard = absl::StrCat(kScores, " --out @s.zarr --shard ");
  {
    // One of them is killed, and run again.
    std::vector<std::unique_ptr<RunningInfluence>> shards;
    for (const char* part : {"1/3", "2/3", "3/3"}) {
      shards.push_back(std::make_unique<RunningInfluence>(Line(shard + part)));
    }
    while (!fs::exists(Path("s.zarr.incomplete/c/0"))) usleep(500);
    shards[1]->Signal(SIGKILL);
    for (const auto& running : shards) {
      EXPECT_THAT(running->Wait().exit_code, AnyOf(0, 128 + SIGKILL));
    }
  }
  Succeed(shard + "2/3");
  ExpectSameFiles(Path("s.zarr"), Path("whole.zarr"));
  // It is there: a shard that is run once more has nothing to do.
  Succeed(shard + "1/3");
  ExpectSameFiles(Path("s.zarr"), Path("whole.zarr"));
  Succeed(
      "self --quiet --fitted @fitted --train @large --out @whole_self.zarr"
      " --batch-size 7");
  for (const std::string part : {"2/2", "1/2"}) {
    Succeed(
        "self --quiet --fitted @fitted --train @large --out @self.zarr "
        "--batch-size 7 --shard " +
        part);
  }
  ExpectSameFiles(Path("self.zarr"), Path("whole_self.zarr"));
}

TEST_F(CliFaultsTest, WhatDiffersIsNamed) {
  Succeed(FitLine("--method identity", "fitted"));
  const std::string line = absl::StrCat(kScores, " --out @s.zarr --resume");
  KillWhenThereIs("s.zarr.incomplete/c/0/1", line);
  const auto expect = [&](const std::string& words,
                          const std::string& message) {
    const CommandResult result = Run(words);
    EXPECT_EQ(result.exit_code, 1) << words;
    EXPECT_THAT(result.err,
                AllOf(StartsWith("influence: error: "), HasSubstr(message)));
  };
  expect(absl::StrCat(line, " --units loss_change"),
         "--units: found loss_change, expected raw, with which ");
  expect(absl::StrCat(line, " --mode perturbation"), "--mode: found pert");
  expect(absl::StrCat(line, " --by-block"), "--by-block: found ");
  expect(
      "scores --quiet --fitted @fitted --train @large --test @test "
      "--batch-size 5 --out @s.zarr --resume",
      "--batch-size: found 5, expected 4");
  expect(
      "scores --quiet --fitted @fitted --train @train --test @test "
      "--out @s.zarr --resume",
      absl::StrCat(Path("train"), ": found other contents"));
  expect(
      "scores --quiet --fitted @fitted --train @large --test @train "
      "--out @s.zarr --resume",
      absl::StrCat(Path("train"), ": found other contents"));
  expect("self --quiet --fitted @fitted --train @large --out @s.zarr --resume",
         "found what makes scores, expected self");
  expect(absl::StrCat(kScores, " --out @s.zarr"),
         "expected nothing, or --resume to go on with it, or --overwrite");
  // The method and its options, where the fit is part of the run.
  const std::string fit = absl::StrCat(
      "scores --quiet --batch-size 4 --dtype float64 --train @large --test "
      "@test --out @fit.zarr --resume --loss ",
      problem_.golden.loss, " --model ", problem_.golden.model_path);
  const std::string method = " --method cg --regularization 0.5";
  KillWhenThereIs("fit.zarr.incomplete/c/0/1", fit + method);
  expect(fit + " --method cg --regularization 0.25",
         "--regularization: found 0.25, expected 0.5");
  expect(fit + " --method lissa --regularization 0.5", "--method: found lissa");
  expect(fit + method + " --tolerance 1e-3",
         "--tolerance: found 1e-3, expected 1e-05");
  expect(fit + method + " --seed 3", "--seed: found 3, expected 0");
  // With what was there from the start it goes on.
  Succeed(fit + method);
  Succeed(
      "scores --quiet --fitted @fitted --train @large --test @test "
      "--out @s.zarr --resume");
  // And knows its own when it is complete.
  Succeed(line);
  expect(absl::StrCat(line, " --units loss_change"),
         "--units: found loss_change, expected raw");
}

TEST_F(CliFaultsTest, ASecondProcessIsRefusedWhileTheFirstLives) {
  Succeed(FitLine("--method identity", "fitted"));
  const std::string line = absl::StrCat(kScores, " --out @s.zarr --resume");
  RunningInfluence first(Line(line));
  while (!fs::exists(Path("s.zarr.incomplete/c/0/0"))) usleep(500);
  first.Signal(SIGSTOP);
  const CommandResult second = Run(line);
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.err, HasSubstr("found another process writing it"));
  first.Signal(SIGKILL);
  first.Wait();
  // The lock died with its owner.
  Succeed(line);
  Succeed(absl::StrCat(kScores, " --out @unbroken.zarr"));
  ExpectSameFiles(Path("s.zarr"), Path("unbroken.zarr"));
}

TEST_F(CliFaultsTest, WhatACrashHasLeftIsTakenForNothing) {
  Succeed(FitLine("--method identity", "fitted"));
  const std::string line = absl::StrCat(kScores, " --out @s.zarr --resume");
  KillWhenThereIs("s.zarr.incomplete/c/0/3", line);
  // A chunk that was being written, under the name that such files have.
  std::ofstream(Path("s.zarr.incomplete/c/0/.9.incomplete.1234.1")) << "half";
  fs::remove(Path("s.zarr.incomplete/c/0/2"));
  Succeed(line);
  Succeed(absl::StrCat(kScores, " --out @unbroken.zarr"));
  ExpectSameFiles(Path("s.zarr"), Path("unbroken.zarr"));
}

TEST_F(CliFaultsTest, FlippedBytesAreNamedByTheNextReader) {
  Succeed(FitLine("--method cg --regularization 0.5", "fitted"));
  Succeed(
      "factors --quiet --fitted @fitted --test @test --batch-size 4 "
      "--out @f.zarr");
  const fs::path chunk = Path("f.zarr/c/0/0");
  ASSERT_TRUE(fs::exists(chunk));
  std::string bytes = ReadText(chunk);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 0x10);
  std::ofstream(chunk, std::ios::binary) << bytes;
  const CommandResult result =
      Run("scores --quiet --fitted @fitted --factors @f.zarr --train @train "
          "--out @s.zarr");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("f.zarr/c/0/0: found damaged"));
  EXPECT_FALSE(fs::exists(Path("s.zarr")));
}

TEST_F(CliFaultsTest, AReadOnlyFolderIsAnError) {
  Succeed(FitLine("--method identity", "fitted"));
  fs::create_directories(Path("closed"));
  const std::string line =
      absl::StrCat(kScores, " --out ", Path("closed/s.zarr"));
  CommandResult result = {0, "", ""};
  if (geteuid() != 0) {
    fs::permissions(Path("closed"),
                    fs::perms::owner_read | fs::perms::owner_exec);
    result = Run(line);
    fs::permissions(Path("closed"), fs::perms::owner_all);
  } else {
    // Permissions do not bind root, mounts do.
    std::string command = "cli/influence";
    for (const std::string& word : Line(line)) {
      absl::StrAppend(&command, " '", word, "'");
    }
    result.exit_code = RunWithMounts(
        absl::StrCat("set -e\nmount --bind '", Path("closed"), "' '",
                     Path("closed"), "' || exit 77\nmount -o remount,bind,ro '",
                     Path("closed"), "' || exit 77\n", command, "\n"));
    if (result.exit_code == -1 || result.exit_code == 77) {
      GTEST_SKIP() << "root may not mount here, and nothing else keeps root "
                      "from writing";
    }
    result.err = ReadText(Path("script.sh.err"));
  }
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(StartsWith("influence: error: "),
                                HasSubstr("closed/s.zarr"),
                                HasSubstr("expected a writable folder")));
}

TEST_F(CliFaultsTest, AFullDiskIsAnErrorAndCanBeResumed) {
  Succeed(FitLine("--method identity", "fitted"));
  fs::create_directories(Path("disk"));
  std::string command = "cli/influence";
  for (const std::string& word :
       Line(absl::StrCat(kScores, " --resume --out ", Path("disk/s.zarr")))) {
    absl::StrAppend(&command, " '", word, "'");
  }
  const int code = RunWithMounts(absl::StrCat(
      "mount -t tmpfs -o size=160k tmpfs '", Path("disk"), "' || exit 77\n",
      command, "\ntest $? = 1 || exit 3\n", "test ! -e '", Path("disk/s.zarr"),
      "' || exit 4\n", "test -e '", Path("disk/s.zarr.incomplete/c/0/1"),
      "' || exit 5\n", "mount -o remount,size=64m '", Path("disk"),
      "' || exit 77\n", command, " || exit 6\n", "cp -r '", Path("disk/s.zarr"),
      "' '", Path("s.zarr"), "'\n"));
  if (code == -1 || code == 77) {
    GTEST_SKIP() << "a small disk cannot be mounted here";
  }
  const std::string err = ReadText(Path("script.sh.err"));
  ASSERT_EQ(code, 0) << err;
  EXPECT_THAT(err, AllOf(HasSubstr("No space left on device"),
                         HasSubstr("--resume to go on with")));
  Succeed(absl::StrCat(kScores, " --out @unbroken.zarr"));
  ExpectSameFiles(Path("s.zarr"), Path("unbroken.zarr"));
}

TEST_F(CliFaultsTest, AnInterruptedRunKeepsWhatIsDone) {
  Succeed(FitLine("--method identity", "fitted"));
  const std::string line = absl::StrCat(kScores, " --out @s.zarr");
  RunningInfluence running(Line(line));
  while (!fs::exists(Path("s.zarr.incomplete/c/0/1"))) usleep(500);
  running.Signal(SIGTERM);
  const CommandResult result = running.Wait();
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("found SIGTERM, expected to finish"),
                    HasSubstr("s.zarr.incomplete, for --resume to go on")));
  Succeed(absl::StrCat(line, " --resume"));
}

}  // namespace
}  // namespace influence
