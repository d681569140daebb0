// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_influence.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "examples/digits/digits_methods.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/composable_influence.h"
#include "influence/identity_influence.h"
#include "influence/influence_function_model.h"
#include "influence/prepared_queries.h"

namespace influence {
namespace {

// Seconds since it was made or last read.
class Stopwatch {
 public:
  double Lap() {
    const absl::Time now = absl::Now();
    const double seconds = absl::ToDoubleSeconds(now - start_);
    start_ = now;
    return seconds;
  }

 private:
  absl::Time start_ = absl::Now();
};

// [M, N], a batch of columns after the other.
absl::StatusOr<at::Tensor> Scores(const InfluenceFunctionModel& influence,
                                  const DigitImages& test,
                                  const BatchSequence& train) {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<const PreparedQueries> queries,
      influence.PrepareQueries(test));
  std::vector<at::Tensor> columns;
  for (int64_t b = 0; b < train.num_batches(); ++b) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, train.Get(b));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor scores, queries->Influences(batch));
    columns.push_back(std::move(scores));
  }
  return at::cat(columns, 1);
}

}  // namespace

absl::StatusOr<DigitPredictions> PredictDigits(const Model& model,
                                               const DigitImages& images) {
  return CatchTorch("prediction", [&]() -> absl::StatusOr<DigitPredictions> {
    const at::NoGradGuard no_grad;
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor logits,
                               model.Forward(images.x));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor losses,
                               CrossEntropyLoss().Evaluate(logits, images.y));
    return DigitPredictions{logits.softmax(1), std::move(losses)};
  });
}

double Accuracy(const at::Tensor& probabilities, const at::Tensor& y) {
  return probabilities.argmax(1).eq(y).to(at::kDouble).mean().item<double>();
}

absl::StatusOr<DigitsInfluence> ComputeDigitsInfluence(
    const std::shared_ptr<const Model>& model, const DigitImages& train,
    const DigitImages& test, const DigitsInfluenceOptions& options,
    ProgressReporter* progress) {
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("regularization", options.regularization));
  INFLUENCE_ASSIGN_OR_RETURN(
      TensorBatchSequence sequence,
      TensorBatchSequence::Create(train, options.batch_size));
  const auto data = std::make_shared<TensorBatchSequence>(std::move(sequence));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const CapturingGradientProvider> provider,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), train));
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*model, BlockStructure::kFull);

  DigitsInfluence result;
  result.coverage = provider->coverage();
  INFLUENCE_ASSIGN_OR_RETURN(DigitPredictions predictions,
                             PredictDigits(*model, train));
  result.train_probabilities = predictions.probabilities;
  result.train_losses = predictions.losses;
  INFLUENCE_ASSIGN_OR_RETURN(predictions, PredictDigits(*model, test));
  result.test_probabilities = predictions.probabilities;
  result.test_losses = predictions.losses;

  Stopwatch stopwatch;
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ComposableInfluence> method,
      CreateDigitsMethod(options.method, provider,
                         {.regularization = options.regularization,
                          .num_threads = options.num_threads}));
  INFLUENCE_RETURN_IF_ERROR(method->Fit(data, progress));
  for (const BlockReport& block : method->report()) {
    result.smallest_eigenvalue = block.smallest_eigenvalue;
  }
  result.fit_seconds = stopwatch.Lap();

  INFLUENCE_ASSIGN_OR_RETURN(result.scores, Scores(*method, test, *data));
  result.score_seconds = stopwatch.Lap();

  std::vector<at::Tensor> self_influence;
  std::vector<at::Tensor> identity_self_influence;
  for (int64_t b = 0; b < data->num_batches(); ++b) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data->Get(b));
    INFLUENCE_ASSIGN_OR_RETURN(self_influence.emplace_back(),
                               method->SelfInfluences(batch));
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                               provider->FactoredGrads(batch));
    INFLUENCE_ASSIGN_OR_RETURN(identity_self_influence.emplace_back(),
                               gradients.SquaredNorms());
  }
  result.self_influence = at::cat(self_influence);
  result.identity_self_influence = at::cat(identity_self_influence);
  result.self_seconds = stopwatch.Lap();

  INFLUENCE_ASSIGN_OR_RETURN(const std::unique_ptr<IdentityInfluence> identity,
                             IdentityInfluence::Create(provider, blocks));
  INFLUENCE_RETURN_IF_ERROR(identity->Fit(data));
  INFLUENCE_ASSIGN_OR_RETURN(result.identity_scores,
                             Scores(*identity, test, *data));
  result.identity_score_seconds = stopwatch.Lap();
  return result;
}

}  // namespace influence
