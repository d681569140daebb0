// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The README's example, to build on: which training samples made a model
// predict what it predicts for two others?
#include <cstdint>
#include <cstdio>
#include <memory>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/tensor.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/module_model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/direct_influence.h"
#include "torch/nn/modules/linear.h"

namespace {

struct Net : torch::nn::Module {
  Net() {
    hidden = register_module("hidden", torch::nn::Linear(2, 3));
    out = register_module("out", torch::nn::Linear(3, 2));
  }
  at::Tensor forward(const at::Tensor& x) { return out(hidden(x).tanh()); }
  torch::nn::Linear hidden{nullptr}, out{nullptr};
};

// [README]
absl::StatusOr<at::Tensor> Scores(const std::shared_ptr<Net>& net,
                                  const influence::Batch& train,
                                  const influence::Batch& test) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::Model> model,
      influence::CreateModuleModel(net));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::GradientProvider> gradients,
      influence::CapturingGradientProvider::Create(
          model, influence::CrossEntropyLoss(), train));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<influence::DirectInfluence> direct,
      influence::DirectInfluence::Create(
          gradients, influence::ParameterBlocks::Create(
                         *model, influence::BlockStructure::kFull)));
  INFLUENCE_ASSIGN_OR_RETURN(
      auto batches, influence::TensorBatchSequence::Create(train, 256));
  INFLUENCE_RETURN_IF_ERROR(direct->Fit(
      std::make_shared<influence::TensorBatchSequence>(std::move(batches))));
  return direct->Influences(test, train);  // [test samples, train samples]
}
// [README]

}  // namespace

int main() {
  auto net = std::make_shared<Net>();
  net->eval();
  const at::Tensor x =
      at::tensor({0.0, 0.1, 1.0, 0.9, 0.2, 0.0, 0.8, 1.0}, at::kFloat)
          .view({4, 2});
  const at::Tensor y = at::tensor({0, 1, 0, 0}, at::kLong);  // The last: wrong?
  const influence::Batch train{{x}, y};
  const influence::Batch test{{x.narrow(0, 0, 2)}, y.narrow(0, 0, 2)};
  const absl::StatusOr<at::Tensor> scores = Scores(net, train, test);
  if (!scores.ok()) {
    std::printf("%s\n", scores.status().ToString().c_str());
    return 1;
  }
  for (int64_t i = 0; i < scores->size(0); ++i) {
    for (int64_t j = 0; j < scores->size(1); ++j) {
      std::printf("%+.4f ", (*scores)[i][j].item<double>());
    }
    std::printf("\n");
  }
  return 0;
}
