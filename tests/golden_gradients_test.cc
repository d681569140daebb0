// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Both gradient providers against the golden cases: gradients that PyTorch
// computed in Python, for every layer kind and for whole models.
//
// Tolerance 1e-10, relative to the largest entry, is the project's promise for
// float64; the largest difference found is 5e-16.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/sin.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/coverage_report.h"
#include "gradients/factored_gradients.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gradients/script_model.h"
#include "gtest/gtest.h"
#include "tests/support/golden_case.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

constexpr double kTolerance = 1e-10;

const std::vector<GoldenCase>& AllCases() {
  static const auto* cases = [] {
    absl::StatusOr<std::vector<GoldenCase>> loaded = LoadGoldenCases();
    INFLUENCE_CHECK(loaded.ok());
    return new std::vector<GoldenCase>(*std::move(loaded));
  }();
  return *cases;
}

// Of the cases whose operators this LibTorch has.
std::vector<std::string> RunnableNames() {
  std::vector<std::string> names;
  for (const GoldenCase& golden : AllCases()) {
    if (golden.RunsHere()) names.push_back(golden.name);
  }
  return names;
}

const GoldenCase& CaseByName(const std::string& name) {
  const auto found = std::find_if(
      AllCases().begin(), AllCases().end(),
      [&](const GoldenCase& golden) { return golden.name == name; });
  INFLUENCE_CHECK(found != AllCases().end());
  return *found;
}

// Entries in [-1, 1] without a pattern, the same in every run.
at::Tensor Numbers(at::IntArrayRef shape, at::ScalarType dtype = at::kDouble) {
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  return at::sin(at::arange(1, size + 1, at::kDouble).mul(2.3))
      .reshape(shape)
      .to(dtype);
}

double MaxAbs(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
}

enum class ProviderKind { kAutograd, kCapturing };

absl::StatusOr<std::shared_ptr<const GradientProvider>> MakeProvider(
    ProviderKind kind, std::shared_ptr<const Model> model,
    const PerSampleFunction& function, const Batch& probe) {
  if (kind == ProviderKind::kAutograd) {
    INFLUENCE_ASSIGN_OR_RETURN(
        std::shared_ptr<const GradientProvider> provider,
        AutogradGradientProvider::Create(std::move(model), function));
    return provider;
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      std::shared_ptr<const GradientProvider> provider,
      CapturingGradientProvider::Create(std::move(model), function, probe));
  return provider;
}

// What both suites below load.
class GoldenFixture {
 public:
  absl::Status Load(const std::string& name,
                    const ScriptModelOptions& options = {}) {
    golden = CaseByName(name);
    INFLUENCE_ASSIGN_OR_RETURN(arrays, LoadGoldenArrays(golden));
    INFLUENCE_ASSIGN_OR_RETURN(model,
                               LoadScriptModel(golden.model_path, options));
    INFLUENCE_ASSIGN_OR_RETURN(const PerSampleFunction by_name,
                               LossByName(golden.loss));
    loss = by_name;
    train = GoldenTrainBatch(golden, arrays);
    test = GoldenTestBatch(golden, arrays);
    grads = arrays.at("grads");
    return absl::OkStatus();
  }

  GoldenCase golden;
  GoldenArrays arrays;
  std::shared_ptr<const Model> model;
  PerSampleFunction loss = CrossEntropyLoss();
  Batch train;
  Batch test;
  at::Tensor grads;  // [N, P], the reference.
};

// Loading a model and probing it takes longer than most tests: once a case.
absl::StatusOr<std::shared_ptr<const GoldenFixture>> SharedFixture(
    const std::string& name) {
  static auto* fixtures =
      new std::map<std::string, std::shared_ptr<const GoldenFixture>>;
  std::shared_ptr<const GoldenFixture>& fixture = (*fixtures)[name];
  if (fixture == nullptr) {
    auto loaded = std::make_shared<GoldenFixture>();
    INFLUENCE_RETURN_IF_ERROR(loaded->Load(name));
    fixture = std::move(loaded);
  }
  return fixture;
}

