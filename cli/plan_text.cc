// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/plan_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "cli/console.h"
#include "cli/fitted_source.h"
#include "cli/job.h"
#include "cli/kronecker_plan.h"
#include "cli/method_factory.h"
#include "cli/method_options.h"
#include "cli/options.h"
#include "cli/result_summary.h"
#include "cli/run_plan.h"
#include "gradients/parameter_blocks.h"
#include "influence/cg_influence.h"
#include "influence/curvature_products.h"
#include "nlohmann/json.hpp"
#include "operators/curvature.h"
#include "operators/kept_curvature_operator.h"

namespace influence {
namespace {

// Which blocks' curvatures cg multiplies with as dense matrices.
std::vector<bool> FormedBlocks(const MethodOptions& method,
                               const ParameterBlocks& blocks) {
  return BlocksToForm(
      CurvatureProductsOptions(), blocks, /*num_matrices=*/1,
      std::min(method.max_iterations, CgInfluence::kUsualIterations));
}

}  // namespace

std::string CostText(const MethodOptions& method) {
  const bool is_auto = method.regularization.is_auto();
  const auto passes = [](int64_t count) {
    return absl::StrCat(count, count == 1 ? " pass" : " passes");
  };
  const std::string fit = absl::StrCat("fit ", MethodName(method.method));
  const std::string with_curvature =
      absl::StrCat(fit, " (", CurvatureName(method.curvature), ")");
  const std::string auto_pass = is_auto ? " in 1 pass" : "";
  switch (method.method) {
    case Method::kIdentity:
      return "";
    case Method::kDirect: {
      const bool has_trace = method.curvature == Curvature::kGaussNewton;
      return absl::StrCat(with_curvature, " in ",
                          passes(is_auto && !has_trace ? 2 : 1));
    }
    case Method::kCg:
    case Method::kLissa:
      return absl::StrCat(with_curvature, auto_pass, ", solve in at most ",
                          method.max_iterations, " iterations");
    case Method::kArnoldi:
    case Method::kNystroem:
      return absl::StrCat(with_curvature, " at rank ", method.rank);
    case Method::kKfac:
      return absl::StrCat(fit, " (", method.fisher, " Fisher) in ", passes(1));
    case Method::kEkfac:
      return absl::StrCat(fit, " (", method.fisher, " Fisher) in ", passes(2));
    case Method::kInverseHarmonicMean:
      return absl::StrCat(fit, auto_pass,
                          ", solve in a pass for each batch of queries");
  }
  return "";
}

int64_t NumFitPasses(const MethodOptions& method) {
  const bool is_auto = method.regularization.is_auto();
  switch (method.method) {
    case Method::kIdentity:
      return 0;
    case Method::kKfac:
      return 1;
    case Method::kEkfac:
      return 2;
    case Method::kDirect:
      return is_auto && method.curvature != Curvature::kGaussNewton ? 2 : 1;
    case Method::kArnoldi:
    case Method::kNystroem:
      return is_auto ? 2 : 1;
    case Method::kCg:
    case Method::kLissa:
    case Method::kInverseHarmonicMean:
      return is_auto ? 1 : 0;
  }
  return 0;
}

double MethodBytes(const MethodOptions& method, const ParameterBlocks& blocks,
                   int64_t item_size) {
  const auto num_parameters = static_cast<double>(blocks.size());
  const auto item_bytes = static_cast<double>(item_size);
  switch (method.method) {
    case Method::kIdentity:
    case Method::kLissa:
    case Method::kInverseHarmonicMean:
      return 0;
    case Method::kCg: {
      // The matrices that are formed.
      const std::vector<bool> formed = FormedBlocks(method, blocks);
      double bytes = 0;
      for (size_t b = 0; b < formed.size(); ++b) {
        const auto size = static_cast<double>(blocks.blocks()[b].size);
        if (formed[b]) bytes += 8 * size * size;
      }
      return bytes;
    }
    case Method::kDirect: {
      // C and its factor for each block, and once more as much for the block
      // that is being factorised.
      double bytes = 0;
      double largest = 0;
      for (const ParameterBlock& block : blocks.blocks()) {
        const double of_block = 16.0 * static_cast<double>(block.size) *
                                static_cast<double>(block.size);
        bytes += of_block;
        largest = std::max(largest, of_block);
      }
      return bytes + largest;
    }
    case Method::kArnoldi:
    case Method::kNystroem:
      // The sketch or the Krylov basis beside the eigenvectors.
      return 3 * static_cast<double>(method.rank) * num_parameters * item_bytes;
    case Method::kKfac:
    case Method::kEkfac:
      return 0;
  }
  return 0;
}

absl::Status AddFit(const MethodOptions& method, const OpenedMethod& opened,
                    at::ScalarType dtype, std::optional<int64_t> memory_limit,
                    PlanProblem& problem) {
  const ParameterBlocks& blocks = opened.influence->blocks();
  problem.fit_passes = NumFitPasses(method);
  problem.method_bytes = static_cast<int64_t>(
      MethodBytes(method, blocks, dtype == at::kDouble ? 8 : 4));
  problem.fitted_bytes = problem.method_bytes;
  const bool is_kronecker =
      method.method == Method::kKfac || method.method == Method::kEkfac;
  if (method.method == Method::kEkfac) {
    problem.kept_factor_bytes = KeptFactorBytes(memory_limit);
  }
  problem.writes_gradients = !is_kronecker;
  if (is_kronecker) {
    INFLUENCE_RETURN_IF_ERROR(AddKroneckerFit(method, *opened.inputs.provider,
                                              blocks, *opened.inputs.train,
                                              memory_limit, problem));
  }

  // Of products with a curvature graphs are kept, or gradients; lissa, where
  // its matrices are formed, keeps less.
  problem.num_ranks = Job()->size();
  problem.most_product_bytes = KeptCurvatureOptions().memory_limit;
  const bool is_gauss_newton = method.curvature == Curvature::kGaussNewton;
  if (method.method == Method::kInverseHarmonicMean) {
    problem.product_factors = 1;
  } else if (method.method == Method::kLissa) {
    problem.product_factors = is_gauss_newton ? 1 : kCurvatureGraphFactors;
  } else if (method.method == Method::kCg) {
    const std::vector<bool> formed = FormedBlocks(method, blocks);
    if (std::find(formed.begin(), formed.end(), false) != formed.end()) {
      problem.product_factors = is_gauss_newton ? 1 : kCurvatureGraphFactors;
    }
  }
  return absl::OkStatus();
}

std::string SizesText(const OpenedMethod& opened, int64_t num_queries) {
  std::string text =
      absl::StrFormat("P = %d parameters, %.1f %% on the fast path",
                      opened.influence->num_parameters(),
                      100 * opened.inputs.provider->coverage().covered_share());
  const std::string& one_by_one = opened.inputs.provider->coverage().one_by_one;
  if (!one_by_one.empty()) {
    absl::StrAppend(&text, ", samples one by one (", one_by_one, ")");
  }
  if (opened.inputs.train != nullptr) {
    absl::StrAppend(&text, "; N = ", opened.inputs.train->num_samples(),
                    " training samples");
  }
  if (num_queries > 0) {
    absl::StrAppend(&text, opened.inputs.train != nullptr ? ", " : "; ",
                    "M = ", num_queries, " queries");
  }
  return text;
}

absl::Status TellFinished(const std::string& out,
                          const nlohmann::ordered_json& attributes,
                          const RunOptions& run, Console& console) {
  console.Say(absl::StrCat(out, ": is complete already, nothing is computed"));
  if (!run.json) return absl::OkStatus();
  nlohmann::ordered_json json;
  json["out"] = out;
  json.update(attributes);
  return console.Print(
      json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
      "\n");
}

absl::Status TellSummary(const ResultSummary& summary, const RunOptions& run,
                         Console& console) {
  for (const std::string& line : SummaryLines(summary)) console.Say(line);
  if (run.json) return console.Print(SummaryJson(summary));
  return absl::OkStatus();
}

}  // namespace influence
