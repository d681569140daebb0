// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the `influence` program does with bad input and bad luck: the exit code,
// one line on standard error, nothing on standard output, nothing new on disk.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "calculators/npy_file.h"
#include "cli/npz_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/influence_command.h"
#include "tests/support/status_matchers.h"
#include "torch/script.h"

namespace influence {
namespace {

namespace jit = torch::jit;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr int64_t kTrain = 7;
constexpr int64_t kTest = 2;

constexpr char kLinear[] = R"(
  def forward(self, x):
      return torch.matmul(x, self.weight) + self.bias
)";

at::Tensor Values(at::IntArrayRef shape) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return at::arange(count, at::kFloat).mul(0.37).sin().reshape(shape);
}

at::Tensor Trainable(at::IntArrayRef shape) {
  return Values(shape).set_requires_grad(true);
}

// Three features, three classes.
jit::Module LinearModule(const std::string& forward = kLinear) {
  jit::Module module("Net");
  module.register_parameter("weight", Trainable({3, 3}), false);
  module.register_parameter("bias", Trainable({3}), false);
  module.define(forward);
  return module;
}

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class CliBadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/cli_bad_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    LinearModule().save(Path("m.pt"));
    WriteData("train.npz", Values({kTrain, 3}), Labels(kTrain));
    WriteData("test.npz", Values({kTest, 3}), Labels(kTest));
  }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }

  static at::Tensor Labels(int64_t count) {
    return at::arange(count, at::kLong).remainder(3);
  }

  void WriteData(const std::string& name, const at::Tensor& x,
                 const at::Tensor& y) const {
    WriteBytes(Path(name),
               ZipBytes({{"x.npy", NpyBytes(x)}, {"y.npy", NpyBytes(y)}}));
  }

  std::vector<std::string> Scores(const std::string& more) const {
    return Words("scores --loss cross_entropy --model " + Path("m.pt") +
                 " --train " + Path("train.npz") + " --test " +
                 Path("test.npz") + " --out " + Path("s.npy") + " " + more);
  }

  // With another file in place of one of the four.
  std::vector<std::string> ScoresWith(const std::string& option,
                                      const std::string& name,
                                      const std::string& more = "") const {
    std::vector<std::string> words =
        Scores("--method direct --regularization 1 " + more);
    for (size_t i = 0; i + 1 < words.size(); ++i) {
      if (words[i] == option) words[i + 1] = Path(name);
    }
    return words;
  }

  std::set<std::string> Files() const {
    std::set<std::string> names;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(folder_)) {
      names.insert(entry.path().string());
    }
    return names;
  }

  // Runs it and expects failure: `exit_code`, the one line
  // "influence: error: ..." that contains `message`, and nothing written.
  void ExpectFailure(const std::vector<std::string>& words, int exit_code,
                     const std::string& message) const {
    const std::set<std::string> before = Files();
    std::vector<std::string> quiet = words;
    quiet.push_back("--quiet");
    const CommandResult result = RunInfluence(quiet);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err,
                AllOf(StartsWith("influence: error: "), HasSubstr(message)));
    const std::vector<std::string> lines = absl::StrSplit(result.err, '\n');
    EXPECT_EQ(lines.size(), 2) << result.err;  // The last is empty.
    EXPECT_EQ(Files(), before);
  }

  std::string folder_;
};

TEST_F(CliBadInputTest, TheInputsOfThisTestAreGood) {
  const CommandResult result =
      RunInfluence(Scores("--method direct --regularization 1"));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(Path("s.npy")));
}

