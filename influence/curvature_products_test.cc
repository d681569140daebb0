// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/curvature_products.h"

#include <memory>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CurvatureProductsTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_, AutogradGradientProvider::Create(
                       TanhMlp({3, 4, 2}, at::kDouble, 1), CrossEntropyLoss()));
  }

  // Of 16 and 10 parameters.
  ParameterBlocks Layers() const {
    return ParameterBlocks::Create(provider_->model(), BlockStructure::kLayer);
  }

  std::shared_ptr<const GradientProvider> provider_;
};

TEST_F(CurvatureProductsTest, FormsWhatTakesFewerProductsThanTheQueries) {
  CurvatureProductsOptions options;
  options.expected_queries = 3;
  EXPECT_THAT(BlocksToForm(options, Layers(), 1, 5), ElementsAre(false, true));
  EXPECT_THAT(BlocksToForm(options, Layers(), 1, 6), ElementsAre(true, true));
  EXPECT_THAT(BlocksToForm(options, Layers(), 2, 6), ElementsAre(false, false));
  options.kind = CurvatureProducts::kFormed;
  EXPECT_THAT(BlocksToForm(options, Layers(), 2, 6), ElementsAre(true, true));
  options.kind = CurvatureProducts::kMatrixFree;
  EXPECT_THAT(BlocksToForm(options, Layers(), 1, 100),
              ElementsAre(false, false));
}

TEST_F(CurvatureProductsTest, FormsNoMoreThanFitsInMemory) {
  CurvatureProductsOptions options;
  options.max_formed_bytes = 8 * (16 * 16 + 10 * 10);
  EXPECT_THAT(BlocksToForm(options, Layers(), 1, 9), ElementsAre(true, true));
  options.max_formed_bytes -= 1;
  EXPECT_THAT(BlocksToForm(options, Layers(), 1, 9), ElementsAre(true, false));
  EXPECT_THAT(BlocksToForm(options, Layers(), 2, 9), ElementsAre(false, true));
}

TEST_F(CurvatureProductsTest, FormsTheSelectedBlocksAlone) {
  const Batch batch = SeededClassification(7, 3, 2, at::kDouble, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto data,
                                 TensorBatchSequence::Create(batch, 3));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::vector<at::Tensor> matrices,
      FormSelectedBlocks(Curvature::kGaussNewton, *provider_, Layers(),
                         {false, true}, data));
  ASSERT_EQ(matrices.size(), 2);
  EXPECT_FALSE(matrices[0].defined());
  const at::Tensor dense = DenseGaussNewton(*provider_, batch);
  EXPECT_THAT(matrices[1],
              TensorNear(dense.narrow(0, 16, 10).narrow(1, 16, 10), 1e-12));
}

TEST_F(CurvatureProductsTest, RefusesBadOptions) {
  CurvatureProductsOptions options;
  INFLUENCE_EXPECT_OK(ValidateCurvatureProducts(options));
  options.expected_queries = 0;
  EXPECT_THAT(ValidateCurvatureProducts(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected_queries: found 0")));
  options = {};
  options.max_formed_bytes = -1;
  EXPECT_THAT(ValidateCurvatureProducts(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("max_formed_bytes: found -1")));
  options = {};
  options.num_threads = -1;
  EXPECT_THAT(ValidateCurvatureProducts(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_threads: found -1")));
}

}  // namespace
}  // namespace influence
