// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/lissa.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <random>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/missing_rows.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "operators/row_algebra.h"
#include "operators/solve_report.h"

namespace influence {
namespace {

// Power iteration stops where the estimate moves by less, relative to itself:
// well within the margin.
constexpr double kEstimateTolerance = 1e-3;
constexpr int kMaxEstimateSteps = 30;
constexpr double kMargin = 1.1;

// Beyond this many times the bound of a recursion that enlarges nothing.
constexpr double kDivergenceFactor = 10;

// Of magnitude of an eigenvalue.
absl::StatusOr<double> LargestEigenvalue(
    int64_t size, at::ScalarType dtype, uint64_t seed,
    absl::FunctionRef<absl::StatusOr<at::Tensor>(const at::Tensor&)> product) {
  // The order of the engine's outputs is fixed by the standard.
  std::mt19937_64 engine(seed);
  at::Tensor v = at::empty({1, size}, at::kDouble);
  double* entries = v.data_ptr<double>();
  for (int64_t i = 0; i < size; ++i) {
    entries[i] = static_cast<double>(engine() >> 11) * 0x1.0p-52 - 1;
  }
  double norm = RowNorms(v)[0];
  double estimate = 0;
  for (int step = 0; step < kMaxEstimateSteps && norm > 0; ++step) {
    INFLUENCE_ASSIGN_OR_RETURN(v, product(v.div(norm).to(dtype)));
    v = v.to(at::kDouble);
    norm = RowNorms(v)[0];
    const double before = estimate;
    estimate = norm;
    if (std::abs(estimate - before) <= kEstimateTolerance * estimate) break;
  }
  return estimate;
}

// The numbers below `size` in an order that depends on the seed and `epoch`.
std::vector<int64_t> BatchOrder(int64_t size, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::seed_seq sequence{static_cast<uint32_t>(seed),
                         static_cast<uint32_t>(seed >> 32),
                         static_cast<uint32_t>(epoch)};
  std::mt19937_64 engine(sequence);
  // std::shuffle is not the same everywhere.
  for (int64_t i = size - 1; i > 0; --i) {
    const auto j =
        static_cast<int64_t>(engine() % static_cast<uint64_t>(i + 1));
    std::swap(order[i], order[j]);
  }
  return order;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Lissa>> Lissa::Create(
    std::vector<LissaBatch> batches, const LissaOptions& options) {
  if (batches.empty()) {
    return absl::InvalidArgumentError(
        "batches: found none, expected at least one");
  }
  for (const LissaBatch& batch : batches) {
    if (batch.a == nullptr) {
      return absl::InvalidArgumentError("batches: found a null operator");
    }
    if (batch.a->input_size() != batches[0].a->input_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "batches: found an operator of size ", batch.a->input_size(),
          ", expected that of the first, ", batches[0].a->input_size()));
    }
    if (batch.num_samples < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("batches: found a batch of ", batch.num_samples,
                       " samples, expected at least one"));
    }
  }
  if (options.scale.has_value()) {
    INFLUENCE_RETURN_IF_ERROR(ValidatePositive("scale", *options.scale));
  }
  if (!(options.dampen >= 0 && options.dampen < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("dampen: found ", options.dampen, ", expected [0, 1)"));
  }
  if (options.max_iterations < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_iterations: found ", options.max_iterations, ", expected >= 1"));
  }
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_tolerance", options.relative_tolerance));
  if (options.dtype.has_value() && *options.dtype != at::kFloat &&
      *options.dtype != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: found ", DtypeName(*options.dtype),
                     ", expected float32 or float64"));
  }
  std::shared_ptr<Lissa> lissa(new Lissa(std::move(batches), options));
  if (options.scale.has_value()) {
    lissa->scale_ = *options.scale;
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(lissa->scale_, CatchTorch("scale", [&] {
                                 return lissa->EstimateScale();
                               }));
  }
  return lissa;
}

Lissa::Lissa(std::vector<LissaBatch> batches, const LissaOptions& options)
    : batches_(std::move(batches)), options_(options) {}

absl::StatusOr<at::Tensor> Lissa::WholeProduct(const at::Tensor& x) const {
  if (batches_.size() == 1) return batches_[0].a->Apply(x);
  at::Tensor sum = at::zeros(x.sizes(), at::kDouble);
  double num_samples = 0;
  for (const LissaBatch& batch : batches_) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product, batch.a->Apply(x));
    const auto weight = static_cast<double>(batch.num_samples);
    sum.add_(product, weight);
    num_samples += weight;
  }
  return sum.div_(num_samples).to(x.scalar_type());
}

absl::StatusOr<double> Lissa::EstimateScale() const {
  at::NoGradGuard no_grad;
  const at::ScalarType dtype = options_.dtype.value_or(at::kDouble);
  INFLUENCE_ASSIGN_OR_RETURN(
      double largest, LargestEigenvalue(input_size(), dtype, options_.seed,
                                        [this](const at::Tensor& v) {
                                          return WholeProduct(v);
                                        }));
  if (batches_.size() > 1) {
    for (const LissaBatch& batch : batches_) {
      INFLUENCE_ASSIGN_OR_RETURN(
          const double of_batch,
          LargestEigenvalue(
              input_size(), dtype, options_.seed,
              [&batch](const at::Tensor& v) { return batch.a->Apply(v); }));
      largest = std::max(largest, of_batch);
    }
  }
  if (largest > 0 && std::isfinite(largest)) return kMargin * largest;
  return absl::InvalidArgumentError(
      absl::StrCat("scale: found eigenvalues of magnitude ", largest,
                   " at most, expected a finite positive one"));
}

