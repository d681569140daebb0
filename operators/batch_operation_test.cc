// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/batch_operation.h"

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// m(b) = diag(1, 2, ..., P).
class DiagonalOperation : public BatchOperation {
 public:
  explicit DiagonalOperation(std::shared_ptr<const GradientProvider> provider)
      : BatchOperation(std::move(provider)) {}

  at::Tensor diagonal() const {
    return at::arange(1, input_size() + 1, at::kDouble);
  }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const Batch& /*batch*/,
                                     const at::Tensor& matrix) const override {
    return matrix.mul(diagonal());
  }
};

class BatchOperationTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({2, 3}, at::kDouble, 1), CrossEntropyLoss()));
    operation_ = std::make_unique<DiagonalOperation>(provider_);
  }

  static TensorMap Map(std::vector<TensorMap::Entry> entries) {
    TensorMap map;
    for (auto& [name, tensor] : entries) {
      EXPECT_THAT(map.Insert(name, tensor), IsOk());
    }
    return map;
  }

  std::shared_ptr<const GradientProvider> provider_;
  std::unique_ptr<DiagonalOperation> operation_;
  Batch batch_ = SeededClassification(4, 2, 3, at::kDouble, 2);
};

TEST_F(BatchOperationTest, TakesVectorsAndRows) {
  const at::Tensor v = SeededNormal({2, 9}, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor rows, operation_->Apply(batch_, v));
  EXPECT_THAT(rows, TensorNear(v.mul(operation_->diagonal()), 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor row,
                                 operation_->Apply(batch_, v[1]));
  EXPECT_THAT(row, TensorNear(rows[1], 0));
}

TEST_F(BatchOperationTest, DictionaryFormIsTheFlatOneByParameter) {
  const at::Tensor v = SeededNormal({9}, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat, operation_->Apply(batch_, v));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorMap result,
      operation_->Apply(batch_,
                        Map({{"0.bias", v.narrow(0, 6, 3)},
                             {"0.weight", v.narrow(0, 0, 6).view({3, 2})}})));
  std::vector<std::string> names;
  for (const auto& [name, tensor] : result) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("0.weight", "0.bias"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor weight, result.Find("0.weight"));
  EXPECT_THAT(weight, TensorNear(flat.narrow(0, 0, 6).view({3, 2}), 0));
}

TEST_F(BatchOperationTest, DictionaryFormTakesRowsInAllEntries) {
  const at::Tensor v = SeededNormal({4, 9}, at::kDouble, 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat, operation_->Apply(batch_, v));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorMap result,
      operation_->Apply(batch_,
                        Map({{"0.weight", v.narrow(1, 0, 6).reshape({4, 3, 2})},
                             {"0.bias", v.narrow(1, 6, 3)}})));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor bias, result.Find("0.bias"));
  EXPECT_THAT(bias, TensorNear(flat.narrow(1, 6, 3), 0));
}

TEST_F(BatchOperationTest, DictionaryFormNamesEntriesThatDoNotFit) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const at::Tensor weight = at::zeros({3, 2}, at::kDouble);
  const at::Tensor bias = at::zeros({3}, at::kDouble);
  EXPECT_THAT(operation_->Apply(batch_, Map({{"0.weight", weight}})),
              StatusIs(invalid, HasSubstr("no entry for parameter 0.bias")));
  EXPECT_THAT(
      operation_->Apply(batch_, Map({{"weight", weight}, {"0.bias", bias}})),
      StatusIs(invalid, HasSubstr("unknown parameter weight")));
  EXPECT_THAT(
      operation_->Apply(batch_,
                        Map({{"0.weight", weight.t()}, {"0.bias", bias}})),
      StatusIs(invalid, AllOf(HasSubstr("0.weight"), HasSubstr("[2, 3]"),
                              HasSubstr("[3, 2]"))));
  EXPECT_THAT(operation_->Apply(
                  batch_, Map({{"0.weight", at::zeros({2, 3, 2}, at::kDouble)},
                               {"0.bias", at::zeros({4, 3}, at::kDouble)}})),
              StatusIs(invalid, AllOf(HasSubstr("0.bias"), HasSubstr("[4, 3]"),
                                      HasSubstr("2"))));
}

TEST_F(BatchOperationTest, RefusesBadOperandsAndBatches) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(operation_->Apply(batch_, at::zeros({8}, at::kDouble)),
              StatusIs(invalid, AllOf(HasSubstr("8"), HasSubstr("9"))));
  EXPECT_THAT(
      operation_->Apply(batch_, at::zeros({9}, at::kFloat)),
      StatusIs(invalid, AllOf(HasSubstr("float32"), HasSubstr("float64"))));
  at::Tensor nan = at::zeros({9}, at::kDouble);
  nan[4] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(operation_->Apply(batch_, nan),
              StatusIs(invalid, AllOf(HasSubstr("operand"), HasSubstr("4"))));
  Batch bad = batch_;
  bad.x[0] = bad.x[0].clone();
  bad.x[0][2][1] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(operation_->Apply(bad, at::zeros({9}, at::kDouble)),
              StatusIs(invalid, HasSubstr("x")));
  EXPECT_THAT(operation_->Apply({}, at::zeros({9}, at::kDouble)),
              StatusIs(invalid, testing::_));
}

}  // namespace
}  // namespace influence
