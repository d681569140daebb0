// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/gradient_provider.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/sin.h"
#include "ATen/ops/sqrt.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_term.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/csrc/autograd/custom_function.h"

namespace influence {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

at::Tensor Numbers(at::IntArrayRef shape, double step) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return at::sin(at::arange(1, size + 1, at::kDouble).mul(step)).reshape(shape);
}

// Two inputs, [N, 3] and [N, 2] -> [N, 2]; P = 6 + 2 + 4.
std::shared_ptr<const Model> TwoInputModel() {
  const at::Tensor w = ParameterLike(Numbers({3, 2}, 1.1));
  const at::Tensor b = ParameterLike(Numbers({2}, 2.3));
  const at::Tensor v = ParameterLike(Numbers({2, 2}, 0.4));
  return std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"w", w}, {"b", b}, {"v", v}},
      [w, b, v](const std::vector<at::Tensor>& x) {
        return at::tanh(x[0].mm(w).add(b)).mul(at::tanh(x[1].mm(v)));
      });
}

Batch SmallBatch(int64_t num_samples = 4) {
  return {{Numbers({num_samples, 3}, 0.7), Numbers({num_samples, 2}, 0.6)},
          Numbers({num_samples, 2}, 0.9)};
}

std::shared_ptr<const GradientProvider> Provider(
    std::shared_ptr<const Model> model) {
  auto provider = AutogradGradientProvider::Create(std::move(model),
                                                   MeanSquaredErrorLoss());
  EXPECT_THAT(provider, IsOk());
  return *provider;
}

TEST(GradientProviderTest, JacobianProdContractsTheGradients) {
  const auto provider = Provider(TwoInputModel());
  const at::Tensor g = Numbers({3, 12}, 0.3);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor grads,
                                 provider->FlatGrads(SmallBatch()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor products,
                                 provider->JacobianProd(SmallBatch(), g));
  EXPECT_THAT(products, TensorNear(grads.mm(g.t()), 1e-14));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor vector,
                                 provider->JacobianProd(SmallBatch(), g[1]));
  EXPECT_THAT(vector, TensorNear(grads.mv(g[1]), 1e-14));
}

// The mixed derivative against central differences of the gradient in x: step
// 1e-6, so errors of about 1e-12 from the third derivative and 1e-10 from
// rounding.
at::Tensor MixedByDifferences(const GradientProvider& provider,
                              const Batch& batch, int64_t input) {
  constexpr double kStep = 1e-6;
  const at::Tensor x = batch.x[input];
  const int64_t entries = x.numel() / batch.size();
  std::vector<at::Tensor> columns;
  for (int64_t i = 0; i < entries; ++i) {
    at::Tensor step = at::zeros({batch.size(), entries}, at::kDouble);
    step.select(1, i).fill_(kStep);
    step = step.reshape(x.sizes());
    Batch above = batch;
    above.x[input] = x.add(step);
    Batch below = batch;
    below.x[input] = x.sub(step);
    columns.push_back(provider.FlatGrads(above)
                          ->sub(*provider.FlatGrads(below))
                          .div(2 * kStep)
                          .unsqueeze(1));
  }
  return at::cat(columns, 1);  // [N, n, P]
}

// Both ways: P = 12 is below N n = 12 and 20, and above N n = 3 and 2.
TEST(GradientProviderTest, MixedGradientsEqualDifferencesWhicheverWay) {
  const auto provider = Provider(TwoInputModel());
  for (const int64_t num_samples : {1, 10}) {
    const Batch batch = SmallBatch(num_samples);
    for (const int64_t input : {0, 1}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor mixed,
                                     provider->FlatMixedGrads(batch, input));
      EXPECT_THAT(
          mixed, TensorNear(MixedByDifferences(*provider, batch, input), 1e-8));
    }
  }
}

TEST(GradientProviderTest, MixedProdContractsTheMixedGradients) {
  const auto provider = Provider(TwoInputModel());
  const at::Tensor g = Numbers({3, 12}, 0.3);
  for (const int64_t input : {0, 1}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor mixed, provider->FlatMixedGrads(SmallBatch(), input));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor product,
                                   provider->MixedProd(SmallBatch(), g, input));
    EXPECT_THAT(product,
                TensorNear(mixed.matmul(g.t()).permute({2, 0, 1}), 1e-13));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor vector,
        provider->MixedProd(SmallBatch(), g[2], input));
    EXPECT_THAT(vector, TensorNear(product.narrow(0, 2, 1), 1e-15));
  }
}

