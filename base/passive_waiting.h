// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Makes a program's threads sleep while they wait for each other.
//
// LibTorch's threads are those of OpenMP, which keep a processor busy while
// they wait, in the hope that it is not for long. Where another process wants
// that processor, the thread that is waited for does not get it: an LSTM's
// scores took 9 s beside other work in place of 1.6 s (two processors).
#ifndef INFLUENCE_BASE_PASSIVE_WAITING_H_
#define INFLUENCE_BASE_PASSIVE_WAITING_H_

namespace influence {

// True where OpenMP was told to let waiting threads sleep: OMP_WAIT_POLICY is
// "passive".
//
// A program that links this file is: its runtime reads the environment when it
// is loaded, and there is no function to tell it later. So, before any library
// is initialised, the program starts itself again with the variable set (same
// process, same arguments, about 15 ms). Not where the user has set
// OMP_WAIT_POLICY or GOMP_SPINCOUNT, nor in a program that is started with
// other rights than its user's or by hand through the loader. For programs
// only: the environment is a library's host's.
bool WaitsPassively();

}  // namespace influence

#endif  // INFLUENCE_BASE_PASSIVE_WAITING_H_
