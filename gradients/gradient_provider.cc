// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/gradient_provider.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "gradients/differentiable_attention.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

constexpr char kWhat[] = "per-sample gradients";

// FlatGrads() works on parts of the batch, so that the activations of one part,
// not of all samples, lie beside the result: at least so many samples, and at
// least 16 MiB of float32, which hides a part's fixed cost.
constexpr int64_t kMinFlatRows = 32;
constexpr int64_t kFlatScalars = int64_t{1} << 22;

// The Euclidean norm of each sample's factor [N, H, T, F], [N]. A factor is
// often a transposed view: it is read in the order of its memory.
at::Tensor NormBySample(const at::Tensor& factor) {
  const at::Tensor transposed = factor.transpose(2, 3);
  return (transposed.is_contiguous() ? transposed : factor)
      .reshape({factor.size(0), -1})
      .norm(2, {1});
}

// For each sample a number that is not finite if an entry of the term's
// gradient is not: a sum of the entries or, for an outer product, the product
// of the factors' norms, which bounds the norm of the gradient
// (Cauchy-Schwarz) and costs as much as reading the factors.
at::Tensor FinitenessProbe(const GradientTerm& term, at::ScalarType dtype) {
  const auto* product = dynamic_cast<const OuterProductTerm*>(&term);
  if (product != nullptr) {
    return NormBySample(product->left()).mul(NormBySample(product->right()));
  }
  const auto* dense = dynamic_cast<const DenseTerm*>(&term);
  if (dense != nullptr) return dense->gradients().sum({1});
  return term.Contract(at::ones({1, term.size()}, dtype)).select(1, 0);
}

// The sums above may overflow where the entries do not, so a suspect sample is
// written out and looked at.
absl::Status ValidateFiniteSample(const FactoredParameter& parameter,
                                  at::ScalarType dtype, int64_t sample) {
  const at::Tensor gradient = at::zeros({1, parameter.size}, dtype);
  for (const auto& term : parameter.terms) {
    term->Write(sample, sample + 1, /*accumulate=*/true,
                gradient.narrow(1, term->offset(), term->size()));
  }
  return ValidateFinite(
      absl::StrCat("gradient of ", parameter.name, " at sample ", sample),
      gradient[0]);
}

absl::Status ValidateFiniteGradients(const FactoredGradients& gradients) {
  const at::NoGradGuard no_grad;
  for (const FactoredParameter& parameter : gradients.parameters()) {
    for (const auto& term : parameter.terms) {
      const at::Tensor suspect =
          FinitenessProbe(*term, gradients.dtype()).isfinite().logical_not();
      if (!suspect.any().item<bool>()) continue;
      for (int64_t n = 0; n < gradients.num_samples(); ++n) {
        if (!suspect[n].item<bool>()) continue;
        INFLUENCE_RETURN_IF_ERROR(
            ValidateFiniteSample(parameter, gradients.dtype(), n));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateInput(const Batch& batch, int64_t input) {
  if (input < 0 || input >= static_cast<int64_t>(batch.x.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("input: found index ", input, ", expected [0, ",
                     batch.x.size(), "), the batch's inputs"));
  }
  return ValidateFloating(absl::StrCat("x", input), batch.x[input]);
}

}  // namespace

GradientProvider::GradientProvider(std::shared_ptr<const Model> model,
                                   PerSampleFunction function)
    : model_(std::move(model)),
      function_(std::move(function)),
      num_parameters_(model_->num_parameters()) {
  for (size_t i = 0; i < model_->parameters().size(); ++i) {
    selection_.push_back(static_cast<int64_t>(i));
  }
}

absl::StatusOr<FactoredGradients> GradientProvider::FactoredGrads(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  return CatchTorch(kWhat, [&]() -> absl::StatusOr<FactoredGradients> {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients gradients,
                               DoFactoredGrads(batch));
    INFLUENCE_RETURN_IF_ERROR(ValidateFiniteGradients(gradients));
    return gradients;
  });
}

absl::StatusOr<at::Tensor> GradientProvider::JacobianProd(
    const Batch& batch, const at::Tensor& g) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateDirections(g));
  INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                             FactoredGrads(batch));
  return gradients.Contract(g);
}

