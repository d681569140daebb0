// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/interruption.h"

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "cli/usage_error.h"

namespace influence {
namespace {

constexpr int kRemovals = 100;

struct State {
  std::mutex mutex;  // Guards what follows.
  std::string path;  // Empty where there is none.
  bool keep = false;
  bool expects_termination = false;
};

// Never destroyed: the watching thread may outlive main().
State& GlobalState() {
  static State* const state = new State;
  return *state;
}

absl::string_view SignalName(int signal) {
  switch (signal) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    default:
      return "SIGHUP";
  }
}

void WriteAll(int descriptor, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(written);
  }
}

[[noreturn]] void EndProcess(int signal) {
  State& state = GlobalState();
  // Not given back: nothing may be created any more.
  state.mutex.lock();
  std::string rest = "no output is left behind";
  if (!state.path.empty() && state.keep) {
    rest = absl::StrCat("what is done stays in ", state.path,
                        ", for --resume to go on with");
  } else if (!state.path.empty()) {
    // Files may still come into a folder while it is being emptied.
    std::error_code error;
    for (int i = 0; i < kRemovals; ++i) {
      std::filesystem::remove_all(state.path, error);
      if (!std::filesystem::exists(state.path, error)) break;
    }
  }
  if (signal == SIGTERM && state.expects_termination) _exit(kExitFailure);
  // The bar that may be on the terminal stays, the error gets its own line.
  WriteAll(STDERR_FILENO,
           absl::StrCat(isatty(STDERR_FILENO) == 1 ? "\n" : "",
                        "influence: error: run: found ", SignalName(signal),
                        ", expected to finish; ", rest, "\n"));
  _exit(kExitFailure);
}

}  // namespace

void HandleInterruptions() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  struct sigaction hang_up;
  if (sigaction(SIGHUP, nullptr, &hang_up) == 0 &&
      hang_up.sa_handler != SIG_IGN) {
    sigaddset(&signals, SIGHUP);
  }
  // Threads inherit the mask, so the watching thread alone sees the signals.
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  GlobalState();
  std::thread([signals] {
    int signal = 0;
    while (sigwait(&signals, &signal) != 0) {
    }
    EndProcess(signal);
  }).detach();
}

void ExpectTermination() {
  State& state = GlobalState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.expects_termination = true;
}

absl::StatusOr<std::unique_ptr<InterruptibleFile>> InterruptibleFile::Create(
    absl::FunctionRef<absl::StatusOr<std::string>()> create) {
  State& state = GlobalState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  INFLUENCE_CHECK(state.path.empty());
  INFLUENCE_ASSIGN_OR_RETURN(state.path, create());
  state.keep = false;
  return std::unique_ptr<InterruptibleFile>(new InterruptibleFile);
}

void InterruptibleFile::Keep() {
  State& state = GlobalState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.keep = true;
}

InterruptibleFile::~InterruptibleFile() {
  State& state = GlobalState();
  const std::lock_guard<std::mutex> lock(state.mutex);
  state.path.clear();
}

}  // namespace influence
