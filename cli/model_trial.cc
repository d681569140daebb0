// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/model_trial.h"

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
#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/rounding_unit.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/model.h"
#include "gradients/script_model.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

using Inputs = std::vector<at::Tensor>;

// Sizes at which a model is looked at that fails for three samples.
constexpr int64_t kOtherSizes[] = {2, 4, 5, 6, 7, 8, 16, 32, 64, 128, 1};

// All combinations of dtypes are looked at up to so many inputs.
constexpr size_t kMaxCombinedInputs = 4;

// Of the largest output, after a conversion.
constexpr double kConversionTolerance = 1e-3;

constexpr char kInferenceAdvice[] =
    "trace it with gradients enabled (not under no_grad), or after "
    "torch.backends.mha.set_fastpath_enabled(False)";

// `count` samples, beginning again where there are no more.
Inputs Samples(const Inputs& x, int64_t count) {
  Inputs samples;
  for (const at::Tensor& input : x) {
    std::vector<int64_t> sizes = input.sizes().vec();
    sizes[0] = count;
    at::Tensor some = at::empty(sizes, input.options());
    for (int64_t n = 0; n < count; ++n) {
      some[n].copy_(input[n % input.size(0)]);
    }
    samples.push_back(std::move(some));
  }
  return samples;
}

// Floating inputs in `dtype`.
Inputs FloatingAs(const Inputs& x, at::ScalarType dtype) {
  Inputs converted;
  for (const at::Tensor& input : x) {
    converted.push_back(
        at::isFloatingType(input.scalar_type()) ? input.to(dtype) : input);
  }
  return converted;
}

// As the gradients' passes run it: without gradients LibTorch takes other
// operators for attention.
absl::StatusOr<at::Tensor> Run(const Model& model, const Inputs& x) {
  const at::AutoGradMode enable_grad(true);
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor output, model.Forward(x));
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("model output", output));
  return output;
}

bool HasSamples(const at::Tensor& output, int64_t count) {
  return output.dim() >= 1 && output.size(0) == count;
}

bool Accepts(const Model& model, const Inputs& x) {
  const absl::StatusOr<at::Tensor> output = Run(model, x);
  return output.ok() && HasSamples(*output, x[0].size(0));
}

// "int64 x [1500, 64]" or "float32 x0 [..], int64 x1 [..]".
std::string DescribeInputs(const TrialOrigin& origin, const Inputs& x) {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < x.size(); ++i) {
    inputs.push_back(
        absl::StrCat(DtypeName(x[i].scalar_type()), " ", origin.input_names[i],
                     " [", absl::StrJoin(origin.input_shapes[i], ", "), "]"));
  }
  return absl::StrJoin(inputs, ", ");
}

absl::Status Fault(absl::string_view file, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", what));
}

std::string Batches(int64_t size) {
  return size == 1 ? "one sample" : absl::StrCat(size, " samples");
}

// The first size that the model accepts, of those that are looked at; 0 if it
// accepts none.
int64_t AcceptedSize(const Model& model, const Inputs& x) {
  for (const int64_t size : kOtherSizes) {
    if (Accepts(model, Samples(x, size))) return size;
  }
  return 0;
}

absl::Status BuiltInSize(const TrialOrigin& origin, int64_t accepted,
                         int64_t refused, absl::string_view message) {
  return Fault(
      origin.model_file,
      absl::StrCat("found forward() to run for a batch of ", Batches(accepted),
                   " and to fail for ", Batches(refused), " (", message,
                   "), expected any number of samples; the size of the "
                   "example's batch was built in when the model was traced: "
                   "use -1 or flatten() in place of a computed size, or "
                   "torch.jit.script"));
}

// A dtype for some inputs that the model would accept, with as few changes as
// possible; empty if none was found.
std::vector<Inputs> AcceptedCasts(const Model& model, const Inputs& x,
                                  at::ScalarType dtype) {
  const std::vector<at::ScalarType> others = {at::kLong, at::kBool, dtype};
  const auto cast = [&](size_t input, size_t choice) -> at::Tensor {
    const at::Tensor& from = x[input];
    if (choice == 0) return from;
    const at::ScalarType to = others[choice - 1];
    if (to == from.scalar_type()) return at::Tensor();
    at::Tensor values = from.to(to);
    // Only what could be stored in the other dtype.
    if (!at::equal(values.to(from.scalar_type()), from)) return at::Tensor();
    return values;
  };
  std::vector<Inputs> accepted;
  const auto look_at = [&](const std::vector<size_t>& choices) {
    Inputs candidate;
    for (size_t i = 0; i < x.size(); ++i) {
      at::Tensor values = cast(i, choices[i]);
      if (!values.defined()) return;
      candidate.push_back(std::move(values));
    }
    if (Accepts(model, candidate)) accepted.push_back(std::move(candidate));
  };
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t choice = 1; choice <= others.size(); ++choice) {
      std::vector<size_t> choices(x.size(), 0);
      choices[i] = choice;
      look_at(choices);
    }
    if (!accepted.empty()) return accepted;
  }
  if (x.size() > kMaxCombinedInputs) return accepted;
  // Counts in base |choices|.
  std::vector<size_t> choices(x.size(), 0);
  while (accepted.empty()) {
    size_t digit = 0;
    while (digit < choices.size() && choices[digit] == others.size()) {
      choices[digit++] = 0;
    }
    if (digit == choices.size()) break;
    ++choices[digit];
    look_at(choices);
  }
  return accepted;
}

