// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Lets tests of file permissions work for root too, whom permissions do not
// bind: while an object of this class lives, its thread obeys them.
//
//   const WithoutRootPrivileges guard;
//   EXPECT_THAT(Open(unreadable), StatusIs(kPermissionDenied, _));
#ifndef INFLUENCE_TESTS_SUPPORT_WITHOUT_ROOT_PRIVILEGES_H_
#define INFLUENCE_TESTS_SUPPORT_WITHOUT_ROOT_PRIVILEGES_H_

#include <cstdint>

namespace influence {

// Linux only. Gives up the capabilities that override the permissions of files,
// for the calling thread; does nothing where it has none. Objects must be
// destroyed on the thread that made them, in the reverse order.
class WithoutRootPrivileges {
 public:
  WithoutRootPrivileges();
  ~WithoutRootPrivileges();
  WithoutRootPrivileges(const WithoutRootPrivileges&) = delete;
  WithoutRootPrivileges& operator=(const WithoutRootPrivileges&) = delete;

 private:
  uint32_t effective_;  // The first 32 capabilities before.
};

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_WITHOUT_ROOT_PRIVILEGES_H_
