// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Models whose rows move, whose samples meet, and which draw random numbers:
// what implementations of influence functions get wrong without a word because
// the first samples that they see do not show it. Each by its name; gradients
// are those of single samples, or the model is refused.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/ATen.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gradients/affine_layers.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/factored_gradients.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/curvature.h"
#include "operators/dense_curvature.h"
#include "tests/support/script_source.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

using ::testing::HasSubstr;
using Provider = std::shared_ptr<const CapturingGradientProvider>;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

at::Tensor Normal(at::IntArrayRef shape) {
  return at::randn(shape, at::dtype(at::kDouble));
}

class SampleTrapsTest : public testing::Test {
 protected:
  SampleTrapsTest() { at::manual_seed(4); }
};

ScriptSource Source(std::vector<std::pair<std::string, at::Tensor>> parameters,
                    const std::string& code, bool training = false) {
  ScriptSource source;
  source.parameters = std::move(parameters);
  source.code = code;
  source.training = training;
  return source;
}

Batch Classes(std::vector<at::Tensor> x, int64_t num_classes = 3) {
  const int64_t n = x[0].size(0);
  return Batch{std::move(x), at::randint(num_classes, {n}, at::kLong)};
}

absl::StatusOr<Provider> Observe(const ScriptSource& source, const Batch& data,
                                 const PerSampleFunction& loss) {
  absl::StatusOr<std::shared_ptr<const Model>> model = ModelOf(source);
  if (!model.ok()) return model.status();
  return CapturingGradientProvider::Create(*model, loss, data);
}

// Gradients and outputs of batches of all sizes are those of single samples.
// `together`: batches go through the model as a whole.
void ExpectSingleSamples(const ScriptSource& source, const Batch& data,
                         bool together,
                         const PerSampleFunction& loss = CrossEntropyLoss()) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider provider,
                                 Observe(source, data, loss));
  EXPECT_EQ(provider->coverage().one_by_one.empty(), together)
      << provider->coverage().ToString();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 ModelOf(source));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto reference,
                                 AutogradGradientProvider::Create(model, loss));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 reference->FlatGrads(data));
  EXPECT_GT(expected.abs().max().item<double>(), 0);
  for (const int64_t size : {data.size(), int64_t{2}, int64_t{1}}) {
    SCOPED_TRACE(testing::Message() << "batches of " << size);
    for (int64_t begin = 0; begin < data.size(); begin += size) {
      const int64_t end = std::min(begin + size, data.size());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch,
                                     SliceBatch(data, begin, end));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                     provider->FlatGrads(batch));
      EXPECT_THAT(found, TensorNear(expected.slice(0, begin, end), 1e-10));
    }
  }
}

void ExpectRefusal(const ScriptSource& source, const Batch& data,
                   const std::string& message) {
  EXPECT_THAT(Observe(source, data, CrossEntropyLoss()),
              StatusIs(kInvalid, HasSubstr(message)));
}

// --- Whose row a row is.

// Attention whose output projection has its rows time-major, and first samples
// without any gradient to tell by.
TEST_F(SampleTrapsTest, TimeMajorRowsAndFirstSamplesWithoutGradient) {
  const ScriptSource source =
      Source({{"a", Normal({4, 4})}, {"h", Normal({1, 4})}}, R"(
def forward(self, x):
    q = x.transpose(0, 1)
    s = torch.softmax(torch.matmul(x, x.transpose(1, 2)), -1)
    q = torch.matmul(s, x).transpose(0, 1).reshape(-1, 4)
    z = torch.addmm(torch.zeros([4], dtype=x.dtype), q, self.a.t())
    z = z.view(x.size(1), x.size(0), 4).transpose(0, 1)
    return torch.relu(torch.linear(torch.tanh(z).sum(1), self.h))
)");
  at::Tensor x = Normal({40, 3, 4});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto model, ModelOf(source));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output, model->Forward({x}));
  const at::Tensor order = output.detach().squeeze(-1).argsort();
  x = x.index_select(0, at::cat({order.slice(0, 0, 3), order.slice(0, -7)}));
  const Batch data{{x}, at::cat({at::zeros({3, 1}), at::ones({7, 1})})};
  ExpectSingleSamples(source, data, /*together=*/true, MeanSquaredErrorLoss());
}

