// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The `influence` program as a job of several processes, started by mpirun: the
// numbers of a single process, whatever happens to a rank.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/equal.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kSeed = 20261123;

// mpirun with the program as root, more ranks than cores allowed.
class RunningJob {
 public:
  RunningJob(int ranks, const std::string& folder,
             const std::vector<std::string>& arguments)
      : out_(folder + "/job.out"), err_(folder + "/job.err") {
    std::vector<std::string> words = {
        "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
        "-n",     absl::StrCat(ranks),   "cli/influence"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    process_ = fork();
    if (process_ == 0) {
      for (const auto& [path, descriptor] :
           {std::pair(out_.c_str(), STDOUT_FILENO),
            std::pair(err_.c_str(), STDERR_FILENO)}) {
        const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
      }
      execvp("mpirun", pointers.data());
      _exit(127);
    }
  }

  // The ranks' processes, which are mpirun's children.
  std::vector<int> Ranks() const {
    std::vector<int> ranks;
    std::ifstream children(
        absl::StrCat("/proc/", process_, "/task/", process_, "/children"));
    for (int child; children >> child;) {
      const std::string name = ReadText(absl::StrCat("/proc/", child, "/comm"));
      if (absl::StartsWith(name, "influence")) ranks.push_back(child);
    }
    return ranks;
  }

  bool HasEnded() {
    if (process_ != 0 && waitpid(process_, &status_, WNOHANG) == process_) {
      process_ = 0;
    }
    return process_ == 0;
  }

  CommandResult Wait() {
    if (process_ != 0) waitpid(process_, &status_, 0);
    process_ = 0;
    return {WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_),
            ReadText(out_), ReadText(err_)};
  }

 private:
  std::string out_, err_;
  int process_ = 0;
  int status_ = 0;
};

double LargestOf(const at::Tensor& values) {
  return values.abs().max().item<double>();
}

// Samples enough for a few dozen tiles.
class CliJobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // mpirun's sockets want a short path.
    char folder[] = "/tmp/mpi.XXXXXX";
    temporary_ = mkdtemp(folder);
    setenv("TMPDIR", temporary_.c_str(), 1);
    problem_ = LoadCliProblem("mlp");
    const Batch small = GoldenTrainBatch(problem_.golden, problem_.arrays);
    Batch large = small;
    std::vector<at::Tensor> inputs, labels;
    for (int copy = 0; copy < 12; ++copy) {
      inputs.push_back(small.x[0].mul(1 + 0.05 * copy));
      labels.push_back(small.y);
    }
    large.x = {at::cat(inputs)};
    large.y = at::cat(labels);
    WriteDataFolder(problem_.Path("large"), problem_.golden, large);
  }

  void TearDown() override { fs::remove_all(temporary_); }

  std::string Path(absl::string_view name) const { return problem_.Path(name); }

  // The words of a command line, in which "@" stands for the folder.
  std::vector<std::string> Line(const std::string& words) const {
    std::vector<std::string> line = Words(words);
    for (std::string& word : line) {
      if (word[0] == '@') word = Path(word.substr(1));
    }
    return line;
  }

  CommandResult Job(int ranks, const std::string& words) const {
    return RunningJob(ranks, problem_.folder, Line(words)).Wait();
  }

  void SucceedAsJob(int ranks, const std::string& words) const {
    const CommandResult result = Job(ranks, words);
    ASSERT_EQ(result.exit_code, 0) << words << "\n" << result.err;
  }

  void SucceedAlone(const std::string& words) const {
    const CommandResult result = RunInfluence(Line(words));
    ASSERT_EQ(result.exit_code, 0) << words << "\n" << result.err;
  }

  std::string FitLine(const std::string& method, int batch_size = 4) const {
    return absl::StrCat("fit --quiet --dtype float64 --batch-size ", batch_size,
                        " --loss ", problem_.golden.loss, " --model ",
                        problem_.golden.model_path, " --train @large ", method,
                        " --threads 1");
  }

  // Kills a rank of `scores` with the method at random moments, until it has
  // been that often, resumes, and compares with an unbroken job, which differs
  // from a process alone by `rounding` at most.
  void KillRanks(const std::string& method, int kills, double rounding) const {
    SucceedAlone(FitLine("--method " + method) + " --out @fitted");
    const std::string words =
        "scores --quiet --threads 1 --train @large --test @test --batch-size 1 "
        "--fitted @fitted ";
    SucceedAlone(words + "--out @alone.zarr");
    const absl::Time start = absl::Now();
    SucceedAsJob(2, words + "--out @unbroken.zarr");
    const absl::Duration duration = absl::Now() - start;
    const at::Tensor expected = ReadZarr(Path("unbroken.zarr"));
    EXPECT_THAT(ReadZarr(Path("alone.zarr")),
                TensorNear(expected, rounding * LargestOf(expected)));

    std::mt19937_64 random(kSeed);
    for (int killed = 0; killed < kills;) {
      if (KillARank(words + "--out @scores.zarr", duration, random)) ++killed;
      if (!fs::exists(Path("scores.zarr"))) continue;
      EXPECT_TRUE(at::equal(ReadZarr(Path("scores.zarr")), expected));
      fs::remove_all(Path("scores.zarr"));
    }
    SucceedAsJob(2, words + "--resume --out @scores.zarr");
    EXPECT_TRUE(at::equal(ReadZarr(Path("scores.zarr")), expected));
    EXPECT_FALSE(fs::exists(Path("scores.zarr.incomplete")));
  }

  // Runs `words` with --resume on two ranks and kills one of them at a moment
  // drawn from [0, duration): whether it was hit before the end.
  bool KillARank(const std::string& words, absl::Duration duration,
                 std::mt19937_64& random) const {
    std::uniform_real_distribution<double> share(0, 1);
    const absl::Time moment = absl::Now() + duration * share(random);
    RunningJob job(2, problem_.folder, Line(words + " --resume"));
    bool hit = false;
    while (!hit && !job.HasEnded()) {
      absl::SleepFor(absl::Milliseconds(2));
      const std::vector<int> ranks = job.Ranks();
      if (absl::Now() < moment || ranks.size() != 2) continue;
      hit = kill(ranks[random() % 2], SIGKILL) == 0;
    }
    const CommandResult result = job.Wait();
    EXPECT_TRUE(hit || result.exit_code == 0) << result.err;
    return hit && result.exit_code != 0;
  }

  CliProblem problem_;
  std::string temporary_;
};

