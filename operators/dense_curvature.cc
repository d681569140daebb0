// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/dense_curvature.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "base/worker_pool.h"
#include "gradients/batch.h"
#include "gradients/batch_merger.h"
#include "gradients/batch_sequence.h"
#include "gradients/differentiable_attention.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "operators/curvature_graph.h"
#include "operators/second_derivative_check.h"

namespace influence {
namespace {

// Scalars of a tile of written-out gradients: 16 MiB of float64. Large enough
// for the matrix product to run at full rate, small beside C_b.
constexpr int64_t kTileScalars = int64_t{1} << 21;

// Columns that a thread takes at a time.
constexpr int64_t kColumnsPerTask = 8;

// One parameter of one block.
struct Slot {
  size_t block;
  int64_t size;
  int64_t block_offset;          // Within the block.
  int64_t flat_offset;           // Within all blocks.
  std::vector<size_t> partners;  // Slots of the block from this one on.
};

std::vector<Slot> MakeSlots(const Model& model, const ParameterBlocks& blocks) {
  std::vector<Slot> slots;
  for (size_t b = 0; b < blocks.blocks().size(); ++b) {
    const ParameterBlock& block = blocks.blocks()[b];
    const size_t end = slots.size() + block.parameters.size();
    int64_t offset = 0;
    for (const int64_t index : block.parameters) {
      const int64_t size = model.parameters()[index].tensor.numel();
      Slot slot{b, size, offset, block.offset + offset, {}};
      for (size_t s = slots.size(); s < end; ++s) slot.partners.push_back(s);
      slots.push_back(std::move(slot));
      offset += size;
    }
  }
  return slots;
}

absl::StatusOr<std::unique_ptr<const CurvatureGraph>> CreateGraph(
    Curvature curvature, const GradientProvider& provider,
    const std::vector<int64_t>& parameters, const Batch& batch) {
  return curvature == Curvature::kHessian
             ? CreateHessianGraph(provider, parameters, batch)
             : CreateGeneralizedGaussNewtonGraph(provider, parameters, batch);
}

absl::Status CheckSecondDerivatives(Curvature curvature,
                                    const GradientProvider& provider,
                                    const std::vector<int64_t>& parameters,
                                    const Batch& batch) {
  if (curvature == Curvature::kGaussNewton) return absl::OkStatus();
  return curvature == Curvature::kHessian
             ? CheckHessian(provider, parameters, batch)
             : CheckGeneralizedGaussNewton(provider, parameters, batch);
}

// Adds, for the columns that `next_column` hands out, what one batch
// contributes to the upper triangle of parameters. Column j of C_b is row j,
// and each row is written by one thread.
absl::Status AddColumns(Curvature curvature, const GradientProvider& provider,
                        const std::vector<int64_t>& parameters,
                        const std::vector<Slot>& slots, const Batch& batch,
                        std::atomic<int64_t>& next_column,
                        std::vector<at::Tensor>& sums) {
  const int64_t num_columns = slots.back().flat_offset + slots.back().size;
  INFLUENCE_ASSIGN_OR_RETURN(
      std::unique_ptr<const CurvatureGraph> graph,
      CreateGraph(curvature, provider, parameters, batch));
  CurvatureGraph::Vectors unit(slots.size());
  size_t s = 0;
  while (true) {
    const int64_t begin = next_column.fetch_add(kColumnsPerTask);
    if (begin >= num_columns) return absl::OkStatus();
    const int64_t end = std::min(begin + kColumnsPerTask, num_columns);
    for (int64_t column = begin; column < end; ++column) {
      while (column >= slots[s].flat_offset + slots[s].size) {
        unit[s] = at::Tensor();
        ++s;
      }
      const Slot& slot = slots[s];
      if (!unit[s].defined()) {
        unit[s] = at::zeros_like(
            provider.model().parameters()[parameters[s]].tensor.detach(),
            at::MemoryFormat::Contiguous);
      }
      const at::Tensor entry =
          unit[s].view({-1}).narrow(0, column - slot.flat_offset, 1);
      entry.fill_(1);
      const CurvatureGraph::Vectors products =
          graph->Product(unit, slot.partners);
      entry.fill_(0);
      const at::Tensor row =
          sums[slot.block][column - slot.flat_offset + slot.block_offset];
      for (size_t q = 0; q < products.size(); ++q) {
        if (!products[q].defined()) continue;
        const Slot& partner = slots[slot.partners[q]];
        row.narrow(0, partner.block_offset, partner.size)
            .add_(products[q].reshape({partner.size}));
      }
    }
  }
}

// One batch of the Hessian or the generalised Gauss-Newton matrix.
absl::Status AddProducts(Curvature curvature, const GradientProvider& provider,
                         const std::vector<int64_t>& parameters,
                         const std::vector<Slot>& slots, const Batch& batch,
                         int num_threads, std::vector<at::Tensor>& sums) {
  std::atomic<int64_t> next_column = 0;
  return RunWorkers(num_threads, [&](int) {
    return AddColumns(curvature, provider, parameters, slots, batch,
                      next_column, sums);
  });
}

// One batch of the Gauss-Newton matrix.
absl::Status AddGaussNewton(const GradientProvider& provider,
                            const ParameterBlocks& blocks, const Batch& batch,
                            std::vector<at::Tensor>& sums) {
  at::NoGradGuard no_grad;
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                             provider.FactoredGrads(batch));
  int64_t first = 0;  // The block's first parameter among those of `grads`.
  for (size_t b = 0; b < blocks.blocks().size(); ++b) {
    const ParameterBlock& block = blocks.blocks()[b];
    std::vector<int64_t> indices(block.parameters.size());
    for (int64_t& index : indices) index = first++;
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part, grads.Select(indices));
    const int64_t rows = std::max<int64_t>(1, kTileScalars / block.size);
    for (int64_t begin = 0; begin < part.num_samples(); begin += rows) {
      INFLUENCE_ASSIGN_OR_RETURN(
          at::Tensor tile,
          part.FlattenRows(begin, std::min(begin + rows, part.num_samples())));
      tile = tile.to(at::kDouble);
      sums[b].addmm_(tile.t(), tile);
    }
  }
  return absl::OkStatus();
}

