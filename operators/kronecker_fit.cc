// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_fit.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/nonzero.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/process_memory.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/affine_layers.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "operators/fit_checkpoint.h"
#include "operators/gradient_factors.h"
#include "operators/kronecker_costs.h"
#include "operators/kronecker_statistics.h"
#include "operators/second_moment.h"
#include "operators/shared_eigendecomposition.h"

namespace influence {
namespace {

// Bytes of a and g of one part of a batch.
constexpr int64_t kPartBytes = int64_t{64} << 20;

// Samples of a part at least, which keep the model's own operators efficient;
// also those of the first part, from which the bytes a sample become known.
constexpr int64_t kMinPartSamples = 16;

// The factors of all layers for one part and one term of the Fisher.
using PartFactors = std::vector<std::vector<LayerFactors>>;  // By layer, use.

// Samples [begin, end) of a batch.
struct Part {
  int64_t batch;
  int64_t begin, end;
  int64_t first_sample;  // Index of sample `begin` in the data set.
};

int64_t BytesOf(const PartFactors& factors) {
  int64_t bytes = 0;
  for (const std::vector<LayerFactors>& uses : factors) {
    for (const LayerFactors& use : uses) {
      bytes += use.inputs.numel() * use.inputs.element_size() +
               use.gradients.numel() * use.gradients.element_size();
    }
  }
  return bytes;
}

double SumOf(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).sum().item<double>();
}

// Batches that a worker has at least, so that none waits long for the others.
constexpr int64_t kMinBatchesOfWorker = 2;

constexpr absl::string_view kCovariancesStage = "covariances";
constexpr absl::string_view kEigenvaluesStage = "eigenvalues";

// Arrays of a layer in kEigenvaluesStage.
constexpr size_t kLayerArrays = 5;

absl::Status UnexpectedStage(absl::string_view stage) {
  return absl::DataLossError(
      absl::StrCat("fit: found other arrays kept of the stage ", stage,
                   ", expected those of this model"));
}

// factor [N, H, T, F] of `use` without what samples were filled up with:
// itself, or [R, H, 1, F].
at::Tensor RealPositions(const at::Tensor& factor, const LayerFactors& use) {
  if (!use.real_positions.defined()) return factor;
  const at::Tensor rows = at::nonzero(use.real_positions.reshape({-1}));
  return factor.transpose(1, 2)
      .reshape({-1, factor.size(1), 1, factor.size(3)})
      .index_select(0, rows.squeeze(1));
}

// One fit. Each step is called once, in the order of the declarations.
class Fitter {
 public:
  Fitter(std::shared_ptr<const CapturingGradientProvider> provider,
         const ParameterBlocks& blocks, const BatchSequence& data,
         const KroneckerFitOptions& options, ProgressReporter* progress)
      : provider_(std::move(provider)),
        blocks_(blocks),
        data_(data),
        options_(options),
        progress_(progress),
        communicator_(options.communicator != nullptr
                          ? options.communicator
                          : std::shared_ptr<Communicator>(SingleProcess())) {}

  absl::Status Prepare(const Batch& probe);
  absl::Status SumCovariances();
  absl::Status KeepCovariances() const;
  absl::Status Decompose();
  absl::Status SumEigenvalues();
  absl::Status KeepEigenvalues() const;
  absl::StatusOr<KroneckerFit> Finish();

  // In place of SumCovariances(), from what an earlier run has kept: false if
  // there is nothing.
  absl::StatusOr<bool> RestoreCovariances();

  // Lets Decompose() and SumEigenvalues() take what an earlier run has kept.
  absl::Status RestoreEigenvalues();

 private:
  struct LayerSums {
    SecondMoment inputs, gradients;
    int64_t num_positions = 0;  // Of all samples and uses.
  };

  // What becomes of them, of all groups of a layer: KroneckerFactors with a
  // dimension [H] in front.
  struct LayerFit {
    at::Tensor input_covariance, gradient_covariance;  // Where kept.
    Eigendecomposition inputs, gradients;
    at::Tensor eigenvalues;
  };

  // What the first pass adds up.
  struct Sums {
    std::vector<LayerSums> layers;
    std::vector<at::Tensor> diagonals;  // By uncovered parameter.
    std::vector<double> squared_norms;  // By block.
    int64_t num_samples = 0;
  };

  // Batches that one worker goes through, and what it finds in them.
  struct Share {
    int64_t first_batch = 0, end_batch = 0;
    int64_t first_sample = 0;  // Index in the data set.
    std::vector<Part> parts;
    // The factors of the first parts, by part and term.
    std::vector<std::vector<PartFactors>> kept;
    Sums sums;
    std::vector<at::Tensor> squares;  // By layer: [H, Q, R], EKFAC.
  };

  // Says that a worker is done with a batch; kAborted if another has failed.
  using Advance = absl::FunctionRef<absl::Status()>;

  struct Rotation {  // Eigenvectors in the model's dtype.
    at::Tensor inputs, gradients;
  };

  const Model& model() const { return provider_->model(); }

  bool is_ekfac() const { return options_.method == KroneckerMethod::kEkfac; }

  // Of the batches, rank r of R has [r B / R, (r + 1) B / R).
  int64_t FirstBatchOf(int64_t rank) const {
    return rank * data_.num_batches() / communicator_->size();
  }

  // The next batch of a worker: the sequence is read by one at a time.
  absl::StatusOr<Batch> Read(int64_t index);

  // Bytes of the statistics of a worker. Looks at the factors of `probe` where
  // the matrices [I, I] and [O, O] would be more than `enough`.
  absl::StatusOr<int64_t> WorkerBytes(const Batch& probe, int64_t enough) const;