TEST_F(CliBadInputTest, Data) {
  const at::Tensor x = Values({kTrain, 3});
  const at::Tensor y = Labels(kTrain);
  at::Tensor bad = x.clone();
  bad[4][1] = std::numeric_limits<float>::quiet_NaN();
  WriteData("nan.npz", bad, y);
  bad[4][1] = -std::numeric_limits<float>::infinity();
  WriteData("infinity.npz", bad, y);
  at::Tensor labels = y.clone();
  labels[5] = 12;
  WriteData("label.npz", x, labels);
  labels[5] = -1;
  WriteData("negative.npz", x, labels);
  WriteData("floating_labels.npz", x, y.to(at::kFloat));
  WriteData("sequence_labels.npz", x, at::stack({y, y}, 1));
  WriteData("counts.npz", x, Labels(kTrain - 1));
  WriteData("empty.npz", x.slice(0, 0, 0), y.slice(0, 0, 0));
  WriteData("wide.npz", Values({kTrain, 5}), y);
  WriteBytes(Path("no_labels.npz"), ZipBytes({{"x.npy", NpyBytes(x)}}));
  WriteBytes(Path("pickle.npz"),
             ZipBytes({{"x.npy", NpyBytes("|O", "(7,)", "abc")},
                       {"y.npy", NpyBytes(y)}}));
  WriteBytes(Path("truncated.npz"),
             ReadBytes(Path("train.npz")).substr(0, 200));
  WriteBytes(Path("text.npz"), "x,y\n1,2\n");
  std::filesystem::create_directories(Path("no_arrays"));
  std::filesystem::create_directories(Path("truncated"));
  WriteBytes(Path("truncated/x.npy"), NpyBytes(x).substr(0, 150));
  WriteBytes(Path("truncated/y.npy"), NpyBytes(y));

  const std::vector<std::pair<std::string, std::string>> cases = {
      {"nan.npz", "nan.npz: x: found NaN at sample 4"},
      {"infinity.npz", "infinity.npz: x: found -infinity at sample 4"},
      {"label.npz",
       "label.npz: labels: found value 12 at sample 5, expected [0, 3)"},
      {"negative.npz", "labels: found value -1 at sample 5, expected [0, 3)"},
      {"floating_labels.npz", "labels: found dtype float32"},
      {"sequence_labels.npz", "sequence_labels.npz: labels: found shape"},
      {"counts.npz", "counts.npz: y: found 6 samples, expected 7"},
      {"empty.npz", "empty.npz: x: found shape [0, 3], expected at least one"},
      {"wide.npz", "wide.npz: found float32 x [7, 5], expected inputs that"},
      {"no_labels.npz", "y is missing"},
      {"pickle.npz", "pickle.npz: x: found an object array (a pickle)"},
      {"truncated.npz", "truncated.npz: found"},
      {"text.npz", "text.npz: found"},
      {"no_arrays", "no_arrays: found no arrays"},
      {"truncated", "truncated/x.npy: found"},
      {"missing.npz", "missing.npz: found \"No such file or directory\""},
  };
  for (const auto& [name, message] : cases) {
    SCOPED_TRACE(name);
    ExpectFailure(ScoresWith("--test", name), 1, message);
    ExpectFailure(Words("inspect --loss cross_entropy --model " + Path("m.pt") +
                        " --train " + Path(name)),
                  1, message);
  }
}

TEST_F(CliBadInputTest, ALabelFarDownTheFileIsNamedByItsPlace) {
  at::Tensor labels = Labels(3000);
  labels[2077] = 3;
  WriteData("late.npz", at::zeros({3000, 3}), labels);
  ExpectFailure(ScoresWith("--train", "late.npz"), 1,
                "labels: found value 3 at sample 2077, expected [0, 3)");
}

TEST_F(CliBadInputTest, Model) {
  jit::Module frozen = LinearModule();
  for (const at::Tensor& parameter : frozen.parameters()) {
    parameter.set_requires_grad(false);
  }
  frozen.save(Path("frozen.pt"));
  jit::Module not_finite = LinearModule();
  not_finite.attr("weight").toTensor().detach()[0][2] = std::nan("");
  not_finite.save(Path("not_finite.pt"));
  jit::Module norm("__torch__.torch.nn.modules.batchnorm.BatchNorm1d");
  norm.register_attribute("training", c10::BoolType::get(), true);
  jit::Module training = LinearModule();
  training.register_module("bn1", norm);
  training.save(Path("training.pt"));
  LinearModule(
      "def forward(self, x):\n"
      "  y = torch.matmul(x, self.weight)\n"
      "  return y - y.mean(0)\n")
      .save(Path("coupled.pt"));
  LinearModule(
      "def forward(self, x):\n"
      "  return torch.sqrt(torch.matmul(x, self.weight) * 0)\n")
      .save(Path("infinite_gradient.pt"));
  LinearModule(
      "def forward(self, x):\n"
      "  return torch.matmul(x, self.weight).sum()\n")
      .save(Path("scalar.pt"));
  LinearModule("def forward(self, x):\n  return (x, x)\n")
      .save(Path("pair.pt"));
  WriteBytes(Path("text.pt"), "not a model\n");
  const std::string whole = ReadBytes(Path("m.pt"));
  WriteBytes(Path("truncated.pt"), whole.substr(0, whole.size() / 2));

  const std::vector<std::pair<std::string, std::string>> cases = {
      {"frozen.pt", "frozen.pt: found no trainable parameter"},
      {"not_finite.pt", "not_finite.pt: parameter weight: found NaN"},
      {"training.pt", "training.pt: found bn1 (BatchNorm1d in training mode)"},
      {"coupled.pt", "coupled.pt: "},
      {"infinite_gradient.pt", "infinite_gradient.pt: gradient of weight"},
      {"scalar.pt",
       "scalar.pt: found output of shape [] for a batch of 3 samples"},
      {"pair.pt", "pair.pt: forward(): found a tuple, expected one tensor"},
      {"text.pt", "text.pt: found"},
      {"truncated.pt", "truncated.pt: found"},
      {"missing.pt", "missing.pt: found no file, expected a TorchScript file"},
      {"", ": found no regular file, expected a TorchScript file"},
  };
  for (const auto& [name, message] : cases) {
    SCOPED_TRACE(name);
    ExpectFailure(ScoresWith("--model", name), 1, message);
  }
}

