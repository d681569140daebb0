// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/dense_curvature.h"

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kNumSamples = 7;

class DenseCurvatureTest : public testing::TestWithParam<Curvature> {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(provider_, AutogradGradientProvider::Create(
                                                  model_, CrossEntropyLoss()));
    switch (GetParam()) {
      case Curvature::kHessian:
        dense_ = HessianByDifferences(*provider_, batch_);
        break;
      case Curvature::kGaussNewton:
        dense_ = DenseGaussNewton(*provider_, batch_);
        break;
      case Curvature::kGeneralizedGaussNewton:
        dense_ = DenseGeneralizedGaussNewton(*provider_, batch_);
        break;
    }
  }

  TensorBatchSequence Data(int64_t batch_size) const {
    return *TensorBatchSequence::Create(batch_, batch_size);
  }

  // Central differences are exact to about 1e-9.
  double tolerance() const {
    return GetParam() == Curvature::kHessian ? 1e-8 : 1e-13;
  }

  std::shared_ptr<const Model> model_ = TanhMlp({3, 4, 2}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  Batch batch_ = SeededClassification(kNumSamples, 3, 2, at::kDouble, 2);
  at::Tensor dense_;
};

TEST_P(DenseCurvatureTest, EqualsTheDefinition) {
  const auto blocks = ParameterBlocks::Create(*model_, BlockStructure::kFull);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::vector<at::Tensor> formed,
      FormDenseCurvature(GetParam(), *provider_, blocks, Data(3)));
  ASSERT_EQ(formed.size(), 1);
  EXPECT_THAT(formed[0], TensorNear(dense_, tolerance()));
  EXPECT_TRUE(at::equal(formed[0], formed[0].t())) << "not exactly symmetric";
}

TEST_P(DenseCurvatureTest, BlocksAreDiagonalBlocks) {
  for (const BlockStructure structure :
       {BlockStructure::kLayer, BlockStructure::kParameter}) {
    SCOPED_TRACE(BlockStructureName(structure));
    const auto blocks = ParameterBlocks::Create(*model_, structure);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        std::vector<at::Tensor> formed,
        FormDenseCurvature(GetParam(), *provider_, blocks, Data(4)));
    ASSERT_EQ(formed.size(), blocks.blocks().size());
    for (size_t b = 0; b < formed.size(); ++b) {
      const ParameterBlock& block = blocks.blocks()[b];
      EXPECT_THAT(formed[b],
                  TensorNear(dense_.narrow(0, block.offset, block.size)
                                 .narrow(1, block.offset, block.size),
                             tolerance()))
          << "block " << block.name;
    }
  }
}

// A subset, in another order than the model's.
TEST_P(DenseCurvatureTest, CustomBlocksFollowTheirOwnOrder) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      ParameterBlocks blocks,
      ParameterBlocks::CreateCustom(
          *model_, {{"last", {"2.bias", "0.bias"}}, {"w", {"0.weight"}}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::vector<at::Tensor> formed,
      FormDenseCurvature(GetParam(), *provider_, blocks, Data(kNumSamples)));
  const at::Tensor order = at::tensor({24, 25, 12, 13, 14, 15}, at::kLong);
  EXPECT_THAT(formed[0],
              TensorNear(dense_.index_select(0, order).index_select(1, order),
                         tolerance()));
  EXPECT_THAT(formed[1], TensorNear(dense_.narrow(0, 0, 12).narrow(1, 0, 12),
                                    tolerance()));
}

TEST_P(DenseCurvatureTest, IsIndependentOfBatchSizeAndThreads) {
  const auto blocks = ParameterBlocks::Create(*model_, BlockStructure::kFull);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::vector<at::Tensor> expected,
      FormDenseCurvature(GetParam(), *provider_, blocks, Data(kNumSamples)));
  for (const int64_t batch_size : {1, 2, 5}) {
    for (const int num_threads : {1, 2, 3}) {
      SCOPED_TRACE(absl::StrCat("batches of ", batch_size, ", ", num_threads,
                                " threads"));
      DenseCurvatureOptions options;
      options.num_threads = num_threads;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          std::vector<at::Tensor> formed,
          FormDenseCurvature(GetParam(), *provider_, blocks, Data(batch_size),
                             options));
      EXPECT_THAT(formed[0], TensorNear(expected[0], 1e-14));
    }
  }
}

TEST_P(DenseCurvatureTest, RanksFormItTogether) {
  const auto blocks = ParameterBlocks::Create(*model_, BlockStructure::kLayer);
  const TensorBatchSequence data = Data(2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::vector<at::Tensor> alone,
      FormDenseCurvature(GetParam(), *provider_, blocks, data));
  for (const int size : {2, 6}) {  // Of 4 batches.
    std::vector<std::vector<at::Tensor>> formed(size);
    INFLUENCE_ASSERT_OK(FirstError(
        RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
          DenseCurvatureOptions options;
          options.communicator = std::shared_ptr<Communicator>(
              std::shared_ptr<void>(), &communicator);
          INFLUENCE_ASSIGN_OR_RETURN(formed[communicator.rank()],
                                     FormDenseCurvature(GetParam(), *provider_,
                                                        blocks, data, options));
          return absl::OkStatus();
        })));
    for (const std::vector<at::Tensor>& of_rank : formed) {
      ASSERT_EQ(of_rank.size(), alone.size());
      for (size_t b = 0; b < alone.size(); ++b) {
        EXPECT_THAT(of_rank[b], TensorNear(alone[b], 1e-13));
        EXPECT_TRUE(at::equal(of_rank[b], formed[0][b]));
      }
    }
  }
}

