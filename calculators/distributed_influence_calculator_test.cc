// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/distributed_influence_calculator.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "calculators/aggregators.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/npy_file.h"
#include "calculators/sequential_influence_calculator.h"
#include "calculators/zarr_array.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "influence/cg_influence.h"
#include "influence/composable_influence.h"
#include "influence/curvature_products.h"
#include "influence/influence_mode.h"
#include "influence/regularization.h"
#include "influence/restore_influence.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

constexpr double kTolerance = 1e-9;

std::shared_ptr<const BatchSequence> Sequence(const Batch& data,
                                              int64_t batch_size) {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(data, batch_size));
}

std::shared_ptr<Communicator> Borrow(Communicator& communicator) {
  return {std::shared_ptr<void>(), &communicator};
}

// Conjugate gradients, with the formed matrix, which each rank solves with for
// itself, or with products, for which ranks solve together.
class DistributedInfluenceCalculatorTest
    : public ::testing::TestWithParam<CurvatureProducts> {
 protected:
  static std::shared_ptr<const GradientProvider> Provider() {
    return *AutogradGradientProvider::Create(TanhMlp({3, 4, 2}, at::kDouble, 1),
                                             CrossEntropyLoss());
  }

  std::shared_ptr<const ComposableInfluence> FittedAlone() const {
    CgInfluenceOptions options;
    options.regularization = *Regularization::Constant(2);
    options.relative_tolerance = 1e-12;
    options.products.kind = GetParam();
    const std::shared_ptr<const GradientProvider> provider = Provider();
    std::unique_ptr<CgInfluence> cg = *CgInfluence::Create(
        provider,
        ParameterBlocks::Create(provider->model(), BlockStructure::kFull),
        options);
    INFLUENCE_EXPECT_OK(cg->Fit(train_));
    return cg;
  }

  // The same fit, restored for a rank.
  std::shared_ptr<const ComposableInfluence> Restored(
      std::shared_ptr<Communicator> ranks) const {
    return *RestoreInfluence(*FittedAlone()->ExportState(), Provider(), train_,
                             std::nullopt, std::move(ranks));
  }

  std::string Path(const std::string& name) const {
    return absl::StrCat(
        ::testing::TempDir(), "/",
        GetParam() == CurvatureProducts::kFormed ? "formed_" : "products_",
        name);
  }

  void ExpectNear(const at::Tensor& found, const at::Tensor& expected) const {
    EXPECT_THAT(found, TensorNear(expected, kTolerance));
    // Solved for on its own, each rank has the bits of a process alone.
    if (GetParam() == CurvatureProducts::kFormed) {
      EXPECT_TRUE(at::equal(found, expected));
    }
  }

  // What a process alone has.
  void SetUp() override {
    const std::vector<absl::Status> statuses =
        RunThreadTeam(1, [&](Communicator&) -> absl::Status {
          INFLUENCE_ASSIGN_OR_RETURN(
              const auto alone,
              SequentialInfluenceCalculator::Create(FittedAlone()));
          INFLUENCE_ASSIGN_OR_RETURN(
              scores_,
              alone.Influences(test_, train_).Compute(NestedCatAggregator()));
          INFLUENCE_ASSIGN_OR_RETURN(
              factors_, alone.InfluenceFactors(test_).Compute(CatAggregator()));
          INFLUENCE_ASSIGN_OR_RETURN(
              perturbation_,
              alone.Influences(test_, train_, InfluenceMode::kPerturbation)
                  .Compute(NestedCatAggregator()));
          return absl::OkStatus();
        });
    INFLUENCE_ASSERT_OK(statuses[0]);
  }

  // Calls `work` with a calculator on each of 1, 2, 3 and 4 ranks.
  template <typename Function>
  void ForRanks(const Function& work) const {
    for (const int size : {1, 2, 3, 4}) {
      SCOPED_TRACE(absl::StrCat(size, " ranks"));
      INFLUENCE_ASSERT_OK(FirstError(
          RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
            const std::shared_ptr<Communicator> ranks = Borrow(communicator);
            INFLUENCE_ASSIGN_OR_RETURN(
                const auto calculator,
                DistributedInfluenceCalculator::Create(Restored(ranks), ranks));
            return work(calculator, communicator);
          })));
    }
  }

  // Short last batches.
  const std::shared_ptr<const BatchSequence> train_ =
      Sequence(SeededClassification(7, 3, 2, at::kDouble, 2), 2);
  const std::shared_ptr<const BatchSequence> test_ =
      Sequence(SeededClassification(5, 3, 2, at::kDouble, 3), 2);
  at::Tensor scores_, factors_, perturbation_;
};