  // Workers that share this rank's batches.
  absl::StatusOr<int> NumWorkers(const Batch& probe) const;

  // Cuts this rank's batches into a share for each worker.
  absl::Status MakeShares(const Batch& probe);

  // All zero.
  Sums NewSums() const;

  // Calls `work` for every share, side by side where there are several, then
  // with one LibTorch thread each. The first error.
  absl::Status ForShares(
      absl::string_view stage,
      absl::FunctionRef<absl::Status(Share& share, Advance advance)> work);

  absl::Status SumCovariancesOf(Share& share, Advance advance);
  absl::Status SumSquaresOf(Share& share, Advance advance);

  // Refuses a batch whose size makes the index of the samples behind it unknown
  // to the ranks that have them.
  absl::Status CheckBatchSize(int64_t index, const Batch& batch) const;

  // Null where nothing is to be kept.
  FitCheckpoint* checkpoint() const { return options_.checkpoint; }

  // The parts of all ranks, a row [batch, begin, end, first_sample] each.
  absl::StatusOr<at::Tensor> PartsOfAllRanks() const;

  // The state of the sums of the first pass, in a fixed order.
  std::vector<at::Tensor> CovarianceSums() const;

  // Replaces what this rank has summed in the first pass by the sums of all.
  absl::Status ReduceCovariances();

  // The layers' factors from gradients whose parameter p is at positions[p].
  // The biases are looked at if `check_biases`.
  absl::StatusOr<PartFactors> FactorsOf(const FactoredGradients& gradients,
                                        const std::vector<int64_t>& positions,
                                        bool check_biases) const;

  // fitted_ with the covariances, where they are kept, and their eigenpairs,
  // from the sums of the layers, which are let go.
  absl::Status DecomposeLayers();

  // The factor pairs of fitted_.
  std::vector<KroneckerFactors> Pairs() const;

  // What the first pass takes from one term of one part.
  absl::Status AddTerm(const FactoredGradients& gradients,
                       const PartFactors& factors, bool first_term,
                       Sums& sums) const;

  // The squared norms that the statistics do not give.
  absl::Status AddSquaredNorms(const FactoredGradients& gradients,
                               Sums& sums) const;

  void AddSquares(const PartFactors& factors,
                  std::vector<at::Tensor>& squares) const;

  // mean_squared_norms with the true labels, by a pass of its own.
  absl::StatusOr<std::vector<double>> MeanSquaredNormsOfLabels();

  std::shared_ptr<const CapturingGradientProvider> provider_;
  const ParameterBlocks& blocks_;
  const BatchSequence& data_;
  const KroneckerFitOptions& options_;
  ProgressReporter* progress_;
  const std::shared_ptr<Communicator> communicator_;  // Never null.

  int64_t first_batch_ = 0, end_batch_ = 0;  // Of this rank.
  int64_t probe_size_ = 0;                   // Samples in batch 0.
  KroneckerLayers layers_;
  std::vector<int64_t> positions_;  // By parameter: place among the gradients.
  std::optional<FisherGradients> fisher_;

  // The same for the layers' weights alone, all that the second pass needs.
  std::vector<int64_t> weight_positions_;
  std::optional<FisherGradients> weights_fisher_;

  std::mutex reading_;
  std::vector<Share> shares_;        // Of this rank.
  Sums sums_;                        // Of all shares, then of all ranks.
  std::vector<LayerFit> fitted_;     // By layer.
  std::vector<Rotation> rotations_;  // Likewise, EKFAC.
  std::vector<at::Tensor> known_;    // Of kEigenvaluesStage, or empty.
};

absl::Status Fitter::Prepare(const Batch& probe) {
  first_batch_ = FirstBatchOf(communicator_->rank());
  end_batch_ = FirstBatchOf(communicator_->rank() + 1);
  probe_size_ = probe.size();
  layers_ = FindKroneckerLayers(model(), provider_->affine_layers(), blocks_,
                                options_.max_factor_size);
  if (options_.uncovered == UncoveredPolicy::kError &&
      !layers_.uncovered.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model: found parameters outside of Linear and convolution layers: ",
        UncoveredParametersText(model(), layers_.uncovered),
        "; expected none with uncovered = error (diagonal and drop allow "
        "them)"));
  }
  std::vector<int64_t> parameters = blocks_.parameters();
  if (options_.uncovered == UncoveredPolicy::kDrop &&
      !options_.mean_squared_norms && !layers_.layers.empty()) {
    // Nobody asks for the gradients of the others.
    for (const UncoveredParameter& dropped : layers_.uncovered) {
      parameters.erase(
          std::find(parameters.begin(), parameters.end(), dropped.parameter));
    }
  }
  positions_.assign(model().parameters().size(), -1);
  for (size_t i = 0; i < parameters.size(); ++i) {
    positions_[parameters[i]] = static_cast<int64_t>(i);
  }
  INFLUENCE_ASSIGN_OR_RETURN(std::shared_ptr<const GradientProvider> restricted,
                             provider_->Restrict(parameters));
  INFLUENCE_ASSIGN_OR_RETURN(
      fisher_, FisherGradients::Create(options_.fisher, std::move(restricted),
                                       probe, options_.seed));
  if (is_ekfac() && !layers_.layers.empty()) {
    std::vector<int64_t> weights;
    weight_positions_.assign(model().parameters().size(), -1);
    for (const KroneckerLayer& layer : layers_.layers) {
      weight_positions_[layer.affine.weight] =
          static_cast<int64_t>(weights.size());
      weights.push_back(layer.affine.weight);
    }
    INFLUENCE_ASSIGN_OR_RETURN(restricted, provider_->Restrict(weights));
    INFLUENCE_ASSIGN_OR_RETURN(
        weights_fisher_,
        FisherGradients::Create(options_.fisher, std::move(restricted), probe,
                                options_.seed));
  }
  return MakeShares(probe);
}