TEST_P(DenseCurvatureTest, Float32ModelsGiveFloat64Matrices) {
  const auto model = TanhMlp({3, 4, 2}, at::kFloat, 1);
  const Batch batch = {{batch_.x[0].to(at::kFloat)}, batch_.y};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      CapturingGradientProvider::Create(model, CrossEntropyLoss(), batch));
  const auto blocks = ParameterBlocks::Create(*model, BlockStructure::kFull);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto data,
                                 TensorBatchSequence::Create(batch, 3));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::vector<at::Tensor> formed,
      FormDenseCurvature(GetParam(), *provider, blocks, data));
  EXPECT_EQ(formed[0].scalar_type(), at::kDouble);
  // A dozen roundings of 6e-8.
  EXPECT_THAT(formed[0], TensorNear(dense_, 1e-6));
}

TEST_P(DenseCurvatureTest, RefusesBadData) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const auto blocks = ParameterBlocks::Create(*model_, BlockStructure::kFull);
  class Sequence : public BatchSequence {
   public:
    explicit Sequence(Batch batch) : batch_(std::move(batch)) {}
    int64_t num_batches() const override { return num_samples() > 0 ? 1 : 0; }
    int64_t num_samples() const override { return batch_.size(); }
    absl::StatusOr<Batch> Get(int64_t /*index*/) const override {
      return batch_;
    }

   private:
    Batch batch_;
  };
  EXPECT_THAT(FormDenseCurvature(GetParam(), *provider_, blocks, Sequence({})),
              StatusIs(invalid, HasSubstr("no samples")));
  Batch bad = batch_;
  bad.x[0] = bad.x[0].clone();
  bad.x[0][3][1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(FormDenseCurvature(GetParam(), *provider_, blocks, Sequence(bad)),
              StatusIs(invalid, AllOf(HasSubstr("x"), HasSubstr("NaN"))));
  DenseCurvatureOptions options;
  options.num_threads = -1;
  EXPECT_THAT(
      FormDenseCurvature(GetParam(), *provider_, blocks, Data(2), options),
      StatusIs(invalid, HasSubstr("num_threads: found -1")));
  EXPECT_THAT(
      FormDenseCurvature(GetParam(), *provider_, blocks,
                         Sequence({batch_.x, batch_.y.add(5)})),
      StatusIs(invalid, AllOf(HasSubstr("label"), HasSubstr("[0, 2)"))));
}

TEST_P(DenseCurvatureTest, TellsItsProgress) {
  class Recorder : public ProgressReporter {
   public:
    void Begin(absl::string_view stage, int64_t total,
               absl::string_view unit) override {
      log += absl::StrCat(stage, " of ", total, " ", unit, ":");
    }
    void Advance(int64_t steps) override { absl::StrAppend(&log, " ", steps); }
    void End() override { log += " end"; }

    std::string log;
  };
  Recorder recorder;
  INFLUENCE_EXPECT_OK(FormDenseCurvature(
      GetParam(), *provider_,
      ParameterBlocks::Create(*model_, BlockStructure::kFull), Data(3), {},
      &recorder));
  EXPECT_EQ(recorder.log, "curvature of 3 batches: 1 1 1 end");
}

INSTANTIATE_TEST_SUITE_P(Curvatures, DenseCurvatureTest,
                         testing::Values(Curvature::kHessian,
                                         Curvature::kGaussNewton,
                                         Curvature::kGeneralizedGaussNewton),
                         [](const testing::TestParamInfo<Curvature>& test) {
                           return std::string(CurvatureName(test.param));
                         });

// sqrt at 0 has a finite value, but no finite derivative.
TEST(DenseHessianTest, NamesTheBlockOfAnEntryThatIsNotFinite) {
  const at::Tensor w = ParameterLike(at::zeros({2, 3}, at::kDouble));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"layer.w", w}},
      [w](const std::vector<at::Tensor>& x) {
        return x[0].matmul(w.t()).abs().pow(1.5);
      });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto data, TensorBatchSequence::Create(
                     SeededClassification(4, 3, 2, at::kDouble, 1), 4));
  EXPECT_THAT(
      FormDenseCurvature(
          Curvature::kHessian, *provider,
          ParameterBlocks::Create(*model, BlockStructure::kLayer), data),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("hessian of block layer"),
                     HasSubstr("expected finite"))));
}

}  // namespace
}  // namespace influence
