// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/per_sample_function.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Reduction.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/binary_cross_entropy_with_logits.h"
#include "ATen/ops/log_softmax.h"
#include "ATen/ops/logical_and.h"
#include "ATen/ops/logical_or.h"
#include "ATen/ops/nonzero.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

constexpr int64_t kIgnoreIndex = -100;
constexpr char kCrossEntropy[] = "cross_entropy";
constexpr char kMeanSquaredError[] = "mse";
constexpr char kBinaryCrossEntropy[] = "binary_cross_entropy_with_logits";

// " at sample 3", or " at sample 3, element [1, 0]" for an entry of more
// dimensions.
std::string Place(const at::Tensor& index) {
  std::string place = absl::StrCat(" at sample ", index[0].item<int64_t>());
  if (index.numel() == 1) return place;
  std::vector<int64_t> rest;
  for (int64_t d = 1; d < index.numel(); ++d) {
    rest.push_back(index[d].item<int64_t>());
  }
  if (rest.size() == 1) return absl::StrCat(place, ", token ", rest[0]);
  return absl::StrCat(place, ", element [", absl::StrJoin(rest, ", "), "]");
}

absl::StatusOr<at::Tensor> ArrangeLogits(LogitsLayout layout,
                                         const at::Tensor& output,
                                         const at::Tensor& y) {
  if (output.dim() < 3) return output;
  const at::IntArrayRef shape = output.sizes();
  std::vector<int64_t> without_second = shape.vec();
  without_second.erase(without_second.begin() + 1);
  if (layout == LogitsLayout::kByShape) {
    const bool last = y.sizes() == shape.slice(0, output.dim() - 1);
    const bool second = y.sizes() == at::IntArrayRef(without_second);
    // One class and one prediction are the same either way.
    if (last && second && output.numel() > output.size(0)) {
      const std::string positions = absl::StrJoin(y.sizes().slice(1), ", ");
      return absl::InvalidArgumentError(absl::StrCat(
          "model output: found shape ", ShapeString(output),
          " with labels of shape ", ShapeString(y),
          ", which can be read as [N, ", positions, ", K = ", output.size(-1),
          "] (classes_last) and as [N, K = ", output.size(1), ", ", positions,
          "] (classes_second, as torch.nn.CrossEntropyLoss does), expected "
          "the layout to be given (--logits-layout of the command, "
          "CrossEntropyOptions in the library)"));
    }
    if (!second || last) return output;
  } else if (layout == LogitsLayout::kClassesLast) {
    return output;
  }
  return output.movedim(1, -1);
}

PerSampleFunction::Arranger ArrangerOf(const CrossEntropyOptions& options) {
  return
      [layout = options.layout](const at::Tensor& output, const at::Tensor& y) {
        return ArrangeLogits(layout, output, y);
      };
}

// Of logits with the classes last.
absl::Status ValidateClassLabels(const at::Tensor& output,
                                 const at::Tensor& y) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("model output", output));
  if (output.dim() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("model output: found shape ", ShapeString(output),
                     ", expected logits [N, K] or, of several predictions a "
                     "sample, [N, ..., K] or [N, K, ...]"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateInteger("labels", y));
  const int64_t num_classes = output.size(-1);
  INFLUENCE_RETURN_IF_ERROR(
      ValidateShape("labels", y, output.sizes().slice(0, output.dim() - 1)));
  const bool ignores = output.dim() >= 3;
  // A narrow dtype would wrap the bounds round.
  const at::Tensor labels = y.to(at::kLong);
  at::Tensor bad = at::logical_or(labels.lt(0), labels.ge(num_classes));
  if (ignores) bad = at::logical_and(bad, labels.ne(kIgnoreIndex));
  if (!bad.any().item<bool>()) return absl::OkStatus();
  const at::Tensor index = at::nonzero(bad)[0];
  const int64_t value = labels.masked_select(bad)[0].item<int64_t>();
  return absl::InvalidArgumentError(absl::StrCat(
      "labels: found value ", value, Place(index), ", expected [0, ",
      num_classes, ")", ignores ? " or -100 for an ignored token" : ""));
}

// The margin compares the correct class with the others.
absl::Status ValidateClassLabelsOfSeveral(const at::Tensor& output,
                                          const at::Tensor& y) {
  INFLUENCE_RETURN_IF_ERROR(ValidateClassLabels(output, y));
  if (output.size(-1) >= 2) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("model output: found shape ", ShapeString(output),
                   ", expected at least 2 classes for a margin"));
}