absl::StatusOr<int64_t> Fitter::WorkerBytes(const Batch& probe,
                                            int64_t enough) const {
  int64_t other_bytes = 0;
  if (options_.uncovered == UncoveredPolicy::kDiagonal) {
    for (const UncoveredParameter& parameter : layers_.uncovered) {
      other_bytes +=
          8 * model().parameters()[parameter.parameter].tensor.numel();
    }
  }
  int64_t dense_bytes = other_bytes;
  for (const KroneckerLayer& layer : layers_.layers) {
    const int64_t inputs = layer.num_inputs(), outputs = layer.affine.outputs;
    dense_bytes += layer.affine.groups * int64_t{8} *
                   std::max(inputs * inputs + outputs * outputs,
                            is_ekfac() ? inputs * outputs : int64_t{0});
  }
  if (dense_bytes <= enough) return dense_bytes;
  INFLUENCE_ASSIGN_OR_RETURN(
      const Batch samples,
      SliceBatch(probe, 0, std::min(probe.size(), kMinPartSamples)));
  INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                             fisher_->Get(0, samples, /*first_sample=*/0));
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::vector<KroneckerLayerSize> sizes,
      MeasureKroneckerLayers(layers_, gradients, positions_));
  KroneckerCostOptions options;
  options.is_ekfac = is_ekfac();
  options.num_samples = data_.num_samples();
  options.num_terms = fisher_->num_terms();
  options.item_size = static_cast<int64_t>(at::elementSize(model().dtype()));
  const KroneckerCosts costs = EstimateKroneckerCosts(sizes, options);
  return other_bytes + std::max(costs.covariances, costs.squares);
}

absl::StatusOr<int> Fitter::NumWorkers(const Batch& probe) const {
  const int num_threads = at::get_num_threads();
  if (num_threads == 1 ||
      end_batch_ - first_batch_ < kMinBatchesOfWorker * num_threads) {
    return 1;
  }
  const int64_t enough = options_.worker_bytes / (num_threads - 1);
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t bytes, WorkerBytes(probe, enough));
  return bytes <= enough ? num_threads : 1;
}

absl::Status Fitter::MakeShares(const Batch& probe) {
  INFLUENCE_ASSIGN_OR_RETURN(const int num_workers, NumWorkers(probe));
  const int64_t num_batches = end_batch_ - first_batch_;
  int64_t sample = first_batch_ * probe_size_;
  shares_.resize(num_workers);
  for (int w = 0; w < num_workers; ++w) {
    Share& share = shares_[w];
    share.first_batch = first_batch_ + w * num_batches / num_workers;
    share.end_batch = first_batch_ + (w + 1) * num_batches / num_workers;
    share.first_sample = sample;
    if (w + 1 == num_workers) break;
    for (int64_t b = share.first_batch; b < share.end_batch; ++b) {
      INFLUENCE_ASSIGN_OR_RETURN(const int64_t size, data_.BatchSize(b));
      sample += size;
    }
  }
  return absl::OkStatus();
}

Fitter::Sums Fitter::NewSums() const {
  Sums sums;
  for (const KroneckerLayer& layer : layers_.layers) {
    const AffineLayer& affine = layer.affine;
    sums.layers.push_back(
        {SecondMoment(affine.groups, layer.num_inputs(), layer.has_bias(),
                      model().dtype()),
         SecondMoment(affine.groups, affine.outputs, /*append_one=*/false,
                      model().dtype())});
  }
  if (options_.uncovered == UncoveredPolicy::kDiagonal) {
    for (const UncoveredParameter& parameter : layers_.uncovered) {
      sums.diagonals.push_back(
          at::zeros({model().parameters()[parameter.parameter].tensor.numel()},
                    at::kDouble));
    }
  }
  sums.squared_norms.assign(blocks_.blocks().size(), 0.0);
  return sums;
}

absl::StatusOr<Batch> Fitter::Read(int64_t index) {
  const std::lock_guard<std::mutex> lock(reading_);
  return data_.Get(index);
}

absl::Status Fitter::ForShares(
    absl::string_view stage,
    absl::FunctionRef<absl::Status(Share& share, Advance advance)> work) {
  ProgressStage progress(progress_, stage, end_batch_ - first_batch_,
                         "batches");
  if (shares_.size() == 1) {
    return work(shares_[0], [&] {
      progress.Advance();
      return absl::OkStatus();
    });
  }
  // The first worker tells of all, between its own batches.
  std::atomic<int64_t> untold = 0;
  std::atomic<bool> failed = false;
  const auto work_on = [&](Communicator& team) -> absl::Status {
    const at::NoGradGuard no_grad;
    const int worker = team.rank();
    absl::Status of_worker = work(shares_[worker], [&]() -> absl::Status {
      ++untold;
      if (worker == 0) progress.Advance(untold.exchange(0));
      if (failed) return absl::AbortedError("another worker has failed");
      return absl::OkStatus();
    });
    if (!of_worker.ok()) failed = true;
    return of_worker;
  };
  absl::Status status =
      FirstError(RunThreadTeam(static_cast<int>(shares_.size()), work_on));
  progress.Advance(untold);
  return status;
}

absl::StatusOr<PartFactors> Fitter::FactorsOf(
    const FactoredGradients& gradients, const std::vector<int64_t>& positions,
    bool check_biases) const {
  const auto gradients_of = [&](int64_t parameter) {
    return &gradients.parameters()[positions[parameter]];
  };
  PartFactors factors;
  for (const KroneckerLayer& layer : layers_.layers) {
    const AffineLayer& affine = layer.affine;
    INFLUENCE_ASSIGN_OR_RETURN(
        std::vector<LayerFactors> uses,
        FactorsOfLayer(affine, *gradients_of(affine.weight),
                       check_biases && layer.has_bias()
                           ? gradients_of(*affine.bias)
                           : nullptr));
    factors.push_back(std::move(uses));
  }
  return factors;
}