TEST(GradientProviderTest, MixedProdKeepsTheShapeOfAnInput) {
  const at::Tensor w = ParameterLike(Numbers({12}, 1.1));
  const auto provider = Provider(std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w](const std::vector<at::Tensor>& x) {
        return at::tanh(x[0].reshape({-1, 12}).mul(w)).sum(1);
      }));
  const Batch batch = {{Numbers({2, 3, 4}, 0.7)}, at::zeros({2})};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor product,
      provider->MixedProd(batch, Numbers({5, 12}, 2)));
  EXPECT_EQ(product.sizes(), at::IntArrayRef({5, 2, 3, 4}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor mixed,
                                 provider->FlatMixedGrads(batch));
  EXPECT_EQ(mixed.sizes(), at::IntArrayRef({2, 12, 12}));
}

TEST(GradientProviderTest, MixedProdLeavesTheBatchAlone) {
  const at::Tensor w = ParameterLike(Numbers({3}, 1.1));
  // Works in place on its input, as ReLU(inplace=True) does.
  const auto provider = Provider(
      std::make_shared<FunctionModel>(std::vector<NamedParameter>{{"w", w}},
                                      [w](const std::vector<at::Tensor>& x) {
                                        at::Tensor input = x[0];
                                        return input.tanh_().mul(w).sum(1);
                                      }));
  const Batch batch = {{Numbers({2, 3}, 0.7)}, at::zeros({2})};
  const at::Tensor before = batch.x[0].clone();
  INFLUENCE_EXPECT_OK(
      provider->MixedProd(batch, at::ones({1, 3}, at::kDouble)));
  EXPECT_THAT(batch.x[0], TensorNear(before, 0));
  EXPECT_FALSE(batch.x[0].requires_grad());
}

TEST(GradientProviderTest, MixedGradientsOfWhatDoesNotMeetAreZero) {
  // The gradient in w does not depend on x, and v is never used.
  const at::Tensor w = ParameterLike(Numbers({2}, 1.1));
  const at::Tensor v = ParameterLike(Numbers({3}, 1.3));
  const auto model = std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"w", w}, {"v", v}},
      [w](const std::vector<at::Tensor>& x) { return x[0].add(w); });
  auto created = AutogradGradientProvider::Create(
      model, PerSampleFunction("sum", false,
                               [](const at::Tensor& output, const at::Tensor&) {
                                 return output.sum(1);
                               }));
  INFLUENCE_ASSERT_OK(created);
  const Batch batch = {{Numbers({2, 2}, 0.7)}, at::zeros({2})};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor product,
      (*created)->MixedProd(batch, at::ones({1, 5}, at::kDouble)));
  EXPECT_THAT(product, TensorNear(at::zeros({1, 2, 2}, at::kDouble), 0));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor mixed,
                                 (*created)->FlatMixedGrads(batch));
  EXPECT_THAT(mixed, TensorNear(at::zeros({2, 2, 5}, at::kDouble), 0));
}

// y = x^2 with a first derivative only.
struct OnceDifferentiable
    : public torch::autograd::Function<OnceDifferentiable> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& x) {
    context->save_for_backward({x});
    return x.mul(x);
  }
  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list grads) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "OnceDifferentiable backward has no derivative");
    return {context->get_saved_variables()[0].mul(2).mul(grads[0])};
  }
};

TEST(GradientProviderTest, AMissingSecondDerivativeNamesTheOperator) {
  const at::Tensor w = ParameterLike(Numbers({3}, 1.1));
  const auto provider = Provider(std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"w", w}},
      [w](const std::vector<at::Tensor>& x) {
        return OnceDifferentiable::apply(x[0].mul(w)).sum(1);
      }));
  const Batch batch = {{Numbers({2, 3}, 0.7)}, at::zeros({2})};
  INFLUENCE_EXPECT_OK(provider->FlatGrads(batch));
  EXPECT_THAT(provider->MixedProd(batch, at::ones({1, 3}, at::kDouble)),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(StartsWith("second derivative: "),
                             HasSubstr("OnceDifferentiable backward"))));
}