TEST_F(CliBadInputTest, ModesThatTheDataCannotServe) {
  jit::Module tokens = LinearModule(
      "def forward(self, x):\n"
      "  return self.weight[x].sum(1) + self.bias\n");
  tokens.save(Path("tokens.pt"));
  WriteData("tokens.npz", at::zeros({kTrain, 4}, at::kLong), Labels(kTrain));
  const std::string shared =
      "scores --loss cross_entropy --method identity --mode perturbation "
      "--out " +
      Path("s.npy");
  ExpectFailure(Words(shared + " --model " + Path("tokens.pt") + " --train " +
                      Path("tokens.npz") + " --test " + Path("tokens.npz")),
                1,
                "tokens.npz: found int64 inputs (tokens), expected a floating "
                "input for --mode perturbation");
  LinearModule(
      "def forward(self, a, b):\n"
      "  return torch.matmul(a + b, self.weight)\n")
      .save(Path("two.pt"));
  WriteBytes(Path("two.npz"),
             ZipBytes({{"x0.npy", NpyBytes(Values({kTrain, 3}))},
                       {"x1.npy", NpyBytes(Values({kTrain, 3}))},
                       {"y.npy", NpyBytes(Labels(kTrain))}}));
  ExpectFailure(Words(shared + " --model " + Path("two.pt") + " --train " +
                      Path("two.npz") + " --test " + Path("two.npz")),
                2,
                "--mode: found perturbation with 2 floating inputs (x0, x1)");
  // A store has a place for both.
  std::vector<std::string> zarr =
      Words(shared + " --model " + Path("two.pt") + " --train " +
            Path("two.npz") + " --test " + Path("two.npz") + " --quiet");
  for (std::string& word : zarr) {
    if (word == Path("s.npy")) word = Path("s.zarr");
  }
  const CommandResult result = RunInfluence(zarr);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(std::filesystem::exists(Path("s.zarr/x0/zarr.json")));
  EXPECT_TRUE(std::filesystem::exists(Path("s.zarr/x1/zarr.json")));
}

TEST_F(CliBadInputTest, Regularization) {
  ExpectFailure(Scores("--method direct --regularization 0 --second-order "
                       "gauss_newton"),
                1, "--regularization: block full: found 0, with which");
  ExpectFailure(Scores("--method direct --regularization conv=1"), 2,
                "--regularization: found unknown block conv, expected full");
  ExpectFailure(Scores("--method direct --block-structure parameter "
                       "--regularization weight=1"),
                2, "--regularization: found no value for block bias");
}

TEST_F(CliBadInputTest, UsageEndsWithTwo) {
  ExpectFailure(Scores("--method magic"), 2,
                "--method: found 'magic', expected identity or direct or cg");
  ExpectFailure(Scores("--method direct --rank 3"), 2,
                "--rank: found '3', expected nothing with --method direct");
  ExpectFailure(Scores("--method ihm --regularization 0"), 2,
                "--regularization: found '0', expected values > 0");
  ExpectFailure(Scores("--method identity --store-gradients"), 2,
                "--store-gradients: found an unknown option");
  ExpectFailure({"rank"}, 2, "command: found 'rank', expected inspect, fit");
  ExpectFailure(ScoresWith("--out", "s.csv"), 2, "--out: found");
  ExpectFailure(Scores("--method identity --by-block"), 2, "--by-block: found");
}