// Only the first token of each sample has a gradient: in a time-major tensor
// these rows look like those of the first sample.
TEST_F(SampleTrapsTest, TimeMajorRowsAndTheFirstTokenAlone) {
  for (const char* place : {"0", "1", "-1"}) {
    SCOPED_TRACE(place);
    ExpectSingleSamples(Source({{"a", Normal({4, 4})}, {"h", Normal({3, 4})}},
                               "def forward(self, x):\n"
                               "    t = x.transpose(0, 1).reshape(-1, 4)\n"
                               "    t = torch.tanh(torch.linear(t, self.a))\n"
                               "    t = t.view(x.size(1), x.size(0), 4)\n"
                               "    return torch.linear(t[" +
                                   std::string(place) + "], self.h)\n"),
                        Classes({Normal({8, 4, 4})}), /*together=*/true);
  }
}

// The valid tokens of a padded batch: as many rows as a multiple of the batch.
const char kUnpadded[] = R"(
def forward(self, x, n):
    keep = torch.arange(x.size(1)).unsqueeze(0) < n.unsqueeze(1)
    z = torch.zeros([x.size(0), x.size(1), 5], dtype=x.dtype)
    z[keep] = torch.tanh(torch.linear(x[keep], self.a))
    return torch.linear(z.sum(1) / (n + 1).unsqueeze(1), self.h)
)";

TEST_F(SampleTrapsTest, UnpaddedTokens) {
  ExpectSingleSamples(
      Source({{"a", Normal({5, 3})}, {"h", Normal({3, 5})}}, kUnpadded),
      Classes(
          {Normal({8, 4, 3}), at::tensor({4, 4, 4, 3, 3, 2, 2, 2}, at::kLong)}),
      /*together=*/false);
}

TEST_F(SampleTrapsTest, PackedSequencesOfWhichSomeAreEmpty) {
  ExpectSingleSamples(
      Source({{"a", Normal({5, 3})}, {"h", Normal({3, 5})}}, kUnpadded),
      Classes({Normal({6, 4, 3}), at::tensor({2, 2, 2, 0, 4, 0}, at::kLong)}),
      /*together=*/false);
}

TEST_F(SampleTrapsTest, DistinctRowsOnce) {
  ExpectSingleSamples(
      Source(
          {{"e", Normal({9, 4})}, {"a", Normal({4, 4})}, {"h", Normal({3, 4})}},
          R"(
def forward(self, k):
    u, i = torch._unique2(k.reshape(-1), True, True)[0:2]
    t = torch.tanh(torch.linear(torch.embedding(self.e, u), self.a))
    return torch.linear(t[i].view(k.size(0), -1, 4).mean(1), self.h)
)"),
      Classes({at::tensor({1, 2, 1, 2, 1, 2, 3, 4, 3, 3, 8, 1}, at::kLong)
                   .view({6, 2})}),
      /*together=*/false);
}

TEST_F(SampleTrapsTest, SamplesSortedByALearnedKey) {
  ExpectSingleSamples(
      Source(
          {{"k", Normal({1, 4})}, {"a", Normal({4, 4})}, {"h", Normal({3, 4})}},
          R"(
def forward(self, x):
    o = torch.argsort(torch.linear(x, self.k).squeeze(-1))
    t = torch.tanh(torch.linear(x.index_select(0, o), self.a))
    return torch.linear(t.index_select(0, torch.argsort(o)), self.h)
)"),
      Classes({Normal({8, 4})}), /*together=*/false);
}

TEST_F(SampleTrapsTest, ExpertsWithinExperts) {
  ExpectSingleSamples(Source({{"g", Normal({1, 4})},
                              {"a", Normal({4, 4})},
                              {"b", Normal({4, 4})},
                              {"h", Normal({3, 4})}},
                             R"(
def route(self, x, depth: int):
    e = torch.linear(x, self.g).squeeze(-1) > 0.1 * depth
    z = torch.zeros_like(x)
    for i in range(2):
        r = torch.nonzero(e == (i > 0)).squeeze(-1)
        w = self.a if i == 0 else self.b
        z = z.index_add(0, r, torch.tanh(torch.linear(x[r], w)))
    return z

def forward(self, x):
    return torch.linear(self.route(self.route(x, 0), 1), self.h)
)"),
                      Classes({Normal({9, 4})}), /*together=*/false);
}

