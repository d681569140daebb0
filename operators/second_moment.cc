// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/second_moment.h"

#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "operators/kronecker_statistics.h"
#include "operators/shared_eigendecomposition.h"

namespace influence {
namespace {

// Below this width a matrix and its decomposition cost next to nothing.
constexpr int64_t kMinWidth = 64;

}  // namespace

SecondMoment::SecondMoment(int64_t groups, int64_t width, bool append_one,
                           at::ScalarType dtype)
    : groups_(groups), width_(width), append_one_(append_one), dtype_(dtype) {
  if (MostRows(width) == 0) MakeDense();
}

int64_t SecondMoment::MostRows(int64_t width) {
  return width < kMinWidth ? 0 : 3 * width / 4;
}

void SecondMoment::Add(const at::Tensor& x) {
  const int64_t n = x.size(0), t = x.size(2), f = x.size(3);
  if (n * t == 0) return;
  if (!sums_.defined() && num_rows_ + n * t > MostRows(width_)) MakeDense();
  if (sums_.defined()) {
    AddSecondMoments(x, append_one_, sums_);
    return;
  }
  at::Tensor rows =
      at::empty({groups_, n * t, width_}, at::TensorOptions().dtype(dtype_));
  rows.view({groups_, n, t, width_}).narrow(3, 0, f).copy_(x.transpose(0, 1));
  if (append_one_) rows.select(2, f).fill_(1);
  AddRows(rows);
}

void SecondMoment::AddRows(const at::Tensor& rows) {
  if (rows.size(1) == 0) return;
  if (!sums_.defined() && num_rows_ + rows.size(1) > MostRows(width_)) {
    MakeDense();
  }
  if (sums_.defined()) {
    AddSecondMoments(rows.unsqueeze(0), /*append_one=*/false, sums_);
    return;
  }
  rows_.push_back(rows);
  num_rows_ += rows.size(1);
}

void SecondMoment::Add(const SecondMoment& other) {
  if (other.sums_.defined()) {
    if (!sums_.defined()) MakeDense();
    sums_.add_(other.sums_);
    return;
  }
  for (const at::Tensor& rows : other.rows_) AddRows(rows);
}

void SecondMoment::MakeDense() {
  sums_ = at::zeros({groups_, width_, width_}, at::kDouble);
  for (const at::Tensor& rows : rows_) {
    AddSecondMoments(rows.unsqueeze(0), /*append_one=*/false, sums_);
  }
  rows_.clear();
  num_rows_ = 0;
}

absl::Status SecondMoment::Reduce(Communicator& communicator) {
  const int size = communicator.size(), rank = communicator.rank();
  if (size == 1) return absl::OkStatus();
  if (MostRows(width_) > 0) {
    // Rows by rank, and how many have matrices.
    const at::Tensor counts = at::zeros({size + 1}, at::kLong);
    auto* const count = counts.data_ptr<int64_t>();
    count[rank] = num_rows_;
    count[size] = sums_.defined() ? 1 : 0;
    INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(counts));
    const auto total = std::accumulate(count, count + size, int64_t{0});
    if (count[size] == 0 && total <= MostRows(width_)) {
      const at::Tensor all = at::zeros({groups_, total, width_},
                                       at::TensorOptions().dtype(dtype_));
      int64_t row = std::accumulate(count, count + rank, int64_t{0});
      for (const at::Tensor& rows : rows_) {
        all.narrow(1, row, rows.size(1)).copy_(rows);
        row += rows.size(1);
      }
      INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(all));
      rows_ = {all};
      num_rows_ = total;
      return absl::OkStatus();
    }
    if (!sums_.defined()) MakeDense();
  }
  return communicator.AllReduceSum(sums_);
}

at::Tensor SecondMoment::State() const {
  if (sums_.defined()) return sums_;
  if (rows_.size() == 1) return rows_[0];
  std::vector<at::Tensor> all = {
      at::empty({groups_, 0, width_}, at::TensorOptions().dtype(dtype_))};
  all.insert(all.end(), rows_.begin(), rows_.end());
  return at::cat(all, 1);
}

bool SecondMoment::SetState(const at::Tensor& state) {
  if (state.dim() != 3 || state.size(0) != groups_ || state.size(2) != width_) {
    return false;
  }
  // Fewer rows than the width: what tells the two apart.
  if (state.size(1) == width_ && state.scalar_type() == at::kDouble) {
    rows_.clear();
    num_rows_ = 0;
    sums_ = state.clone();
    return true;
  }
  if (state.size(1) > MostRows(width_) || state.scalar_type() != dtype_) {
    return false;
  }
  sums_ = at::Tensor();
  rows_ = {state};
  num_rows_ = state.size(1);
  return true;
}

SymmetricMatrix SecondMoment::TakeMatrix(std::string name, double scale) {
  SymmetricMatrix matrix;
  matrix.name = std::move(name);
  if (sums_.defined()) {
    sums_.triu_().add_(sums_.triu(1).transpose(-2, -1)).mul_(scale);
    matrix.values = std::move(sums_);
  } else {
    matrix.rows = State();
    matrix.scale = scale;
    rows_.clear();
  }
  return matrix;
}

}  // namespace influence
