// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// How many threads LibTorch takes in one thread, for a while.
#ifndef INFLUENCE_BASE_NUM_THREADS_SCOPE_H_
#define INFLUENCE_BASE_NUM_THREADS_SCOPE_H_

namespace influence {

// While an object of this class lives, at::get_num_threads() is `num_threads`
// >= 1 in the thread that made it, and so many threads LibTorch, MKL and oneDNN
// take for an operator there. Other threads keep theirs, and so does what a new
// thread starts with; at::set_num_threads() changes that one too. Objects end
// in the thread that made them, the last one first.
class NumThreadsScope {
 public:
  explicit NumThreadsScope(int num_threads);
  ~NumThreadsScope();
  NumThreadsScope(const NumThreadsScope&) = delete;
  NumThreadsScope& operator=(const NumThreadsScope&) = delete;

 private:
  const int before_;
  int mkl_before_ = 0;  // 0: that of the process.
};

}  // namespace influence

#endif  // INFLUENCE_BASE_NUM_THREADS_SCOPE_H_
