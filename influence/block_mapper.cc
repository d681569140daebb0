// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/block_mapper.h"

#include <string>
#include <utility>

#include "ATen/ops/cat.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/missing_rows.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "operators/bilinear_form.h"
#include "operators/solve_report.h"

namespace influence {

LazyBlockSequence::LazyBlockSequence(size_t num_blocks, Function function)
    : num_blocks_(num_blocks), function_(std::move(function)) {}

absl::StatusOr<std::optional<TensorMap::Entry>> LazyBlockSequence::Next() {
  if (next_ == num_blocks_) return std::nullopt;
  absl::StatusOr<TensorMap::Entry> entry = function_(next_);
  if (!entry.ok()) {
    next_ = num_blocks_;
    return entry.status();
  }
  ++next_;
  return *std::move(entry);
}

struct BlockMapper::Parts {
  ParameterBlocks blocks;
  std::vector<std::shared_ptr<const Operator>> operators;
  std::vector<std::unique_ptr<const BilinearForm>> forms;  // Of `operators`.
  std::shared_ptr<const GradientProvider> provider;        // Of all blocks.
  std::shared_ptr<const GradientProvider> query_provider;  // The same.
  std::vector<OperatorGradientComposition> compositions;   // One a block.

  // The block's place in the flat vector's list of parameters.
  std::vector<std::vector<int64_t>> positions;

  const std::string& name(size_t block) const {
    return blocks.blocks()[block].name;
  }

  TensorMap::Entry Entry(size_t block, at::Tensor tensor) const {
    return {name(block), std::move(tensor)};
  }

  // Both restricted to one block.
  absl::Status ValidateGradients(const FactoredGradients& grads) const {
    if (grads.parameters().size() == blocks.parameters().size() &&
        grads.num_parameters() == blocks.size()) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "gradients: found ", grads.num_parameters(), " scalars of ",
        grads.parameters().size(), " parameters, expected ", blocks.size(),
        " of ", blocks.parameters().size(), ", those of the blocks"));
  }

  absl::StatusOr<at::Tensor> GradsInnerProd(
      size_t block, const PreparedGrads& left,
      const FactoredGradients& right) const {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                               right.Select(positions[block]));
    return left.GradsInnerProd(part);
  }

  absl::StatusOr<std::unique_ptr<const PreparedGrads>> Prepare(
      size_t block, const FactoredGradients& left) const {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                               left.Select(positions[block]));
    return forms[block]->PrepareGrads(part);
  }

  absl::StatusOr<at::Tensor> TransformedGrads(
      size_t block, const FactoredGradients& grads,
      std::vector<SolveReport>* reports) const {
    INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                               grads.Select(positions[block]));
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor flat, part.Flatten());
    return operators[block]->ApplyWithReports(flat, reports);
  }
};

namespace {

absl::StatusOr<TensorMap> Collect(LazyBlockSequence sequence) {
  TensorMap map;
  while (true) {
    INFLUENCE_ASSIGN_OR_RETURN(std::optional<TensorMap::Entry> entry,
                               sequence.Next());
    if (!entry.has_value()) return map;
    INFLUENCE_RETURN_IF_ERROR(
        map.Insert(std::move(entry->first), std::move(entry->second)));
  }
}

absl::StatusOr<at::Tensor> Sum(LazyBlockSequence sequence) {
  return CatchTorch("sum over blocks", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor sum;
    while (true) {
      INFLUENCE_ASSIGN_OR_RETURN(std::optional<TensorMap::Entry> entry,
                                 sequence.Next());
      if (!entry.has_value()) return sum;
      sum = sum.defined() ? sum.add_(entry->second) : entry->second;
    }
  });
}

// A value that the first of several calls computes.
template <typename T>
class Once {
 public:
  explicit Once(std::function<absl::StatusOr<T>()> function)
      : function_(std::move(function)) {}

  absl::StatusOr<const T*> Get() {
    if (!value_.has_value()) {
      INFLUENCE_ASSIGN_OR_RETURN(value_, function_());
    }
    return &*value_;
  }

 private:
  std::function<absl::StatusOr<T>()> function_;
  std::optional<T> value_;
};

