// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The inverse of one factor pair of a Kronecker-factored curvature,
//
//   V -> U_G [ W / (Lambda + lambda) ] U_A^T + (V - U_G W U_A^T) / lambda,
//   W = U_G^T V U_A,   V [O, I],
//
// and its inner products between gradients that are outer products g a^T,
// which in eigen-coordinates are outer products too. A part of
// KroneckerInverse, which has the whole of a block.
//
// The second term is what eigenvectors [O, Q], [I, R] with fewer columns than
// rows leave over, where Lambda is 0; it is 0 without such. It is taken from
// the residual, never as a difference of two inverses, whose leading digits
// would cancel where Lambda >> lambda.
#ifndef INFLUENCE_OPERATORS_KRONECKER_PAIR_INVERSE_H_
#define INFLUENCE_OPERATORS_KRONECKER_PAIR_INVERSE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "ATen/core/Tensor.h"
#include "gradients/factored_gradients.h"
#include "operators/eigenvalue_staircase.h"
#include "operators/kronecker_curvature.h"

namespace influence {

// The gradients of N samples as outer products in eigen-coordinates: that of
// sample n is rows[n] columns[n]^T, [R, C]. The rows are of the smaller side.
// Coordinates of a side u are U^T u and, where U has fewer columns than rows,
// the residual u - U U^T u after them: inner products of coordinates are those
// of the sides.
struct RotatedFactors {
  at::Tensor rows;     // [N, R]
  at::Tensor columns;  // [N, C]
};

// Where a pair's parameters lie in a flat vector, in scalars.
struct PairOffsets {
  int64_t weight;
  int64_t bias;  // Not looked at without a bias.
};

// Immutable and thread-safe. Members throw c10::Error on a LibTorch failure and
// assume arguments of the stated shapes.
class KroneckerPairInverse {
 public:
  // Which inverse: 1 / (Lambda + lambda), or the one of the staircase, which
  // has 1 / lambda beyond its steps.
  enum class Eigenvalues { kExact, kSplit };

  // The lambda, and the t of FindEigenvalueStaircase(), which is raised to half
  // the rounding unit of `dtype`, where Lambda + lambda rounds to lambda. Data
  // of `dtype` find the eigenvectors converted; other dtypes convert them in
  // each call. Lambda + lambda must be > 0 everywhere.
  KroneckerPairInverse(const KroneckerFactors& factors, double regularization,
                       double score_tolerance, at::ScalarType dtype);

  int64_t num_outputs() const { return num_outputs_; }         // O
  int64_t num_inputs() const { return num_inputs_; }           // I
  int64_t size() const { return num_outputs_ * num_inputs_; }  // O I

  // How much of Lambda the inner products below contract.
  double contracted_share() const { return staircase_.contracted_share; }

  // Whether kSplit is another inverse than kExact.
  bool is_split() const { return is_split_; }

  // Reads the pair's parameters from the rows of `in` [K, *] at `in_offsets`
  // and writes the inverse's action on them to `out` [K, *] at `out_offsets`;
  // the two may be the same tensor. 4 K O I (O + I) operations, less with fewer
  // eigenvectors; three temporaries of [K, O, I].
  void Apply(const at::Tensor& in, const PairOffsets& in_offsets,
             Eigenvalues eigenvalues, const at::Tensor& out,
             const PairOffsets& out_offsets) const;

  // The pair's gradients if each sample's is one outer product: the weight's
  // has one term of this pair, of one position, and the bias's equals that
  // term's output side. `weight` and `bias` (null without) are of the pair's
  // parameters. 2 N (O^2 + I^2) operations.
  std::optional<RotatedFactors> Rotate(const FactoredParameter& weight,
                                       const FactoredParameter* bias) const;

  // The inverse's action on such gradients, as Apply() writes it.
  void ApplyToFactors(const RotatedFactors& factors, Eigenvalues eigenvalues,
                      const at::Tensor& out, const PairOffsets& offsets) const;

  // Multiply-adds of AddInnerProducts() for one pair of samples.
  double InnerProductCost() const;

  // The queries' side of AddInnerProducts(), to be used many times: their
  // contracted eigen-coordinates, divided by Lambda + lambda, [M, *].
  at::Tensor Divide(const RotatedFactors& queries) const;
  int64_t num_contracted() const;  // The width of that.

  // Adds to scores [M, N] the inner products of `queries` and `samples` under
  // the inverse with Eigenvalues::kSplit. `divided`: Divide(queries), or
  // undefined, which costs as much work again as N = 50 samples do. 2 M N
  // num_contracted() operations and little more; scratch of a fixed size.
  void AddInnerProducts(const RotatedFactors& queries,
                        const at::Tensor& divided,
                        const RotatedFactors& samples,
                        const at::Tensor& scores) const;

  // The inner products of `queries` with as many `samples`, one by one, [N].
  // 2 N O I operations.
  at::Tensor RowwiseInnerProducts(const RotatedFactors& queries,
                                  const RotatedFactors& samples) const;

 private:
  // Columns in the order of the staircase.
  struct Basis {
    at::Tensor rows;           // [*, R], eigenvectors of the rows' side.
    at::Tensor columns;        // [*, C]
    at::Tensor inverse;        // 1 / (Lambda + lambda), [R, C].
    at::Tensor split_inverse;  // The same with Eigenvalues::kSplit.

    bool has_residual() const {
      return rows.size(0) > rows.size(1) || columns.size(0) > columns.size(1);
    }
  };

  Basis BasisIn(at::ScalarType dtype) const;
  Basis MakeBasis(at::ScalarType dtype) const;

  // The staircase of Lambda, and below and right of it what residuals have,
  // which is never contracted.
  EigenvalueStaircase MakeStaircase(double score_tolerance,
                                    at::ScalarType dtype);

  // X [K, R, C] in eigen-coordinates, plus `residuals`, as rows and columns
  // lie, where defined -> `out`.
  void WriteBack(const at::Tensor& matrices, const at::Tensor& residuals,
                 const Basis& basis, const at::Tensor& out,
                 const PairOffsets& offsets) const;

  void AddContracted(const RotatedFactors& queries, const at::Tensor& divided,
                     const RotatedFactors& samples, const Basis& basis,
                     const at::Tensor& scores) const;
  void AddRectangles(const RotatedFactors& queries,
                     const RotatedFactors& samples,
                     const at::Tensor& scores) const;

  KroneckerFactors factors_;
  double regularization_;
  int64_t num_outputs_;
  int64_t num_inputs_;
  bool inputs_are_rows_;  // Otherwise the outputs are.
  bool is_split_ = false;
  EigenvalueStaircase staircase_;
  at::ScalarType dtype_;
  Basis basis_;  // In dtype_.
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_PAIR_INVERSE_H_