// Says which dtypes the model accepts in place of the file's.
absl::Status WrongDtype(const TrialOrigin& origin, const Inputs& x,
                        const std::vector<Inputs>& accepted,
                        absl::string_view message) {
  std::vector<std::string> found;
  std::vector<std::string> expected;
  std::vector<std::string> stored;
  bool several = false;
  for (size_t i = 0; i < x.size(); ++i) {
    std::vector<std::string> dtypes;
    for (const Inputs& candidate : accepted) {
      if (candidate[i].scalar_type() == x[i].scalar_type()) continue;
      dtypes.emplace_back(DtypeName(candidate[i].scalar_type()));
    }
    if (dtypes.empty()) continue;
    several = several || dtypes.size() > 1;
    const std::string& name = origin.input_names[i];
    const std::string either = absl::StrJoin(dtypes, " or ");
    found.push_back(absl::StrCat(DtypeName(x[i].scalar_type()), " ", name, " [",
                                 absl::StrJoin(origin.input_shapes[i], ", "),
                                 "]"));
    expected.push_back(absl::StrCat(either, " ", name));
    stored.push_back(absl::StrCat(name, " as ", either));
  }
  return Fault(
      origin.data_file,
      absl::StrCat("found ", absl::StrJoin(found, ", "), ", which ",
                   origin.model_file, " refuses (", message, "), expected ",
                   absl::StrJoin(expected, " and "), "; store ",
                   absl::StrJoin(stored, " and "),
                   several ? ", whichever the model was trained with" : ""));
}

std::string DtypeAdvice(at::ScalarType of_file, at::ScalarType asked) {
  if (of_file == at::kFloat && asked == at::kDouble) {
    return "leave --dtype out, or export the model in float64";
  }
  if (of_file == at::kDouble && asked == at::kFloat) {
    return "give --dtype float64, or export the model in float32";
  }
  return absl::StrCat("export the model in ", DtypeName(asked));
}

// The model of the file as it was exported; null if it was not converted or
// cannot be had.
std::shared_ptr<const Model> AsExported(const Model& model,
                                        const TrialOrigin& origin) {
  if (model.exported_dtype() == model.dtype()) return nullptr;
  ScriptModelOptions options;
  options.any_floating_dtype = true;
  absl::StatusOr<std::shared_ptr<const Model>> exported =
      LoadScriptModel(origin.model_file, options);
  return exported.ok() ? *std::move(exported) : nullptr;
}

// As of RoundingUnit(), for half precision too.
double UnitOf(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return std::ldexp(1.0, -7);
  if (dtype == at::kHalf) return std::ldexp(1.0, -10);
  return RoundingUnit(dtype);
}

bool SpeaksOfDtypes(absl::string_view message) {
  return absl::StrContains(message, "same dtype") ||
         absl::StrContains(message, "scalar type") ||
         absl::StrContains(message, "Input type (");
}

// The faults that LibTorch's message gives away; OK for others.
absl::Status KnownFault(const TrialOrigin& origin, const Inputs& x,
                        const absl::Status& status) {
  const std::string message(status.message());
  if (absl::IsResourceExhausted(status)) {
    return absl::Status(status.code(),
                        absl::StrCat(origin.model_file, ": ", message));
  }
  if (absl::StartsWith(message, "model output: ")) {
    return Fault(origin.model_file,
                 absl::StrCat("forward(): ",
                              absl::StripPrefix(message, "model output: ")));
  }
  if (absl::StartsWith(message, "model inputs: ")) {
    const size_t expected = message.find("expected ");
    return Fault(origin.data_file,
                 absl::StrCat("found ", DescribeInputs(origin, x), ", ",
                              message.substr(expected), " inputs as forward() ",
                              "of ", origin.model_file, " takes"));
  }
  if (absl::StrContains(absl::AsciiStrToLower(message), "cuda")) {
    return Fault(origin.model_file,
                 "found a tensor that forward() puts on a GPU, expected a "
                 "model that runs on the CPU; export it on the CPU, with the "
                 "device of an input in place of device=\"cuda\"");
  }
  if (absl::StrContains(message, "functions with out=...")) {
    return Fault(origin.model_file,
                 absl::StrCat("found a buffer that forward() writes to (",
                              absl::StripPrefix(message, "model: "),
                              "), expected none to change; spectral_norm does "
                              "so in training mode: call eval() before the "
                              "model is traced"));
  }
  return absl::OkStatus();
}

