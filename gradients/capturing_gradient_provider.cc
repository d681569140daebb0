// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/capturing_gradient_provider.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/affine_layers.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/gradient_term.h"
#include "gradients/layer_rule.h"
#include "gradients/model.h"
#include "gradients/operator_capture.h"
#include "gradients/per_sample_function.h"
#include "gradients/rules/embedding_rule.h"
#include "gradients/sample_axis.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {

struct CapturingGradientProvider::Plan {
  // One captured use, in the order of the model's calls.
  struct Use {
    std::string operator_name;
    std::vector<ParameterArgument> parameters;
    int64_t num_output_dims;
    // Where the samples lie in the output; nullopt where there are none, and
    // then the use's parameters are not covered.
    std::optional<SampleAxis> axis;
  };

  std::vector<Use> uses;
  // The embeddings whose outputs became derived parameters, by their order.
  std::vector<int64_t> derived_embeddings;
  CoverageReport coverage;           // By parameter, in the model's order.
  std::vector<LayerUse> layer_uses;  // As `uses`.
  AffineLayers layers;
};

namespace {

using Plan = CapturingGradientProvider::Plan;

// How far a gradient may reach into another sample's rows and still count as
// rounding.
constexpr double kCouplingTolerance = 1e-6;

// A forward pass and what was observed of it.
struct Observation {
  std::vector<CapturedUse> uses;
  std::vector<DerivedParameter> derived;
  std::vector<UncoveredUse> uncovered_uses;
  std::vector<std::string> coupling_operators;
  at::Tensor output;
  at::Tensor values;  // [N]
};

absl::StatusOr<Observation> Observe(
    const Model& model, const PerSampleFunction& function,
    const std::vector<int64_t>& derived_embeddings, const Batch& batch) {
  OperatorCapture capture(model.parameters(), derived_embeddings);
  Observation observation;
  {
    OperatorCapture::Scope scope(&capture);
    INFLUENCE_ASSIGN_OR_RETURN(observation.output, model.Forward(batch.x));
    INFLUENCE_ASSIGN_OR_RETURN(observation.values,
                               function.Evaluate(observation.output, batch.y));
  }
  observation.uses = std::move(capture.uses());
  observation.derived = std::move(capture.derived());
  observation.uncovered_uses = capture.uncovered_uses();
  observation.coupling_operators = capture.coupling_operators();
  return observation;
}

// The gradients of `value` in the uses' outputs; undefined where there is none.
std::vector<at::Tensor> OutputGradients(const at::Tensor& value,
                                        const std::vector<CapturedUse>& uses) {
  std::vector<at::Tensor> handles;
  handles.reserve(uses.size());
  for (const CapturedUse& use : uses) handles.push_back(use.output_handle);
  if (handles.empty() || !value.requires_grad()) {
    return std::vector<at::Tensor>(handles.size());
  }
  return torch::autograd::grad({value}, handles, /*grad_outputs=*/{},
                               /*retain_graph=*/false, /*create_graph=*/false,
                               /*allow_unused=*/true);
}

absl::Status CouplingError(const Model& model, const std::string& found) {
  std::vector<std::string> modules = model.CouplingModules();
  return absl::InvalidArgumentError(absl::StrCat(
      "model: found ", found,
      modules.empty() ? "" : " (" + absl::StrJoin(modules, ", ") + ")",
      ", expected each sample's output to depend on that sample alone"));
}

double MaxAbs(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0.0 : tensor.abs().max().item<double>();
}

// The rows of sample 1 in a tensor of two samples.
at::Tensor SecondSample(const at::Tensor& tensor, const SampleAxis& axis) {
  const int64_t size = tensor.size(axis.dim);
  return axis.sample_major ? tensor.narrow(axis.dim, size / 2, size / 2)
                           : tensor.slice(axis.dim, 1, size, 2);
}

// Finds the samples in an output of shape `two` for 2 samples and `three` for
// 3. first_gradient: the gradient of sample 0's value for the batch of 2, which
// must vanish in the rows of sample 1; may be undefined.
absl::StatusOr<std::optional<SampleAxis>> FindAxis(
    const Model& model, const CapturedUse& use, at::IntArrayRef two,
    at::IntArrayRef three, const at::Tensor& first_gradient) {
  if (two.size() != three.size()) return std::optional<SampleAxis>();
  std::optional<SampleAxis> axis;
  for (size_t d = 0; d < two.size(); ++d) {
    if (two[d] == three[d]) continue;
    if (axis.has_value() || two[d] % 2 != 0 || three[d] != two[d] / 2 * 3) {
      return std::optional<SampleAxis>();
    }
    axis = SampleAxis{static_cast<int64_t>(d), two[d] / 2, true};
  }
  if (!axis.has_value() || !first_gradient.defined()) return axis;
  const double bound = kCouplingTolerance * MaxAbs(first_gradient);
  const auto reaches_other = [&](const SampleAxis& candidate) {
    return MaxAbs(SecondSample(first_gradient, candidate)) > bound;
  };
  if (!reaches_other(*axis)) return axis;
  if (axis->repeats > 1) {
    axis->sample_major = false;
    if (!reaches_other(*axis)) return axis;
    return std::optional<SampleAxis>();  // Some other order of the rows.
  }
  return CouplingError(
      model, absl::StrCat("that one sample's output depends on another one's, "
                          "seen at ",
                          use.call.name));
}

// The axis for a batch of num_samples; nullopt if the shape does not fit.
std::optional<SampleAxis> AxisFor(const SampleAxis& planned,
                                  at::IntArrayRef shape, int64_t num_samples) {
  SampleAxis axis = planned;
  const int64_t size = shape[axis.dim];
  if (size % num_samples != 0) return std::nullopt;
  if (planned.repeats == 1 && size != num_samples) return std::nullopt;
  axis.repeats = size / num_samples;
  return axis;
}

bool SameCalls(const Observation& observation, const Plan& plan) {
  const std::vector<CapturedUse>& uses = observation.uses;
  const std::vector<Plan::Use>& planned = plan.uses;
  if (uses.size() != planned.size() ||
      observation.derived.size() != plan.derived_embeddings.size()) {
    return false;
  }
  for (size_t i = 0; i < uses.size(); ++i) {
    const OperatorCall& call = uses[i].call;
    if (call.name != planned[i].operator_name ||
        call.parameters.size() != planned[i].parameters.size() ||
        static_cast<int64_t>(call.output_shape.size()) !=
            planned[i].num_output_dims) {
      return false;
    }
    for (size_t p = 0; p < call.parameters.size(); ++p) {
      if (call.parameters[p].parameter != planned[i].parameters[p].parameter ||
          call.parameters[p].position != planned[i].parameters[p].position) {
        return false;
      }
    }
  }
  return true;
}

absl::StatusOr<Batch> Rows(const Batch& batch,
                           const std::vector<int64_t>& rows) {
  const at::Tensor index = at::tensor(rows);
  Batch selected;
  for (const at::Tensor& x : batch.x) {
    selected.x.push_back(at::index_select(x, 0, index));
  }
  selected.y = at::index_select(batch.y, 0, index);
  return selected;
}

// The model's own parameter that index `parameter` stands for.
int64_t OwnParameter(int64_t parameter, int64_t num_tensors,
                     const std::vector<DerivedParameter>& derived) {
  return parameter < num_tensors
             ? parameter
             : derived[parameter - num_tensors].call.parameters[0].parameter;
}

// Finds the layers once coverage is settled. A bias added by an operator of its
// own whose gradients on the probe are not those of the layer's output (the
// model uses the product in between as well) is taken out of its layer.
absl::Status FindLayers(const CapturingGradientProvider& provider,
                        const Batch& probe, Plan* plan) {
  const std::vector<NamedParameter>& parameters = provider.model().parameters();
  plan->layers = FindAffineLayers(parameters, plan->layer_uses, plan->coverage);
  bool any_apart = false;
  for (const AffineLayer& layer : plan->layers.layers) {
    any_apart = any_apart || layer.bias_apart;
  }
  if (!any_apart) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                             provider.FactoredGrads(probe));
  for (AffineLayer& layer : plan->layers.layers) {
    if (!layer.bias_apart) continue;
    const int64_t bias = *layer.bias;
    absl::Status status =
        FactorsOfLayer(layer, gradients.parameters()[layer.weight],
                       &gradients.parameters()[bias])
            .status();
    if (status.ok()) continue;
    if (!absl::IsFailedPrecondition(status)) return status;
    plan->layers.reasons[bias] =
        absl::StrCat("the output of ", parameters[layer.weight].name,
                     " is also used without it");
    layer.bias.reset();
    layer.bias_apart = false;
  }
  return absl::OkStatus();
}

