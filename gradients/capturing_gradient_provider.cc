// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/capturing_gradient_provider.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
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
#include "gradients/captured_pass.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/independent_model.h"
#include "gradients/layer_rule.h"
#include "gradients/model.h"
#include "gradients/operator_capture.h"
#include "gradients/per_sample_function.h"
#include "gradients/term_merging.h"
#include "gradients/unfused_recurrence.h"

namespace influence {

struct CapturingGradientProvider::Plan {
  std::shared_ptr<const Model> observed;  // The model as its passes run.
  CoverageReport coverage;                // By parameter, in the model's order.
  std::vector<LayerUse> layer_uses;       // In the order of the model's calls.
  AffineLayers layers;

  bool one_by_one() const { return !coverage.one_by_one.empty(); }
};

namespace {

using Plan = CapturingGradientProvider::Plan;

// Samples of the pass that shows whether a batch goes through as a whole.
constexpr int64_t kProbeSamples = 5;

absl::Status CouplingError(const Model& model, const std::string& found) {
  std::vector<std::string> modules = model.CouplingModules();
  return absl::InvalidArgumentError(absl::StrCat(
      "model: found ", found,
      modules.empty() ? "" : " (" + absl::StrJoin(modules, ", ") + ")",
      ", expected each sample's output to depend on that sample alone"));
}

// A pass in which the model drew no random numbers and took no statistics of
// the batch.
absl::StatusOr<CapturedPass> CaptureUncoupled(const Model& model,
                                              const PerSampleFunction& function,
                                              const Batch& batch) {
  INFLUENCE_ASSIGN_OR_RETURN(CapturedPass pass,
                             Capture(model, function, batch));
  if (!pass.coupling_operators.empty()) {
    return CouplingError(model, pass.coupling_operators[0]);
  }
  return pass;
}

double MaxAbs(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0.0 : tensor.abs().max().item<double>();
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

// Refuses a model that draws random numbers or mixes samples as far as a few
// samples of the probe show: `together` and `again` are passes over them,
// `alone` is one over the first.
absl::Status CheckIndependence(const Model& model,
                               const PerSampleFunction& function,
                               const CapturedPass& together,
                               const CapturedPass& again,
                               const CapturedPass& alone) {
  // Rounding differs between batch sizes, chance and coupling by far more.
  const double tolerance = model.dtype() == at::kDouble ? 1e-8 : 1e-3;
  const at::Tensor output = together.output.detach();
  const double scale = MaxAbs(output);
  if (output.sizes() != again.output.sizes() ||
      MaxAbs(output.sub(again.output.detach())) > tolerance * scale) {
    return CouplingError(model, "outputs that differ from run to run");
  }
  const auto value = together.values[0].item<double>();
  const auto value_alone = alone.values[0].item<double>();
  if (std::abs(value - value_alone) >
      tolerance * std::max({std::abs(value), scale, 1e-30})) {
    return CouplingError(
        model, absl::StrFormat("that a sample's %s is %g alone and %g in a "
                               "batch",
                               function.name(), value_alone, value));
  }
  return absl::OkStatus();
}

bool UsesFusedRecurrence(const CapturedPass& pass) {
  for (const UncoveredUse& use : pass.uncovered_uses) {
    if (use.operator_name == kFusedRecurrence) return true;
  }
  return false;
}

// What the passes' uses say of each parameter.
void DescribeUses(const std::vector<CapturedPass>& passes, const Model& model,
                  Plan* plan) {
  const auto num_tensors = static_cast<int64_t>(model.parameters().size());
  std::vector<std::vector<std::string>> rules(num_tensors);
  std::vector<std::string> reasons(num_tensors);
  const auto add_rule = [&](int64_t parameter, absl::string_view rule) {
    std::vector<std::string>& names = rules[parameter];
    if (std::find(names.begin(), names.end(), rule) == names.end()) {
      names.emplace_back(rule);
    }
  };
  for (const CapturedPass& pass : passes) {
    const auto first_use = static_cast<int64_t>(plan->layer_uses.size());
    for (const DerivedParameter& derived : pass.derived) {
      add_rule(derived.call.parameters[0].parameter, "embedding");
    }
    for (const CapturedUse& use : pass.uses) {
      LayerUse layer_use{use.call.name, use.call.parameters,
                         use.rule->AsAffine(use.call),
                         use.rule->AsAddition(use.call), use.call.producers};
      for (int64_t& producer : layer_use.producers) {
        if (producer >= 0) producer += first_use;
      }
      plan->layer_uses.push_back(std::move(layer_use));
      for (const ParameterArgument& argument : use.call.parameters) {
        if (argument.parameter < num_tensors) {
          add_rule(argument.parameter, use.rule->name());
        }
      }
    }
    const std::vector<std::string> unserved =
        UnservedReasons(pass, num_tensors);
    for (int64_t i = 0; i < num_tensors; ++i) {
      if (reasons[i].empty()) reasons[i] = unserved[i];
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
}

absl::StatusOr<std::shared_ptr<Plan>> MakePlan(
    const std::shared_ptr<const Model>& model,
    const PerSampleFunction& function, const Batch& probe) {
  auto plan = std::make_shared<Plan>();
  plan->observed = model;
  const int64_t last = probe.size() - 1;
  // A number of samples that few models have as a dimension of their own.
  std::vector<int64_t> rows;
  for (int64_t n = 0; n < kProbeSamples; ++n) {
    rows.push_back(n % (std::min<int64_t>(2, last) + 1));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const Batch several, Rows(probe, rows));
  INFLUENCE_ASSIGN_OR_RETURN(
      CapturedPass together,
      CaptureUncoupled(*plan->observed, function, several));
  if (UsesFusedRecurrence(together)) {
    plan->observed = std::make_shared<UnfusedRecurrenceModel>(model);
    INFLUENCE_ASSIGN_OR_RETURN(
        together, CaptureUncoupled(*plan->observed, function, several));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const CapturedPass again,
      CaptureUncoupled(*plan->observed, function, several));
  std::vector<CapturedPass> alone;
  for (int64_t n = 0; n <= std::min<int64_t>(2, last); ++n) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch one, Rows(probe, {n}));
    INFLUENCE_ASSIGN_OR_RETURN(
        CapturedPass pass, CaptureUncoupled(*plan->observed, function, one));
    alone.push_back(std::move(pass));
    if (together.unproven.empty()) break;
  }
  INFLUENCE_RETURN_IF_ERROR(
      CheckIndependence(*model, function, together, again, alone[0]));
  plan->coverage.one_by_one = together.unproven;
  if (together.unproven.empty()) {
    alone.clear();
    alone.push_back(std::move(together));
  }
  DescribeUses(alone, *model, plan.get());
  return plan;
}

// Gradients by plain autograd, or which parameter it has none for.
absl::StatusOr<at::Tensor> ReferenceGradients(
    const AutogradGradientProvider& reference, const Batch& batch) {
  absl::StatusOr<at::Tensor> gradients = reference.FlatGrads(batch);
  if (gradients.ok() || !absl::IsInternal(gradients.status())) {
    return gradients;
  }
  const std::vector<NamedParameter>& parameters =
      reference.model().parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const GradientProvider> one,
                               reference.Restrict({static_cast<int64_t>(i)}));
    const absl::Status status = one->FlatGrads(batch).status();
    if (!absl::IsInternal(status)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "parameter ", parameters[i].name, ": found no gradient (",
        status.message(),
        "), expected operators that LibTorch can differentiate: replace that "
        "operator, or freeze the parameter (requires_grad_(False))"));
  }
  return gradients;
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
  // Another provider's model() is wrapped already, and observers do not nest.
  if (const auto* independent =
          dynamic_cast<const IndependentModel*>(model.get())) {
    model = std::shared_ptr<const Model>(independent->model());
  }
  // Refuses modules that couple samples before anything is run: BatchNorm in
  // training mode would change its buffers.
  INFLUENCE_ASSIGN_OR_RETURN(
      std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(model, function));
  std::shared_ptr<Plan> plan;
  INFLUENCE_RETURN_IF_ERROR(
      CatchTorch("observing the model", [&]() -> absl::Status {
        at::AutoGradMode grad_mode(true);
        INFLUENCE_ASSIGN_OR_RETURN(plan, MakePlan(model, function, probe));
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
      new CapturingGradientProvider(std::make_shared<IndependentModel>(
                                        plan->observed, plan->one_by_one()),
                                    function, plan));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor expected,
                             ReferenceGradients(*reference, checked));
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
  std::vector<Service> services(all.size(), Service::kNone);
  for (const int64_t index : selection()) {
    services[index] = plan_->coverage.parameters[index].covered
                          ? Service::kFactors
                          : Service::kAutograd;
  }
  const at::AutoGradMode grad_mode(true);
  std::vector<Terms> terms;
  if (batch.size() == 1) {
    INFLUENCE_ASSIGN_OR_RETURN(terms, TermsOfOne(batch, services));
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(terms, TermsOfSeveral(batch, services));
  }
  std::vector<FactoredParameter> parameters;
  for (const int64_t index : selection()) {
    parameters.push_back(FactoredParameter{
        all[index].name, all[index].tensor.numel(), std::move(terms[index])});
  }
  return FactoredGradients(batch.size(), model().dtype(),
                           std::move(parameters));
}

absl::StatusOr<std::vector<Terms>> CapturingGradientProvider::TermsOfOne(
    const Batch& batch, std::vector<Service> services) const {
  const auto num_tensors = static_cast<int64_t>(services.size());
  while (true) {
    INFLUENCE_ASSIGN_OR_RETURN(
        CapturedPass pass,
        CaptureUncoupled(*plan_->observed, function(), batch));
    const std::vector<std::string> unserved =
        UnservedReasons(pass, num_tensors);
    for (int64_t i = 0; i < num_tensors; ++i) {
      if (services[i] == Service::kFactors && !unserved[i].empty()) {
        services[i] = Service::kAutograd;
      }
    }
    PassGradients gradients = Differentiate(std::move(pass), model(), services);
    bool again = false;
    for (int64_t i = 0; i < num_tensors; ++i) {
      if (gradients.failures[i].empty()) continue;
      services[i] = Service::kAutograd;
      again = true;
    }
    if (!again) return std::move(gradients.terms);
  }
}

absl::StatusOr<std::vector<Terms>> CapturingGradientProvider::TermsOneByOne(
    const Batch& batch, const std::vector<Service>& services) const {
  std::vector<std::vector<Terms>> by_parameter(
      services.size(), std::vector<Terms>(batch.size()));
  for (int64_t n = 0; n < batch.size(); ++n) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch sample, SliceBatch(batch, n, n + 1));
    INFLUENCE_ASSIGN_OR_RETURN(std::vector<Terms> terms,
                               TermsOfOne(sample, services));
    for (size_t p = 0; p < terms.size(); ++p) {
      by_parameter[p][n] = std::move(terms[p]);
    }
  }
  std::vector<Terms> joined;
  joined.reserve(by_parameter.size());
  for (const std::vector<Terms>& samples : by_parameter) {
    joined.push_back(JoinSamples(samples));
  }
  return joined;
}