// Why the model fails for three samples. `status` is its own.
absl::Status ExplainFailure(const Model& model, const TrialOrigin& origin,
                            const Inputs& x, const absl::Status& status) {
  INFLUENCE_RETURN_IF_ERROR(KnownFault(origin, x, status));
  const absl::string_view message =
      absl::StripPrefix(status.message(), "model: ");
  if (const std::shared_ptr<const Model> exported = AsExported(model, origin);
      exported != nullptr &&
      Accepts(*exported, FloatingAs(x, exported->dtype()))) {
    return Fault(
        origin.model_file,
        absl::StrCat("found ", DtypeName(exported->dtype()),
                     " built into forward(), which runs as exported and fails "
                     "in ",
                     DtypeName(origin.dtype), " (", message, "); ",
                     DtypeAdvice(exported->dtype(), origin.dtype)));
  }
  if (const int64_t size = AcceptedSize(model, x); size > 0) {
    return BuiltInSize(origin, size, kTrialSamples, message);
  }
  const std::vector<Inputs> casts = AcceptedCasts(model, x, origin.dtype);
  if (!casts.empty()) return WrongDtype(origin, x, casts, message);
  const bool all_floating =
      std::all_of(x.begin(), x.end(), [](const at::Tensor& input) {
        return at::isFloatingType(input.scalar_type());
      });
  if (all_floating && SpeaksOfDtypes(message)) {
    return Fault(origin.model_file,
                 absl::StrCat("found dtypes that forward() mixes by itself (",
                              message, "), expected ", DtypeName(origin.dtype),
                              " throughout; a trace keeps its casts: export "
                              "the model in ",
                              DtypeName(origin.dtype)));
  }
  return Fault(origin.data_file,
               absl::StrCat("found ", DescribeInputs(origin, x),
                            ", expected inputs that ", origin.model_file,
                            " accepts (", message, ")"));
}

// `output` is of three samples and has another number of rows.
absl::Status ExplainRows(const Model& model, const TrialOrigin& origin,
                         const Inputs& x, const at::Tensor& output) {
  const std::string found =
      absl::StrCat("output of shape ", ShapeString(output),
                   " for a batch of "
                   "3 samples");
  if (const int64_t size = AcceptedSize(model, x); size > 1) {
    return BuiltInSize(origin, size, kTrialSamples, found);
  }
  return Fault(origin.model_file,
               absl::StrCat("found ", found,
                            ", expected the samples along dimension 0"));
}

// Why one sample alone, or two, give what does not fit to `three`, the output
// of three.
absl::Status ExplainSmallBatch(const Model& model, const TrialOrigin& origin,
                               const Inputs& x, int64_t size,
                               const absl::StatusOr<at::Tensor>& output,
                               const at::Tensor& three) {
  const std::string batch = absl::StrCat("a batch of ", Batches(size),
                                         ", which the tool tries itself");
  constexpr absl::string_view kSqueeze =
      "(a bare squeeze()?); use squeeze(-1), which leaves that dimension in "
      "place";
  if (!output.ok()) {
    const absl::string_view message =
        absl::StripPrefix(output.status().message(), "model: ");
    if (size == 1 && Accepts(model, Samples(x, 2))) {
      return Fault(
          origin.model_file,
          absl::StrCat("found forward() to fail for ", batch, " (", message,
                       "), expected it to keep the dimension of "
                       "samples ",
                       kSqueeze));
    }
    return BuiltInSize(origin, kTrialSamples, size, message);
  }
  const std::string found =
      absl::StrCat("output of shape ", ShapeString(*output), " for ", batch);
  if (output->dim() == three.dim() && HasSamples(*output, size)) {
    const bool width_is_batch = output->dim() == 2 && output->size(1) == size &&
                                three.size(1) == kTrialSamples;
    return Fault(
        origin.model_file,
        absl::StrCat("found ", found, ", and ", ShapeString(three),
                     " for 3 samples, expected a shape of a sample's output "
                     "that does not depend on the batch",
                     width_is_batch ? "; samples are compared with each other "
                                      "(in-batch negatives?), and none has an "
                                      "influence of its own"
                                    : ""));
  }
  if (output->dim() == three.dim() && output->size(0) == three.size(0)) {
    return BuiltInSize(origin, kTrialSamples, size, found);
  }
  return Fault(origin.model_file, absl::StrCat("found ", found,
                                               ", expected a dimension of "
                                               "samples ",
                                               kSqueeze));
}

