// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_methods.h"

#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/empty.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/progress.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "examples/digits/digits_data.h"
#include "examples/digits/ranking.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "influence/arnoldi_influence.h"
#include "influence/cg_influence.h"
#include "influence/composable_influence.h"
#include "influence/direct_influence.h"
#include "influence/identity_influence.h"
#include "influence/inverse_harmonic_mean_influence.h"
#include "influence/kronecker_influence.h"
#include "influence/lissa_influence.h"
#include "influence/low_rank_influence.h"
#include "influence/nystroem_influence.h"
#include "influence/prepared_queries.h"
#include "influence/regularization.h"
#include "operators/curvature.h"

namespace influence {
namespace {

constexpr int64_t kRank = 100;
constexpr int64_t kLissaIterations = 200;
constexpr double kInspectedShare = 0.1;

struct Named {
  absl::string_view name;
  absl::string_view settings;
};

constexpr Named kMethods[] = {
    {"direct", "exact Hessian"},
    {"cg", "generalised Gauss-Newton, tolerance 1e-5"},
    {"lissa", "generalised Gauss-Newton, 200 iterations"},
    {"arnoldi", "Hessian, rank 100"},
    {"nystroem", "generalised Gauss-Newton, rank 100"},
    {"ekfac", "empirical Fisher, by layer"},
    {"kfac", "empirical Fisher, by layer"},
    {"ihm", "per-sample Gauss-Newton"},
    {"identity", "no curvature"},
};

absl::Status UnknownName(absl::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat("method: found ", name, ", expected one of ",
                   absl::StrJoin(DigitsMethodNames(), ", ")));
}

// A line of /proc/self/status in bytes; 0 where there is none.
int64_t ProcessBytes(absl::string_view field) {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (!absl::StartsWith(line, field)) continue;
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t kilobytes = 0;
    if (words.size() > 1 && absl::SimpleAtoi(words[1], &kilobytes)) {
      return kilobytes * 1024;
    }
  }
  return 0;
}

// Memory given back as far as possible; the peak counts anew from here.
int64_t ResetPeak() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
  return ProcessBytes("VmRSS:");
}

absl::StatusOr<at::Tensor> Ranks(const at::Tensor& scores) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> order,
                             OrderByDescending(scores));
  at::Tensor ranks =
      at::empty({static_cast<int64_t>(order.size())}, at::kDouble);
  double* const rank = ranks.data_ptr<double>();
  for (size_t r = 0; r < order.size(); ++r) {
    rank[order[r]] = static_cast<double>(r);
  }
  return ranks;
}

absl::StatusOr<double> MeanRankCorrelation(const at::Tensor& a,
                                           const at::Tensor& b) {
  double sum = 0;
  for (int64_t row = 0; row < a.size(0); ++row) {
    INFLUENCE_ASSIGN_OR_RETURN(const double correlation,
                               RankCorrelation(a[row], b[row]));
    sum += correlation;
  }
  return sum / static_cast<double>(a.size(0));
}

absl::StatusOr<double> FoundAmongTheFirst(const at::Tensor& suspicion,
                                          const std::vector<bool>& flipped) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> order,
                             OrderByDescending(suspicion));
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> counts,
                             CountFound(order, flipped));
  return ShareFound(counts, kInspectedShare);
}

}  // namespace

std::vector<std::string> DigitsMethodNames() {
  std::vector<std::string> names;
  for (const Named& method : kMethods) names.emplace_back(method.name);
  return names;
}

std::string DigitsMethodSettings(absl::string_view name) {
  for (const Named& method : kMethods) {
    if (method.name == name) return std::string(method.settings);
  }
  return "";
}

std::string DigitsMethodArguments(absl::string_view name,
                                  double regularization) {
  std::string arguments = absl::StrCat("--method ", name);
  if (name == "arnoldi" || name == "nystroem") {
    absl::StrAppend(&arguments, " --rank ", kRank);
  }
  if (name == "lissa") {
    absl::StrAppend(&arguments, " --max-iterations ", kLissaIterations);
  }
  if (name != "identity") {
    absl::StrAppendFormat(&arguments, " --regularization %g", regularization);
  }
  return arguments;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateDigitsMethod(
    absl::string_view name, std::shared_ptr<const GradientProvider> provider,
    const DigitsMethodOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("regularization", options.regularization));
  INFLUENCE_ASSIGN_OR_RETURN(const Regularization regularization,
                             Regularization::Constant(options.regularization));
  ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), BlockStructure::kFull);
  if (name == "identity") {
    return IdentityInfluence::Create(std::move(provider), std::move(blocks));
  }
  if (name == "direct") {
    DirectInfluenceOptions direct;
    direct.curvature = Curvature::kHessian;
    direct.regularization = regularization;
    direct.num_threads = options.num_threads;
    return DirectInfluence::Create(std::move(provider), std::move(blocks),
                                   direct);
  }
  if (name == "cg") {
    CgInfluenceOptions cg;
    cg.regularization = regularization;
    return CgInfluence::Create(std::move(provider), std::move(blocks), cg);
  }
  if (name == "lissa") {
    LissaInfluenceOptions lissa;
    lissa.regularization = regularization;
    lissa.max_iterations = kLissaIterations;
    return LissaInfluence::Create(std::move(provider), std::move(blocks),
                                  lissa);
  }
  if (name == "arnoldi") {
    LowRankInfluenceOptions arnoldi;
    arnoldi.regularization = regularization;
    arnoldi.rank = kRank;
    return ArnoldiInfluence::Create(std::move(provider), std::move(blocks),
                                    arnoldi);
  }
  if (name == "nystroem") {
    LowRankInfluenceOptions nystroem;
    nystroem.regularization = regularization;
    nystroem.rank = kRank;
    return NystroemInfluence::Create(std::move(provider), std::move(blocks),
                                     nystroem);
  }
  if (name == "kfac" || name == "ekfac") {
    KroneckerInfluenceOptions kronecker;
    kronecker.method =
        name == "kfac" ? KroneckerMethod::kKfac : KroneckerMethod::kEkfac;
    kronecker.regularization = regularization;
    return KroneckerInfluence::Create(std::move(provider), kronecker);
  }
  if (name == "ihm") {
    InverseHarmonicMeanInfluenceOptions ihm;
    ihm.regularization = regularization;
    return InverseHarmonicMeanInfluence::Create(std::move(provider),
                                                std::move(blocks), ihm);
  }
  return UnknownName(name);
}

