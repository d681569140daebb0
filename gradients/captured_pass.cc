// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/captured_pass.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/batch.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/operator_capture.h"
#include "gradients/per_sample_function.h"
#include "gradients/rules/embedding_rule.h"
#include "gradients/sample_axis.h"
#include "gradients/sample_tracker.h"
#include "gradients/term_merging.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

// In a batch of one sample any dimension will do that the rule takes.
std::optional<SampleAxis> AxisOfOneSample(const CapturedUse& use) {
  for (size_t d = 0; d < use.call.output_shape.size(); ++d) {
    const SampleAxis axis{static_cast<int64_t>(d), use.call.output_shape[d],
                          true};
    if (use.rule->SupportsAxis(use.call, axis)) return axis;
  }
  return std::nullopt;
}

// Why the use does not give the gradients of its parameters.
std::string ReasonAgainst(const CapturedUse& use) {
  if (use.ValuesModified()) {
    return absl::StrCat("the input of ", use.call.name,
                        " is overwritten later");
  }
  if (!use.axis.has_value()) {
    return absl::StrCat("the output of ", use.call.name,
                        " has no dimension of samples");
  }
  if (!use.rule->SupportsAxis(use.call, *use.axis)) {
    return absl::StrCat("samples along an unusual dimension of ",
                        use.call.name);
  }
  return std::string();
}

at::Tensor Row(const at::Tensor& gradient) {
  return (gradient.is_sparse() ? gradient.to_dense() : gradient)
      .reshape({1, -1});
}

}  // namespace

absl::StatusOr<CapturedPass> Capture(const Model& model,
                                     const PerSampleFunction& function,
                                     const Batch& batch) {
  CapturedPass pass;
  pass.num_samples = batch.size();
  std::optional<SampleTracker> tracker;
  if (pass.num_samples > 1) {
    tracker.emplace(pass.num_samples);
    for (const at::Tensor& x : batch.x) tracker->AddSamples(x);
  }
  OperatorCapture capture(model.parameters(),
                          tracker.has_value() ? &*tracker : nullptr);
  {
    const OperatorCapture::Scope scope(&capture);
    INFLUENCE_ASSIGN_OR_RETURN(pass.output, model.Forward(batch.x));
  }
  // Each of its rows depends on one row of the output by contract.
  INFLUENCE_ASSIGN_OR_RETURN(pass.values,
                             function.Evaluate(pass.output, batch.y));
  if (tracker.has_value() && !tracker->Proves(pass.output)) {
    pass.unproven = tracker->reason();
  }
  pass.uses = std::move(capture.uses());
  pass.derived = std::move(capture.derived());
  pass.uncovered_uses = capture.uncovered_uses();
  pass.coupling_operators = capture.coupling_operators();
  for (CapturedUse& use : pass.uses) {
    if (!tracker.has_value()) {
      use.axis = AxisOfOneSample(use);
    } else if (!tracker->Holds(use.axis_guess)) {
      use.axis.reset();
    }
  }
  return pass;
}

int64_t OwnParameter(const CapturedPass& pass, int64_t num_parameters,
                     int64_t parameter) {
  return parameter < num_parameters ? parameter
                                    : pass.derived[parameter - num_parameters]
                                          .call.parameters[0]
                                          .parameter;
}

std::vector<std::string> UnservedReasons(const CapturedPass& pass,
                                         int64_t num_parameters) {
  std::vector<std::string> reasons(num_parameters);
  const auto add = [&](int64_t parameter, const std::string& reason) {
    std::string& first = reasons[OwnParameter(pass, num_parameters, parameter)];
    if (first.empty()) first = reason;
  };
  for (const UncoveredUse& use : pass.uncovered_uses) {
    add(use.parameter, use.failure.empty()
                           ? absl::StrCat("no rule for ", use.operator_name)
                           : absl::StrCat("the rule for ", use.operator_name,
                                          " failed: ", use.failure));
  }
  for (const CapturedUse& use : pass.uses) {
    const std::string reason = ReasonAgainst(use);
    for (const ParameterArgument& argument : use.call.parameters) {
      if (argument.parameter >= num_parameters &&
          use.rule->name() != "elementwise") {
        add(argument.parameter,
            absl::StrCat("embedded positions used by ", use.call.name));
      }
      if (!reason.empty()) add(argument.parameter, reason);
    }
  }
  return reasons;
}

PassGradients Differentiate(CapturedPass pass, const Model& model,
                            const std::vector<Service>& services) {
  const auto num_parameters = static_cast<int64_t>(services.size());
  PassGradients result;
  result.terms.resize(num_parameters);
  result.failures.resize(num_parameters);
  const auto service_of = [&](int64_t parameter) {
    return services[OwnParameter(pass, num_parameters, parameter)];
  };
  // The uses of wanted parameters only, each with the wanted arguments.
  std::vector<CapturedUse> uses;
  std::vector<at::Tensor> inputs;
  for (CapturedUse& use : pass.uses) {
    std::vector<ParameterArgument> wanted;
    for (const ParameterArgument& argument : use.call.parameters) {
      if (service_of(argument.parameter) == Service::kFactors) {
        wanted.push_back(argument);
      }
    }
    if (wanted.empty()) continue;
    use.call.parameters = std::move(wanted);
    inputs.push_back(use.output_handle);
    uses.push_back(std::move(use));
  }
  pass.uses.clear();
  std::vector<int64_t> direct;
  for (int64_t p = 0; p < num_parameters; ++p) {
    if (services[p] != Service::kAutograd) continue;
    INFLUENCE_CHECK(pass.num_samples == 1);
    direct.push_back(p);
    inputs.push_back(model.parameters()[p].tensor);
  }
  if (inputs.empty() || !pass.values.requires_grad()) return result;
  std::vector<at::Tensor> gradients = torch::autograd::grad(
      {pass.values.sum()}, inputs, /*grad_outputs=*/{},
      /*retain_graph=*/false, /*create_graph=*/false, /*allow_unused=*/true);

  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < uses.size(); ++i) {
    if (!gradients[i].defined()) continue;
    std::vector<ParameterTerm> terms;
    try {
      terms = uses[i].rule->Terms(uses[i].call, gradients[i], *uses[i].axis,
                                  pass.num_samples);
    } catch (...) {
      const absl::Status status = StatusFromCurrentException(uses[i].call.name);
      for (const ParameterArgument& argument : uses[i].call.parameters) {
        result
            .failures[OwnParameter(pass, num_parameters, argument.parameter)] =
            std::string(status.message());
      }
    }
    for (ParameterTerm& term : terms) {
      if (term.parameter >= num_parameters) {
        const auto* dense = dynamic_cast<const DenseTerm*>(term.term.get());
        INFLUENCE_CHECK(dense != nullptr);
        term.term = EmbeddingTermOfConstantOutput(
            pass.derived[term.parameter - num_parameters].call, *dense);
      }
      result.terms[OwnParameter(pass, num_parameters, term.parameter)]
          .push_back(std::move(term.term));
    }
    gradients[i].reset();
    uses[i].call.inputs.clear();
  }
  for (size_t i = 0; i < direct.size(); ++i) {
    const at::Tensor& gradient = gradients[uses.size() + i];
    if (!gradient.defined()) continue;
    result.terms[direct[i]].push_back(
        std::make_shared<DenseTerm>(/*offset=*/0, Row(gradient)));
  }
  for (int64_t p = 0; p < num_parameters; ++p) {
    result.terms[p] =
        result.failures[p].empty() ? MergeTerms(result.terms[p]) : Terms();
  }
  return result;
}

}  // namespace influence
