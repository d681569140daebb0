// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The program runs itself: with the argument --tell it says what it finds.
#include "base/passive_waiting.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

char* Text(const char* text) { return const_cast<char*>(text); }

// What the program says, and what OpenMP says of its settings, when it is
// started in an environment with `variables` alone.
std::string TellIn(const std::vector<const char*>& variables) {
  const std::string path = testing::TempDir() + "/passive_waiting";
  const pid_t child = fork();
  if (child == 0) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    std::vector<char*> environment = {Text("OMP_DISPLAY_ENV=VERBOSE")};
    for (const char* variable : variables) {
      environment.push_back(Text(variable));
    }
    environment.push_back(nullptr);
    std::array<char*, 4> arguments = {Text("a name"), Text("--tell"),
                                      Text("two words"), nullptr};
    execve("/proc/self/exe", arguments.data(), environment.data());
    _exit(127);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

int Tell(int argc, char** argv) {
  at::get_num_threads();  // LibTorch, and OpenMP with it, is loaded.
  std::printf("found %s, %s", WaitsPassively() ? "passive" : "not", argv[0]);
  for (int i = 1; i < argc; ++i) std::printf("|%s", argv[i]);
  const char* const other = std::getenv("OTHER");
  std::printf(", %s\n", other != nullptr ? other : "none");
  return 0;
}

class PassiveWaitingTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "not with sanitizers";
#endif
  }
};

TEST_F(PassiveWaitingTest, OpenMpIsToldBeforeItStarts) {
  const std::string told = TellIn({"OTHER=kept"});
  EXPECT_THAT(told, HasSubstr("OMP_WAIT_POLICY = 'PASSIVE'"));
  EXPECT_THAT(told, HasSubstr("GOMP_SPINCOUNT = '0'"));
  EXPECT_THAT(told, HasSubstr("found passive, a name|--tell|two words, kept"));
  EXPECT_THAT(TellIn({}), HasSubstr("found passive"));
}

TEST_F(PassiveWaitingTest, WhatTheUserHasSetIsKept) {
  std::string told = TellIn({"OMP_WAIT_POLICY=active"});
  EXPECT_THAT(told, HasSubstr("OMP_WAIT_POLICY = 'ACTIVE'"));
  EXPECT_THAT(told, HasSubstr("found not"));
  told = TellIn({"GOMP_SPINCOUNT=77"});
  EXPECT_THAT(told, HasSubstr("GOMP_SPINCOUNT = '77'"));
  EXPECT_THAT(told, Not(HasSubstr("PASSIVE'\n  GOMP_SPINCOUNT = '0'")));
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--tell") == 0) {
    return influence::Tell(argc, argv);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