// The embeddings whose output has the same shape for 2 and for 3 samples.
std::vector<int64_t> ConstantEmbeddings(const Observation& two,
                                        const Observation& three) {
  std::vector<int64_t> constant;
  if (two.uses.size() != three.uses.size()) return constant;
  int64_t num_embeddings = 0;
  for (size_t i = 0; i < two.uses.size(); ++i) {
    if (two.uses[i].rule->name() != "embedding") continue;
    if (two.uses[i].call.output_shape == three.uses[i].call.output_shape) {
      constant.push_back(num_embeddings);
    }
    ++num_embeddings;
  }
  return constant;
}

absl::StatusOr<std::shared_ptr<Plan>> MakePlan(
    const Model& model, const PerSampleFunction& function, const Batch& probe) {
  const int64_t last = probe.size() - 1;
  INFLUENCE_ASSIGN_OR_RETURN(const Batch two,
                             Rows(probe, {0, std::min<int64_t>(1, last)}));
  INFLUENCE_ASSIGN_OR_RETURN(
      const Batch three,
      Rows(probe, {0, std::min<int64_t>(1, last), std::min<int64_t>(2, last)}));
  INFLUENCE_ASSIGN_OR_RETURN(const Batch one, Rows(probe, {0}));
  auto plan = std::make_shared<Plan>();
  INFLUENCE_ASSIGN_OR_RETURN(Observation again,
                             Observe(model, function, {}, two));
  if (!again.coupling_operators.empty()) {
    return CouplingError(model, again.coupling_operators[0]);
  }
  INFLUENCE_ASSIGN_OR_RETURN(Observation larger,
                             Observe(model, function, {}, three));
  plan->derived_embeddings = ConstantEmbeddings(again, larger);
  INFLUENCE_ASSIGN_OR_RETURN(
      Observation observed,
      Observe(model, function, plan->derived_embeddings, two));
  if (!plan->derived_embeddings.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        larger, Observe(model, function, plan->derived_embeddings, three));
  }
  INFLUENCE_ASSIGN_OR_RETURN(Observation alone,
                             Observe(model, function, {}, one));

  // Rounding differs between batch sizes, chance and coupling by far more.
  const double tolerance = model.dtype() == at::kDouble ? 1e-8 : 1e-3;
  const double scale = MaxAbs(observed.output.detach());
  if (observed.output.sizes() != again.output.sizes() ||
      MaxAbs(observed.output.detach().sub(again.output.detach())) >
          tolerance * scale) {
    return CouplingError(model, "outputs that differ from run to run");
  }
  const double value = observed.values[0].item<double>();
  const double value_alone = alone.values[0].item<double>();
  if (std::abs(value - value_alone) >
      tolerance * std::max({std::abs(value), scale, 1e-30})) {
    return CouplingError(
        model, absl::StrFormat("that a sample's %s is %g alone and %g in a "
                               "batch",
                               function.name(), value_alone, value));
  }

  const int64_t num_tensors = static_cast<int64_t>(model.parameters().size());
  std::vector<std::vector<std::string>> rules(num_tensors);
  std::vector<std::string> reasons(num_tensors);
  const auto own = [&](int64_t parameter) {
    return OwnParameter(parameter, num_tensors, observed.derived);
  };
  const auto add_rule = [&](int64_t parameter, absl::string_view rule) {
    std::vector<std::string>& names = rules[parameter];
    if (std::find(names.begin(), names.end(), rule) == names.end()) {
      names.emplace_back(rule);
    }
  };
  const auto uncover = [&](int64_t parameter, const std::string& reason) {
    std::string& first = reasons[own(parameter)];
    if (first.empty()) first = reason;
  };
  for (const DerivedParameter& derived : observed.derived) {
    add_rule(derived.call.parameters[0].parameter, "embedding");
  }
  for (const UncoveredUse& use : observed.uncovered_uses) {
    uncover(use.parameter, absl::StrCat("no rule for ", use.operator_name));
  }

  const std::vector<at::Tensor> gradients =
      OutputGradients(observed.values[0], observed.uses);
  for (const CapturedUse& use : observed.uses) {
    plan->uses.push_back(Plan::Use{
        use.call.name, use.call.parameters,
        static_cast<int64_t>(use.call.output_shape.size()), std::nullopt});
    plan->layer_uses.push_back(LayerUse{
        use.call.name, use.call.parameters, use.rule->AsAffine(use.call),
        use.rule->AsAddition(use.call), use.call.producers});
  }
  const bool same_calls = SameCalls(larger, *plan);
  for (size_t i = 0; i < observed.uses.size(); ++i) {
    const CapturedUse& use = observed.uses[i];
    std::string reason;
    if (!same_calls) {
      reason = "the operators called depend on the batch";
    } else if (use.ValuesModified()) {
      reason =
          absl::StrCat("the input of ", use.call.name, " is overwritten later");
    } else {
      INFLUENCE_ASSIGN_OR_RETURN(
          plan->uses[i].axis,
          FindAxis(model, use, use.call.output_shape,
                   larger.uses[i].call.output_shape, gradients[i]));
      if (!plan->uses[i].axis.has_value()) {
        reason = absl::StrCat("the output of ", use.call.name,
                              " has no dimension of samples");
      } else if (!use.rule->SupportsAxis(use.call, *plan->uses[i].axis)) {
        plan->uses[i].axis.reset();
        reason = absl::StrCat("samples along an unusual dimension of ",
                              use.call.name);
      }
    }
    for (const ParameterArgument& argument : use.call.parameters) {
      if (argument.parameter < num_tensors) {
        add_rule(argument.parameter, use.rule->name());
      } else if (use.rule->name() != "elementwise") {
        uncover(argument.parameter,
                absl::StrCat("embedded positions used by ", use.call.name));
      }
      if (!reason.empty()) uncover(argument.parameter, reason);
    }
  }

  for (int64_t i = 0; i < num_tensors; ++i) {
    const NamedParameter& parameter = model.parameters()[i];
    const bool covered = reasons[i].empty();
    plan->coverage.parameters.push_back(
        ParameterCoverage{parameter.name, parameter.tensor.sizes().vec(),
                          !covered           ? "autograd"
                          : rules[i].empty() ? "unused"
                                             : absl::StrJoin(rules[i], "+"),
                          reasons[i], covered});
  }
  return plan;
}

}  // namespace

