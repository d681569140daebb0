// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Finds mislabelled digits with influence functions, exact unless --method
// names another method:
//
//   bazel run //examples/digits -- --out digits_report
//
// Prints what was found and leaves a page to look at, digits_report/index.html.
// With --method all it compares all methods, too.
// Exit code 0 on success, 2 on wrong usage, 1 on any other failure.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/freed_memory.h"
#include "base/mkl_kernels.h"
#include "base/passive_waiting.h"  // For what it does at the start.
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/terminal_progress.h"
#include "examples/digits/digits_data.h"
#include "examples/digits/digits_experiment.h"
#include "examples/digits/digits_methods.h"
#include "examples/digits/report_folder.h"
#include "examples/digits/report_page.h"
#include "examples/digits/summary_text.h"
#include "torch/version.h"

namespace influence {
namespace {

struct Arguments {
  std::string out = "digits_report";
  bool compare = false;
  DigitsExperimentOptions experiment;
};

// `bazel run` starts a program elsewhere than the user stands.
std::string ResolvePath(const std::string& path) {
  const char* const directory = std::getenv("BUILD_WORKING_DIRECTORY");
  if (directory == nullptr) return path;
  return (std::filesystem::path(directory) / path).string();
}

absl::Status Run(const std::string& argv0, const Arguments& arguments) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string data, FindDigits(argv0));
  INFLUENCE_ASSIGN_OR_RETURN(const DigitImages digits, LoadDigits(data));
  TerminalProgress progress(&std::cerr,
                            {.is_terminal = isatty(STDERR_FILENO) == 1});
  INFLUENCE_ASSIGN_OR_RETURN(
      const DigitsExperiment experiment,
      RunDigitsExperiment(digits, arguments.experiment, &progress));
  const std::string folder = ResolvePath(arguments.out);
  INFLUENCE_RETURN_IF_ERROR(WriteReportFolder(
      experiment,
      {.folder = arguments.out,
       .libraries = absl::StrCat("LibTorch ", TORCH_VERSION_MAJOR, ".",
                                 TORCH_VERSION_MINOR, ".", TORCH_VERSION_PATCH),
       .num_threads = at::get_num_threads()},
      folder));
  std::cout << SummaryText(experiment);
  if (arguments.compare) {
    DigitsComparisonOptions options;
    options.regularization = experiment.regularization;
    options.num_threads = arguments.experiment.num_threads;
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::vector<MethodComparison> comparison,
        CompareMethods(experiment.network.model, experiment.digits.train,
                       experiment.digits.test, experiment.digits.flipped,
                       options, &progress));
    std::cout << "\n" << ComparisonText(comparison);
  }
  std::cout << "\nreport: " << folder << "/index.html\n";
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "Trains a small network on digits of which some are mislabelled, and "
      "finds the wrong labels with influence functions.");
  app.name("digits");
  app.add_option("--out", arguments.out,
                 "folder for the page (index.html) and the files beside it; "
                 "made if missing, files in it are replaced")
      ->capture_default_str();
  std::vector<std::string> methods = DigitsMethodNames();
  methods.emplace_back("all");
  std::string method = arguments.experiment.method;
  app.add_option("--method", method,
                 "of the influence functions; all: direct, and a table that "
                 "compares it with all others")
      ->check(CLI::IsMember(methods))
      ->capture_default_str();
  app.add_option("--seed", arguments.experiment.seed,
                 "of the split, the flipped labels and the initial weights")
      ->capture_default_str();
  app.add_option("--flipped-share", arguments.experiment.flipped_share,
                 "share of training labels that are replaced by wrong ones")
      ->check(CLI::Range(0.0, 0.5))
      ->capture_default_str();
  app.add_option("--threads", arguments.experiment.num_threads,
                 "threads to compute with; LibTorch's choice if 0")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::cerr << "digits: error: " << error.what() << "\n";
    return 2;
  }
  arguments.compare = method == "all";
  if (!arguments.compare) arguments.experiment.method = method;
  if (arguments.experiment.num_threads > 0) {
    at::set_num_threads(arguments.experiment.num_threads);
  }
  const absl::Status status = Run(argv[0], arguments);
  if (status.ok()) return 0;
  std::cerr << "digits: error: " << status.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  influence::KeepFreedMemory();
  influence::ChooseMklKernelsByInstructionSet();
  const absl::StatusOr<int> code = influence::CatchTorch(
      "digits",
      [&]() -> absl::StatusOr<int> { return influence::Main(argc, argv); });
  if (code.ok()) return *code;
  std::cerr << "digits: error: " << code.status().message() << "\n";
  return 1;
}
