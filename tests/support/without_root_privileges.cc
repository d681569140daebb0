// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/without_root_privileges.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/status_macros.h"

namespace influence {
namespace {

constexpr uint32_t kOverrides =
    (uint32_t{1} << CAP_DAC_OVERRIDE) | (uint32_t{1} << CAP_DAC_READ_SEARCH);

struct Capabilities {
  // Process 0 is the calling thread.
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
};

// Sets the first 32 effective capabilities, of which only permitted ones may be
// set, and returns what they were.
uint32_t ReplaceEffective(uint32_t kept, uint32_t added) {
  Capabilities capabilities;
  INFLUENCE_CHECK(
      syscall(SYS_capget, &capabilities.header, capabilities.data) == 0);
  const uint32_t previous = capabilities.data[0].effective;
  capabilities.data[0].effective = (previous & kept) | added;
  INFLUENCE_CHECK(
      syscall(SYS_capset, &capabilities.header, capabilities.data) == 0);
  return previous;
}

}  // namespace

WithoutRootPrivileges::WithoutRootPrivileges()
    : effective_(ReplaceEffective(~kOverrides, 0)) {}

WithoutRootPrivileges::~WithoutRootPrivileges() {
  ReplaceEffective(~uint32_t{0}, effective_);
}

}  // namespace influence
