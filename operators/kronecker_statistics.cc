// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_statistics.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/addmm.h"
#include "ATen/ops/bmm.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/zeros.h"
#include "absl/functional/function_ref.h"
#include "base/worker_pool.h"

namespace influence {
namespace {

// Columns of a panel of a symmetric product, of which only the blocks on and
// above the diagonal are computed: wide enough for products at full rate.
constexpr int64_t kPanelColumns = 128;

// Scalars of a tile of written-out gradients: 8 MiB in float32, which stays in
// the last-level cache between the steps that pass over it and is enough for
// each thread to have several samples of a layer of a thousand units.
constexpr int64_t kTileScalars = int64_t{1} << 21;

// Groups with matrices of fewer rows share batched products: one by one they
// would cost more in calls than in arithmetic.
constexpr int64_t kWideGroup = 64;

// Calls body(chunk, begin, end) for each of `num_chunks` parts of [0, size),
// side by side. The parts do not depend on scheduling, so that neither do sums
// by chunk.
void ForChunks(int64_t size, int num_chunks,
               absl::FunctionRef<void(int64_t, int64_t, int64_t)> body) {
  ForEachWorker(num_chunks, [&](int chunk) {
    const at::NoGradGuard no_grad;
    body(chunk, size * chunk / num_chunks, size * (chunk + 1) / num_chunks);
  });
}

// x [N, T, F] as a view [N * T, F], in any order of the rows; nullopt where the
// strides do not allow it.
std::optional<at::Tensor> RowsView(const at::Tensor& x) {
  const int64_t n = x.size(0), t = x.size(1), f = x.size(2);
  if (t == 1) return x.select(1, 0);
  if (n == 1) return x.select(0, 0);
  if (x.stride(0) == t * x.stride(1)) return x.reshape({n * t, f});
  if (x.stride(1) == n * x.stride(0)) {
    return x.transpose(0, 1).reshape({n * t, f});
  }
  return std::nullopt;
}

// rows [R, F]: adds the blocks on and above the diagonal of rows^T rows.
void AddUpperProduct(const at::Tensor& rows, const at::Tensor& sums) {
  const int64_t f = rows.size(1);
  for (int64_t begin = 0; begin < f;) {
    // A narrow last panel joins the one before it.
    const int64_t rest = f - begin;
    const int64_t width =
        rest < kPanelColumns + kPanelColumns / 2 ? rest : kPanelColumns;
    sums.narrow(0, begin, width)
        .narrow(1, begin, rest)
        .add_(at::mm(rows.narrow(1, begin, width).t(),
                     rows.narrow(1, begin, rest)));
    begin += width;
  }
}

// [R, I without the 1] times U [I, I].
at::Tensor Rotated(const at::Tensor& rows, bool append_one,
                   const at::Tensor& eigenvectors) {
  if (!append_one) return at::mm(rows, eigenvectors);
  const int64_t width = rows.size(1);
  return at::addmm(eigenvectors.select(0, width), rows,
                   eigenvectors.narrow(0, 0, width));
}

// The same for each position, [N, T, F].
at::Tensor RotatedPositions(const at::Tensor& x, bool append_one,
                            const at::Tensor& eigenvectors) {
  const int64_t n = x.size(0), t = x.size(1);
  return Rotated(x.reshape({n * t, x.size(2)}), append_one, eigenvectors)
      .view({n, t, eigenvectors.size(1)});
}

}  // namespace

void AddSecondMoment(const at::Tensor& x, bool append_one,
                     const at::Tensor& sums) {
  const int64_t n = x.size(0), t = x.size(1), f = x.size(2);
  if (n * t == 0) return;
  const at::Tensor square = sums.narrow(0, 0, f).narrow(1, 0, f);
  const std::optional<at::Tensor> view = RowsView(x);
  if (append_one) {
    sums.select(1, f).narrow(0, 0, f).add_(
        view.has_value() ? view->sum({0}) : x.sum(at::IntArrayRef{0, 1}));
    sums.select(0, f).select(0, f).add_(static_cast<double>(n * t));
  }
  if (view.has_value()) {
    AddUpperProduct(*view, square);
    return;
  }
  // The positions of a convolution lie along the memory. A product a sample
  // needs no copy, but passes over the F x F result each time.
  if (2 * t < f) {
    AddUpperProduct(x.reshape({n * t, f}), square);
    return;
  }
  const int num_chunks = WorkersFor(n, n * t * f * f);
  const at::Tensor by_chunk = at::zeros({num_chunks, f, f}, x.options());
  ForChunks(n, num_chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
    at::Tensor sum = by_chunk.select(0, chunk);
    for (int64_t s = begin; s < end; ++s) {
      const at::Tensor sample = x.select(0, s);
      sum.addmm_(sample.t(), sample);
    }
  });
  for (int c = 0; c < num_chunks; ++c) square.add_(by_chunk.select(0, c));
}