using CaseAndKind = std::pair<std::string, ProviderKind>;

absl::StatusOr<std::shared_ptr<const GradientProvider>> SharedProvider(
    const CaseAndKind& key, const GoldenFixture& fixture) {
  static auto* providers =
      new std::map<CaseAndKind, std::shared_ptr<const GradientProvider>>;
  std::shared_ptr<const GradientProvider>& provider = (*providers)[key];
  if (provider == nullptr) {
    INFLUENCE_ASSIGN_OR_RETURN(
        provider,
        MakeProvider(key.second, fixture.model, fixture.loss, fixture.train));
  }
  return provider;
}

class GoldenGradientsTest : public testing::TestWithParam<CaseAndKind> {
 protected:
  void SetUp() override {
    // The arrays are far too small to share among threads.
    at::set_num_threads(1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(fixture_, SharedFixture(GetParam().first));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(provider_,
                                   SharedProvider(GetParam(), *fixture_));
  }

  const GoldenCase& golden() const { return fixture_->golden; }
  const GoldenArrays& arrays() const { return fixture_->arrays; }
  const Batch& train() const { return fixture_->train; }
  const Batch& test() const { return fixture_->test; }
  const at::Tensor& grads() const { return fixture_->grads; }
  int64_t num_train() const { return golden().num_train; }
  int64_t num_parameters() const { return golden().num_parameters; }

  std::shared_ptr<const GoldenFixture> fixture_;
  std::shared_ptr<const GradientProvider> provider_;
};

// A part whose gradient vanishes but for rounding (the bias of an attention's
// keys) is compared on the scale of the whole: 1e-13 of its largest entry.
void ExpectPartNear(const at::Tensor& found, const at::Tensor& expected,
                    double whole_scale, const std::string& name) {
  const double scale = std::max(MaxAbs(expected), 1e-3 * whole_scale);
  EXPECT_THAT(found, TensorNearAtScale(expected, kTolerance, scale)) << name;
}

TEST_P(GoldenGradientsTest, FlatGradsEqualTheReferenceWholeAndByParameter) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 provider_->FlatGrads(train()));
  ASSERT_THAT(found, TensorNear(grads(), kTolerance));
  int64_t offset = 0;
  for (const NamedParameter& parameter : provider_->model().parameters()) {
    const int64_t size = parameter.tensor.numel();
    ExpectPartNear(found.narrow(1, offset, size),
                   grads().narrow(1, offset, size), MaxAbs(grads()),
                   parameter.name);
    offset += size;
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found_test,
                                 provider_->FlatGrads(test()));
  EXPECT_THAT(found_test, TensorNear(arrays().at("test_grads"), kTolerance));
}

TEST_P(GoldenGradientsTest, GradientsDoNotDependOnTheBatchSize) {
  for (const int64_t batch_size : {1, 2, 3}) {
    std::vector<at::Tensor> parts;
    for (int64_t begin = 0; begin < num_train(); begin += batch_size) {
      const int64_t end = std::min(begin + batch_size, num_train());
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch,
                                     SliceBatch(train(), begin, end));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(at::Tensor part,
                                     provider_->FlatGrads(batch));
      parts.push_back(part);
    }
    EXPECT_THAT(at::cat(parts), TensorNear(grads(), kTolerance)) << batch_size;
  }
}

TEST_P(GoldenGradientsTest, TheCallersGradModeAndTheModelsGradAreLeftAlone) {
  const at::NoGradGuard no_grad;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 provider_->FlatGrads(train()));
  EXPECT_THAT(found, TensorNear(grads(), kTolerance));
  EXPECT_FALSE(found.requires_grad());
  EXPECT_FALSE(at::GradMode::is_enabled());
  for (const NamedParameter& parameter : provider_->model().parameters()) {
    EXPECT_FALSE(parameter.tensor.grad().defined()) << parameter.name;
  }
}

