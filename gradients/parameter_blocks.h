// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A partition of a model's trainable parameters (or of a chosen subset) into
// named blocks. Curvature between different blocks is neglected, so each block
// is inverted by itself.
#ifndef INFLUENCE_GRADIENTS_PARAMETER_BLOCKS_H_
#define INFLUENCE_GRADIENTS_PARAMETER_BLOCKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "gradients/model.h"

namespace influence {

enum class BlockStructure {
  kFull,       // One block, "full", of all parameters.
  kLayer,      // A block per module that owns parameters, named as the module;
               // the root module's own parameters form "_root".
  kParameter,  // A block per parameter, named as the parameter.
};

// "full", "layer", "parameter".
absl::string_view BlockStructureName(BlockStructure structure);

// kInvalidArgument listing the names for another one.
absl::StatusOr<BlockStructure> ParseBlockStructure(absl::string_view name);

struct ParameterBlock {
  std::string name;
  std::vector<int64_t> parameters;  // Indices into Model::parameters().
  int64_t size;                     // Number of scalars.
  int64_t offset;  // Of the block's first scalar in the flat vector below.
};

// A user's own block: a name and the parameters' names, in the order wanted.
struct ParameterGroup {
  std::string name;
  std::vector<std::string> parameters;
};

// The flat vector of size() scalars that belongs to a partition is the blocks'
// parameters one after the other, each flattened row-major. For the three
// structures above that is the order of Model::parameters(), as long as each
// module's own parameters stand together there (torch::nn modules do so; a
// TorchScript module may register a parameter after a submodule). Immutable.
class ParameterBlocks {
 public:
  static ParameterBlocks Create(const Model& model, BlockStructure structure);

  // kInvalidArgument, naming the culprit, on an unknown parameter, one that
  // occurs twice, an empty group, a repeated group name, or no group.
  // Parameters in no group are left out of all curvature and all scores.
  static absl::StatusOr<ParameterBlocks> CreateCustom(
      const Model& model, const std::vector<ParameterGroup>& groups);

  const std::vector<ParameterBlock>& blocks() const { return blocks_; }

  // Number of scalars in all blocks; at most Model::num_parameters().
  int64_t size() const { return size_; }

  // The indices of all blocks' parameters in the order of the flat vector.
  std::vector<int64_t> parameters() const;

  // Cuts flat [..., size()] along its last dimension into one view a block.
  // kInvalidArgument naming both sizes when they differ.
  absl::StatusOr<std::vector<at::Tensor>> Split(const at::Tensor& flat) const;

 private:
  // Computes the offsets.
  explicit ParameterBlocks(std::vector<ParameterBlock> blocks);

  std::vector<ParameterBlock> blocks_;
  int64_t size_ = 0;
};

// `status`, which is not OK, with "block <name>: " before its message.
absl::Status InBlock(absl::string_view name, const absl::Status& status);

}  // namespace influence

#endif  // INFLUENCE_GRADIENTS_PARAMETER_BLOCKS_H_