TEST(GradientProviderTest, RefusesTheInputThatIsNotThere) {
  const auto provider = Provider(TwoInputModel());
  const at::Tensor g = at::ones({1, 12}, at::kDouble);
  for (const int64_t input : {-1, 2}) {
    EXPECT_THAT(provider->MixedProd(SmallBatch(), g, input),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         StartsWith("input: found index ")));
    EXPECT_THAT(provider->FlatMixedGrads(SmallBatch(), input),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected [0, 2)")));
  }
}

TEST(GradientProviderTest, RefusesToDifferentiateInTokens) {
  const at::Tensor w = ParameterLike(Numbers({5, 2}, 1.1));
  const auto provider = Provider(
      std::make_shared<FunctionModel>(std::vector<NamedParameter>{{"w", w}},
                                      [w](const std::vector<at::Tensor>& x) {
                                        return w.index_select(0, x[0]);
                                      }));
  const Batch batch = {{at::arange(3, at::kLong)}, at::zeros({3, 2})};
  INFLUENCE_EXPECT_OK(provider->FlatGrads(batch));
  const auto refusal =
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("x0: found dtype int64, expected float32 or "
                           "float64"));
  EXPECT_THAT(provider->MixedProd(batch, at::ones({1, 10}, at::kDouble)),
              refusal);
  EXPECT_THAT(provider->FlatMixedGrads(batch), refusal);
}

TEST(GradientProviderTest, RefusesAMatrixThatDoesNotFit) {
  const auto provider = Provider(TwoInputModel());
  const auto error = [&](const at::Tensor& g) {
    const auto product = provider->JacobianProd(SmallBatch(), g);
    const auto mixed = provider->MixedProd(SmallBatch(), g);
    EXPECT_EQ(product.status(), mixed.status());
    EXPECT_EQ(product.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(product.status().message());
  };
  EXPECT_EQ(error(at::ones({2, 11}, at::kDouble)),
            "g: found last dimension 11 (shape [2, 11]), expected 12");
  EXPECT_EQ(error(at::ones({2, 12}, at::kFloat)),
            "g: found dtype float32, expected float64 as of the model");
  EXPECT_EQ(error(at::full({1, 12}, std::nan(""), at::kDouble)),
            "g: found NaN at index [0, 0], expected finite values");
}

TEST(GradientProviderTest, RefusesABadBatch) {
  const auto provider = Provider(TwoInputModel());
  Batch batch = SmallBatch();
  batch.x[1] = batch.x[1].clone();
  batch.x[1][2][0] = std::nan("");
  const auto refusal = StatusIs(
      absl::StatusCode::kInvalidArgument,
      std::string("x1: found NaN at index [2, 0], expected finite values"));
  EXPECT_THAT(provider->FlatGrads(batch), refusal);
  EXPECT_THAT(provider->MixedProd(batch, at::ones({1, 12}, at::kDouble)),
              refusal);
  EXPECT_THAT(provider->FlatMixedGrads(batch), refusal);
  batch = SmallBatch();
  batch.y = batch.y.narrow(0, 0, 3);
  EXPECT_THAT(provider->FlatGrads(batch),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("x0: found 4 samples, expected 3 as in y")));
}

TEST(GradientProviderTest, AGradientThatIsNotFiniteNamesParameterAndSample) {
  const at::Tensor scale = ParameterLike(at::ones({2}, at::kDouble));
  const at::Tensor w = ParameterLike(at::ones({2}, at::kDouble));
  // d/dw sqrt(w x) is infinite at x = 0 (and the loss, mse, is not).
  const auto provider = Provider(std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"scale", scale}, {"w", w}},
      [scale, w](const std::vector<at::Tensor>& x) {
        return at::sqrt(w.mul(x[0])).add(scale);
      }));
  Batch batch = {{at::ones({5, 2}, at::kDouble)},
                 at::zeros({5, 2}, at::kDouble)};
  INFLUENCE_EXPECT_OK(provider->FlatGrads(batch));
  batch.x[0][3][1] = 0;
  const auto refusal = StatusIs(
      absl::StatusCode::kInvalidArgument,
      std::string("gradient of w at sample 3: found NaN at index [1], expected "
                  "finite values"));
  EXPECT_THAT(provider->FlatGrads(batch), refusal);
  EXPECT_THAT(provider->JacobianProd(batch, at::ones({1, 4}, at::kDouble)),
              refusal);
  EXPECT_THAT(provider->FactoredGrads(batch), refusal);
  EXPECT_THAT(provider->FlatMixedGrads(batch),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("mixed gradient in x0: found")));
}