absl::Status Fitter::AddTerm(const FactoredGradients& gradients,
                             const PartFactors& factors, bool first_term,
                             Sums& sums) const {
  for (size_t l = 0; l < layers_.layers.size(); ++l) {
    LayerSums& of_layer = sums.layers[l];
    for (const LayerFactors& use : factors[l]) {
      // A position counts once, however many terms the Fisher has.
      if (first_term) {
        of_layer.num_positions += use.num_positions();
        of_layer.inputs.Add(RealPositions(use.inputs, use));
      }
      of_layer.gradients.Add(RealPositions(use.gradients, use));
    }
  }
  for (size_t i = 0; i < sums.diagonals.size(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(
        const FactoredGradients part,
        gradients.Select({positions_[layers_.uncovered[i].parameter]}));
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor squares, part.SumOfSquares());
    sums.diagonals[i].add_(squares);
  }
  return absl::OkStatus();
}

absl::Status Fitter::AddSquaredNorms(const FactoredGradients& gradients,
                                     Sums& sums) const {
  const auto add = [&](int64_t block, int64_t parameter) -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients part,
                               gradients.Select({positions_[parameter]}));
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor norms, part.SquaredNorms());
    sums.squared_norms[block] += SumOf(norms);
    return absl::OkStatus();
  };
  // The sum of EKFAC's eigenvalues is the mean squared norm of the layer.
  if (!is_ekfac()) {
    for (const KroneckerLayer& layer : layers_.layers) {
      INFLUENCE_RETURN_IF_ERROR(add(layer.block, layer.affine.weight));
      if (layer.has_bias()) {
        INFLUENCE_RETURN_IF_ERROR(add(layer.block, *layer.affine.bias));
      }
    }
  }
  if (!sums.diagonals.empty()) return absl::OkStatus();
  for (const UncoveredParameter& parameter : layers_.uncovered) {
    INFLUENCE_RETURN_IF_ERROR(add(parameter.block, parameter.parameter));
  }
  return absl::OkStatus();
}

absl::Status Fitter::SumCovariancesOf(Share& share, Advance advance) {
  const bool add_norms =
      options_.mean_squared_norms && options_.fisher == Fisher::kEmpirical;
  const int64_t most_kept =
      options_.kept_factor_bytes / static_cast<int64_t>(shares_.size());
  int64_t part_samples = kMinPartSamples;
  int64_t kept_bytes = 0;
  bool keep = is_ekfac();
  int64_t sample = share.first_sample;  // Its index in the data set.
  share.sums = NewSums();
  for (int64_t b = share.first_batch; b < share.end_batch; ++b) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, Read(b));
    INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
    INFLUENCE_RETURN_IF_ERROR(CheckBatchSize(b, batch));
    for (int64_t begin = 0; begin < batch.size();) {
      const int64_t end = std::min(batch.size(), begin + part_samples);
      share.parts.push_back(Part{b, begin, end, sample});
      INFLUENCE_ASSIGN_OR_RETURN(const Batch part,
                                 SliceBatch(batch, begin, end));
      std::vector<PartFactors> of_part;
      int64_t part_bytes = 0;
      for (int64_t term = 0; term < fisher_->num_terms(); ++term) {
        INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                                   fisher_->Get(term, part, sample));
        INFLUENCE_ASSIGN_OR_RETURN(
            PartFactors factors,
            FactorsOf(gradients, positions_, /*check_biases=*/true));
        INFLUENCE_RETURN_IF_ERROR(
            AddTerm(gradients, factors, term == 0, share.sums));
        if (add_norms) {
          INFLUENCE_RETURN_IF_ERROR(AddSquaredNorms(gradients, share.sums));
        }
        part_samples = std::max(
            kMinPartSamples,
            kPartBytes / std::max<int64_t>(1, FactorBytesPerSample(gradients)));
        part_bytes += BytesOf(factors);
        keep = keep && kept_bytes + part_bytes <= most_kept;
        if (keep) of_part.push_back(std::move(factors));
      }
      if (keep) {
        kept_bytes += part_bytes;
        share.kept.push_back(std::move(of_part));
      }
      share.sums.num_samples += end - begin;
      sample += end - begin;
      begin = end;
    }
    INFLUENCE_RETURN_IF_ERROR(advance());
  }
  return absl::OkStatus();
}

absl::Status Fitter::SumCovariances() {
  INFLUENCE_RETURN_IF_ERROR(
      ForShares("covariances", [this](Share& share, Advance advance) {
        return SumCovariancesOf(share, advance);
      }));
  sums_ = std::move(shares_[0].sums);
  for (size_t w = 1; w < shares_.size(); ++w) {
    const Sums sums = std::move(shares_[w].sums);
    sums_.num_samples += sums.num_samples;
    for (size_t b = 0; b < sums.squared_norms.size(); ++b) {
      sums_.squared_norms[b] += sums.squared_norms[b];
    }
    for (size_t i = 0; i < sums.diagonals.size(); ++i) {
      sums_.diagonals[i].add_(sums.diagonals[i]);
    }
    for (size_t l = 0; l < sums.layers.size(); ++l) {
      LayerSums& all = sums_.layers[l];
      const LayerSums& of_share = sums.layers[l];
      all.num_positions += of_share.num_positions;
      all.inputs.Add(of_share.inputs);
      all.gradients.Add(of_share.gradients);
    }
  }
  return ReduceCovariances();
}

