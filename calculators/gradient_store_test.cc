// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/gradient_store.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/linalg_eigvalsh.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_store_writer.h"
#include "gmock/gmock.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_term.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;
using ::testing::DoubleNear;
using ::testing::HasSubstr;

constexpr int64_t kSamples = 5;

// Gradients of every kind: a layer without positions [3, 4], one with nine
// positions and two groups [2 x (8, 12)], an embedding [6, 2] with a position
// that has none, and a bias [3] used twice.
struct Problem {
  at::Tensor left = SeededNormal({kSamples, 1, 1, 3}, at::kDouble, 1);
  at::Tensor right = SeededNormal({kSamples, 1, 1, 4}, at::kDouble, 2);
  at::Tensor conv_left = SeededNormal({kSamples, 2, 9, 8}, at::kDouble, 3);
  at::Tensor conv_right = SeededNormal({kSamples, 2, 9, 12}, at::kDouble, 4);
  at::Tensor rows = at::tensor({0, 5, -1, 2, 2, 1, 3, 4, 0, 0}, at::kLong)
                        .view({kSamples, 2});
  at::Tensor values = SeededNormal({kSamples, 2, 2}, at::kDouble, 5);
  at::Tensor bias = SeededNormal({kSamples, 3}, at::kDouble, 6);

  FactoredGradients Rows(int64_t begin, int64_t end) const {
    const auto cut = [&](const at::Tensor& t) {
      return t.slice(0, begin, end);
    };
    return FactoredGradients(
        end - begin, at::kDouble,
        {{"fc.weight",
          12,
          {std::make_shared<const OuterProductTerm>(0, cut(left), cut(right))}},
         {"conv.weight",
          192,
          {std::make_shared<const OuterProductTerm>(0, cut(conv_left),
                                                    cut(conv_right))}},
         {"embedding.weight",
          12,
          {std::make_shared<const RowSparseTerm>(0, 6, cut(rows),
                                                 cut(values))}},
         {"fc.bias",
          3,
          {std::make_shared<const DenseTerm>(0, cut(bias)),
           std::make_shared<const DenseTerm>(1, cut(bias).slice(1, 0, 2))}}});
  }
};

class GradientStoreTest : public testing::Test {
 protected:
  GradientStoreTest()
      : path_(fs::path(::testing::TempDir()) /
              absl::StrCat("gradient_store_", getpid())) {
    fs::remove_all(path_);
  }
  ~GradientStoreTest() override { fs::remove_all(path_); }

  // Writes the problem in batches of two.
  absl::StatusOr<GradientStoreLayout> Write(const Problem& problem,
                                            int64_t rank) {
    INFLUENCE_ASSIGN_OR_RETURN(const auto store,
                               ZarrStoreWriter::Create(path_.string()));
    GradientStoreOptions options;
    options.rank = rank;
    INFLUENCE_ASSIGN_OR_RETURN(
        const auto writer,
        GradientStoreWriter::Create(problem.Rows(0, 2), kSamples, options,
                                    store.get()));
    for (int64_t begin = 0; begin < kSamples; begin += 2) {
      INFLUENCE_RETURN_IF_ERROR(writer->Write(
          begin, problem.Rows(begin, std::min(begin + 2, kSamples))));
    }
    INFLUENCE_RETURN_IF_ERROR(store->Commit());
    return writer->layout();
  }

  absl::StatusOr<GradientStore> Open(const GradientStoreLayout& layout) {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrGroup group,
                               ZarrGroup::Open(path_.string()));
    // Through its text, as a fitted folder keeps it.
    INFLUENCE_ASSIGN_OR_RETURN(GradientStoreLayout read,
                               GradientStoreLayout::FromText(layout.ToText()));
    return GradientStore::Open(group, std::move(read));
  }

  fs::path path_;
};

TEST_F(GradientStoreTest, GivesBackTheGradients) {
  const Problem problem;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStoreLayout layout,
                                 Write(problem, /*rank=*/0));
  EXPECT_EQ(layout.relative_error, 0);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStore store, Open(layout));
  EXPECT_EQ(store.num_samples(), kSamples);
  for (const auto& [begin, end] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {1, 4}, {4, 5}}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients stored,
                                   store.Get(begin, end));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found, stored.Flatten());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                   problem.Rows(begin, end).Flatten());
    EXPECT_TRUE(at::equal(found, expected));
  }
}

