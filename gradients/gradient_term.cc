// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/gradient_term.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/eq.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/mul.h"
#include "ATen/ops/sum.h"
#include "ATen/ops/where.h"
#include "ATen/ops/zeros.h"
#include "base/status_macros.h"
#include "base/worker_pool.h"

namespace influence {
namespace {

// Scratch of a tile in scalars: 16 MiB in float32, which keeps a tile in the
// last-level cache of a server core's share while GEMMs on it stay efficient.
constexpr int64_t kTileScalars = int64_t{1} << 22;

// The side of a Gram matrix that is written out: 64 MiB in float32. Each tile
// makes the other side write itself out again, so that few are better.
constexpr int64_t kGramTileScalars = int64_t{1} << 24;

// Above this many groups a loop over them costs more than a copy of the result.
constexpr int64_t kMaxGroupLoop = 8;

// Rows of `row_scalars` scalars in one tile, at least 1.
int64_t RowsPerTile(int64_t row_scalars) {
  return std::max<int64_t>(1, kTileScalars / std::max<int64_t>(1, row_scalars));
}

// [n, H * L * R] (rows may be strided) seen as [n, H, L, R].
at::Tensor MatrixView(const at::Tensor& out, int64_t h, int64_t l, int64_t r) {
  return out.view({out.size(0), h, l, r});
}

}  // namespace

GradientTerm::GradientTerm(int64_t num_samples, int64_t offset, int64_t size)
    : num_samples_(num_samples), offset_(offset), size_(size) {}

at::Tensor GradientTerm::GramSameRange(const GradientTerm&) const {
  return at::Tensor();
}

at::Tensor GradientTerm::RowwiseSameRange(const GradientTerm&) const {
  return at::Tensor();
}

at::Tensor GradientTerm::SumOfSquares() const {
  at::Tensor sums = at::zeros({size_}, Options().dtype(at::kDouble));
  const int64_t tile_rows = RowsPerTile(size_);
  for (int64_t row = 0; row < num_samples_; row += tile_rows) {
    const int64_t row_end = std::min(num_samples_, row + tile_rows);
    at::Tensor tile = at::empty({row_end - row, size_}, Options());
    Write(row, row_end, /*accumulate=*/false, tile);
    sums.add_(tile.square_().sum({0}));
  }
  return sums;
}

at::Tensor GradientTerm::Gram(const GradientTerm& other) const {
  const int64_t begin = std::max(offset_, other.offset_);
  const int64_t end = std::min(offset_ + size_, other.offset_ + other.size_);
  const bool same_range = offset_ == other.offset_ && size_ == other.size_;
  if (same_range) {
    at::Tensor gram = GramSameRange(other);
    if (gram.defined()) return gram;
  }
  // The general form: the other term's gradients written out a tile at a time.
  const int64_t num_columns = other.num_samples_;
  const int64_t tile_rows =
      std::max<int64_t>(1, kGramTileScalars / std::max(size_, other.size_));
  at::Tensor gram;
  for (int64_t row = 0; row < num_columns; row += tile_rows) {
    const int64_t row_end = std::min(num_columns, row + tile_rows);
    const at::TensorOptions options = Options();
    at::Tensor matrix;
    if (same_range) {
      matrix = at::empty({row_end - row, size_}, options);
      other.Write(row, row_end, /*accumulate=*/false, matrix);
    } else {
      matrix = at::zeros({row_end - row, size_}, options);
      if (begin < end) {
        at::Tensor whole = at::empty({row_end - row, other.size_}, options);
        other.Write(row, row_end, /*accumulate=*/false, whole);
        matrix.narrow(1, begin - offset_, end - begin)
            .copy_(whole.narrow(1, begin - other.offset_, end - begin));
      }
    }
    at::Tensor columns = Contract(matrix);
    if (row == 0 && row_end == num_columns) return columns;
    if (!gram.defined()) {
      gram = at::empty({num_samples_, num_columns}, options);
    }
    gram.narrow(1, row, row_end - row).copy_(columns);
  }
  return gram;
}

at::Tensor GradientTerm::RowwiseInnerProduct(const GradientTerm& other) const {
  INFLUENCE_CHECK(num_samples_ == other.num_samples_);
  const int64_t begin = std::max(offset_, other.offset_);
  const int64_t end = std::min(offset_ + size_, other.offset_ + other.size_);
  const at::TensorOptions options = Options();
  if (begin >= end) return at::zeros({num_samples_}, options);
  if (offset_ == other.offset_ && size_ == other.size_) {
    at::Tensor products = RowwiseSameRange(other);
    if (products.defined()) return products;
  }
  at::Tensor products = at::empty({num_samples_}, options);
  const int64_t tile_rows = RowsPerTile(size_ + other.size_);
  for (int64_t row = 0; row < num_samples_; row += tile_rows) {
    const int64_t row_end = std::min(num_samples_, row + tile_rows);
    at::Tensor a = at::empty({row_end - row, size_}, options);
    Write(row, row_end, /*accumulate=*/false, a);
    at::Tensor b = a;
    if (&other != this) {
      b = at::empty({row_end - row, other.size_}, options);
      other.Write(row, row_end, /*accumulate=*/false, b);
    }
    products.narrow(0, row, row_end - row)
        .copy_(at::mul(a.narrow(1, begin - offset_, end - begin),
                       b.narrow(1, begin - other.offset_, end - begin))
                   .sum(1));
  }
  return products;
}

at::Tensor GradientTerm::ContractWritten(const at::Tensor& matrix) const {
  at::Tensor products = at::empty({num_samples_, matrix.size(0)}, Options());
  const int64_t tile_rows = RowsPerTile(size_);
  at::Tensor tile =
      at::empty({std::min(num_samples_, tile_rows), size_}, Options());
  for (int64_t row = 0; row < num_samples_; row += tile_rows) {
    const int64_t count = std::min(num_samples_, row + tile_rows) - row;
    at::Tensor written = tile.narrow(0, 0, count);
    Write(row, row + count, /*accumulate=*/false, written);
    at::Tensor out = products.narrow(0, row, count);
    at::mm_out(out, written, matrix.t());
  }
  return products;
}

DenseTerm::DenseTerm(int64_t offset, at::Tensor gradients)
    : GradientTerm(gradients.size(0), offset, gradients.size(1)),
      gradients_(std::move(gradients)) {}

void DenseTerm::Write(int64_t begin, int64_t end, bool accumulate,
                      const at::Tensor& out) const {
  const at::Tensor rows = gradients_.narrow(0, begin, end - begin);
  if (accumulate) {
    out.add_(rows);
  } else {
    out.copy_(rows);
  }
}

at::Tensor DenseTerm::Contract(const at::Tensor& matrix) const {
  return at::mm(gradients_, matrix.t());
}

at::Tensor DenseTerm::WeightedSum(const at::Tensor& weights) const {
  return at::mm(weights, gradients_);
}

at::Tensor DenseTerm::SumOfSquares() const {
  return gradients_.square().sum({0}).to(at::kDouble);
}

at::Tensor DenseTerm::GramSameRange(const GradientTerm& other) const {
  const auto* dense = dynamic_cast<const DenseTerm*>(&other);
  if (dense == nullptr) return at::Tensor();
  return at::mm(gradients_, dense->gradients_.t());
}

at::Tensor DenseTerm::RowwiseSameRange(const GradientTerm& other) const {
  const auto* dense = dynamic_cast<const DenseTerm*>(&other);
  if (dense == nullptr) return at::Tensor();
  return at::mul(gradients_, dense->gradients_).sum(1);
}

at::TensorOptions DenseTerm::Options() const { return gradients_.options(); }

OuterProductTerm::OuterProductTerm(int64_t offset, at::Tensor left,
                                   at::Tensor right)
    : OuterProductTerm(offset, std::move(left), std::move(right),
                       at::Tensor()) {}

OuterProductTerm::OuterProductTerm(int64_t offset, at::Tensor left,
                                   at::Tensor right, at::Tensor real_positions)
    : GradientTerm(left.size(0), offset,
                   left.size(1) * left.size(3) * right.size(3)),
      left_(std::move(left)),
      right_(std::move(right)),
      real_positions_(std::move(real_positions)) {
  INFLUENCE_CHECK(left_.size(0) == right_.size(0) &&
                  left_.size(1) == right_.size(1) &&
                  left_.size(2) == right_.size(2));
}

void OuterProductTerm::Write(int64_t begin, int64_t end, bool accumulate,
                             const at::Tensor& out) const {
  const int64_t h = left_.size(1), l = left_.size(3), r = right_.size(3);
  at::Tensor matrices = MatrixView(out, h, l, r);
  if (left_.size(2) > 1 && h > kMaxGroupLoop) {
    const at::Tensor product =
        at::matmul(left_.narrow(0, begin, end - begin).transpose(-1, -2),
                   right_.narrow(0, begin, end - begin));
    if (accumulate) {
      matrices.add_(product);
    } else {
      matrices.copy_(product);
    }
    return;
  }
  WriteRows(begin, end, 0, l, accumulate, matrices);
}

void OuterProductTerm::WriteRows(int64_t begin, int64_t end, int64_t first_row,
                                 int64_t num_rows, bool accumulate,
                                 const at::Tensor& out) const {
  const int64_t h = left_.size(1), t = left_.size(2);
  const at::Tensor left =
      left_.narrow(0, begin, end - begin).narrow(3, first_row, num_rows);
  const at::Tensor right = right_.narrow(0, begin, end - begin);
  at::Tensor matrices = out;
  if (t == 1) {
    const at::Tensor column = left.select(2, 0).unsqueeze(-1);
    const at::Tensor row = right.select(2, 0).unsqueeze(-2);
    if (accumulate) {
      matrices.addcmul_(column, row);
    } else {
      at::mul_out(matrices, column, row);
    }
    return;
  }
  // Samples side by side, each product on one thread: a batched product into
  // strided rows would be a loop of products with all threads each.
  const int64_t num_samples = end - begin;
  const int num_workers =
      WorkersFor(num_samples, num_samples * h * t * num_rows * right_.size(3));
  ForEachPart(num_workers, num_samples, [&](int64_t first, int64_t last) {
    const at::NoGradGuard no_grad;
    for (int64_t n = first; n < last; ++n) {
      for (int64_t group = 0; group < h; ++group) {
        at::Tensor matrix = matrices[n][group];
        const at::Tensor a = left[n][group].t();
        const at::Tensor b = right[n][group];
        if (accumulate) {
          matrix.addmm_(a, b);
        } else {
          at::mm_out(matrix, a, b);
        }
      }
    }
  });
}

// Either each sample's matrix is written out (a tile of samples at a time) and
// multiplied with all rows at once, or the rows meet the factors one side after
// the other. Both end in GEMMs; costs in multiply-adds a sample, a memory
// access counted as four.
bool OuterProductTerm::WritingIsCheaper(int64_t num_rows) const {
  const int64_t h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  const double write = static_cast<double>(h) * l * r * (t + num_rows + 4.0);
  const double factors =
      static_cast<double>(h) * t * num_rows * (l * r + 4.0 * std::min(l, r));
  return write < factors;
}

at::Tensor OuterProductTerm::Contract(const at::Tensor& matrix) const {
  const int64_t n = left_.size(0), k = matrix.size(0);
  if (n == 0 || k == 0) return at::zeros({n, k}, Options());
  return WritingIsCheaper(k) ? ContractInSlices(matrix)
                             : ContractFactors(matrix);
}

// A tile is many samples by a slice of the matrices' rows, so that the products
// are not bound by reading `matrix`, which may be larger than any cache, once
// for every few samples.
at::Tensor OuterProductTerm::ContractInSlices(const at::Tensor& matrix) const {
  const int64_t n = left_.size(0), h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  // More positions make the slices' own products the larger part of the work,
  // and thin ones slow.
  const int64_t most_samples = t == 1 ? 1024 : 256;
  const int64_t tile_samples = std::min({n, most_samples, RowsPerTile(r)});
  const int64_t tile_rows = std::min(l, RowsPerTile(tile_samples * r));
  if (h > 1 && tile_samples <= RowsPerTile(size())) {
    return ContractWritten(matrix);  // All groups at once.
  }
  at::Tensor products = at::zeros({n, matrix.size(0)}, Options());
  const at::Tensor tile = at::empty({tile_samples * tile_rows * r}, Options());
  for (int64_t sample = 0; sample < n; sample += tile_samples) {
    const int64_t samples = std::min(n, sample + tile_samples) - sample;
    at::Tensor out = products.narrow(0, sample, samples);
    for (int64_t group = 0; group < h; ++group) {
      const OuterProductTerm one(0, left_.narrow(1, group, 1),
                                 right_.narrow(1, group, 1));
      for (int64_t row = 0; row < l; row += tile_rows) {
        const int64_t rows = std::min(l, row + tile_rows) - row;
        const at::Tensor slice =
            tile.narrow(0, 0, samples * rows * r).view({samples, rows * r});
        one.WriteRows(sample, sample + samples, row, rows,
                      /*accumulate=*/false, slice.view({samples, 1, rows, r}));
        out.addmm_(slice,
                   matrix.narrow(1, (group * l + row) * r, rows * r).t());
      }
    }
  }
  return products;
}

at::Tensor OuterProductTerm::ContractFactors(const at::Tensor& matrix) const {
  const int64_t n = left_.size(0), h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  const int64_t k = matrix.size(0);
  at::Tensor products = at::zeros({n, k}, Options());
  const int64_t narrow_side = std::min(l, r);
  const at::Tensor matrices = matrix.reshape({k, h, l, r});
  const bool right_first = r >= l;
  // As above: many samples by some of the rows of `matrix`.
  const int64_t tile_samples = std::min(n, std::max<int64_t>(1, 1024 / t));
  const int64_t tile_columns =
      std::min(k, RowsPerTile(tile_samples * t * narrow_side));
  for (int64_t group = 0; group < h; ++group) {
    const at::Tensor wide =
        (right_first ? right_ : left_).select(1, group);  // [N, T, wide]
    const at::Tensor narrow =
        (right_first ? left_ : right_).select(1, group);  // [N, T, narrow]
    for (int64_t column = 0; column < k; column += tile_columns) {
      const int64_t columns = std::min(k, column + tile_columns) - column;
      // [columns * narrow, wide]
      const at::Tensor part =
          matrices.narrow(0, column, columns).select(1, group);
      const at::Tensor flat =
          (right_first ? part : part.transpose(1, 2))
              .reshape({columns * narrow_side, right_first ? r : l});
      for (int64_t row = 0; row < n; row += tile_samples) {
        const int64_t rows = std::min(n, row + tile_samples) - row;
        const at::Tensor inner =
            at::mm(wide.narrow(0, row, rows).reshape({rows * t, wide.size(2)}),
                   flat.t())
                .view({rows * t, columns, narrow_side});
        const at::Tensor outer =
            at::bmm(
                inner,
                narrow.narrow(0, row, rows).reshape({rows * t, narrow_side, 1}))
                .view({rows, t, columns});
        products.narrow(0, row, rows)
            .narrow(1, column, columns)
            .add_(t == 1 ? outer.select(1, 0) : outer.sum(1));
      }
    }
  }
  return products;
}

at::Tensor OuterProductTerm::WeightedSum(const at::Tensor& weights) const {
  const int64_t n = left_.size(0), h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  const int64_t k = weights.size(0);
  if (WritingIsCheaper(k)) {
    at::Tensor sums = at::zeros({k, size()}, Options());
    const int64_t tile_rows = RowsPerTile(size());
    at::Tensor tile = at::empty({std::min(n, tile_rows), size()}, Options());
    for (int64_t row = 0; row < n; row += tile_rows) {
      const int64_t row_end = std::min(n, row + tile_rows);
      at::Tensor rows = tile.narrow(0, 0, row_end - row);
      Write(row, row_end, /*accumulate=*/false, rows);
      sums.addmm_(weights.narrow(1, row, row_end - row), rows);
    }
    return sums;
  }
  at::Tensor sums = at::empty({k, h, l, r}, Options());
  for (int64_t group = 0; group < h; ++group) {
    const at::Tensor left = left_.select(1, group);    // [N, T, L]
    const at::Tensor right = right_.select(1, group);  // [N, T, R]
    const at::Tensor left_flat = left.reshape({n * t, l});
    const at::Tensor right_flat = right.reshape({n * t, r});
    for (int64_t row = 0; row < k; ++row) {
      const at::Tensor weight = weights.select(0, row).view({n, 1, 1});
      at::Tensor out = sums.select(0, row).select(0, group);
      if (l <= r) {
        at::mm_out(out, at::mul(left, weight).reshape({n * t, l}).t(),
                   right_flat);
      } else {
        at::mm_out(out, left_flat.t(),
                   at::mul(right, weight).reshape({n * t, r}));
      }
    }
  }
  return sums.view({k, size()});
}

at::Tensor OuterProductTerm::SumOfSquares() const {
  const int64_t h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  if (t != 1) return GradientTerm::SumOfSquares();
  // The square of an outer product is that of the squares.
  at::Tensor sums = at::empty({h, l, r}, Options().dtype(at::kDouble));
  const at::Tensor left = left_.select(2, 0).square();
  const at::Tensor right = right_.select(2, 0).square();
  for (int64_t group = 0; group < h; ++group) {
    sums[group].copy_(
        at::mm(left.select(1, group).t(), right.select(1, group)));
  }
  return sums.view({size()});
}

at::Tensor OuterProductTerm::GramSameRange(const GradientTerm& other) const {
  const auto* outer = dynamic_cast<const OuterProductTerm*>(&other);
  if (outer == nullptr || outer->left_.size(1) != left_.size(1) ||
      outer->left_.size(3) != left_.size(3)) {
    return at::Tensor();
  }
  const int64_t n = left_.size(0), h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  const int64_t m = outer->left_.size(0), s = outer->left_.size(2);
  // Multiply-adds a pair of samples: from the factors, or with one side written
  // out. The factor form also passes over a [N T, M S] product.
  if (static_cast<double>(t) * s * (l + r + 4.0) > static_cast<double>(l) * r) {
    return at::Tensor();
  }
  at::Tensor gram;
  const int64_t tile_rows = RowsPerTile(t * m * s);
  for (int64_t group = 0; group < h; ++group) {
    const at::Tensor other_left =
        outer->left_.select(1, group).reshape({m * s, l}).t();
    const at::Tensor other_right =
        outer->right_.select(1, group).reshape({m * s, r}).t();
    for (int64_t row = 0; row < n; row += tile_rows) {
      const int64_t rows = std::min(n, row + tile_rows) - row;
      at::Tensor product = at::mm(
          left_.select(1, group).narrow(0, row, rows).reshape({rows * t, l}),
          other_left);
      product.mul_(at::mm(
          right_.select(1, group).narrow(0, row, rows).reshape({rows * t, r}),
          other_right));
      if (t > 1 || s > 1) product = product.view({rows, t, m, s}).sum({1, 3});
      if (group == 0 && rows == n) {
        gram = product;
        continue;
      }
      if (!gram.defined()) gram = at::zeros({n, m}, Options());
      gram.narrow(0, row, rows).add_(product);
    }
  }
  return gram;
}

at::Tensor OuterProductTerm::RowwiseSameRange(const GradientTerm& other) const {
  const auto* outer = dynamic_cast<const OuterProductTerm*>(&other);
  if (outer == nullptr || outer->left_.size(1) != left_.size(1) ||
      outer->left_.size(3) != left_.size(3)) {
    return at::Tensor();
  }
  const int64_t n = left_.size(0), h = left_.size(1), t = left_.size(2);
  const int64_t l = left_.size(3), r = right_.size(3);
  const int64_t s = outer->left_.size(2);
  if (t == 1 && s == 1) {
    return at::mul(at::mul(left_, outer->left_).sum(-1),
                   at::mul(right_, outer->right_).sum(-1))
        .sum({1, 2});
  }
  if (static_cast<double>(t) * s * (l + r + 4.0) >
      static_cast<double>(t + s) * l * r) {
    return at::Tensor();
  }
  const auto batch = [](const at::Tensor& x) {
    return x.reshape({x.size(0) * x.size(1), x.size(2), x.size(3)});
  };
  at::Tensor products = at::empty({n}, Options());
  const int64_t tile_rows = RowsPerTile(h * t * s);
  for (int64_t row = 0; row < n; row += tile_rows) {
    const int64_t rows = std::min(n, row + tile_rows) - row;
    at::Tensor product =
        at::bmm(batch(left_.narrow(0, row, rows)),
                batch(outer->left_.narrow(0, row, rows)).transpose(1, 2));
    product.mul_(
        at::bmm(batch(right_.narrow(0, row, rows)),
                batch(outer->right_.narrow(0, row, rows)).transpose(1, 2)));
    products.narrow(0, row, rows).copy_(product.view({rows, h * t * s}).sum(1));
  }
  return products;
}

at::TensorOptions OuterProductTerm::Options() const { return left_.options(); }

RowSparseTerm::RowSparseTerm(int64_t offset, int64_t num_rows,
                             const at::Tensor& rows, const at::Tensor& values)
    : GradientTerm(values.size(0), offset, num_rows * values.size(2)),
      num_rows_(num_rows) {
  INFLUENCE_CHECK(rows.sizes() == values.sizes().slice(0, 2));
  const at::Tensor present = rows.ge(0);
  rows_ = rows.clamp_min(0).contiguous();
  values_ = at::where(present.unsqueeze(-1), values,
                      at::zeros({1, 1, 1}, values.options()))
                .contiguous();
}

void RowSparseTerm::Write(int64_t begin, int64_t end, bool accumulate,
                          const at::Tensor& out) const {
  const int64_t n = end - begin, t = values_.size(1), d = values_.size(2);
  if (!accumulate) out.zero_();
  at::Tensor matrices = out.view({n, num_rows_, d});
  matrices.scatter_add_(
      1, rows_.narrow(0, begin, n).unsqueeze(-1).expand({n, t, d}),
      values_.narrow(0, begin, n));
}

at::Tensor RowSparseTerm::Contract(const at::Tensor& matrix) const {
  const int64_t n = values_.size(0), t = values_.size(1), d = values_.size(2);
  const int64_t k = matrix.size(0);
  // A table of few rows is cheaper written out and multiplied: a gathered
  // element costs about as much as 32 multiply-adds of a matrix product.
  if (static_cast<double>(num_rows_) * (k + 4.0) <
      32.0 * static_cast<double>(t) * k) {
    return ContractWritten(matrix);
  }
  const at::Tensor matrices = matrix.reshape({k, num_rows_, d});
  const at::Tensor rows = rows_.view({n * t});
  const at::Tensor values = values_.view({1, n * t, d});
  at::Tensor products = at::empty({n, k}, Options());
  const int64_t tile_rows = RowsPerTile(n * t * d);
  for (int64_t row = 0; row < k; row += tile_rows) {
    const int64_t count = std::min(k, row + tile_rows) - row;
    const at::Tensor gathered =
        at::index_select(matrices.narrow(0, row, count), 1, rows);
    products.narrow(1, row, count)
        .copy_(at::mul(gathered, values).view({count, n, t * d}).sum(2).t());
  }
  return products;
}

at::Tensor RowSparseTerm::WeightedSum(const at::Tensor& weights) const {
  const int64_t n = values_.size(0), t = values_.size(1), d = values_.size(2);
  const int64_t k = weights.size(0);
  const at::Tensor rows = rows_.view({n * t});
  at::Tensor sums = at::zeros({k, num_rows_, d}, Options());
  for (int64_t row = 0; row < k; ++row) {
    sums.select(0, row).index_add_(
        0, rows,
        at::mul(values_, weights.select(0, row).view({n, 1, 1}))
            .view({n * t, d}));
  }
  return sums.view({k, size()});
}

at::Tensor RowSparseTerm::SumOfSquares() const {
  const int64_t n = values_.size(0), t = values_.size(1), d = values_.size(2);
  at::Tensor sums = at::zeros({num_rows_, d}, Options().dtype(at::kDouble));
  const int64_t tile_rows = RowsPerTile(t * (t + d));
  for (int64_t row = 0; row < n; row += tile_rows) {
    const int64_t count = std::min(n, row + tile_rows) - row;
    const at::Tensor rows = rows_.narrow(0, row, count);
    const at::Tensor values = values_.narrow(0, row, count);
    // The square of a row's sum of values is the sum over its values of the
    // value times the sum.
    const at::Tensor same =
        at::eq(rows.unsqueeze(2), rows.unsqueeze(1)).to(values.scalar_type());
    const at::Tensor products = at::mul(values, at::bmm(same, values));
    sums.index_add_(0, rows.reshape({count * t}),
                    products.view({count * t, d}).to(at::kDouble));
  }
  return sums.view({size()});
}

at::Tensor RowSparseTerm::GramSameRange(const GradientTerm& other) const {
  const auto* sparse = dynamic_cast<const RowSparseTerm*>(&other);
  if (sparse == nullptr || sparse->values_.size(2) != values_.size(2)) {
    return at::Tensor();
  }
  const int64_t n = values_.size(0), t = values_.size(1), d = values_.size(2);
  const int64_t m = sparse->values_.size(0), s = sparse->values_.size(1);
  // All pairs of positions, or one side written out and gathered from.
  if (static_cast<double>(t) * s >
      static_cast<double>(t) + static_cast<double>(num_rows_) / n) {
    return at::Tensor();
  }
  at::Tensor gram = at::empty({n, m}, Options());
  const at::Tensor other_values = sparse->values_.view({m * s, d}).t();
  const at::Tensor other_rows = sparse->rows_.view({1, m * s});
  const int64_t tile_rows = RowsPerTile(t * m * s);
  for (int64_t row = 0; row < n; row += tile_rows) {
    const int64_t count = std::min(n, row + tile_rows) - row;
    at::Tensor product = at::mm(
        values_.narrow(0, row, count).view({count * t, d}), other_values);
    product.mul_(
        at::eq(rows_.narrow(0, row, count).view({count * t, 1}), other_rows));
    gram.narrow(0, row, count)
        .copy_(product.view({count, t, m, s}).sum({1, 3}));
  }
  return gram;
}

at::Tensor RowSparseTerm::RowwiseSameRange(const GradientTerm& other) const {
  const auto* sparse = dynamic_cast<const RowSparseTerm*>(&other);
  if (sparse == nullptr || sparse->values_.size(2) != values_.size(2)) {
    return at::Tensor();
  }
  const int64_t n = values_.size(0), t = values_.size(1);
  const int64_t s = sparse->values_.size(1);
  at::Tensor products = at::empty({n}, Options());
  const int64_t tile_rows = RowsPerTile(t * s);
  for (int64_t row = 0; row < n; row += tile_rows) {
    const int64_t count = std::min(n, row + tile_rows) - row;
    at::Tensor product =
        at::bmm(values_.narrow(0, row, count),
                sparse->values_.narrow(0, row, count).transpose(1, 2));
    product.mul_(at::eq(rows_.narrow(0, row, count).unsqueeze(2),
                        sparse->rows_.narrow(0, row, count).unsqueeze(1)));
    products.narrow(0, row, count).copy_(product.sum({1, 2}));
  }
  return products;
}

at::TensorOptions RowSparseTerm::Options() const { return values_.options(); }

}  // namespace influence
