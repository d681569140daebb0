// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Influence of the training samples of a logistic regression on one query, by
// identity and by direct influence, checked against values by hand.
//
// At w = 0 the gradient of l = log(1 + e^o) - y o with o = w^T x is (1/2 - y)
// x, and the Hessian of the mean loss is mean_n x_n x_n^T / 4. With x_1 = (1,
// 0), y_1 = 1 and x_2 = (0, 1), y_2 = 0 that is I / 8, so lambda = 1/8 makes A
// = I / 4. The query (1, 1) with y = 1 has gradient (-1/2, -1/2). Hence
//   identity:  1/4, -1/4        direct:  1, -1
// and the first sample helps the query, the second harms it.
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include "ATen/core/Tensor.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/module_model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/influence_function_model.h"
#include "influence/regularization.h"
#include "torch/nn/modules/linear.h"

namespace {

// Fits, prints the scores, and says whether they are those expected to 1e-12.
absl::StatusOr<bool> Check(
    const char* name, influence::InfluenceFunctionModel& model,
    const std::shared_ptr<const influence::BatchSequence>& train,
    const influence::Batch& query, double expected) {
  INFLUENCE_RETURN_IF_ERROR(model.Fit(train));
  INFLUENCE_ASSIGN_OR_RETURN(const influence::Batch samples, train->Get(0));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor scores,
                             model.Influences(query, samples));
  const double helpful = scores[0][0].item<double>();
  const double harmful = scores[0][1].item<double>();
  const bool right = std::abs(helpful - expected) < 1e-12 &&
                     std::abs(harmful + expected) < 1e-12;
  std::printf("%-8s scores %+.12f %+.12f, by hand %+.2f %+.2f%s\n", name,
              helpful, harmful, expected, -expected, right ? "" : "  WRONG");
  return right;
}

absl::StatusOr<bool> Run() {
  torch::nn::Linear linear(torch::nn::LinearOptions(2, 1).bias(false));
  linear->to(at::kDouble);
  linear->weight.data().zero_();
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::Model> model,
      influence::CreateModuleModel(linear.ptr()));

  const at::Tensor x =
      at::tensor({1.0, 0.0, 0.0, 1.0}, at::kDouble).view({2, 2});
  const at::Tensor y = at::tensor({1.0, 0.0}, at::kDouble).view({2, 1});
  const influence::Batch samples{{x}, y};
  const influence::Batch query{{at::ones({1, 2}, at::kDouble)},
                               at::ones({1, 1}, at::kDouble)};
  INFLUENCE_ASSIGN_OR_RETURN(
      influence::TensorBatchSequence sequence,
      influence::TensorBatchSequence::Create(samples, /*batch_size=*/2));
  const auto train = std::make_shared<const influence::TensorBatchSequence>(
      std::move(sequence));

  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const influence::GradientProvider> provider,
      influence::CapturingGradientProvider::Create(
          model, influence::BinaryCrossEntropyWithLogitsLoss(), samples));
  const influence::ParameterBlocks blocks = influence::ParameterBlocks::Create(
      *model, influence::BlockStructure::kFull);

  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<influence::IdentityInfluence> identity,
      influence::IdentityInfluence::Create(provider, blocks));
  influence::DirectInfluenceOptions options;
  INFLUENCE_ASSIGN_OR_RETURN(options.regularization,
                             influence::Regularization::Constant(0.125));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<influence::DirectInfluence> direct,
      influence::DirectInfluence::Create(provider, blocks, options));

  INFLUENCE_ASSIGN_OR_RETURN(const bool identity_right,
                             Check("identity", *identity, train, query, 0.25));
  INFLUENCE_ASSIGN_OR_RETURN(const bool direct_right,
                             Check("direct", *direct, train, query, 1.0));
  return identity_right && direct_right;
}

}  // namespace

int main() {
  const absl::StatusOr<bool> right = Run();
  if (!right.ok()) std::printf("%s\n", right.status().ToString().c_str());
  return right.ok() && *right ? 0 : 1;
}