absl::Status ValidateFactorsShape(absl::string_view name,
                                  const at::Tensor& factors, int64_t size) {
  INFLUENCE_RETURN_IF_ERROR(ValidateVectorOrMatrix(name, factors, size));
  if (factors.dim() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found shape ", ShapeString(factors),
                     ", expected [M, ", size, "]"));
  }
  return absl::OkStatus();
}

// The rows that have no answer.
absl::StatusOr<std::vector<int64_t>> ValidateFactors(absl::string_view name,
                                                     const at::Tensor& factors,
                                                     int64_t size) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFactorsShape(name, factors, size));
  return FindMissingRows(name, factors);
}

// `provider`'s mixed product with the blocks' parts of the left side, side by
// side. A row that has no answer in one block has none.
absl::StatusOr<at::Tensor> MixedProd(const GradientProvider& provider,
                                     const Batch& right,
                                     std::vector<at::Tensor> parts,
                                     int64_t input) {
  std::vector<int64_t> missing;
  for (at::Tensor& part : parts) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> of_part,
                               FindMissingRows("factors", part));
    part = WithoutMissingRows(part, of_part);
    missing = UnionOfRows(missing, of_part);
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor mixed,
      provider.MixedProd(right, at::cat(parts, /*dim=*/1), input));
  return WithMissingRows(mixed, missing);
}

}  // namespace

// The queries' gradients, transformed block by block.
class BlockPreparedQueries : public PreparedQueries {
 public:
  BlockPreparedQueries(
      std::shared_ptr<const BlockMapper::Parts> parts,
      std::vector<std::shared_ptr<const PreparedGrads>> prepared)
      : parts_(std::move(parts)), prepared_(std::move(prepared)) {}

  int64_t num_queries() const override { return prepared_[0]->num_samples(); }

  std::vector<BlockSolveReports> solve_reports() const override {
    std::vector<BlockSolveReports> by_block;
    for (size_t b = 0; b < prepared_.size(); ++b) {
      std::vector<SolveReport> reports = prepared_[b]->solve_reports();
      if (reports.empty()) continue;
      by_block.push_back({parts_->name(b), std::move(reports)});
    }
    return by_block;
  }

  absl::StatusOr<at::Tensor> Influences(const Batch& train, InfluenceMode mode,
                                        int64_t input) const override {
    if (mode == InfluenceMode::kUp) return Sum(Generate(train, mode, input));
    // Linear in the left side: one graph, and one double backward pass a query,
    // for all blocks.
    return CatchTorch("influences", [&]() -> absl::StatusOr<at::Tensor> {
      std::vector<at::Tensor> transformed(prepared_.size());
      for (size_t b = 0; b < prepared_.size(); ++b) {
        INFLUENCE_ASSIGN_OR_RETURN(transformed[b],
                                   prepared_[b]->TransformedGrads());
      }
      return MixedProd(*parts_->provider, train, transformed, input);
    });
  }

  absl::StatusOr<TensorMap> InfluencesByBlock(const Batch& train,
                                              InfluenceMode mode,
                                              int64_t input) const override {
    return Collect(Generate(train, mode, input));
  }

  absl::StatusOr<at::Tensor> InfluencesFromGradients(
      const FactoredGradients& train) const override {
    INFLUENCE_RETURN_IF_ERROR(parts_->ValidateGradients(train));
    return Sum(GenerateFromGradients(train));
  }

  absl::StatusOr<TensorMap> InfluencesFromGradientsByBlock(
      const FactoredGradients& train) const override {
    INFLUENCE_RETURN_IF_ERROR(parts_->ValidateGradients(train));
    return Collect(GenerateFromGradients(train));
  }

 private:
  // Lazy as what it is summed or collected by; borrows `train`.
  LazyBlockSequence GenerateFromGradients(
      const FactoredGradients& train) const {
    return LazyBlockSequence(
        prepared_.size(),
        [this, &train](size_t b) -> absl::StatusOr<TensorMap::Entry> {
          INFLUENCE_ASSIGN_OR_RETURN(
              at::Tensor products,
              parts_->GradsInnerProd(b, *prepared_[b], train));
          return parts_->Entry(b, std::move(products));
        });
  }

