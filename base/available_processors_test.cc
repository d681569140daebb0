// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "base/available_processors.h"

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::Optional;

// A tree of control groups in a folder of the test's own.
class ProcessorQuotaTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "/groups_" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + "/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  // Of a process that is told `groups`.
  std::optional<double> Quota(const std::string& groups) {
    Write("groups", groups);
    return ProcessorQuota(root_ + "/groups", root_ + "/mount");
  }

  std::string root_;
};

TEST_F(ProcessorQuotaTest, ReadsVersionTwo) {
  Write("mount/job/cpu.max", "150000 100000\n");
  EXPECT_THAT(Quota("0::/job\n"), Optional(1.5));
  Write("mount/job/cpu.max", "max 100000\n");
  EXPECT_EQ(Quota("0::/job\n"), std::nullopt);
}

TEST_F(ProcessorQuotaTest, TakesTheLeastOfTheGroupsAround) {
  Write("mount/cpu.max", "800000 100000\n");
  Write("mount/slice/cpu.max", "200000 100000\n");
  Write("mount/slice/job/cpu.max", "400000 100000\n");
  Write("mount/other/cpu.max", "100000 100000\n");
  EXPECT_THAT(Quota("0::/slice/job\n"), Optional(2.0));
  EXPECT_THAT(Quota("0::/slice/job/new\n"), Optional(2.0));
  EXPECT_THAT(Quota("0::/\n"), Optional(8.0));
}

// The path is that outside of the container, the files are at the root.
TEST_F(ProcessorQuotaTest, FindsAContainersGroupAtTheRoot) {
  Write("mount/cpu.max", "300000 100000\n");
  EXPECT_THAT(Quota("0::/docker/0123abcd\n"), Optional(3.0));
}

TEST_F(ProcessorQuotaTest, ReadsVersionOne) {
  for (const char* mount : {"mount/cpu", "mount/cpu,cpuacct"}) {
    SetUp();
    Write(std::string(mount) + "/job/cpu.cfs_quota_us", "250000\n");
    Write(std::string(mount) + "/job/cpu.cfs_period_us", "100000\n");
    Write("mount/memory/job/cpu.cfs_quota_us", "1\n");
    Write("mount/memory/job/cpu.cfs_period_us", "100000\n");
    EXPECT_THAT(Quota("5:memory:/job\n4:cpu,cpuacct:/job\n1:name=x:/\n"),
                Optional(2.5));
  }
  Write("mount/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Quota("4:cpu,cpuacct:/job\n"), std::nullopt);
}

TEST_F(ProcessorQuotaTest, NoneWithoutFilesOrWithOthers) {
  EXPECT_EQ(ProcessorQuota(root_ + "/none", root_), std::nullopt);
  EXPECT_EQ(Quota("0::/job\n"), std::nullopt);
  EXPECT_EQ(Quota("nonsense\n"), std::nullopt);
  Write("mount/job/cpu.max", "what is this\n");
  EXPECT_EQ(Quota("0::/job\n"), std::nullopt);
  Write("mount/job/cpu.max", "0 0\n");
  EXPECT_EQ(Quota("0::/job\n"), std::nullopt);
}

TEST(AvailableProcessorsTest, FollowsTheAffinity) {
  const int before = AvailableProcessors();
  EXPECT_GE(before, 1);
  EXPECT_LE(before, static_cast<int>(std::thread::hardware_concurrency()));
  EXPECT_LE(AvailableProcessors(2), before);
  EXPECT_EQ(AvailableProcessors(1000000), 1);
  std::thread([] {
    cpu_set_t allowed;
    ASSERT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    int first = 0;
    while (!CPU_ISSET(first, &allowed)) ++first;
    CPU_ZERO(&allowed);
    CPU_SET(first, &allowed);
    ASSERT_EQ(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
    EXPECT_EQ(AvailableProcessors(), 1);
  }).join();
  EXPECT_EQ(AvailableProcessors(), before);
}

}  // namespace
}  // namespace influence
