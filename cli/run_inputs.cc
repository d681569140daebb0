// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/run_inputs.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/batch_sizes.h"
#include "cli/data_set.h"
#include "cli/job.h"
#include "cli/model_trial.h"
#include "cli/options.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"

namespace influence {
namespace {

// On which a model is compared with its file. Spread over the data: the first
// samples alone may have no padding.
constexpr int64_t kConversionSamples = 8;

// `status` with the file in place of what the library calls its argument.
absl::Status InFile(absl::string_view file, absl::string_view argument,
                    const absl::Status& status) {
  return absl::Status(
      status.code(),
      absl::StrCat(
          file, ": ",
          absl::StripPrefix(status.message(), absl::StrCat(argument, ": "))));
}

}  // namespace

absl::Status ApplyThreads(const RunOptions& options) {
  return CatchTorch("--threads", [&]() -> absl::Status {
    at::set_num_threads(options.num_threads.value_or(ThreadsPerRank()));
    return absl::OkStatus();
  });
}

void UseOneThreadIfSmall(const RunOptions& options, const RunInputs& inputs) {
  if (options.num_threads.has_value() || inputs.train == nullptr) return;
  if (IsSmall({.num_parameters = inputs.model->num_parameters(),
               .num_train = inputs.train->num_samples(),
               .values_per_input = inputs.train->values_per_sample()})) {
    at::set_num_threads(1);
  }
}

absl::StatusOr<std::shared_ptr<const Model>> OpenModel(const std::string& path,
                                                       at::ScalarType dtype) {
  absl::StatusOr<std::shared_ptr<const Model>> model =
      LoadScriptModel(path, {.dtype = dtype});
  if (!model.ok()) {
    return absl::Status(model.status().code(),
                        absl::StrReplaceAll(model.status().message(),
                                            {{absl::StrCat(path, ": model: "),
                                              absl::StrCat(path, ": ")}}));
  }
  if (const absl::Status status = ValidateUncoupled(**model); !status.ok()) {
    return InFile(path, "model", status);
  }
  return model;
}

absl::StatusOr<RunInputs> OpenRunInputs(
    std::shared_ptr<const Model> model, const ModelOptions& options,
    const std::optional<std::string>& test,
    const PerSampleFunction& query_function) {
  RunInputs inputs;
  inputs.model = std::move(model);
  if (!options.train.empty()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        inputs.train, DataSet::Open(options.train, options.dtype, *inputs.model,
                                    options.model));
  }
  if (test.has_value()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        inputs.test,
        DataSet::Open(*test, options.dtype, *inputs.model, options.model));
  }
  const DataSet& any = inputs.train != nullptr ? *inputs.train : *inputs.test;
  if (inputs.model->exported_dtype() != inputs.model->dtype()) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<at::Tensor> x,
                               any.SpreadInputs(kConversionSamples));
    INFLUENCE_RETURN_IF_ERROR(CheckConversion(*inputs.model, any.origin(), x));
  }
  if (inputs.train != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(inputs.train->CheckLabels(options.loss));
  }
  if (inputs.test != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(inputs.test->CheckLabels(query_function));
  }

  INFLUENCE_ASSIGN_OR_RETURN(const Batch probe, any.First(kSelfCheckSamples));
  absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>> provider =
      CapturingGradientProvider::Create(
          inputs.model, options.loss, probe,
          {.self_check_samples = static_cast<int>(kSelfCheckSamples)});
  if (!provider.ok()) {
    return InFile(options.model, "model", provider.status());
  }
  inputs.provider = *std::move(provider);
  return inputs;
}

absl::StatusOr<RunInputs> OpenRunInputs(
    const ModelOptions& options, const std::optional<std::string>& test,
    const PerSampleFunction& query_function) {
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model,
                             OpenModel(options.model, options.dtype));
  return OpenRunInputs(std::move(model), options, test, query_function);
}

}  // namespace influence
