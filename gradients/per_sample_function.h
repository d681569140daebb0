// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Per-sample functions of a model's output and the labels: the losses that
// training minimises and the query functions whose change is asked for.
#ifndef INFLUENCE_GRADIENTS_PER_SAMPLE_FUNCTION_H_
#define INFLUENCE_GRADIENTS_PER_SAMPLE_FUNCTION_H_

#include <functional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace influence {

// l(f(x), y) for each sample by itself. Stateless apart from the functions it
// holds; copies are cheap and may be used from several threads.
class PerSampleFunction {
 public:
  // output [N, ...], y [N, ...] -> [N], differentiable in output by autograd
  // (twice, for curvature); value n must depend on row n only. May throw.
  using Function =
      std::function<at::Tensor(const at::Tensor& output, const at::Tensor& y)>;

  // Checks shapes, dtypes and label ranges before `function` is called.
  using Validator = std::function<absl::Status(const at::Tensor& output,
                                               const at::Tensor& y)>;

  // Brings an output to the layout that function and validator take, by views
  // alone; y decides where the output can be read in several ways, and has the
  // labels' shape. May throw.
  using Arranger = std::function<absl::StatusOr<at::Tensor>(
      const at::Tensor& output, const at::Tensor& y)>;

  // `higher_is_better`: false for a loss, true for a margin or a logit. It
  // decides the sign by which a score counts as helpful.
  PerSampleFunction(std::string name, bool higher_is_better, Function function,
                    Validator validator = nullptr, Arranger arranger = nullptr);

  const std::string& name() const { return name_; }
  bool higher_is_better() const { return higher_is_better_; }

  // The output as `function` takes it: for class logits [N, ..., K].
  // kInvalidArgument where that cannot be told.
  absl::StatusOr<at::Tensor> Arrange(const at::Tensor& output,
                                     const at::Tensor& y) const;

  // This function of outputs that are arranged as `other` arranges them.
  PerSampleFunction ArrangedAs(const PerSampleFunction& other) const;

  // What Evaluate() checks of `output` and `y` before it computes anything;
  // only the shape and dtype of `output` matter, not its values.
  absl::Status Validate(const at::Tensor& output, const at::Tensor& y) const;

  // The values, [N]. kInvalidArgument from Validate(), or if the function's
  // result is not [N]; kInternal with LibTorch's message if it throws.
  absl::StatusOr<at::Tensor> Evaluate(const at::Tensor& output,
                                      const at::Tensor& y) const;

 private:
  std::string name_;
  bool higher_is_better_;
  Function function_;
  Validator validator_;
  Arranger arranger_;
};

// Where the classes lie in logits of several predictions a sample.
enum class LogitsLayout {
  kByShape,        // By the shape of y; an error where both fit.
  kClassesLast,    // [N, T, K] with y [N, T]
  kClassesSecond,  // [N, K, T] with y [N, T], as torch.nn.CrossEntropyLoss has
};

struct CrossEntropyOptions {
  LogitsLayout layout = LogitsLayout::kByShape;
};

// "classes_last", "classes_second"; "by_shape" is the third.
absl::string_view LogitsLayoutName(LogitsLayout layout);

// kInvalidArgument listing the names for another one.
absl::StatusOr<LogitsLayout> ParseLogitsLayout(absl::string_view name);

// -log softmax(output)[y]: output [N, K] with y integer [N] in [0, K), or
// output [N, ..., K] or [N, K, ...] with y [N, ...], summed over the
// predictions (tokens, pixels) of a sample; those with y = -100 are ignored.
PerSampleFunction CrossEntropyLoss(const CrossEntropyOptions& options = {});

// mean((output - y)^2) over the elements of one sample; y has exactly the
// output's shape.
PerSampleFunction MeanSquaredErrorLoss();

// mean(log(1 + e^o) - y * o) over the elements of one sample; y in [0, 1] has
// exactly the output's shape.
PerSampleFunction BinaryCrossEntropyWithLogitsLoss();

// The losses by name: "cross_entropy", "mse",
// "binary_cross_entropy_with_logits". kInvalidArgument listing them otherwise.
absl::StatusOr<PerSampleFunction> LossByName(absl::string_view name);

// log p - log(1 - p) of the correct class, p = softmax(output)[y]; shapes as
// CrossEntropyLoss, summed over the tokens of a sequence (Park et al. 2023,
// "TRAK", section 3.2).
PerSampleFunction MarginFunction(const CrossEntropyOptions& options = {});

// output[y], the correct class's logit; shapes as CrossEntropyLoss, summed over
// the tokens of a sequence.
PerSampleFunction LogitFunction(const CrossEntropyOptions& options = {});

// "loss" is `loss` itself, "margin" and "logit" are the functions above, of
// outputs in the layout of `loss`, and are refused for a loss other than
// cross_entropy. kInvalidArgument otherwise.
absl::StatusOr<PerSampleFunction> QueryFunctionByName(
    absl::string_view name, const PerSampleFunction& loss);

std::vector<std::string> LossNames();

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_PER_SAMPLE_FUNCTION_H_