TEST_F(CliJobTest, RanksGiveTheNumbersOfOneProcess) {
  // With ihm the ranks solve together, and add in another order.
  for (const std::string method : {"ekfac", "cg", "ihm"}) {
    SCOPED_TRACE(method);
    const double rounding = method == "ihm" ? 1e-10 : 0;
    SucceedAlone(absl::StrCat(FitLine("--method " + method),
                              " --regularization 0.5 --out @fitted.", method));
    const std::string fitted =
        absl::StrCat(" --quiet --threads 1 --fitted @fitted.", method);
    for (const auto& [name, words] :
         std::vector<std::pair<std::string, std::string>>{
             {"scores",
              "scores --train @large --test @test --batch-size 3" + fitted},
             {"self", "self --train @large --batch-size 3" + fitted},
             {"factors", "factors --test @test --batch-size 1" + fitted}}) {
      SCOPED_TRACE(name);
      const std::string alone = absl::StrCat(method, ".", name, ".zarr");
      SucceedAlone(absl::StrCat(words, " --out @", alone));
      const at::Tensor expected = ReadZarr(Path(alone));
      for (const int ranks : {1, 2, 3}) {
        if ((method != "ekfac" || name != "scores") && ranks != 2) continue;
        const std::string out =
            absl::StrCat(method, ".", name, ".", ranks, ".zarr");
        SucceedAsJob(ranks, absl::StrCat(words, " --out @", out));
        EXPECT_THAT(ReadZarr(Path(out)),
                    TensorNear(expected, rounding * LargestOf(expected)))
            << ranks;
        EXPECT_FALSE(fs::exists(Path(out) + ".incomplete"));
      }
    }
  }
}

TEST_F(CliJobTest, RanksFitTogether) {
  for (const std::string method :
       {"ekfac", "direct --block-structure layer",
        "ihm --block-structure layer", "cg --tolerance 1e-12", "lissa",
        "arnoldi --rank 3", "nystroem --rank 3"}) {
    SCOPED_TRACE(method);
    const std::string name = method.substr(0, method.find(' '));
    const std::string fit =
        FitLine(absl::StrCat("--method ", method, " --regularization 0.5"));
    const std::string scores =
        "scores --quiet --threads 1 --train @large --test @test";
    SucceedAlone(absl::StrCat(fit, " --out @alone.", name));
    SucceedAlone(absl::StrCat(scores, " --fitted @alone.", name, " --out @",
                              name, ".npy"));
    SucceedAsJob(2, absl::StrCat(fit, " --out @job.", name));
    SucceedAlone(absl::StrCat(scores, " --fitted @job.", name, " --out @job.",
                              name, ".npy"));
    const at::Tensor expected = ReadNpy(Path(name + ".npy"));
    EXPECT_THAT(ReadNpy(Path("job." + name + ".npy")),
                TensorNear(expected, 1e-10 * LargestOf(expected)));
  }
}