// A backward pass, for operators that have none.
absl::Status TryBackward(const Model& model, const TrialOrigin& origin,
                         const at::Tensor& output) {
  if (!output.requires_grad()) return absl::OkStatus();
  const at::AutoGradMode enable_grad(true);
  std::vector<at::Tensor> parameters;
  for (const NamedParameter& parameter : model.parameters()) {
    parameters.push_back(parameter.tensor);
  }
  const absl::Status status = CatchTorch("gradients", [&]() -> absl::Status {
    torch::autograd::grad({output.sum()}, parameters, /*grad_outputs=*/{},
                          /*retain_graph=*/false, /*create_graph=*/false,
                          /*allow_unused=*/true);
    return absl::OkStatus();
  });
  const absl::string_view message =
      absl::StripPrefix(status.message(), "gradients: ");
  if (absl::StrContains(message, "_transformer_encoder_layer_fwd") ||
      absl::StrContains(message, "_native_multi_head_attention")) {
    return Fault(
        origin.model_file,
        absl::StrCat("found an operator of PyTorch's inference fast "
                     "path, which has no derivative (",
                     message, "), expected a model exported for training; ",
                     kInferenceAdvice));
  }
  // Others concern single parameters, and may be served all the same.
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> TryModel(
    const Model& model, const TrialOrigin& origin,
    const std::vector<at::Tensor>& x) {
  return CatchTorch("model", [&]() -> absl::StatusOr<std::vector<int64_t>> {
    const absl::StatusOr<at::Tensor> three =
        Run(model, Samples(x, kTrialSamples));
    if (!three.ok()) {
      return ExplainFailure(model, origin, Samples(x, kTrialSamples),
                            three.status());
    }
    if (!HasSamples(*three, kTrialSamples)) {
      return ExplainRows(model, origin, x, *three);
    }
    for (const int64_t size : {1, 2}) {
      const absl::StatusOr<at::Tensor> output = Run(model, Samples(x, size));
      if (!output.ok() || !HasSamples(*output, size) ||
          output->sizes().slice(1) != three->sizes().slice(1)) {
        return ExplainSmallBatch(model, origin, x, size, output, *three);
      }
      if (size == 1) {
        INFLUENCE_RETURN_IF_ERROR(TryBackward(model, origin, *output));
      }
    }
    return three->sizes().vec();
  });
}

absl::Status CheckConversion(const Model& model, const TrialOrigin& origin,
                             const std::vector<at::Tensor>& x) {
  return CatchTorch("model", [&]() -> absl::Status {
    at::Tensor expected;
    at::ScalarType of_file = at::kFloat;
    {
      const std::shared_ptr<const Model> exported = AsExported(model, origin);
      if (exported == nullptr) return absl::OkStatus();
      of_file = exported->dtype();
      const absl::StatusOr<at::Tensor> output =
          Run(*exported, FloatingAs(x, of_file));
      if (!output.ok()) return absl::OkStatus();
      expected = output->detach().to(at::kDouble);
    }
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor output, Run(model, x));
    const at::Tensor found = output.detach().to(at::kDouble);
    // One NaN is as good as another.
    const double scale = expected.nan_to_num().abs().max().item<double>();
    const at::Tensor apart = found.sub(expected).abs();
    const double difference =
        found.sizes() != expected.sizes()
            ? 1
            : apart.masked_fill(found.isnan().logical_and(expected.isnan()), 0)
                      .max()
                      .item<double>() /
                  (scale > 0 ? scale : 1);
    const double tolerance =
        std::max(kConversionTolerance, 16 * UnitOf(of_file));
    if (difference <= tolerance) return absl::OkStatus();
    return Fault(
        origin.model_file,
        absl::StrFormat("found outputs that differ by %.2g (relative) "
                        "after the conversion from %s to %s, expected "
                        "the same to %.1g; %s is built in: %s",
                        difference, DtypeName(of_file), DtypeName(origin.dtype),
                        tolerance, DtypeName(of_file),
                        DtypeAdvice(of_file, origin.dtype)));
  });
}

}  // namespace influence
