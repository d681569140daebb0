// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/conjugate_gradient.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <tuple>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cholesky_solve.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_cholesky_ex.h"
#include "ATen/ops/linalg_solve_triangular.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/missing_rows.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "operators/row_algebra.h"

namespace influence {
namespace {

// The rows of a Gram matrix [n, n] that are independent, each of a squared
// distance above `threshold` from those before it, by Cholesky with complete
// pivoting; `factor` becomes the lower factor of their own Gram matrix.
std::vector<int64_t> IndependentRows(const at::Tensor& gram, double threshold,
                                     at::Tensor* factor) {
  const int64_t n = gram.size(0);
  const at::Tensor g = gram.contiguous();
  const double* entries = g.data_ptr<double>();
  at::Tensor lower = at::zeros({n, n}, at::kDouble);
  double* l = lower.data_ptr<double>();
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::vector<double> distances(n);
  for (int64_t i = 0; i < n; ++i) distances[i] = entries[i * n + i];
  int64_t rank = 0;
  for (; rank < n; ++rank) {
    const int64_t pivot =
        std::max_element(distances.begin() + rank, distances.end()) -
        distances.begin();
    if (!(distances[pivot] > threshold)) break;
    std::swap(order[rank], order[pivot]);
    std::swap(distances[rank], distances[pivot]);
    std::swap_ranges(l + rank * n, l + rank * n + rank, l + pivot * n);
    const double diagonal = std::sqrt(distances[rank]);
    l[rank * n + rank] = diagonal;
    for (int64_t i = rank + 1; i < n; ++i) {
      double sum = entries[order[i] * n + order[rank]];
      for (int64_t k = 0; k < rank; ++k) sum -= l[i * n + k] * l[rank * n + k];
      l[i * n + rank] = sum / diagonal;
      distances[i] -= l[i * n + rank] * l[i * n + rank];
    }
  }
  order.resize(rank);
  *factor = lower.narrow(0, 0, rank).narrow(1, 0, rank);
  return order;
}

// A basis [m, P], m <= n, orthonormal up to rounding, of the span of the rows
// of `directions` [n, P] each scaled to length 1, without what rounding cannot
// tell from a dependent part.
at::Tensor Basis(const at::Tensor& directions) {
  std::vector<double> scales = RowNorms(directions);
  for (double& scale : scales) scale = scale > 0 ? 1 / scale : 0;
  at::Tensor rows = directions.mul(RowFactors(scales, directions));
  const at::Tensor gram = RowGram(rows, rows);
  // A part of relative length 1e-6, or 1e-4, of a row of dtype float64, or
  // float32, keeps enough digits for a direction.
  const double threshold =
      directions.scalar_type() == at::kDouble ? 1e-12 : 1e-8;
  at::Tensor factor;
  const auto [cholesky, info] = at::linalg_cholesky_ex(gram);
  if (info.item<int>() == 0 &&
      cholesky.diagonal().square().min().item<double>() > threshold) {
    factor = cholesky;
  } else {
    const std::vector<int64_t> independent =
        IndependentRows(gram, threshold, &factor);
    rows = SelectRows(rows, independent);
  }
  const at::Tensor inverse = at::linalg_solve_triangular(
      factor, at::eye(factor.size(0), at::kDouble), /*upper=*/false);
  return inverse.to(rows.scalar_type()).matmul(rows);
}

// Solves for the rows of b [n, P], each of length 1.
class Solver {
 public:
  Solver(const Operator& a, const ConjugateGradientOptions& options,
         at::Tensor b)
      : a_(a),
        options_(options),
        rounding_unit_(RoundingUnit(b.scalar_type())),
        b_(std::move(b)),
        x_(at::zeros(b_.sizes(), b_.options())),
        reports_(b_.size(0)) {}

  absl::Status Run() {
    Active all;
    all.rows.resize(reports_.size());
    std::iota(all.rows.begin(), all.rows.end(), 0);
    all.x = at::zeros(b_.sizes(), b_.options());
    all.r = b_.clone();
    all.verified.assign(reports_.size(), 1.0);
    all.next_check.assign(reports_.size(), 1.0);
    return options_.block && all.rows.size() > 1 ? RunBlock(std::move(all))
                                                 : RunSeparate(std::move(all));
  }

  const at::Tensor& x() const { return x_; }
  const std::vector<SolveReport>& reports() const { return reports_; }

 private:
  // The right-hand sides that are not yet solved.
  struct Active {
    std::vector<int64_t> rows;  // Their numbers.
    at::Tensor x;
    at::Tensor r;                    // b - A x by recursion.
    std::vector<double> verified;    // |b - A x| that r last started from.
    std::vector<double> next_check;  // Of r's length: see Check().
  };

