// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/influence_function_model.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/full.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers with the number of the input.
class FakeModel : public InfluenceFunctionModel {
 public:
  int64_t num_parameters() const override { return 4; }
  bool is_thread_safe() const override { return true; }
  bool is_fitted() const override { return num_samples_ > 0; }
  int64_t num_fitted_samples() const override { return num_samples_; }

 protected:
  absl::Status DoFit(std::shared_ptr<const BatchSequence> data,
                     ProgressReporter* /*progress*/) override {
    num_samples_ = data->num_samples();
    return absl::OkStatus();
  }
  absl::StatusOr<at::Tensor> DoInfluenceFactors(
      const Batch& test) const override {
    return at::zeros({test.size(), 4});
  }
  absl::StatusOr<at::Tensor> DoInfluences(const Batch& /*test*/,
                                          const std::optional<Batch>& /*train*/,
                                          InfluenceMode /*mode*/,
                                          int64_t input) const override {
    return at::full({1}, input);
  }
  absl::StatusOr<std::unique_ptr<const PreparedQueries>> DoPrepareQueries(
      const Batch& /*test*/) const override {
    return absl::UnimplementedError("not in this fake");
  }
  absl::StatusOr<at::Tensor> DoInfluencesFromFactors(
      const at::Tensor& /*factors*/, const Batch& /*train*/,
      InfluenceMode /*mode*/, int64_t input) const override {
    return at::full({1}, static_cast<double>(input));
  }

 private:
  int64_t num_samples_ = 0;
};

class EmptySequence : public BatchSequence {
 public:
  int64_t num_batches() const override { return 0; }
  int64_t num_samples() const override { return 0; }
  absl::StatusOr<Batch> Get(int64_t /*index*/) const override {
    return absl::OutOfRangeError("empty");
  }
};

class InfluenceFunctionModelTest : public testing::Test {
 protected:
  void Fit() {
    INFLUENCE_ASSERT_OK(model_.Fit(std::make_shared<const TensorBatchSequence>(
        *TensorBatchSequence::Create(batch_, 2))));
  }

  FakeModel model_;
  Batch batch_ = {
      {at::zeros({3, 2}), at::zeros({3, 2}, at::kLong), at::zeros({3})},
      at::zeros({3}, at::kLong)};
};

TEST_F(InfluenceFunctionModelTest, EverythingIsAFailedPreconditionBeforeFit) {
  const auto unfitted = [](const auto& result) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("Fit()")));
  };
  unfitted(model_.InfluenceFactors(batch_));
  unfitted(model_.Influences(batch_));
  unfitted(model_.PrepareQueries(batch_));
  unfitted(model_.InfluencesFromFactors(at::zeros({1, 4}), batch_));
  unfitted(model_.PerturbationInfluencesByInput(batch_));
}

TEST_F(InfluenceFunctionModelTest, FitNeedsSamples) {
  EXPECT_THAT(model_.Fit(nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("null")));
  EXPECT_THAT(
      model_.Fit(std::make_shared<const EmptySequence>()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no samples")));
  EXPECT_FALSE(model_.is_fitted());
  Fit();
  EXPECT_EQ(model_.num_fitted_samples(), 3);
}

TEST_F(InfluenceFunctionModelTest, PerturbationNeedsAFloatingInput) {
  Fit();
  const auto mode = InfluenceMode::kPerturbation;
  EXPECT_THAT(model_.Influences(batch_, std::nullopt, mode, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("x1"), HasSubstr("int64"))));
  EXPECT_THAT(model_.InfluencesFromFactors(at::zeros({1, 4}), batch_, mode, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x1")));
  for (const int64_t input : {-1, 3}) {
    EXPECT_THAT(model_.Influences(batch_, std::nullopt, mode, input),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("input: found"), HasSubstr("3"))));
  }
  INFLUENCE_EXPECT_OK(model_.Influences(batch_, std::nullopt, mode, 2));
  INFLUENCE_EXPECT_OK(
      model_.Influences(batch_, std::nullopt, InfluenceMode::kUp, 1));
}

TEST_F(InfluenceFunctionModelTest, PerturbationsOfAllFloatingInputsByName) {
  Fit();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap by_input,
                                 model_.PerturbationInfluencesByInput(batch_));
  std::vector<std::string> names;
  for (const auto& [name, tensor] : by_input) names.push_back(name);
  EXPECT_THAT(names, ElementsAre("x0", "x2"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor last, by_input.Find("x2"));
  EXPECT_EQ(last.item<double>(), 2);

  const Batch one = {{at::zeros({3, 2})}, batch_.y};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(by_input,
                                 model_.PerturbationInfluencesByInput(one));
  INFLUENCE_EXPECT_OK(by_input.Find("x"));

  const Batch tokens = {{at::zeros({3, 2}, at::kLong)}, batch_.y};
  EXPECT_THAT(model_.PerturbationInfluencesByInput(tokens),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("integer inputs only")));
}

}  // namespace
}  // namespace influence
