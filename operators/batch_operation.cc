// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/batch_operation.h"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ops/cat.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {

BatchOperation::BatchOperation(std::shared_ptr<const GradientProvider> provider)
    : provider_(std::move(provider)) {
  INFLUENCE_CHECK(provider_ != nullptr);
}

absl::StatusOr<at::Tensor> BatchOperation::Apply(
    const Batch& batch, const at::Tensor& tensor) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateVectorOrMatrix("operand", tensor, input_size()));
  if (tensor.scalar_type() != provider_->model().dtype()) {
    return absl::InvalidArgumentError(
        absl::StrCat("operand: found dtype ", DtypeName(tensor.scalar_type()),
                     ", expected ", DtypeName(provider_->model().dtype())));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("operand", tensor));
  return CatchTorch("batch operation", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor matrix = tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor;
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor result, DoApply(batch, matrix));
    INFLUENCE_RETURN_IF_ERROR(
        ValidateFinite("product of the batch operation", result));
    return result.reshape(tensor.sizes());
  });
}

absl::StatusOr<TensorMap> BatchOperation::Apply(
    const Batch& batch, const TensorMap& tensors) const {
  const std::vector<NamedParameter>& parameters =
      provider_->model().parameters();
  const std::vector<int64_t>& selection = provider_->selection();
  const auto list_names = [&] {
    return absl::StrJoin(selection, ", ", [&](std::string* out, int64_t index) {
      out->append(parameters[index].name);
    });
  };
  std::vector<at::Tensor> aligned(selection.size());
  for (const auto& [name, tensor] : tensors) {
    size_t s = 0;
    while (s < selection.size() && parameters[selection[s]].name != name) ++s;
    if (s == selection.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("operand: found unknown parameter ", name, ", expected ",
                       list_names()));
    }
    aligned[s] = tensor;
  }
  // K of the entries [K, *shape], or nothing where they are [*shape].
  std::optional<std::vector<int64_t>> leading;
  std::vector<at::Tensor> flat;
  for (size_t s = 0; s < selection.size(); ++s) {
    const NamedParameter& parameter = parameters[selection[s]];
    const at::Tensor& tensor = aligned[s];
    if (!tensor.defined()) {
      return absl::InvalidArgumentError(
          absl::StrCat("operand: found no entry for parameter ", parameter.name,
                       ", expected ", list_names()));
    }
    const at::IntArrayRef shape = parameter.tensor.sizes();
    const int64_t extra = tensor.dim() - parameter.tensor.dim();
    std::vector<int64_t> front;
    if (extra == 1) front.push_back(tensor.size(0));
    if (extra < 0 || extra > 1 || tensor.sizes().slice(extra) != shape ||
        (leading.has_value() && *leading != front)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "operand ", parameter.name, ": found shape ", ShapeString(tensor),
          ", expected ", ShapeString(parameter.tensor),
          leading.has_value() && !leading->empty()
              ? absl::StrCat(" behind a dimension of ", (*leading)[0])
              : std::string(leading.has_value()
                                ? ""
                                : ", or that behind one dimension")));
    }
    leading = front;
    std::vector<int64_t> flat_shape = front;
    flat_shape.push_back(-1);
    flat.push_back(tensor.reshape(flat_shape));
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      at::Tensor joined,
      CatchTorch("batch operation", [&]() -> absl::StatusOr<at::Tensor> {
        return at::cat(flat, /*dim=*/-1);
      }));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product, Apply(batch, joined));
  TensorMap result;
  int64_t offset = 0;
  for (size_t s = 0; s < selection.size(); ++s) {
    const NamedParameter& parameter = parameters[selection[s]];
    const int64_t size = parameter.tensor.numel();
    std::vector<int64_t> shape = *leading;
    for (const int64_t d : parameter.tensor.sizes()) shape.push_back(d);
    INFLUENCE_RETURN_IF_ERROR(result.Insert(
        parameter.name, product.narrow(-1, offset, size).reshape(shape)));
    offset += size;
  }
  return result;
}

}  // namespace influence
