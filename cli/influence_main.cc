// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The `influence` command. docs/command_line.md describes it.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/freed_memory.h"
#include "base/mkl_kernels.h"
#include "base/passive_waiting.h"  // For what it does at the start.
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/console.h"
#include "cli/factors_command.h"
#include "cli/fit_command.h"
#include "cli/inspect_command.h"
#include "cli/interruption.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/report_command.h"
#include "cli/scores_command.h"
#include "cli/self_command.h"
#include "cli/spectrum_command.h"
#include "cli/terminal_progress.h"
#include "cli/top_command.h"
#include "cli/usage_error.h"

namespace influence {
namespace {

// A descriptor that was closed by whoever started this process would be given
// to the next file that is opened, and what is printed would end up in it.
void OccupyStandardDescriptors() {
  // Of the wrong kind on purpose: using one is an error, as if it were closed.
  while (true) {
    const int descriptor = open("/dev/null", O_RDONLY);
    if (descriptor < 0) return;
    if (descriptor > STDERR_FILENO) {
      close(descriptor);
      return;
    }
  }
}

absl::Status RunCommand(const InspectOptions& options, Console& console) {
  return RunInspect(options, console);
}
absl::Status RunCommand(const FitOptions& options, Console& console) {
  return RunFit(options, console);
}
absl::Status RunCommand(const ScoresOptions& options, Console& console) {
  return RunScores(options, console);
}
absl::Status RunCommand(const FactorsOptions& options, Console& console) {
  return RunFactors(options, console);
}
absl::Status RunCommand(const SelfOptions& options, Console& console) {
  return RunSelf(options, console);
}
absl::Status RunCommand(const SpectrumOptions& options, Console& console) {
  return RunSpectrum(options, console);
}
absl::Status RunCommand(const TopOptions& options, Console& console) {
  return RunTop(options, console);
}
absl::Status RunCommand(const ReportOptions& options, Console& console) {
  return RunReport(options, console);
}

absl::Status Run(const std::vector<std::string>& arguments) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(arguments);
  if (!line.ok()) return line.status();
  // Of a job one rank speaks.
  std::ofstream nowhere("/dev/null");
  const auto console = [&](bool quiet) {
    return Console(IsFirstRank() ? &std::cout : &nowhere, &std::cerr,
                   DetectTerminal(STDERR_FILENO), quiet || !IsFirstRank());
  };
  if (const auto* request = std::get_if<TextRequest>(&*line)) {
    Console text = console(/*quiet=*/true);
    return text.Print(request->text);
  }
  // The request for text is the one alternative without RunOptions.
  return std::visit(
      [&](const auto& options) -> absl::Status {
        if constexpr (requires { options.quiet; }) {
          Console command = console(options.quiet);
          return RunCommand(options, command);
        } else {
          return absl::OkStatus();
        }
      },
      *line);
}

// Ends the process without the destructors of static objects: LibTorch's
// registries take a tenth of a second, and nothing is left to be saved. A
// sanitizer reports at the end that is left out.
[[noreturn]] void EndProcess(int exit_code) {
  std::cout.flush();
  std::cerr.flush();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  std::exit(exit_code);
#else
  std::_Exit(exit_code);
#endif
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  influence::KeepFreedMemory();
  influence::ChooseMklKernelsByInstructionSet();
  influence::OccupyStandardDescriptors();
  influence::HandleInterruptions();
  // Writing to a closed pipe shall be an error that can be reported.
  signal(SIGPIPE, SIG_IGN);
  const absl::Status status =
      influence::CatchTorch("influence", [&]() -> absl::Status {
        INFLUENCE_RETURN_IF_ERROR(influence::JoinJob());
        return influence::Run(std::vector<std::string>(argv + 1, argv + argc));
      });
  const int exit_code = influence::ExitCode(status);
  if (!status.ok()) {
    const std::string line = influence::ErrorLine(status);
    influence::EndJob(line, exit_code);
    std::cerr << line << std::endl;
  }
  influence::LeaveJob();
  influence::EndProcess(exit_code);
}
