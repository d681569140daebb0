// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/parameter_blocks.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/model.h"

namespace influence {
namespace {

// "layer1.0.weight" -> "layer1.0"; "weight" -> "_root".
std::string LayerOf(const std::string& parameter) {
  const size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? "_root" : parameter.substr(0, dot);
}

}  // namespace

absl::string_view BlockStructureName(BlockStructure structure) {
  switch (structure) {
    case BlockStructure::kFull:
      return "full";
    case BlockStructure::kLayer:
      return "layer";
    case BlockStructure::kParameter:
      return "parameter";
  }
  return "unknown";
}

absl::StatusOr<BlockStructure> ParseBlockStructure(absl::string_view name) {
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer,
        BlockStructure::kParameter}) {
    if (name == BlockStructureName(structure)) return structure;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("block structure: found \"", name,
                   "\", expected one of full, layer, parameter"));
}

ParameterBlocks::ParameterBlocks(std::vector<ParameterBlock> blocks)
    : blocks_(std::move(blocks)) {
  for (ParameterBlock& block : blocks_) {
    block.offset = size_;
    size_ += block.size;
  }
}

// static
ParameterBlocks ParameterBlocks::Create(const Model& model,
                                        BlockStructure structure) {
  std::vector<ParameterBlock> blocks;
  absl::flat_hash_map<std::string, size_t> block_of_name;
  const std::vector<NamedParameter>& parameters = model.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    std::string name = "full";
    if (structure == BlockStructure::kLayer) name = LayerOf(parameters[i].name);
    if (structure == BlockStructure::kParameter) name = parameters[i].name;
    const auto [found, inserted] =
        block_of_name.try_emplace(name, blocks.size());
    if (inserted) blocks.push_back({name, {}, 0, 0});
    ParameterBlock& block = blocks[found->second];
    block.parameters.push_back(static_cast<int64_t>(i));
    block.size += parameters[i].tensor.numel();
  }
  return ParameterBlocks(std::move(blocks));
}

// static
absl::StatusOr<ParameterBlocks> ParameterBlocks::CreateCustom(
    const Model& model, const std::vector<ParameterGroup>& groups) {
  if (groups.empty()) {
    return absl::InvalidArgumentError(
        "parameter groups: found none, expected at least one");
  }
  const std::vector<NamedParameter>& parameters = model.parameters();
  absl::flat_hash_map<std::string, int64_t> index_of_name;
  for (size_t i = 0; i < parameters.size(); ++i) {
    index_of_name.emplace(parameters[i].name, static_cast<int64_t>(i));
  }
  std::unordered_set<std::string> group_names;
  absl::flat_hash_map<std::string, std::string> group_of_parameter;
  std::vector<ParameterBlock> blocks;
  for (const ParameterGroup& group : groups) {
    const std::string label =
        absl::StrCat("parameter group \"", group.name, "\"");
    if (!group_names.insert(group.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(label, ": found a second time, expected each once"));
    }
    if (group.parameters.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(label, ": found no parameter, expected at least one"));
    }
    ParameterBlock block{group.name, {}, 0, 0};
    for (const std::string& name : group.parameters) {
      const auto index = index_of_name.find(name);
      if (index == index_of_name.end()) {
        return absl::InvalidArgumentError(absl::StrCat(
            label, ": found \"", name,
            "\", expected a name of a trainable parameter of the model"));
      }
      const auto [other, inserted] =
          group_of_parameter.try_emplace(name, group.name);
      if (!inserted) {
        return absl::InvalidArgumentError(absl::StrCat(
            label, ": found \"", name, "\", which is already in \"",
            other->second, "\", expected each parameter at most once"));
      }
      block.parameters.push_back(index->second);
      block.size += parameters[index->second].tensor.numel();
    }
    blocks.push_back(std::move(block));
  }
  return ParameterBlocks(std::move(blocks));
}

std::vector<int64_t> ParameterBlocks::parameters() const {
  std::vector<int64_t> indices;
  for (const ParameterBlock& block : blocks_) {
    indices.insert(indices.end(), block.parameters.begin(),
                   block.parameters.end());
  }
  return indices;
}

absl::StatusOr<std::vector<at::Tensor>> ParameterBlocks::Split(
    const at::Tensor& flat) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateDefined("flat vector", flat));
  if (flat.dim() < 1 || flat.size(-1) != size_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "flat vector: found shape ", ShapeString(flat),
        ", expected last dimension ", size_, ", the blocks' size"));
  }
  return CatchTorch(
      "flat vector", [&]() -> absl::StatusOr<std::vector<at::Tensor>> {
        std::vector<at::Tensor> views;
        views.reserve(blocks_.size());
        for (const ParameterBlock& block : blocks_) {
          views.push_back(flat.narrow(-1, block.offset, block.size));
        }
        return views;
      });
}

absl::Status InBlock(absl::string_view name, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("block ", name, ": ", status.message()));
}

}  // namespace influence
