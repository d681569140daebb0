// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The sum of x x^T over rows x [F] that come batch by batch, for each of H
// groups. While they are few for their width, the rows themselves are kept: m
// rows take less memory than a matrix [F, F], and its eigenpairs, of which m at
// most are not zero, are found from them (shared_eigendecomposition.h) for a
// fraction of the work. As soon as they are more, matrices are summed.
#ifndef INFLUENCE_OPERATORS_SECOND_MOMENT_H_
#define INFLUENCE_OPERATORS_SECOND_MOMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "base/communicator.h"
#include "operators/shared_eigendecomposition.h"

namespace influence {

// Movable; not for several threads at a time. Members throw c10::Error on a
// LibTorch failure and assume the stated shapes.
class SecondMoment {
 public:
  // Of none. `width`: F, with the 1 that each row is followed by if
  // `append_one`. Rows are kept in `dtype`.
  SecondMoment(int64_t groups, int64_t width, bool append_one,
               at::ScalarType dtype);

  // Rows of this width that are kept as rows, at most: 3 F / 4, 0 for narrow
  // ones, of which a matrix is cheap.
  static int64_t MostRows(int64_t width);

  // Adds the rows of x [N, H, T, F without the 1], any strides.
  void Add(const at::Tensor& x);

  // Adds the rows of `other`, of the same shape, after this one's.
  void Add(const SecondMoment& other);

  // Replaces this by the sum over all ranks, on each the same. Collective.
  absl::Status Reduce(Communicator& communicator);

  // All there is to keep: rows [H, m, F] of the dtype of the constructor, or
  // matrices [H, F, F], float64, of which the upper triangles count.
  at::Tensor State() const;

  // Takes what State() has returned; false if it is of another shape.
  bool SetState(const at::Tensor& state);

  // The matrices (or rows) times `scale`, for EigendecomposeTogether(). Made of
  // this object's own memory, which may only be destroyed after it.
  SymmetricMatrix TakeMatrix(std::string name, double scale);

 private:
  // Adds rows [H, m, F].
  void AddRows(const at::Tensor& rows);

  void MakeDense();

  int64_t groups_;
  int64_t width_;
  bool append_one_;
  at::ScalarType dtype_;

  std::vector<at::Tensor> rows_;  // [H, *, F] each, while sums_ is undefined.
  int64_t num_rows_ = 0;          // Of rows_, all together.
  at::Tensor sums_;               // [H, F, F], upper triangles.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_SECOND_MOMENT_H_