  LazyBlockSequence Generate(Batch train, InfluenceMode mode,
                             int64_t input) const {
    auto grads =
        std::make_shared<Once<FactoredGradients>>([parts = parts_, train] {
          return parts->provider->FactoredGrads(train);
        });
    return LazyBlockSequence(
        prepared_.size(),
        [parts = parts_, prepared = prepared_, grads, train = std::move(train),
         mode, input](size_t b) -> absl::StatusOr<TensorMap::Entry> {
          if (mode == InfluenceMode::kPerturbation) {
            INFLUENCE_ASSIGN_OR_RETURN(
                at::Tensor mixed,
                prepared[b]->MixedGradsInnerProd(
                    train, parts->compositions[b].provider(), input));
            return parts->Entry(b, std::move(mixed));
          }
          INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients* right,
                                     grads->Get());
          INFLUENCE_ASSIGN_OR_RETURN(
              at::Tensor products,
              parts->GradsInnerProd(b, *prepared[b], *right));
          return parts->Entry(b, std::move(products));
        });
  }

  std::shared_ptr<const BlockMapper::Parts> parts_;
  std::vector<std::shared_ptr<const PreparedGrads>> prepared_;
};

absl::StatusOr<BlockMapper> BlockMapper::Create(
    ParameterBlocks blocks,
    std::vector<std::shared_ptr<const Operator>> operators,
    const std::shared_ptr<const GradientProvider>& provider,
    const std::shared_ptr<const GradientProvider>& query_provider) {
  if (provider == nullptr) {
    return absl::InvalidArgumentError("provider: is null");
  }
  if (operators.size() != blocks.blocks().size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("operators: found ", operators.size(), ", expected ",
                     blocks.blocks().size(), ", one for each block"));
  }
  const std::vector<int64_t> parameters = blocks.parameters();
  Parts parts{
      std::move(blocks), std::move(operators), {}, nullptr, nullptr, {}, {}};
  INFLUENCE_ASSIGN_OR_RETURN(parts.provider, provider->Restrict(parameters));
  parts.query_provider = parts.provider;
  if (query_provider != nullptr && query_provider != provider) {
    INFLUENCE_ASSIGN_OR_RETURN(parts.query_provider,
                               query_provider->Restrict(parameters));
  }
  int64_t position = 0;
  for (size_t b = 0; b < parts.operators.size(); ++b) {
    const ParameterBlock& block = parts.blocks.blocks()[b];
    INFLUENCE_ASSIGN_OR_RETURN(
        std::shared_ptr<const GradientProvider> block_provider,
        provider->Restrict(block.parameters));
    std::shared_ptr<const GradientProvider> block_query_provider;
    if (parts.query_provider != parts.provider) {
      INFLUENCE_ASSIGN_OR_RETURN(block_query_provider,
                                 query_provider->Restrict(block.parameters));
    }
    absl::StatusOr<OperatorGradientComposition> composition =
        OperatorGradientComposition::Create(parts.operators[b],
                                            std::move(block_provider),
                                            std::move(block_query_provider));
    if (!composition.ok()) {
      return InBlock(block.name, composition.status());
    }
    parts.compositions.push_back(*std::move(composition));
    parts.forms.push_back(parts.operators[b]->AsBilinearForm());
    std::vector<int64_t> positions(block.parameters.size());
    for (int64_t& p : positions) p = position++;
    parts.positions.push_back(std::move(positions));
  }
  return BlockMapper(std::make_shared<const Parts>(std::move(parts)));
}

BlockMapper::BlockMapper(std::shared_ptr<const Parts> parts)
    : parts_(std::move(parts)) {}

const ParameterBlocks& BlockMapper::blocks() const { return parts_->blocks; }

const std::vector<std::shared_ptr<const Operator>>& BlockMapper::operators()
    const {
  return parts_->operators;
}

absl::StatusOr<OperatorGradientComposition> BlockMapper::composition(
    absl::string_view block) const {
  for (size_t b = 0; b < parts_->compositions.size(); ++b) {
    if (parts_->name(b) == block) return parts_->compositions[b];
  }
  return absl::NotFoundError(
      absl::StrCat("block: found ", block, ", expected one of ",
                   absl::StrJoin(parts_->blocks.blocks(), ", ",
                                 [](std::string* out, const ParameterBlock& b) {
                                   out->append(b.name);
                                 })));
}

