// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/data_set.h"

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/npz_testing.h"
#include "gmock/gmock.h"
#include "gradients/batch.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kModelFile[] = "m.pt";

class DataSetTest : public ::testing::Test {
 protected:
  // x -> x weight, three classes.
  FunctionModel Linear() {
    const at::Tensor weight = ParameterLike(at::ones({2, 3}));
    return FunctionModel({{"weight", weight}},
                         [weight](const std::vector<at::Tensor>& x) {
                           return at::matmul(x[0], weight);
                         });
  }

  // Token number x of a table with four rows, plus numbers.
  FunctionModel TokensAndNumbers() {
    const at::Tensor table = ParameterLike(at::ones({4, 3}));
    return FunctionModel(
        {{"table", table}}, [table](const std::vector<at::Tensor>& x) {
          return table.index_select(0, x[0]).add(at::matmul(x[1], table));
        });
  }

  std::string Write(
      const std::vector<std::pair<std::string, at::Tensor>>& arrays) {
    const std::string path =
        ::testing::TempDir() + "/data_set_" +
        ::testing::UnitTest::GetInstance()->current_test_info()->name() +
        ".npz";
    std::vector<ZipMember> members;
    for (const auto& [name, values] : arrays) {
      members.push_back({name + ".npy", NpyBytes(values)});
    }
    std::ofstream(path, std::ios::binary) << ZipBytes(members);
    return path;
  }
};

at::Tensor Labels(int64_t count) {
  return at::arange(count, at::TensorOptions(at::kLong)).remainder(3);
}

TEST_F(DataSetTest, FloatingInputsGoAsTheyAre) {
  const std::string path = Write({{"x", at::ones({5, 2})}, {"y", Labels(5)}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const DataSet> data,
      DataSet::Open(path, at::kFloat, Linear(), kModelFile));
  EXPECT_EQ(data->num_samples(), 5);
  EXPECT_EQ(data->num_inputs(), 1);
  EXPECT_EQ(data->input_name(0), "x");
  EXPECT_TRUE(data->input_is_floating(0));
  EXPECT_EQ(data->values_per_sample(), 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch first, data->First(3));
  EXPECT_EQ(first.size(), 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch all, data->First(9));
  EXPECT_EQ(all.size(), 5);
}

TEST_F(DataSetTest, IntegersAreRefusedByAModelThatWantsNumbers) {
  const std::string path =
      Write({{"x", at::ones({5, 2}, at::TensorOptions(at::kByte)).mul(7)},
             {"y", Labels(5)}});
  EXPECT_THAT(DataSet::Open(path, at::kFloat, Linear(), kModelFile),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith(path + ": found uint8 x [5, 2], which "
                                               "m.pt refuses ("),
                             HasSubstr("expected float32 x; store x as "
                                       "float32"))));
}

TEST_F(DataSetTest, EachIntegerInputKeepsItsDtype) {
  const std::string path = Write({{"x0", Labels(5).to(at::kInt)},
                                  {"x1", at::ones({5, 4})},
                                  {"y", Labels(5).to(at::kShort)}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const DataSet> data,
      DataSet::Open(path, at::kFloat, TokensAndNumbers(), kModelFile));
  EXPECT_EQ(data->input_dtype(0), at::kInt);
  EXPECT_FALSE(data->input_is_floating(0));
  EXPECT_EQ(data->input_dtype(1), at::kFloat);
  EXPECT_EQ(data->values_per_sample(), 5);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const DataSet> pairs,
                                 data->WithBatchSize(2));
  EXPECT_EQ(pairs->num_batches(), 3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch last, pairs->Get(2));
  EXPECT_TRUE(at::equal(last.x[0], at::ones({1}, at::kInt)));
  EXPECT_EQ(last.y.scalar_type(), at::kLong);
}

// The first samples alone may have no padding.
TEST_F(DataSetTest, SpreadInputsReachOverAllOfTheData) {
  const std::string path =
      Write({{"x", at::arange(10, at::kFloat).view({5, 2})}, {"y", Labels(5)}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const DataSet> data,
      DataSet::Open(path, at::kFloat, Linear(), kModelFile));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> two,
                                 data->SpreadInputs(2));
  ASSERT_EQ(two.size(), 1);
  EXPECT_TRUE(
      at::equal(two[0], at::tensor({0., 1., 4., 5.}, at::kFloat).view({2, 2})));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::vector<at::Tensor> all,
                                 data->SpreadInputs(9));
  EXPECT_TRUE(at::equal(all[0], at::arange(10, at::kFloat).view({5, 2})));
}

TEST_F(DataSetTest, NamesTheFileIfTheModelRefusesIt) {
  const std::string path = Write({{"x", at::ones({5, 7})}, {"y", Labels(5)}});
  EXPECT_THAT(DataSet::Open(path, at::kFloat, Linear(), kModelFile),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(path + ": found float32 x [5, 7], expected "
                                        "inputs that m.pt accepts (")));
}

TEST_F(DataSetTest, NamesTheModelIfItsOutputHasNoSamples) {
  const at::Tensor weight = ParameterLike(at::ones({2, 3}));
  const FunctionModel sum({{"weight", weight}},
                          [weight](const std::vector<at::Tensor>& x) {
                            return at::matmul(x[0], weight).sum();
                          });
  const std::string path = Write({{"x", at::ones({5, 2})}, {"y", Labels(5)}});
  EXPECT_THAT(
      DataSet::Open(path, at::kFloat, sum, kModelFile),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("m.pt: found output of shape [] for a batch of 3 "
                         "samples")));
}

TEST_F(DataSetTest, CheckLabelsNamesTheSampleByItsPlaceInTheFile) {
  at::Tensor labels = Labels(5000);
  const std::string good = Write({{"x", at::zeros({5000, 2})}, {"y", labels}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const DataSet> data,
      DataSet::Open(good, at::kFloat, Linear(), kModelFile));
  INFLUENCE_EXPECT_OK(data->CheckLabels(CrossEntropyLoss()));
  for (const int64_t place : {0, 1023, 1024, 4999}) {
    labels = Labels(5000);
    labels[place] = 3;
    const std::string path =
        Write({{"x", at::zeros({5000, 2})}, {"y", labels}});
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        data, DataSet::Open(path, at::kFloat, Linear(), kModelFile));
    EXPECT_THAT(data->CheckLabels(CrossEntropyLoss()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         path + ": labels: found value 3 at sample " +
                             std::to_string(place) + ", expected [0, 3)"));
  }
}

TEST_F(DataSetTest, CheckLabelsKnowsTheOutputsShape) {
  const std::string path =
      Write({{"x", at::ones({5, 2})}, {"y", at::ones({5})}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const DataSet> data,
      DataSet::Open(path, at::kFloat, Linear(), kModelFile));
  EXPECT_THAT(data->CheckLabels(MeanSquaredErrorLoss()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected shape [5, 3]")));
}

}  // namespace
}  // namespace influence
