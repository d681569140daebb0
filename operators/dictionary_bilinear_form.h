// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A block-diagonal bilinear form in dictionary form: a tensor per block in, and
// the sum over the blocks, or a tensor per block, out.
#ifndef INFLUENCE_OPERATORS_DICTIONARY_BILINEAR_FORM_H_
#define INFLUENCE_OPERATORS_DICTIONARY_BILINEAR_FORM_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/tensor_map.h"
#include "operators/bilinear_form.h"

namespace influence {

// Immutable. Entries are matched by name, so their order in an argument does
// not matter; results keep the order of the blocks. kInvalidArgument naming a
// block that an argument lacks, has too much, or has with another size.
class DictionaryBilinearForm {
 public:
  using Block = std::pair<std::string, std::shared_ptr<const BilinearForm>>;

  // kInvalidArgument if there is no block, a form is null or a name occurs
  // twice.
  static absl::StatusOr<DictionaryBilinearForm> Create(
      std::vector<Block> blocks);

  const std::vector<Block>& blocks() const { return blocks_; }

  // left [N, D_b], right [M, ..., D_b] in each block b -> the sum over b of
  // <left_b, right_b>_b, [N, M, ...]. `right` left out means `left`.
  absl::StatusOr<at::Tensor> InnerProd(
      const TensorMap& left,
      const std::optional<TensorMap>& right = std::nullopt) const;

  // The same, a tensor [N, M, ...] per block.
  absl::StatusOr<TensorMap> InnerProdByBlock(
      const TensorMap& left,
      const std::optional<TensorMap>& right = std::nullopt) const;

 private:
  explicit DictionaryBilinearForm(std::vector<Block> blocks);

  std::vector<Block> blocks_;
};

}  // namespace influence

#endif  // INFLUENCE_OPERATORS_DICTIONARY_BILINEAR_FORM_H_