TEST_P(GoldenGradientsTest, ThreadsMayShareAProvider) {
  constexpr int kNumThreads = 3;
  std::vector<absl::StatusOr<at::Tensor>> found(kNumThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kNumThreads; ++i) {
    threads.emplace_back([&, i] { found[i] = provider_->FlatGrads(train()); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::StatusOr<at::Tensor>& result : found) {
    ASSERT_THAT(result, IsOk());
    EXPECT_THAT(*result, TensorNear(grads(), kTolerance));
  }
}

TEST_P(GoldenGradientsTest, JacobianProdEqualsTheReference) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor found,
      provider_->JacobianProd(train(), arrays().at("test_grads")));
  EXPECT_THAT(found,
              TensorNear(arrays().at("identity_scores").t(), kTolerance));
}

TEST_P(GoldenGradientsTest, FactoredProductsEqualThoseOfTheDenseArray) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients factored,
                                 provider_->FactoredGrads(train()));
  EXPECT_EQ(factored.num_samples(), num_train());
  EXPECT_EQ(factored.num_parameters(), num_parameters());

  const at::Tensor matrix = Numbers({4, num_parameters()});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor contracted,
                                 factored.Contract(matrix));
  EXPECT_THAT(contracted, TensorNear(grads().mm(matrix.t()), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor contracted_vector,
                                 factored.Contract(matrix[1]));
  EXPECT_THAT(contracted_vector, TensorNear(grads().mv(matrix[1]), kTolerance));

  const at::Tensor weights = Numbers({3, num_train()});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor weighted,
                                 factored.WeightedSum(weights));
  EXPECT_THAT(weighted, TensorNear(weights.mm(grads()), kTolerance));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor weighted_vector,
                                 factored.WeightedSum(weights[2]));
  EXPECT_THAT(weighted_vector,
              TensorNear(weights[2].unsqueeze(0).mm(grads())[0], kTolerance));

  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor norms,
                                 factored.SquaredNorms());
  EXPECT_THAT(norms, TensorNear(grads().pow(2).sum(1), kTolerance));

  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor rows,
      factored.FlattenRows(num_train() / 2, num_train()));
  EXPECT_THAT(rows, TensorNear(grads().slice(0, num_train() / 2), kTolerance));
}

TEST_P(GoldenGradientsTest, GramMatricesEqualThoseOfTheDenseArray) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients factored,
                                 provider_->FactoredGrads(train()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients queries,
                                 provider_->FactoredGrads(test()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor scores,
                                 queries.Gram(factored));
  EXPECT_THAT(scores, TensorNear(arrays().at("identity_scores"), kTolerance));

  // Another batch of the same size: the samples in reverse.
  Batch reversed = train();
  for (at::Tensor& x : reversed.x) x = x.flip({0});
  reversed.y = reversed.y.flip({0});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients other,
                                 provider_->FactoredGrads(reversed));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor products,
                                 factored.RowwiseInnerProduct(other));
  EXPECT_THAT(products,
              TensorNear(grads().mul(grads().flip({0})).sum(1), kTolerance));
}

TEST_P(GoldenGradientsTest, SubsetsOfTheParametersAreColumns) {
  // Every second parameter, from the last on.
  std::vector<int64_t> indices;
  std::vector<int64_t> offsets = {0};
  for (const NamedParameter& parameter : provider_->model().parameters()) {
    offsets.push_back(offsets.back() + parameter.tensor.numel());
  }
  std::vector<at::Tensor> columns;
  for (int64_t i = static_cast<int64_t>(offsets.size()) - 2; i >= 0; i -= 2) {
    indices.push_back(i);
    columns.push_back(
        grads().narrow(1, offsets[i], offsets[i + 1] - offsets[i]));
  }
  const at::Tensor expected = at::cat(columns, 1);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const GradientProvider> restricted,
      provider_->Restrict(indices));
  EXPECT_EQ(restricted->num_parameters(), expected.size(1));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 restricted->FlatGrads(train()));
  ExpectPartNear(found, expected, MaxAbs(grads()), "restricted");

  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients factored,
                                 provider_->FactoredGrads(train()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const FactoredGradients selected,
                                 factored.Select(indices));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat, selected.Flatten());
  ExpectPartNear(flat, expected, MaxAbs(grads()), "selected");
}

