// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/operator.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
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

  absl::StatusOr<at::Tensor> TransformWithReports(
      const at::Tensor& left,
      std::vector<SolveReport>* reports) const override {
    return op_->ApplyWithReports(left, reports);
  }

 private:
  const Operator* op_;  // Borrowed, never null.
};

// `function` of the operand as a matrix, in the operand's shape.
absl::StatusOr<at::Tensor> ApplyChecked(
    const at::Tensor& tensor, int64_t size,
    absl::FunctionRef<absl::StatusOr<at::Tensor>(const at::Tensor&)> function) {
  INFLUENCE_RETURN_IF_ERROR(ValidateVectorOrMatrix("operand", tensor, size));
  return CatchTorch("operator", [&]() -> absl::StatusOr<at::Tensor> {
    const at::Tensor matrix = tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor;
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor result, function(matrix));
    INFLUENCE_RETURN_IF_ERROR(
        ValidateShape("result of the operator", result, matrix.sizes()));
    return result.reshape(tensor.sizes());
  });
}

}  // namespace

absl::StatusOr<at::Tensor> Operator::Apply(const at::Tensor& tensor) const {
  return ApplyChecked(tensor, input_size(), [this](const at::Tensor& matrix) {
    return DoApply(matrix);
  });
}

absl::StatusOr<at::Tensor> Operator::ApplyWithReports(
    const at::Tensor& tensor, std::vector<SolveReport>* reports) const {
  INFLUENCE_CHECK(reports != nullptr);
  reports->clear();
  return ApplyChecked(tensor, input_size(),
                      [this, reports](const at::Tensor& matrix) {
                        return DoApplyWithReports(matrix, reports);
                      });
}

absl::StatusOr<at::Tensor> Operator::DoApplyWithReports(
    const at::Tensor& matrix, std::vector<SolveReport>* /*reports*/) const {
  return DoApply(matrix);
}

std::unique_ptr<const BilinearForm> Operator::AsBilinearForm() const {
  return std::make_unique<const OperatorBilinearForm>(this);
}

}  // namespace influence