absl::StatusOr<at::Tensor> GradientProvider::FlatGrads(
    const Batch& batch) const {
  const int64_t num_samples = batch.size();
  const int64_t rows = std::max(
      kMinFlatRows, kFlatScalars / std::max<int64_t>(1, num_parameters_));
  if (rows >= num_samples) {
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                               FactoredGrads(batch));
    return gradients.Flatten();
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  return CatchTorch(kWhat, [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor flat =
        at::empty({num_samples, num_parameters_}, model_->dtype());
    for (int64_t begin = 0; begin < num_samples; begin += rows) {
      const int64_t end = std::min(num_samples, begin + rows);
      INFLUENCE_ASSIGN_OR_RETURN(const Batch part,
                                 SliceBatch(batch, begin, end));
      const absl::StatusOr<FactoredGradients> gradients = FactoredGrads(part);
      if (!gradients.ok()) {
        return absl::Status(
            gradients.status().code(),
            absl::StrCat("samples [", begin, ", ", end, "), counted from ",
                         begin, ": ", gradients.status().message()));
      }
      INFLUENCE_RETURN_IF_ERROR(
          gradients->FlattenInto(flat.narrow(0, begin, end - begin)));
    }
    return flat;
  });
}

absl::StatusOr<at::Tensor> GradientProvider::MixedProd(const Batch& batch,
                                                       const at::Tensor& g,
                                                       int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  INFLUENCE_RETURN_IF_ERROR(ValidateInput(batch, input));
  INFLUENCE_RETURN_IF_ERROR(ValidateDirections(g));
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor mixed,
      CatchTorch("second derivative", [&]() -> absl::StatusOr<at::Tensor> {
        return DoMixedProd(batch, g.dim() == 1 ? g.unsqueeze(0) : g, input);
      }));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateFinite(absl::StrCat("mixed gradient in x", input), mixed));
  return mixed;
}

absl::StatusOr<at::Tensor> GradientProvider::FlatMixedGrads(
    const Batch& batch, int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  INFLUENCE_RETURN_IF_ERROR(ValidateInput(batch, input));
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor mixed,
      CatchTorch("second derivative", [&]() -> absl::StatusOr<at::Tensor> {
        const int64_t num_samples = batch.size();
        const int64_t input_size = batch.x[input].numel() / num_samples;
        if (num_parameters_ > num_samples * input_size) {
          return MixedGradsByEntry(batch, input);
        }
        INFLUENCE_ASSIGN_OR_RETURN(
            const at::Tensor rows,
            DoMixedProd(batch, at::eye(num_parameters_, model_->dtype()),
                        input));
        return rows.reshape({num_parameters_, num_samples, input_size})
            .permute({1, 2, 0})
            .contiguous();
      }));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateFinite(absl::StrCat("mixed gradient in x", input), mixed));
  return mixed;
}

absl::StatusOr<std::shared_ptr<const GradientProvider>>
GradientProvider::Restrict(std::vector<int64_t> indices) const {
  if (indices.empty()) {
    return absl::InvalidArgumentError(
        "parameter indices: found none, expected at least one");
  }
  const int64_t num_tensors = static_cast<int64_t>(model_->parameters().size());
  std::vector<bool> chosen(num_tensors, false);
  int64_t num_parameters = 0;
  for (const int64_t index : indices) {
    if (index < 0 || index >= num_tensors) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter indices: found ", index, ", expected [0, ",
                       num_tensors, ")"));
    }
    if (chosen[index]) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter indices: found ", index,
                       " a second time, expected each at most once"));
    }
    chosen[index] = true;
    num_parameters += model_->parameters()[index].tensor.numel();
  }
  std::shared_ptr<GradientProvider> restricted = Clone();
  restricted->selection_ = std::move(indices);
  restricted->num_parameters_ = num_parameters;
  return std::shared_ptr<const GradientProvider>(std::move(restricted));
}

std::shared_ptr<const GradientProvider> GradientProvider::WithFunction(
    PerSampleFunction function) const {
  std::shared_ptr<GradientProvider> changed = Clone();
  changed->function_ = std::move(function);
  return changed;
}

absl::Status GradientProvider::ValidateDirections(const at::Tensor& g) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateVectorOrMatrix("g", g, num_parameters_));
  if (g.scalar_type() != model_->dtype()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "g: found dtype ", DtypeName(g.scalar_type()), ", expected ",
        DtypeName(model_->dtype()), " as of the model"));
  }
  return ValidateFinite("g", g);
}

std::vector<at::Tensor> GradientProvider::SelectedTensors() const {
  std::vector<at::Tensor> tensors;
  for (const int64_t index : selection_) {
    tensors.push_back(model_->parameters()[index].tensor);
  }
  return tensors;
}