absl::Status ValidateTargets(const at::Tensor& output, const at::Tensor& y) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("model output", output));
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("targets", y));
  if (output.numel() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("model output: found shape ", ShapeString(output),
                     ", expected at least one element a sample"));
  }
  return ValidateShape("targets", y, output.sizes());
}

absl::Status ValidateProbabilities(const at::Tensor& output,
                                   const at::Tensor& y) {
  INFLUENCE_RETURN_IF_ERROR(ValidateTargets(output, y));
  // Written so that NaN is bad.
  const at::Tensor bad = at::logical_and(y.ge(0), y.le(1)).logical_not();
  if (!bad.any().item<bool>()) return absl::OkStatus();
  const at::Tensor index = at::nonzero(bad)[0];
  const double value = y.masked_select(bad)[0].to(at::kDouble).item<double>();
  return absl::InvalidArgumentError(absl::StrCat(
      "targets: found value ", value, Place(index), ", expected [0, 1]"));
}

// [N, ...] -> [N].
at::Tensor SumOfSample(const at::Tensor& values) {
  return values.reshape({values.size(0), -1}).sum(1);
}

at::Tensor MeanOfSample(const at::Tensor& values) {
  return values.reshape({values.size(0), -1}).mean(1);
}

// The labels as an index, [N, ..., 1], with 0 for an ignored token,
// and where there is none, of the same shape.
struct LabelIndex {
  at::Tensor index;
  at::Tensor ignored;
};

LabelIndex MakeLabelIndex(const at::Tensor& y) {
  const at::Tensor column = y.to(at::kLong).unsqueeze(-1);
  const at::Tensor ignored = column.eq(kIgnoreIndex);
  return {column.masked_fill(ignored, 0), ignored};
}

at::Tensor CrossEntropy(const at::Tensor& output, const at::Tensor& y) {
  const LabelIndex labels = MakeLabelIndex(y);
  const at::Tensor log_p = at::log_softmax(output, -1).gather(-1, labels.index);
  return SumOfSample(log_p.masked_fill(labels.ignored, 0)).neg();
}

// log p - log(1 - p) = o[y] - logsumexp of the other logits: no difference of
// nearly equal numbers, however close p is to 1.
at::Tensor Margin(const at::Tensor& output, const at::Tensor& y) {
  const LabelIndex labels = MakeLabelIndex(y);
  const at::Tensor correct = output.gather(-1, labels.index);
  const at::Tensor others =
      output.scatter(-1, labels.index, -std::numeric_limits<double>::infinity())
          .logsumexp({-1}, /*keepdim=*/true);
  return SumOfSample(correct.sub(others).masked_fill(labels.ignored, 0));
}

at::Tensor Logit(const at::Tensor& output, const at::Tensor& y) {
  const LabelIndex labels = MakeLabelIndex(y);
  return SumOfSample(
      output.gather(-1, labels.index).masked_fill(labels.ignored, 0));
}

at::Tensor MeanSquaredError(const at::Tensor& output, const at::Tensor& y) {
  const at::Tensor difference = output.sub(y.to(output.scalar_type()));
  return MeanOfSample(difference.mul(difference));
}

at::Tensor BinaryCrossEntropy(const at::Tensor& output, const at::Tensor& y) {
  return MeanOfSample(at::binary_cross_entropy_with_logits(
      output, y.to(output.scalar_type()), /*weight=*/{}, /*pos_weight=*/{},
      at::Reduction::None));
}

}  // namespace

PerSampleFunction::PerSampleFunction(std::string name, bool higher_is_better,
                                     Function function, Validator validator,
                                     Arranger arranger)
    : name_(std::move(name)),
      higher_is_better_(higher_is_better),
      function_(std::move(function)),
      validator_(std::move(validator)),
      arranger_(std::move(arranger)) {}

absl::StatusOr<at::Tensor> PerSampleFunction::Arrange(
    const at::Tensor& output, const at::Tensor& y) const {
  if (arranger_ == nullptr) return output;
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("model output", output));
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("y", y));
  return CatchTorch(name_, [&] { return arranger_(output, y); });
}

PerSampleFunction PerSampleFunction::ArrangedAs(
    const PerSampleFunction& other) const {
  PerSampleFunction arranged = *this;
  arranged.arranger_ = other.arranger_;
  return arranged;
}