TEST_P(GoldenGradientsTest, MixedGradientsEqualTheReference) {
  for (size_t i = 0; i < golden().inputs.size(); ++i) {
    const std::string name = golden().inputs.size() == 1
                                 ? "mixed_grads"
                                 : absl::StrCat("mixed_grads", i);
    const auto found = arrays().find(name);
    if (found == arrays().end()) continue;
    const at::Tensor& expected = found->second;  // [N, n, P]
    const int64_t input = static_cast<int64_t>(i);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor flat,
                                   provider_->FlatMixedGrads(train(), input));
    EXPECT_THAT(flat, TensorNear(expected, kTolerance));

    const at::Tensor g = Numbers({2, num_parameters()});
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor product,
                                   provider_->MixedProd(train(), g, input));
    std::vector<int64_t> shape = train().x[i].sizes().vec();
    shape.insert(shape.begin(), 2);
    EXPECT_THAT(
        product,
        TensorNear(expected.matmul(g.t()).permute({2, 0, 1}).reshape(shape),
                   kTolerance));
  }
}

TEST_P(GoldenGradientsTest, TokensHaveNoMixedGradients) {
  for (size_t i = 0; i < golden().inputs.size(); ++i) {
    if (at::isFloatingType(train().x[i].scalar_type())) continue;
    EXPECT_THAT(provider_->MixedProd(train(), Numbers({1, num_parameters()}),
                                     static_cast<int64_t>(i)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("x", i,
                                      ": found dtype int64, expected float32 "
                                      "or float64")));
  }
}

TEST_P(GoldenGradientsTest, QueryFunctionsEqualTheReference) {
  for (const std::string name : {"margin", "logit"}) {
    const auto expected = arrays().find(name + "_grads");
    if (expected == arrays().end()) continue;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const PerSampleFunction function,
        QueryFunctionByName(name, provider_->function()));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const at::Tensor found,
        provider_->WithFunction(function)->FlatGrads(test()));
    EXPECT_THAT(found, TensorNear(expected->second, kTolerance)) << name;
  }
}

// The largest relative difference found is 6e-6 (group_norm_2d, which
// normalises over two values), the next 7e-7.
TEST_P(GoldenGradientsTest, Float32AgreesToItsOwnPrecision) {
  GoldenFixture fixture;
  INFLUENCE_ASSERT_OK(fixture.Load(golden().name, {.dtype = at::kFloat}));
  Batch batch = train();
  for (at::Tensor& x : batch.x) {
    if (at::isFloatingType(x.scalar_type())) x = x.to(at::kFloat);
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const GradientProvider> provider,
      MakeProvider(GetParam().second, fixture.model, fixture.loss, batch));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor found,
                                 provider->FlatGrads(batch));
  EXPECT_EQ(found.scalar_type(), at::kFloat);
  EXPECT_THAT(found.to(at::kDouble), TensorNear(grads(), 1e-5));
}

std::vector<CaseAndKind> AllPairs() {
  std::vector<CaseAndKind> pairs;
  for (const std::string& name : RunnableNames()) {
    pairs.emplace_back(name, ProviderKind::kAutograd);
    pairs.emplace_back(name, ProviderKind::kCapturing);
  }
  return pairs;
}

INSTANTIATE_TEST_SUITE_P(
    Cases, GoldenGradientsTest, testing::ValuesIn(AllPairs()),
    [](const testing::TestParamInfo<GoldenGradientsTest::ParamType>&
           param_info) {
      return absl::StrCat(param_info.param.first,
                          param_info.param.second == ProviderKind::kAutograd
                              ? "_autograd"
                              : "_capturing");
    });

// What belongs to the model alone.
class GoldenModelTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(fixture_, SharedFixture(GetParam()));
  }

  std::shared_ptr<const GoldenFixture> fixture_;
};