TEST_F(SampleTrapsTest, SamplesLeaveEarly) {
  ExpectSingleSamples(Source({{"a", Normal({4, 4})}, {"h", Normal({3, 4})}}, R"(
def forward(self, x):
    h = x
    active = torch.ones([x.size(0), 1], dtype=x.dtype)
    for i in range(4):
        h = h + active * torch.tanh(torch.linear(h, self.a))
        active = active * (h.sum(-1, keepdim=True) < 1.0).to(x.dtype)
        if bool(active.sum() == 0):
            break
    return torch.linear(h, self.h)
)"),
                      Classes({Normal({8, 4})}), /*together=*/false);
}

// --- Who depends on whom.

const char kLateCoupling[] = R"(
def forward(self, x):
    z = torch.linear(x, self.a)
    m = torch.relu(z).mean(0, keepdim=True) * (x[:, :1] > 0).any()
    return torch.linear(torch.tanh(z - m), self.h)
)";

TEST_F(SampleTrapsTest, SamplesMeetOnlyWhereOneHasAProperty) {
  at::Tensor x = Normal({10, 3});
  x.select(1, 0).fill_(-1);
  x.select(1, 0).slice(0, 6).fill_(1);
  const ScriptSource source =
      Source({{"a", Normal({5, 3})}, {"h", Normal({2, 5})}}, kLateCoupling);
  ExpectSingleSamples(source, Classes({x}, 2), /*together=*/false);
  // Products with a curvature keep the samples apart as well: the Hessian of
  // the batch is the sum of those of its samples.
  const Batch data = Classes({x}, 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider provider,
                                 Observe(source, data, CrossEntropyLoss()));
  const ParameterBlocks blocks =
      ParameterBlocks::Create(provider->model(), BlockStructure::kFull);
  for (const Curvature curvature :
       {Curvature::kHessian, Curvature::kGaussNewton,
        Curvature::kGeneralizedGaussNewton}) {
    std::vector<at::Tensor> matrices;
    for (const int64_t batch_size : {10, 1}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const auto batches, TensorBatchSequence::Create(data, batch_size));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const std::vector<at::Tensor> formed,
          FormDenseCurvature(curvature, *provider, blocks, batches));
      matrices.push_back(formed[0]);
    }
    EXPECT_THAT(matrices[0], TensorNear(matrices[1], 1e-10));
  }
}

// An expert that takes so many samples of a batch and no more: no gradient
// shows it.
TEST_F(SampleTrapsTest, AnExpertOfLimitedCapacity) {
  at::Tensor x = Normal({8, 4});
  x.select(1, 0).slice(0, 0, 3).fill_(-1);
  x.select(1, 0).slice(0, 3).fill_(1);
  ExpectSingleSamples(Source({{"a", Normal({4, 4})}, {"h", Normal({3, 4})}}, R"(
def forward(self, x):
    chosen = (x[:, 0] > 0).long()
    keep = (torch.cumsum(chosen, 0) <= 2).to(x.dtype).unsqueeze(-1)
    return torch.linear(x + keep * torch.tanh(torch.linear(x, self.a)), self.h)
)"),
                      Classes({x}), /*together=*/false);
}

// Control flow on the batch's data.
TEST_F(SampleTrapsTest, ABranchThatOneSampleTakesForAll) {
  at::Tensor x = Normal({8, 4}).clamp(-1, 1);
  x[5][2] = 9;
  ExpectSingleSamples(Source({{"a", Normal({3, 4})}}, R"(
def forward(self, x):
    if bool(x.max() > 5):
        x = x * 2
    return torch.linear(x, self.a)
)"),
                      Classes({x}), /*together=*/false);
}

TEST_F(SampleTrapsTest, SamplesThatAlwaysMeetAreRefused) {
  ExpectRefusal(Source({{"a", Normal({3, 4})}}, R"(
def forward(self, x):
    return torch.linear(x - x.mean(0, keepdim=True), self.a)
)"),
                Classes({Normal({8, 4})}), "alone");
}

// --- Chance.

const char kDropPath[] = R"(
def forward(self, x):
    keep = torch.empty([x.size(0), 1], dtype=x.dtype).bernoulli_($p)
    return torch.linear(x * keep / $p, self.a)
)";

TEST_F(SampleTrapsTest, DropPathIsRefusedHoweverRare) {
  for (const char* p : {"0.5", "0.95", "0.999", "0.9999999"}) {
    std::string code = kDropPath;
    while (code.find("$p") != std::string::npos) {
      code.replace(code.find("$p"), 2, p);
    }
    ExpectRefusal(Source({{"a", Normal({3, 4})}}, code, /*training=*/true),
                  Classes({Normal({8, 4})}), "aten::bernoulli_");
  }
}

