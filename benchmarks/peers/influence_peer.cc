// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The library's side of a comparison with Python peers (see README.md): does
// one task several times and prints one JSON line with the seconds of each
// repeat, without start-up and file reading, and the process's peak memory.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/freed_memory.h"
#include "base/status_macros.h"
#include "calculators/aggregators.h"
#include "calculators/npy_file.h"
#include "calculators/sequential_influence_calculator.h"
#include "cli/data_reader.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/influence_function_model.h"
#include "influence/regularization.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

constexpr int64_t kProbeSamples = 3;

struct Options {
  std::string task;
  std::string model;
  std::string train;
  std::string test;  // Empty: the training data.
  std::string loss = "cross_entropy";
  int threads = 2;
  int repeats = 3;
  int64_t batch_size = 0;  // 0: everything in one batch.
  double regularization = 0.1;
  std::string out;
};

// What all repeats share: read before the clock starts.
struct Problem {
  std::shared_ptr<const Model> model;
  PerSampleFunction loss;
  std::shared_ptr<const BatchSequence> train;
  std::shared_ptr<const BatchSequence> test;
};

class Stopwatch {
 public:
  // Seconds since the last call, or since construction.
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> passed = now - start_;
    start_ = now;
    return passed.count();
  }

 private:
  std::chrono::steady_clock::time_point start_ =
      std::chrono::steady_clock::now();
};

absl::StatusOr<int64_t> PeakBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  }
  return absl::InternalError("no VmHWM in the status of this process");
}

absl::StatusOr<std::shared_ptr<const BatchSequence>> ReadData(
    const std::string& path, int64_t batch_size) {
  INFLUENCE_ASSIGN_OR_RETURN(const DataReader reader,
                             DataReader::Open(path, {}));
  const int64_t num_samples = reader.num_samples();
  INFLUENCE_ASSIGN_OR_RETURN(const DataReader whole,
                             reader.WithBatchSize(num_samples));
  INFLUENCE_ASSIGN_OR_RETURN(Batch batch, whole.Get(0));
  INFLUENCE_ASSIGN_OR_RETURN(
      TensorBatchSequence sequence,
      TensorBatchSequence::Create(std::move(batch),
                                  batch_size > 0 ? batch_size : num_samples));
  return std::make_shared<const TensorBatchSequence>(std::move(sequence));
}

// Made anew in each repeat: observing and checking the model is part of the
// work.
absl::StatusOr<std::shared_ptr<const GradientProvider>> MakeProvider(
    const Problem& problem) {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch first, problem.train->Get(0));
  INFLUENCE_ASSIGN_OR_RETURN(
      const Batch probe,
      SliceBatch(first, 0, std::min(kProbeSamples, first.size())));
  return CapturingGradientProvider::Create(problem.model, problem.loss, probe);
}

absl::StatusOr<at::Tensor> Scores(
    std::shared_ptr<const InfluenceFunctionModel> model,
    const Problem& problem) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const SequentialInfluenceCalculator calculator,
      SequentialInfluenceCalculator::Create(std::move(model)));
  return calculator.Influences(problem.test, problem.train)
      .Compute(NestedCatAggregator());
}

// Gradients of all samples, [N, P], in one batch.
absl::StatusOr<at::Tensor> RunGradients(const Problem& problem) {
  INFLUENCE_ASSIGN_OR_RETURN(const auto provider, MakeProvider(problem));
  INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, problem.train->Get(0));
  return provider->FlatGrads(batch);
}

// Scores of the identity method, [M, N].
absl::StatusOr<at::Tensor> RunGram(const Problem& problem) {
  INFLUENCE_ASSIGN_OR_RETURN(auto provider, MakeProvider(problem));
  INFLUENCE_ASSIGN_OR_RETURN(
      auto identity,
      IdentityInfluence::Create(
          std::move(provider),
          ParameterBlocks::Create(*problem.model, BlockStructure::kFull)));
  return Scores(std::move(identity), problem);
}

struct DirectResult {
  at::Tensor scores;  // [M, N]
  double fit_seconds;
  double score_seconds;
};

