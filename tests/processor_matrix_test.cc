// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The processor as a dimension of the tests: LibTorch and its libraries choose
// their kernels by what the processor can do, and a kernel that nobody here has
// may be the one that hangs or that is wrong. Every method runs on models with
// kernels of their own, with one and two threads, in float32 and float64, on
// each kind of processor that can be had by telling the libraries to do with
// less. Each run is a process of its own: the program runs itself with
//
//   --run THREADS FILE   writes the scores of all combinations to FILE
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/sin.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/regularization.h"
#include "operators/curvature.h"
#include "tests/support/influence_method.h"
#include "torch/script.h"

namespace influence {
namespace {

namespace jit = torch::jit;

// Enough for several threads to have kernels of their own (kept curvatures are
// shared out from 128 samples on).
constexpr int64_t kNumTrain = 260;
constexpr int64_t kNumTest = 3;
constexpr int64_t kNumScores = kNumTrain * kNumTest;

// The longest that one combination may take, on a busy machine.
constexpr int kMilliseconds = 60000;

// A model of the matrix: parameters by name and shape, and what it does.
struct MatrixModel {
  std::string name;
  std::vector<int64_t>
      sample;  // Shape of an input without the first dimension.
  std::vector<std::pair<std::string, std::vector<int64_t>>> parameters;
  std::string forward;
};

std::vector<MatrixModel> Models() {
  return {
      {"conv1d",
       {2, 9},
       {{"w", {3, 2, 3}}, {"b", {3}}, {"v", {3, 3, 3}}, {"o", {3, 3}}},
       R"(
    def forward(self, x):
        x = torch.tanh(torch.conv1d(x, self.w, self.b, [1], [1]))
        x = torch.tanh(torch.conv1d(x, self.v, None, [2], [1]))
        return torch.linear(torch.mean(x, [2]), self.o)
  )"},
      {"conv2d",
       {1, 6, 6},
       {{"w", {3, 1, 3, 3}}, {"b", {3}}, {"v", {3, 3, 3, 3}}, {"o", {3, 3}}},
       R"(
    def forward(self, x):
        x = torch.tanh(torch.conv2d(x, self.w, self.b, [1, 1], [1, 1]))
        x = torch.tanh(torch.conv2d(x, self.v, None, [2, 2], [1, 1]))
        return torch.linear(torch.mean(x, [2, 3]), self.o)
  )"},
      {"conv3d",
       {1, 4, 4, 4},
       {{"w", {3, 1, 3, 3, 3}}, {"b", {3}}, {"o", {3, 3}}},
       R"(
    def forward(self, x):
        x = torch.conv3d(x, self.w, self.b, [1, 1, 1], [1, 1, 1])
        return torch.linear(torch.mean(torch.tanh(x), [2, 3, 4]), self.o)
  )"},
      {"conv_transpose2d",
       {2, 3, 3},
       {{"w", {2, 3, 3, 3}}, {"b", {3}}, {"v", {3, 2, 2, 2}}, {"o", {3, 2}}},
       R"(
    def forward(self, x):
        x = torch.tanh(torch.conv_transpose2d(x, self.w, self.b, [2, 2], [1, 1]))
        x = torch.tanh(torch.conv_transpose2d(x, self.v, None, [1, 1]))
        return torch.linear(torch.mean(x, [2, 3]), self.o)
  )"},
      {"gru",
       {5, 2},
       {{"wi", {9, 2}},
        {"wh", {9, 3}},
        {"bi", {9}},
        {"bh", {9}},
        {"o", {3, 3}}},
       R"(
    def forward(self, x):
        h = torch.zeros([1, x.size(0), 3], dtype=x.dtype)
        y, h = torch.gru(x, h, [self.wi, self.wh, self.bi, self.bh], True, 1,
                         0.0, False, False, True)
        return torch.linear(h[0], self.o)
  )"},
      {"attention",
       {6, 4},
       {{"q", {4, 4}}, {"k", {4, 4}}, {"v", {4, 4}}, {"b", {4}}, {"o", {3, 4}}},
       R"(
    def forward(self, x):
        q = torch.linear(x, self.q, self.b)
        k = torch.linear(x, self.k)
        a = torch.softmax(torch.matmul(q, torch.transpose(k, 1, 2)) * 0.5, -1)
        h = torch.tanh(torch.matmul(a, torch.linear(x, self.v)))
        return torch.linear(torch.mean(h, [1]), self.o)
  )"},
  };
}

// Numbers that are the same on every processor: in [-1, 1], no two alike.
at::Tensor Numbers(const std::vector<int64_t>& shape, double seed) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  std::vector<double> values(size);
  for (int64_t i = 0; i < size; ++i) {
    const double angle = 12.9898 * static_cast<double>(i + 1) + 78.233 * seed;
    values[i] = std::remainder(std::sin(angle) * 43758.5453, 1.0) * 2;
  }
  return torch::tensor(values, at::kDouble).reshape(shape);
}

absl::StatusOr<std::shared_ptr<const Model>> Load(const MatrixModel& source,
                                                  at::ScalarType dtype) {
  jit::Module module(source.name);
  double seed = 1;
  for (const auto& [name, shape] : source.parameters) {
    module.register_parameter(
        name, Numbers(shape, seed++).mul_(0.5).set_requires_grad(true),
        /*is_buffer=*/false);
  }
  module.define(source.forward);
  const std::string path =
      absl::StrCat(testing::TempDir(), "/processor_matrix_", getpid(), ".pt");
  module.save(path);
  absl::StatusOr<std::shared_ptr<const Model>> model =
      LoadScriptModel(path, {.dtype = dtype});
  std::remove(path.c_str());
  return model;
}

Batch Samples(const MatrixModel& source, int64_t size, double seed,
              at::ScalarType dtype) {
  std::vector<int64_t> shape = {size};
  shape.insert(shape.end(), source.sample.begin(), source.sample.end());
  Batch batch;
  batch.x = {Numbers(shape, seed).mul_(2).to(dtype)};
  batch.y = at::arange(size, at::kLong).mul_(7).remainder_(3);
  return batch;
}

std::vector<InfluenceMethod> Methods(at::ScalarType dtype) {
  std::vector<InfluenceMethod> methods;
  for (const char* name : {"identity", "direct", "cg", "lissa", "arnoldi",
                           "nystroem", "kfac", "ekfac", "ihm"}) {
    InfluenceMethod method;
    method.method = name;
    method.structure = BlockStructure::kFull;
    method.curvature = method.method == "direct"
                           ? Curvature::kHessian
                           : Curvature::kGeneralizedGaussNewton;
    method.regularization = *Regularization::Constant(0.1);
    method.relative_tolerance = dtype == at::kDouble ? 1e-12 : 1e-6;
    method.forms_curvature = false;  // Products with the kept graphs.
    method.rank = 10;
    methods.push_back(method);
  }
  return methods;
}

absl::StatusOr<at::Tensor> Scores(const MatrixModel& source,
                                  const InfluenceMethod& method,
                                  at::ScalarType dtype) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                             Load(source, dtype));
  const Batch train = Samples(source, kNumTrain, 11, dtype);
  INFLUENCE_ASSIGN_OR_RETURN(
      const auto provider,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), train));
  INFLUENCE_ASSIGN_OR_RETURN(
      auto data, TensorBatchSequence::Create(train, /*batch_size=*/kNumTrain));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ComposableInfluence> influence,
      CreateInfluence(method, provider));
  INFLUENCE_RETURN_IF_ERROR(influence->Fit(
      std::make_shared<const TensorBatchSequence>(std::move(data))));
  return influence->Influences(Samples(source, kNumTest, 12, dtype), train);
}

