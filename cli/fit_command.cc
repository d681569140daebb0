// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/fit_command.h"

#include <string>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "cli/console.h"
#include "cli/fitted_source.h"
#include "cli/job.h"
#include "cli/method_factory.h"
#include "cli/options.h"
#include "cli/plan_text.h"
#include "cli/result_output.h"
#include "cli/result_summary.h"
#include "cli/run_inputs.h"

namespace influence {

absl::Status RunFit(const FitOptions& options, Console& console) {
  const absl::Time start = absl::Now();
  const FitSource& source = options.source;
  INFLUENCE_RETURN_IF_ERROR(
      RefuseToOverwriteInputs(options, {source.model, source.train}));
  // One rank writes, and fits alone what ranks cannot fit together; the others
  // then have nothing to do but to wait for it at the end of the job.
  if (IsFirstRank()) INFLUENCE_RETURN_IF_ERROR(CheckFittedOutput(options));
  if (!FitsTogether(source.method.method) && !IsFirstRank()) {
    return absl::OkStatus();
  }
  INFLUENCE_RETURN_IF_ERROR(ApplyThreads(options));
  INFLUENCE_ASSIGN_OR_RETURN(
      OpenedMethod opened,
      OpenUnfitted(source, options, /*test=*/"", /*query_function=*/"loss"));

  console.Say(SizesText(opened, /*num_queries=*/0));
  const std::string cost = CostText(source.method);
  const double bytes = MethodBytes(source.method, opened.influence->blocks(),
                                   source.dtype == at::kDouble ? 8 : 4);
  console.Say(absl::StrCat("plan: ", cost.empty() ? "nothing to fit" : cost,
                           ", batches of ", opened.record.batch_size,
                           "; about ", BytesText(bytes),
                           " beside model, data and gradients"));

  INFLUENCE_RETURN_IF_ERROR(FitOpened(opened, console.Progress()));
  if (!IsFirstRank()) return absl::OkStatus();
  INFLUENCE_RETURN_IF_ERROR(SaveFitted(opened, options));

  ResultSummary summary;
  summary.kind = "fitted";
  summary.out = options.out;
  summary.fit = SummarizeFit(opened);
  summary.paths = opened.paths;
  summary.batch_size = opened.record.batch_size;
  summary.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return TellSummary(summary, options, console);
}

}  // namespace influence