absl::StatusOr<DirectResult> RunDirect(const Problem& problem,
                                       const Options& options) {
  Stopwatch watch;
  INFLUENCE_ASSIGN_OR_RETURN(auto provider, MakeProvider(problem));
  INFLUENCE_ASSIGN_OR_RETURN(auto regularization,
                             Regularization::Constant(options.regularization));
  DirectInfluenceOptions direct_options;
  direct_options.regularization = std::move(regularization);
  direct_options.num_threads = options.threads;
  INFLUENCE_ASSIGN_OR_RETURN(
      auto direct,
      DirectInfluence::Create(
          std::move(provider),
          ParameterBlocks::Create(*problem.model, BlockStructure::kFull),
          direct_options));
  INFLUENCE_RETURN_IF_ERROR(direct->Fit(problem.train));
  const double fit_seconds = watch.Lap();
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores,
                             Scores(std::move(direct), problem));
  return DirectResult{std::move(scores), fit_seconds, watch.Lap()};
}

absl::Status WriteArray(const std::string& path, const at::Tensor& values) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const auto writer,
      NpyWriter::Create(path, {values.sizes().data(), values.sizes().size()},
                        values.scalar_type(), /*overwrite=*/true));
  INFLUENCE_RETURN_IF_ERROR(writer->WriteRows(0, values));
  return writer->Commit();
}

absl::Status Run(const Options& options) {
  at::set_num_threads(options.threads);
  // Gradients are asked for as one matrix; the other tasks go batch by batch.
  const int64_t batch_size = options.task == "grads" ? 0 : options.batch_size;
  INFLUENCE_ASSIGN_OR_RETURN(auto model, LoadScriptModel(options.model));
  INFLUENCE_ASSIGN_OR_RETURN(auto loss, LossByName(options.loss));
  INFLUENCE_ASSIGN_OR_RETURN(auto train, ReadData(options.train, batch_size));
  auto test = train;
  if (!options.test.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(test, ReadData(options.test, batch_size));
  }
  const Problem problem{std::move(model), std::move(loss), std::move(train),
                        std::move(test)};

  std::vector<double> seconds, fit_seconds, score_seconds;
  at::Tensor result;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    result = at::Tensor();  // Frees the last repeat's.
    Stopwatch watch;
    if (options.task == "direct") {
      INFLUENCE_ASSIGN_OR_RETURN(DirectResult direct,
                                 RunDirect(problem, options));
      result = std::move(direct.scores);
      fit_seconds.push_back(direct.fit_seconds);
      score_seconds.push_back(direct.score_seconds);
    } else if (options.task == "gram") {
      INFLUENCE_ASSIGN_OR_RETURN(result, RunGram(problem));
      seconds.push_back(watch.Lap());
    } else {
      INFLUENCE_ASSIGN_OR_RETURN(result, RunGradients(problem));
      seconds.push_back(watch.Lap());
    }
  }

  nlohmann::json report;
  if (options.task == "direct") {
    report["fit_seconds"] = fit_seconds;
    report["score_seconds"] = score_seconds;
  } else {
    report["seconds"] = seconds;
  }
  INFLUENCE_ASSIGN_OR_RETURN(report["peak_bytes"], PeakBytes());
  if (!options.out.empty()) {
    INFLUENCE_RETURN_IF_ERROR(WriteArray(options.out, result));
  }
  std::printf("%s\n", report.dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  influence::KeepFreedMemory();
  influence::Options options;
  CLI::App app("The library's side of a comparison with Python peers.");
  app.add_option("task", options.task, "What to do")
      ->required()
      ->check(CLI::IsMember({"grads", "gram", "direct"}));
  app.add_option("--model", options.model, "TorchScript file")->required();
  app.add_option("--train", options.train, ".npz with x and y")->required();
  app.add_option("--test", options.test,
                 "Queries; the train data if not given");
  app.add_option("--loss", options.loss);
  app.add_option("--threads", options.threads)->check(CLI::PositiveNumber);
  app.add_option("--repeats", options.repeats)->check(CLI::PositiveNumber);
  app.add_option("--batch-size", options.batch_size,
                 "Samples in a batch; 0: everything in one")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--regularization", options.regularization)
      ->check(CLI::NonNegativeNumber);
  app.add_option("--out", options.out, "Result of the last repeat, .npy");
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = influence::Run(options); !status.ok()) {
    std::fprintf(stderr, "influence_peer: error: %s\n",
                 std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