absl::Status Fitter::CheckBatchSize(int64_t index, const Batch& batch) const {
  const bool is_last = index + 1 == data_.num_batches();
  if (communicator_->size() == 1 || batch.size() == probe_size_ ||
      (is_last && batch.size() < probe_size_)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "batch ", index, ": found ", batch.size(), " samples, expected ",
      probe_size_, " as in batch 0 where several processes fit together"));
}

absl::Status Fitter::ReduceCovariances() {
  if (communicator_->size() == 1) return absl::OkStatus();
  const auto num_layers = static_cast<int64_t>(sums_.layers.size());
  const at::Tensor counts = at::zeros({num_layers + 1}, at::kLong);
  auto* const count = counts.data_ptr<int64_t>();
  count[num_layers] = sums_.num_samples;
  for (int64_t l = 0; l < num_layers; ++l) {
    count[l] = sums_.layers[l].num_positions;
  }
  INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(counts));
  sums_.num_samples = count[num_layers];
  for (int64_t l = 0; l < num_layers; ++l) {
    sums_.layers[l].num_positions = count[l];
  }

  const at::Tensor norms = at::tensor(sums_.squared_norms, at::kDouble);
  INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(norms));
  sums_.squared_norms.assign(norms.data_ptr<double>(),
                             norms.data_ptr<double>() + norms.numel());
  for (LayerSums& sums : sums_.layers) {
    INFLUENCE_RETURN_IF_ERROR(sums.inputs.Reduce(*communicator_));
    INFLUENCE_RETURN_IF_ERROR(sums.gradients.Reduce(*communicator_));
  }
  for (const at::Tensor& diagonal : sums_.diagonals) {
    INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(diagonal));
  }
  return absl::OkStatus();
}

std::vector<at::Tensor> Fitter::CovarianceSums() const {
  std::vector<at::Tensor> all;
  for (const LayerSums& sums : sums_.layers) {
    all.push_back(sums.inputs.State());
    all.push_back(sums.gradients.State());
  }
  all.insert(all.end(), sums_.diagonals.begin(), sums_.diagonals.end());
  return all;
}

absl::StatusOr<at::Tensor> Fitter::PartsOfAllRanks() const {
  const int rank = communicator_->rank();
  const at::Tensor counts = at::zeros({communicator_->size()}, at::kLong);
  auto* const count = counts.data_ptr<int64_t>();
  for (const Share& share : shares_) {
    count[rank] += static_cast<int64_t>(share.parts.size());
  }
  INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(counts));
  const auto before = std::accumulate(count, count + rank, int64_t{0});
  const auto total = counts.sum().item<int64_t>();
  at::Tensor parts = at::zeros({total, 4}, at::kLong);
  auto* row = parts.data_ptr<int64_t>() + 4 * before;
  for (const Share& share : shares_) {
    for (const Part& part : share.parts) {
      row[0] = part.batch;
      row[1] = part.begin;
      row[2] = part.end;
      row[3] = part.first_sample;
      row += 4;
    }
  }
  INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(parts));
  return parts;
}

absl::Status Fitter::KeepCovariances() const {
  if (checkpoint() == nullptr) return absl::OkStatus();
  std::vector<int64_t> counts = {sums_.num_samples};
  for (const LayerSums& sums : sums_.layers) {
    counts.push_back(sums.num_positions);
  }
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor parts, PartsOfAllRanks());
  std::vector<at::Tensor> arrays = {
      at::tensor(counts, at::kLong), parts,
      at::tensor(sums_.squared_norms, at::kDouble)};
  const std::vector<at::Tensor> sums = CovarianceSums();
  arrays.insert(arrays.end(), sums.begin(), sums.end());
  return checkpoint()->Keep(kCovariancesStage, arrays);
}

absl::StatusOr<bool> Fitter::RestoreCovariances() {
  if (checkpoint() == nullptr) return false;
  INFLUENCE_ASSIGN_OR_RETURN(const auto found,
                             checkpoint()->Find(kCovariancesStage));
  if (!found.has_value()) return false;
  const std::vector<at::Tensor>& arrays = *found;
  sums_ = NewSums();
  const size_t num_sums = 2 * sums_.layers.size() + sums_.diagonals.size();
  bool fits =
      arrays.size() == num_sums + 3 && arrays[0].scalar_type() == at::kLong &&
      arrays[0].numel() == static_cast<int64_t>(sums_.layers.size()) + 1 &&
      arrays[1].scalar_type() == at::kLong && arrays[1].dim() == 2 &&
      arrays[1].size(1) == 4 && arrays[2].scalar_type() == at::kDouble &&
      arrays[2].numel() == static_cast<int64_t>(sums_.squared_norms.size());
  size_t next = 3;
  for (size_t l = 0; fits && l < sums_.layers.size(); ++l) {
    fits = sums_.layers[l].inputs.SetState(arrays[next]) &&
           sums_.layers[l].gradients.SetState(arrays[next + 1]);
    next += 2;
  }
  for (size_t i = 0; fits && i < sums_.diagonals.size(); ++i, ++next) {
    fits = arrays[next].scalar_type() == at::kDouble &&
           arrays[next].sizes() == sums_.diagonals[i].sizes();
    if (fits) sums_.diagonals[i].copy_(arrays[next]);
  }
  if (!fits) return UnexpectedStage(kCovariancesStage);
  const auto* const counts = arrays[0].data_ptr<int64_t>();
  sums_.num_samples = counts[0];
  for (size_t l = 0; l < sums_.layers.size(); ++l) {
    sums_.layers[l].num_positions = counts[l + 1];
  }
  const auto* const parts = arrays[1].data_ptr<int64_t>();
  for (int64_t i = 0; i < arrays[1].numel(); i += 4) {
    const Part part{parts[i], parts[i + 1], parts[i + 2], parts[i + 3]};
    // Of whatever rank and worker it was.
    for (Share& share : shares_) {
      if (share.first_batch <= part.batch && part.batch < share.end_batch) {
        share.parts.push_back(part);
      }
    }
  }
  const auto* const norms = arrays[2].data_ptr<double>();
  sums_.squared_norms.assign(norms, norms + arrays[2].numel());
  return true;
}

