// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/influence_command.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

constexpr char kProgram[] = "cli/influence";  // In the runfiles.

// In the child, where only what is safe after fork() may be called.
void Redirect(const char* path, int descriptor) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
}

}  // namespace

RunningInfluence::RunningInfluence(const std::vector<std::string>& arguments,
                                   std::string out)
    : out_path_(std::move(out)) {
  static std::atomic<int> counter = 0;
  const std::string prefix = absl::StrCat(::testing::TempDir(), "/influence_",
                                          getpid(), "_", ++counter);
  if (out_path_.empty()) out_path_ = prefix + ".out";
  err_path_ = prefix + ".err";
  std::vector<char*> words = {const_cast<char*>(kProgram)};
  for (const std::string& argument : arguments) {
    words.push_back(const_cast<char*>(argument.c_str()));
  }
  words.push_back(nullptr);
  process_ = fork();
  if (process_ == 0) {
    Redirect(out_path_.c_str(), STDOUT_FILENO);
    Redirect(err_path_.c_str(), STDERR_FILENO);
    execv(kProgram, words.data());
    _exit(127);
  }
  INFLUENCE_CHECK(process_ > 0);
}

RunningInfluence::~RunningInfluence() {
  if (process_ == 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, &status_, 0);
}

bool RunningInfluence::WaitForError(absl::string_view text) {
  while (true) {
    const bool ended =
        process_ == 0 || waitpid(process_, &status_, WNOHANG) == process_;
    if (ended) process_ = 0;
    if (absl::StrContains(ReadText(err_path_), text)) return true;
    if (ended) return false;
    usleep(1000);
  }
}

void RunningInfluence::Signal(int signal) {
  if (process_ != 0) kill(process_, signal);
}

CommandResult RunningInfluence::Wait() {
  if (process_ != 0) {
    INFLUENCE_CHECK(waitpid(process_, &status_, 0) == process_);
    process_ = 0;
  }
  return {WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_),
          out_path_ == "/dev/full" ? "" : ReadText(out_path_),
          ReadText(err_path_)};
}

CommandResult RunInfluence(const std::vector<std::string>& arguments,
                           std::string out) {
  return RunningInfluence(arguments, std::move(out)).Wait();
}

std::vector<std::string> Words(absl::string_view line,
                               const std::vector<std::string>& more) {
  std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace influence
