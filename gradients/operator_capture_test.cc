// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/operator_capture.h"

#include <string>
#include <thread>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/dropout.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/ones.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

at::Tensor Parameter(at::IntArrayRef shape) {
  return at::ones(shape, at::dtype(at::kDouble)).requires_grad_(true);
}

at::Tensor Input(at::IntArrayRef shape) {
  return at::ones(shape, at::dtype(at::kDouble));
}

class OperatorCaptureTest : public ::testing::Test {
 protected:
  const std::vector<NamedParameter> parameters_ = {
      {"weight", Parameter({2, 3})}, {"bias", Parameter({2})}};
  OperatorCapture capture_{parameters_};
  const at::Tensor& weight_ = parameters_[0].tensor;
  const at::Tensor& bias_ = parameters_[1].tensor;
};

TEST_F(OperatorCaptureTest, RecordsACompositeOperatorOnce) {
  {
    OperatorCapture::Scope scope(&capture_);
    at::linear(Input({4, 3}), weight_, bias_);
  }
  ASSERT_THAT(capture_.uses(), SizeIs(1));
  EXPECT_EQ(capture_.uses()[0].call.name, "aten::linear");
  EXPECT_THAT(capture_.uses()[0].call.parameters, SizeIs(2));
  EXPECT_THAT(capture_.uses()[0].call.output_shape, ElementsAre(4, 2));
  EXPECT_THAT(capture_.uncovered_uses(), IsEmpty());
}

TEST_F(OperatorCaptureTest, RecordsTheOffsetOfAPartOfAParameter) {
  {
    OperatorCapture::Scope scope(&capture_);
    at::matmul(Input({4, 3}), weight_.slice(0, 1, 2).t());
  }
  ASSERT_THAT(capture_.uses(), SizeIs(1));
  EXPECT_EQ(capture_.uses()[0].call.parameters[0].offset, 3);
}

TEST_F(OperatorCaptureTest, ViewsAndDetachedUsesAreNotUses) {
  {
    OperatorCapture::Scope scope(&capture_);
    const at::Tensor view = weight_.t().unsqueeze(0);
    at::linear(Input({4, 3}), weight_.detach());
    at::NoGradGuard no_grad;
    at::linear(Input({4, 3}), weight_);
  }
  EXPECT_THAT(capture_.uses(), IsEmpty());
  EXPECT_THAT(capture_.uncovered_uses(), IsEmpty());
}

TEST_F(OperatorCaptureTest, NamesTheOperatorThatNoRuleKnows) {
  {
    OperatorCapture::Scope scope(&capture_);
    Input({4, 2}).div(bias_);
  }
  EXPECT_THAT(capture_.uses(), IsEmpty());
  ASSERT_THAT(capture_.uncovered_uses(), SizeIs(1));
  EXPECT_EQ(capture_.uncovered_uses()[0].operator_name, "aten::div");
  EXPECT_EQ(capture_.uncovered_uses()[0].parameter, 1);
}

TEST_F(OperatorCaptureTest, NoticesThatAnInputIsOverwritten) {
  at::Tensor x = Input({4, 3});
  {
    OperatorCapture::Scope scope(&capture_);
    at::linear(x, weight_);
  }
  ASSERT_THAT(capture_.uses(), SizeIs(1));
  EXPECT_FALSE(capture_.uses()[0].ValuesModified());
  x.add_(1);
  EXPECT_TRUE(capture_.uses()[0].ValuesModified());
}

TEST_F(OperatorCaptureTest, NotesDropoutInTrainingModeOnly) {
  {
    OperatorCapture::Scope scope(&capture_);
    at::dropout(Input({4, 2}), 0.5, /*train=*/false);
    EXPECT_THAT(capture_.coupling_operators(), IsEmpty());
    at::dropout(Input({4, 2}), 0.5, /*train=*/true);
  }
  EXPECT_THAT(capture_.coupling_operators(), ElementsAre("aten::dropout"));
}

TEST_F(OperatorCaptureTest, RecordsItsOwnThreadOnly) {
  {
    OperatorCapture::Scope scope(&capture_);
    std::thread other([this] {
      OperatorCapture second(parameters_);
      OperatorCapture::Scope second_scope(&second);
      at::linear(Input({4, 3}), weight_);
      EXPECT_THAT(second.uses(), SizeIs(1));
    });
    other.join();
    EXPECT_THAT(capture_.uses(), IsEmpty());
  }
  at::linear(Input({4, 3}), weight_);
  EXPECT_THAT(capture_.uses(), IsEmpty());
}

TEST_F(OperatorCaptureTest, SurvivesAnOperatorThatThrows) {
  {
    OperatorCapture::Scope scope(&capture_);
    EXPECT_ANY_THROW(at::linear(Input({4, 7}), weight_, bias_));
    at::linear(Input({4, 3}), weight_, bias_);
  }
  EXPECT_THAT(capture_.uses(), SizeIs(1));
}

}  // namespace
}  // namespace influence
