// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/fisher_gradients.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/sigmoid.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/where.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/counter_based_random.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {
namespace {

constexpr int64_t kIgnoreIndex = -100;

// Probabilities that are in memory at a time while labels are drawn: 8 MiB.
constexpr int64_t kTileScalars = int64_t{1} << 20;

bool IsCrossEntropy(const PerSampleFunction& loss) {
  return loss.name() == CrossEntropyLoss().name();
}

bool IsBinary(const PerSampleFunction& loss) {
  return loss.name() == BinaryCrossEntropyWithLogitsLoss().name();
}

// A loss of the given name, whose labels are checked as those of `loss`.
PerSampleFunction CheckedLike(const PerSampleFunction& loss,
                              PerSampleFunction::Function function) {
  return PerSampleFunction(
      loss.name(), /*higher_is_better=*/false, std::move(function),
      [loss](const at::Tensor& output, const at::Tensor& y) {
        return loss.Validate(output, y);
      });
}

// sqrt(p_c) * -log p_c with the first factor held constant.
PerSampleFunction WeightedClass(const PerSampleFunction& loss, int64_t c) {
  return CheckedLike(loss, [c](const at::Tensor& output, const at::Tensor&) {
    const at::Tensor log_p = at::log_softmax(output, -1).select(1, c);
    return log_p.mul(log_p.detach().mul(0.5).exp()).neg();
  });
}

// sqrt(p_e (1 - p_e)) / E * o_e with all but o_e held constant.
PerSampleFunction WeightedElement(const PerSampleFunction& loss, int64_t e) {
  return CheckedLike(loss, [e](const at::Tensor& output, const at::Tensor&) {
    const at::Tensor elements = output.reshape({output.size(0), -1});
    const at::Tensor element = elements.select(1, e);
    const at::Tensor held = element.detach();
    // 1 - sigmoid(o) = sigmoid(-o), without cancellation.
    const at::Tensor deviation =
        at::sigmoid(held).mul(at::sigmoid(held.neg())).sqrt();
    return element.mul(deviation.div(static_cast<double>(elements.size(1))));
  });
}

// Uniform numbers for `count` positions of each sample, float64 [N, count].
at::Tensor Uniforms(uint64_t seed, const at::Tensor& samples, int64_t count) {
  const at::Tensor indices = samples.to(at::kLong).contiguous();
  const int64_t* index = indices.data_ptr<int64_t>();
  at::Tensor uniforms = at::empty({samples.size(0), count}, at::kDouble);
  double* out = uniforms.data_ptr<double>();
  for (int64_t n = 0; n < samples.size(0); ++n) {
    for (int64_t t = 0; t < count; ++t) {
      *out++ = UniformAt(seed, static_cast<uint64_t>(index[n]),
                         static_cast<uint64_t>(t));
    }
  }
  return uniforms;
}

// Classes drawn from softmax(output [N, ..., K]), int64 [N, ...].
at::Tensor DrawClasses(uint64_t seed, const at::Tensor& samples,
                       const at::Tensor& output) {
  const int64_t num_classes = output.size(-1);
  const at::Tensor logits = output.reshape({-1, num_classes});
  const int64_t num_rows = logits.size(0);
  const at::Tensor uniforms =
      Uniforms(seed, samples, num_rows / output.size(0)).view({num_rows, 1});
  at::Tensor classes = at::empty({num_rows}, at::kLong);
  const int64_t tile_rows = std::max<int64_t>(1, kTileScalars / num_classes);
  for (int64_t row = 0; row < num_rows; row += tile_rows) {
    const int64_t count = std::min(tile_rows, num_rows - row);
    // The class k with cdf[k - 1] <= u < cdf[k], of a total that is 1 but for
    // rounding.
    const at::Tensor cdf =
        at::softmax(logits.narrow(0, row, count).to(at::kDouble), 1).cumsum(1);
    const at::Tensor threshold =
        uniforms.narrow(0, row, count).mul(cdf.narrow(1, num_classes - 1, 1));
    classes.narrow(0, row, count)
        .copy_(cdf.le(threshold).sum({1}).clamp_max(num_classes - 1));
  }
  return classes.view(output.sizes().slice(0, output.dim() - 1));
}

// Labels 0 or 1 with probability sigmoid(output) of 1, of the output's shape.
at::Tensor DrawBinary(uint64_t seed, const at::Tensor& samples,
                      const at::Tensor& output) {
  const at::Tensor uniforms =
      Uniforms(seed, samples, output.numel() / output.size(0));
  return uniforms.view(output.sizes())
      .lt(at::sigmoid(output.to(at::kDouble)))
      .to(output.scalar_type());
}

// The labels in a matrix [N, 1 + number of labels a sample] whose first column
// is the sample's index in the data set: a provider may cut a batch in pieces,
// and each row must tell which sample it is.
at::Tensor WithIndices(const at::Tensor& y, int64_t first_sample) {
  const at::Tensor labels =
      y.reshape({y.size(0), -1})
          .to(y.is_floating_point() ? at::kDouble : at::kLong);
  const at::Tensor indices =
      at::arange(first_sample, first_sample + y.size(0), labels.options());
  return at::cat({indices.unsqueeze(1), labels}, 1);
}

at::Tensor LabelsOf(const at::Tensor& with_indices,
                    const std::vector<int64_t>& sample_shape) {
  std::vector<int64_t> shape = {with_indices.size(0)};
  shape.insert(shape.end(), sample_shape.begin(), sample_shape.end());
  return with_indices.slice(1, 1).reshape(shape);
}

// `loss` on drawn labels; y as WithIndices() makes it, of labels of
// sample_shape.
PerSampleFunction OnDrawnLabels(const PerSampleFunction& loss, uint64_t seed,
                                const std::vector<int64_t>& sample_shape) {
  const auto evaluate = [loss, seed, sample_shape](const at::Tensor& output,
                                                   const at::Tensor& y) {
    const at::Tensor samples = y.select(1, 0);
    at::Tensor drawn;
    if (IsCrossEntropy(loss)) {
      const at::Tensor labels = LabelsOf(y, sample_shape);
      absl::StatusOr<at::Tensor> logits = loss.Arrange(output.detach(), labels);
      TORCH_CHECK(logits.ok(), logits.status().ToString());
      drawn = DrawClasses(seed, samples, *logits);
      drawn = at::where(labels.eq(kIgnoreIndex), labels, drawn);
    } else {
      drawn = DrawBinary(seed, samples, output.detach());
    }
    absl::StatusOr<at::Tensor> values = loss.Evaluate(output, drawn);
    TORCH_CHECK(values.ok(), values.status().ToString());
    return *std::move(values);
  };
  return PerSampleFunction(
      loss.name(), /*higher_is_better=*/false, evaluate,
      [loss, sample_shape](const at::Tensor& output, const at::Tensor& y) {
        return loss.Validate(output, LabelsOf(y, sample_shape));
      });
}

// The shape of the model's output for the first sample of `probe`.
absl::StatusOr<std::vector<int64_t>> OutputShape(const Model& model,
                                                 const Batch& probe) {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(probe));
  INFLUENCE_ASSIGN_OR_RETURN(const Batch one, SliceBatch(probe, 0, 1));
  return CatchTorch("model", [&]() -> absl::StatusOr<std::vector<int64_t>> {
    const at::NoGradGuard no_grad;
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor output, model.Forward(one.x));
    return output.sizes().vec();
  });
}

}  // namespace