TEST_F(SampleTrapsTest, NoiseIsRefusedHoweverSmall) {
  const std::vector<std::pair<std::string, std::string>> noises = {
      {"x + 1e-30 * torch.randn_like(x)", "aten::randn_like"},
      {"x if bool(torch.rand([1]) > 0.001) else x * 0", "aten::rand"},
      {"x[:, torch.randperm(4)]", "aten::randperm"},
      {"torch.dropout(x, 1e-6, True)", "aten::dropout"},
      {"torch.rrelu(x, 0.3, 0.30001, True)", "aten::rrelu"},
      {"x + 0 * torch.multinomial(torch.ones([4]), 1)", "aten::multinomial"},
  };
  for (const auto& [expression, name] : noises) {
    SCOPED_TRACE(expression);
    ExpectRefusal(Source({{"a", Normal({3, 4})}},
                         "def forward(self, x):\n    return torch.linear(" +
                             expression + ", self.a)\n"),
                  Classes({Normal({8, 4})}), name);
  }
}

TEST_F(SampleTrapsTest, ChanceInABranchThatTheFirstSamplesDoNotTake) {
  const ScriptSource source = Source({{"a", Normal({3, 4})}}, R"(
def forward(self, x):
    if bool(x.max() > 5):
        x = torch.dropout(x, 0.001, True)
    return torch.linear(x, self.a)
)");
  Batch data = Classes({Normal({8, 4}).clamp(-1, 1)});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider provider,
                                 Observe(source, data, CrossEntropyLoss()));
  INFLUENCE_EXPECT_OK(provider->FlatGrads(data).status());
  data.x[0][6][0] = 9;
  EXPECT_THAT(provider->FlatGrads(data),
              StatusIs(kInvalid, HasSubstr("aten::dropout")));
  EXPECT_THAT(provider->model().Forward(data.x),
              StatusIs(kInvalid, HasSubstr("aten::dropout")));
}

TEST_F(SampleTrapsTest, WhatCouldDrawAndDoesNotIsNoChance) {
  ExpectSingleSamples(Source({{"a", Normal({3, 4})}}, R"(
def forward(self, x):
    x = torch.dropout(x, 0.5, False)
    x = torch.dropout(torch.rrelu(x, 0.1, 0.3, False), 0.0, True)
    x = x.unsqueeze(1)
    x = torch.scaled_dot_product_attention(x, x, x, None, 0.0).squeeze(1)
    return torch.linear(x, self.a)
)"),
                      Classes({Normal({8, 4})}), /*together=*/true);
}

// --- Memory formats.

std::vector<int64_t> Weights(const AffineLayers& layers) {
  std::vector<int64_t> weights;
  for (const AffineLayer& layer : layers.layers) {
    weights.push_back(layer.weight);
  }
  return weights;
}

TEST_F(SampleTrapsTest, WeightsInAnotherMemoryFormatAreTheSameLayers) {
  const at::Tensor w2 = Normal({6, 3, 3, 3}), w3 = Normal({4, 6, 3, 3, 3});
  const at::Tensor h = Normal({3, 4});
  const std::string code = R"(
def forward(self, x):
    x = torch.relu(torch.conv2d(x, self.a))
    x = x.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    x = torch.relu(torch.conv3d(x, self.b)).mean([2, 3, 4])
    return torch.linear(x, self.h)
)";
  const ScriptSource rows = Source({{"a", w2}, {"b", w3}, {"h", h}}, code);
  const ScriptSource channels =
      Source({{"a", w2.contiguous(at::MemoryFormat::ChannelsLast)},
              {"b", w3.contiguous(at::MemoryFormat::ChannelsLast3d)},
              {"h", h.t().contiguous().t()}},
             code);
  const Batch data = Classes({Normal({6, 3, 6, 6})});
  ExpectSingleSamples(rows, data, /*together=*/true);
  ExpectSingleSamples(channels, data, /*together=*/true);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider first,
                                 Observe(rows, data, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider second,
                                 Observe(channels, data, CrossEntropyLoss()));
  EXPECT_EQ(first->coverage().ToString(), second->coverage().ToString());
  EXPECT_EQ(Weights(first->affine_layers()), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(Weights(second->affine_layers()), (std::vector<int64_t>{0, 1, 2}));
}

// --- The safety net.

