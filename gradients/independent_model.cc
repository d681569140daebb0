// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/independent_model.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/model.h"
#include "gradients/operator_capture.h"
#include "gradients/sample_tracker.h"

namespace influence {
namespace {

// A pass in which no random numbers are drawn; `tracker` may be null.
absl::StatusOr<at::Tensor> ForwardObserved(const Model& model,
                                           const std::vector<at::Tensor>& x,
                                           SampleTracker* tracker) {
  const std::vector<NamedParameter> none;
  OperatorCapture capture(none, tracker);
  at::Tensor output;
  {
    const OperatorCapture::Scope scope(&capture);
    INFLUENCE_ASSIGN_OR_RETURN(output, model.Forward(x));
  }
  if (!capture.coupling_operators().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model: found ", capture.coupling_operators()[0],
        ", expected each sample's output to depend on that sample alone"));
  }
  return output;
}

absl::StatusOr<at::Tensor> ForwardOneByOne(const Model& model,
                                           const std::vector<at::Tensor>& x,
                                           int64_t num_samples) {
  std::vector<at::Tensor> outputs;
  outputs.reserve(num_samples);
  for (int64_t n = 0; n < num_samples; ++n) {
    std::vector<at::Tensor> alone;
    alone.reserve(x.size());
    for (const at::Tensor& input : x) alone.push_back(input.narrow(0, n, 1));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor output,
                               ForwardObserved(model, alone, nullptr));
    if (output.dim() < 1 || output.size(0) != 1 ||
        (n > 0 && output.sizes() != outputs[0].sizes())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "model output: found shape ", ShapeString(output),
          " for one sample alone",
          n > 0 ? absl::StrCat(" and ", ShapeString(outputs[0]),
                               " for another one")
                : "",
          ", expected one row a sample and one shape for all samples"));
    }
    outputs.push_back(std::move(output));
  }
  return at::cat(outputs, 0);
}

}  // namespace

IndependentModel::IndependentModel(std::shared_ptr<const Model> model,
                                   bool one_by_one)
    : Model(model->parameters()),
      model_(std::move(model)),
      one_by_one_(one_by_one) {}

absl::StatusOr<at::Tensor> IndependentModel::Forward(
    const std::vector<at::Tensor>& x) const {
  if (x.empty() || x[0].dim() < 1) return model_->Forward(x);
  const int64_t num_samples = x[0].size(0);
  for (const at::Tensor& input : x) {
    // The model says what is wrong with such inputs.
    if (input.dim() < 1 || input.size(0) != num_samples) {
      return model_->Forward(x);
    }
  }
  return CatchTorch("model", [&]() -> absl::StatusOr<at::Tensor> {
    if (num_samples < 2) return ForwardObserved(*model_, x, nullptr);
    if (!one_by_one_) {
      SampleTracker tracker(num_samples);
      for (const at::Tensor& input : x) tracker.AddSamples(input);
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor output,
                                 ForwardObserved(*model_, x, &tracker));
      if (tracker.Proves(output)) return output;
    }
    return ForwardOneByOne(*model_, x, num_samples);
  });
}

absl::StatusOr<std::shared_ptr<const Model>> IndependentModel::CopyAs(
    at::ScalarType dtype) const {
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const Model> copy,
                             model_->CopyAs(dtype));
  return std::make_shared<const IndependentModel>(std::move(copy), one_by_one_);
}

}  // namespace influence
