// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/spectrum.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "gradients/parameter_blocks.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"

namespace influence {
namespace {

absl::Status ValidateRegularizations(const std::vector<double>& values) {
  for (const double value : values) {
    INFLUENCE_RETURN_IF_ERROR(ValidateNonNegative("regularization", value));
  }
  return absl::OkStatus();
}

// The scores of all queries with all samples, [M, N], float64.
absl::StatusOr<at::Tensor> AllScores(const ComposableInfluence& model,
                                     const BatchSequence& test,
                                     const BatchSequence& train) {
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < test.num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch queries, test.Get(i));
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<const PreparedQueries> prepared,
        model.PrepareQueries(queries));
    std::vector<at::Tensor> row;
    for (int64_t j = 0; j < train.num_batches(); ++j) {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch samples, train.Get(j));
      INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor scores,
                                 prepared->Influences(samples));
      row.push_back(scores.to(at::kDouble));
    }
    rows.push_back(at::cat(row, /*dim=*/1));
  }
  return at::cat(rows, /*dim=*/0).contiguous();
}

// Ranks from 0, equal values averaged.
std::vector<double> Ranks(const double* values, int64_t size) {
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [values](int64_t a, int64_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(size);
  for (int64_t begin = 0; begin < size;) {
    int64_t end = begin;
    while (end < size && values[order[end]] == values[order[begin]]) ++end;
    const double rank = static_cast<double>(begin + end - 1) / 2;
    for (int64_t i = begin; i < end; ++i) ranks[order[i]] = rank;
    begin = end;
  }
  return ranks;
}

// Nothing if either side is constant.
std::optional<double> Correlation(const double* x, const double* y,
                                  int64_t size) {
  const auto count = static_cast<double>(size);
  const double mean_x = std::accumulate(x, x + size, 0.0) / count;
  const double mean_y = std::accumulate(y, y + size, 0.0) / count;
  double xx = 0, yy = 0, xy = 0;
  for (int64_t i = 0; i < size; ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    yy += (y[i] - mean_y) * (y[i] - mean_y);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  if (!(xx > 0) || !(yy > 0)) return std::nullopt;
  return xy / std::sqrt(xx) / std::sqrt(yy);
}

ScoreSensitivity Compare(double regularization, const at::Tensor& scores,
                         double next_regularization, const at::Tensor& next) {
  const int64_t m = scores.size(0), n = scores.size(1);
  double spearman = 0, pearson = 0;
  int64_t count = 0;
  for (int64_t i = 0; i < m; ++i) {
    const double* x = scores.data_ptr<double>() + i * n;
    const double* y = next.data_ptr<double>() + i * n;
    const std::optional<double> values = Correlation(x, y, n);
    const std::vector<double> x_ranks = Ranks(x, n);
    const std::vector<double> y_ranks = Ranks(y, n);
    const std::optional<double> ranks =
        Correlation(x_ranks.data(), y_ranks.data(), n);
    if (!values.has_value() || !ranks.has_value()) continue;
    pearson += *values;
    spearman += *ranks;
    ++count;
  }
  ScoreSensitivity sensitivity = {regularization, next_regularization,
                                  std::nullopt, std::nullopt, 0};
  if (count > 0) {
    sensitivity.spearman = spearman / static_cast<double>(count);
    sensitivity.pearson = pearson / static_cast<double>(count);
  }
  const double norm = scores.norm().item<double>();
  if (norm > 0) {
    sensitivity.relative_change = next.sub(scores).norm().item<double>() / norm;
  }
  return sensitivity;
}

BlockSpectrum Summarize(std::string block, int64_t size,
                        const at::Tensor& eigenvalues,
                        const std::vector<double>& regularizations) {
  BlockSpectrum spectrum = {
      std::move(block), size, eigenvalues, 0, 0, 0, 0, {}};
  const at::Tensor positive = eigenvalues.clamp_min(0);
  if (eigenvalues.size(0) > 0) {
    spectrum.largest = eigenvalues.max().item<double>();
    spectrum.smallest = eigenvalues.min().item<double>();
    spectrum.mean = eigenvalues.mean().item<double>();
    spectrum.num_negative = eigenvalues.lt(0).sum().item<int64_t>();
  }
  for (const double lambda : regularizations) {
    // 0 / 0 is a NaN, which counts as 0.
    spectrum.effects.push_back(
        {lambda,
         positive.div(positive.add(lambda)).nan_to_num().sum().item<double>(),
         eigenvalues.gt(lambda).sum().item<int64_t>()});
  }
  return spectrum;
}

}  // namespace

absl::StatusOr<std::vector<BlockSpectrum>> FindSpectrum(
    const ComposableInfluence& model,
    const std::vector<double>& regularizations) {
  INFLUENCE_RETURN_IF_ERROR(ValidateRegularizations(regularizations));
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<at::Tensor> eigenvalues,
                             model.CurvatureEigenvalues());
  return CatchTorch(
      "spectrum", [&]() -> absl::StatusOr<std::vector<BlockSpectrum>> {
        std::vector<BlockSpectrum> spectra;
        for (size_t b = 0; b < eigenvalues.size(); ++b) {
          const ParameterBlock& block = model.blocks().blocks()[b];
          spectra.push_back(Summarize(block.name, block.size, eigenvalues[b],
                                      regularizations));
        }
        return spectra;
      });
}

absl::StatusOr<std::vector<ScoreSensitivity>> FindScoreSensitivity(
    const ComposableInfluence& model,
    const std::vector<double>& regularizations, const BatchSequence& test,
    const BatchSequence& train) {
  INFLUENCE_RETURN_IF_ERROR(ValidateRegularizations(regularizations));
  if (regularizations.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("regularizations: found ",
                                                   regularizations.size(),
                                                   ", expected two or more"));
  }
  for (const BatchSequence* data : {&test, &train}) {
    if (data->num_samples() > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(data == &test ? "test" : "train",
                     " data: found no samples, expected at least one"));
  }
  return CatchTorch(
      "score sensitivity",
      [&]() -> absl::StatusOr<std::vector<ScoreSensitivity>> {
        const at::NoGradGuard no_grad;
        std::vector<ScoreSensitivity> sensitivities;
        at::Tensor last;
        for (size_t i = 0; i < regularizations.size(); ++i) {
          INFLUENCE_ASSIGN_OR_RETURN(
              const Regularization regularization,
              Regularization::Constant(regularizations[i]));
          INFLUENCE_ASSIGN_OR_RETURN(
              const std::unique_ptr<ComposableInfluence> other,
              model.WithRegularization(regularization));
          INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores,
                                     AllScores(*other, test, train));
          if (i > 0) {
            sensitivities.push_back(Compare(regularizations[i - 1], last,
                                            regularizations[i], scores));
          }
          last = std::move(scores);
        }
        return sensitivities;
      });
}

}  // namespace influence