absl::Status Fitter::KeepEigenvalues() const {
  if (checkpoint() == nullptr || !is_ekfac() || !known_.empty() ||
      fitted_.empty()) {
    return absl::OkStatus();
  }
  std::vector<at::Tensor> arrays;
  arrays.reserve(kLayerArrays * fitted_.size());
  for (const LayerFit& layer : fitted_) {
    arrays.insert(arrays.end(),
                  {layer.inputs.eigenvectors, layer.inputs.eigenvalues,
                   layer.gradients.eigenvectors, layer.gradients.eigenvalues,
                   layer.eigenvalues});
  }
  return checkpoint()->Keep(kEigenvaluesStage, arrays);
}

absl::Status Fitter::RestoreEigenvalues() {
  if (checkpoint() == nullptr || !is_ekfac()) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(auto found, checkpoint()->Find(kEigenvaluesStage));
  if (!found.has_value()) return absl::OkStatus();
  std::vector<at::Tensor>& arrays = *found;
  bool fits = arrays.size() == kLayerArrays * layers_.layers.size();
  for (size_t l = 0; fits && l < layers_.layers.size(); ++l) {
    const AffineLayer& affine = layers_.layers[l].affine;
    const at::Tensor* const of_layer = &arrays[kLayerArrays * l];
    fits = of_layer[0].dim() == 3 && of_layer[2].dim() == 3;
    if (!fits) break;
    const int64_t h = affine.groups;
    const int64_t inputs = layers_.layers[l].num_inputs();
    const int64_t r = of_layer[0].size(2), q = of_layer[2].size(2);
    const std::vector<std::vector<int64_t>> shapes = {
        {h, inputs, r}, {h, r}, {h, affine.outputs, q}, {h, q}, {h, q, r}};
    for (size_t i = 0; fits && i < kLayerArrays; ++i) {
      fits = of_layer[i].scalar_type() == at::kDouble &&
             of_layer[i].sizes() == at::IntArrayRef(shapes[i]);
    }
  }
  if (!fits) return UnexpectedStage(kEigenvaluesStage);
  known_ = std::move(arrays);
  return absl::OkStatus();
}

absl::Status Fitter::DecomposeLayers() {
  std::vector<SymmetricMatrix> covariances;
  covariances.reserve(2 * layers_.layers.size());
  const bool is_known = !known_.empty();
  for (size_t l = 0; l < layers_.layers.size(); ++l) {
    LayerSums& sums = sums_.layers[l];
    const std::string& name = layers_.layers[l].name;
    const auto num_positions =
        static_cast<double>(std::max<int64_t>(1, sums.num_positions));
    LayerFit layer;
    const auto add = [&](absl::string_view what, SecondMoment& moment,
                         double scale, at::Tensor* kept) {
      if (is_known && !options_.keep_covariances) return;
      covariances.push_back(
          moment.TakeMatrix(absl::StrCat(what, " of ", name), scale));
      if (options_.keep_covariances) *kept = covariances.back().values;
    };
    add("input covariance", sums.inputs, 1 / num_positions,
        &layer.input_covariance);
    add("gradient covariance", sums.gradients,
        1 / static_cast<double>(sums_.num_samples), &layer.gradient_covariance);
    fitted_.push_back(std::move(layer));
  }
  sums_.layers.clear();
  if (is_known) return absl::OkStatus();
  // What the pass has left behind is in the way of the largest workspace.
  ReleaseFreedMemory();
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<Eigendecomposition> found,
                             EigendecomposeTogether(std::move(covariances),
                                                    *communicator_, progress_));
  for (size_t l = 0; l < fitted_.size(); ++l) {
    // Rounding may leave one of a singular covariance below 0.
    fitted_[l].inputs = std::move(found[2 * l]);
    fitted_[l].inputs.eigenvalues.clamp_min_(0);
    fitted_[l].gradients = std::move(found[2 * l + 1]);
    fitted_[l].gradients.eigenvalues.clamp_min_(0);
  }
  return absl::OkStatus();
}

absl::Status Fitter::Decompose() {
  INFLUENCE_RETURN_IF_ERROR(DecomposeLayers());
  for (size_t l = 0; l < fitted_.size(); ++l) {
    LayerFit& layer = fitted_[l];
    if (!known_.empty()) {
      const at::Tensor* const known = &known_[kLayerArrays * l];
      layer.inputs = {known[1], known[0]};
      layer.gradients = {known[3], known[2]};
      layer.eigenvalues = known[4];
    } else if (is_ekfac()) {
      rotations_.push_back(
          Rotation{layer.inputs.eigenvectors.to(model().dtype()),
                   layer.gradients.eigenvectors.to(model().dtype())});
    } else {
      layer.eigenvalues = layer.gradients.eigenvalues.unsqueeze(2).mul(
          layer.inputs.eigenvalues.unsqueeze(1));
    }
  }
  return absl::OkStatus();
}

