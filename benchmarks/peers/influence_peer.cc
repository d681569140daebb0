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
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/freed_memory.h"
#include "base/mkl_kernels.h"
#include "base/passive_waiting.h"  // For what it does at the start.
#include "base/status_macros.h"
#include "calculators/aggregators.h"
#include "calculators/npy_file.h"
#include "calculators/sequential_influence_calculator.h"
#include "cli/data_reader.h"
#include "cli/method_factory.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"
#include "influence/cg_influence.h"
#include "influence/composable_influence.h"
#include "influence/identity_influence.h"
#include "influence/influence_function_model.h"
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
  int64_t batch_size = 0;                   // 0: everything in one batch.
  std::optional<int64_t> query_batch_size;  // batch_size where not given.
  std::string out;
  bool fit_only = false;
  double score_tolerance = 0;
  // As of the command `influence scores`, by name: {"--rank", "100"}.
  std::map<std::string, std::string> method_options;
};

// Method "cg" for one query after the other.
constexpr char kCgSingle[] = "cg_single";

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

absl::StatusOr<MethodOptions> ReadMethodOptions(const Options& options) {
  return ParseMethodOptions(
      options.task == kCgSingle ? "cg" : options.task,
      [&](const std::string& name) -> std::optional<std::string> {
        const auto option = options.method_options.find(name);
        if (option == options.method_options.end()) return std::nullopt;
        return option->second;
      });
}

absl::StatusOr<std::shared_ptr<ComposableInfluence>> MakeMethod(
    const Problem& problem, const Options& options) {
  INFLUENCE_ASSIGN_OR_RETURN(auto provider, MakeProvider(problem));
  FitSource source;
  INFLUENCE_ASSIGN_OR_RETURN(source.method, ReadMethodOptions(options));
  if (options.task == kCgSingle) {
    CgInfluenceOptions cg;
    cg.curvature = source.method.curvature;
    cg.regularization = source.method.regularization;
    cg.relative_tolerance = source.method.tolerance;
    cg.block = false;
    return CgInfluence::Create(
        std::move(provider),
        ParameterBlocks::Create(*problem.model, BlockStructure::kFull), cg);
  }
  RunOptions run;
  run.num_threads = options.threads;
  return CreateMethod(source, run, problem.loss, std::move(provider));
}

struct MethodResult {
  at::Tensor scores;  // [M, N]; undefined if only the fit was asked for.
  double fit_seconds;
  double score_seconds;
};

absl::StatusOr<MethodResult> RunMethod(const Problem& problem,
                                       const Options& options) {
  Stopwatch watch;
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<ComposableInfluence> method,
                             MakeMethod(problem, options));
  INFLUENCE_RETURN_IF_ERROR(method->Fit(problem.train));
  MethodResult result;
  result.fit_seconds = watch.Lap();
  result.score_seconds = 0;
  if (options.fit_only) return result;
  if (options.score_tolerance > 0) {
    INFLUENCE_ASSIGN_OR_RETURN(
        method, WithScoreTolerance(*method, options.score_tolerance));
  }
  INFLUENCE_ASSIGN_OR_RETURN(result.scores, Scores(method, problem));
  result.score_seconds = watch.Lap();
  for (const BlockReport& block : method->report()) {
    for (const std::string& remark : block.remarks) {
      std::fprintf(stderr, "%s: %s\n", block.block.c_str(), remark.c_str());
    }
  }
  return result;
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
    INFLUENCE_ASSIGN_OR_RETURN(
        test,
        ReadData(options.test, options.query_batch_size.value_or(batch_size)));
  }
  const Problem problem{std::move(model), std::move(loss), std::move(train),
                        std::move(test)};

  std::vector<double> seconds, fit_seconds, score_seconds;
  at::Tensor result;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    result = at::Tensor();  // Frees the last repeat's.
    Stopwatch watch;
    if (options.task == "gram") {
      INFLUENCE_ASSIGN_OR_RETURN(result, RunGram(problem));
      seconds.push_back(watch.Lap());
    } else if (options.task == "grads") {
      INFLUENCE_ASSIGN_OR_RETURN(result, RunGradients(problem));
      seconds.push_back(watch.Lap());
    } else {
      INFLUENCE_ASSIGN_OR_RETURN(MethodResult method,
                                 RunMethod(problem, options));
      result = std::move(method.scores);
      fit_seconds.push_back(method.fit_seconds);
      score_seconds.push_back(method.score_seconds);
    }
  }

  nlohmann::json report;
  if (seconds.empty()) {
    report["fit_seconds"] = fit_seconds;
    report["score_seconds"] = score_seconds;
  } else {
    report["seconds"] = seconds;
  }
  INFLUENCE_ASSIGN_OR_RETURN(report["peak_bytes"], PeakBytes());
  if (!options.out.empty() && result.defined()) {
    INFLUENCE_RETURN_IF_ERROR(WriteArray(options.out, result));
  }
  std::printf("%s\n", report.dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  influence::KeepFreedMemory();
  influence::ChooseMklKernelsByInstructionSet();
  influence::Options options;
  CLI::App app("The library's side of a comparison with Python peers.");
  app.add_option("task", options.task,
                 "grads, gram, cg_single or a method of the command line")
      ->required();
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
  app.add_option("--query-batch-size", options.query_batch_size,
                 "The same of queries; --batch-size if not given")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--fit-only", options.fit_only, "No scores");
  app.add_option("--score-tolerance", options.score_tolerance);
  for (const influence::MethodOption& option : influence::MethodOptionTable()) {
    const std::string name(option.name);
    app.add_option_function<std::string>(
        name,
        [&options, name](const std::string& value) {
          options.method_options[name] = value;
        },
        option.help);
  }
  app.add_option("--out", options.out, "Result of the last repeat, .npy");
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = influence::Run(options); !status.ok()) {
    std::fprintf(stderr, "influence_peer: error: %s\n",
                 std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
