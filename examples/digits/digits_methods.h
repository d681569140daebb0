// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// All methods on the same network and the same digits: how well each agrees
// with the exact one, what it costs, and how many wrong labels it finds.
#ifndef INFLUENCE_EXAMPLES_DIGITS_DIGITS_METHODS_H_
#define INFLUENCE_EXAMPLES_DIGITS_DIGITS_METHODS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/progress.h"
#include "examples/digits/digits_data.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "influence/composable_influence.h"

namespace influence {

// "direct", which is exact, first.
std::vector<std::string> DigitsMethodNames();

// What a method is here, in a few words: "Hessian, rank 100". Empty for an
// unknown name.
std::string DigitsMethodSettings(absl::string_view name);

// The same for the `influence` command: "--method arnoldi --rank 100
// --regularization 0.011".
std::string DigitsMethodArguments(absl::string_view name,
                                  double regularization);

struct DigitsMethodOptions {
  double regularization = 0.01;  // lambda > 0, the same for all methods.
  int num_threads = 0;           // Of the direct fit; 0 means LibTorch's.
};

// The method called `name` over one block of all parameters, or a block a layer
// where it knows no other; not fitted. kInvalidArgument, listing the names, for
// an unknown one, or if an option is out of range.
absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateDigitsMethod(
    absl::string_view name, std::shared_ptr<const GradientProvider> provider,
    const DigitsMethodOptions& options);

struct MethodComparison {
  std::string name;

  // Spearman's correlation with the scores of "direct", of a held-out digit's N
  // scores, averaged over the digits.
  double agreement = 0;

  // Wrong labels among the first tenth by self-influence, and by total harm to
  // the held-out digits; of all wrong labels.
  double found_by_self = 0;
  double found_by_harm = 0;

  double fit_seconds = 0;
  double score_seconds = 0;  // Of the M x N scores, solves included.

  // Growth of the process's memory while it fitted and scored. Less than a
  // megabyte is not measured well.
  int64_t peak_bytes = 0;
};

struct DigitsComparisonOptions : DigitsMethodOptions {
  std::vector<std::string> names = DigitsMethodNames();  // "direct" first.
  int64_t batch_size = 256;                              // >= 1
};

// `flipped`: [N], the wrong labels of `train`. One entry a name, in order.
// kInvalidArgument if the first name is not "direct"; errors of the library as
// they come. `progress` may be null.
absl::StatusOr<std::vector<MethodComparison>> CompareMethods(
    const std::shared_ptr<const Model>& model, const DigitImages& train,
    const DigitImages& test, const std::vector<bool>& flipped,
    const DigitsComparisonOptions& options,
    ProgressReporter* progress = nullptr);

// A table for people, in Markdown.
std::string ComparisonText(const std::vector<MethodComparison>& comparison);

// Spearman's correlation of two rows [N]; equal scores keep their order.
absl::StatusOr<double> RankCorrelation(const at::Tensor& a,
                                       const at::Tensor& b);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_DIGITS_METHODS_H_
