// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/rank_average.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/broadcast.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"

namespace influence {
namespace {

constexpr int kFirst = 0;

// What the first rank asks for: {part, rows, dtype}, or this part for nothing
// more.
constexpr int64_t kNoMore = -1;

}  // namespace

// Belongs to its RankAverage, which outlives it only as long as somebody keeps
// it: Led() does.
class RankAverage::Average : public Operator {
 public:
  Average(const RankAverage* average, size_t index)
      : average_(average), index_(index) {}

  int64_t input_size() const override { return average_->size_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return average_->LeadProduct(index_, matrix);
  }

 private:
  const RankAverage* const average_;
  const size_t index_;
};

class RankAverage::LedOperator : public Operator {
 public:
  LedOperator(std::shared_ptr<const RankAverage> average,
              std::shared_ptr<const Operator> op)
      : average_(std::move(average)), op_(std::move(op)) {}

  int64_t input_size() const override { return op_->input_size(); }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    std::vector<SolveReport> reports;
    return DoApplyWithReports(matrix, &reports);
  }

  absl::StatusOr<at::Tensor> DoApplyWithReports(
      const at::Tensor& matrix,
      std::vector<SolveReport>* reports) const override {
    INFLUENCE_ASSIGN_OR_RETURN(
        const Tensors result,
        average_->LeadTensors([&]() -> absl::StatusOr<Tensors> {
          INFLUENCE_ASSIGN_OR_RETURN(at::Tensor x,
                                     op_->ApplyWithReports(matrix, reports));
          return Tensors{std::move(x)};
        }));
    return result[0];
  }

 private:
  std::shared_ptr<const RankAverage> average_;
  std::shared_ptr<const Operator> op_;
};

absl::StatusOr<std::shared_ptr<const RankAverage>> RankAverage::Create(
    std::shared_ptr<Communicator> communicator, int64_t size,
    std::vector<Part> parts) {
  if (communicator != nullptr && communicator->size() == 1) {
    communicator = nullptr;
  }
  std::vector<int64_t> num_samples;
  for (const Part& part : parts) {
    if (part.num_samples < 0 ||
        (part.num_samples == 0) != (part.op == nullptr)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "part: found ", part.num_samples, " samples and ",
          part.op == nullptr ? "no" : "an",
          " operator, expected an operator of at least one, or neither"));
    }
    if (part.op != nullptr && part.op->input_size() != size) {
      return absl::InvalidArgumentError(
          absl::StrCat("part: found an operator of size ",
                       part.op->input_size(), ", expected ", size));
    }
    num_samples.push_back(part.num_samples);
  }
  if (communicator != nullptr) {
    const at::Tensor sums = at::tensor(num_samples, at::kLong);
    INFLUENCE_RETURN_IF_ERROR(communicator->AllReduceSum(sums));
    num_samples.assign(sums.data_ptr<int64_t>(),
                       sums.data_ptr<int64_t>() + sums.numel());
  }
  for (const int64_t count : num_samples) {
    if (count > 0) continue;
    return absl::InvalidArgumentError(
        "part: found no samples on any rank, expected at least one");
  }
  std::shared_ptr<RankAverage> average(
      new RankAverage(std::move(communicator), size, std::move(parts)));
  average->num_samples_ = std::move(num_samples);
  for (size_t i = 0; i < average->parts_.size(); ++i) {
    if (average->is_shared()) {
      average->operators_.push_back(
          std::make_shared<const Average>(average.get(), i));
    } else {
      average->operators_.push_back(average->parts_[i].op);
    }
  }
  return average;
}

absl::StatusOr<at::Tensor> RankAverage::Product(
    size_t index, const at::Tensor& matrix) const {
  const at::NoGradGuard no_grad;
  const Part& part = parts_[index];
  at::Tensor sum;
  if (part.op == nullptr) {
    sum = at::zeros(matrix.sizes(), at::kDouble);
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor mine, part.op->Apply(matrix));
    sum = mine.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true)
              .contiguous()
              .mul_(static_cast<double>(part.num_samples));
  }
  INFLUENCE_RETURN_IF_ERROR(communicator_->AllReduceSum(sum));
  return sum.div_(static_cast<double>(num_samples_[index]))
      .to(matrix.scalar_type());
}

