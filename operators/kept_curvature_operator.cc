// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kept_curvature_operator.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "base/worker_pool.h"
#include "gradients/batch.h"
#include "gradients/batch_merger.h"
#include "gradients/differentiable_attention.h"
#include "gradients/factored_gradients.h"
#include "operators/batch_averaging_operator.h"
#include "operators/gradient_factors.h"
#include "operators/second_derivative_check.h"

namespace influence {
namespace {

// Samples from which the memory of the others is estimated.
constexpr int64_t kProbeSamples = 8;

// A part of fewer samples costs its overhead rather than its arithmetic.
constexpr int64_t kMinPartSamples = 128;

absl::StatusOr<std::unique_ptr<const CurvatureGraph>> CreateGraph(
    Curvature curvature, const GradientProvider& provider, const Batch& batch) {
  return curvature == Curvature::kHessian
             ? CreateHessianGraph(provider, provider.selection(), batch)
             : CreateGeneralizedGaussNewtonGraph(provider, provider.selection(),
                                                 batch);
}

}  // namespace

KeptCurvatureOperator::KeptCurvatureOperator(
    std::shared_ptr<const GradientProvider> provider)
    : provider_(std::move(provider)) {}

absl::StatusOr<std::shared_ptr<const KeptCurvatureOperator>>
KeptCurvatureOperator::Create(Curvature curvature,
                              std::shared_ptr<const GradientProvider> provider,
                              std::shared_ptr<const BatchSequence> data,
                              const KeptCurvatureOptions& options) {
  if (provider == nullptr || data == nullptr) {
    return absl::InvalidArgumentError(provider == nullptr ? "provider: is null"
                                                          : "data: is null");
  }
  if (options.memory_limit < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "memory_limit: found ", options.memory_limit, ", expected >= 0"));
  }
  if (data->num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  std::shared_ptr<KeptCurvatureOperator> op(
      new KeptCurvatureOperator(std::move(provider)));
  op->num_samples_ = data->num_samples();
  bool kept = false;
  if (curvature == Curvature::kGaussNewton) {
    KeptGradientsOptions gradients_options;
    gradients_options.memory_limit = options.memory_limit;
    INFLUENCE_ASSIGN_OR_RETURN(
        op->gradients_,
        KeptGradients::Create(op->provider_, data, gradients_options));
    kept = op->gradients_->is_kept();
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(kept, CatchTorch("curvature graphs", [&] {
                                 return op->BuildGraphs(curvature, *data,
                                                        options);
                               }));
  }
  if (!kept) {
    op->gradients_ = nullptr;
    BatchAveragingOptions averaging_options;
    averaging_options.merge_small_batches = true;
    INFLUENCE_ASSIGN_OR_RETURN(
        op->rebuilt_, BatchAveragingOperator::Create(
                          CreateCurvatureOperation(curvature, op->provider_),
                          std::move(data), averaging_options));
  }
  return op;
}

absl::StatusOr<bool> KeptCurvatureOperator::BuildGraphs(
    Curvature curvature, const BatchSequence& data,
    const KeptCurvatureOptions& options) {
  DifferentiableAttentionScope differentiable_attention;
  BatchMerger merger(data,
                     MergeLimitsForModel(provider_->model().num_parameters()));
  double bytes = 0;
  bool first = true;
  while (true) {
    INFLUENCE_ASSIGN_OR_RETURN(std::optional<MergedBatch> merged,
                               merger.Next());
    if (!merged.has_value()) return true;
    const int64_t size = merged->batch.size();
    const int64_t num_probed = std::min(kProbeSamples, size);
    INFLUENCE_ASSIGN_OR_RETURN(const Batch probe,
                               SliceBatch(merged->batch, 0, num_probed));
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients grads,
                               provider_->FactoredGrads(probe));
    const double bytes_per_sample = kCurvatureGraphFactors *
                                    StoredBytes(grads) /
                                    static_cast<double>(num_probed);
    bytes += bytes_per_sample * static_cast<double>(size);
    const double expected =
        first ? bytes_per_sample * static_cast<double>(num_samples_) : bytes;
    if (expected > static_cast<double>(options.memory_limit)) {
      graphs_.clear();
      return false;
    }
    if (first && options.check_second_derivatives) {
      INFLUENCE_RETURN_IF_ERROR(
          curvature == Curvature::kHessian
              ? CheckHessian(*provider_, provider_->selection(), probe)
              : CheckGeneralizedGaussNewton(*provider_, provider_->selection(),
                                            probe));
    }
    first = false;
    const int num_parts = WorkersFor(size / kMinPartSamples);
    for (int64_t part = 0; part < num_parts; ++part) {
      INFLUENCE_ASSIGN_OR_RETURN(
          const Batch slice, SliceBatch(merged->batch, part * size / num_parts,
                                        (part + 1) * size / num_parts));
      INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<const CurvatureGraph> graph,
                                 CreateGraph(curvature, *provider_, slice));
      graphs_.push_back(std::move(graph));
    }
  }
}

absl::StatusOr<at::Tensor> KeptCurvatureOperator::GradientProduct(
    const at::Tensor& matrix) const {
  at::Tensor sum = at::zeros(matrix.sizes(), at::kDouble);
  for (int64_t i = 0; i < gradients_->num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients grads,
                               gradients_->Get(i));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products, grads.Contract(matrix));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor part,
                               grads.WeightedSum(products.t()));
    sum.add_(part);
  }
  return sum;
}

absl::StatusOr<at::Tensor> KeptCurvatureOperator::GraphProduct(
    const at::Tensor& matrix) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  DifferentiableAttentionScope differentiable_attention;
  const int num_workers = WorkersFor(static_cast<int64_t>(graphs_.size()));
  std::vector<at::Tensor> sums(num_workers);
  return CatchTorch("curvature product", [&]() -> absl::StatusOr<at::Tensor> {
    ForEachWorker(num_workers, [&](int worker) {
      sums[worker] = at::zeros(matrix.sizes(), at::kDouble);
      for (size_t g = worker; g < graphs_.size(); g += num_workers) {
        sums[worker].add_(MatrixProduct(*graphs_[g], *provider_, matrix));
      }
    });
    for (int w = 1; w < num_workers; ++w) sums[0].add_(sums[w]);
    return sums[0];
  });
}

absl::StatusOr<at::Tensor> KeptCurvatureOperator::DoApply(
    const at::Tensor& matrix) const {
  if (matrix.scalar_type() != provider_->model().dtype()) {
    return absl::InvalidArgumentError(
        absl::StrCat("operand: found dtype ", DtypeName(matrix.scalar_type()),
                     ", expected ", DtypeName(provider_->model().dtype())));
  }
  if (rebuilt_ != nullptr) return rebuilt_->Apply(matrix);
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor sum, gradients_ != nullptr
                                                 ? GradientProduct(matrix)
                                                 : GraphProduct(matrix));
  at::NoGradGuard no_grad;
  return sum.div_(static_cast<double>(num_samples_)).to(matrix.scalar_type());
}

}  // namespace influence
