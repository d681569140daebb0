// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_pair_inverse.h"

#include <algorithm>

#include "ATen/ops/addmm.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/full.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/mul.h"
#include "ATen/ops/zeros.h"
#include "base/rounding_unit.h"
#include "gradients/gradient_term.h"

namespace influence {
namespace {

// Scratch of a tile in scalars: 16 MiB in float32, within the last-level cache.
constexpr int64_t kTileScalars = int64_t{1} << 22;

// Samples of either side in a tile: enough for a matrix product at full rate.
constexpr int64_t kTileSamples = 1024;

// What a step of the staircase costs for each pair of samples, in multiply-adds
// of a large matrix product: two thin products, their product and a sum, which
// are bound by memory.
constexpr double kStepCost = 400;

// The coordinates of `side` [N, n], with a column of ones behind it if
// `append_one`, whose part in the eigenvectors is `rotated` [N, r].
at::Tensor WithResidual(const at::Tensor& side, bool append_one,
                        const at::Tensor& rotated,
                        const at::Tensor& eigenvectors) {
  const int64_t n = eigenvectors.size(0), r = eigenvectors.size(1);
  if (r == n) return rotated;
  at::Tensor all = at::empty({side.size(0), r + n}, rotated.options());
  all.narrow(1, 0, r).copy_(rotated);
  at::Tensor residual = all.narrow(1, r, n);
  residual.narrow(1, 0, side.size(1)).copy_(side);
  if (append_one) residual.select(1, side.size(1)).fill_(1);
  residual.addmm_(rotated, eigenvectors.t(), /*beta=*/1, /*alpha=*/-1);
  return all;
}

// Those of a side that are its part in the eigenvectors.
at::Tensor InSpan(const at::Tensor& coordinates,
                  const at::Tensor& eigenvectors) {
  return coordinates.narrow(1, 0, eigenvectors.size(1));
}

// And the rest of them, undefined where there are none.
at::Tensor Residual(const at::Tensor& coordinates,
                    const at::Tensor& eigenvectors) {
  const int64_t n = eigenvectors.size(0), r = eigenvectors.size(1);
  return r == n ? at::Tensor() : coordinates.narrow(1, r, n);
}

}  // namespace

KroneckerPairInverse::KroneckerPairInverse(const KroneckerFactors& factors,
                                           double regularization,
                                           double score_tolerance,
                                           at::ScalarType dtype)
    : factors_(factors),
      regularization_(regularization),
      num_outputs_(factors.num_outputs()),
      num_inputs_(factors.num_inputs()),
      inputs_are_rows_(num_inputs_ < num_outputs_),
      staircase_(MakeStaircase(score_tolerance, dtype)),
      dtype_(dtype),
      basis_(MakeBasis(dtype)) {}

EigenvalueStaircase KroneckerPairInverse::MakeStaircase(double score_tolerance,
                                                        at::ScalarType dtype) {
  const at::Tensor eigenvalues =
      inputs_are_rows_ ? factors_.eigenvalues.t() : factors_.eigenvalues;
  EigenvalueStaircase staircase = FindEigenvalueStaircase(
      eigenvalues, regularization_,
      std::max(score_tolerance, RoundingUnit(dtype) / 2), kStepCost);
  is_split_ = staircase.contracted_share < 1;
  if (!factors_.is_deficient()) return staircase;
  staircase.contracted_share *=
      static_cast<double>(eigenvalues.numel()) / static_cast<double>(size());
  const int64_t rank = eigenvalues.size(0);
  const int64_t num_rows = inputs_are_rows_ ? num_inputs_ : num_outputs_;
  if (rank < num_rows) {
    staircase.steps.push_back({rank, rank + num_rows, /*num_columns=*/0});
  }
  return staircase;
}

KroneckerPairInverse::Basis KroneckerPairInverse::MakeBasis(
    at::ScalarType dtype) const {
  const at::Tensor& row_order = staircase_.row_order;
  const at::Tensor& column_order = staircase_.column_order;
  const at::Tensor& rows = inputs_are_rows_ ? factors_.input_eigenvectors
                                            : factors_.gradient_eigenvectors;
  const at::Tensor& columns = inputs_are_rows_ ? factors_.gradient_eigenvectors
                                               : factors_.input_eigenvectors;
  const at::Tensor eigenvalues =
      inputs_are_rows_ ? factors_.eigenvalues.t() : factors_.eigenvalues;
  const at::Tensor inverse =
      at::index_select(at::index_select(eigenvalues, 0, row_order), 1,
                       column_order)
          .add(regularization_)
          .reciprocal();
  Basis basis;
  basis.rows = at::index_select(rows, 1, row_order).to(dtype);
  basis.columns = at::index_select(columns, 1, column_order).to(dtype);
  basis.inverse = inverse.to(dtype);
  basis.split_inverse = basis.inverse;
  if (is_split()) {
    basis.split_inverse =
        at::full(inverse.sizes(), 1 / regularization_, at::dtype(dtype));
    for (const EigenvalueStaircase::Step& step : staircase_.steps) {
      if (step.num_columns == 0) continue;  // Residuals among them.
      const auto corner = [&](const at::Tensor& matrix) {
        return matrix.narrow(0, step.begin, step.end - step.begin)
            .narrow(1, 0, step.num_columns);
      };
      corner(basis.split_inverse).copy_(corner(basis.inverse));
    }
  }
  return basis;
}

KroneckerPairInverse::Basis KroneckerPairInverse::BasisIn(
    at::ScalarType dtype) const {
  return dtype == dtype_ ? basis_ : MakeBasis(dtype);
}

void KroneckerPairInverse::Apply(const at::Tensor& in,
                                 const PairOffsets& in_offsets,
                                 Eigenvalues eigenvalues, const at::Tensor& out,
                                 const PairOffsets& out_offsets) const {
  const Basis basis = BasisIn(in.scalar_type());
  const int64_t k = in.size(0);
  const int64_t inputs = num_inputs_ - (factors_.bias.has_value() ? 1 : 0);
  const at::Tensor weight =
      in.narrow(1, in_offsets.weight, num_outputs_ * inputs);
  at::Tensor matrices =
      factors_.input_major
          ? weight.view({k, inputs, num_outputs_}).transpose(1, 2)
          : weight.view({k, num_outputs_, inputs});
  if (factors_.bias.has_value()) {
    matrices = at::cat(
        {matrices, in.narrow(1, in_offsets.bias, num_outputs_).unsqueeze(2)},
        /*dim=*/2);
  }
  if (inputs_are_rows_) matrices = matrices.transpose(1, 2);
  const int64_t rows = basis.rows.size(0), r = basis.rows.size(1);
  const int64_t columns = basis.columns.size(0), c = basis.columns.size(1);
  matrices = matrices.reshape({k * rows, columns});
  at::Tensor rotated =
      at::bmm(basis.rows.t().unsqueeze(0).expand({k, r, rows}),
              at::mm(matrices, basis.columns).view({k, rows, c}));
  at::Tensor residuals;
  if (basis.has_residual()) {
    residuals = at::bmm(basis.rows.unsqueeze(0).expand({k, rows, r}), rotated)
                    .view({k * rows, c});
    residuals = matrices
                    .addmm(residuals, basis.columns.t(), /*beta=*/1,
                           /*alpha=*/-1)
                    .mul_(1 / regularization_)
                    .view({k, rows, columns});
  }
  rotated.mul_(eigenvalues == Eigenvalues::kExact ? basis.inverse
                                                  : basis.split_inverse);
  WriteBack(rotated, residuals, basis, out, out_offsets);
}

void KroneckerPairInverse::WriteBack(const at::Tensor& matrices,
                                     const at::Tensor& residuals,
                                     const Basis& basis, const at::Tensor& out,
                                     const PairOffsets& offsets) const {
  const int64_t k = matrices.size(0);
  const int64_t rows = basis.rows.size(0), r = basis.rows.size(1);
  const int64_t columns = basis.columns.size(0), c = basis.columns.size(1);
  at::Tensor result =
      at::bmm(basis.rows.unsqueeze(0).expand({k, rows, r}),
              at::mm(matrices.reshape({k * r, c}), basis.columns.t())
                  .view({k, r, columns}));
  if (residuals.defined()) result.add_(residuals);
  if (inputs_are_rows_) result = result.transpose(1, 2);  // [K, O, I]
  const int64_t inputs = num_inputs_ - (factors_.bias.has_value() ? 1 : 0);
  const at::Tensor weight =
      out.narrow(1, offsets.weight, num_outputs_ * inputs);
  (factors_.input_major ? weight.view({k, inputs, num_outputs_}).transpose(1, 2)
                        : weight.view({k, num_outputs_, inputs}))
      .copy_(result.narrow(2, 0, inputs));
  if (factors_.bias.has_value()) {
    out.narrow(1, offsets.bias, num_outputs_).copy_(result.select(2, inputs));
  }
}

std::optional<RotatedFactors> KroneckerPairInverse::Rotate(
    const FactoredParameter& weight, const FactoredParameter* bias) const {
  const int64_t inputs = num_inputs_ - (bias != nullptr ? 1 : 0);
  const int64_t end = factors_.weight_offset + num_outputs_ * inputs;
  const OuterProductTerm* product = nullptr;
  for (const auto& term : weight.terms) {
    if (term->offset() >= end ||
        term->offset() + term->size() <= factors_.weight_offset) {
      continue;
    }
    if (product != nullptr) return std::nullopt;
    product = dynamic_cast<const OuterProductTerm*>(term.get());
    if (product == nullptr) return std::nullopt;
  }
  if (product == nullptr || product->left().size(2) != 1) return std::nullopt;
  const at::Tensor& left = product->left();
  const at::Tensor& right = product->right();
  const int64_t l = left.size(3), r = right.size(3);
  const int64_t begin = factors_.weight_offset - product->offset();
  if (l != (factors_.input_major ? inputs : num_outputs_) ||
      r != (factors_.input_major ? num_outputs_ : inputs) || begin < 0 ||
      begin % (l * r) != 0) {
    return std::nullopt;
  }
  const int64_t group = begin / (l * r);
  at::Tensor outputs_side = left.select(1, group).select(1, 0);
  at::Tensor inputs_side = right.select(1, group).select(1, 0);
  if (factors_.input_major) std::swap(outputs_side, inputs_side);

  if (bias != nullptr) {
    const DenseTerm* dense = nullptr;
    for (const auto& term : bias->terms) {
      if (term->offset() >= factors_.bias_offset + num_outputs_ ||
          term->offset() + term->size() <= factors_.bias_offset) {
        continue;
      }
      if (dense != nullptr) return std::nullopt;
      dense = dynamic_cast<const DenseTerm*>(term.get());
      if (dense == nullptr) return std::nullopt;
    }
    if (dense == nullptr || dense->offset() > factors_.bias_offset ||
        dense->offset() + dense->size() < factors_.bias_offset + num_outputs_ ||
        !at::equal(dense->gradients().narrow(
                       1, factors_.bias_offset - dense->offset(), num_outputs_),
                   outputs_side)) {
      return std::nullopt;
    }
  }

  const Basis basis = BasisIn(left.scalar_type());
  const at::Tensor& gradient_basis =
      inputs_are_rows_ ? basis.columns : basis.rows;
  const at::Tensor& input_basis = inputs_are_rows_ ? basis.rows : basis.columns;
  const at::Tensor g =
      WithResidual(outputs_side, /*append_one=*/false,
                   at::mm(outputs_side, gradient_basis), gradient_basis);
  // The appended 1 of the inputs meets the last row.
  const at::Tensor a = WithResidual(
      inputs_side, bias != nullptr,
      bias == nullptr ? at::mm(inputs_side, input_basis)
                      : at::addmm(input_basis.select(0, inputs), inputs_side,
                                  input_basis.narrow(0, 0, inputs)),
      input_basis);
  if (inputs_are_rows_) return RotatedFactors{a, g};
  return RotatedFactors{g, a};
}

void KroneckerPairInverse::ApplyToFactors(const RotatedFactors& factors,
                                          Eigenvalues eigenvalues,
                                          const at::Tensor& out,
                                          const PairOffsets& offsets) const {
  const Basis basis = BasisIn(factors.rows.scalar_type());
  const at::Tensor rows = InSpan(factors.rows, basis.rows);
  const at::Tensor columns = InSpan(factors.columns, basis.columns);
  const at::Tensor matrices = at::mul(rows.unsqueeze(2), columns.unsqueeze(1));
  matrices.mul_(eigenvalues == Eigenvalues::kExact ? basis.inverse
                                                   : basis.split_inverse);
  at::Tensor residuals;
  if (basis.has_residual()) {
    // r c^T - (its part in the eigenvectors), r = s + s', c = d + d':
    // r d'^T + s' d^T.
    at::Tensor whole_rows = at::mm(rows, basis.rows.t());
    const at::Tensor columns_in_span = at::mm(columns, basis.columns.t());
    residuals =
        at::zeros({rows.size(0), basis.rows.size(0), basis.columns.size(0)},
                  rows.options());
    const at::Tensor other_rows = Residual(factors.rows, basis.rows);
    if (other_rows.defined()) {
      whole_rows.add_(other_rows);
      residuals.addcmul_(other_rows.unsqueeze(2), columns_in_span.unsqueeze(1));
    }
    const at::Tensor other_columns = Residual(factors.columns, basis.columns);
    if (other_columns.defined()) {
      residuals.addcmul_(whole_rows.unsqueeze(2), other_columns.unsqueeze(1));
    }
    residuals.mul_(1 / regularization_);
  }
  WriteBack(matrices, residuals, basis, out, offsets);
}

double KroneckerPairInverse::InnerProductCost() const {
  double cost = static_cast<double>(num_contracted());
  if (contracted_share() < 1) {
    cost += static_cast<double>(num_inputs_ + num_outputs_) +
            kStepCost * static_cast<double>(staircase_.steps.size());
  }
  return cost;
}

int64_t KroneckerPairInverse::num_contracted() const {
  int64_t count = 0;
  for (const EigenvalueStaircase::Step& step : staircase_.steps) {
    count += (step.end - step.begin) * step.num_columns;
  }
  return count;
}

at::Tensor KroneckerPairInverse::Divide(const RotatedFactors& queries) const {
  const int64_t m = queries.rows.size(0);
  const Basis basis = BasisIn(queries.rows.scalar_type());
  at::Tensor divided = at::empty({m, num_contracted()}, queries.rows.options());
  int64_t offset = 0;
  for (const EigenvalueStaircase::Step& step : staircase_.steps) {
    const int64_t rows = step.end - step.begin;
    if (step.num_columns == 0) continue;
    at::Tensor part = divided.narrow(1, offset, rows * step.num_columns)
                          .view({m, rows, step.num_columns});
    at::mul_out(part, queries.rows.narrow(1, step.begin, rows).unsqueeze(2),
                queries.columns.narrow(1, 0, step.num_columns).unsqueeze(1));
    part.mul_(basis.inverse.narrow(0, step.begin, rows)
                  .narrow(1, 0, step.num_columns));
    offset += rows * step.num_columns;
  }
  return divided;
}

void KroneckerPairInverse::AddInnerProducts(const RotatedFactors& queries,
                                            const at::Tensor& divided,
                                            const RotatedFactors& samples,
                                            const at::Tensor& scores) const {
  const Basis basis = BasisIn(queries.rows.scalar_type());
  const int64_t n = samples.rows.size(0);
  const int64_t tile_samples = std::clamp<int64_t>(
      kTileScalars / samples.columns.size(1), 1, kTileSamples);
  for (int64_t sample = 0; sample < n; sample += tile_samples) {
    const int64_t count = std::min(n, sample + tile_samples) - sample;
    const RotatedFactors tile = {samples.rows.narrow(0, sample, count),
                                 samples.columns.narrow(0, sample, count)};
    const at::Tensor out = scores.narrow(1, sample, count);
    AddContracted(queries, divided, tile, basis, out);
    if (contracted_share() < 1) AddRectangles(queries, tile, out);
  }
}

at::Tensor KroneckerPairInverse::RowwiseInnerProducts(
    const RotatedFactors& queries, const RotatedFactors& samples) const {
  const Basis basis = BasisIn(queries.rows.scalar_type());
  const at::Tensor rows = queries.rows.mul(samples.rows);
  const at::Tensor columns = queries.columns.mul(samples.columns);
  const at::Tensor rows_in_span = InSpan(rows, basis.rows);
  const at::Tensor columns_in_span = InSpan(columns, basis.columns);
  at::Tensor products =
      at::mm(rows_in_span, basis.split_inverse).mul_(columns_in_span).sum(1);
  const at::Tensor other_rows = Residual(rows, basis.rows);
  if (other_rows.defined()) {
    products.addcmul_(other_rows.sum(1), columns.sum(1), 1 / regularization_);
  }
  const at::Tensor other_columns = Residual(columns, basis.columns);
  if (other_columns.defined()) {
    products.addcmul_(rows_in_span.sum(1), other_columns.sum(1),
                      1 / regularization_);
  }
  return products;
}

// Slices of the rows: both sides' eigen-coordinates are written out for a slice
// at a time and meet in a matrix product.
void KroneckerPairInverse::AddContracted(const RotatedFactors& queries,
                                         const at::Tensor& divided,
                                         const RotatedFactors& samples,
                                         const Basis& basis,
                                         const at::Tensor& scores) const {
  const int64_t m = queries.rows.size(0), n = samples.rows.size(0);
  const int64_t tile_queries =
      divided.defined()
          ? m
          : std::clamp<int64_t>(kTileScalars / queries.columns.size(1), 1,
                                std::min(m, kTileSamples));
  const int64_t side = std::max(n, divided.defined() ? n : tile_queries);
  int64_t offset = 0;
  at::Tensor scratch;
  at::Tensor query_scratch;
  for (const EigenvalueStaircase::Step& step : staircase_.steps) {
    const int64_t width = step.num_columns;
    if (width == 0) continue;
    const int64_t slice = std::clamp<int64_t>(kTileScalars / (side * width), 1,
                                              step.end - step.begin);
    for (int64_t row = step.begin; row < step.end; row += slice) {
      const int64_t rows = std::min(step.end, row + slice) - row;
      const int64_t entries = rows * width;
      const auto write = [&](const RotatedFactors& factors, int64_t begin,
                             int64_t count, at::Tensor* buffer) {
        if (!buffer->defined() || buffer->numel() < count * entries) {
          *buffer = at::empty({count * entries}, factors.rows.options());
        }
        at::Tensor out =
            buffer->narrow(0, 0, count * entries).view({count, rows, width});
        at::mul_out(out,
                    factors.rows.narrow(0, begin, count)
                        .narrow(1, row, rows)
                        .unsqueeze(2),
                    factors.columns.narrow(0, begin, count)
                        .narrow(1, 0, width)
                        .unsqueeze(1));
        return out;
      };
      const at::Tensor right =
          write(samples, 0, n, &scratch).view({n, entries});
      for (int64_t query = 0; query < m; query += tile_queries) {
        const int64_t count = std::min(m, query + tile_queries) - query;
        at::Tensor left;
        if (divided.defined()) {
          left = divided.narrow(1, offset, entries);
        } else {
          left = write(queries, query, count, &query_scratch);
          left.mul_(basis.inverse.narrow(0, row, rows).narrow(1, 0, width));
          left = left.view({count, entries});
        }
        scores.narrow(0, query, count).addmm_(left, right.t());
      }
      offset += entries;
    }
  }
}

// Beyond the steps: the inner products of the rows of a step times those of the
// columns beyond it, which grow from step to step.
void KroneckerPairInverse::AddRectangles(const RotatedFactors& queries,
                                         const RotatedFactors& samples,
                                         const at::Tensor& scores) const {
  const int64_t m = queries.rows.size(0), n = samples.rows.size(0);
  const int64_t c = queries.columns.size(1);
  const int64_t tile_queries = std::min(m, kTileSamples);
  at::Tensor row_scratch = at::empty({tile_queries, n}, queries.rows.options());
  at::Tensor column_scratch =
      at::empty({tile_queries, n}, queries.rows.options());
  for (int64_t query = 0; query < m; query += tile_queries) {
    const int64_t count = std::min(m, query + tile_queries) - query;
    const at::Tensor left_rows = queries.rows.narrow(0, query, count);
    const at::Tensor left_columns = queries.columns.narrow(0, query, count);
    at::Tensor row_products = row_scratch.narrow(0, 0, count);
    at::Tensor column_products = column_scratch.narrow(0, 0, count);
    at::Tensor out = scores.narrow(0, query, count);
    int64_t first_column = c;
    for (const EigenvalueStaircase::Step& step : staircase_.steps) {
      if (step.num_columns == c) continue;
      const int64_t width = first_column - step.num_columns;
      column_products.addmm_(
          left_columns.narrow(1, step.num_columns, width),
          samples.columns.narrow(1, step.num_columns, width).t(),
          /*beta=*/first_column == c ? 0 : 1);
      first_column = step.num_columns;
      at::mm_out(row_products,
                 left_rows.narrow(1, step.begin, step.end - step.begin),
                 samples.rows.narrow(1, step.begin, step.end - step.begin).t());
      out.addcmul_(row_products, column_products, 1 / regularization_);
    }
  }
}

}  // namespace influence
