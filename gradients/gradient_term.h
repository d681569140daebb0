// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// One term of the per-sample gradients of one parameter, kept in factored form.
//
// A parameter that a model uses several times has the sum of several terms.
// Each term covers a contiguous range [offset, offset + size) of the parameter
// flattened row-major, so that a projection which uses a third of a fused
// weight yields a term of that third.
#ifndef INFLUENCE_GRADIENTS_GRADIENT_TERM_H_
#define INFLUENCE_GRADIENTS_GRADIENT_TERM_H_

#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"

namespace influence {

// The gradients of N samples in a range of `size` scalars: a matrix [N, size]
// that is applied and written out without being stored. Immutable and
// thread-safe. Members throw c10::Error on a LibTorch failure (callers are
// inside CatchTorch()) and assume arguments of the stated shapes.
class GradientTerm {
 public:
  virtual ~GradientTerm() = default;

  int64_t num_samples() const { return num_samples_; }  // N
  int64_t offset() const { return offset_; }
  int64_t size() const { return size_; }

  // Adds samples [begin, end) to out [end - begin, size], or overwrites `out`.
  // `out` may be a strided view.
  virtual void Write(int64_t begin, int64_t end, bool accumulate,
                     const at::Tensor& out) const = 0;

  // matrix [K, size] -> [N, K]: the products of each sample's gradient with
  // each row. Scratch is bounded by a fixed tile, not by N * size.
  virtual at::Tensor Contract(const at::Tensor& matrix) const = 0;

  // weights [K, N] -> [K, size]: sum_n weights[k, n] * gradient_n.
  virtual at::Tensor WeightedSum(const at::Tensor& weights) const = 0;

  // [size], float64: the sum over the samples of each entry's square. Products
  // are in the gradients' dtype and added up in it within a tile of samples.
  // Scratch is bounded by a fixed tile.
  virtual at::Tensor SumOfSquares() const;

  // [N, other.N]: the inner products of this term's gradients with those of
  // `other`, a term of the same parameter; 0 where the ranges do not meet.
  at::Tensor Gram(const GradientTerm& other) const;

  // [N]: the inner products, sample by sample, with `other`, which has the same
  // samples and is a term of the same parameter.
  at::Tensor RowwiseInnerProduct(const GradientTerm& other) const;

 protected:
  GradientTerm(int64_t num_samples, int64_t offset, int64_t size);

  // The fast forms for another term of the same kind and range; an undefined
  // tensor means that the general form through tiles of `other` is cheaper.
  virtual at::Tensor GramSameRange(const GradientTerm& other) const;
  virtual at::Tensor RowwiseSameRange(const GradientTerm& other) const;

  // Contract() by writing the gradients out, a tile of samples at a time.
  at::Tensor ContractWritten(const at::Tensor& matrix) const;

  // dtype and device of the gradients.
  virtual at::TensorOptions Options() const = 0;

 private:
  int64_t num_samples_;
  int64_t offset_;
  int64_t size_;
};

// Gradients that are stored as they are: biases, scales, and whatever came from
// plain autograd.
class DenseTerm : public GradientTerm {
 public:
  // gradients: [N, size].
  DenseTerm(int64_t offset, at::Tensor gradients);

  const at::Tensor& gradients() const { return gradients_; }

  void Write(int64_t begin, int64_t end, bool accumulate,
             const at::Tensor& out) const override;
  at::Tensor Contract(const at::Tensor& matrix) const override;
  at::Tensor WeightedSum(const at::Tensor& weights) const override;
  at::Tensor SumOfSquares() const override;

 protected:
  at::Tensor GramSameRange(const GradientTerm& other) const override;
  at::Tensor RowwiseSameRange(const GradientTerm& other) const override;
  at::TensorOptions Options() const override;

 private:
  at::Tensor gradients_;
};

// The gradient of sample n in group h is the matrix
//   sum_t left[n, h, t, :] right[n, h, t, :]^T   of shape [L, R],
// and the groups stand one after the other: size = H * L * R. A linear layer
// has left = output gradients, right = inputs, H = 1, t over its positions
// (T = 1 without any); a convolution has right = unfolded input patches.
class OuterProductTerm : public GradientTerm {
 public:
  // left: [N, H, T, L], right: [N, H, T, R], any strides.
  OuterProductTerm(int64_t offset, at::Tensor left, at::Tensor right);

  // Where samples with fewer than T positions are filled up with zeros:
  // real_positions, bool [N, T], is false there. Undefined: all are real.
  OuterProductTerm(int64_t offset, at::Tensor left, at::Tensor right,
                   at::Tensor real_positions);

  const at::Tensor& real_positions() const { return real_positions_; }

  const at::Tensor& left() const { return left_; }
  const at::Tensor& right() const { return right_; }

  void Write(int64_t begin, int64_t end, bool accumulate,
             const at::Tensor& out) const override;
  at::Tensor Contract(const at::Tensor& matrix) const override;
  at::Tensor WeightedSum(const at::Tensor& weights) const override;
  at::Tensor SumOfSquares() const override;

 protected:
  at::Tensor GramSameRange(const GradientTerm& other) const override;
  at::Tensor RowwiseSameRange(const GradientTerm& other) const override;
  at::TensorOptions Options() const override;

 private:
  // Whether products with num_rows rows are cheaper with the gradients written
  // out than from the factors.
  bool WritingIsCheaper(int64_t num_rows) const;

  // The two ways of Contract(); N, K > 0.
  at::Tensor ContractInSlices(const at::Tensor& matrix) const;
  at::Tensor ContractFactors(const at::Tensor& matrix) const;

  // Rows [first_row, first_row + num_rows) of the matrices of samples [begin,
  // end): over, or added to, out [end - begin, H, num_rows, R].
  void WriteRows(int64_t begin, int64_t end, int64_t first_row,
                 int64_t num_rows, bool accumulate,
                 const at::Tensor& out) const;

  at::Tensor left_;
  at::Tensor right_;
  at::Tensor real_positions_;
};

// The gradient of sample n is a matrix of `num_rows` rows of which only the
// rows rows[n, t] are not zero: row rows[n, t] holds the sum of the values
// [n, t, :] of that row. An embedding's gradient.
class RowSparseTerm : public GradientTerm {
 public:
  // rows: int64 [N, T] in [0, num_rows), or -1 for a position without any
  // gradient; values: [N, T, D]. size = num_rows * D.
  RowSparseTerm(int64_t offset, int64_t num_rows, const at::Tensor& rows,
                const at::Tensor& values);

  int64_t num_rows() const { return num_rows_; }

  // [N, T] and [N, T, D]: a position without any gradient is row 0 with zeros.
  const at::Tensor& row_numbers() const { return rows_; }
  const at::Tensor& values() const { return values_; }

  void Write(int64_t begin, int64_t end, bool accumulate,
             const at::Tensor& out) const override;
  at::Tensor Contract(const at::Tensor& matrix) const override;
  at::Tensor WeightedSum(const at::Tensor& weights) const override;
  at::Tensor SumOfSquares() const override;

 protected:
  at::Tensor GramSameRange(const GradientTerm& other) const override;
  at::Tensor RowwiseSameRange(const GradientTerm& other) const override;
  at::TensorOptions Options() const override;

 private:
  int64_t num_rows_;
  at::Tensor rows_;    // [N, T], the -1 replaced by 0.
  at::Tensor values_;  // [N, T, D], zero where rows was -1.
};

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_GRADIENT_TERM_H_
