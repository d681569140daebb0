// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/without_root_privileges.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace influence {
namespace {

TEST(WithoutRootPrivilegesTest, ObeysPermissionsWhileItLives) {
  const std::string path = ::testing::TempDir() + "/unreadable";
  std::ofstream(path) << "text";
  std::filesystem::permissions(path, std::filesystem::perms::none);
  const bool readable_before = access(path.c_str(), R_OK) == 0;
  {
    const WithoutRootPrivileges guard;
    const int descriptor = open(path.c_str(), O_RDONLY);
    EXPECT_EQ(descriptor, -1);
    EXPECT_EQ(errno, EACCES);
    if (descriptor >= 0) close(descriptor);
  }
  const int descriptor = open(path.c_str(), O_RDONLY);
  // Root reads again; anybody else never could.
  EXPECT_EQ(descriptor >= 0, readable_before);
  if (descriptor >= 0) close(descriptor);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace influence