absl::StatusOr<at::Tensor> GradientProvider::SumOfValues(const Batch& batch,
                                                         const at::Tensor& leaf,
                                                         int64_t input) const {
  std::vector<at::Tensor> x = batch.x;
  // A model may work in place on its input, which a leaf does not allow.
  x[input] = leaf.clone();
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor output, model_->Forward(x));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor values,
                             function_.Evaluate(output, batch.y));
  return values.sum();
}

absl::StatusOr<at::Tensor> GradientProvider::DoMixedProd(const Batch& batch,
                                                         const at::Tensor& g,
                                                         int64_t input) const {
  const at::AutoGradMode with_gradients(true);
  const DifferentiableAttentionScope differentiable_attention;
  const at::Tensor leaf = batch.x[input].detach().requires_grad_(true);
  const int64_t num_rows = g.size(0);
  std::vector<int64_t> shape = leaf.sizes().vec();
  shape.insert(shape.begin(), num_rows);
  at::Tensor mixed = at::zeros(shape, leaf.options().requires_grad(false));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor sum,
                             SumOfValues(batch, leaf, input));
  if (!sum.requires_grad()) return mixed;
  const std::vector<at::Tensor> parameters = SelectedTensors();
  const std::vector<at::Tensor> gradients = torch::autograd::grad(
      {sum}, parameters, /*grad_outputs=*/{}, /*retain_graph=*/true,
      /*create_graph=*/true, /*allow_unused=*/true);
  // sum_n l_n serves all samples at once: its gradient's product with g_k
  // depends on x_n through l_n alone.
  std::vector<at::Tensor> outputs;
  std::vector<int64_t> offsets;
  int64_t offset = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i].defined() && gradients[i].requires_grad()) {
      outputs.push_back(gradients[i]);
      offsets.push_back(offset);
    }
    offset += parameters[i].numel();
  }
  if (outputs.empty()) return mixed;
  const at::Tensor directions = g.detach();
  for (int64_t k = 0; k < num_rows; ++k) {
    std::vector<at::Tensor> cotangents;
    for (size_t i = 0; i < outputs.size(); ++i) {
      cotangents.push_back(directions[k]
                               .narrow(0, offsets[i], outputs[i].numel())
                               .reshape(outputs[i].sizes()));
    }
    const at::Tensor row = torch::autograd::grad(
        outputs, {leaf}, cotangents, /*retain_graph=*/k + 1 < num_rows,
        /*create_graph=*/false, /*allow_unused=*/true)[0];
    if (row.defined()) mixed[k].copy_(row);
  }
  return mixed;
}

absl::StatusOr<at::Tensor> GradientProvider::MixedGradsByEntry(
    const Batch& batch, int64_t input) const {
  const at::AutoGradMode with_gradients(true);
  const DifferentiableAttentionScope differentiable_attention;
  const int64_t num_samples = batch.size();
  const int64_t input_size = batch.x[input].numel() / num_samples;
  const std::vector<at::Tensor> parameters = SelectedTensors();
  const at::Tensor mixed =
      at::zeros({num_samples, input_size, num_parameters_}, model_->dtype());
  for (int64_t n = 0; n < num_samples; ++n) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch sample, SliceBatch(batch, n, n + 1));
    const at::Tensor leaf = sample.x[input].detach().requires_grad_(true);
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor sum,
                               SumOfValues(sample, leaf, input));
    if (!sum.requires_grad()) continue;
    const at::Tensor in_input = torch::autograd::grad(
        {sum}, {leaf}, /*grad_outputs=*/{}, /*retain_graph=*/true,
        /*create_graph=*/true, /*allow_unused=*/true)[0];
    if (!in_input.defined() || !in_input.requires_grad()) continue;
    const at::Tensor entries = in_input.reshape({-1});
    for (int64_t i = 0; i < input_size; ++i) {
      const std::vector<at::Tensor> rows =
          torch::autograd::grad({entries[i]}, parameters, /*grad_outputs=*/{},
                                /*retain_graph=*/true, /*create_graph=*/false,
                                /*allow_unused=*/true);
      int64_t offset = 0;
      for (size_t p = 0; p < rows.size(); ++p) {
        const int64_t size = parameters[p].numel();
        if (rows[p].defined()) {
          mixed[n][i].narrow(0, offset, size).copy_(rows[p].reshape({-1}));
        }
        offset += size;
      }
    }
  }
  return mixed;
}

}  // namespace influence