absl::string_view FisherName(Fisher fisher) {
  switch (fisher) {
    case Fisher::kEmpirical:
      return "empirical";
    case Fisher::kExact:
      return "exact";
    case Fisher::kSampled:
      return "sampled";
  }
  return "";
}

absl::StatusOr<Fisher> ParseFisher(absl::string_view name) {
  for (const Fisher fisher :
       {Fisher::kEmpirical, Fisher::kExact, Fisher::kSampled}) {
    if (name == FisherName(fisher)) return fisher;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fisher: found \"", name,
                   "\", expected one of empirical, exact, sampled"));
}

FisherGradients::FisherGradients(
    Fisher fisher, std::shared_ptr<const GradientProvider> provider,
    int64_t num_terms, uint64_t seed)
    : fisher_(fisher),
      provider_(std::move(provider)),
      num_terms_(num_terms),
      seed_(seed) {}

absl::StatusOr<FisherGradients> FisherGradients::Create(
    Fisher fisher, std::shared_ptr<const GradientProvider> provider,
    const Batch& probe, uint64_t seed) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (fisher == Fisher::kEmpirical) {
    return FisherGradients(fisher, std::move(provider), 1, seed);
  }
  const PerSampleFunction& loss = provider->function();
  if (!IsCrossEntropy(loss) && !IsBinary(loss)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fisher: found ", FisherName(fisher), " with loss ", loss.name(),
        ", expected loss ", CrossEntropyLoss().name(), " or ",
        BinaryCrossEntropyWithLogitsLoss().name(), ", or fisher empirical"));
  }
  if (fisher == Fisher::kSampled) {
    return FisherGradients(fisher, std::move(provider), 1, seed);
  }
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> shape,
                             OutputShape(provider->model(), probe));
  const bool one_prediction =
      shape.size() == 2 || (shape.size() == 1 && IsBinary(loss));
  if (!one_prediction) {
    return absl::InvalidArgumentError(absl::StrCat(
        "fisher: found exact with ", shape.size(),
        " dimensions of the model's output, expected [N, K], one prediction a "
        "sample (fisher sampled is for sequences)"));
  }
  const int64_t num_terms = shape.size() == 2 ? shape[1] : 1;
  return FisherGradients(fisher, std::move(provider), num_terms, seed);
}

absl::StatusOr<FactoredGradients> FisherGradients::Get(
    int64_t term, const Batch& batch, int64_t first_sample) const {
  if (term < 0 || term >= num_terms_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "term: found ", term, ", expected a value in [0, ", num_terms_, ")"));
  }
  if (fisher_ == Fisher::kEmpirical) return provider_->FactoredGrads(batch);
  const PerSampleFunction& loss = provider_->function();
  if (fisher_ == Fisher::kExact) {
    return provider_
        ->WithFunction(IsCrossEntropy(loss) ? WeightedClass(loss, term)
                                            : WeightedElement(loss, term))
        ->FactoredGrads(batch);
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  Batch indexed = batch;
  INFLUENCE_ASSIGN_OR_RETURN(
      indexed.y, CatchTorch("labels", [&]() -> absl::StatusOr<at::Tensor> {
        return WithIndices(batch.y, first_sample);
      }));
  return provider_
      ->WithFunction(OnDrawnLabels(loss, seed_, batch.y.sizes().slice(1).vec()))
      ->FactoredGrads(indexed);
}

}  // namespace influence