// Returns the factors it is given.
class FixedProvider : public GradientProvider {
 public:
  FixedProvider(std::shared_ptr<const Model> model,
                std::shared_ptr<const GradientTerm> term)
      : GradientProvider(std::move(model), MeanSquaredErrorLoss()),
        term_(std::move(term)) {}

 protected:
  absl::StatusOr<FactoredGradients> DoFactoredGrads(
      const Batch& batch) const override {
    return FactoredGradients(
        batch.size(), model().dtype(),
        {{"w", model().parameters()[0].tensor.numel(), {term_}}});
  }
  std::shared_ptr<GradientProvider> Clone() const override {
    return std::make_shared<FixedProvider>(*this);
  }

 private:
  std::shared_ptr<const GradientTerm> term_;
};

absl::Status StatusOfFactors(std::shared_ptr<const GradientTerm> term) {
  const at::Tensor w = ParameterLike(at::zeros({2, 3}));
  const FixedProvider provider(
      std::make_shared<FunctionModel>(
          std::vector<NamedParameter>{{"w", w}},
          [](const std::vector<at::Tensor>& x) { return x[0]; }),
      std::move(term));
  return provider.FactoredGrads({{at::zeros({4, 2})}, at::zeros({4, 2})})
      .status();
}

TEST(GradientProviderTest, FactorsAreCheckedWithoutMultiplyingThemOut) {
  const auto left = [] { return at::ones({4, 1, 5, 2}); };
  const auto right = [] { return at::ones({4, 1, 5, 3}); };
  INFLUENCE_EXPECT_OK(
      StatusOfFactors(std::make_shared<OuterProductTerm>(0, left(), right())));

  at::Tensor bad = right();
  bad[2][0][4][1] = std::nan("");
  EXPECT_THAT(
      StatusOfFactors(std::make_shared<OuterProductTerm>(0, left(), bad)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("gradient of w at sample 2: found NaN at index [1], "
                           "expected finite values")));

  // Finite factors whose product overflows.
  at::Tensor large = left();
  large[1][0][0][1] = 1e30f;
  at::Tensor larger = right();
  larger[1][0][0][2] = 1e30f;
  EXPECT_THAT(
      StatusOfFactors(std::make_shared<OuterProductTerm>(0, large, larger)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("gradient of w at sample 1: found infinity at index "
                           "[5], expected finite values")));

  // A sum of magnitudes that overflows where no entry does.
  const float huge = 3e38f;
  INFLUENCE_EXPECT_OK(StatusOfFactors(std::make_shared<OuterProductTerm>(
      0, at::full({4, 1, 1, 2}, huge), right().narrow(2, 0, 1))));
  INFLUENCE_EXPECT_OK(
      StatusOfFactors(std::make_shared<DenseTerm>(0, at::full({4, 6}, huge))));

  const at::Tensor rows = at::zeros({4, 2}, at::kLong);
  at::Tensor values = at::ones({4, 2, 3});
  INFLUENCE_EXPECT_OK(
      StatusOfFactors(std::make_shared<RowSparseTerm>(0, 2, rows, values)));
  values[3][1][0] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(
      StatusOfFactors(std::make_shared<RowSparseTerm>(0, 2, rows, values)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("gradient of w at sample 3: found -infinity at "
                           "index [0], expected finite values")));
}