TEST_P(GoldenModelTest, OutputsAndParametersAreThoseOfTheFile) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 fixture_->model->Forward(fixture_->train.x));
  EXPECT_THAT(output, TensorNear(fixture_->arrays.at("outputs"), kTolerance));
  EXPECT_THAT(fixture_->model->CouplingModules(), testing::IsEmpty());
  EXPECT_EQ(fixture_->model->num_parameters(), fixture_->golden.num_parameters);
  const std::vector<NamedParameter>& parameters = fixture_->model->parameters();
  ASSERT_EQ(parameters.size(), fixture_->golden.parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(parameters[i].name, fixture_->golden.parameters[i].name);
    EXPECT_EQ(parameters[i].tensor.sizes(),
              at::IntArrayRef(fixture_->golden.parameters[i].shape));
  }
}

TEST_P(GoldenModelTest, BlocksAreThoseOfTheManifest) {
  for (const BlockStructure structure :
       {BlockStructure::kFull, BlockStructure::kLayer,
        BlockStructure::kParameter}) {
    const ParameterBlocks blocks =
        ParameterBlocks::Create(*fixture_->model, structure);
    std::vector<std::string> found;
    for (const ParameterBlock& block : blocks.blocks()) {
      found.push_back(absl::StrCat(block.name, " ", block.size));
    }
    std::vector<std::string> expected;
    for (const GoldenBlock& block : fixture_->golden.blocks.at(
             std::string(BlockStructureName(structure)))) {
      expected.push_back(absl::StrCat(block.name, " ", block.size));
    }
    EXPECT_EQ(found, expected);
  }
}