void AddSecondMoments(const at::Tensor& x, bool append_one,
                      const at::Tensor& sums) {
  const int64_t n = x.size(0), h = x.size(1), t = x.size(2), f = x.size(3);
  if (h == 1 || f >= kWideGroup) {
    for (int64_t g = 0; g < h; ++g) {
      AddSecondMoment(x.select(1, g), append_one, sums.select(0, g));
    }
    return;
  }
  if (n * t == 0) return;
  const at::Tensor rows = x.transpose(0, 1).reshape({h, n * t, f});
  sums.narrow(1, 0, f).narrow(2, 0, f).add_(
      at::bmm(rows.transpose(1, 2), rows));
  if (append_one) {
    sums.select(2, f).narrow(1, 0, f).add_(rows.sum({1}));
    sums.select(2, f).select(1, f).add_(static_cast<double>(n * t));
  }
}

at::Tensor SymmetricFromUpper(const at::Tensor& upper) {
  return upper.triu().add(upper.triu(1).transpose(-2, -1));
}

void AddSquaredRotations(const std::vector<PositionFactors>& uses,
                         bool append_one, const at::Tensor& input_eigenvectors,
                         const at::Tensor& gradient_eigenvectors,
                         const at::Tensor& sums) {
  if (uses.empty()) return;
  const int64_t n = uses[0].inputs.size(0);
  const int64_t width = input_eigenvectors.size(0);             // I
  const int64_t outputs = gradient_eigenvectors.size(0);        // O
  const int64_t input_rank = input_eigenvectors.size(1);        // R
  const int64_t gradient_rank = gradient_eigenvectors.size(1);  // Q
  int64_t num_positions = 0;                                    // T
  for (const PositionFactors& use : uses) num_positions += use.inputs.size(1);

  if (uses.size() == 1 && num_positions == 1) {
    // The square of an outer product is that of the squares.
    const at::Tensor a =
        Rotated(uses[0].inputs.select(1, 0), append_one, input_eigenvectors)
            .square_();
    const at::Tensor g =
        at::mm(uses[0].gradients.select(1, 0), gradient_eigenvectors).square_();
    sums.add_(at::mm(g.t(), a));
    return;
  }

  const bool inputs_first = num_positions <= outputs;
  const bool gradients_first = num_positions <= width;
  // G_n is [height, breadth], of which the product gives `columns` columns.
  const int64_t height = gradients_first ? gradient_rank : outputs;
  const int64_t breadth = inputs_first ? input_rank : width;
  const int64_t columns = append_one && !inputs_first ? width - 1 : breadth;
  int64_t tile_rows = std::max<int64_t>(
      1, kTileScalars / (outputs * width + num_positions * (outputs + width)));
  // As many samples for each thread.
  const int64_t num_threads = at::get_num_threads();
  if (tile_rows > num_threads) tile_rows -= tile_rows % num_threads;
  for (int64_t row = 0; row < n; row += tile_rows) {
    const int64_t rows = std::min(tile_rows, n - row);
    std::vector<PositionFactors> tile;
    for (const PositionFactors& use : uses) {
      PositionFactors part{use.inputs.narrow(0, row, rows),
                           use.gradients.narrow(0, row, rows)};
      if (inputs_first) {
        part.inputs =
            RotatedPositions(part.inputs, append_one, input_eigenvectors);
      }
      if (gradients_first) {
        part.gradients = RotatedPositions(part.gradients, /*append_one=*/false,
                                          gradient_eigenvectors);
      }
      tile.push_back(std::move(part));
    }

    at::Tensor gradients =
        at::empty({rows, height, breadth}, uses[0].inputs.options());  // G_n
    const int num_chunks =
        WorkersFor(rows, rows * outputs * width * (num_positions + outputs));
    ForChunks(rows, num_chunks, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        at::Tensor out = gradients.select(0, s).narrow(1, 0, columns);
        for (size_t u = 0; u < tile.size(); ++u) {
          const at::Tensor g = tile[u].gradients.select(0, s).t();
          const at::Tensor a = tile[u].inputs.select(0, s);
          if (u == 0) {
            at::mm_out(out, g, a);
          } else {
            out.addmm_(g, a);
          }
        }
      }
    });
    if (columns < breadth) {
      at::Tensor bias = gradients.select(2, columns);
      bias.copy_(tile[0].gradients.sum({1}));
      for (size_t u = 1; u < tile.size(); ++u) {
        bias.add_(tile[u].gradients.sum({1}));
      }
    }
    if (!inputs_first) {
      gradients =
          at::mm(gradients.view({rows * height, width}), input_eigenvectors)
              .view({rows, height, input_rank});
    }
    if (gradients_first) {
      sums.add_(gradients.square_().sum({0}));
      continue;
    }
    const at::Tensor by_chunk =
        at::zeros({num_chunks, gradient_rank, input_rank}, gradients.options());
    ForChunks(rows, num_chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
      at::Tensor sum = by_chunk.select(0, chunk);
      at::Tensor rotated =
          at::empty({gradient_rank, input_rank}, gradients.options());
      for (int64_t s = begin; s < end; ++s) {
        at::mm_out(rotated, gradient_eigenvectors.t(), gradients.select(0, s));
        sum.addcmul_(rotated, rotated);
      }
    });
    for (int c = 0; c < num_chunks; ++c) sums.add_(by_chunk.select(0, c));
  }
}

