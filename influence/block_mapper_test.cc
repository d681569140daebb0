// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "influence/block_mapper.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/one_hot.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/direct_inverse.h"
#include "operators/identity_operator.h"
#include "operators/operator.h"
#include "operators/problem_testing.h"
#include "operators/solve_report.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kTolerance = 1e-12;

std::vector<std::string> Names(const TensorMap& map) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : map) names.push_back(name);
  return names;
}

// I, by as many iterations as its right-hand side has a number.
class IteratingOperator : public Operator {
 public:
  explicit IteratingOperator(int64_t size) : size_(size) {}

  int64_t input_size() const override { return size_; }

 protected:
  absl::StatusOr<at::Tensor> DoApply(const at::Tensor& matrix) const override {
    return matrix.clone();
  }

  absl::StatusOr<at::Tensor> DoApplyWithReports(
      const at::Tensor& matrix,
      std::vector<SolveReport>* reports) const override {
    for (int64_t k = 0; k < matrix.size(0); ++k) {
      reports->push_back({SolveOutcome::kIterationLimit, k, 0.5});
    }
    return matrix.clone();
  }

 private:
  int64_t size_;
};

// Two blocks in another order than the model's, one parameter left out.
class BlockMapperTest : public testing::Test {
 protected:
  void SetUp() override {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(provider_, AutogradGradientProvider::Create(
                                                  model_, CrossEntropyLoss()));
    query_provider_ = provider_->WithFunction(LogitFunction());
    const std::vector<std::vector<int64_t>> indices = {{3, 2}, {0}};
    for (const std::vector<int64_t>& block : indices) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(auto part, provider_->Restrict(block));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(auto query_part,
                                     query_provider_->Restrict(block));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          std::shared_ptr<const Operator> op,
          DirectInverse::Create(DenseGaussNewton(*part, right_), {0.1}));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor left,
                                     query_part->FlatGrads(left_));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor factors, op->Apply(left));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor grads, part->FlatGrads(right_));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor mixed,
                                     part->FlatMixedGrads(right_));
      operators_.push_back(op);
      factors_.push_back(factors);
      up_.push_back(factors.matmul(grads.t()));
      perturbation_.push_back(at::einsum("mp,nxp->mnx", {factors, mixed}));
    }
  }

  ParameterBlocks Blocks() const {
    return *ParameterBlocks::CreateCustom(
        *model_, {{"last", {"2.bias", "2.weight"}}, {"first", {"0.weight"}}});
  }

  BlockMapper Mapper() const {
    return *BlockMapper::Create(Blocks(), operators_, provider_,
                                query_provider_);
  }

  const std::vector<at::Tensor>& Expected(InfluenceMode mode) const {
    return mode == InfluenceMode::kUp ? up_ : perturbation_;
  }

  void ExpectByBlock(const TensorMap& map,
                     const std::vector<at::Tensor>& expected) const {
    EXPECT_THAT(Names(map), ElementsAre("last", "first"));
    size_t b = 0;
    for (const auto& [name, tensor] : map) {
      EXPECT_THAT(tensor, TensorNear(expected[b++], kTolerance)) << name;
    }
  }

  std::shared_ptr<const Model> model_ = TanhMlp({3, 4, 2}, at::kDouble, 1);
  std::shared_ptr<const GradientProvider> provider_;
  std::shared_ptr<const GradientProvider> query_provider_;
  Batch left_ = SeededClassification(3, 3, 2, at::kDouble, 7);
  Batch right_ = SeededClassification(5, 3, 2, at::kDouble, 8);
  std::vector<std::shared_ptr<const Operator>> operators_;
  std::vector<at::Tensor> factors_;       // By block, as all below.
  std::vector<at::Tensor> up_;            // [3, 5]
  std::vector<at::Tensor> perturbation_;  // [3, 5, 3]
};