std::vector<KroneckerFactors> Fitter::Pairs() const {
  std::vector<KroneckerFactors> pairs;
  for (size_t l = 0; l < fitted_.size(); ++l) {
    const KroneckerLayer& layer = layers_.layers[l];
    const AffineLayer& affine = layer.affine;
    const LayerFit& fit = fitted_[l];
    for (int64_t h = 0; h < affine.groups; ++h) {
      const auto of_group = [h](const at::Tensor& stack) {
        return stack.defined() ? stack.select(0, h) : at::Tensor();
      };
      KroneckerFactors factors;
      factors.layer = layer.name;
      factors.group = h;
      factors.weight = affine.weight;
      factors.weight_offset = h * affine.outputs * affine.inputs;
      factors.input_major = affine.input_major;
      factors.bias = affine.bias;
      factors.bias_offset = layer.has_bias() ? h * affine.outputs : 0;
      factors.input_covariance = of_group(fit.input_covariance);
      factors.gradient_covariance = of_group(fit.gradient_covariance);
      factors.input_eigenvectors = of_group(fit.inputs.eigenvectors);
      factors.input_eigenvalues = of_group(fit.inputs.eigenvalues);
      factors.gradient_eigenvectors = of_group(fit.gradients.eigenvectors);
      factors.gradient_eigenvalues = of_group(fit.gradients.eigenvalues);
      factors.eigenvalues = of_group(fit.eigenvalues);
      pairs.push_back(std::move(factors));
    }
  }
  return pairs;
}

void Fitter::AddSquares(const PartFactors& factors,
                        std::vector<at::Tensor>& squares) const {
  for (size_t l = 0; l < layers_.layers.size(); ++l) {
    std::vector<PositionFactors> uses;
    uses.reserve(factors[l].size());
    for (const LayerFactors& use : factors[l]) {
      uses.push_back({use.inputs, use.gradients});
    }
    AddSquaredRotationsOfGroups(uses, layers_.layers[l].has_bias(),
                                rotations_[l].inputs, rotations_[l].gradients,
                                squares[l]);
  }
}

absl::Status Fitter::SumSquaresOf(Share& share, Advance advance) {
  for (const Rotation& rotation : rotations_) {
    share.squares.push_back(
        at::zeros({rotation.inputs.size(0), rotation.gradients.size(2),
                   rotation.inputs.size(2)},
                  at::kDouble));
  }
  int64_t current = -1;  // The batch in `batch`.
  Batch batch;
  for (size_t i = 0; i < share.parts.size(); ++i) {
    const Part& part = share.parts[i];
    if (i < share.kept.size()) {
      for (const PartFactors& factors : share.kept[i]) {
        AddSquares(factors, share.squares);
      }
      share.kept[i].clear();
    } else {
      if (current != part.batch) {
        INFLUENCE_ASSIGN_OR_RETURN(batch, Read(part.batch));
        current = part.batch;
      }
      INFLUENCE_ASSIGN_OR_RETURN(const Batch samples,
                                 SliceBatch(batch, part.begin, part.end));
      for (int64_t term = 0; term < fisher_->num_terms(); ++term) {
        INFLUENCE_ASSIGN_OR_RETURN(
            const FactoredGradients gradients,
            weights_fisher_->Get(term, samples, part.first_sample));
        INFLUENCE_ASSIGN_OR_RETURN(const PartFactors factors,
                                   FactorsOf(gradients, weight_positions_,
                                             /*check_biases=*/false));
        AddSquares(factors, share.squares);
      }
    }
    if (i + 1 == share.parts.size() || share.parts[i + 1].batch != part.batch) {
      INFLUENCE_RETURN_IF_ERROR(advance());
    }
  }
  return absl::OkStatus();
}

absl::Status Fitter::SumEigenvalues() {
  if (!is_ekfac() || layers_.layers.empty() || !known_.empty()) {
    return absl::OkStatus();
  }
  INFLUENCE_RETURN_IF_ERROR(
      ForShares("eigenvalues", [this](Share& share, Advance advance) {
        return SumSquaresOf(share, advance);
      }));
  for (size_t i = 0; i < fitted_.size(); ++i) {
    const at::Tensor squares = shares_[0].squares[i];
    for (size_t w = 1; w < shares_.size(); ++w) {
      squares.add_(shares_[w].squares[i]);
    }
    INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(squares));
    fitted_[i].eigenvalues =
        squares.div_(static_cast<double>(sums_.num_samples));
    INFLUENCE_RETURN_IF_ERROR(
        ValidateFinite(absl::StrCat("eigenvalues of ", layers_.layers[i].name),
                       fitted_[i].eigenvalues));
  }
  for (Share& share : shares_) share.squares.clear();
  rotations_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> Fitter::MeanSquaredNormsOfLabels() {
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::shared_ptr<const GradientProvider> restricted,
      provider_->Restrict(blocks_.parameters()));
  const size_t num_blocks = blocks_.blocks().size();
  std::vector<std::vector<double>> sums(shares_.size(),
                                        std::vector<double>(num_blocks, 0.0));
  const auto add_norms = [&](Share& share, Advance advance) -> absl::Status {
    std::vector<double>& of_share = sums[&share - shares_.data()];
    Batch batch;
    for (size_t i = 0; i < share.parts.size(); ++i) {
      const Part& part = share.parts[i];
      if (i == 0 || share.parts[i - 1].batch != part.batch) {
        INFLUENCE_ASSIGN_OR_RETURN(batch, Read(part.batch));
      }
      INFLUENCE_ASSIGN_OR_RETURN(const Batch samples,
                                 SliceBatch(batch, part.begin, part.end));
      INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients gradients,
                                 restricted->FactoredGrads(samples));
      int64_t position = 0;
      for (size_t b = 0; b < num_blocks; ++b) {
        std::vector<int64_t> of_block(blocks_.blocks()[b].parameters.size());
        for (int64_t& p : of_block) p = position++;
        INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients block,
                                   gradients.Select(of_block));
        INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor norms,
                                   block.SquaredNorms());
        of_share[b] += SumOf(norms);
      }
      if (i + 1 == share.parts.size() ||
          share.parts[i + 1].batch != part.batch) {
        INFLUENCE_RETURN_IF_ERROR(advance());
      }
    }
    return absl::OkStatus();
  };
  INFLUENCE_RETURN_IF_ERROR(ForShares("gradient norms", add_norms));
  const at::Tensor all =
      at::zeros({static_cast<int64_t>(num_blocks)}, at::kDouble);
  auto* const all_of = all.data_ptr<double>();
  for (const std::vector<double>& of_share : sums) {
    for (size_t b = 0; b < num_blocks; ++b) all_of[b] += of_share[b];
  }
  INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(all));
  all.div_(static_cast<double>(sums_.num_samples));
  return std::vector<double>(all_of, all_of + num_blocks);
}

