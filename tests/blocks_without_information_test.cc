// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Blocks whose gradients are all zero contribute nothing to a score, whatever
// the method, and the others keep the lambda of auto: against the same method
// on the model without those parameters, and against dense float64 solves.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/linalg_solve.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/relu.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/tensor_map.h"
#include "gtest/gtest.h"
#include "influence/composable_influence.h"
#include "influence/fitted_state.h"
#include "influence/regularization.h"
#include "influence/restore_influence.h"
#include "operators/curvature.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"
#include "tests/support/influence_method.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kRemark[] = "all gradients are zero: contributes nothing";

using Function = FunctionModel::Function;
using Parameters = std::vector<NamedParameter>;

// A model, what it is without the parameters that have no information, and the
// names of the layers that these are all of.
struct Situation {
  std::string name;
  std::shared_ptr<const Model> model;
  std::shared_ptr<const Model> reduced;
  std::vector<std::string> empty_layers;
  at::ScalarType dtype = at::kDouble;
};

at::Tensor Weight(const std::vector<int64_t>& shape, uint64_t seed,
                  at::ScalarType dtype = at::kDouble) {
  return ParameterLike(SeededNormal(shape, dtype, seed).mul(0.7));
}

at::Tensor Zeros(at::IntArrayRef shape) {
  return ParameterLike(at::zeros(shape, at::kDouble));
}

std::shared_ptr<const Model> MakeModel(const Parameters& parameters,
                                       const Function& function) {
  return std::make_shared<const FunctionModel>(parameters, function);
}

// A head that the output does not depend on.
Situation UnusedHead(at::ScalarType dtype = at::kDouble) {
  const at::Tensor a = Weight({5, 4}, 1, dtype), ab = Weight({5}, 2, dtype);
  const at::Tensor aux = Weight({7, 5}, 3, dtype), auxb = Weight({7}, 4, dtype);
  const at::Tensor h = Weight({3, 5}, 5, dtype), hb = Weight({3}, 6, dtype);
  const Function f = [=](const std::vector<at::Tensor>& x) {
    return at::linear(at::tanh(at::linear(x[0], a, ab)), h, hb);
  };
  const Parameters used = {
      {"a.weight", a}, {"a.bias", ab}, {"h.weight", h}, {"h.bias", hb}};
  Parameters all = used;
  all.insert(all.begin() + 2, {{"aux.weight", aux}, {"aux.bias", auxb}});
  return {dtype == at::kDouble ? "unused head" : "unused head in float32",
          MakeModel(all, f),
          MakeModel(used, f),
          {"aux"},
          dtype};
}

// One that is computed and multiplied with zero.
Situation ZeroedHead() {
  const at::Tensor a = Weight({5, 4}, 1), ab = Weight({5}, 2);
  const at::Tensor aux = Weight({3, 5}, 3), auxb = Weight({3}, 4);
  const at::Tensor h = Weight({3, 5}, 5), hb = Weight({3}, 6);
  const Function f = [=](const std::vector<at::Tensor>& x) {
    const at::Tensor hidden = at::tanh(at::linear(x[0], a, ab));
    return at::linear(hidden, h, hb)
        .add(at::linear(hidden, aux, auxb).mul(0.0));
  };
  const Parameters used = {
      {"a.weight", a}, {"a.bias", ab}, {"h.weight", h}, {"h.bias", hb}};
  Parameters all = used;
  all.insert(all.end(), {{"aux.weight", aux}, {"aux.bias", auxb}});
  return {"head times zero", MakeModel(all, f), MakeModel(used, f), {"aux"}};
}

// y = W x + B A x with B = 0, as at the start of training.
Situation LoraAtInitialisation() {
  const at::Tensor frozen = SeededNormal({5, 4}, at::kDouble, 1);
  const at::Tensor a = Weight({2, 4}, 2);
  const at::Tensor b = Zeros({5, 2});
  const at::Tensor h = Weight({3, 5}, 3), hb = Weight({3}, 4);
  const Function f = [=](const std::vector<at::Tensor>& x) {
    return at::linear(
        at::tanh(
            at::linear(x[0], frozen).add(at::linear(at::linear(x[0], a), b))),
        h, hb);
  };
  const Parameters used = {
      {"lora_b.weight", b}, {"h.weight", h}, {"h.bias", hb}};
  Parameters all = used;
  all.insert(all.begin(), {"lora_a.weight", a});
  return {"LoRA at initialisation",
          MakeModel(all, f),
          MakeModel(used, f),
          {"lora_a"}};
}