CapturingGradientProvider::CapturingGradientProvider(
    std::shared_ptr<const Model> model, PerSampleFunction function,
    std::shared_ptr<const Plan> plan)
    : GradientProvider(std::move(model), std::move(function)),
      plan_(std::move(plan)) {}

absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>>
CapturingGradientProvider::Create(std::shared_ptr<const Model> model,
                                  PerSampleFunction function,
                                  const Batch& probe,
                                  const CapturingOptions& options) {
  if (model == nullptr) {
    return absl::InvalidArgumentError("model: found null, expected a model");
  }
  if (options.self_check_samples < 1) {
    return absl::InvalidArgumentError(absl::StrCat("self_check_samples: found ",
                                                   options.self_check_samples,
                                                   ", expected a value >= 1"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(probe));
  // Refuses modules that couple samples before anything is run: BatchNorm in
  // training mode would change its buffers.
  INFLUENCE_ASSIGN_OR_RETURN(
      std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(model, function));
  std::shared_ptr<Plan> plan;
  INFLUENCE_RETURN_IF_ERROR(
      CatchTorch("observing the model", [&]() -> absl::Status {
        at::AutoGradMode grad_mode(true);
        INFLUENCE_ASSIGN_OR_RETURN(plan, MakePlan(*model, function, probe));
        return absl::OkStatus();
      }));

  // The self-check: what the rules give against plain autograd.
  INFLUENCE_ASSIGN_OR_RETURN(
      const Batch checked,
      SliceBatch(probe, 0,
                 std::min<int64_t>(probe.size(), options.self_check_samples)));
  const bool is_double = model->dtype() == at::kDouble;
  const double tolerance = options.self_check_tolerance > 0
                               ? options.self_check_tolerance
                               : (is_double ? 1e-8 : 1e-3);
  // A gradient that is zero but for rounding (an attention's key bias) is
  // compared on the scale of the whole gradient.
  const double rounding = is_double ? 1e-13 : 1e-5;
  std::shared_ptr<CapturingGradientProvider> provider(
      new CapturingGradientProvider(model, function, plan));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor expected,
                             reference->FlatGrads(checked));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor found,
                             provider->FlatGrads(checked));
  INFLUENCE_RETURN_IF_ERROR(CatchTorch("self-check", [&]() -> absl::Status {
    const double whole_scale = MaxAbs(expected);
    int64_t offset = 0;
    for (ParameterCoverage& parameter : plan->coverage.parameters) {
      int64_t size = 1;
      for (const int64_t length : parameter.shape) size *= length;
      const at::Tensor reference_part = expected.narrow(1, offset, size);
      const double difference =
          MaxAbs(found.narrow(1, offset, size).sub(reference_part));
      offset += size;
      if (difference <=
          tolerance * MaxAbs(reference_part) + rounding * whole_scale) {
        continue;
      }
      parameter.reason =
          absl::StrFormat("self-check: rule %s differs from autograd by %.2g",
                          parameter.rule, difference);
      parameter.rule = "autograd";
      parameter.covered = false;
    }
    return absl::OkStatus();
  }));
  INFLUENCE_RETURN_IF_ERROR(FindLayers(*provider, checked, plan.get()));
  return provider;
}