TEST(GradientProviderTest, RestrictKeepsTheGivenOrder) {
  const auto provider = Provider(TwoInputModel());
  EXPECT_EQ(provider->selection(), (std::vector<int64_t>{0, 1, 2}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restricted,
                                 provider->Restrict({2, 0}));
  EXPECT_EQ(restricted->num_parameters(), 10);
  EXPECT_EQ(restricted->selection(), (std::vector<int64_t>{2, 0}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor all,
                                 provider->FlatGrads(SmallBatch()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor part,
                                 restricted->FlatGrads(SmallBatch()));
  const auto chosen = [](const at::Tensor& whole) {
    return at::cat({whole.narrow(-1, 8, 4), whole.narrow(-1, 0, 6)}, -1);
  };
  EXPECT_THAT(part, TensorNear(chosen(all), 1e-15));
  for (const int64_t num_samples : {1, 10}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor all_mixed,
        provider->FlatMixedGrads(SmallBatch(num_samples)));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor part_mixed,
        restricted->FlatMixedGrads(SmallBatch(num_samples)));
    EXPECT_THAT(part_mixed, TensorNear(chosen(all_mixed), 1e-14));
  }
  // The whole is as it was.
  EXPECT_EQ(provider->num_parameters(), 12);
}

TEST(GradientProviderTest, RestrictRefusesBadIndices) {
  const auto provider = Provider(TwoInputModel());
  EXPECT_THAT(provider->Restrict({}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       std::string("parameter indices: found none, expected at "
                                   "least one")));
  for (const int64_t index : {-1, 3}) {
    EXPECT_THAT(provider->Restrict({0, index}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected [0, 3)")));
  }
  EXPECT_THAT(
      provider->Restrict({1, 1}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               std::string("parameter indices: found 1 a second time, expected "
                           "each at most once")));
}

TEST(GradientProviderTest, WithFunctionDifferentiatesAnother) {
  const auto provider = Provider(TwoInputModel());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto restricted,
                                 provider->Restrict({1}));
  const auto changed = restricted->WithFunction(PerSampleFunction(
      "first output", true, [](const at::Tensor& output, const at::Tensor&) {
        return output.select(1, 0);
      }));
  EXPECT_EQ(changed->function().name(), "first output");
  EXPECT_EQ(changed->selection(), (std::vector<int64_t>{1}));
  EXPECT_EQ(provider->function().name(), "mse");
  // d output_0 / d b = ((1 - t_0^2) u_0, 0).
  const Batch batch = SmallBatch();
  const std::vector<NamedParameter>& parameters =
      provider->model().parameters();
  const at::Tensor t =
      at::tanh(batch.x[0].mm(parameters[0].tensor).add(parameters[1].tensor))
          .detach();
  const at::Tensor u = at::tanh(batch.x[1].mm(parameters[2].tensor)).detach();
  at::Tensor expected = t.mul(t).neg().add(1).mul(u);
  expected.select(1, 1).zero_();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 changed->FlatGrads(batch));
  EXPECT_THAT(found, TensorNear(expected, 1e-14));
}

TEST(GradientProviderTest, LargeBatchesAreWorkedOnInParts) {
  // 160,000 parameters: parts of 32 samples.
  const at::Tensor weight = ParameterLike(
      at::arange(160000, at::dtype(at::kDouble)).sin().view({400, 400}));
  const auto model = std::make_shared<FunctionModel>(
      std::vector<NamedParameter>{{"weight", weight}},
      [weight](const std::vector<at::Tensor>& x) { return x[0].mm(weight); });
  Batch batch{
      {at::arange(70 * 400, at::dtype(at::kDouble)).cos().view({70, 400})},
      at::zeros({70, 400}, at::kDouble)};
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      AutogradGradientProvider::Create(model, MeanSquaredErrorLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat,
                                 provider->FlatGrads(batch));
  for (const int64_t n : {0, 31, 32, 69}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch one,
                                   SliceBatch(batch, n, n + 1));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                   provider->FlatGrads(one));
    EXPECT_THAT(flat.narrow(0, n, 1), TensorNear(expected, 1e-12)) << n;
  }
  batch.x[0][40].fill_(1e200);
  batch.y[40].fill_(-1e300);
  EXPECT_THAT(provider->FlatGrads(batch),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("samples [32, 64), counted from 32: gradient "
                                 "of weight at sample 8")));
}

}  // namespace
}  // namespace influence
