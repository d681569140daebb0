// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/method_factory.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "cli/job.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/usage_error.h"
#include "gradients/gradient_provider.h"
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
#include "operators/fisher_gradients.h"
#include "operators/kronecker_fit.h"
#include "operators/low_rank_inverse.h"

namespace influence {
namespace {

constexpr absl::string_view kRegularization = "--regularization";

absl::StatusOr<LowRankInfluenceOptions> LowRankOptionsOf(
    const FitSource& source, const RunOptions& run,
    const PerSampleFunction& query_function) {
  const MethodOptions& method = source.method;
  LowRankInfluenceOptions options;
  options.curvature = method.curvature;
  options.regularization = method.regularization;
  options.rank = method.rank;
  INFLUENCE_ASSIGN_OR_RETURN(options.low_rank_inverse,
                             ParseLowRankForm(method.low_rank_inverse));
  options.seed = source.seed;
  options.query_function = query_function;
  options.num_threads = run.num_threads.value_or(0);
  options.communicator = Job();
  return options;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> Create(
    const FitSource& source, const RunOptions& run,
    const PerSampleFunction& query_function, ParameterBlocks blocks,
    std::shared_ptr<const GradientProvider> provider) {
  const MethodOptions& method = source.method;
  switch (method.method) {
    case Method::kIdentity:
      return IdentityInfluence::Create(std::move(provider), std::move(blocks),
                                       query_function);
    case Method::kDirect: {
      DirectInfluenceOptions options;
      options.curvature = method.curvature;
      options.regularization = method.regularization;
      options.query_function = query_function;
      options.num_threads = run.num_threads.value_or(0);
      options.communicator = Job();
      return DirectInfluence::Create(std::move(provider), std::move(blocks),
                                     options);
    }
    case Method::kCg: {
      CgInfluenceOptions options;
      options.curvature = method.curvature;
      options.regularization = method.regularization;
      options.query_function = query_function;
      options.relative_tolerance = method.tolerance;
      options.max_iterations = method.max_iterations;
      INFLUENCE_ASSIGN_OR_RETURN(options.preconditioner,
                                 ParseCgPreconditioner(method.preconditioner));
      options.rank = method.rank;
      options.seed = source.seed;
      options.communicator = Job();
      return CgInfluence::Create(std::move(provider), std::move(blocks),
                                 options);
    }
    case Method::kLissa: {
      LissaInfluenceOptions options;
      options.curvature = method.curvature;
      options.regularization = method.regularization;
      options.query_function = query_function;
      options.scale = method.scale;
      options.dampen = method.dampen;
      options.max_iterations = method.max_iterations;
      options.relative_tolerance = method.tolerance;
      options.seed = source.seed;
      options.communicator = Job();
      return LissaInfluence::Create(std::move(provider), std::move(blocks),
                                    options);
    }
    case Method::kArnoldi: {
      INFLUENCE_ASSIGN_OR_RETURN(const LowRankInfluenceOptions options,
                                 LowRankOptionsOf(source, run, query_function));
      return ArnoldiInfluence::Create(std::move(provider), std::move(blocks),
                                      options);
    }
    case Method::kNystroem: {
      INFLUENCE_ASSIGN_OR_RETURN(const LowRankInfluenceOptions options,
                                 LowRankOptionsOf(source, run, query_function));
      return NystroemInfluence::Create(std::move(provider), std::move(blocks),
                                       options);
    }
    case Method::kKfac:
    case Method::kEkfac: {
      KroneckerInfluenceOptions options;
      options.method = method.method == Method::kKfac ? KroneckerMethod::kKfac
                                                      : KroneckerMethod::kEkfac;
      INFLUENCE_ASSIGN_OR_RETURN(options.fisher, ParseFisher(method.fisher));
      INFLUENCE_ASSIGN_OR_RETURN(options.uncovered,
                                 ParseUncoveredPolicy(method.uncovered));
      options.max_factor_size = method.max_factor_size;
      options.seed = source.seed;
      options.regularization = method.regularization;
      options.query_function = query_function;
      options.communicator = Job();
      options.kept_factor_bytes = KeptFactorBytes(run.memory_limit);
      options.worker_bytes = FitWorkerBytes(run.memory_limit);
      return KroneckerInfluence::Create(std::move(provider), options);
    }
    case Method::kInverseHarmonicMean: {
      InverseHarmonicMeanInfluenceOptions options;
      options.regularization = method.regularization;
      options.query_function = query_function;
      options.communicator = Job();
      return InverseHarmonicMeanInfluence::Create(std::move(provider),
                                                  std::move(blocks), options);
    }
  }
  INFLUENCE_CHECK(false);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ComposableInfluence>> CreateMethod(
    const FitSource& source, const RunOptions& run,
    const PerSampleFunction& query_function,
    std::shared_ptr<const GradientProvider> provider) {
  const MethodOptions& method = source.method;
  ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), method.block_structure);
  if (HasOption(method.method, kRegularization) &&
      !method.regularization.is_auto()) {
    const absl::Status status = method.regularization.Resolve(blocks).status();
    if (!status.ok()) return AsUsageError(kRegularization, status);
  }
  absl::StatusOr<std::unique_ptr<ComposableInfluence>> influence = Create(
      source, run, query_function, std::move(blocks), std::move(provider));
  if (influence.ok()) return influence;
  // Values that were checked already, but for what depends on the model.
  for (const absl::string_view option : {"--rank", "--regularization"}) {
    if (absl::StartsWith(influence.status().message(),
                         absl::StrCat(absl::StripPrefix(option, "--"), ": "))) {
      return AsUsageError(option, influence.status());
    }
  }
  return influence;
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> WithScoreTolerance(
    const ComposableInfluence& influence, double score_tolerance) {
  const auto* kronecker = dynamic_cast<const KroneckerInfluence*>(&influence);
  INFLUENCE_CHECK(kronecker != nullptr);
  return kronecker->WithScoreTolerance(score_tolerance);
}

int64_t KeptFactorBytes(std::optional<int64_t> memory_limit) {
  const int64_t most = KroneckerInfluenceOptions().kept_factor_bytes;
  return memory_limit.has_value() ? std::min(most, *memory_limit / 8) : most;
}

int64_t FitWorkerBytes(std::optional<int64_t> memory_limit) {
  const int64_t most = KroneckerInfluenceOptions().worker_bytes;
  return memory_limit.has_value() ? std::min(most, *memory_limit / 8) : most;
}

absl::Status ExplainFitError(const std::string& file,
                             const absl::Status& status) {
  // What the library calls the option.
  constexpr std::pair<absl::string_view, absl::string_view> kArguments[] = {
      {"regularization: ", kRegularization},
      {"curvature: ", "--second-order"},
      {"rank: ", "--rank"},
      {"uncovered: ", "--uncovered"},
      {"fisher: ", "--fisher"},
  };
  const absl::string_view message = status.message();
  for (const auto& [argument, option] : kArguments) {
    // At the start, or after what it is said of: "dense curvature: " is none.
    size_t place = message.find(argument);
    while (place != absl::string_view::npos && place > 0 &&
           !absl::EndsWith(message.substr(0, place), ": ")) {
      place = message.find(argument, place + 1);
    }
    if (place == absl::string_view::npos) continue;
    return absl::Status(status.code(),
                        absl::StrCat(option, ": ", message.substr(0, place),
                                     message.substr(place + argument.size())));
  }
  return absl::Status(status.code(),
                      absl::StrCat(file, ": ", status.message()));
}

bool KeepsFactors(Method method) {
  return method != Method::kIdentity && method != Method::kKfac &&
         method != Method::kEkfac;
}

}  // namespace influence