// The rule of each parameter in turn. On autograd stay a vector's product, a
// function of the weight (copied, masked, sigmoid, norm), a divisor, a table
// read by indexing, and the operators of bilinear and PReLU.
const std::map<std::string, std::string>& ExpectedRules() {
  static const auto* rules = new std::map<std::string, std::string>{
      {"linear_2d", "linear linear linear linear"},
      {"linear_2d_no_bias", "linear linear"},
      {"linear_3d", "linear linear linear linear"},
      {"linear_3d_no_bias", "linear linear"},
      {"linear_4d", "linear linear linear linear"},
      {"linear_4d_no_bias", "linear linear"},
      {"linear_traced", "linear linear linear linear"},
      {"linear_addmm", "linear linear"},
      {"linear_addmm_scaled", "linear linear"},
      {"linear_matmul_add", "linear elementwise"},
      {"linear_matmul_add_3d", "linear elementwise"},
      {"linear_mm", "linear elementwise"},
      {"linear_mv", "autograd elementwise"},
      {"linear_functional", "linear linear"},
      {"linear_einsum", "linear elementwise"},
      {"linear_einsum_3d", "linear elementwise"},
      {"linear_left", "linear elementwise"},
      {"linear_left_3d", "linear elementwise"},
      {"linear_bmm", "linear elementwise"},
      {"linear_copied_weight", "autograd linear"},
      {"linear_sliced_weight", "linear linear"},
      {"linear_masked_weight", "autograd linear"},
      {"conv1d", "convolution convolution"},
      {"conv1d_stride_padding_dilation", "convolution convolution"},
      {"conv1d_groups", "convolution convolution"},
      {"conv1d_no_bias", "convolution"},
      {"conv2d", "convolution convolution linear linear"},
      {"conv2d_stride_padding_dilation", "convolution convolution"},
      {"conv2d_stride_unused_border", "convolution convolution"},
      {"conv2d_groups", "convolution"},
      {"conv2d_depthwise", "convolution convolution"},
      {"conv2d_pointwise", "convolution convolution"},
      {"conv2d_traced", "convolution convolution"},
      {"conv3d", "convolution convolution"},
      {"conv3d_stride_padding_dilation", "convolution convolution"},
      {"conv3d_groups", "convolution convolution"},
      {"conv1d_reflect", "convolution convolution"},
      {"conv1d_replicate", "convolution convolution"},
      {"conv1d_circular", "convolution convolution"},
      {"conv1d_same", "convolution convolution"},
      {"conv2d_reflect", "convolution convolution"},
      {"conv2d_replicate", "convolution convolution"},
      {"conv2d_circular", "convolution convolution"},
      {"conv2d_same", "convolution convolution"},
      {"conv3d_reflect", "convolution convolution"},
      {"conv3d_replicate", "convolution convolution"},
      {"conv3d_circular", "convolution convolution"},
      {"conv3d_same", "convolution convolution"},
      {"conv1d_same_dilation", "convolution convolution"},
      {"conv1d_same_reflect", "convolution convolution"},
      {"conv2d_valid", "convolution convolution"},
      {"conv_transpose1d", "convolution convolution"},
      {"conv_transpose1d_full", "convolution convolution"},
      {"conv_transpose2d", "convolution"},
      {"conv_transpose2d_full", "convolution convolution"},
      {"conv_transpose3d", "convolution convolution"},
      {"conv_transpose3d_full", "convolution convolution"},
      {"embedding", "embedding linear linear"},
      {"embedding_padding_idx", "embedding linear linear"},
      {"embedding_indexed", "autograd linear linear"},
      {"layer_norm", "linear linear normalization normalization linear linear"},
      {"layer_norm_3d",
       "linear linear normalization normalization linear linear"},
      {"layer_norm_two_dims",
       "linear linear normalization normalization linear linear"},
      {"group_norm", "convolution convolution normalization normalization"},
      {"group_norm_2d",
       "linear linear normalization normalization linear linear"},
      {"rms_norm", "linear linear normalization linear linear"},
      {"rms_norm_functional", "linear linear normalization linear linear"},
      {"rms_norm_handwritten", "linear linear elementwise linear linear"},
      {"batch_norm1d",
       "linear linear normalization normalization linear linear"},
      {"batch_norm1d_sequence",
       "convolution convolution normalization normalization"},
      {"batch_norm2d", "convolution convolution normalization normalization"},
      {"batch_norm3d", "convolution convolution normalization normalization"},
      {"scale_bias", "elementwise elementwise"},
      {"scale_bias_tokens", "elementwise elementwise"},
      {"scale_bias_channel", "elementwise elementwise"},
      {"scale_bias_leading_one", "elementwise elementwise"},
      {"scale_bias_expands_input", "elementwise elementwise"},
      {"elementwise_divide_subtract", "autograd elementwise"},
      {"elementwise_add_alpha", "elementwise linear"},
      {"elementwise_scalar", "elementwise elementwise linear linear"},
      {"position_embedding", "elementwise embedding linear linear"},
      {"position_lookup", "embedding embedding linear linear"},
      {"attention_multihead", "linear linear linear linear"},
      {"attention_multihead_sequence_first", "linear linear linear linear"},
      {"attention_multihead_traced", "linear linear linear linear"},
      {"attention_multihead_cross", "linear linear linear linear"},
      {"attention_fused_output", "linear linear linear linear"},
      {"attention_chunked_weight", "linear linear"},
      {"shared_linear", "linear linear"},
      {"shared_module", "linear linear"},
      {"shared_conv", "convolution convolution"},
      {"shared_transposed", "linear linear linear"},
      {"shared_embedding_decoder", "embedding+linear linear linear linear"},
      {"sequence_first",
       "elementwise linear linear normalization normalization linear linear"},
      {"sequence_first_square",
       "elementwise linear linear normalization normalization linear linear"},
      {"flatten_sample_major", "elementwise linear linear linear linear"},
      {"flatten_time_major", "elementwise linear linear linear linear"},
      {"flatten_time_major_square", "elementwise linear linear linear linear"},
      {"logistic_regression", "linear linear"},
      {"zero_classifier", "linear linear"},
      {"zero_detector", "linear linear"},
      {"multi_label", "linear linear linear linear linear linear"},
      {"mlp", "linear linear linear linear linear linear"},
      {"mlp_no_bias", "linear linear linear"},
      {"cnn",
       "convolution convolution normalization normalization convolution linear "
       "linear"},
      {"transformer_float",
       "normalization normalization linear linear linear linear normalization "
       "normalization linear linear linear linear linear linear"},
      {"transformer_traced",
       "normalization normalization linear linear linear linear normalization "
       "normalization linear linear linear linear linear linear"},
      {"transformer_causal_tokens",
       "elementwise embedding normalization normalization linear linear linear "
       "linear normalization normalization linear linear linear linear linear"},
      {"transformer_masked",
       "normalization normalization linear linear linear linear linear"},
      {"tied_language_model", "embedding+linear linear linear linear"},
      {"two_inputs", "linear linear convolution convolution linear linear"},
      {"tokens_and_features", "embedding linear linear linear linear"},
      {"frozen_layers", "linear linear linear"},
      {"elementwise_parameters", "elementwise elementwise autograd"},
      {"root_parameters", "linear linear linear linear"},
      {"single_sample", "linear linear linear linear linear linear"},
      {"inplace_relu", "convolution convolution linear linear linear linear"},
      {"inplace_arithmetic", "elementwise elementwise linear linear linear"},
      {"detached_weight", "linear linear linear linear"},
      {"unused_parameter", "linear linear unused unused linear linear"},
      {"dropout_eval", "linear linear linear linear"},
      {"uncovered_weight_norm", "autograd autograd linear linear linear"},
      {"uncovered_bilinear", "linear linear autograd elementwise"},
      {"uncovered_prelu", "linear linear autograd linear linear"},
      {"uncovered_lstm", "linear linear linear linear linear linear"},
      {"uncovered_gru", "linear linear linear linear linear linear"},
  };
  return *rules;
}

