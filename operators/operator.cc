// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/operator.h"

#include <cstdint>
#include <memory>

#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

class OperatorBilinearForm : public BilinearForm {
 public:
  explicit OperatorBilinearForm(const Operator* op) : op_(op) {}

  int64_t input_size() const override { return op_->input_size(); }

 protected:
  absl::StatusOr<at::Tensor> Transform(const at::Tensor& left) const override {
    return op_->Apply(left);
  }

 private:
  const Operator* op_;  // Borrowed, never null.
};

}  // namespace

absl::StatusOr<at::Tensor> Operator::Apply(const at::Tensor& tensor) const {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateVectorOrMatrix("operand", tensor, input_size()));
  return CatchTorch("operator", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor matrix = tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor;
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor result, DoApply(matrix));
    INFLUENCE_RETURN_IF_ERROR(
        ValidateShape("result of the operator", result, matrix.sizes()));
    return result.reshape(tensor.sizes());
  });
}

std::unique_ptr<const BilinearForm> Operator::AsBilinearForm() const {
  return std::make_unique<const OperatorBilinearForm>(this);
}

}  // namespace influence