// A branch whose units are never active: nothing reaches fc1, and of fc2 the
// bias alone has gradients.
Situation DeadReluLayer() {
  const at::Tensor w1 = Weight({6, 4}, 1);
  const at::Tensor b1 = ParameterLike(at::zeros({6}, at::kDouble).sub(100));
  const at::Tensor w2 = Weight({3, 6}, 3), b2 = Weight({3}, 4);
  const at::Tensor h = Weight({3, 4}, 5);
  const Function f = [=](const std::vector<at::Tensor>& x) {
    return at::linear(at::relu(at::linear(x[0], w1, b1)), w2, b2)
        .add(at::linear(x[0], h));
  };
  const Parameters used = {
      {"fc2.weight", w2}, {"fc2.bias", b2}, {"h.weight", h}};
  Parameters all = used;
  all.insert(all.begin(), {{"fc1.weight", w1}, {"fc1.bias", b1}});
  return {"dead ReLU layer", MakeModel(all, f), MakeModel(used, f), {"fc1"}};
}

// A number that is added to all classes: its gradient is what rounding leaves
// of a sum that is zero.
Situation ShiftOfAllClasses() {
  const at::Tensor w = Weight({3, 4}, 1), b = Weight({3}, 2);
  const at::Tensor shift = ParameterLike(at::zeros({1}, at::kDouble).add(0.3));
  const at::Tensor constant = shift.detach().clone();
  const auto f = [=](const at::Tensor& s) {
    return [=](const std::vector<at::Tensor>& x) {
      return at::linear(x[0], w, b).add(s);
    };
  };
  const Parameters used = {{"h.weight", w}, {"h.bias", b}};
  Parameters all = used;
  all.insert(all.begin(), {"shift.value", shift});
  return {"shift of all classes",
          MakeModel(all, f(shift)),
          MakeModel(used, f(constant)),
          {"shift"}};
}

std::vector<Situation> Situations() {
  return {UnusedHead(), ZeroedHead(), LoraAtInitialisation(), DeadReluLayer(),
          ShiftOfAllClasses()};
}

Batch TrainBatch(at::ScalarType dtype = at::kDouble) {
  return SeededClassification(12, 4, 3, dtype, 21);
}
Batch TestBatch(at::ScalarType dtype = at::kDouble) {
  return SeededClassification(3, 4, 3, dtype, 22);
}

std::shared_ptr<const BatchSequence> Data(const Batch& batch) {
  return std::make_shared<const TensorBatchSequence>(
      *TensorBatchSequence::Create(batch, 100));
}

absl::StatusOr<std::shared_ptr<const GradientProvider>> Provider(
    const std::shared_ptr<const Model>& model) {
  at::set_num_threads(1);
  return CapturingGradientProvider::Create(model, CrossEntropyLoss(),
                                           TrainBatch(model->dtype()));
}

absl::StatusOr<std::unique_ptr<ComposableInfluence>> Fit(
    const InfluenceMethod& method, const std::shared_ptr<const Model>& model) {
  INFLUENCE_ASSIGN_OR_RETURN(auto provider, Provider(model));
  INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<ComposableInfluence> influence,
                             CreateInfluence(method, provider));
  INFLUENCE_RETURN_IF_ERROR(influence->Fit(Data(TrainBatch(model->dtype()))));
  return influence;
}

at::Tensor Scores(const ComposableInfluence& influence) {
  const at::ScalarType dtype = influence.provider().model().dtype();
  const auto scores = influence.Influences(TestBatch(dtype), TrainBatch(dtype));
  EXPECT_THAT(scores, IsOk());
  return scores.ok() ? *scores : at::Tensor();
}

const std::vector<std::string>& Methods() {
  static const auto* methods = new std::vector<std::string>{
      "direct", "cg", "lissa", "arnoldi", "nystroem", "kfac", "ekfac", "ihm"};
  return *methods;
}