TEST_F(BlockMapperTest, MapsOverTheBlocksInTheirOrder) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap transformed,
                                 Mapper().TransformedGrads(left_));
  ExpectByBlock(transformed, factors_);
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    SCOPED_TRACE(InfluenceModeName(mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap interactions,
                                   Mapper().Interactions(left_, right_, mode));
    ExpectByBlock(interactions, Expected(mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        interactions,
        Mapper().InteractionsFromTransformedGrads(transformed, right_, mode));
    ExpectByBlock(interactions, Expected(mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(interactions,
                                   Mapper().InteractionsFromTransformedGrads(
                                       at::cat(factors_, 1), right_, mode));
    ExpectByBlock(interactions, Expected(mode));
  }
}

TEST_F(BlockMapperTest, SumsEqualTheSumsOfTheBlocks) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor flat,
                                 Mapper().FlatTransformedGrads(left_));
  EXPECT_THAT(flat, TensorNear(at::cat(factors_, 1), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, Mapper().PrepareQueries(left_));
  EXPECT_EQ(prepared->num_queries(), 3);
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    SCOPED_TRACE(InfluenceModeName(mode));
    const at::Tensor expected = Expected(mode)[0].add(Expected(mode)[1]);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor sum, Mapper().SummedInteractions(left_, right_, mode));
    EXPECT_THAT(sum, TensorNear(expected, kTolerance));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        sum,
        Mapper().SummedInteractionsFromTransformedGrads(flat, right_, mode));
    EXPECT_THAT(sum, TensorNear(expected, kTolerance));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(sum, prepared->Influences(right_, mode));
    EXPECT_THAT(sum, TensorNear(expected, kTolerance));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap by_block,
                                   prepared->InfluencesByBlock(right_, mode));
    ExpectByBlock(by_block, Expected(mode));
  }
}

TEST_F(BlockMapperTest, RightBatchLeftOutIsTheLeftOne) {
  for (const InfluenceMode mode :
       {InfluenceMode::kUp, InfluenceMode::kPerturbation}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor expected, Mapper().SummedInteractions(left_, left_, mode));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor sum, Mapper().SummedInteractions(left_, std::nullopt, mode));
    EXPECT_THAT(sum, TensorNear(expected, kTolerance));
  }
}

TEST_F(BlockMapperTest, LazySequencesGiveOneBlockAfterTheOther) {
  LazyBlockSequence sequence =
      Mapper().GenerateInteractions(left_, right_, InfluenceMode::kUp);
  for (size_t b = 0; b < 2; ++b) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto entry, sequence.Next());
    ASSERT_TRUE(entry.has_value());
    EXPECT_EQ(entry->first, b == 0 ? "last" : "first");
    EXPECT_THAT(entry->second, TensorNear(up_[b], kTolerance));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto end, sequence.Next());
  EXPECT_FALSE(end.has_value());
}

// A model that counts its forward passes.
TEST_F(BlockMapperTest, NothingRunsBeforeNextAndOnePassServesAllBlocks) {
  int passes = 0;
  const at::Tensor v = ParameterLike(SeededNormal({4, 3}, at::kDouble, 1));
  const at::Tensor w = ParameterLike(SeededNormal({2, 4}, at::kDouble, 2));
  const auto model = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"v", v}, {"w", w}},
      [v, w, &passes](const std::vector<at::Tensor>& x) {
        ++passes;
        return x[0].matmul(v.t()).tanh().matmul(w.t());
      });
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      auto provider,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      BlockMapper mapper,
      BlockMapper::Create(
          ParameterBlocks::Create(*model, BlockStructure::kParameter),
          {std::make_shared<IdentityOperator>(12),
           std::make_shared<IdentityOperator>(8)},
          provider));
  passes = 0;
  LazyBlockSequence sequence =
      mapper.GenerateInteractions(left_, right_, InfluenceMode::kUp);
  EXPECT_EQ(passes, 0);
  INFLUENCE_EXPECT_OK(sequence.Next());
  // The plain provider runs sample by sample.
  EXPECT_EQ(passes, left_.size() + right_.size());
  INFLUENCE_EXPECT_OK(sequence.Next());
  EXPECT_EQ(passes, left_.size() + right_.size());
}

// Softmax regression whose gradients, (softmax - onehot) x^T, are kept as
// factors that tell when they are written out.
class TellTaleProvider : public GradientProvider {
 public:
  TellTaleProvider(std::shared_ptr<const Model> model, int64_t* rows_written)
      : GradientProvider(std::move(model), CrossEntropyLoss()),
        rows_written_(rows_written) {}

 protected:
  absl::StatusOr<FactoredGradients> DoFactoredGrads(
      const Batch& batch) const override {
    const NamedParameter& w = model().parameters()[0];
    at::Tensor left = batch.x[0].matmul(w.tensor.detach().t()).softmax(1);
    left.sub_(at::one_hot(batch.y, left.size(1)));
    const int64_t n = batch.size();
    return FactoredGradients(
        n, model().dtype(),
        {{w.name,
          w.tensor.numel(),
          {std::make_shared<const TellTaleTerm>(left.view({n, 1, 1, -1}),
                                                batch.x[0].view({n, 1, 1, -1}),
                                                rows_written_)}}});
  }

