// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/term_merging.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "base/status_macros.h"
#include "gradients/gradient_term.h"

namespace influence {
namespace {

enum Kind : int64_t { kDense, kOuterProduct, kRowSparse };

// What terms must have in common to be joined: kind, offset, and widths.
using Key = std::array<int64_t, 5>;

const OuterProductTerm* AsOuterProduct(const GradientTerm& term) {
  return dynamic_cast<const OuterProductTerm*>(&term);
}
const RowSparseTerm* AsRowSparse(const GradientTerm& term) {
  return dynamic_cast<const RowSparseTerm*>(&term);
}
const DenseTerm* AsDense(const GradientTerm& term) {
  return dynamic_cast<const DenseTerm*>(&term);
}

Key KeyOf(const GradientTerm& term) {
  if (const auto* product = AsOuterProduct(term)) {
    return {kOuterProduct, term.offset(), product->left().size(1),
            product->left().size(3), product->right().size(3)};
  }
  if (const auto* sparse = AsRowSparse(term)) {
    return {kRowSparse, term.offset(), sparse->num_rows(),
            sparse->values().size(2), 0};
  }
  INFLUENCE_CHECK(AsDense(term) != nullptr);
  return {kDense, term.offset(), term.size(), 0, 0};
}

// Groups of terms that can be joined, in the order of their first ones.
std::vector<Terms> Groups(const Terms& terms) {
  std::vector<Terms> groups;
  std::map<Key, size_t> group_by_key;
  for (const auto& term : terms) {
    const auto [found, inserted] =
        group_by_key.try_emplace(KeyOf(*term), groups.size());
    if (inserted) groups.emplace_back();
    groups[found->second].push_back(term);
  }
  return groups;
}

std::shared_ptr<const GradientTerm> Merge(const Terms& group) {
  if (group.size() == 1) return group[0];
  const int64_t offset = group[0]->offset();
  if (AsOuterProduct(*group[0]) != nullptr) {
    std::vector<at::Tensor> left, right, real;
    bool all_real = true;
    for (const auto& term : group) {
      const OuterProductTerm& product = *AsOuterProduct(*term);
      left.push_back(product.left());
      right.push_back(product.right());
      all_real = all_real && !product.real_positions().defined();
    }
    for (const auto& term : group) {
      if (all_real) break;
      const OuterProductTerm& product = *AsOuterProduct(*term);
      real.push_back(
          product.real_positions().defined()
              ? product.real_positions()
              : at::ones({product.num_samples(), product.left().size(2)},
                         at::kBool));
    }
    return std::make_shared<OuterProductTerm>(
        offset, at::cat(left, 2), at::cat(right, 2),
        all_real ? at::Tensor() : at::cat(real, 1));
  }
  if (const auto* first = AsRowSparse(*group[0])) {
    std::vector<at::Tensor> rows, values;
    for (const auto& term : group) {
      rows.push_back(AsRowSparse(*term)->row_numbers());
      values.push_back(AsRowSparse(*term)->values());
    }
    return std::make_shared<RowSparseTerm>(
        offset, first->num_rows(), at::cat(rows, 1), at::cat(values, 1));
  }
  at::Tensor sum = AsDense(*group[0])->gradients();
  for (size_t i = 1; i < group.size(); ++i) {
    sum = sum.add(AsDense(*group[i])->gradients());
  }
  return std::make_shared<DenseTerm>(offset, std::move(sum));
}

// Copies one sample's factor [1, H, T, F] into joined[n, :, 0:T, :].
void CopySample(const at::Tensor& factor, const at::Tensor& joined, int64_t n) {
  joined.select(0, n).narrow(1, 0, factor.size(2)).copy_(factor.select(0, 0));
}

// members[n]: the term of sample n, null where it has none.
std::shared_ptr<const GradientTerm> Join(const Terms& members) {
  const auto num_samples = static_cast<int64_t>(members.size());
  const auto first = std::find_if(members.begin(), members.end(),
                                  [](const auto& m) { return m != nullptr; });
  const int64_t offset = (*first)->offset();
  if (const auto* product = AsOuterProduct(**first)) {
    int64_t most = 0;
    for (const auto& member : members) {
      if (member == nullptr) continue;
      most = std::max(most, AsOuterProduct(*member)->left().size(2));
    }
    const at::Tensor real = at::zeros({num_samples, most}, at::kBool);
    const int64_t groups = product->left().size(1);
    const at::Tensor left =
        at::zeros({num_samples, groups, most, product->left().size(3)},
                  product->left().options());
    const at::Tensor right =
        at::zeros({num_samples, groups, most, product->right().size(3)},
                  product->right().options());
    for (int64_t n = 0; n < num_samples; ++n) {
      if (members[n] == nullptr) continue;
      CopySample(AsOuterProduct(*members[n])->left(), left, n);
      CopySample(AsOuterProduct(*members[n])->right(), right, n);
      real[n]
          .narrow(0, 0, AsOuterProduct(*members[n])->left().size(2))
          .fill_(1);
    }
    return std::make_shared<OuterProductTerm>(
        offset, left, right, real.all().item<bool>() ? at::Tensor() : real);
  }
  if (const auto* sparse = AsRowSparse(**first)) {
    int64_t most = 0;
    for (const auto& member : members) {
      if (member == nullptr) continue;
      most = std::max(most, AsRowSparse(*member)->values().size(1));
    }
    const at::Tensor rows = at::full({num_samples, most}, -1, at::kLong);
    const at::Tensor values =
        at::zeros({num_samples, most, sparse->values().size(2)},
                  sparse->values().options());
    for (int64_t n = 0; n < num_samples; ++n) {
      if (members[n] == nullptr) continue;
      const RowSparseTerm& member = *AsRowSparse(*members[n]);
      const int64_t count = member.values().size(1);
      rows[n].narrow(0, 0, count).copy_(member.row_numbers()[0]);
      values[n].narrow(0, 0, count).copy_(member.values()[0]);
    }
    return std::make_shared<RowSparseTerm>(offset, sparse->num_rows(), rows,
                                           values);
  }
  const DenseTerm& dense = *AsDense(**first);
  const at::Tensor gradients =
      at::zeros({num_samples, dense.size()}, dense.gradients().options());
  for (int64_t n = 0; n < num_samples; ++n) {
    if (members[n] == nullptr) continue;
    gradients[n].copy_(AsDense(*members[n])->gradients()[0]);
  }
  return std::make_shared<DenseTerm>(offset, gradients);
}

}  // namespace

Terms MergeTerms(const Terms& terms) {
  if (terms.size() < 2) return terms;
  const std::vector<Terms> groups = Groups(terms);
  Terms merged;
  merged.reserve(groups.size());
  for (const Terms& group : groups) merged.push_back(Merge(group));
  return merged;
}

Terms JoinSamples(const std::vector<Terms>& samples) {
  std::vector<Terms> joined;  // By group, by sample.
  std::map<Key, size_t> group_by_key;
  for (size_t n = 0; n < samples.size(); ++n) {
    for (const auto& term : MergeTerms(samples[n])) {
      const auto [found, inserted] =
          group_by_key.try_emplace(KeyOf(*term), joined.size());
      if (inserted) joined.emplace_back(samples.size());
      joined[found->second][n] = term;
    }
  }
  Terms terms;
  terms.reserve(joined.size());
  for (const Terms& members : joined) terms.push_back(Join(members));
  return terms;
}

}  // namespace influence