TEST_P(DistributedInfluenceCalculatorTest, EveryRankHasEveryChunk) {
  ForRanks([&](const DistributedInfluenceCalculator& calculator,
               Communicator&) -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(
        const at::Tensor scores,
        calculator.Influences(test_, train_).Compute(NestedCatAggregator()));
    ExpectNear(scores, scores_);
    INFLUENCE_ASSIGN_OR_RETURN(
        const at::Tensor factors,
        calculator.InfluenceFactors(test_).Compute(CatAggregator()));
    ExpectNear(factors, factors_);
    INFLUENCE_ASSIGN_OR_RETURN(
        const at::Tensor from_factors,
        calculator
            .InfluencesFromFactors(calculator.InfluenceFactors(test_), train_)
            .Compute(NestedCatAggregator()));
    EXPECT_THAT(from_factors, TensorNear(scores_, kTolerance));
    INFLUENCE_ASSIGN_OR_RETURN(
        const at::Tensor perturbation,
        calculator.Influences(test_, train_, InfluenceMode::kPerturbation)
            .Compute(NestedCatAggregator()));
    ExpectNear(perturbation, perturbation_);
    EXPECT_EQ(calculator.num_parameters(), 26);
    return absl::OkStatus();
  });
}

TEST_P(DistributedInfluenceCalculatorTest, RanksWriteOneStore) {
  ForRanks([&](const DistributedInfluenceCalculator& calculator,
               Communicator&) -> absl::Status {
    const std::string scores = Path("scores.zarr");
    const std::string factors = Path("factors.zarr");
    ZarrOptions options;
    options.overwrite = true;
    INFLUENCE_RETURN_IF_ERROR(
        calculator.Influences(test_, train_).ToZarr(scores, options));
    INFLUENCE_RETURN_IF_ERROR(
        calculator.InfluenceFactors(test_).ToZarr(factors, options));
    for (const auto& [path, expected] :
         {std::pair(scores, scores_), std::pair(factors, factors_)}) {
      EXPECT_FALSE(fs::exists(path + ".incomplete"));
      INFLUENCE_ASSIGN_OR_RETURN(const ZarrArray array, ZarrArray::Open(path));
      INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor found, array.ReadAll());
      ExpectNear(found, expected);
    }
    return absl::OkStatus();
  });
}

TEST_P(DistributedInfluenceCalculatorTest, OneRankWritesAFile) {
  ForRanks([&](const DistributedInfluenceCalculator& calculator,
               Communicator&) -> absl::Status {
    const std::string path = Path("scores.npy");
    NpyOptions options;
    options.overwrite = true;
    INFLUENCE_RETURN_IF_ERROR(
        calculator.Influences(test_, train_).ToNpy(path, options));
    INFLUENCE_ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(path));
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor found, file.ReadAll());
    ExpectNear(found, scores_);
    return absl::OkStatus();
  });
}

// All ranks say what one has found.
TEST_P(DistributedInfluenceCalculatorTest, APlaceThatIsTakenIsAnErrorOfAll) {
  for (const std::string name : {"taken.zarr", "taken.npy"}) {
    SCOPED_TRACE(name);
    const std::string path = Path(name);
    fs::create_directories(path);
    ForRanks([&](const DistributedInfluenceCalculator& calculator,
                 Communicator&) -> absl::Status {
      const NestedLazyChunkSequence scores =
          calculator.Influences(test_, train_);
      const absl::Status status =
          name == "taken.zarr" ? scores.ToZarr(path) : scores.ToNpy(path);
      EXPECT_THAT(status,
                  StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(path)));
      return absl::OkStatus();
    });
    EXPECT_TRUE(fs::is_empty(path));
  }
}

// Ranks that solve together do so from one thread.
TEST_P(DistributedInfluenceCalculatorTest, RefusesThreadsForSome) {
  INFLUENCE_ASSERT_OK(FirstError(
      RunThreadTeam(2, [&](Communicator& communicator) -> absl::Status {
        const std::shared_ptr<Communicator> ranks = Borrow(communicator);
        const auto model = Restored(ranks);
        const absl::Status status = DistributedInfluenceCalculator::Create(
                                        model, ranks, {.num_workers = 2})
                                        .status();
        if (GetParam() == CurvatureProducts::kFormed) {
          INFLUENCE_EXPECT_OK(status);
        } else {
          EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                       HasSubstr("not thread-safe")));
        }
        INFLUENCE_EXPECT_OK(
            DistributedInfluenceCalculator::Create(
                model, ranks, {.num_workers = 2}, DisableSingleThreadCheck())
                .status());
        EXPECT_THAT(DistributedInfluenceCalculator::Create(model, nullptr),
                    StatusIs(absl::StatusCode::kInvalidArgument,
                             HasSubstr("communicator: found null")));
        EXPECT_THAT(DistributedInfluenceCalculator::Create(nullptr, ranks),
                    StatusIs(absl::StatusCode::kInvalidArgument,
                             HasSubstr("model: found null")));
        return absl::OkStatus();
      })));
}

INSTANTIATE_TEST_SUITE_P(Products, DistributedInfluenceCalculatorTest,
                         ::testing::Values(CurvatureProducts::kFormed,
                                           CurvatureProducts::kMatrixFree),
                         [](const auto& products) {
                           return products.param == CurvatureProducts::kFormed
                                      ? "Formed"
                                      : "MatrixFree";
                         });

}  // namespace
}  // namespace influence