  std::shared_ptr<GradientProvider> Clone() const override {
    return std::make_shared<TellTaleProvider>(*this);
  }

 private:
  class TellTaleTerm : public OuterProductTerm {
   public:
    TellTaleTerm(at::Tensor left, at::Tensor right, int64_t* rows_written)
        : OuterProductTerm(0, std::move(left), std::move(right)),
          rows_written_(rows_written) {}

    void Write(int64_t begin, int64_t end, bool accumulate,
               const at::Tensor& out) const override {
      *rows_written_ += end - begin;
      OuterProductTerm::Write(begin, end, accumulate, out);
    }

   private:
    int64_t* rows_written_;
  };

  int64_t* rows_written_;  // Borrowed.
};

TEST_F(BlockMapperTest, NeverWritesOutTheTrainingGradients) {
  // Wide enough for products of factors to be the cheaper way.
  const auto model = TanhMlp({12, 8}, at::kDouble, 1, /*bias=*/false);
  const Batch left = SeededClassification(3, 12, 8, at::kDouble, 7);
  const Batch right = SeededClassification(5, 12, 8, at::kDouble, 8);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const GradientProvider> plain,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  int64_t rows_written = 0;
  const auto telltale =
      std::make_shared<const TellTaleProvider>(model, &rows_written);
  const auto blocks = ParameterBlocks::Create(*model, BlockStructure::kFull);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const Operator> inverse,
      DirectInverse::Create(DenseGaussNewton(*plain, right), {0.1}));
  const std::shared_ptr<const Operator> identity =
      std::make_shared<const IdentityOperator>(96);
  for (const auto& op : {identity, inverse}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(BlockMapper reference,
                                   BlockMapper::Create(blocks, {op}, plain));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(BlockMapper mapper,
                                   BlockMapper::Create(blocks, {op}, telltale));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor expected,
        reference.SummedInteractions(left, right, InfluenceMode::kUp));
    rows_written = 0;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        at::Tensor scores,
        mapper.SummedInteractions(left, right, InfluenceMode::kUp));
    EXPECT_THAT(scores, TensorNear(expected, kTolerance));
    // The identity keeps even the queries' as factors.
    EXPECT_EQ(rows_written, op == identity ? 0 : left.size());
  }
}

TEST_F(BlockMapperTest, ReportsTheBlocksWhoseOperatorIterates) {
  const ParameterBlocks blocks = Blocks();
  const int64_t size = blocks.blocks()[1].size;
  operators_[1] = std::make_shared<const IteratingOperator>(size);
  const BlockMapper mapper = Mapper();
  const auto expect_reports =
      [](const std::vector<BlockSolveReports>& by_block) {
        ASSERT_EQ(by_block.size(), 1);
        EXPECT_EQ(by_block[0].block, "first");
        ASSERT_EQ(by_block[0].reports.size(), 3);
        EXPECT_EQ(by_block[0].reports[1].outcome,
                  SolveOutcome::kIterationLimit);
        EXPECT_EQ(by_block[0].reports[1].iterations, 1);
        EXPECT_EQ(by_block[0].reports[1].relative_residual, 0.5);
      };
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto prepared, mapper.PrepareQueries(left_));
  expect_reports(prepared->solve_reports());
  std::vector<BlockSolveReports> reports(3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      TensorMap factors, mapper.TransformedGradsWithReports(left_, &reports));
  expect_reports(reports);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(TensorMap expected,
                                 mapper.TransformedGrads(left_));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor first, factors.Find("first"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor expected_first,
                                 expected.Find("first"));
  EXPECT_THAT(first, TensorNear(expected_first, 0));
}