absl::StatusOr<std::vector<Terms>> CapturingGradientProvider::TermsOfSeveral(
    const Batch& batch, const std::vector<Service>& services) const {
  if (plan_->one_by_one()) return TermsOneByOne(batch, services);
  const auto num_tensors = static_cast<int64_t>(services.size());
  // Parameters that go one by one; the others have their terms already.
  std::vector<Service> rest(services.size(), Service::kNone);
  std::vector<Service> together = services;
  bool any_together = false;
  for (int64_t i = 0; i < num_tensors; ++i) {
    if (together[i] == Service::kAutograd) {
      together[i] = Service::kNone;
      rest[i] = Service::kAutograd;
    }
    any_together = any_together || together[i] == Service::kFactors;
  }
  std::vector<Terms> terms(services.size());
  if (any_together) {
    INFLUENCE_ASSIGN_OR_RETURN(
        CapturedPass pass,
        CaptureUncoupled(*plan_->observed, function(), batch));
    if (!pass.unproven.empty()) return TermsOneByOne(batch, services);
    const std::vector<std::string> unserved =
        UnservedReasons(pass, num_tensors);
    for (int64_t i = 0; i < num_tensors; ++i) {
      if (together[i] != Service::kFactors || unserved[i].empty()) continue;
      together[i] = Service::kNone;
      rest[i] = Service::kFactors;
    }
    PassGradients gradients = Differentiate(std::move(pass), model(), together);
    for (int64_t i = 0; i < num_tensors; ++i) {
      if (!gradients.failures[i].empty()) rest[i] = Service::kAutograd;
    }
    terms = std::move(gradients.terms);
  }
  bool any_rest = false;
  for (const Service service : rest) {
    any_rest = any_rest || service != Service::kNone;
  }
  if (!any_rest) return terms;
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<Terms> one_by_one,
                             TermsOneByOne(batch, rest));
  for (int64_t i = 0; i < num_tensors; ++i) {
    if (rest[i] != Service::kNone) terms[i] = std::move(one_by_one[i]);
  }
  return terms;
}

std::shared_ptr<GradientProvider> CapturingGradientProvider::Clone() const {
  return std::shared_ptr<GradientProvider>(
      new CapturingGradientProvider(*this));
}

}  // namespace influence