absl::StatusOr<at::Tensor> RankAverage::LeadProduct(
    size_t index, const at::Tensor& matrix) const {
  if (!is_leading_) {
    return absl::FailedPreconditionError(
        "product: found no lead, expected the first rank within Lead()");
  }
  const at::Tensor values = matrix.detach().contiguous();
  const at::Tensor request =
      at::tensor({static_cast<int64_t>(index), values.size(0),
                  static_cast<int64_t>(values.scalar_type())},
                 at::kLong);
  has_failed_ = true;  // Until it has not.
  INFLUENCE_RETURN_IF_ERROR(communicator_->Broadcast(request, kFirst));
  INFLUENCE_RETURN_IF_ERROR(communicator_->Broadcast(values, kFirst));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor product, Product(index, values));
  has_failed_ = false;
  return product;
}

absl::Status RankAverage::Serve() const {
  while (true) {
    const at::Tensor request = at::zeros({3}, at::kLong);
    INFLUENCE_RETURN_IF_ERROR(communicator_->Broadcast(request, kFirst));
    const auto* const asked = request.data_ptr<int64_t>();
    if (asked[0] == kNoMore) return absl::OkStatus();
    const at::Tensor values =
        at::empty({asked[1], size_}, static_cast<at::ScalarType>(asked[2]));
    INFLUENCE_RETURN_IF_ERROR(communicator_->Broadcast(values, kFirst));
    INFLUENCE_RETURN_IF_ERROR(Product(asked[0], values).status());
  }
}

absl::Status RankAverage::Lead(absl::FunctionRef<absl::Status()> work) const {
  if (!is_shared()) return work();
  return CatchTorch("shared products", [&]() -> absl::Status {
    absl::Status status;
    if (communicator_->rank() == kFirst) {
      INFLUENCE_CHECK(!is_leading_);
      is_leading_ = true;
      status = CatchTorch("shared products", work);
      is_leading_ = false;
      if (has_failed_) return status;
      INFLUENCE_RETURN_IF_ERROR(communicator_->Broadcast(
          at::tensor({kNoMore, int64_t{0}, int64_t{0}}, at::kLong), kFirst));
    } else {
      INFLUENCE_RETURN_IF_ERROR(Serve());
    }
    return BroadcastStatus(*communicator_, status, kFirst);
  });
}

absl::StatusOr<RankAverage::Tensors> RankAverage::LeadTensors(
    absl::FunctionRef<absl::StatusOr<Tensors>()> work) const {
  if (!is_shared()) return work();
  Tensors made;
  INFLUENCE_RETURN_IF_ERROR(Lead([&]() -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(made, work());
    return absl::OkStatus();
  }));
  return CatchTorch("shared products", [&]() -> absl::StatusOr<Tensors> {
    INFLUENCE_ASSIGN_OR_RETURN(
        const at::Tensor count,
        BroadcastTensor(
            *communicator_,
            at::tensor(static_cast<int64_t>(made.size()), at::kLong), kFirst));
    made.resize(count.item<int64_t>());
    for (at::Tensor& tensor : made) {
      INFLUENCE_ASSIGN_OR_RETURN(
          tensor, BroadcastTensor(*communicator_, tensor, kFirst));
    }
    return made;
  });
}

std::shared_ptr<const Operator> RankAverage::Led(
    std::shared_ptr<const RankAverage> average,
    std::shared_ptr<const Operator> op) {
  INFLUENCE_CHECK(average != nullptr && op != nullptr);
  if (!average->is_shared()) return op;
  return std::make_shared<const LedOperator>(std::move(average), std::move(op));
}

}  // namespace influence
