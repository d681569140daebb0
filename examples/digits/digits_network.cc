// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_network.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/batch.h"
#include "gradients/module_model.h"
#include "torch/script.h"
#include "torch/torch.h"

namespace influence {
namespace {

constexpr int64_t kHiddenUnits = 32;

// What TorchScript compiles; DigitsModule::forward() says the same.
constexpr char kForwardSource[] = R"(
def forward(self, x):
    h = torch.tanh(torch.linear(x, self.hidden.weight, self.hidden.bias))
    return torch.linear(h, self.output.weight, self.output.bias)
)";

struct DigitsModule : torch::nn::Module {
  DigitsModule()
      : hidden(register_module("hidden",
                               torch::nn::Linear(kDigitPixels, kHiddenUnits))),
        output(register_module("output",
                               torch::nn::Linear(kHiddenUnits, kNumDigits))) {}

  at::Tensor forward(const at::Tensor& x) {
    return output(torch::tanh(hidden(x)));
  }

  torch::nn::Linear hidden;
  torch::nn::Linear output;
};

absl::Status ValidateOptions(const TrainingOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("weight_decay", options.weight_decay));
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("gradient_tolerance", options.gradient_tolerance));
  if (options.max_iterations < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_iterations: found ",
                                                   options.max_iterations,
                                                   ", expected at least 1"));
  }
  return absl::OkStatus();
}

// The network is so small that threads would wait for each other most of the
// time, and many times over on a busy machine.
class OneThread {
 public:
  OneThread() : num_threads_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(num_threads_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int num_threads_;
};

// Minimises sum_n weights_n l_n + weight_decay / 2 * |theta|^2.
absl::StatusOr<TrainedNetwork> Minimise(std::shared_ptr<DigitsModule> module,
                                        const DigitImages& train,
                                        const at::Tensor& weights,
                                        const TrainingOptions& options) {
  const OneThread one_thread;
  const std::vector<at::Tensor> parameters = module->parameters();
  torch::optim::LBFGS optimizer(parameters,
                                torch::optim::LBFGSOptions(1)
                                    .max_iter(options.max_iterations)
                                    .max_eval(2 * options.max_iterations)
                                    .history_size(50)
                                    .tolerance_grad(options.gradient_tolerance)
                                    .tolerance_change(0)
                                    .line_search_fn("strong_wolfe"));
  const auto objective = [&]() {
    optimizer.zero_grad();
    const at::Tensor losses = torch::nn::functional::cross_entropy(
        module->forward(train.x[0]), train.y,
        torch::nn::functional::CrossEntropyFuncOptions().reduction(
            torch::kNone));
    at::Tensor value = losses.dot(weights);
    for (const at::Tensor& parameter : parameters) {
      value = value + 0.5 * options.weight_decay * parameter.square().sum();
    }
    value.backward();
    return value;
  };
  TrainedNetwork result;
  int num_evaluations = 0;
  optimizer.step([&]() {
    ++num_evaluations;
    return objective();
  });
  result.objective = objective().item<double>();
  result.largest_gradient = 0;
  for (const at::Tensor& parameter : parameters) {
    result.largest_gradient = std::max(
        result.largest_gradient, parameter.grad().abs().max().item<double>());
    parameter.mutable_grad() = at::Tensor();
  }
  result.num_evaluations = num_evaluations;
  module->eval();
  INFLUENCE_ASSIGN_OR_RETURN(result.model,
                             CreateModuleModel(std::move(module)));
  return result;
}

absl::Status ValidateTrainingData(const DigitImages& train) {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(train));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateShape("x", train.x[0], {train.size(), kDigitPixels}));
  INFLUENCE_RETURN_IF_ERROR(ValidateShape("y", train.y, {train.size()}));
  return ValidateInteger("y", train.y);
}

}  // namespace

absl::StatusOr<TrainedNetwork> TrainNetwork(const DigitImages& train,
                                            const TrainingOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(options));
  INFLUENCE_RETURN_IF_ERROR(ValidateTrainingData(train));
  return CatchTorch("training", [&]() -> absl::StatusOr<TrainedNetwork> {
    torch::manual_seed(options.seed);
    auto module = std::make_shared<DigitsModule>();
    module->to(at::kDouble);
    const int64_t num_samples = train.size();
    return Minimise(
        std::move(module), train,
        torch::full({num_samples}, 1.0 / static_cast<double>(num_samples),
                    at::kDouble),
        options);
  });
}

absl::StatusOr<TrainedNetwork> RetrainWithout(
    const TrainedNetwork& start, const DigitImages& train,
    absl::Span<const int64_t> left_out, const TrainingOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateOptions(options));
  INFLUENCE_RETURN_IF_ERROR(ValidateTrainingData(train));
  const int64_t num_samples = train.size();
  for (const int64_t n : left_out) {
    if (n < 0 || n >= num_samples) {
      return absl::InvalidArgumentError(absl::StrCat(
          "left_out: found ", n, ", expected [0, ", num_samples, ")"));
    }
  }
  return CatchTorch("training again", [&]() -> absl::StatusOr<TrainedNetwork> {
    auto module = std::make_shared<DigitsModule>();
    module->to(at::kDouble);
    {
      const at::NoGradGuard no_grad;
      const std::vector<at::Tensor> parameters = module->parameters();
      for (size_t i = 0; i < parameters.size(); ++i) {
        parameters[i].copy_(start.model->parameters()[i].tensor);
      }
    }
    at::Tensor weights = torch::full(
        {num_samples}, 1.0 / static_cast<double>(num_samples), at::kDouble);
    for (const int64_t n : left_out) weights[n] = 0;
    return Minimise(std::move(module), train, weights, options);
  });
}

absl::Status WriteTorchScript(const TrainedNetwork& network,
                              const std::string& path) {
  absl::Status status = CatchTorch(path, [&]() -> absl::Status {
    torch::jit::Module root("DigitsNetwork");
    torch::jit::Module hidden("Hidden");
    torch::jit::Module output("Output");
    for (const NamedParameter& parameter : network.model->parameters()) {
      const size_t dot = parameter.name.find('.');
      torch::jit::Module& owner =
          parameter.name.substr(0, dot) == "hidden" ? hidden : output;
      owner.register_parameter(
          parameter.name.substr(dot + 1),
          parameter.tensor.detach().clone().requires_grad_(),
          /*is_buffer=*/false);
    }
    root.register_module("hidden", hidden);
    root.register_module("output", output);
    root.define(kForwardSource);
    root.eval();
    root.save(path);
    return absl::OkStatus();
  });
  if (status.ok()) return status;
  return absl::UnavailableError(status.message());
}

}  // namespace influence