LazyBlockSequence BlockMapper::GenerateTransformedGrads(Batch batch) const {
  auto grads = std::make_shared<Once<FactoredGradients>>(
      [parts = parts_, batch = std::move(batch)] {
        return parts->query_provider->FactoredGrads(batch);
      });
  return LazyBlockSequence(
      parts_->operators.size(),
      [parts = parts_, grads](size_t b) -> absl::StatusOr<TensorMap::Entry> {
        INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients* all, grads->Get());
        std::vector<SolveReport> reports;
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor transformed,
                                   parts->TransformedGrads(b, *all, &reports));
        return parts->Entry(b, std::move(transformed));
      });
}

LazyBlockSequence BlockMapper::GenerateInteractions(Batch left,
                                                    std::optional<Batch> right,
                                                    InfluenceMode mode,
                                                    int64_t input) const {
  // What the first block computes for all of them.
  struct Sides {
    FactoredGradients left;
    std::optional<FactoredGradients> right;  // With kUp.
  };
  const bool same_grads =
      !right.has_value() && parts_->query_provider == parts_->provider;
  Batch right_batch = right.has_value() ? *right : left;
  auto sides = std::make_shared<Once<Sides>>(
      [parts = parts_, left = std::move(left), right_batch, same_grads,
       mode]() -> absl::StatusOr<Sides> {
        INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients left_grads,
                                   parts->query_provider->FactoredGrads(left));
        if (mode == InfluenceMode::kPerturbation) {
          return Sides{std::move(left_grads), std::nullopt};
        }
        if (same_grads) return Sides{left_grads, left_grads};
        INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients right_grads,
                                   parts->provider->FactoredGrads(right_batch));
        return Sides{std::move(left_grads), std::move(right_grads)};
      });
  return LazyBlockSequence(
      parts_->operators.size(),
      [parts = parts_, sides, right_batch, mode,
       input](size_t b) -> absl::StatusOr<TensorMap::Entry> {
        INFLUENCE_ASSIGN_OR_RETURN(const Sides* grads, sides->Get());
        INFLUENCE_ASSIGN_OR_RETURN(
            std::unique_ptr<const PreparedGrads> prepared,
            parts->Prepare(b, grads->left));
        INFLUENCE_ASSIGN_OR_RETURN(
            at::Tensor products,
            mode == InfluenceMode::kPerturbation
                ? prepared->MixedGradsInnerProd(
                      right_batch, parts->compositions[b].provider(), input)
                : parts->GradsInnerProd(b, *prepared, *grads->right));
        return parts->Entry(b, std::move(products));
      });
}

absl::StatusOr<LazyBlockSequence>
BlockMapper::GenerateInteractionsFromTransformedGrads(
    const at::Tensor& left_factors, Batch right, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateFactorsShape("factors", left_factors, parts_->blocks.size()));
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<at::Tensor> split,
                             parts_->blocks.Split(left_factors));
  TensorMap by_block;
  for (size_t b = 0; b < split.size(); ++b) {
    INFLUENCE_RETURN_IF_ERROR(by_block.Insert(parts_->name(b), split[b]));
  }
  return GenerateInteractionsFromTransformedGrads(by_block, std::move(right),
                                                  mode, input);
}

absl::StatusOr<LazyBlockSequence>
BlockMapper::GenerateInteractionsFromTransformedGrads(
    const TensorMap& left_factors, Batch right, InfluenceMode mode,
    int64_t input) const {
  const std::vector<ParameterBlock>& blocks = parts_->blocks.blocks();
  for (const auto& [name, tensor] : left_factors) {
    const absl::Status known = composition(name).status();
    if (!known.ok()) return absl::InvalidArgumentError(known.message());
  }
  std::vector<at::Tensor> factors(blocks.size());
  std::vector<std::vector<int64_t>> missing(blocks.size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    absl::StatusOr<at::Tensor> found = left_factors.Find(blocks[b].name);
    if (!found.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("factors: found none of block ", blocks[b].name,
                       ", expected ", "an entry for every block"));
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        missing[b],
        ValidateFactors(absl::StrCat("factors of block ", blocks[b].name),
                        *found, blocks[b].size));
    factors[b] = WithoutMissingRows(*found, missing[b]);
  }
  auto grads =
      std::make_shared<Once<FactoredGradients>>([parts = parts_, right] {
        return parts->provider->FactoredGrads(right);
      });
  return LazyBlockSequence(
      blocks.size(),
      [parts = parts_, factors = std::move(factors),
       missing = std::move(missing), grads, right = std::move(right), mode,
       input](size_t b) -> absl::StatusOr<TensorMap::Entry> {
        if (mode == InfluenceMode::kPerturbation) {
          INFLUENCE_ASSIGN_OR_RETURN(
              at::Tensor mixed, parts->compositions[b].provider().MixedProd(
                                    right, factors[b], input));
          return parts->Entry(b, WithMissingRows(mixed, missing[b]));
        }
        INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients* all, grads->Get());
        INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                                   all->Select(parts->positions[b]));
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                                   part.Contract(factors[b]));
        return parts->Entry(b, WithMissingRows(products.t(), missing[b]));
      });
}