void AddSquaredRotationsOfGroups(const std::vector<PositionFactors>& uses,
                                 bool append_one,
                                 const at::Tensor& input_eigenvectors,
                                 const at::Tensor& gradient_eigenvectors,
                                 const at::Tensor& sums) {
  if (uses.empty()) return;
  const int64_t n = uses[0].inputs.size(0), h = uses[0].inputs.size(1);
  const int64_t width = input_eigenvectors.size(1);       // I
  const int64_t outputs = gradient_eigenvectors.size(1);  // O
  if (h == 1 || width >= kWideGroup || outputs >= kWideGroup) {
    for (int64_t g = 0; g < h; ++g) {
      std::vector<PositionFactors> of_group;
      of_group.reserve(uses.size());
      for (const PositionFactors& use : uses) {
        of_group.push_back(
            {use.inputs.select(1, g), use.gradients.select(1, g)});
      }
      AddSquaredRotations(of_group, append_one, input_eigenvectors.select(0, g),
                          gradient_eigenvectors.select(0, g),
                          sums.select(0, g));
    }
    return;
  }
  int64_t num_positions = 0;
  for (const PositionFactors& use : uses) num_positions += use.inputs.size(2);
  const int64_t columns = append_one ? width - 1 : width;
  const int64_t tile_rows = std::max<int64_t>(
      1, kTileScalars /
             (h * (outputs * width + num_positions * (outputs + width))));
  for (int64_t row = 0; row < n; row += tile_rows) {
    const int64_t rows = std::min(tile_rows, n - row);
    const at::Tensor gradients =
        at::zeros({h, rows, outputs, width}, uses[0].inputs.options());  // G_n
    for (const PositionFactors& use : uses) {
      const at::Tensor a = use.inputs.narrow(0, row, rows).transpose(0, 1);
      const at::Tensor g = use.gradients.narrow(0, row, rows).transpose(0, 1);
      gradients.narrow(3, 0, columns).add_(at::matmul(g.transpose(2, 3), a));
      if (append_one) gradients.select(3, columns).add_(g.sum({2}));
    }
    const int64_t rank = input_eigenvectors.size(2);
    const at::Tensor inputs_rotated =
        at::bmm(gradients.view({h, rows * outputs, width}), input_eigenvectors)
            .view({h, rows, outputs, rank})
            .transpose(1, 2)
            .reshape({h, outputs, rows * rank});
    sums.add_(at::bmm(gradient_eigenvectors.transpose(1, 2), inputs_rotated)
                  .square_()
                  .view({h, gradient_eigenvectors.size(2), rows, rank})
                  .sum({2}));
  }
}

}  // namespace influence