  absl::StatusOr<at::Tensor> Precondition(const at::Tensor& r) const {
    if (options_.preconditioner == nullptr) return r.clone();
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor z, options_.preconditioner->Apply(r));
    for (const double product : RowDots(r, z)) {
      if (product > 0) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "preconditioner: found r^T M^-1 r = ", product,
          " for a residual r, expected a positive definite operator"));
    }
    return z;
  }

  // After a step. The residual is computed from x for those that the recursion
  // takes for solved, for those that stop here, and, where the rounding of A x
  // may have parted the recursion from it, every time the recursion has gained
  // another digit. `done` becomes the ones that have ended, `restarted` those
  // whose recursion starts anew from it. largest: of |A p| / |p|.
  absl::Status Check(const std::vector<bool>& negative,
                     const std::vector<double>& largest, Active& active,
                     std::vector<bool>& done, std::vector<bool>& restarted) {
    const size_t n = active.rows.size();
    done.assign(n, false);
    restarted.assign(n, false);
    const std::vector<double> norms = RowNorms(active.r);
    const std::vector<double> sizes = RowNorms(active.x);
    std::vector<int64_t> picks;
    std::vector<int64_t> rows;
    for (size_t i = 0; i < n; ++i) {
      const int64_t row = active.rows[i];
      // Ten times the rounding of b - A x: about where it may be felt.
      const double rounding = 10 * rounding_unit_ * (1 + largest[i] * sizes[i]);
      if (norms[i] <= options_.relative_tolerance || negative[i] ||
          reports_[row].iterations >= options_.max_iterations ||
          norms[i] <= std::min(rounding, active.next_check[i])) {
        picks.push_back(static_cast<int64_t>(i));
        rows.push_back(row);
      }
    }
    if (picks.empty()) return absl::OkStatus();
    const at::Tensor x = SelectRows(active.x, picks);
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product, a_.Apply(x));
    const at::Tensor r = SelectRows(b_, rows).sub_(product);
    const std::vector<double> residuals = RowNorms(r);
    AssignRows(x_, rows, x);
    for (size_t j = 0; j < picks.size(); ++j) {
      const int64_t i = picks[j];
      SolveReport& report = reports_[rows[j]];
      report.relative_residual = residuals[j];
      done[i] = true;
      if (residuals[j] <= options_.relative_tolerance) {
        report.outcome = SolveOutcome::kConverged;
      } else if (negative[i]) {
        report.outcome = SolveOutcome::kNegativeCurvature;
      } else if (report.iterations >= options_.max_iterations) {
        report.outcome = SolveOutcome::kIterationLimit;
      } else if (norms[i] > options_.relative_tolerance &&
                 residuals[j] <= 2 * norms[i]) {
        done[i] = false;  // The recursion still holds.
        active.next_check[i] = 0.1 * norms[i];
      } else if (!(residuals[j] <= 0.5 * active.verified[i])) {
        report.outcome = SolveOutcome::kStagnated;
      } else {
        done[i] = false;
        restarted[i] = true;
        active.verified[i] = residuals[j];
        active.next_check[i] = 0.1 * residuals[j];
        active.r[i].copy_(r[static_cast<int64_t>(j)]);
      }
    }
    return absl::OkStatus();
  }

  // Drops the right-hand sides that are done; the numbers of the others.
  static std::vector<int64_t> Drop(const std::vector<bool>& done,
                                   Active& active) {
    std::vector<int64_t> kept = NotDone(done);
    if (kept.size() == done.size()) return kept;
    active.x = SelectRows(active.x, kept);
    active.r = SelectRows(active.r, kept);
    active.rows = SelectEntries(active.rows, kept);
    active.verified = SelectEntries(active.verified, kept);
    active.next_check = SelectEntries(active.next_check, kept);
    return kept;
  }

  // Hestenes and Stiefel (1952) for every row by itself.
  absl::Status RunSeparate(Active active) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor p, Precondition(active.r));
    std::vector<double> rz = RowDots(active.r, p);
    std::vector<double> largest(active.rows.size(), 0.0);  // Of |A p| / |p|.
    std::vector<bool> done;
    std::vector<bool> restarted;
    while (!active.rows.empty()) {
      const size_t n = active.rows.size();
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor q, a_.Apply(p));
      const std::vector<double> pq = RowDots(p, q);
      const std::vector<double> pp = RowDots(p, p);
      const std::vector<double> qq = RowDots(q, q);
      std::vector<double> steps(n, 0.0);
      std::vector<bool> negative(n, false);
      for (size_t i = 0; i < n; ++i) {
        INFLUENCE_RETURN_IF_ERROR(CheckProduct(qq[i]));
        largest[i] = std::max(largest[i], std::sqrt(qq[i] / pp[i]));
        negative[i] = !(pq[i] > rounding_unit_ * largest[i] * pp[i]);
        if (negative[i]) continue;
        steps[i] = rz[i] / pq[i];
        ++reports_[active.rows[i]].iterations;
      }
      const at::Tensor step = RowFactors(steps, p);
      active.x.addcmul_(p, step);
      active.r.addcmul_(q, step, -1);
      INFLUENCE_RETURN_IF_ERROR(
          Check(negative, largest, active, done, restarted));
      const std::vector<int64_t> kept = Drop(done, active);
      if (kept.size() < n) {
        p = SelectRows(p, kept);
        rz = SelectEntries(rz, kept);
        largest = SelectEntries(largest, kept);
      }
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor z, Precondition(active.r));
      std::vector<double> next_rz = RowDots(active.r, z);
      std::vector<double> betas(kept.size());
      for (size_t i = 0; i < kept.size(); ++i) {
        betas[i] = restarted[kept[i]] ? 0 : next_rz[i] / rz[i];
      }
      rz = std::move(next_rz);
      p = z.addcmul_(p, RowFactors(betas, p));
    }
    return absl::OkStatus();
  }

  absl::Status RunBlock(Active active) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor z, Precondition(active.r));
    at::Tensor p = Basis(z);
    double largest = 0;  // Of |A p| / |p|.
    std::vector<bool> done;
    std::vector<bool> restarted;
    while (!active.rows.empty() && p.size(0) > 0) {
      const size_t n = active.rows.size();
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor q, a_.Apply(p));
      const std::vector<double> lengths = RowNorms(p);
      const std::vector<double> images = RowNorms(q);
      for (size_t i = 0; i < images.size(); ++i) {
        INFLUENCE_RETURN_IF_ERROR(CheckProduct(images[i]));
        largest = std::max(largest, images[i] / lengths[i]);
      }
      at::Tensor pq = RowGram(p, q);
      pq = pq.add(pq.t()).div_(2);
      const auto [factor, info] = at::linalg_cholesky_ex(pq);
      // The rounding of the m^2 products together.
      const double threshold =
          rounding_unit_ * largest * std::sqrt(static_cast<double>(p.size(0)));
      if (info.item<int>() != 0 ||
          !(factor.diagonal().square().min().item<double>() > threshold)) {
        break;
      }
      const at::Tensor steps = at::cholesky_solve(RowGram(p, active.r), factor)
                                   .t()
                                   .to(p.scalar_type());
      active.x.addmm_(steps, p);
      active.r.addmm_(steps, q, /*beta=*/1, /*alpha=*/-1);
      for (const int64_t row : active.rows) ++reports_[row].iterations;
      INFLUENCE_RETURN_IF_ERROR(Check(std::vector<bool>(n, false),
                                      std::vector<double>(n, largest), active,
                                      done, restarted));
      Drop(done, active);
      if (active.rows.empty()) break;
      INFLUENCE_ASSIGN_OR_RETURN(z, Precondition(active.r));
      const at::Tensor betas =
          at::cholesky_solve(RowGram(q, z), factor).t().to(p.scalar_type());
      p = Basis(z.addmm_(betas, p, /*beta=*/1, /*alpha=*/-1));
    }
    if (active.rows.empty()) return absl::OkStatus();
    return RunSeparate(std::move(active));
  }

  static absl::Status CheckProduct(double norm) {
    if (std::isfinite(norm)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "product with the operator: found norm ", norm, ", expected finite"));
  }

  const Operator& a_;
  const ConjugateGradientOptions& options_;
  double rounding_unit_;
  at::Tensor b_;
  at::Tensor x_;
  std::vector<SolveReport> reports_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ConjugateGradient>>
