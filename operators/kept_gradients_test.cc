// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kept_gradients.h"

#include <atomic>
#include <cstdint>
#include <memory>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Counts the batches that are read.
class CountingSequence : public BatchSequence {
 public:
  CountingSequence(const Batch& data, int64_t batch_size)
      : data_(*TensorBatchSequence::Create(data, batch_size)) {}

  int64_t num_batches() const override { return data_.num_batches(); }
  int64_t num_samples() const override { return data_.num_samples(); }
  absl::StatusOr<Batch> Get(int64_t index) const override {
    ++num_reads_;
    return data_.Get(index);
  }

  int num_reads() const { return num_reads_; }

 private:
  TensorBatchSequence data_;
  mutable std::atomic<int> num_reads_ = 0;
};

class KeptGradientsTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        provider_,
        CapturingGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 1),
                                          CrossEntropyLoss(), batch_));
  }

  Batch batch_ = SeededClassification(7, 3, 2, at::kDouble, 3);
  std::shared_ptr<const CountingSequence> data_ =
      std::make_shared<const CountingSequence>(batch_, 3);
  std::shared_ptr<const GradientProvider> provider_;
};

TEST_F(KeptGradientsTest, ReadsTheDataOnceWhereTheGradientsFit) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto kept,
                                 KeptGradients::Create(provider_, data_));
  EXPECT_TRUE(kept->is_kept());
  EXPECT_EQ(kept->num_batches(), 3);
  EXPECT_EQ(kept->num_samples(), 7);
  EXPECT_EQ(data_->num_reads(), 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 provider_->FlatGrads(batch_));
  for (int pass = 0; pass < 2; ++pass) {
    for (int64_t i = 0; i < 3; ++i) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients grads,
                                     kept->Get(i));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat, grads.Flatten());
      EXPECT_THAT(flat,
                  TensorNear(expected.narrow(0, 3 * i, i == 2 ? 1 : 3), 1e-14));
    }
  }
  EXPECT_EQ(data_->num_reads(), 3);
  EXPECT_THAT(kept->Get(3), StatusIs(absl::StatusCode::kOutOfRange,
                                     HasSubstr("found index 3")));
}

TEST_F(KeptGradientsTest, KeepsNothingWhereTheyDoNot) {
  KeptGradientsOptions options;
  options.memory_limit = 100;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto kept, KeptGradients::Create(provider_, data_, options));
  EXPECT_FALSE(kept->is_kept());
  EXPECT_EQ(data_->num_reads(), 1);  // The first batch tells.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients grads, kept->Get(2));
  EXPECT_EQ(grads.num_samples(), 1);
  EXPECT_EQ(data_->num_reads(), 2);
}

TEST_F(KeptGradientsTest, RefusesBadArguments) {
  EXPECT_THAT(KeptGradients::Create(nullptr, data_),
              StatusIs(kInvalid, HasSubstr("provider: is null")));
  EXPECT_THAT(KeptGradients::Create(provider_, nullptr),
              StatusIs(kInvalid, HasSubstr("data: is null")));
  KeptGradientsOptions options;
  options.memory_limit = -1;
  EXPECT_THAT(KeptGradients::Create(provider_, data_, options),
              StatusIs(kInvalid, HasSubstr("memory_limit: found -1")));
}

}  // namespace
}  // namespace influence
