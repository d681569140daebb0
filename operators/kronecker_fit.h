// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Fits KFAC (Martens and Grosse 2015; convolutions: Grosse and Martens 2016)
// and EKFAC (George et al. 2018, section 3.1) to a model and its training data.
//
// For a layer with inputs a (a bias is an appended 1) and output gradients g at
// the positions t of sample n, G_n = sum_t g_t a_t^T its whole gradient:
//   S_A = sum_n sum_t a a^T / number of positions of all samples and uses
//   S_G = mean_n sum_t g g^T
//   S_A = U_A diag(s_A) U_A^T,  S_G = U_G diag(s_G) U_G^T
//   Lambda = s_G s_A^T                           KFAC
//   Lambda = mean_n (U_G^T G_n U_A)^2            EKFAC, entry by entry
//   F ~ (U_A (x) U_G) diag(Lambda) (U_A (x) U_G)^T
// S_A is a mean and S_G a sum over positions: for positions that are
// independent, with gradients of mean zero, S_G (x) S_A then is F.
#ifndef INFLUENCE_OPERATORS_KRONECKER_FIT_H_
#define INFLUENCE_OPERATORS_KRONECKER_FIT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "operators/fisher_gradients.h"
#include "operators/fit_checkpoint.h"
#include "operators/kronecker_curvature.h"
#include "operators/kronecker_layers.h"

namespace influence {

enum class KroneckerMethod { kKfac, kEkfac };

// What becomes of parameters outside of Linear and convolution layers.
enum class UncoveredPolicy {
  kDiagonal,  // The diagonal of the same Fisher.
  kDrop,      // Left out: their part of every product is 0.
  kError,     // kInvalidArgument naming them and why.
};

// "diagonal", "drop", "error".
absl::string_view UncoveredPolicyName(UncoveredPolicy policy);

// kInvalidArgument listing the names for another one.
absl::StatusOr<UncoveredPolicy> ParseUncoveredPolicy(absl::string_view name);

struct KroneckerFitOptions {
  KroneckerMethod method = KroneckerMethod::kEkfac;
  Fisher fisher = Fisher::kEmpirical;
  UncoveredPolicy uncovered = UncoveredPolicy::kDiagonal;

  // Of the sampled Fisher.
  uint64_t seed = 0;

  // A layer with more inputs (the appended 1 among them) or outputs, of a
  // group, counts as outside of all layers: `uncovered` says what becomes of
  // it. 0 for no limit.
  int64_t max_factor_size = 0;

  // Whether KroneckerFactors have their covariances, which nothing but a look
  // at them needs: half of the memory of a fit. None where rows were few for
  // their width (below).
  bool keep_covariances = true;

  // Whether to find KroneckerFit::mean_squared_norms. Free for an empirical
  // Fisher, another pass over the data for the others.
  bool mean_squared_norms = false;

  // EKFAC needs a and g twice. Up to so many bytes of them, >= 0, are kept from
  // the first pass; for samples beyond, the model runs again.
  int64_t kept_factor_bytes = int64_t{256} << 20;

  // Where LibTorch has several threads, so many workers with one each share the
  // batches, if there are two for each, and add up statistics of their own:
  // faster than several threads at a batch. `data` are read by one of them at a
  // time, and the model's forward pass must be thread-safe. At most so many
  // bytes, >= 0, for the statistics of all but the first, 8 sum of (I^2 + O^2)
  // each and 8 an uncovered parameter; one worker where that is not enough.
  int64_t worker_bytes = int64_t{1} << 30;

  // The processes that fit together; null means this one alone. Each gives the
  // same model, data and options, and sums its share of the batches, which must
  // all be of one size but for the last. Every statistic costs one all-reduce;
  // eigendecompositions are shared out by matrix, and what they give is sent to
  // all: every rank returns the same fit. A rank that fails does not tell the
  // others: its caller must (Communicator::Abort()).
  std::shared_ptr<Communicator> communicator = nullptr;

  // Borrowed, may be null: where the first pass (stage "covariances") and, for
  // EKFAC, the second ("eigenvalues") are kept as soon as they are done, and
  // looked for. Processes that fit together give what they share
  // (shared_fit_checkpoint.h); as many others may go on with it.
  FitCheckpoint* checkpoint = nullptr;
};

struct KroneckerFit {
  KroneckerCurvature curvature;

  // The parameters outside of all layers and why, whatever the policy.
  std::vector<UncoveredParameter> uncovered;

  // By block, if asked for: mean_n |g_n,block|^2 with the true labels.
  std::vector<double> mean_squared_norms;
};

// `provider` gives model and loss, its selection does not matter. If it is no
// CapturingGradientProvider, the model is observed on the first batch. `blocks`
// say which parameters take part, and keep apart what is in different blocks.
//
// Sums over samples are in float64; products of one part of a batch are in the
// model's dtype and added up in it. Parts are at most 64 MiB of a and g or 16
// samples. The result is the same for every batch size and number of threads
// but for rounding, and, with eigenvectors, but for the signs and bases that
// eigenvectors leave open.
//
// Passes over the data: 1 for KFAC, 2 for EKFAC (1 where kept_factor_bytes
// suffice), each with one forward and backward pass of the model, or as many as
// classes for the exact Fisher. Then, for inputs I, outputs O, positions T,
// multiply-adds a sample and term:
//   covariances   T (I^2 / 2 + O^2 / 2), halved for wide layers only
//   EKFAC, T = 1  I^2 + O^2 + O I
//   EKFAC, T > 1  T O I + I^2 min(T, O) + O^2 min(T, I)
// Never N times O I numbers. Eigendecompositions once a layer and group, in
// float64. Memory: the factors of a part, what is kept, and a few tiles beside
// the result; kronecker_costs.h has the numbers.
//
// A side of which all samples together have m <= 3/4 of its width n >= 64
// positions has a covariance of rank m at most. Its rows are kept, not the
// matrix, and eigenvectors [n, r], r <= m, are found from them
// (second_moment.h, shared_eigendecomposition.h): the same factors but for
// eigenvalues that are 0.
//
// kInvalidArgument on an option out of range, an empty data set, a batch or
// loss as FisherGradients refuses, uncovered parameters if they are an error,
// statistics that are not finite (naming the layer); kFailedPrecondition,
// naming the parameter, if the model calls other operators on the data than on
// the batch on which it was observed.
absl::StatusOr<KroneckerFit> FitKronecker(
    const std::shared_ptr<const GradientProvider>& provider,
    const ParameterBlocks& blocks, const BatchSequence& data,
    const KroneckerFitOptions& options = {},
    ProgressReporter* progress = nullptr);

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_KRONECKER_FIT_H_