absl::StatusOr<double> RankCorrelation(const at::Tensor& a,
                                       const at::Tensor& b) {
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor first, Ranks(a));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor second, Ranks(b));
  return Correlation(first, second);
}

absl::StatusOr<std::vector<MethodComparison>> CompareMethods(
    const std::shared_ptr<const Model>& model, const DigitImages& train,
    const DigitImages& test, const std::vector<bool>& flipped,
    const DigitsComparisonOptions& options, ProgressReporter* progress) {
  if (options.names.empty() || options.names[0] != "direct") {
    return absl::InvalidArgumentError(
        "names: expected direct first, which the others are compared with");
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      TensorBatchSequence sequence,
      TensorBatchSequence::Create(train, options.batch_size));
  const auto data =
      std::make_shared<const TensorBatchSequence>(std::move(sequence));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const CapturingGradientProvider> provider,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), train));
  ProgressStage stage(progress, "methods",
                      static_cast<int64_t>(options.names.size()), "methods");
  at::Tensor exact;
  std::vector<MethodComparison> comparison;
  for (const std::string& name : options.names) {
    MethodComparison entry;
    entry.name = name;
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<ComposableInfluence> influence,
        CreateDigitsMethod(name, provider, options));
    const int64_t before = ResetPeak();
    absl::Time start = absl::Now();
    INFLUENCE_RETURN_IF_ERROR(influence->Fit(data));
    absl::Time now = absl::Now();
    entry.fit_seconds = absl::ToDoubleSeconds(now - start);
    start = now;
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<const PreparedQueries> queries,
        influence->PrepareQueries(test));
    std::vector<at::Tensor> columns;
    for (int64_t b = 0; b < data->num_batches(); ++b) {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data->Get(b));
      INFLUENCE_ASSIGN_OR_RETURN(columns.emplace_back(),
                                 queries->Influences(batch));
    }
    entry.score_seconds = absl::ToDoubleSeconds(absl::Now() - start);
    entry.peak_bytes = std::max<int64_t>(ProcessBytes("VmHWM:") - before, 0);
    std::vector<at::Tensor> self;
    for (int64_t b = 0; b < data->num_batches(); ++b) {
      INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data->Get(b));
      INFLUENCE_ASSIGN_OR_RETURN(self.emplace_back(),
                                 influence->SelfInfluences(batch));
    }
    const absl::Status status = CatchTorch(name, [&]() -> absl::Status {
      const at::Tensor scores = at::cat(columns, 1);
      if (!exact.defined()) exact = scores;
      INFLUENCE_ASSIGN_OR_RETURN(entry.agreement,
                                 MeanRankCorrelation(scores, exact));
      INFLUENCE_ASSIGN_OR_RETURN(entry.found_by_self,
                                 FoundAmongTheFirst(at::cat(self), flipped));
      INFLUENCE_ASSIGN_OR_RETURN(
          entry.found_by_harm,
          FoundAmongTheFirst(scores.sum(0).neg(), flipped));
      return absl::OkStatus();
    });
    INFLUENCE_RETURN_IF_ERROR(status);
    comparison.push_back(std::move(entry));
    stage.Advance();
  }
  return comparison;
}

std::string ComparisonText(const std::vector<MethodComparison>& comparison) {
  std::string text =
      "| method | settings | agreement with direct | fit | scores | memory | "
      "wrong labels in the first 10 % by self-influence | by harm |\n"
      "|---|---|---|---|---|---|---|---|\n";
  for (const MethodComparison& entry : comparison) {
    absl::StrAppendFormat(
        &text,
        "| `%s` | %s | %.3f | %.2f s | %.2f s | %.0f MB | %.1f %% | %.1f %% "
        "|\n",
        entry.name, DigitsMethodSettings(entry.name), entry.agreement,
        entry.fit_seconds, entry.score_seconds,
        static_cast<double>(entry.peak_bytes) / 1e6, 100 * entry.found_by_self,
        100 * entry.found_by_harm);
  }
  return text;
}

}  // namespace influence
