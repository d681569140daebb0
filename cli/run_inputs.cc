// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/run_inputs.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/data_set.h"
#include "cli/options.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"

namespace influence {
namespace {

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

absl::StatusOr<RunInputs> OpenRunInputs(
    const CommonOptions& options, const std::optional<std::string>& test,
    const PerSampleFunction& query_function) {
  INFLUENCE_RETURN_IF_ERROR(CatchTorch("--threads", [&]() -> absl::Status {
    if (options.num_threads.has_value()) {
      at::set_num_threads(*options.num_threads);
    }
    return absl::OkStatus();
  }));

  RunInputs inputs;
  absl::StatusOr<std::shared_ptr<const Model>> model =
      LoadScriptModel(options.model, {.dtype = options.dtype});
  if (!model.ok()) {
    return absl::Status(
        model.status().code(),
        absl::StrReplaceAll(model.status().message(),
                            {{absl::StrCat(options.model, ": model: "),
                              absl::StrCat(options.model, ": ")}}));
  }
  inputs.model = *std::move(model);
  if (const absl::Status status = ValidateUncoupled(*inputs.model);
      !status.ok()) {
    return InFile(options.model, "model", status);
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      inputs.train, DataSet::Open(options.train, options.dtype, *inputs.model,
                                  options.model));
  if (test.has_value()) {
    INFLUENCE_ASSIGN_OR_RETURN(
        inputs.test,
        DataSet::Open(*test, options.dtype, *inputs.model, options.model));
  }
  INFLUENCE_RETURN_IF_ERROR(inputs.train->CheckLabels(options.loss));
  if (inputs.test != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(inputs.test->CheckLabels(query_function));
  }

  INFLUENCE_ASSIGN_OR_RETURN(const Batch probe,
                             inputs.train->First(kSelfCheckSamples));
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

}  // namespace influence