// Each rank its share of the samples, whose positions are cut to one singular
// factor; the error of that is the error of all.
TEST_F(CliJobTest, RanksStoreGradientsTogether) {
  problem_ = LoadCliProblem("cnn");
  const std::string fit = absl::StrCat(
      "fit --quiet --threads 1 --dtype float64 --batch-size 2 --loss ",
      problem_.golden.loss, " --model ", problem_.golden.model_path,
      " --train @train --method identity --store-gradients --stored-rank 1"
      " --out @");
  SucceedAlone(fit + "alone");
  SucceedAsJob(3, fit + "job");
  const auto relative_error = [&](const std::string& fitted) {
    const auto json =
        nlohmann::json::parse(ReadText(Path(fitted + "/fitted.json")));
    const std::string layout = json["extra"]["gradients"];
    return nlohmann::json::parse(layout)["relative_error"].get<double>();
  };
  EXPECT_GT(relative_error("alone"), 0.01);
  EXPECT_NEAR(relative_error("job"), relative_error("alone"), 1e-12);
  for (const std::string fitted : {"alone", "job"}) {
    SucceedAlone(absl::StrCat(
        "scores --quiet --threads 1 --train @train --test @test --fitted @",
        fitted, " --out @", fitted, ".npy"));
  }
  EXPECT_TRUE(at::equal(ReadNpy(Path("job.npy")), ReadNpy(Path("alone.npy"))));
}

// Workers in one process, and in each rank, on tiles of one size.
TEST_F(CliJobTest, ThreadsGiveTheNumbersOfOne) {
  SucceedAlone(FitLine("--method ekfac") + " --out @fitted");
  const std::string words =
      "scores --quiet --train @large --test @test --batch-size 3 --fitted "
      "@fitted ";
  SucceedAlone(words + "--threads 1 --out @one.zarr");
  const at::Tensor expected = ReadZarr(Path("one.zarr"));
  SucceedAlone(words + "--threads 2 --out @two.zarr");
  EXPECT_TRUE(at::equal(ReadZarr(Path("two.zarr")), expected));
  SucceedAlone(words + "--threads 4 --out @two.npy");
  EXPECT_TRUE(at::equal(ReadNpy(Path("two.npy")), expected));
  SucceedAsJob(2, words + "--threads 2 --out @job.zarr");
  EXPECT_TRUE(at::equal(ReadZarr(Path("job.zarr")), expected));
}

// Fitted on the way to the scores.
TEST_F(CliJobTest, RanksFitAndScore) {
  const std::string words = absl::StrCat(
      "scores --quiet --threads 1 --dtype float64 --batch-size 4 --loss ",
      problem_.golden.loss, " --model ", problem_.golden.model_path,
      " --train @large --test @test --method ekfac");
  SucceedAlone(words + " --out @alone.zarr");
  SucceedAsJob(3, words + " --out @job.zarr");
  const at::Tensor expected = ReadZarr(Path("alone.zarr"));
  EXPECT_THAT(ReadZarr(Path("job.zarr")),
              TensorNear(expected, 1e-10 * LargestOf(expected)));
}

// The strongest scores of rows that ranks share, or have for themselves, and of
// shards, which leave rows to each other: those of one process.
TEST_F(CliJobTest, RanksAndShardsKeepTheStrongest) {
  for (const std::string method : {"ekfac", "cg --tolerance 1e-12", "ihm"}) {
    SCOPED_TRACE(method);
    const std::string name = method.substr(0, method.find(' '));
    SucceedAlone(absl::StrCat(FitLine("--method " + method),
                              " --regularization 0.5 --out @fitted.", name));
    const std::string words = absl::StrCat(
        "scores --quiet --threads 1 --train @large --test @test --batch-size 5 "
        "--top-k 4 --fitted @fitted.",
        name, " --out @");
    SucceedAlone(words + "alone.zarr");
    SucceedAsJob(2, words + "job.zarr");
    for (const std::string shard : {"3/3", "1/3", "2/3"}) {
      SucceedAlone(absl::StrCat(words, "shards.zarr --shard ", shard));
    }
    for (const std::string side : {"helpful", "harmful"}) {
      for (const std::string other : {"job.zarr", "shards.zarr"}) {
        SCOPED_TRACE(absl::StrCat(side, " of ", other));
        const auto read = [&](const std::string& store, const char* what) {
          return ReadZarr(Path(absl::StrCat(store, "/", side, "_", what)));
        };
        const at::Tensor expected = read("alone.zarr", "scores");
        EXPECT_TRUE(
            at::equal(read(other, "indices"), read("alone.zarr", "indices")));
        EXPECT_THAT(read(other, "scores"),
                    TensorNear(expected, 1e-10 * LargestOf(expected)));
      }
    }
    for (const char* const store : {"alone.zarr", "job.zarr", "shards.zarr"}) {
      fs::remove_all(Path(store));
    }
  }
}