InfluenceMethod Method(const std::string& name, BlockStructure structure) {
  InfluenceMethod method;
  method.method = name;
  method.structure = structure;
  return method;
}

// S = sum over blocks of G_test (C_b + lambda_b I)^-1 G_train^T, where the
// block has information.
at::Tensor DenseScores(const Situation& situation, BlockStructure structure,
                       const std::vector<std::string>& empty) {
  const auto provider =
      AutogradGradientProvider::Create(situation.model, CrossEntropyLoss());
  EXPECT_THAT(provider, IsOk());
  const at::Tensor left = *(*provider)->FlatGrads(TestBatch());
  const at::Tensor right = *(*provider)->FlatGrads(TrainBatch());
  at::Tensor scores = at::zeros({left.size(0), right.size(0)}, at::kDouble);
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*situation.model, structure);
  for (const ParameterBlock& block : blocks.blocks()) {
    if (std::find(empty.begin(), empty.end(), block.name) != empty.end()) {
      continue;
    }
    const auto cut = [&](const at::Tensor& t) {
      return t.narrow(1, block.offset, block.size);
    };
    const at::Tensor g = cut(right);
    const at::Tensor c = g.t().matmul(g).div(static_cast<double>(g.size(0)));
    const double lambda = 0.1 * c.diagonal().mean().item<double>();
    scores.add_(cut(left).matmul(at::linalg_solve(
        c.add(at::eye(block.size, at::kDouble), lambda), g.t())));
  }
  return scores;
}

TEST(BlocksWithoutInformationTest, ContributeNothingByLayer) {
  for (const Situation& situation : Situations()) {
    for (const std::string& name : Methods()) {
      SCOPED_TRACE(situation.name + ", " + name);
      const InfluenceMethod method = Method(name, BlockStructure::kLayer);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                     Fit(method, situation.model));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto reduced,
                                     Fit(method, situation.reduced));
      const at::Tensor expected = Scores(*reduced);
      const double scale = expected.abs().max().item<double>();
      ASSERT_GT(scale, 0);
      EXPECT_THAT(Scores(*influence), TensorNear(expected, 1e-8 * scale));
      for (const BlockReport& block : influence->report()) {
        const bool is_empty = block.block == situation.empty_layers[0];
        if (is_empty) {
          EXPECT_THAT(block.remarks, Contains(std::string(kRemark)));
        } else {
          EXPECT_THAT(block.remarks, Not(Contains(std::string(kRemark))));
        }
        EXPECT_GT(*block.regularization, 0);
      }
      // By block it is nothing too, to the last bit where gradients are zero.
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const TensorMap by_block,
          influence->InfluencesByBlock(TestBatch(), TrainBatch()));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor part,
                                     by_block.Find(situation.empty_layers[0]));
      EXPECT_LE(part.abs().max().item<double>(),
                situation.name == "shift of all classes" ? 1e-20 * scale : 0);
    }
  }
}

TEST(BlocksWithoutInformationTest, EqualDenseSolvesByLayerAndByParameter) {
  const std::vector<std::pair<Situation, std::vector<std::string>>> cases = {
      {UnusedHead(), {"aux", "aux.weight", "aux.bias"}},
      {ZeroedHead(), {"aux", "aux.weight", "aux.bias"}},
      {LoraAtInitialisation(), {"lora_a", "lora_a.weight"}},
      {DeadReluLayer(), {"fc1", "fc1.weight", "fc1.bias", "fc2.weight"}},
      {ShiftOfAllClasses(), {"shift", "shift.value"}}};
  for (const auto& [situation, empty] : cases) {
    for (const BlockStructure structure :
         {BlockStructure::kLayer, BlockStructure::kParameter}) {
      const at::Tensor expected = DenseScores(situation, structure, empty);
      const double scale = expected.abs().max().item<double>();
      for (const std::string name :
           {"direct", "cg", "lissa", "arnoldi", "nystroem"}) {
        for (const bool forms : {true, false}) {
          SCOPED_TRACE(situation.name + ", " + name);
          InfluenceMethod method = Method(name, structure);
          method.forms_curvature = forms;
          INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                         Fit(method, situation.model));
          EXPECT_THAT(Scores(*influence), TensorNear(expected, 1e-7 * scale));
        }
      }
    }
  }
}