TEST_P(GoldenModelTest, EachParameterIsServedByTheExpectedRule) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const CapturingGradientProvider> provider,
      CapturingGradientProvider::Create(fixture_->model, fixture_->loss,
                                        fixture_->train));
  const CoverageReport& coverage = provider->coverage();
  std::vector<std::string> rules;
  int64_t num_covered = 0;
  for (size_t i = 0; i < coverage.parameters.size(); ++i) {
    const ParameterCoverage& parameter = coverage.parameters[i];
    EXPECT_EQ(parameter.name, fixture_->golden.parameters[i].name);
    EXPECT_EQ(parameter.shape, fixture_->golden.parameters[i].shape);
    EXPECT_EQ(parameter.covered, parameter.rule != "autograd");
    EXPECT_EQ(parameter.covered, parameter.reason.empty()) << parameter.reason;
    rules.push_back(parameter.rule);
    int64_t size = 1;
    for (const int64_t length : parameter.shape) size *= length;
    if (parameter.covered) num_covered += size;
  }
  const auto expected = ExpectedRules().find(GetParam());
  ASSERT_NE(expected, ExpectedRules().end()) << "no entry in the table";
  EXPECT_EQ(absl::StrJoin(rules, " "), expected->second) << coverage.ToString();
  EXPECT_EQ(coverage.num_parameters(), fixture_->golden.num_parameters);
  EXPECT_DOUBLE_EQ(coverage.covered_share(),
                   static_cast<double>(num_covered) /
                       static_cast<double>(fixture_->golden.num_parameters));
}

TEST(GoldenManifestTest, AllKindsAreThere) {
  std::set<std::string> kinds;
  for (const GoldenCase& golden : AllCases()) kinds.insert(golden.kind);
  EXPECT_THAT(kinds,
              testing::ElementsAre("attention", "conv", "conv_transpose",
                                   "elementwise", "embedding", "layout",
                                   "linear", "norm", "shared", "uncovered"));
  EXPECT_EQ(AllCases().size(), ExpectedRules().size());
}

INSTANTIATE_TEST_SUITE_P(
    Cases, GoldenModelTest, testing::ValuesIn(RunnableNames()),
    [](const testing::TestParamInfo<std::string>& param_info) {
      return param_info.param;
    });

}  // namespace
}  // namespace influence