absl::Status Lissa::Recur(double scale, const at::Tensor& b, at::Tensor& x,
                          std::vector<SolveReport>& reports) const {
  const auto num_batches = static_cast<int64_t>(batches_.size());
  std::vector<int64_t> active(b.size(0));  // Rows that have not ended.
  std::iota(active.begin(), active.end(), 0);
  at::Tensor right = b;
  at::Tensor y = b.clone();
  int64_t iterations = 0;
  for (int64_t epoch = 0; !active.empty(); ++epoch) {
    const at::Tensor start = y.clone();
    const int64_t num_steps =
        std::min(num_batches, options_.max_iterations - iterations);
    const std::vector<int64_t> order =
        BatchOrder(num_batches, options_.seed, epoch);
    std::vector<bool> diverged(active.size(), false);
    for (int64_t step = 0; step < num_steps; ++step) {
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product,
                                 batches_[order[step]].a->Apply(y));
      y.mul_(1 - options_.dampen).add_(right).add_(product, -1 / scale);
      ++iterations;
      const double bound =
          kDivergenceFactor * static_cast<double>(iterations + 1);
      const std::vector<double> norms = RowNorms(y);
      for (size_t i = 0; i < norms.size(); ++i) {
        if (norms[i] <= bound) continue;
        diverged[i] = true;
        y[static_cast<int64_t>(i)].zero_();
      }
    }
    for (size_t i = 0; i < diverged.size(); ++i) {
      if (diverged[i]) y[static_cast<int64_t>(i)].zero_();
    }
    const std::vector<double> drifts = RowNorms(y.sub(start));
    std::vector<int64_t> ended;
    std::vector<bool> done(active.size(), false);
    for (size_t i = 0; i < active.size(); ++i) {
      done[i] = diverged[i] || iterations >= options_.max_iterations ||
                drifts[i] <= options_.relative_tolerance *
                                 static_cast<double>(num_steps);
      if (done[i]) ended.push_back(static_cast<int64_t>(i));
    }
    if (ended.empty()) continue;
    // In terms of the result x = y / s.
    const at::Tensor result = SelectRows(y, ended).div_(scale);
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product, WholeProduct(result));
    product.add_(result, scale * options_.dampen);
    const std::vector<double> residuals =
        RowNorms(SelectRows(right, ended).sub_(product));
    std::vector<int64_t> rows;
    for (size_t j = 0; j < ended.size(); ++j) {
      const int64_t i = ended[j];
      rows.push_back(active[i]);
      SolveReport& report = reports[active[i]];
      report.iterations += iterations;
      report.relative_residual = diverged[i] ? 1 : residuals[j];
      if (diverged[i]) {
        report.outcome = SolveOutcome::kDiverged;
      } else if (residuals[j] <= options_.relative_tolerance) {
        report.outcome = SolveOutcome::kConverged;
      } else if (drifts[i] <=
                 options_.relative_tolerance * static_cast<double>(num_steps)) {
        report.outcome = SolveOutcome::kStagnated;
      } else {
        report.outcome = SolveOutcome::kIterationLimit;
      }
    }
    AssignRows(x, rows, result);
    const std::vector<int64_t> kept = NotDone(done);
    active = SelectEntries(active, kept);
    y = SelectRows(y, kept);
    right = SelectRows(right, kept);
  }
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> Lissa::DoApply(const at::Tensor& matrix) const {
  std::vector<SolveReport> reports;
  return DoApplyWithReports(matrix, &reports);
}

absl::StatusOr<at::Tensor> Lissa::DoApplyWithReports(
    const at::Tensor& matrix, std::vector<SolveReport>* reports) const {
  at::NoGradGuard no_grad;
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("operand", matrix));
  reports->assign(matrix.size(0), SolveReport());
  const UnitRows unit =
      UnitRows::Of(matrix, options_.dtype.value_or(matrix.scalar_type()));
  if (unit.indices.empty()) return unit.Expand(unit.rows, matrix);
  at::Tensor x = at::zeros(unit.rows.sizes(), unit.rows.options());
  std::vector<SolveReport> of_rows(unit.indices.size());
  INFLUENCE_RETURN_IF_ERROR(Recur(scale_, unit.rows, x, of_rows));

  std::vector<int64_t> diverged;
  for (size_t i = 0; i < of_rows.size(); ++i) {
    if (of_rows[i].outcome == SolveOutcome::kDiverged) {
      diverged.push_back(static_cast<int64_t>(i));
    }
  }
  if (!diverged.empty()) {
    at::Tensor again = SelectRows(x, diverged);
    std::vector<SolveReport> of_diverged = SelectEntries(of_rows, diverged);
    INFLUENCE_RETURN_IF_ERROR(
        Recur(2 * scale_, SelectRows(unit.rows, diverged), again, of_diverged));
    AssignRows(x, diverged, again);
    for (size_t j = 0; j < diverged.size(); ++j) {
      of_diverged[j].remark = absl::StrCat(
          "diverged with scale ", scale_, "; started anew with ", 2 * scale_,
          of_diverged[j].outcome == SolveOutcome::kDiverged
              ? ", which diverged too"
              : "");
      of_rows[diverged[j]] = std::move(of_diverged[j]);
    }
  }
  for (size_t i = 0; i < unit.indices.size(); ++i) {
    (*reports)[unit.indices[i]] = std::move(of_rows[i]);
  }
  return WithMissingRows(unit.Expand(x, matrix), RowsWithoutAnswer(*reports));
}

}  // namespace influence