TEST_F(GradientStoreTest, KeepsTheFactorsOfALayerWithoutPositions) {
  const Problem problem;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStoreLayout layout,
                                 Write(problem, /*rank=*/1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrGroup group,
                                 ZarrGroup::Open(path_.string()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray left,
                                 group.OpenArray("gradients/fc.weight/0/left"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor values, left.ReadAll());
  EXPECT_TRUE(at::equal(values, problem.left));
}

TEST_F(GradientStoreTest, CutsToTheBestApproximationOfItsRank) {
  const Problem problem;
  constexpr int64_t kRank = 2;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStoreLayout layout,
                                 Write(problem, kRank));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStore store, Open(layout));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients stored,
                                 store.Get(0, kSamples));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found, stored.Flatten());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 problem.Rows(0, kSamples).Flatten());
  // The other parameters as they were.
  EXPECT_TRUE(at::equal(found.narrow(1, 0, 12), expected.narrow(1, 0, 12)));
  EXPECT_TRUE(at::equal(found.narrow(1, 204, 15), expected.narrow(1, 204, 15)));
  // By Eckart and Young: what is left out are the smaller eigenvalues of
  // G^T G, which no part of the store has seen.
  double discarded = 0;
  const at::Tensor g =
      expected.narrow(1, 12, 192).reshape({kSamples, 2, 8, 12});
  for (int64_t n = 0; n < kSamples; ++n) {
    for (int64_t h = 0; h < 2; ++h) {
      const at::Tensor ggt = g[n][h].matmul(g[n][h].t());
      const at::Tensor eigenvalues = at::linalg_eigvalsh(ggt);
      discarded += eigenvalues.narrow(0, 0, 8 - kRank).sum().item<double>();
    }
  }
  const at::Tensor difference = (found.sub(expected)).narrow(1, 12, 192);
  EXPECT_THAT(difference.square().sum().item<double>(),
              DoubleNear(discarded, 1e-10 * discarded));
  EXPECT_THAT(layout.relative_error,
              DoubleNear(std::sqrt(discarded / g.square().sum().item<double>()),
                         1e-12));
  EXPECT_GT(layout.relative_error, 0.1);
}

TEST_F(GradientStoreTest, RefusesOtherGradientsAndRanges) {
  const Problem problem;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto store,
                                 ZarrStoreWriter::Create(path_.string()));
  GradientStoreOptions options;
  options.rank = -1;
  const auto create = [&](int64_t num_samples) {
    return GradientStoreWriter::Create(problem.Rows(0, 2), num_samples, options,
                                       store.get())
        .status();
  };
  EXPECT_THAT(create(kSamples), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("stored rank: found -1")));
  options.rank = 0;
  EXPECT_THAT(create(1), StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("found 2 samples of 1")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto writer,
      GradientStoreWriter::Create(problem.Rows(0, 2), kSamples, options,
                                  store.get()));
  EXPECT_THAT(writer->Write(4, problem.Rows(0, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found samples [4, 6)")));
  Problem other;
  other.left = SeededNormal({kSamples, 1, 2, 3}, at::kDouble, 1);
  other.right = SeededNormal({kSamples, 1, 2, 4}, at::kDouble, 1);
  EXPECT_THAT(writer->Write(0, other.Rows(0, 2)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("gradients of fc.weight")));
}

TEST_F(GradientStoreTest, NamesWhatIsMissingOrOutOfRange) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStoreLayout layout,
                                 Write(Problem(), /*rank=*/0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const GradientStore store, Open(layout));
  EXPECT_THAT(store.Get(3, 6), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("found samples [3, 6)")));
  fs::remove_all(path_ / "gradients" / "fc.bias" / "1");
  EXPECT_THAT(Open(layout), StatusIs(absl::StatusCode::kDataLoss,
                                     HasSubstr("gradients/fc.bias/1/dense")));
  EXPECT_THAT(GradientStoreLayout::FromText("{"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("{")));
}

}  // namespace
}  // namespace influence