absl::Status PerSampleFunction::Validate(const at::Tensor& output,
                                         const at::Tensor& y) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("model output", output));
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("y", y));
  if (output.dim() < 1 || y.dim() < 1 || output.size(0) != y.size(0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model output: found shape ", ShapeString(output),
        ", expected a first dimension of samples as y has, whose shape is ",
        ShapeString(y)));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor arranged, Arrange(output, y));
  if (validator_ == nullptr) return absl::OkStatus();
  return CatchTorch(name_, [&] { return validator_(arranged, y); });
}

absl::StatusOr<at::Tensor> PerSampleFunction::Evaluate(
    const at::Tensor& output, const at::Tensor& y) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(output, y));
  return CatchTorch(name_, [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor arranged, Arrange(output, y));
    at::Tensor values = function_(arranged, y);
    INFLUENCE_RETURN_IF_ERROR(ValidateFloating(name_, values));
    INFLUENCE_RETURN_IF_ERROR(ValidateShape(name_, values, {y.size(0)}));
    return values;
  });
}

absl::string_view LogitsLayoutName(LogitsLayout layout) {
  switch (layout) {
    case LogitsLayout::kByShape:
      return "by_shape";
    case LogitsLayout::kClassesLast:
      return "classes_last";
    case LogitsLayout::kClassesSecond:
      return "classes_second";
  }
  return "";
}

absl::StatusOr<LogitsLayout> ParseLogitsLayout(absl::string_view name) {
  for (const LogitsLayout layout :
       {LogitsLayout::kByShape, LogitsLayout::kClassesLast,
        LogitsLayout::kClassesSecond}) {
    if (name == LogitsLayoutName(layout)) return layout;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("logits layout: found \"", name,
                   "\", expected one of by_shape, classes_last, "
                   "classes_second"));
}

PerSampleFunction CrossEntropyLoss(const CrossEntropyOptions& options) {
  return PerSampleFunction(kCrossEntropy, /*higher_is_better=*/false,
                           CrossEntropy, ValidateClassLabels,
                           ArrangerOf(options));
}

PerSampleFunction MeanSquaredErrorLoss() {
  return PerSampleFunction(kMeanSquaredError, /*higher_is_better=*/false,
                           MeanSquaredError, ValidateTargets);
}

PerSampleFunction BinaryCrossEntropyWithLogitsLoss() {
  return PerSampleFunction(kBinaryCrossEntropy, /*higher_is_better=*/false,
                           BinaryCrossEntropy, ValidateProbabilities);
}

absl::StatusOr<PerSampleFunction> LossByName(absl::string_view name) {
  if (name == kCrossEntropy) return CrossEntropyLoss();
  if (name == kMeanSquaredError) return MeanSquaredErrorLoss();
  if (name == kBinaryCrossEntropy) return BinaryCrossEntropyWithLogitsLoss();
  return absl::InvalidArgumentError(
      absl::StrCat("loss: found \"", name, "\", expected one of ",
                   absl::StrJoin(LossNames(), ", ")));
}

PerSampleFunction MarginFunction(const CrossEntropyOptions& options) {
  return PerSampleFunction("margin", /*higher_is_better=*/true, Margin,
                           ValidateClassLabelsOfSeveral, ArrangerOf(options));
}

PerSampleFunction LogitFunction(const CrossEntropyOptions& options) {
  return PerSampleFunction("logit", /*higher_is_better=*/true, Logit,
                           ValidateClassLabels, ArrangerOf(options));
}

absl::StatusOr<PerSampleFunction> QueryFunctionByName(
    absl::string_view name, const PerSampleFunction& loss) {
  if (name == "loss") return loss;
  if (name != "margin" && name != "logit") {
    return absl::InvalidArgumentError(
        absl::StrCat("query function: found \"", name,
                     "\", expected one of loss, margin, logit"));
  }
  if (loss.name() != kCrossEntropy) {
    return absl::InvalidArgumentError(
        absl::StrCat("query function: found \"", name, "\" with loss \"",
                     loss.name(), "\", expected loss \"", kCrossEntropy, "\""));
  }
  return (name == "margin" ? MarginFunction() : LogitFunction())
      .ArrangedAs(loss);
}

std::vector<std::string> LossNames() {
  return {kCrossEntropy, kMeanSquaredError, kBinaryCrossEntropy};
}

}  // namespace influence