absl::StatusOr<KroneckerFit> Fitter::Finish() {
  KroneckerFit fit;
  KroneckerCurvature& curvature = fit.curvature;
  curvature.num_samples = sums_.num_samples;
  const double scale = 1.0 / static_cast<double>(sums_.num_samples);
  for (size_t i = 0; i < layers_.uncovered.size(); ++i) {
    const int64_t parameter = layers_.uncovered[i].parameter;
    if (layers_.uncovered[i].too_wide) curvature.too_wide.push_back(parameter);
    if (options_.uncovered == UncoveredPolicy::kDrop) {
      curvature.dropped.push_back(parameter);
      continue;
    }
    at::Tensor diagonal = sums_.diagonals[i].mul(scale);
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite(
        absl::StrCat("diagonal of ", model().parameters()[parameter].name),
        diagonal));
    curvature.diagonals.push_back(
        DiagonalFactor{parameter, std::move(diagonal)});
  }
  curvature.layers = Pairs();

  if (options_.mean_squared_norms && options_.fisher != Fisher::kEmpirical) {
    INFLUENCE_ASSIGN_OR_RETURN(fit.mean_squared_norms,
                               MeanSquaredNormsOfLabels());
  } else if (options_.mean_squared_norms) {
    fit.mean_squared_norms = sums_.squared_norms;
    for (double& norm : fit.mean_squared_norms) norm *= scale;
    if (is_ekfac()) {
      for (size_t l = 0; l < layers_.layers.size(); ++l) {
        fit.mean_squared_norms[layers_.layers[l].block] +=
            SumOf(fitted_[l].eigenvalues);
      }
    }
    for (size_t i = 0; i < sums_.diagonals.size(); ++i) {
      fit.mean_squared_norms[layers_.uncovered[i].block] +=
          SumOf(curvature.diagonals[i].diagonal);
    }
  }
  fit.uncovered = std::move(layers_.uncovered);
  return fit;
}

}  // namespace

absl::string_view UncoveredPolicyName(UncoveredPolicy policy) {
  switch (policy) {
    case UncoveredPolicy::kDiagonal:
      return "diagonal";
    case UncoveredPolicy::kDrop:
      return "drop";
    case UncoveredPolicy::kError:
      return "error";
  }
  return "";
}

absl::StatusOr<UncoveredPolicy> ParseUncoveredPolicy(absl::string_view name) {
  for (const UncoveredPolicy policy :
       {UncoveredPolicy::kDiagonal, UncoveredPolicy::kDrop,
        UncoveredPolicy::kError}) {
    if (name == UncoveredPolicyName(policy)) return policy;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("uncovered: found \"", name,
                   "\", expected one of diagonal, drop, error"));
}

absl::StatusOr<KroneckerFit> FitKronecker(
    const std::shared_ptr<const GradientProvider>& provider,
    const ParameterBlocks& blocks, const BatchSequence& data,
    const KroneckerFitOptions& options, ProgressReporter* progress) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (options.kept_factor_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("kept_factor_bytes: found ",
                                                   options.kept_factor_bytes,
                                                   ", expected >= 0"));
  }
  if (options.max_factor_size < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_factor_size: found ", options.max_factor_size, ", expected >= 0"));
  }
  if (options.worker_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "worker_bytes: found ", options.worker_bytes, ", expected >= 0"));
  }
  if (data.num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  INFLUENCE_ASSIGN_OR_RETURN(const Batch probe, data.Get(0));
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(probe));
  auto capturing =
      std::dynamic_pointer_cast<const CapturingGradientProvider>(provider);
  if (capturing == nullptr) {
    INFLUENCE_ASSIGN_OR_RETURN(
        capturing, CapturingGradientProvider::Create(
                       provider->shared_model(), provider->function(), probe));
  }
  return CatchTorch("Kronecker factors", [&]() -> absl::StatusOr<KroneckerFit> {
    const at::NoGradGuard no_grad;
    Fitter fitter(std::move(capturing), blocks, data, options, progress);
    INFLUENCE_RETURN_IF_ERROR(fitter.Prepare(probe));
    INFLUENCE_ASSIGN_OR_RETURN(const bool restored,
                               fitter.RestoreCovariances());
    if (!restored) {
      INFLUENCE_RETURN_IF_ERROR(fitter.SumCovariances());
      INFLUENCE_RETURN_IF_ERROR(fitter.KeepCovariances());
    }
    INFLUENCE_RETURN_IF_ERROR(fitter.RestoreEigenvalues());
    INFLUENCE_RETURN_IF_ERROR(fitter.Decompose());
    INFLUENCE_RETURN_IF_ERROR(fitter.SumEigenvalues());
    INFLUENCE_RETURN_IF_ERROR(fitter.KeepEigenvalues());
    return fitter.Finish();
  });
}

}  // namespace influence
