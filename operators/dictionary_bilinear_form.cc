// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/dictionary_bilinear_form.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/parameter_blocks.h"

namespace influence {
namespace {

using Block = DictionaryBilinearForm::Block;

std::string Names(const std::vector<Block>& blocks) {
  return absl::StrJoin(blocks, ", ", [](std::string* out, const Block& block) {
    out->append(block.first);
  });
}

// The tensors of `map` in the order of `blocks`.
absl::StatusOr<std::vector<at::Tensor>> Align(
    absl::string_view name, const TensorMap& map,
    const std::vector<Block>& blocks) {
  std::vector<at::Tensor> tensors(blocks.size());
  for (const auto& [key, tensor] : map) {
    size_t b = 0;
    while (b < blocks.size() && blocks[b].first != key) ++b;
    if (b == blocks.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found unknown block ", key,
                       ", expected the blocks ", Names(blocks)));
    }
    tensors[b] = tensor;
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (tensors[b].defined()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found no block ", blocks[b].first,
                     ", expected the blocks ", Names(blocks)));
  }
  return tensors;
}

}  // namespace

absl::StatusOr<DictionaryBilinearForm> DictionaryBilinearForm::Create(
    std::vector<Block> blocks) {
  if (blocks.empty()) {
    return absl::InvalidArgumentError("blocks: found none, expected one");
  }
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (blocks[b].second == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("block ", blocks[b].first, ": the form is null"));
    }
    for (size_t c = 0; c < b; ++c) {
      if (blocks[b].first != blocks[c].first) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("blocks: found ", blocks[b].first, " twice"));
    }
  }
  return DictionaryBilinearForm(std::move(blocks));
}

DictionaryBilinearForm::DictionaryBilinearForm(std::vector<Block> blocks)
    : blocks_(std::move(blocks)) {}

absl::StatusOr<TensorMap> DictionaryBilinearForm::InnerProdByBlock(
    const TensorMap& left, const std::optional<TensorMap>& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(std::vector<at::Tensor> lefts,
                             Align("left", left, blocks_));
  std::vector<at::Tensor> rights = lefts;
  if (right.has_value()) {
    INFLUENCE_ASSIGN_OR_RETURN(rights, Align("right", *right, blocks_));
  }
  TensorMap products;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const auto& [name, form] = blocks_[b];
    absl::StatusOr<at::Tensor> product = form->InnerProd(lefts[b], rights[b]);
    if (!product.ok()) return InBlock(name, product.status());
    INFLUENCE_RETURN_IF_ERROR(products.Insert(name, *std::move(product)));
  }
  return products;
}

absl::StatusOr<at::Tensor> DictionaryBilinearForm::InnerProd(
    const TensorMap& left, const std::optional<TensorMap>& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(TensorMap products, InnerProdByBlock(left, right));
  return CatchTorch("sum over blocks", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor sum;
    for (const auto& [name, product] : products) {
      if (sum.defined() && sum.sizes() != product.sizes()) {
        // Broadcasting would hide blocks of different numbers of rows.
        return absl::InvalidArgumentError(
            absl::StrCat("block ", name,
                         ": its rows differ in number from "
                         "those of the blocks before"));
      }
      sum = sum.defined() ? sum.add(product) : product;
    }
    return sum;
  });
}

}  // namespace influence