TEST_F(CliJobTest, OneRankSpeaks) {
  SucceedAlone(FitLine("--method ekfac") + " --out @fitted");
  const std::string words =
      "scores --json --threads 1 --train @large --test @test --fitted @fitted ";
  const CommandResult result = Job(2, words + "--out @scores.zarr");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(nlohmann::json::accept(result.out)) << result.out;
  EXPECT_EQ(
      std::vector<std::string>(absl::StrSplit(result.err, "plan: ")).size(), 2u)
      << result.err;

  const CommandResult failed =
      Job(2,
          "scores --train @nowhere --test @test --fitted @fitted --out "
          "@other.zarr");
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.out, IsEmpty());
  EXPECT_EQ(
      std::vector<std::string>(absl::StrSplit(failed.err, "influence: error: "))
          .size(),
      2u)
      << failed.err;
  EXPECT_THAT(failed.err, HasSubstr("nowhere"));
  EXPECT_FALSE(fs::exists(Path("other.zarr")));

  const CommandResult file = Job(2, words + "--out @scores.npy");
  EXPECT_EQ(file.exit_code, 2) << file.err;
  EXPECT_THAT(file.err, HasSubstr("--out"));
}

// A rank that is killed ends the job, wherever the others wait for it; with
// --resume the next one does the rest.
TEST_F(CliJobTest, SurvivesTheLossOfRanks) {
  KillRanks("ekfac", 5, /*rounding=*/0);
}

// So does a fit, which goes on after the passes that the first rank has kept.
TEST_F(CliJobTest, FitsSurviveTheLossOfRanks) {
  const std::string words =
      FitLine("--method ekfac --regularization 0.5", /*batch_size=*/1);
  const absl::Time start = absl::Now();
  SucceedAsJob(2, words + " --out @unbroken");
  const absl::Duration duration = absl::Now() - start;
  const auto scores = [&](const std::string& fitted) {
    SucceedAlone(absl::StrCat(
        "scores --quiet --threads 1 --overwrite --train @large --test @test "
        "--out @scores.npy --fitted @",
        fitted));
    return ReadNpy(Path("scores.npy"));
  };
  const at::Tensor expected = scores("unbroken");
  std::mt19937_64 random(kSeed);
  bool kept_a_pass = false;
  for (int killed = 0; killed < 5 || !kept_a_pass;) {
    if (KillARank(words + " --out @fitted", duration, random)) ++killed;
    ASSERT_LT(killed, 50);
    if (fs::exists(Path("fitted.incomplete/.run/fit/covariances"))) {
      kept_a_pass = true;
    }
    if (!fs::exists(Path("fitted"))) continue;
    EXPECT_TRUE(at::equal(scores("fitted"), expected));
    fs::remove_all(Path("fitted"));
  }
  SucceedAsJob(2, words + " --resume --out @fitted");
  EXPECT_TRUE(at::equal(scores("fitted"), expected));
  EXPECT_FALSE(fs::exists(Path("fitted.incomplete")));
}

// A fit that scores were waiting for is not made again.
TEST_F(CliJobTest, ScoresOfRanksKeepTheirOwnFit) {
  const std::string words = absl::StrCat(
      "scores --quiet --threads 1 --dtype float64 --batch-size 1 --loss ",
      problem_.golden.loss, " --model ", problem_.golden.model_path,
      " --train @large --test @test --method ekfac --regularization 0.5 --out "
      "@");
  const absl::Time start = absl::Now();
  SucceedAsJob(2, words + "unbroken.zarr");
  const absl::Duration duration = absl::Now() - start;
  const at::Tensor expected = ReadZarr(Path("unbroken.zarr"));
  std::mt19937_64 random(kSeed);
  const fs::path whole = Path("scores.zarr.incomplete/.run/fit/whole");
  for (int killed = 0; killed < 50 && !fs::exists(whole); ++killed) {
    KillARank(words + "scores.zarr", duration, random);
    if (!fs::exists(Path("scores.zarr"))) continue;
    EXPECT_TRUE(at::equal(ReadZarr(Path("scores.zarr")), expected));
    fs::remove_all(Path("scores.zarr"));
  }
  ASSERT_TRUE(fs::exists(whole));
  // Another in its place would be found out.
  fs::rename(whole, Path("kept"));
  fs::create_directories(whole);
  const CommandResult broken = Job(2, words + "scores.zarr --resume");
  EXPECT_EQ(broken.exit_code, 1);
  EXPECT_THAT(broken.err, HasSubstr("fit/whole"));
  fs::remove_all(whole);
  fs::rename(Path("kept"), whole);
  SucceedAsJob(2, words + "scores.zarr --resume");
  EXPECT_TRUE(at::equal(ReadZarr(Path("scores.zarr")), expected));
}

// The first of these where the ranks solve for every query together.
TEST_F(CliJobTest, SurvivesTheLossOfRanksThatSolveTogether) {
  KillRanks("ihm", 3, /*rounding=*/1e-10);
}

}  // namespace
}  // namespace influence
