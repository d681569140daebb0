// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/tensor_matchers.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/validators.h"
#include "gmock/gmock.h"

namespace influence {
namespace {

// The entries in row-major order.
std::vector<double> Entries(const at::Tensor& tensor) {
  const at::Tensor flat =
      tensor.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* data = flat.data_ptr<double>();
  return std::vector<double>(data, data + flat.numel());
}

std::string IndexString(int64_t flat_index, at::IntArrayRef shape) {
  std::vector<int64_t> index(shape.size());
  for (int64_t d = static_cast<int64_t>(shape.size()) - 1; d >= 0; --d) {
    index[d] = flat_index % shape[d];
    flat_index /= shape[d];
  }
  return absl::StrCat("[", absl::StrJoin(index, ", "), "]");
}

class TensorNearMatcher : public testing::MatcherInterface<const at::Tensor&> {
 public:
  TensorNearMatcher(at::Tensor expected, double relative_tolerance,
                    std::optional<double> scale)
      : expected_(std::move(expected)),
        relative_tolerance_(relative_tolerance),
        scale_(scale) {}

  void DescribeTo(std::ostream* os) const override {
    *os << "is within a relative " << relative_tolerance_ << " of a "
        << ShapeString(expected_) << " tensor";
  }

  void DescribeNegationTo(std::ostream* os) const override {
    *os << "is not within a relative " << relative_tolerance_ << " of a "
        << ShapeString(expected_) << " tensor";
  }

  bool MatchAndExplain(const at::Tensor& actual,
                       testing::MatchResultListener* listener) const override {
    if (!actual.defined() || !expected_.defined() ||
        actual.sizes() != expected_.sizes()) {
      *listener << "shape is " << ShapeString(actual) << ", expected "
                << ShapeString(expected_);
      return false;
    }
    if (actual.scalar_type() != expected_.scalar_type()) {
      *listener << "dtype is " << DtypeName(actual.scalar_type())
                << ", expected " << DtypeName(expected_.scalar_type());
      return false;
    }
    const std::vector<double> found = Entries(actual);
    const std::vector<double> wanted = Entries(expected_);
    double scale = scale_.value_or(0);
    if (!scale_.has_value()) {
      for (const double entry : wanted) {
        scale = std::fmax(scale, std::fabs(entry));
      }
    }
    int64_t num_wrong = 0;
    int64_t first_wrong = -1;
    for (int64_t i = 0; i < actual.numel(); ++i) {
      // Written so that NaN is wrong.
      if (std::fabs(found[i] - wanted[i]) <= relative_tolerance_ * scale) {
        continue;
      }
      if (first_wrong < 0) first_wrong = i;
      ++num_wrong;
    }
    if (num_wrong == 0) return true;
    const double difference =
        scale > 0 ? std::fabs(found[first_wrong] - wanted[first_wrong]) / scale
                  : std::numeric_limits<double>::infinity();
    *listener << absl::StrCat(
        "entry ", IndexString(first_wrong, actual.sizes()), " is ",
        found[first_wrong], ", expected ", wanted[first_wrong],
        ", relative difference ", difference, " (tolerance ",
        relative_tolerance_, "); ", num_wrong, " of ", actual.numel(),
        " entries differ");
    return false;
  }

 private:
  at::Tensor expected_;
  double relative_tolerance_;
  std::optional<double> scale_;  // max |expected| where not given.
};

}  // namespace

testing::Matcher<const at::Tensor&> TensorNear(at::Tensor expected,
                                               double relative_tolerance) {
  return testing::MakeMatcher(new TensorNearMatcher(
      std::move(expected), relative_tolerance, std::nullopt));
}

testing::Matcher<const at::Tensor&> TensorNearAtScale(at::Tensor expected,
                                                      double relative_tolerance,
                                                      double scale) {
  return testing::MakeMatcher(
      new TensorNearMatcher(std::move(expected), relative_tolerance, scale));
}

}  // namespace influence
