// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/averaging.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

// sum_b w_b t_b and sum_b w_b.
struct WeightedSum {
  at::Tensor sum;  // float64; undefined before the first term.
  at::ScalarType dtype;
  double weight = 0;

  absl::Status Add(absl::string_view name, const at::Tensor& value, double w) {
    INFLUENCE_RETURN_IF_ERROR(ValidateFloating(name, value));
    if (!sum.defined()) {
      dtype = value.scalar_type();
      sum = value.to(at::kDouble).mul(w);
    } else {
      INFLUENCE_RETURN_IF_ERROR(ValidateShape(name, value, sum.sizes()));
      sum.add_(value, w);
    }
    weight += w;
    return absl::OkStatus();
  }

  at::Tensor Mean() const { return sum.div(weight).to(dtype); }
};

absl::Status NoTerms() {
  return absl::InvalidArgumentError("average: found no terms, expected one");
}

}  // namespace

absl::StatusOr<at::Tensor> Averaging::Average(Generator next) const {
  return CatchTorch("average", [&]() -> absl::StatusOr<at::Tensor> {
    WeightedSum total;
    while (true) {
      INFLUENCE_ASSIGN_OR_RETURN(std::optional<AveragingTerm> term, next());
      if (!term.has_value()) break;
      INFLUENCE_ASSIGN_OR_RETURN(double weight,
                                 Weight(term->value, term->num_samples));
      INFLUENCE_RETURN_IF_ERROR(
          total.Add("term of the average", term->value, weight));
    }
    if (!total.sum.defined()) return NoTerms();
    return total.Mean();
  });
}

absl::StatusOr<TensorMap> Averaging::AverageDictionary(
    DictionaryGenerator next) const {
  return CatchTorch("average", [&]() -> absl::StatusOr<TensorMap> {
    std::vector<std::pair<std::string, WeightedSum>> totals;
    while (true) {
      INFLUENCE_ASSIGN_OR_RETURN(std::optional<DictionaryAveragingTerm> term,
                                 next());
      if (!term.has_value()) break;
      if (totals.empty()) {
        for (const auto& [name, value] : term->value) {
          totals.emplace_back(name, WeightedSum());
        }
      }
      if (term->value.size() != totals.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("term of the average: found ", term->value.size(),
                         " entries, expected ", totals.size()));
      }
      for (auto& [name, total] : totals) {
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor value, term->value.Find(name));
        INFLUENCE_ASSIGN_OR_RETURN(double weight,
                                   Weight(value, term->num_samples));
        INFLUENCE_RETURN_IF_ERROR(total.Add(name, value, weight));
      }
    }
    if (totals.empty()) return NoTerms();
    TensorMap means;
    for (const auto& [name, total] : totals) {
      INFLUENCE_RETURN_IF_ERROR(means.Insert(name, total.Mean()));
    }
    return means;
  });
}

absl::StatusOr<double> ChunkAveraging::Weight(const at::Tensor& /*value*/,
                                              int64_t /*num_samples*/) const {
  return 1.0;
}

absl::StatusOr<double> PointAveraging::Weight(const at::Tensor& value,
                                              int64_t num_samples) const {
  if (!batch_dim_.has_value()) {
    if (num_samples < 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "num_samples: found ", num_samples, ", expected at least 1"));
    }
    return static_cast<double>(num_samples);
  }
  const int64_t dim = *batch_dim_ < 0 ? *batch_dim_ + value.dim() : *batch_dim_;
  if (dim < 0 || dim >= value.dim()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "batch_dim: found ", *batch_dim_,
        ", expected a dimension of a tensor of shape ", ShapeString(value)));
  }
  if (value.size(dim) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("term of the average: found shape ", ShapeString(value),
                     ", expected at least one sample in dimension ", dim));
  }
  return static_cast<double>(value.size(dim));
}

}  // namespace influence