// One combination, in the order of the files.
struct Combination {
  at::ScalarType dtype;
  MatrixModel model;
  InfluenceMethod method;

  std::string Name() const {
    return absl::StrCat(dtype == at::kDouble ? "float64 " : "float32 ",
                        model.name, " ", method.method);
  }
};

std::vector<Combination> Combinations() {
  std::vector<Combination> combinations;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (const MatrixModel& model : Models()) {
      for (const InfluenceMethod& method : Methods(dtype)) {
        combinations.push_back({dtype, model, method});
      }
    }
  }
  return combinations;
}

// Says each combination before it starts, so that whoever waits can name it.
int Run(int num_threads, const std::string& path) {
  at::set_num_threads(num_threads);
  std::ofstream file(path, std::ios::binary);
  for (const Combination& combination : Combinations()) {
    std::cout << combination.Name() << std::endl;
    const absl::StatusOr<at::Tensor> scores =
        Scores(combination.model, combination.method, combination.dtype);
    if (!scores.ok()) {
      std::cout << "error: " << scores.status() << std::endl;
      return 1;
    }
    const at::Tensor values = scores->to(at::kDouble).contiguous();
    file.write(reinterpret_cast<const char*>(values.data_ptr<double>()),
               static_cast<std::streamsize>(kNumScores * sizeof(double)));
  }
  return file.flush().good() ? 0 : 1;
}

// What the libraries are told to do with.
struct Processor {
  std::string name;
  std::vector<std::pair<const char*, const char*>> variables;
};

std::vector<Processor> Processors() {
  return {{"own", {}},
          {"avx2",
           {{"ONEDNN_MAX_CPU_ISA", "AVX2"},
            {"ATEN_CPU_CAPABILITY", "avx2"},
            {"MKL_ENABLE_INSTRUCTIONS", "AVX2"}}},
          {"sse41",
           {{"ONEDNN_MAX_CPU_ISA", "SSE41"},
            {"ATEN_CPU_CAPABILITY", "default"},
            {"MKL_ENABLE_INSTRUCTIONS", "SSE4_2"}}}};
}

struct Child {
  std::string trouble;         // What went wrong, and where; empty if nothing.
  std::vector<double> scores;  // Of all combinations.
};

