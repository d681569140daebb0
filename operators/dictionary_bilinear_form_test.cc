// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/dictionary_bilinear_form.h"

#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/einsum.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "operators/identity_operator.h"
#include "operators/problem_testing.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::shared_ptr<const BilinearForm> Euclidean(int64_t size) {
  return IdentityOperator(size).AsBilinearForm();
}

DictionaryBilinearForm TwoBlocks() {
  return *DictionaryBilinearForm::Create(
      {{"a", Euclidean(2)}, {"b", Euclidean(3)}});
}

TensorMap Map(std::vector<TensorMap::Entry> entries) {
  TensorMap map;
  for (auto& [name, tensor] : entries) {
    EXPECT_THAT(map.Insert(name, tensor), IsOk());
  }
  return map;
}

at::Tensor Normal(std::vector<int64_t> shape, uint64_t seed) {
  return SeededNormal(std::move(shape), at::kDouble, seed);
}

TEST(DictionaryBilinearFormTest, SumsOverBlocksWhateverTheOrderOfEntries) {
  const at::Tensor la = Normal({4, 2}, 1);
  const at::Tensor lb = Normal({4, 3}, 2);
  const at::Tensor ra = Normal({5, 6, 2}, 3);
  const at::Tensor rb = Normal({5, 6, 3}, 4);
  const at::Tensor a = at::einsum("nd,mxd->nmx", {la, ra});
  const at::Tensor b = at::einsum("nd,mxd->nmx", {lb, rb});
  const TensorMap left = Map({{"a", la}, {"b", lb}});
  const TensorMap right = Map({{"b", rb}, {"a", ra}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor sum,
                                 TwoBlocks().InnerProd(left, right));
  EXPECT_THAT(sum, TensorNear(a.add(b), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap by_block,
                                 TwoBlocks().InnerProdByBlock(left, right));
  std::vector<std::string> names;
  for (const auto& [name, tensor] : by_block) names.push_back(name);
  EXPECT_THAT(names, testing::ElementsAre("a", "b"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor entry, by_block.Find("b"));
  EXPECT_THAT(entry, TensorNear(b, 1e-14));
}

TEST(DictionaryBilinearFormTest, RightSideLeftOutIsTheLeftOne) {
  const TensorMap left =
      Map({{"a", Normal({4, 2}, 1)}, {"b", Normal({4, 3}, 2)}});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected,
                                 TwoBlocks().InnerProd(left, left));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor sum, TwoBlocks().InnerProd(left));
  EXPECT_THAT(sum, TensorNear(expected, 0));
}

TEST(DictionaryBilinearFormTest, NamesBlocksThatDoNotFit) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const at::Tensor a = Normal({4, 2}, 1);
  const at::Tensor b = Normal({4, 3}, 2);
  const TensorMap good = Map({{"a", a}, {"b", b}});
  EXPECT_THAT(
      TwoBlocks().InnerProd(Map({{"a", a}})),
      StatusIs(invalid, AllOf(HasSubstr("left"), HasSubstr("no block b"))));
  EXPECT_THAT(TwoBlocks().InnerProd(good, Map({{"a", a}, {"b", b}, {"c", b}})),
              StatusIs(invalid, AllOf(HasSubstr("right"),
                                      HasSubstr("unknown block c"))));
  EXPECT_THAT(TwoBlocks().InnerProd(Map({{"a", a}, {"b", a}})),
              StatusIs(invalid, AllOf(HasSubstr("block b"), HasSubstr("2"),
                                      HasSubstr("expected 3"))));
  // One left row would be broadcast over four.
  EXPECT_THAT(
      TwoBlocks().InnerProd(Map({{"a", a}, {"b", Normal({1, 3}, 3)}}), good),
      StatusIs(invalid, HasSubstr("block b")));
}

TEST(DictionaryBilinearFormTest, RefusesBadBlocks) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(DictionaryBilinearForm::Create({}),
              StatusIs(invalid, HasSubstr("found none")));
  EXPECT_THAT(DictionaryBilinearForm::Create({{"a", nullptr}}),
              StatusIs(invalid, HasSubstr("block a")));
  EXPECT_THAT(DictionaryBilinearForm::Create(
                  {{"a", Euclidean(2)}, {"a", Euclidean(2)}}),
              StatusIs(invalid, HasSubstr("a twice")));
}

}  // namespace
}  // namespace influence