TEST(BlocksWithoutInformationTest, FullStructureAndSecondDerivativesRun) {
  for (const Situation& situation : Situations()) {
    for (const std::string name : {"direct", "cg", "arnoldi"}) {
      for (const Curvature curvature :
           {Curvature::kGeneralizedGaussNewton, Curvature::kHessian}) {
        // Conjugate gradients have no answer where the Hessian is
        // negative along a query's gradient.
        if (name == "cg" && curvature == Curvature::kHessian) continue;
        for (const BlockStructure structure :
             {BlockStructure::kFull, BlockStructure::kLayer}) {
          SCOPED_TRACE(situation.name + ", " + name);
          InfluenceMethod method = Method(name, structure);
          method.curvature = curvature;
          INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                         Fit(method, situation.model));
          EXPECT_TRUE(Scores(*influence).isfinite().all().item<bool>());
        }
      }
    }
  }
}

TEST(BlocksWithoutInformationTest, Float32AndPreconditionersRun) {
  const Situation situation = UnusedHead(at::kFloat);
  for (const std::string& name : Methods()) {
    for (const std::string preconditioner : {"none", "jacobi", "nystroem"}) {
      if (name != "cg" && preconditioner != "none") continue;
      SCOPED_TRACE(name + " " + preconditioner);
      InfluenceMethod method = Method(name, BlockStructure::kLayer);
      method.preconditioner = preconditioner;
      method.relative_tolerance = 1e-6;
      if (preconditioner == "nystroem") method.rank = 4;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence,
                                     Fit(method, situation.model));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto reduced,
                                     Fit(method, situation.reduced));
      const at::Tensor expected = Scores(*reduced);
      EXPECT_THAT(
          Scores(*influence),
          TensorNear(expected, 1e-3 * expected.abs().max().item<double>()));
    }
  }
}

TEST(BlocksWithoutInformationTest, SurviveStoringAndOtherValues) {
  const Situation situation = LoraAtInitialisation();
  for (const std::string& name : Methods()) {
    SCOPED_TRACE(name);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto influence,
        Fit(Method(name, BlockStructure::kLayer), situation.model));
    const at::Tensor expected = Scores(*influence);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const FittedState state,
                                   influence->ExportState());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(auto provider, Provider(situation.model));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto restored,
        RestoreInfluence(state, provider, Data(TrainBatch())));
    EXPECT_THAT(Scores(*restored), TensorNear(expected, 1e-12));
    EXPECT_THAT(restored->report()[0].remarks, Contains(std::string(kRemark)));

    // Another value and back to auto; one for the block without information.
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Regularization constant,
                                   Regularization::Constant(0.3));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto other,
                                   restored->WithRegularization(constant));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const auto again, other->WithRegularization(Regularization::Auto()));
    EXPECT_THAT(Scores(*again), TensorNear(expected, 1e-9));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const Regularization by_block,
        Regularization::Parse("lora_a=7,lora_b=0.3,h=0.3"));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto given,
                                   influence->WithRegularization(by_block));
    EXPECT_THAT(Scores(*given), TensorNear(Scores(*other), 1e-9));
  }
}

TEST(BlocksWithoutInformationTest, AllOfThemIsOneClearError) {
  const at::Tensor w = Weight({3, 4}, 1);
  const at::Tensor constant = SeededNormal({3, 4}, at::kDouble, 2);
  const auto model =
      MakeModel({{"w.weight", w}}, [=](const std::vector<at::Tensor>& x) {
        return at::linear(x[0], constant).add(at::linear(x[0], w).mul(0.0));
      });
  for (const std::string& name : Methods()) {
    SCOPED_TRACE(name);
    EXPECT_THAT(
        Fit(Method(name, BlockStructure::kLayer), model).status(),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 HasSubstr("the gradients of all training samples are zero")));
    InfluenceMethod given = Method(name, BlockStructure::kLayer);
    given.regularization = *Regularization::Constant(0.5);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto influence, Fit(given, model));
    EXPECT_EQ(Scores(*influence).abs().max().item<double>(), 0);
  }
}

}  // namespace
}  // namespace influence