absl::StatusOr<LazyBlockSequence>
BlockMapper::GenerateInteractionsFromTransformedGrads(
    const at::Tensor& left_factors, FactoredGradients right) const {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateFactorsShape("factors", left_factors, parts_->blocks.size()));
  INFLUENCE_RETURN_IF_ERROR(parts_->ValidateGradients(right));
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<at::Tensor> factors,
                             parts_->blocks.Split(left_factors));
  std::vector<std::vector<int64_t>> missing(factors.size());
  for (size_t b = 0; b < factors.size(); ++b) {
    INFLUENCE_ASSIGN_OR_RETURN(missing[b],
                               FindMissingRows("factors", factors[b]));
    factors[b] = WithoutMissingRows(factors[b], missing[b]);
  }
  return LazyBlockSequence(
      parts_->operators.size(),
      [parts = parts_, factors = std::move(factors),
       missing = std::move(missing),
       right = std::move(right)](size_t b) -> absl::StatusOr<TensorMap::Entry> {
        INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients part,
                                   right.Select(parts->positions[b]));
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                                   part.Contract(factors[b].contiguous()));
        return parts->Entry(b, WithMissingRows(products.t(), missing[b]));
      });
}

absl::StatusOr<TensorMap> BlockMapper::InteractionsFromTransformedGrads(
    const at::Tensor& left_factors, const FactoredGradients& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(
      LazyBlockSequence sequence,
      GenerateInteractionsFromTransformedGrads(left_factors, right));
  return Collect(std::move(sequence));
}

absl::StatusOr<at::Tensor> BlockMapper::SummedInteractionsFromTransformedGrads(
    const at::Tensor& left_factors, const FactoredGradients& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(
      LazyBlockSequence sequence,
      GenerateInteractionsFromTransformedGrads(left_factors, right));
  return Sum(std::move(sequence));
}

absl::StatusOr<TensorMap> BlockMapper::TransformedGrads(
    const Batch& batch) const {
  return Collect(GenerateTransformedGrads(batch));
}

absl::StatusOr<TensorMap> BlockMapper::TransformedGradsWithReports(
    const Batch& batch, std::vector<BlockSolveReports>* reports) const {
  INFLUENCE_CHECK(reports != nullptr);
  reports->clear();
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                             parts_->query_provider->FactoredGrads(batch));
  TensorMap map;
  for (size_t b = 0; b < parts_->operators.size(); ++b) {
    BlockSolveReports of_block{parts_->name(b), {}};
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor transformed,
        parts_->TransformedGrads(b, grads, &of_block.reports));
    INFLUENCE_RETURN_IF_ERROR(
        map.Insert(of_block.block, std::move(transformed)));
    if (!of_block.reports.empty()) reports->push_back(std::move(of_block));
  }
  return map;
}

absl::StatusOr<TensorMap> BlockMapper::Interactions(
    const Batch& left, const std::optional<Batch>& right, InfluenceMode mode,
    int64_t input) const {
  return Collect(GenerateInteractions(left, right, mode, input));
}

absl::StatusOr<TensorMap> BlockMapper::InteractionsFromTransformedGrads(
    const at::Tensor& left_factors, const Batch& right, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_ASSIGN_OR_RETURN(LazyBlockSequence sequence,
                             GenerateInteractionsFromTransformedGrads(
                                 left_factors, right, mode, input));
  return Collect(std::move(sequence));
}

absl::StatusOr<TensorMap> BlockMapper::InteractionsFromTransformedGrads(
    const TensorMap& left_factors, const Batch& right, InfluenceMode mode,
    int64_t input) const {
  INFLUENCE_ASSIGN_OR_RETURN(LazyBlockSequence sequence,
                             GenerateInteractionsFromTransformedGrads(
                                 left_factors, right, mode, input));
  return Collect(std::move(sequence));
}