TEST_F(CliBadInputTest, AnOutputThatExistsStaysUnlessOverwritten) {
  WriteBytes(Path("s.npy"), "precious");
  ExpectFailure(Scores("--method identity"), 1,
                "s.npy: found an existing file, expected none, or --overwrite");
  EXPECT_EQ(ReadBytes(Path("s.npy")), "precious");
  // A run that fails late leaves it too.
  ExpectFailure(Scores("--method direct --regularization 0 --second-order "
                       "gauss_newton --overwrite"),
                1, "--regularization");
  EXPECT_EQ(ReadBytes(Path("s.npy")), "precious");
  const CommandResult result =
      RunInfluence(Scores("--method identity --overwrite"));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const absl::StatusOr<NpyFile> file = NpyFile::Open(Path("s.npy"));
  INFLUENCE_EXPECT_OK(file);
}

TEST_F(CliBadInputTest, AnOutputThatCannotBeWrittenIsFoundFirst) {
  // Before the data are looked at: they do not exist.
  const std::string missing = " --train " + Path("none") + " --test " +
                              Path("none") + " --model " + Path("none");
  const std::string shared =
      "scores --loss cross_entropy --method identity" + missing + " --out ";
  ExpectFailure(Words(shared + Path("nowhere/s.npy")), 1, "nowhere/s.npy: ");
  ExpectFailure(Words(shared + "/proc/s.npy"), 1, "/proc/s.npy: ");
  std::filesystem::create_directories(Path("folder.npy"));
  ExpectFailure(Words(shared + Path("folder.npy") + " --overwrite"), 1,
                "folder.npy: found a folder");
  if (geteuid() != 0) {  // The superuser writes anywhere.
    std::filesystem::create_directories(Path("read_only"));
    chmod(Path("read_only").c_str(), 0555);
    ExpectFailure(Words(shared + Path("read_only/s.npy")), 1,
                  "read_only/s.npy: ");
  }
}

TEST_F(CliBadInputTest, AnInputIsNotOverwritten) {
  std::filesystem::create_directories(Path("data"));
  WriteBytes(Path("data/x.npy"), NpyBytes(Values({kTrain, 3})));
  WriteBytes(Path("data/y.npy"), NpyBytes(Labels(kTrain)));
  const std::string before = ReadBytes(Path("data/x.npy"));
  ExpectFailure(
      Words("scores --loss cross_entropy --method identity --overwrite "
            "--model " +
            Path("m.pt") + " --train " + Path("data") + " --test " +
            Path("test.npz") + " --out " + Path("data/x.npy")),
      1, "data/x.npy: found an input of this run");
  EXPECT_EQ(ReadBytes(Path("data/x.npy")), before);
}

TEST_F(CliBadInputTest, AStandardOutputThatIsFullIsReported) {
  const CommandResult result =
      RunInfluence(Scores("--method identity --json --quiet"), "/dev/full");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, StartsWith("influence: error: standard output: "));
}

// Long enough to be interrupted: a dense Hessian of a hidden layer.
TEST_F(CliBadInputTest, AnInterruptedRunLeavesNothing) {
  jit::Module module("Net");
  module.register_parameter("first", Trainable({3, 300}), false);
  module.register_parameter("second", Trainable({300, 3}), false);
  module.define(
      "def forward(self, x):\n"
      "  h = torch.tanh(torch.matmul(x, self.first))\n"
      "  return torch.matmul(h, self.second)\n");
  module.save(Path("large.pt"));
  WriteData("train.npz", Values({4096, 3}), Labels(4096));
  const std::set<std::string> before = Files();
  for (const int number : {SIGINT, SIGTERM}) {
    std::vector<std::string> words = ScoresWith("--model", "large.pt");
    // One of each kind of output.
    for (std::string& word : words) {
      if (number == SIGTERM && word == Path("s.npy")) word = Path("s.zarr");
    }
    RunningInfluence running(words);
    // The plan is printed with the output already opened.
    ASSERT_TRUE(running.WaitForError("influence: plan: "));
    running.Signal(number);
    const CommandResult result = running.Wait();
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err,
                HasSubstr(absl::StrCat("influence: error: run: found ",
                                       number == SIGINT ? "SIGINT" : "SIGTERM",
                                       ", expected to finish")));
    EXPECT_EQ(Files(), before);
  }
}

}  // namespace
}  // namespace influence