TEST_F(BlockMapperTest, SelfInteractionsAreTheDiagonal) {
  // The query side differs from the training side.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor all,
      Mapper().SummedInteractions(right_, right_, InfluenceMode::kUp));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor self,
                                 Mapper().SelfInteractions(right_));
  EXPECT_THAT(self, TensorNear(all.diagonal(), kTolerance));

  // Both sides the same, and an operator that iterates.
  const std::vector<std::shared_ptr<const Operator>> identity = {
      std::make_shared<IteratingOperator>(operators_[0]->input_size()),
      std::make_shared<IdentityOperator>(operators_[1]->input_size())};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const BlockMapper mapper,
      BlockMapper::Create(Blocks(), identity, provider_));
  std::vector<BlockSolveReports> reports(3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor norms,
                                 mapper.SelfInteractions(left_, &reports));
  at::Tensor expected = at::zeros({left_.size()}, at::kDouble);
  for (const std::vector<int64_t>& block :
       std::vector<std::vector<int64_t>>{{3, 2}, {0}}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto part, provider_->Restrict(block));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor grads,
                                   part->FlatGrads(left_));
    expected.add_(grads.square().sum(1));
  }
  EXPECT_THAT(norms, TensorNear(expected, kTolerance));
  ASSERT_EQ(reports.size(), 1);
  EXPECT_EQ(reports[0].block, "last");
  EXPECT_EQ(reports[0].reports.size(), left_.size());
}

TEST_F(BlockMapperTest, AnErrorEndsASequence) {
  LazyBlockSequence sequence(
      3, [](size_t block) -> absl::StatusOr<TensorMap::Entry> {
        if (block == 1) return absl::DataLossError("lost");
        return TensorMap::Entry{"a", at::zeros({1})};
      });
  INFLUENCE_EXPECT_OK(sequence.Next());
  EXPECT_THAT(sequence.Next(), StatusIs(absl::StatusCode::kDataLoss, "lost"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto end, sequence.Next());
  EXPECT_FALSE(end.has_value());
}

TEST_F(BlockMapperTest, GivesTheOperatorsAndTheCompositionOfABlock) {
  EXPECT_EQ(Mapper().operators(), operators_);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(auto first, Mapper().composition("first"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      at::Tensor scores, first.Interactions(left_, right_, InfluenceMode::kUp));
  EXPECT_THAT(scores, TensorNear(up_[1], kTolerance));
  EXPECT_THAT(Mapper().composition("second"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("second"), HasSubstr("last, first"))));
}

TEST_F(BlockMapperTest, NamesFactorsThatDoNotFit) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Mapper().SummedInteractionsFromTransformedGrads(
                  at::zeros({3, 26}, at::kDouble), right_, InfluenceMode::kUp),
              StatusIs(invalid, AllOf(HasSubstr("26"), HasSubstr("22"))));
  TensorMap missing;
  INFLUENCE_ASSERT_OK(missing.Insert("first", factors_[1]));
  EXPECT_THAT(Mapper().InteractionsFromTransformedGrads(missing, right_,
                                                        InfluenceMode::kUp),
              StatusIs(invalid, HasSubstr("last")));
  TensorMap unknown;
  INFLUENCE_ASSERT_OK(unknown.Insert("last", factors_[0]));
  INFLUENCE_ASSERT_OK(unknown.Insert("first", factors_[1]));
  INFLUENCE_ASSERT_OK(unknown.Insert("second", factors_[1]));
  EXPECT_THAT(Mapper().InteractionsFromTransformedGrads(unknown, right_,
                                                        InfluenceMode::kUp),
              StatusIs(invalid, HasSubstr("second")));
  TensorMap missized;
  INFLUENCE_ASSERT_OK(missized.Insert("last", factors_[1]));
  INFLUENCE_ASSERT_OK(missized.Insert("first", factors_[1]));
  EXPECT_THAT(Mapper().InteractionsFromTransformedGrads(missized, right_,
                                                        InfluenceMode::kUp),
              StatusIs(invalid, AllOf(HasSubstr("block last"), HasSubstr("12"),
                                      HasSubstr("10"))));
}

TEST_F(BlockMapperTest, RefusesOperatorsThatDoNotFit) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(
      BlockMapper::Create(Blocks(), {operators_[0]}, provider_),
      StatusIs(invalid, AllOf(HasSubstr("found 1"), HasSubstr("expected 2"))));
  EXPECT_THAT(
      BlockMapper::Create(Blocks(), {operators_[0], nullptr}, provider_),
      StatusIs(invalid, HasSubstr("block first")));
  EXPECT_THAT(
      BlockMapper::Create(Blocks(), {operators_[0], operators_[0]}, provider_),
      StatusIs(invalid, AllOf(HasSubstr("block first"), HasSubstr("10"),
                              HasSubstr("12"))));
  EXPECT_THAT(BlockMapper::Create(Blocks(), operators_, nullptr),
              StatusIs(invalid, HasSubstr("provider")));
}

}  // namespace
}  // namespace influence