// Runs the program itself on `processor`. A combination that takes too long is
// ended and named.
Child RunChild(const Processor& processor, int num_threads) {
  const std::string path = absl::StrCat(testing::TempDir(), "/scores_",
                                        processor.name, "_", num_threads);
  std::array<int, 2> ends;
  if (pipe(ends.data()) != 0) return {"no pipe", {}};
  const std::string threads = absl::StrCat(num_threads);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    for (const auto& [name, value] : processor.variables) {
      setenv(name, value, /*overwrite=*/1);
    }
    execl("/proc/self/exe", "processor_matrix_test", "--run", threads.c_str(),
          path.c_str(), nullptr);
    _exit(127);
  }
  close(ends[1]);
  std::string said;
  bool late = false;
  while (true) {
    pollfd waiting = {ends[0], POLLIN, 0};
    if (poll(&waiting, 1, kMilliseconds) <= 0) {
      late = true;
      kill(child, SIGKILL);
      break;
    }
    std::array<char, 4096> text;
    const ssize_t size = read(ends[0], text.data(), text.size());
    if (size <= 0) break;
    said.append(text.data(), static_cast<size_t>(size));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);

  Child result;
  if (late || status != 0) {
    while (absl::EndsWith(said, "\n")) said.pop_back();
    const std::string::size_type error = said.rfind("\nerror: ");
    const std::string::size_type last = said.rfind('\n', error - 1);
    result.trouble = absl::StrCat(
        "processor ", processor.name, ", ", num_threads, " threads, ",
        said.substr(last == std::string::npos ? 0 : last + 1),
        late ? absl::StrCat(": found no end in ", kMilliseconds / 1000,
                            " s, expected scores")
             : absl::StrCat(": found status ", status, ", expected scores"));
    return result;
  }
  std::ifstream file(path, std::ios::binary);
  result.scores.resize(Combinations().size() * kNumScores);
  file.read(
      reinterpret_cast<char*>(result.scores.data()),
      static_cast<std::streamsize>(result.scores.size() * sizeof(double)));
  if (!file.good()) result.trouble = "the scores are not whole";
  std::remove(path.c_str());
  return result;
}

// float64, one thread, the machine's own processor.
const Child& Reference() {
  static const auto* const reference = new Child(RunChild(Processors()[0], 1));
  return *reference;
}

class ProcessorMatrixTest
    : public testing::TestWithParam<std::pair<size_t, int>> {};

// Relative to the largest score: rounding, through 260 samples and systems of a
// condition number below 100, and in float32 what iterations leave (1e-6).
double Tolerance(const Combination& combination) {
  return combination.dtype == at::kDouble ? 1e-11 : 1e-4;
}

TEST_P(ProcessorMatrixTest, EveryMethodEndsAndAgrees) {
  const auto [processor, num_threads] = GetParam();
  const Child& reference = Reference();
  ASSERT_EQ(reference.trouble, "");
  const Child found = processor == 0 && num_threads == 1
                          ? reference
                          : RunChild(Processors()[processor], num_threads);
  ASSERT_EQ(found.trouble, "");
  const std::vector<Combination> combinations = Combinations();
  double worst_double = 0;
  double worst_float = 0;
  for (size_t c = 0; c < combinations.size(); ++c) {
    SCOPED_TRACE(combinations[c].Name());
    // The first half is float64.
    const size_t expected = c % (combinations.size() / 2);
    double scale = 0;
    double error = 0;
    for (int64_t i = 0; i < kNumScores; ++i) {
      const double value = reference.scores[expected * kNumScores + i];
      const double difference = found.scores[c * kNumScores + i] - value;
      EXPECT_TRUE(std::isfinite(difference));
      scale = std::max(scale, std::abs(value));
      error = std::max(error, std::abs(difference));
    }
    EXPECT_GT(scale, 0);
    EXPECT_LE(error / scale, Tolerance(combinations[c]));
    double& worst =
        combinations[c].dtype == at::kDouble ? worst_double : worst_float;
    worst = std::max(worst, error / scale);
  }
  RecordProperty("worst_float64", absl::StrCat(worst_double));
  RecordProperty("worst_float32", absl::StrCat(worst_float));
}

std::vector<std::pair<size_t, int>> AllRuns() {
  std::vector<std::pair<size_t, int>> runs;
  for (size_t p = 0; p < Processors().size(); ++p) {
    for (const int threads : {1, 2}) runs.emplace_back(p, threads);
  }
  return runs;
}

INSTANTIATE_TEST_SUITE_P(
    Processors, ProcessorMatrixTest, testing::ValuesIn(AllRuns()),
    [](const testing::TestParamInfo<std::pair<size_t, int>>& run) {
      return absl::StrCat(Processors()[run.param.first].name, "_",
                          run.param.second, "_threads");
    });

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--run") == 0) {
    return influence::Run(std::atoi(argv[2]), argv[3]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