ConjugateGradient::Create(std::shared_ptr<const Operator> a,
                          const ConjugateGradientOptions& options) {
  if (a == nullptr) return absl::InvalidArgumentError("operator: is null");
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_tolerance", options.relative_tolerance));
  if (options.max_iterations < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_iterations: found ", options.max_iterations, ", expected >= 1"));
  }
  if (options.preconditioner != nullptr &&
      options.preconditioner->input_size() != a->input_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "preconditioner: found size ", options.preconditioner->input_size(),
        ", expected the operator's ", a->input_size()));
  }
  if (options.dtype.has_value() && *options.dtype != at::kFloat &&
      *options.dtype != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: found ", DtypeName(*options.dtype),
                     ", expected float32 or float64"));
  }
  return std::shared_ptr<const ConjugateGradient>(
      new ConjugateGradient(std::move(a), options));
}

ConjugateGradient::ConjugateGradient(std::shared_ptr<const Operator> a,
                                     ConjugateGradientOptions options)
    : a_(std::move(a)), options_(std::move(options)) {}

absl::StatusOr<at::Tensor> ConjugateGradient::DoApply(
    const at::Tensor& matrix) const {
  std::vector<SolveReport> reports;
  return DoApplyWithReports(matrix, &reports);
}

absl::StatusOr<at::Tensor> ConjugateGradient::DoApplyWithReports(
    const at::Tensor& matrix, std::vector<SolveReport>* reports) const {
  at::NoGradGuard no_grad;
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("operand", matrix));
  reports->assign(matrix.size(0), SolveReport());
  UnitRows unit =
      UnitRows::Of(matrix, options_.dtype.value_or(matrix.scalar_type()));
  if (unit.indices.empty()) return unit.Expand(unit.rows, matrix);
  Solver solver(*a_, options_, std::move(unit.rows));
  INFLUENCE_RETURN_IF_ERROR(solver.Run());
  for (size_t i = 0; i < unit.indices.size(); ++i) {
    (*reports)[unit.indices[i]] = solver.reports()[i];
  }
  return WithMissingRows(unit.Expand(solver.x(), matrix),
                         RowsWithoutAnswer(*reports));
}

}  // namespace influence