const AffineLayers& CapturingGradientProvider::affine_layers() const {
  return plan_->layers;
}

const CoverageReport& CapturingGradientProvider::coverage() const {
  return plan_->coverage;
}

absl::StatusOr<FactoredGradients> CapturingGradientProvider::DoFactoredGrads(
    const Batch& batch) const {
  const std::vector<NamedParameter>& all = model().parameters();
  const auto by_autograd = [&](const std::vector<int64_t>& parameters)
      -> absl::StatusOr<FactoredGradients> {
    INFLUENCE_ASSIGN_OR_RETURN(
        std::shared_ptr<const AutogradGradientProvider> whole,
        AutogradGradientProvider::Create(shared_model(), function()));
    INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const GradientProvider> part,
                               whole->Restrict(parameters));
    return part->FactoredGrads(batch);
  };

  // Where each selected parameter stands in the result, -1 for the others.
  std::vector<int64_t> slots(all.size(), -1);
  std::vector<FactoredParameter> parameters;
  std::vector<int64_t> uncovered;
  bool any_covered = false;
  for (const int64_t index : selection()) {
    parameters.push_back(
        FactoredParameter{all[index].name, all[index].tensor.numel(), {}});
    const ParameterCoverage& coverage = plan_->coverage.parameters[index];
    if (!coverage.covered) {
      uncovered.push_back(index);
    } else {
      slots[index] = static_cast<int64_t>(parameters.size()) - 1;
      any_covered = true;
    }
  }

  if (any_covered) {
    at::AutoGradMode grad_mode(true);
    INFLUENCE_ASSIGN_OR_RETURN(
        Observation observed,
        Observe(model(), function(), plan_->derived_embeddings, batch));
    if (!SameCalls(observed, *plan_)) return by_autograd(selection());
    const int64_t num_tensors = static_cast<int64_t>(all.size());
    for (const DerivedParameter& derived : observed.derived) {
      slots.push_back(slots[derived.call.parameters[0].parameter]);
    }
    const int64_t num_samples = batch.size();
    // Keep the uses of wanted parameters only, each with the wanted arguments.
    std::vector<CapturedUse> uses;
    std::vector<SampleAxis> axes;
    for (size_t i = 0; i < observed.uses.size(); ++i) {
      CapturedUse& use = observed.uses[i];
      std::vector<ParameterArgument> wanted;
      for (const ParameterArgument& argument : use.call.parameters) {
        if (slots[argument.parameter] >= 0) wanted.push_back(argument);
      }
      if (wanted.empty()) continue;
      use.call.parameters = std::move(wanted);
      const std::optional<SampleAxis> axis =
          AxisFor(*plan_->uses[i].axis, use.call.output_shape, num_samples);
      if (!axis.has_value() || use.ValuesModified()) {
        return by_autograd(selection());
      }
      uses.push_back(std::move(use));
      axes.push_back(*axis);
    }
    observed.uses.clear();
    std::vector<at::Tensor> gradients =
        OutputGradients(observed.values.sum(), uses);
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < uses.size(); ++i) {
      if (!gradients[i].defined()) continue;
      for (ParameterTerm& term : uses[i].rule->Terms(uses[i].call, gradients[i],
                                                     axes[i], num_samples)) {
        if (term.parameter >= num_tensors) {
          const auto* dense = dynamic_cast<const DenseTerm*>(term.term.get());
          INFLUENCE_CHECK(dense != nullptr);
          term.term = EmbeddingTermOfConstantOutput(
              observed.derived[term.parameter - num_tensors].call, *dense);
        }
        parameters[slots[term.parameter]].terms.push_back(std::move(term.term));
      }
      gradients[i].reset();
      uses[i].call.inputs.clear();
    }
  }

  if (!uncovered.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients rest, by_autograd(uncovered));
    size_t next = 0;
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (plan_->coverage.parameters[selection()[i]].covered) continue;
      parameters[i].terms = rest.parameters()[next++].terms;
    }
  }
  return FactoredGradients(batch.size(), model().dtype(),
                           std::move(parameters));
}

std::shared_ptr<GradientProvider> CapturingGradientProvider::Clone() const {
  return std::shared_ptr<GradientProvider>(
      new CapturingGradientProvider(*this));
}

}  // namespace influence
