// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/shared_eigendecomposition.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

// LibTorch's threads in this scope.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) {
    at::set_num_threads(count);
  }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

// Random symmetric matrices, of which two are of deficient rank.
std::vector<SymmetricMatrix> Matrices(const std::vector<int64_t>& sizes) {
  std::vector<SymmetricMatrix> matrices;
  for (const int64_t n : sizes) {
    const at::Tensor values = SeededNormal({n, n}, at::kDouble, 7 + n);
    matrices.push_back({absl::StrCat("matrix of ", n), values.add(values.t())});
  }
  matrices.push_back({"ones", at::ones({5, 5}, at::kDouble)});
  matrices.push_back({"zeros", at::full({3, 3}, 0.0, at::kDouble)});
  return matrices;
}

void ExpectDecompositions(const std::vector<SymmetricMatrix>& matrices,
                          const std::vector<Eigendecomposition>& found) {
  ASSERT_EQ(found.size(), matrices.size());
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(matrices[i].name);
    const auto& [eigenvalues, eigenvectors] = found[i];
    const int64_t n = matrices[i].values.size(0);
    EXPECT_THAT(eigenvectors.mm(eigenvectors.t()),
                TensorNear(at::eye(n, at::kDouble), 1e-12));
    EXPECT_THAT(eigenvectors.mm(at::diag(eigenvalues)).mm(eigenvectors.t()),
                TensorNear(matrices[i].values, 1e-11));
    EXPECT_TRUE(eigenvectors.is_contiguous());
    for (int64_t k = 1; k < n; ++k) {
      EXPECT_GE(eigenvalues[k - 1].item<double>(),
                eigenvalues[k].item<double>());
    }
  }
}

// One large matrix, many alike, fewer than threads, none.
const std::vector<std::vector<int64_t>> kSizes = {
    {90, 3, 20, 1, 4}, {30, 30, 31, 29, 30}, {}, {600}};

TEST(SharedEigendecompositionTest, ThreadsDecomposeSideBySide) {
  for (const int num_threads : {1, 2, 4}) {
    const Threads threads(num_threads);
    for (const std::vector<int64_t>& sizes : kSizes) {
      SCOPED_TRACE(absl::StrCat(num_threads, " threads, ", sizes.size()));
      const std::vector<SymmetricMatrix> matrices = Matrices(sizes);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const std::vector<Eigendecomposition> found,
          EigendecomposeTogether(matrices, *SingleProcess()));
      ExpectDecompositions(matrices, found);
      EXPECT_EQ(at::get_num_threads(), num_threads);
    }
  }
}

TEST(SharedEigendecompositionTest, RanksHaveTheSame) {
  for (const int size : {2, 3, 9}) {
    for (const std::vector<int64_t>& sizes : kSizes) {
      SCOPED_TRACE(absl::StrCat(size, " ranks, ", sizes.size()));
      const std::vector<SymmetricMatrix> matrices = Matrices(sizes);
      std::vector<std::vector<Eigendecomposition>> found(size);
      INFLUENCE_ASSERT_OK(FirstError(
          RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
            const int num_threads = at::get_num_threads();
            auto results = EigendecomposeTogether(matrices, communicator);
            if (!results.ok()) return results.status();
            found[communicator.rank()] = *std::move(results);
            // Whatever it took of the cores of others is given back.
            EXPECT_EQ(at::get_num_threads(), num_threads);
            return absl::OkStatus();
          })));
      ExpectDecompositions(matrices, found[0]);
      for (int rank = 1; rank < size; ++rank) {
        ASSERT_EQ(found[rank].size(), matrices.size());
        for (size_t i = 0; i < matrices.size(); ++i) {
          EXPECT_TRUE(
              found[rank][i].eigenvalues.equal(found[0][i].eigenvalues));
          EXPECT_TRUE(
              found[rank][i].eigenvectors.equal(found[0][i].eigenvectors));
        }
      }
    }
  }
}

// Of whoever it would be: no rank waits for one that has seen it.
TEST(SharedEigendecompositionTest, AllRefuseWhatIsNotFinite) {
  std::vector<SymmetricMatrix> matrices = Matrices({4, 5});
  matrices[1].values[2][2] = std::numeric_limits<double>::quiet_NaN();
  for (const absl::Status& status :
       RunThreadTeam(2, [&](Communicator& communicator) {
         return EigendecomposeTogether(matrices, communicator).status();
       })) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("matrix of 5")));
  }
}

// Rows of full rank, with some that repeat, and none but zeros.
TEST(SharedEigendecompositionTest, RowsGiveTheEigenpairsOfTheirMatrix) {
  constexpr int64_t kRows = 6, kWidth = 40, kGroups = 2;
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    at::Tensor rows = SeededNormal({kGroups, kRows, kWidth}, dtype, 3);
    // A spread of sizes, of which squares are far apart.
    rows = rows.mul(at::tensor({1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5}, dtype)
                        .view({1, kRows, 1}));
    const at::Tensor repeated = rows.clone();
    repeated.narrow(1, 3, 3).copy_(rows.narrow(1, 0, 3));
    std::vector<SymmetricMatrix> matrices(3);
    matrices[0].rows = rows;
    matrices[1].rows = repeated;
    matrices[2].rows = at::zeros({1, 3, 5}, dtype);
    std::vector<at::Tensor> dense;
    for (SymmetricMatrix& matrix : matrices) {
      matrix.name = "m";
      matrix.scale = 0.5;
      const at::Tensor x = matrix.rows.to(at::kDouble);
      dense.push_back(x.transpose(1, 2).matmul(x).mul(0.5));
    }
    for (const int size : {1, 2}) {
      const absl::Status status = FirstError(
          RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
            auto found = EigendecomposeTogether(matrices, communicator);
            if (!found.ok()) return found.status();
            const std::vector<int64_t> ranks = {kRows, 3, 1};
            for (size_t m = 0; m < matrices.size(); ++m) {
              const auto& [s, u] = (*found)[m];
              const int64_t rank = s.size(1);
              EXPECT_EQ(u.sizes(), at::IntArrayRef({dense[m].size(0),
                                                    dense[m].size(1), rank}));
              // One more where a repeated row of float32 differs by rounding.
              EXPECT_EQ(rank, ranks[m]);
              EXPECT_THAT(u.transpose(1, 2).matmul(u),
                          TensorNear(at::eye(rank, at::kDouble)
                                         .expand({u.size(0), rank, rank}),
                                     1e-13));
              EXPECT_THAT(u.mul(s.unsqueeze(1)).matmul(u.transpose(1, 2)),
                          TensorNear(dense[m], 1e-13));
              EXPECT_TRUE(s.diff().le(0).all().item<bool>());
            }
            return absl::OkStatus();
          }));
      INFLUENCE_EXPECT_OK(status);
    }
  }
}

TEST(SharedEigendecompositionTest, AStackIsDecomposedMatrixByMatrix) {
  const at::Tensor values = SeededNormal({4, 5, 5}, at::kDouble, 9);
  std::vector<SymmetricMatrix> stack(1);
  stack[0] = {"stack", values.add(values.transpose(1, 2))};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto found, EigendecomposeTogether(stack, *SingleProcess()));
  for (int64_t h = 0; h < 4; ++h) {
    ExpectDecompositions({{"one", stack[0].values[h]}},
                         {{found[0].eigenvalues[h], found[0].eigenvectors[h]}});
  }
}

}  // namespace
}  // namespace influence
