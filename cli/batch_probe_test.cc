// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/batch_probe.h"

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "cli/data_set.h"
#include "cli/npz_testing.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// Each sample becomes 4 KiB in the one hidden layer.
constexpr int64_t kHidden = 1024;

class BatchProbeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const at::Tensor first = ParameterLike(at::ones({2, kHidden}).mul(0.1));
    const at::Tensor second = ParameterLike(at::ones({kHidden, 3}).mul(0.1));
    model_ = std::make_shared<FunctionModel>(
        std::vector<NamedParameter>{{"first", first}, {"second", second}},
        [first, second](const std::vector<at::Tensor>& x) {
          return at::matmul(at::tanh(at::matmul(x[0], first)), second);
        });
    const std::string path = ::testing::TempDir() + "/batch_probe.npz";
    std::ofstream(path, std::ios::binary)
        << ZipBytes({{"x.npy", NpyBytes(at::ones({5000, 2}))},
                     {"y.npy", NpyBytes(at::zeros({5000}, at::kLong))}});
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        data_, DataSet::Open(path, at::kFloat, *model_, "m.pt"));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch few, data_->First(3));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(model_, CrossEntropyLoss(), few));
  }

  std::shared_ptr<const FunctionModel> model_;
  std::shared_ptr<const DataSet> data_;
  std::shared_ptr<const CapturingGradientProvider> provider_;
};

TEST_F(BatchProbeTest, MeasuresWhatABatchNeeds) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const BatchProbe probe,
                                 ProbeBatch(*provider_, *data_, 4096));
  EXPECT_EQ(probe.num_samples, 4096);
  // Factors: x and the gradient at the hidden layer, its output and the
  // gradient at the logits.
  EXPECT_EQ(probe.factor_bytes_per_sample, 4 * (2 + kHidden + kHidden + 3));
  EXPECT_GT(probe.seconds_per_gradient, 0);
  EXPECT_GE(probe.seconds_per_score, 0);
  if (!probe.bytes.has_value()) GTEST_SKIP() << "memory is not measured here";
  EXPECT_GT(*probe.baseline_bytes, 0);
  // The two factors of 16 MiB, and a few times as much while they are made.
  EXPECT_GT(*probe.bytes, 24 * kMiB);
  EXPECT_LT(*probe.bytes, 200 * kMiB);
  EXPECT_NEAR(static_cast<double>(probe.bytes_per_sample()),
              static_cast<double>(*probe.bytes) / 4096, 1);
}

TEST_F(BatchProbeTest, TakesNoMoreSamplesThanThereAre) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const BatchProbe probe,
                                 ProbeBatch(*provider_, *data_, 100000));
  EXPECT_EQ(probe.num_samples, 5000);
}

}  // namespace
}  // namespace influence