absl::StatusOr<at::Tensor> BlockMapper::FlatTransformedGrads(
    const Batch& batch) const {
  INFLUENCE_ASSIGN_OR_RETURN(TensorMap by_block, TransformedGrads(batch));
  return CatchTorch("transformed gradients",
                    [&]() -> absl::StatusOr<at::Tensor> {
                      std::vector<at::Tensor> parts;
                      for (const auto& [name, tensor] : by_block) {
                        parts.push_back(tensor);
                      }
                      return at::cat(parts, /*dim=*/1);
                    });
}

absl::StatusOr<at::Tensor> BlockMapper::SummedInteractions(
    const Batch& left, const std::optional<Batch>& right, InfluenceMode mode,
    int64_t input) const {
  if (mode == InfluenceMode::kUp) {
    return Sum(GenerateInteractions(left, right, mode, input));
  }
  INFLUENCE_ASSIGN_OR_RETURN(const TensorMap by_block, TransformedGrads(left));
  return CatchTorch("influences", [&] {
    std::vector<at::Tensor> factors;
    for (const auto& [name, tensor] : by_block) factors.push_back(tensor);
    return MixedProd(*parts_->provider, right.has_value() ? *right : left,
                     std::move(factors), input);
  });
}

absl::StatusOr<std::unique_ptr<const PreparedQueries>>
BlockMapper::PrepareQueries(const Batch& left) const {
  INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients grads,
                             parts_->query_provider->FactoredGrads(left));
  std::vector<std::shared_ptr<const PreparedGrads>> prepared;
  for (size_t b = 0; b < parts_->forms.size(); ++b) {
    INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<const PreparedGrads> part,
                               parts_->Prepare(b, grads));
    prepared.push_back(std::move(part));
  }
  return std::make_unique<const BlockPreparedQueries>(parts_,
                                                      std::move(prepared));
}

absl::StatusOr<at::Tensor> BlockMapper::SelfInteractions(
    const Batch& batch, std::vector<BlockSolveReports>* reports) const {
  if (reports != nullptr) reports->clear();
  INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients left,
                             parts_->query_provider->FactoredGrads(batch));
  std::optional<FactoredGradients> other;
  if (parts_->query_provider != parts_->provider) {
    INFLUENCE_ASSIGN_OR_RETURN(other, parts_->provider->FactoredGrads(batch));
  }
  const FactoredGradients& right = other.has_value() ? *other : left;
  return Sum(LazyBlockSequence(
      parts_->operators.size(),
      [&](size_t b) -> absl::StatusOr<TensorMap::Entry> {
        INFLUENCE_ASSIGN_OR_RETURN(
            const std::unique_ptr<const PreparedGrads> prepared,
            parts_->Prepare(b, left));
        if (reports != nullptr) {
          std::vector<SolveReport> of_block = prepared->solve_reports();
          if (!of_block.empty()) {
            reports->push_back({parts_->name(b), std::move(of_block)});
          }
        }
        INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients part,
                                   right.Select(parts_->positions[b]));
        INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                                   prepared->RowwiseInnerProd(part));
        return parts_->Entry(b, std::move(products));
      }));
}

absl::StatusOr<at::Tensor> BlockMapper::SummedInteractionsFromTransformedGrads(
    const at::Tensor& left_factors, const Batch& right, InfluenceMode mode,
    int64_t input) const {
  // Linear in the left side: all blocks at once.
  INFLUENCE_RETURN_IF_ERROR(
      ValidateFactorsShape("factors", left_factors, parts_->blocks.size()));
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<at::Tensor> parts,
                             parts_->blocks.Split(left_factors));
  return CatchTorch("influences", [&]() -> absl::StatusOr<at::Tensor> {
    if (mode == InfluenceMode::kPerturbation) {
      return MixedProd(*parts_->provider, right, std::move(parts), input);
    }
    std::vector<int64_t> missing;  // In any block.
    for (const at::Tensor& part : parts) {
      INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> of_part,
                                 FindMissingRows("factors", part));
      missing = UnionOfRows(missing, of_part);
    }
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor products,
        parts_->provider->JacobianProd(
            right, WithoutMissingRows(left_factors, missing)));
    return WithMissingRows(products.t(), missing);
  });
}

}  // namespace influence