TEST_F(SampleTrapsTest, SparseGradientsOfEmbeddings) {
  ExpectSingleSamples(Source({{"e", Normal({12, 5})}, {"h", Normal({3, 5})}},
                             R"(
def forward(self, k):
    e = torch.embedding(self.e, k, -1, False, True)
    return torch.linear(torch.tanh(e).mean(1), self.h)
)"),
                      Classes({at::randint(12, {8, 4}, at::kLong)}),
                      /*together=*/true);
}

TEST_F(SampleTrapsTest, ComplexNumbersWithin) {
  ExpectSingleSamples(Source({{"a", Normal({4, 2})}, {"h", Normal({3, 4})}},
                             R"(
def forward(self, x):
    w = torch.view_as_complex(self.a)
    return torch.linear(torch.abs(torch.complex(x, x * 0.5) * w), self.h)
)"),
                      Classes({Normal({8, 4})}), /*together=*/false);
}

// Used by an operator without a derivative.
TEST_F(SampleTrapsTest, AParameterThatCannotBeDifferentiatedIsNamed) {
  EXPECT_THAT(Observe(Source({{"a", Normal({3, 4})},
                              {"slope", at::full({1}, 2.0, at::kDouble)}},
                             R"(
def forward(self, x):
    o = torch.linear(x, self.a)
    return o + torch.igamma(self.slope, self.slope.detach())
)"),
                      Classes({Normal({8, 4})}), CrossEntropyLoss()),
              StatusIs(kInvalid, HasSubstr("slope")));
}

// --- Providers made of each other.

TEST_F(SampleTrapsTest, AProvidersModelMakesAnotherProvider) {
  const ScriptSource source = Source({{"a", Normal({3, 4})}}, R"(
def forward(self, x):
    return torch.linear(x, self.a)
)");
  const Batch data = Classes({Normal({8, 4})});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider first,
                                 Observe(source, data, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const Provider second,
      CapturingGradientProvider::Create(first->shared_model(),
                                        CrossEntropyLoss(), data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 first->FlatGrads(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 second->FlatGrads(data));
  EXPECT_TRUE(found.equal(expected));
}

// --- Many uses of one parameter.

TEST_F(SampleTrapsTest, ARecurrenceIsOneTermOfAllItsSteps) {
  const ScriptSource source = Source({{"i", Normal({12, 3})},
                                      {"r", Normal({12, 4})},
                                      {"bi", Normal({12})},
                                      {"br", Normal({12})},
                                      {"h", Normal({3, 4})}},
                                     R"(
def forward(self, x):
    s = torch.zeros([1, x.size(0), 4], dtype=x.dtype)
    o, _ = torch.gru(x, s, [self.i, self.r, self.bi, self.br], True, 1, 0.0, False, False, True)
    return torch.linear(o[:, -1], self.h)
)");
  const Batch data = Classes({Normal({6, 10, 3})});
  ExpectSingleSamples(source, data, /*together=*/true);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider provider,
                                 Observe(source, data, CrossEntropyLoss()));
  EXPECT_DOUBLE_EQ(provider->coverage().covered_share(), 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients gradients,
                                 provider->FactoredGrads(data));
  for (const FactoredParameter& parameter : gradients.parameters()) {
    EXPECT_EQ(parameter.terms.size(), 1u) << parameter.name;
  }
}

TEST_F(SampleTrapsTest, AnLstmInFloat32HasItsRule) {
  ScriptSource source = Source({{"i", Normal({16, 3})},
                                {"r", Normal({16, 4})},
                                {"bi", Normal({16})},
                                {"br", Normal({16})},
                                {"h", Normal({3, 4})}},
                               R"(
def forward(self, x):
    s = torch.zeros([1, x.size(0), 4], dtype=x.dtype)
    o, _, _ = torch.lstm(x, [s, s], [self.i, self.r, self.bi, self.br], True, 1, 0.0, False, False, True)
    return torch.linear(o[:, -1], self.h)
)");
  for (auto& parameter : source.parameters) {
    parameter.second = parameter.second.to(at::kFloat);
  }
  const Batch data = Classes({Normal({6, 10, 3}).to(at::kFloat)});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Provider provider,
                                 Observe(source, data, CrossEntropyLoss()));
  EXPECT_DOUBLE_EQ(provider->coverage().covered_share(), 1)
      << provider->coverage().ToString();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const auto model, ModelOf(source));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const auto reference,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor expected,
                                 reference->FlatGrads(data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 provider->FlatGrads(data));
  EXPECT_THAT(found, TensorNear(expected, 1e-5));
}

}  // namespace
}  // namespace influence