// The batches of `data` that are rank `rank`'s of `size` ranks.
class BatchesOfRank : public BatchSequence {
 public:
  BatchesOfRank(const BatchSequence& data, int64_t rank, int64_t size)
      : data_(data),
        begin_(rank * data.num_batches() / size),
        end_((rank + 1) * data.num_batches() / size) {}

  int64_t num_batches() const override { return end_ - begin_; }
  int64_t num_samples() const override { return data_.num_samples(); }
  absl::StatusOr<Batch> Get(int64_t index) const override {
    return data_.Get(begin_ + index);
  }

 private:
  const BatchSequence& data_;
  const int64_t begin_, end_;
};

// Copies the upper triangle of parameters to the lower one and averages the
// diagonal blocks with their transposes.
void Symmetrize(const std::vector<Slot>& slots, size_t block,
                const at::Tensor& matrix) {
  for (const Slot& slot : slots) {
    if (slot.block != block) continue;
    const at::Tensor rows = matrix.narrow(0, slot.block_offset, slot.size);
    const at::Tensor square = rows.narrow(1, slot.block_offset, slot.size);
    square.copy_(square.add(square.t()).div_(2));
    const int64_t next = slot.block_offset + slot.size;
    const int64_t rest = matrix.size(0) - next;
    matrix.narrow(0, next, rest)
        .narrow(1, slot.block_offset, slot.size)
        .copy_(rows.narrow(1, next, rest).t());
  }
}

}  // namespace

absl::StatusOr<std::vector<at::Tensor>> FormDenseCurvature(
    Curvature curvature, const GradientProvider& provider,
    const ParameterBlocks& blocks, const BatchSequence& data,
    const DenseCurvatureOptions& options, ProgressReporter* progress) {
  if (options.num_threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_threads: found ", options.num_threads, ", expected >= 0"));
  }
  if (data.num_samples() < 1) {
    return absl::InvalidArgumentError(
        "data: found no samples, expected at least one");
  }
  return CatchTorch(
      "dense curvature", [&]() -> absl::StatusOr<std::vector<at::Tensor>> {
        const std::vector<int64_t> parameters = blocks.parameters();
        INFLUENCE_ASSIGN_OR_RETURN(
            std::shared_ptr<const GradientProvider> restricted,
            provider.Restrict(parameters));
        const std::vector<Slot> slots = MakeSlots(provider.model(), blocks);
        const int64_t num_tasks =
            (blocks.size() + kColumnsPerTask - 1) / kColumnsPerTask;
        int num_threads = WorkersFor(num_tasks);
        if (options.num_threads > 0) {
          num_threads = std::min(num_threads, options.num_threads);
        }
        std::vector<at::Tensor> sums;
        for (const ParameterBlock& block : blocks.blocks()) {
          sums.push_back(at::zeros({block.size, block.size}, at::kDouble));
        }
        DifferentiableAttentionScope differentiable_attention;
        const std::shared_ptr<Communicator> communicator =
            options.communicator != nullptr
                ? options.communicator
                : std::shared_ptr<Communicator>(SingleProcess());
        const BatchesOfRank mine(data, communicator->rank(),
                                 communicator->size());
        ProgressStage stage(progress, "curvature", mine.num_batches(),
                            "batches");
        // The factors of Gauss-Newton cost no pass a column: nothing to gain.
        BatchMergeLimits limits =
            MergeLimitsForModel(provider.model().num_parameters());
        if (curvature == Curvature::kGaussNewton) limits.max_samples = 0;
        BatchMerger merger(mine, limits);
        int64_t num_samples = 0;
        while (mine.num_batches() > 0) {
          INFLUENCE_ASSIGN_OR_RETURN(std::optional<MergedBatch> merged,
                                     merger.Next());
          if (!merged.has_value()) break;
          const Batch& batch = merged->batch;
          if (num_samples == 0) {
            INFLUENCE_RETURN_IF_ERROR(CheckSecondDerivatives(
                curvature, *restricted, parameters, batch));
          }
          INFLUENCE_RETURN_IF_ERROR(
              curvature == Curvature::kGaussNewton
                  ? AddGaussNewton(*restricted, blocks, batch, sums)
                  : AddProducts(curvature, *restricted, parameters, slots,
                                batch, num_threads, sums));
          num_samples += batch.size();
          for (int64_t i = 0; i < merged->num_batches; ++i) stage.Advance();
        }
        const at::Tensor count = at::full({1}, num_samples, at::kLong);
        INFLUENCE_RETURN_IF_ERROR(communicator->AllReduceSum(count));
        num_samples = count.item<int64_t>();
        for (size_t b = 0; b < sums.size(); ++b) {
          INFLUENCE_RETURN_IF_ERROR(communicator->AllReduceSum(sums[b]));
          sums[b].div_(static_cast<double>(num_samples));
          Symmetrize(slots, b, sums[b]);
          INFLUENCE_RETURN_IF_ERROR(ValidateFinite(
              absl::StrCat(CurvatureName(curvature), " of block ",
                           blocks.blocks()[b].name),
              sums[b]));
        }
        return sums;
      });
}

}  // namespace influence
