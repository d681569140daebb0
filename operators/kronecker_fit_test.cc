// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_fit.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/conv1d.h"
#include "ATen/ops/conv2d.h"
#include "ATen/ops/conv3d.h"
#include "ATen/ops/einsum.h"
#include "ATen/ops/embedding.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/kron.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/matmul.h"
#include "ATen/ops/mm.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/communicator.h"
#include "base/progress.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/gradient_provider.h"
#include "gradients/model.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "operators/fisher_gradients.h"
#include "operators/fit_checkpoint.h"
#include "operators/kronecker_curvature.h"
#include "operators/problem_testing.h"
#include "operators/shared_fit_checkpoint.h"
#include "tests/support/function_model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/csrc/autograd/autograd.h"

namespace influence {
namespace {

using ::testing::HasSubstr;

using Tensors = std::vector<at::Tensor>;

// Eigendecompositions of well-scaled matrices of order ten in float64.
constexpr double kTolerance = 1e-9;

// Takes down what a hand-written layer does: its inputs at each position, and
// an offset of zero added to its output, the gradient in which is g.
struct Recorder {
  struct Use {
    at::Tensor inputs;  // [N, H, T, I]
    at::Tensor offset;  // Of the output's shape.
    std::function<at::Tensor(const at::Tensor&)> to_positions;
  };
  std::vector<std::vector<Use>> layers;  // By layer, then use.

  at::Tensor Output(size_t layer, const at::Tensor& inputs,
                    const at::Tensor& output,
                    std::function<at::Tensor(const at::Tensor&)> to_positions) {
    if (layers.size() <= layer) layers.resize(layer + 1);
    const at::Tensor offset =
        at::zeros_like(output.detach()).requires_grad_(true);
    layers[layer].push_back(
        Use{inputs.detach(), offset, std::move(to_positions)});
    return output.add(offset);
  }
};

// f(parameters, x, recorder), the recorder null where nothing is recorded.
using Forward =
    std::function<at::Tensor(const Tensors&, const at::Tensor&, Recorder*)>;

struct Case {
  std::string name;
  Tensors parameters;
  Forward forward;
  Batch batch;
  std::vector<std::string> layers;  // Names expected, a group each.
};

// p0, p1, ...
std::shared_ptr<const Model> MakeModel(const Tensors& values,
                                       const Forward& forward,
                                       Tensors* tensors = nullptr) {
  Tensors leaves;
  std::vector<NamedParameter> parameters;
  for (size_t i = 0; i < values.size(); ++i) {
    leaves.push_back(ParameterLike(values[i]));
    parameters.push_back({"p" + std::to_string(i), leaves.back()});
  }
  if (tensors != nullptr) *tensors = leaves;
  return std::make_shared<FunctionModel>(
      parameters, [leaves, forward](const Tensors& x) {
        return forward(leaves, x[0], nullptr);
      });
}

at::Tensor Numbers(at::IntArrayRef shape, uint64_t seed) {
  return SeededNormal(shape.vec(), at::kDouble, seed, 0.7);
}

// [N, ..., F] -> [N, 1, T, F]
at::Tensor LastAsFeatures(const at::Tensor& x) {
  return x.reshape({x.size(0), 1, -1, x.size(x.dim() - 1)});
}

// A Linear layer, weight [O, I], that is recorded.
at::Tensor RecordedLinear(Recorder* recorder, size_t layer, const at::Tensor& x,
                          const at::Tensor& output) {
  if (recorder == nullptr) return output;
  return recorder->Output(layer, LastAsFeatures(x), output, LastAsFeatures);
}

// The patches of a convolution by a convolution with unit kernels, one group at
// a time: [N, H, T, I].
template <typename Convolve>
at::Tensor PatchesByConvolution(const at::Tensor& x, at::IntArrayRef weight,
                                int64_t groups, const Convolve& convolve) {
  const int64_t channels = weight[1];
  int64_t width = 1;
  for (size_t d = 1; d < weight.size(); ++d) width *= weight[d];
  std::vector<int64_t> shape = weight.vec();
  shape[0] = width;
  const at::Tensor kernels = at::eye(width, at::kDouble).view(shape);
  std::vector<at::Tensor> patches;
  for (int64_t h = 0; h < groups; ++h) {
    const at::Tensor patch =
        convolve(x.narrow(1, h * channels, channels), kernels);
    patches.push_back(patch.reshape({x.size(0), 1, width, -1}).transpose(2, 3));
  }
  return at::cat(patches, 1);
}

std::function<at::Tensor(const at::Tensor&)> ChannelsAsGroups(int64_t groups) {
  return [groups](const at::Tensor& g) {
    return g.reshape({g.size(0), groups, g.size(1) / groups, -1})
        .transpose(2, 3);
  };
}

Batch WithLabels(const at::Tensor& x, int64_t num_classes) {
  return Batch{{x}, SeededLabels(x.size(0), num_classes, 99)};
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  cases.push_back({"two linear layers, one without a bias",
                   {Numbers({5, 4}, 1), Numbers({3, 5}, 2), Numbers({3}, 3)},
                   [](const Tensors& p, const at::Tensor& x, Recorder* r) {
                     const at::Tensor hidden =
                         RecordedLinear(r, 0, x, at::linear(x, p[0])).tanh();
                     return RecordedLinear(r, 1, hidden,
                                           at::linear(hidden, p[1], p[2]));
                   },
                   WithLabels(Numbers({11, 4}, 4), 3),
                   {"p0", "p1"}});
  cases.push_back(
      {"sequences, the bias apart, then few positions and wide layers",
       {Numbers({3, 4}, 1), Numbers({3}, 2), Numbers({6, 15}, 3),
        Numbers({6}, 4), Numbers({3, 12}, 5)},
       [](const Tensors& p, const at::Tensor& x, Recorder* r) {
         at::Tensor first = at::matmul(x, p[0].t());  // [N, 10, 3]
         first.add_(p[1]);
         first = RecordedLinear(r, 0, x, first).tanh().reshape({-1, 2, 15});
         const at::Tensor second =
             RecordedLinear(r, 1, first, at::linear(first, p[2], p[3]))
                 .tanh()
                 .reshape({-1, 12});
         return RecordedLinear(r, 2, second, at::linear(second, p[4]));
       },
       WithLabels(Numbers({7, 10, 4}, 6), 3),
       {"p0", "p2", "p4"}});
  cases.push_back(
      {"a weight used twice",
       {Numbers({4, 4}, 1), Numbers({4}, 2)},
       [](const Tensors& p, const at::Tensor& x, Recorder* r) {
         const at::Tensor hidden =
             RecordedLinear(r, 0, x, at::linear(x, p[0], p[1])).tanh();
         return RecordedLinear(r, 0, hidden, at::linear(hidden, p[0], p[1]));
       },
       WithLabels(Numbers({9, 4}, 3), 4),
       {"p0"}});
  cases.push_back({"a weight stored input-major",
                   {Numbers({4, 3}, 1), Numbers({3}, 2)},
                   [](const Tensors& p, const at::Tensor& x, Recorder* r) {
                     return RecordedLinear(r, 0, x, at::mm(x, p[0]).add(p[1]));
                   },
                   WithLabels(Numbers({9, 4}, 3), 3),
                   {"p0"}});
  cases.push_back(
      {"conv1d with groups, stride, padding and dilation",
       {Numbers({6, 2, 3}, 1), Numbers({6}, 2), Numbers({3, 24}, 3)},
       [](const Tensors& p, const at::Tensor& x, Recorder* r) {
         at::Tensor out = at::conv1d(x, p[0], p[1], 2, 3, 2, 2);  // [N, 6, 4]
         if (r != nullptr) {
           out = r->Output(0,
                           PatchesByConvolution(
                               x, p[0].sizes(), 2,
                               [](const at::Tensor& y, const at::Tensor& k) {
                                 return at::conv1d(y, k, {}, 2, 3, 2);
                               }),
                           out, ChannelsAsGroups(2));
         }
         const at::Tensor hidden = out.tanh().reshape({-1, 24});
         return RecordedLinear(r, 1, hidden, at::linear(hidden, p[2]));
       },
       WithLabels(Numbers({8, 4, 6}, 4), 3),
       {"p0", "p0", "p2"}});
  cases.push_back({"conv2d with circular padding and many positions",
                   {Numbers({3, 2, 2, 2}, 1), Numbers({3}, 2)},
                   [](const Tensors& p, const at::Tensor& x, Recorder* r) {
                     const at::Tensor padded =
                         at::cat({x, x.narrow(3, 0, 1)}, 3);  // [N, 2, 4, 6]
                     at::Tensor out = at::conv2d(padded, p[0], p[1]);
                     if (r != nullptr) {
                       out = r->Output(
                           0,
                           PatchesByConvolution(
                               padded, p[0].sizes(), 1,
                               [](const at::Tensor& y, const at::Tensor& k) {
                                 return at::conv2d(y, k);
                               }),
                           out, ChannelsAsGroups(1));
                     }
                     return out.tanh().sum({2, 3});
                   },
                   WithLabels(Numbers({8, 2, 4, 5}, 4), 3),
                   {"p0"}});
  cases.push_back({"conv3d without a bias, few positions",
                   {Numbers({3, 2, 2, 2, 2}, 1)},
                   [](const Tensors& p, const at::Tensor& x, Recorder* r) {
                     at::Tensor out = at::conv3d(x, p[0]);
                     if (r != nullptr) {
                       out = r->Output(
                           0,
                           PatchesByConvolution(
                               x, p[0].sizes(), 1,
                               [](const at::Tensor& y, const at::Tensor& k) {
                                 return at::conv3d(y, k);
                               }),
                           out, ChannelsAsGroups(1));
                     }
                     return out.tanh().sum({2, 3, 4});
                   },
                   WithLabels(Numbers({8, 2, 2, 3, 2}, 4), 3),
                   {"p0"}});
  return cases;
}

// What the statistics are defined to be, from recorded a and g.
struct Reference {
  at::Tensor input_covariance;     // [H, I, I]
  at::Tensor gradient_covariance;  // [H, O, O]
  at::Tensor gradients;            // [N, H, O, I]
};

std::vector<Reference> References(const Case& test_case, const Tensors& leaves,
                                  const std::vector<bool>& has_bias) {
  const at::AutoGradMode grad_mode(true);
  Recorder recorder;
  const at::Tensor output =
      test_case.forward(leaves, test_case.batch.x[0], &recorder);
  absl::StatusOr<at::Tensor> values =
      CrossEntropyLoss().Evaluate(output, test_case.batch.y);
  EXPECT_THAT(values, IsOk());
  std::vector<Reference> references;
  for (size_t l = 0; l < recorder.layers.size(); ++l) {
    Reference reference;
    int64_t num_positions = 0, num_samples = 0;
    for (const Recorder::Use& use : recorder.layers[l]) {
      at::Tensor a = use.inputs;
      if (has_bias[l]) {
        a = at::cat(
            {a, at::ones({a.size(0), a.size(1), a.size(2), 1}, at::kDouble)},
            3);
      }
      const at::Tensor g = use.to_positions(torch::autograd::grad(
          {values->sum()}, {use.offset}, {}, /*retain_graph=*/true)[0]);
      num_samples = a.size(0);
      num_positions += a.size(0) * a.size(2);
      const auto add = [](at::Tensor* sum, const at::Tensor& part) {
        *sum = sum->defined() ? sum->add(part) : part;
      };
      add(&reference.input_covariance, at::einsum("nhti,nhtj->hij", {a, a}));
      add(&reference.gradient_covariance, at::einsum("nhto,nhtp->hop", {g, g}));
      add(&reference.gradients, at::einsum("nhto,nhti->nhoi", {g, a}));
    }
    reference.input_covariance.div_(static_cast<double>(num_positions));
    reference.gradient_covariance.div_(static_cast<double>(num_samples));
    references.push_back(std::move(reference));
  }
  return references;
}

std::shared_ptr<const CapturingGradientProvider> Observe(
    const std::shared_ptr<const Model>& model, const PerSampleFunction& loss,
    const Batch& batch) {
  absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>> provider =
      CapturingGradientProvider::Create(model, loss, batch);
  EXPECT_THAT(provider, IsOk());
  return *provider;
}

absl::StatusOr<KroneckerFit> Fit(
    const std::shared_ptr<const GradientProvider>& provider, const Batch& batch,
    const KroneckerFitOptions& options = {}, int64_t batch_size = 1000,
    BlockStructure structure = BlockStructure::kLayer) {
  absl::StatusOr<TensorBatchSequence> data =
      TensorBatchSequence::Create(batch, batch_size);
  EXPECT_THAT(data, IsOk());
  return FitKronecker(provider,
                      ParameterBlocks::Create(provider->model(), structure),
                      *data, options);
}

// Row-major offsets of the model's parameters in the flat vector.
std::vector<int64_t> FlatOffsets(const Model& model) {
  std::vector<int64_t> offsets;
  int64_t offset = 0;
  for (const NamedParameter& parameter : model.parameters()) {
    offsets.push_back(offset);
    offset += parameter.tensor.numel();
  }
  return offsets;
}

// Column k * I + l: the matrix U_G[:, k] U_A[:, l]^T as a flat vector of the
// model's parameters. [P, Q * R], columns orthonormal.
at::Tensor Basis(const KroneckerFactors& factors, const Model& model) {
  const std::vector<int64_t> offsets = FlatOffsets(model);
  const int64_t outputs = factors.num_outputs(), width = factors.num_inputs();
  const int64_t inputs = width - (factors.bias.has_value() ? 1 : 0);
  std::vector<int64_t> rows;
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < width; ++i) {
      rows.push_back(
          i == inputs
              ? offsets[*factors.bias] + factors.bias_offset + o
              : offsets[factors.weight] + factors.weight_offset +
                    (factors.input_major ? i * outputs + o : o * inputs + i));
    }
  }
  const at::Tensor columns =
      at::kron(factors.gradient_eigenvectors.contiguous(),
               factors.input_eigenvectors.contiguous());
  return at::zeros({model.num_parameters(), columns.size(1)}, at::kDouble)
      .index_copy(0, at::tensor(rows), columns);
}

// The whole approximation of F as a dense matrix [P, P].
at::Tensor Dense(const KroneckerCurvature& curvature, const Model& model) {
  at::Tensor dense =
      at::zeros({model.num_parameters(), model.num_parameters()}, at::kDouble);
  for (const KroneckerFactors& factors : curvature.layers) {
    const at::Tensor basis = Basis(factors, model);
    dense.add_(
        basis.mul(factors.eigenvalues.reshape({1, -1})).matmul(basis.t()));
  }
  const std::vector<int64_t> offsets = FlatOffsets(model);
  for (const DiagonalFactor& diagonal : curvature.diagonals) {
    dense.diagonal()
        .narrow(0, offsets[diagonal.parameter], diagonal.diagonal.size(0))
        .copy_(diagonal.diagonal);
  }
  return dense;
}

// The entries of F that lie within one layer (and group), zero elsewhere.
at::Tensor WithinLayers(const KroneckerCurvature& curvature, const Model& model,
                        const at::Tensor& fisher) {
  at::Tensor mask = at::zeros_like(fisher);
  for (const KroneckerFactors& factors : curvature.layers) {
    const at::Tensor basis = Basis(factors, model);
    const at::Tensor member = basis.square().sum({1}).gt(0).to(at::kDouble);
    mask.add_(at::outer(member, member));
  }
  return fisher.mul(mask);
}

double Norm(const at::Tensor& matrix) { return matrix.norm().item<double>(); }

at::Tensor EmpiricalFisher(const std::shared_ptr<const Model>& model,
                           const PerSampleFunction& loss, const Batch& batch) {
  absl::StatusOr<std::shared_ptr<const AutogradGradientProvider>> provider =
      AutogradGradientProvider::Create(model, loss);
  EXPECT_THAT(provider, IsOk());
  return DenseGaussNewton(**provider, batch);
}

TEST(KroneckerFitTest, StatisticsEqualTheirDefinition) {
  for (const Case& test_case : Cases()) {
    SCOPED_TRACE(test_case.name);
    Tensors leaves;
    const auto model =
        MakeModel(test_case.parameters, test_case.forward, &leaves);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    for (const KroneckerMethod method :
         {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
      KroneckerFitOptions options;
      options.method = method;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit fit,
          Fit(provider, test_case.batch, options, 1000, BlockStructure::kFull));
      const KroneckerCurvature& curvature = fit.curvature;
      EXPECT_EQ(curvature.num_samples, test_case.batch.size());
      EXPECT_TRUE(curvature.diagonals.empty());
      EXPECT_TRUE(fit.uncovered.empty());
      ASSERT_EQ(curvature.layers.size(), test_case.layers.size());

      std::vector<bool> has_bias;
      for (const KroneckerFactors& factors : curvature.layers) {
        if (factors.group == 0) has_bias.push_back(factors.bias.has_value());
      }
      const std::vector<Reference> references =
          References(test_case, leaves, has_bias);
      ASSERT_EQ(references.size(), has_bias.size());
      int64_t layer = -1;
      for (size_t i = 0; i < curvature.layers.size(); ++i) {
        const KroneckerFactors& factors = curvature.layers[i];
        SCOPED_TRACE(testing::Message() << "layer " << i);
        EXPECT_EQ(factors.layer, test_case.layers[i]);
        if (factors.group == 0) ++layer;
        const Reference& reference = references[layer];
        const int64_t h = factors.group;
        EXPECT_THAT(factors.input_covariance,
                    TensorNear(reference.input_covariance[h], kTolerance));
        EXPECT_THAT(factors.gradient_covariance,
                    TensorNear(reference.gradient_covariance[h], kTolerance));
        const auto expect_decomposed = [](const at::Tensor& matrix,
                                          const at::Tensor& vectors,
                                          const at::Tensor& values) {
          EXPECT_THAT(vectors.mul(values.unsqueeze(0)).matmul(vectors.t()),
                      TensorNear(matrix, kTolerance));
          EXPECT_THAT(
              vectors.t().matmul(vectors),
              TensorNear(at::eye(vectors.size(0), at::kDouble), kTolerance));
          for (int64_t k = 1; k < values.size(0); ++k) {
            EXPECT_GE(values[k - 1].item<double>(), values[k].item<double>());
          }
          EXPECT_GE(values[values.size(0) - 1].item<double>(), 0);
        };
        expect_decomposed(reference.input_covariance[h],
                          factors.input_eigenvectors,
                          factors.input_eigenvalues);
        expect_decomposed(reference.gradient_covariance[h],
                          factors.gradient_eigenvectors,
                          factors.gradient_eigenvalues);
        const at::Tensor expected =
            method == KroneckerMethod::kKfac
                ? at::outer(factors.gradient_eigenvalues,
                            factors.input_eigenvalues)
                : at::einsum("ok,noi,il->nkl",
                             {factors.gradient_eigenvectors,
                              reference.gradients.select(1, h),
                              factors.input_eigenvectors})
                      .square()
                      .mean({0});
        EXPECT_THAT(factors.eigenvalues, TensorNear(expected, kTolerance));
      }
    }
  }
}

// Sides of 64 and more of which a batch has fewer positions, beside a depthwise
// and a pointwise convolution.
std::vector<Case> WideCases() {
  std::vector<Case> cases;
  cases.push_back(
      {"depthwise, pointwise and wide linear",
       {Numbers({12, 1, 3, 3}, 1), Numbers({12}, 2), Numbers({70, 12, 1, 1}, 3),
        Numbers({70}, 4), Numbers({3, 280}, 5), Numbers({3}, 6)},
       [](const Tensors& p, const at::Tensor& x, Recorder* r) {
         const auto depthwise = [](const at::Tensor& y, const at::Tensor& k) {
           return at::conv2d(y, k);
         };
         at::Tensor first =
             at::conv2d(x, p[0], p[1], at::IntArrayRef{1, 1},
                        at::IntArrayRef{0, 0}, at::IntArrayRef{1, 1}, 12);
         if (r != nullptr) {
           first = r->Output(
               0, PatchesByConvolution(x, p[0].sizes(), 12, depthwise), first,
               ChannelsAsGroups(12));
         }
         first = first.tanh();
         at::Tensor second = at::conv2d(first, p[2], p[3]);
         if (r != nullptr) {
           second = r->Output(
               1, PatchesByConvolution(first, p[2].sizes(), 1, depthwise),
               second, ChannelsAsGroups(1));
         }
         const at::Tensor hidden = second.tanh().reshape({-1, 280});
         return RecordedLinear(r, 2, hidden, at::linear(hidden, p[4], p[5]));
       },
       WithLabels(Numbers({8, 12, 4, 4}, 7), 3),
       {}});
  cases.push_back(
      {"wide convolution of few positions, used with a wide linear layer",
       {Numbers({5, 12, 3, 3}, 1), Numbers({5}, 2), Numbers({4, 20}, 3)},
       [](const Tensors& p, const at::Tensor& x, Recorder* r) {
         at::Tensor out = at::conv2d(x, p[0], p[1]);
         if (r != nullptr) {
           out = r->Output(0,
                           PatchesByConvolution(
                               x, p[0].sizes(), 1,
                               [](const at::Tensor& y, const at::Tensor& k) {
                                 return at::conv2d(y, k);
                               }),
                           out, ChannelsAsGroups(1));
         }
         const at::Tensor hidden = out.tanh().reshape({-1, 20});
         return RecordedLinear(r, 1, hidden, at::linear(hidden, p[2]));
       },
       WithLabels(Numbers({6, 12, 4, 4}, 7), 4),
       {}});
  return cases;
}

// The factors of `curvature` anew, from dense covariances [I, I] and [O, O].
KroneckerCurvature DenseReference(const KroneckerCurvature& curvature,
                                  const std::vector<Reference>& references,
                                  KroneckerMethod method) {
  KroneckerCurvature expected = curvature;
  int64_t layer = -1;
  for (KroneckerFactors& factors : expected.layers) {
    if (factors.group == 0) ++layer;
    const Reference& reference = references[layer];
    const int64_t h = factors.group;
    const auto [input_values, input_vectors] =
        at::linalg_eigh(reference.input_covariance[h]);
    const auto [gradient_values, gradient_vectors] =
        at::linalg_eigh(reference.gradient_covariance[h]);
    factors.input_eigenvectors = input_vectors;
    factors.gradient_eigenvectors = gradient_vectors;
    factors.eigenvalues =
        method == KroneckerMethod::kKfac
            ? at::outer(gradient_values, input_values)
            : at::einsum("ok,noi,il->nkl",
                         {gradient_vectors, reference.gradients.select(1, h),
                          input_vectors})
                  .square()
                  .mean({0});
  }
  return expected;
}

// By threads and ranks that each see a part of the rows, in any batches.
TEST(KroneckerFitTest, FewPositionsGiveTheFactorsOfTheirDenseCovariances) {
  const int before = at::get_num_threads();
  for (const Case& test_case : WideCases()) {
    SCOPED_TRACE(test_case.name);
    Tensors leaves;
    const auto model =
        MakeModel(test_case.parameters, test_case.forward, &leaves);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    for (const KroneckerMethod method :
         {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
      KroneckerFitOptions options;
      options.method = method;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                     Fit(provider, test_case.batch, options));
      EXPECT_TRUE(fit.uncovered.empty());
      std::vector<bool> has_bias;
      bool any_deficient = false;
      for (const KroneckerFactors& factors : fit.curvature.layers) {
        if (factors.group == 0) has_bias.push_back(factors.bias.has_value());
        any_deficient = any_deficient || factors.is_deficient();
        // What was not formed is not there.
        EXPECT_EQ(factors.input_covariance.defined(),
                  factors.input_eigenvectors.size(1) == factors.num_inputs());
      }
      EXPECT_TRUE(any_deficient);
      const at::Tensor expected =
          Dense(DenseReference(fit.curvature,
                               References(test_case, leaves, has_bias), method),
                *model);
      EXPECT_THAT(Dense(fit.curvature, *model),
                  TensorNear(expected, kTolerance));

      // Workers with a thread each, and where the factors are taken twice.
      options.keep_covariances = false;
      options.kept_factor_bytes = 0;
      at::set_num_threads(2);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit shared,
          Fit(provider, test_case.batch, options, 1));
      at::set_num_threads(before);
      EXPECT_FALSE(shared.curvature.layers[0].input_covariance.defined());
      EXPECT_THAT(Dense(shared.curvature, *model),
                  TensorNear(expected, kTolerance));

      for (const int size : {2, 3}) {
        INFLUENCE_EXPECT_OK(FirstError(RunThreadTeam(
            size, [&](Communicator& communicator) -> absl::Status {
              KroneckerFitOptions together = options;
              together.communicator = std::shared_ptr<Communicator>(
                  std::shared_ptr<void>(), &communicator);
              auto of_rank = Fit(provider, test_case.batch, together, 2);
              if (!of_rank.ok()) return of_rank.status();
              EXPECT_THAT(Dense(of_rank->curvature, *model),
                          TensorNear(expected, kTolerance));
              return absl::OkStatus();
            })));
      }
    }
  }
}

TEST(KroneckerFitTest, EigenvaluesAreTheDiagonalOfTheRotatedFisher) {
  // The whole Fisher from plain autograd: this also tells where each entry of
  // a layer lies in the flat parameters.
  for (const Case& test_case : Cases()) {
    SCOPED_TRACE(test_case.name);
    const auto model = MakeModel(test_case.parameters, test_case.forward);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    const at::Tensor fisher =
        EmpiricalFisher(model, CrossEntropyLoss(), test_case.batch);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                   Fit(provider, test_case.batch));
    int64_t covered = 0;
    for (const KroneckerFactors& factors : fit.curvature.layers) {
      const at::Tensor basis = Basis(factors, *model);
      covered += basis.size(1);
      const at::Tensor expected = basis.mul(fisher.matmul(basis))
                                      .sum({0})
                                      .view(factors.eigenvalues.sizes());
      EXPECT_THAT(factors.eigenvalues, TensorNear(expected, kTolerance));
    }
    EXPECT_EQ(covered, model->num_parameters());
  }
}

TEST(KroneckerFitTest, EkfacIsNeverFartherFromTheFisherThanKfac) {
  for (const Case& test_case : Cases()) {
    SCOPED_TRACE(test_case.name);
    const auto model = MakeModel(test_case.parameters, test_case.forward);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    KroneckerFitOptions kfac;
    kfac.method = KroneckerMethod::kKfac;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit coarse,
                                   Fit(provider, test_case.batch, kfac));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fine,
                                   Fit(provider, test_case.batch));
    const at::Tensor fisher = WithinLayers(
        fine.curvature, *model,
        EmpiricalFisher(model, CrossEntropyLoss(), test_case.batch));
    const double of_kfac = Norm(Dense(coarse.curvature, *model).sub(fisher));
    const double of_ekfac = Norm(Dense(fine.curvature, *model).sub(fisher));
    EXPECT_LT(of_ekfac, of_kfac);
  }
}

// Independent positions with gradients of mean zero: y holds the gradient of
// each output, all combinations of signs, and a is the same but for its sign.
TEST(KroneckerFitTest, KfacHasTheScaleOfIndependentPositions) {
  constexpr int64_t kPositions = 4, kSamples = 1 << kPositions;
  at::Tensor x = at::zeros({kSamples, 2, kPositions}, at::kDouble);
  at::Tensor y = at::zeros({kSamples, 1, kPositions}, at::kDouble);
  for (int64_t n = 0; n < kSamples; ++n) {
    for (int64_t t = 0; t < kPositions; ++t) {
      const double sign = (n >> t) & 1 ? 1 : -1;
      x[n][0][t] = 0.5;
      x[n][1][t] = 2.0;
      y[n][0][t] = 3 * sign;
    }
  }
  const PerSampleFunction loss(
      "product", /*higher_is_better=*/false,
      [](const at::Tensor& output, const at::Tensor& labels) {
        return output.mul(labels).sum({1, 2});
      });
  const auto convolution = MakeModel(
      {Numbers({1, 2, 1}, 1)}, [](const Tensors& p, const at::Tensor& in,
                                  Recorder*) { return at::conv1d(in, p[0]); });
  const auto linear =
      MakeModel({Numbers({1, 2}, 1)},
                [](const Tensors& p, const at::Tensor& in, Recorder*) {
                  return at::linear(in.transpose(1, 2), p[0]).transpose(1, 2);
                });
  KroneckerFitOptions options;
  options.method = KroneckerMethod::kKfac;
  for (const auto& model : {convolution, linear}) {
    const Batch batch{{x}, y};
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const KroneckerFit fit,
        Fit(Observe(model, loss, batch), batch, options));
    EXPECT_THAT(Dense(fit.curvature, *model),
                TensorNear(EmpiricalFisher(model, loss, batch), kTolerance));
  }
}

TEST(KroneckerFitTest, BatchSizeAndMemoryDoNotMatter) {
  // Samples a batch, and factors kept: none, some, or all of them.
  struct Cut {
    Fisher fisher;
    int64_t batch_size;
    int64_t kept_factor_bytes;
  };
  const std::vector<Case> cases = Cases();
  for (const size_t c : {0, 2, 4}) {
    const Case& test_case = cases[c];
    SCOPED_TRACE(test_case.name);
    const auto model = MakeModel(test_case.parameters, test_case.forward);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    for (const Cut& cut :
         {Cut{Fisher::kEmpirical, 1, 0},
          Cut{Fisher::kEmpirical, 3, int64_t{1} << 20},
          Cut{Fisher::kExact, 3, 10000}, Cut{Fisher::kSampled, 3, 3000}}) {
      KroneckerFitOptions options;
      options.fisher = cut.fisher;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit whole,
                                     Fit(provider, test_case.batch, options));
      options.kept_factor_bytes = cut.kept_factor_bytes;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit parts,
          Fit(provider, test_case.batch, options, cut.batch_size));
      EXPECT_THAT(Dense(parts.curvature, *model),
                  TensorNear(Dense(whole.curvature, *model), 1e-10));
      for (size_t l = 0; l < whole.curvature.layers.size(); ++l) {
        EXPECT_THAT(parts.curvature.layers[l].eigenvalues,
                    TensorNear(whole.curvature.layers[l].eigenvalues, 1e-10));
      }
    }
  }
}

// The same on every rank, and what one process finds, also where ranks are
// without samples.
TEST(KroneckerFitTest, RanksFitTogether) {
  const std::vector<Case> cases = Cases();
  for (const size_t c : {0, 4}) {
    const Case& test_case = cases[c];
    SCOPED_TRACE(test_case.name);
    const auto model = MakeModel(test_case.parameters, test_case.forward);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    for (const Fisher fisher : {Fisher::kEmpirical, Fisher::kSampled}) {
      for (const KroneckerMethod method :
           {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
        KroneckerFitOptions options;
        options.method = method;
        options.fisher = fisher;
        options.mean_squared_norms = true;
        options.kept_factor_bytes = 2000;
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const KroneckerFit alone,
            Fit(provider, test_case.batch, options, 4));
        for (const int size : {1, 2, 5}) {
          std::vector<absl::StatusOr<KroneckerFit>> fits(
              size, absl::UnknownError("not run"));
          const std::vector<absl::Status> statuses = RunThreadTeam(
              size, [&](Communicator& communicator) -> absl::Status {
                KroneckerFitOptions together = options;
                together.communicator = std::shared_ptr<Communicator>(
                    std::shared_ptr<void>(), &communicator);
                fits[communicator.rank()] =
                    Fit(provider, test_case.batch, together, 4);
                return fits[communicator.rank()].status();
              });
          INFLUENCE_ASSERT_OK(FirstError(statuses));
          for (const absl::StatusOr<KroneckerFit>& fit : fits) {
            EXPECT_EQ(fit->curvature.num_samples, alone.curvature.num_samples);
            EXPECT_THAT(Dense(fit->curvature, *model),
                        TensorNear(Dense(alone.curvature, *model), 1e-10));
            EXPECT_TRUE(at::equal(Dense(fit->curvature, *model),
                                  Dense(fits[0]->curvature, *model)));
            ASSERT_EQ(fit->mean_squared_norms.size(),
                      alone.mean_squared_norms.size());
            for (size_t b = 0; b < alone.mean_squared_norms.size(); ++b) {
              EXPECT_NEAR(fit->mean_squared_norms[b],
                          alone.mean_squared_norms[b],
                          1e-12 * alone.mean_squared_norms[b]);
            }
          }
        }
      }
    }
  }
}

class KeptStages : public FitCheckpoint {
 public:
  absl::StatusOr<std::optional<std::vector<at::Tensor>>> Find(
      absl::string_view stage) const override {
    const auto found = stages.find(std::string(stage));
    if (found == stages.end()) return std::nullopt;
    return found->second;
  }

  absl::Status Keep(absl::string_view stage,
                    const std::vector<at::Tensor>& arrays) override {
    std::vector<at::Tensor> copies;
    for (const at::Tensor& array : arrays) copies.push_back(array.clone());
    EXPECT_TRUE(stages.emplace(stage, std::move(copies)).second) << stage;
    return absl::OkStatus();
  }

  std::map<std::string, std::vector<at::Tensor>> stages;
};

TEST(KroneckerFitTest, GoesOnAfterThePassesThatWereKept) {
  const std::vector<Case> cases = Cases();
  for (const size_t c : {0, 4}) {
    const Case& test_case = cases[c];
    SCOPED_TRACE(test_case.name);
    const auto model = MakeModel(test_case.parameters, test_case.forward);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    for (const Fisher fisher : {Fisher::kEmpirical, Fisher::kSampled}) {
      KeptStages kept;
      KroneckerFitOptions options;
      options.fisher = fisher;
      options.mean_squared_norms = true;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit whole, Fit(provider, test_case.batch, options, 4));
      options.checkpoint = &kept;
      INFLUENCE_ASSERT_OK(Fit(provider, test_case.batch, options, 4));
      ASSERT_EQ(kept.stages.size(), 2);
      KeptStages first_pass = kept;
      first_pass.stages.erase("eigenvalues");
      for (KeptStages* stages : {&first_pass, &kept}) {
        options.checkpoint = stages;
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const KroneckerFit fit, Fit(provider, test_case.batch, options, 4));
        EXPECT_EQ(stages->stages.size(), 2);
        EXPECT_EQ(fit.curvature.num_samples, whole.curvature.num_samples);
        EXPECT_TRUE(at::equal(Dense(fit.curvature, *model),
                              Dense(whole.curvature, *model)));
        EXPECT_EQ(fit.mean_squared_norms, whole.mean_squared_norms);
      }
      // Nothing of the data is summed again: kept sums that are changed show.
      kept.stages.erase("eigenvalues");
      kept.stages["covariances"][3].mul_(2);
      options.checkpoint = &kept;
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit changed,
          Fit(provider, test_case.batch, options, 4));
      EXPECT_TRUE(at::equal(changed.curvature.layers[0].input_covariance,
                            whole.curvature.layers[0].input_covariance.mul(2)));
      // What belongs to another model is refused.
      kept.stages["covariances"].pop_back();
      EXPECT_THAT(Fit(provider, test_case.batch, options, 4),
                  StatusIs(absl::StatusCode::kDataLoss,
                           HasSubstr("of the stage covariances")));
    }
  }
}

TEST(KroneckerFitTest, GoesOnAfterRowsThatWereKept) {
  const Case test_case = WideCases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  KeptStages kept;
  KroneckerFitOptions options;
  options.keep_covariances = false;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit whole,
                                 Fit(provider, test_case.batch, options, 4));
  options.checkpoint = &kept;
  INFLUENCE_ASSERT_OK(Fit(provider, test_case.batch, options, 4));
  // The counts, parts and norms, then the two sides of three layers.
  const std::vector<at::Tensor>& sums = kept.stages["covariances"];
  ASSERT_EQ(sums.size(), 3 + 2 * 3);
  EXPECT_EQ(sums[3].sizes(), at::IntArrayRef({12, 10, 10}));
  EXPECT_EQ(sums[6].sizes(), at::IntArrayRef({1, 32, 70}));
  EXPECT_EQ(sums[7].sizes(), at::IntArrayRef({1, 8, 281}));
  ASSERT_EQ(kept.stages["eigenvalues"].size(), 5 * 3);
  KeptStages first_pass = kept;
  first_pass.stages.erase("eigenvalues");
  for (KeptStages* stages : {&first_pass, &kept}) {
    options.checkpoint = stages;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                   Fit(provider, test_case.batch, options, 4));
    EXPECT_TRUE(at::equal(Dense(fit.curvature, *model),
                          Dense(whole.curvature, *model)));
  }
}

TEST(KroneckerFitTest, WiderLayersThanTheLargestFactorAreUncovered) {
  const Case test_case = WideCases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit whole,
                                 Fit(provider, test_case.batch));
  KroneckerFitOptions options;
  options.max_factor_size = 280;  // Of 281 inputs with the 1.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                 Fit(provider, test_case.batch, options));
  ASSERT_EQ(fit.uncovered.size(), 2);
  EXPECT_EQ(fit.uncovered[0].parameter, 4);
  EXPECT_EQ(fit.uncovered[1].parameter, 5);
  EXPECT_EQ(fit.uncovered[1].reason,
            "281 inputs, more than the largest factor size 280");
  // The diagonal of the Fisher there; elsewhere nothing changes.
  const at::Tensor fisher =
      EmpiricalFisher(model, CrossEntropyLoss(), test_case.batch);
  const at::Tensor dense = Dense(fit.curvature, *model);
  const int64_t first = model->num_parameters() - 3 * 281;
  EXPECT_THAT(dense.narrow(0, first, 3 * 281).narrow(1, first, 3 * 281),
              TensorNear(fisher.diagonal().narrow(0, first, 3 * 281).diag(),
                         kTolerance));
  EXPECT_THAT(dense.narrow(0, 0, first).narrow(1, 0, first),
              TensorNear(Dense(whole.curvature, *model)
                             .narrow(0, 0, first)
                             .narrow(1, 0, first),
                         kTolerance));
  options.max_factor_size = 281;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit enough,
                                 Fit(provider, test_case.batch, options));
  EXPECT_TRUE(enough.uncovered.empty());
  options.max_factor_size = 280;
  options.uncovered = UncoveredPolicy::kError;
  EXPECT_THAT(Fit(provider, test_case.batch, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("p4 (281 inputs, more than")));
}

// Counts the steps of each stage.
class Steps : public ProgressReporter {
 public:
  void Begin(absl::string_view stage, int64_t /*total*/,
             absl::string_view /*unit*/) override {
    stage_ = std::string(stage);
  }
  void Advance(int64_t steps) override { done[stage_] += steps; }
  void End() override {}

  std::map<std::string, int64_t> done;

 private:
  std::string stage_;
};

// The fit of ranks that share what rank 0 keeps in `kept`; the same on each.
absl::StatusOr<KroneckerFit> FitTogether(
    int size, KeptStages* kept,
    const std::shared_ptr<const GradientProvider>& provider, const Batch& batch,
    const KroneckerFitOptions& options) {
  std::vector<absl::StatusOr<KroneckerFit>> fits(size,
                                                 absl::UnknownError("not run"));
  const absl::Status status = FirstError(
      RunThreadTeam(size, [&](Communicator& communicator) -> absl::Status {
        KroneckerFitOptions together = options;
        together.communicator = std::shared_ptr<Communicator>(
            std::shared_ptr<void>(), &communicator);
        SharedFitCheckpoint checkpoint(together.communicator, kept);
        together.checkpoint = &checkpoint;
        fits[communicator.rank()] = Fit(provider, batch, together, 2);
        return fits[communicator.rank()].status();
      }));
  if (!status.ok()) return status;
  return std::move(fits.back());
}

TEST(KroneckerFitTest, RanksGoOnAfterThePassesThatWereKept) {
  const Case test_case = Cases()[4];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  for (const Fisher fisher : {Fisher::kEmpirical, Fisher::kSampled}) {
    KroneckerFitOptions options;
    options.fisher = fisher;
    options.mean_squared_norms = true;
    KeptStages kept;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const KroneckerFit whole,
        FitTogether(2, &kept, provider, test_case.batch, options));
    ASSERT_EQ(kept.stages.size(), 2);
    KeptStages first_pass = kept;
    first_pass.stages.erase("eigenvalues");
    // By as many ranks to the bit, by others to rounding.
    for (const int size : {2, 1, 3}) {
      for (const KeptStages& of_run : {first_pass, kept}) {
        KeptStages stages = of_run;
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const KroneckerFit fit,
            FitTogether(size, &stages, provider, test_case.batch, options));
        EXPECT_EQ(stages.stages.size(), 2);
        EXPECT_EQ(fit.curvature.num_samples, whole.curvature.num_samples);
        EXPECT_THAT(
            Dense(fit.curvature, *model),
            TensorNear(Dense(whole.curvature, *model), size == 2 ? 0 : 1e-10));
        ASSERT_EQ(fit.mean_squared_norms.size(),
                  whole.mean_squared_norms.size());
        for (size_t b = 0; b < whole.mean_squared_norms.size(); ++b) {
          EXPECT_NEAR(fit.mean_squared_norms[b], whole.mean_squared_norms[b],
                      1e-12 * whole.mean_squared_norms[b]);
        }
      }
    }
    // Nothing of the data is summed again: kept sums that are changed show.
    first_pass.stages["covariances"][3].mul_(2);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const KroneckerFit changed,
        FitTogether(3, &first_pass, provider, test_case.batch, options));
    EXPECT_TRUE(at::equal(changed.curvature.layers[0].input_covariance,
                          whole.curvature.layers[0].input_covariance.mul(2)));
  }
}

// Its batches, of which one in the middle is short.
class UnevenData : public BatchSequence {
 public:
  explicit UnevenData(std::vector<Batch> batches)
      : batches_(std::move(batches)) {}
  int64_t num_batches() const override {
    return static_cast<int64_t>(batches_.size());
  }
  int64_t num_samples() const override {
    int64_t count = 0;
    for (const Batch& batch : batches_) count += batch.size();
    return count;
  }
  absl::StatusOr<Batch> Get(int64_t index) const override {
    return batches_[index];
  }

 private:
  std::vector<Batch> batches_;
};

// Who adds what does not matter, nor where a short batch is: a sampled Fisher
// would show a sample that is taken for another.
TEST(KroneckerFitTest, WorkersShareTheBatches) {
  const int before = at::get_num_threads();
  const std::vector<Case> cases = Cases();
  for (const size_t c : {0, 4}) {
    const Case& test_case = cases[c];
    SCOPED_TRACE(test_case.name);
    const auto model = MakeModel(test_case.parameters, test_case.forward);
    const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
    const ParameterBlocks blocks =
        ParameterBlocks::Create(*model, BlockStructure::kLayer);
    const int64_t n = test_case.batch.size();
    std::vector<Batch> batches;
    for (int64_t begin = 0, size = 2; begin < n; begin += size, size = 1) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          batches.emplace_back(),
          SliceBatch(test_case.batch, begin, std::min(begin + size, n)));
    }
    ASSERT_GE(batches.size(), 6u);
    const UnevenData data(batches);
    for (const Fisher fisher :
         {Fisher::kEmpirical, Fisher::kExact, Fisher::kSampled}) {
      KroneckerFitOptions options;
      options.fisher = fisher;
      options.mean_squared_norms = true;
      options.kept_factor_bytes = 2000;
      at::set_num_threads(1);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit alone,
          FitKronecker(provider, blocks, data, options));
      at::set_num_threads(3);
      for (const int64_t worker_bytes : {int64_t{1} << 30, int64_t{0}}) {
        options.worker_bytes = worker_bytes;
        Steps steps;
        INFLUENCE_ASSERT_OK_AND_ASSIGN(
            const KroneckerFit fit,
            FitKronecker(provider, blocks, data, options, &steps));
        EXPECT_EQ(at::get_num_threads(), 3);
        EXPECT_EQ(steps.done["covariances"],
                  static_cast<int64_t>(batches.size()));
        EXPECT_EQ(steps.done["eigenvalues"],
                  static_cast<int64_t>(batches.size()));
        EXPECT_EQ(fit.curvature.num_samples, n);
        EXPECT_THAT(Dense(fit.curvature, *model),
                    TensorNear(Dense(alone.curvature, *model), 1e-10));
        for (size_t b = 0; b < alone.mean_squared_norms.size(); ++b) {
          EXPECT_NEAR(fit.mean_squared_norms[b], alone.mean_squared_norms[b],
                      1e-12 * alone.mean_squared_norms[b]);
        }
      }
    }
  }
  at::set_num_threads(before);
}

// The first error of any of them.
TEST(KroneckerFitTest, WorkersStopAtABadBatch) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  const Case test_case = Cases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  std::vector<Batch> batches;
  for (int64_t begin = 0; begin + 2 <= test_case.batch.size(); begin += 2) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        batches.emplace_back(), SliceBatch(test_case.batch, begin, begin + 2));
  }
  ASSERT_GE(batches.size(), 4u);
  // Of the first worker, and of the last.
  for (const size_t bad : {size_t{1}, batches.size() - 1}) {
    std::vector<Batch> with_bad = batches;
    with_bad[bad].x[0] = with_bad[bad].x[0].slice(0, 0, 1);
    EXPECT_THAT(
        FitKronecker(provider,
                     ParameterBlocks::Create(*model, BlockStructure::kLayer),
                     UnevenData(with_bad)),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("y")));
  }
  at::set_num_threads(before);
}

TEST(KroneckerFitTest, RanksRefuseUnevenBatches) {
  const Case test_case = Cases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  std::vector<Batch> batches;
  for (const auto& [begin, end] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 6}, {6, 10}}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(batches.emplace_back(),
                                   SliceBatch(test_case.batch, begin, end));
  }
  const UnevenData data(batches);
  const ParameterBlocks blocks =
      ParameterBlocks::Create(*model, BlockStructure::kLayer);
  INFLUENCE_EXPECT_OK(FitKronecker(provider, blocks, data));
  EXPECT_THAT(
      FirstError(RunThreadTeam(
          2,
          [&](Communicator& communicator) {
            KroneckerFitOptions options;
            options.communicator = std::shared_ptr<Communicator>(
                std::shared_ptr<void>(), &communicator);
            return FitKronecker(provider, blocks, data, options).status();
          })),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("batch 1: found 2 samples, expected 4")));
}

TEST(KroneckerFitTest, SinglePrecisionIsNearDouble) {
  const Case test_case = Cases()[4];
  Tensors values;
  for (const at::Tensor& value : test_case.parameters) {
    values.push_back(value.to(at::kFloat));
  }
  Batch batch = test_case.batch;
  batch.x[0] = batch.x[0].to(at::kFloat);
  const auto model = MakeModel(values, test_case.forward);
  const auto exact = MakeModel(test_case.parameters, test_case.forward);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const KroneckerFit found,
      Fit(Observe(model, CrossEntropyLoss(), batch), batch));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const KroneckerFit expected,
      Fit(Observe(exact, CrossEntropyLoss(), test_case.batch),
          test_case.batch));
  for (const KroneckerFactors& factors : found.curvature.layers) {
    EXPECT_EQ(factors.input_eigenvectors.scalar_type(), at::kDouble);
    EXPECT_EQ(factors.eigenvalues.scalar_type(), at::kDouble);
  }
  EXPECT_THAT(Dense(found.curvature, *model),
              TensorNear(Dense(expected.curvature, *exact), 1e-4));
}

TEST(KroneckerFitTest, ExactFisherIsTheDiagonalOfTheGaussNewtonMatrix) {
  const Case test_case = Cases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  const at::Tensor fisher =
      DenseGeneralizedGaussNewton(*reference, test_case.batch);
  KroneckerFitOptions options;
  options.fisher = Fisher::kExact;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                 Fit(provider, test_case.batch, options));
  for (const KroneckerFactors& factors : fit.curvature.layers) {
    const at::Tensor basis = Basis(factors, *model);
    EXPECT_THAT(factors.eigenvalues,
                TensorNear(basis.mul(fisher.matmul(basis))
                               .sum({0})
                               .view(factors.eigenvalues.sizes()),
                           kTolerance));
  }
  // Positions count once, whatever the number of classes.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit empirical,
                                 Fit(provider, test_case.batch));
  for (size_t l = 0; l < 2; ++l) {
    EXPECT_THAT(
        fit.curvature.layers[l].input_covariance,
        TensorNear(empirical.curvature.layers[l].input_covariance, 1e-12));
  }
}

TEST(KroneckerFitTest, SampledFisherConvergesToTheExactOne) {
  // 20 samples, each 100 times. The gradient covariance of the last layer is
  // the mean of (p - e_y)(p - e_y)^T over 2,000 draws of entries in [-1, 1]:
  // 0.06 is five standard deviations of 0.5 / sqrt(2,000).
  const Case test_case = Cases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  Batch once;
  once.x = {Numbers({20, 4}, 8)};
  once.y = SeededLabels(20, 3, 9);
  Batch repeated;
  repeated.x = {once.x[0].repeat({100, 1})};
  repeated.y = once.y.repeat({100});
  KroneckerFitOptions options;
  options.fisher = Fisher::kExact;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit exact,
                                 Fit(provider, once, options));
  options.fisher = Fisher::kSampled;
  options.seed = 3;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit sampled,
                                 Fit(provider, repeated, options, 512));
  const at::Tensor difference =
      sampled.curvature.layers[1].gradient_covariance.sub(
          exact.curvature.layers[1].gradient_covariance);
  EXPECT_LT(difference.abs().max().item<double>(), 0.06);
  EXPECT_GT(difference.abs().max().item<double>(), 0);
  options.seed = 4;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit other,
                                 Fit(provider, repeated, options, 512));
  EXPECT_GT(other.curvature.layers[1]
                .gradient_covariance
                .sub(sampled.curvature.layers[1].gradient_covariance)
                .abs()
                .max()
                .item<double>(),
            0);
}

// An embedding tied with the output layer, a scale, and a Linear layer.
Case TiedCase() {
  return {"tied",
          {Numbers({5, 4}, 1), Numbers({4}, 2), Numbers({4, 4}, 3),
           Numbers({4}, 4)},
          [](const Tensors& p, const at::Tensor& x, Recorder*) {
            const at::Tensor embedded =
                at::embedding(p[0], x.abs().mul(2).clamp_max(4).to(at::kLong));
            const at::Tensor hidden =
                at::linear(embedded.mul(p[1]), p[2], p[3]).tanh();
            return at::linear(hidden, p[0]).sum({1});
          },
          WithLabels(Numbers({9, 6}, 5), 5),
          {"p2"}};
}

TEST(KroneckerFitTest, WhatIsInNoLayerHasTheDiagonalOfTheFisher) {
  const Case test_case = TiedCase();
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  const at::Tensor empirical =
      EmpiricalFisher(model, CrossEntropyLoss(), test_case.batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  const at::Tensor exact =
      DenseGeneralizedGaussNewton(*reference, test_case.batch);
  for (const bool is_exact : {false, true}) {
    KroneckerFitOptions options;
    options.fisher = is_exact ? Fisher::kExact : Fisher::kEmpirical;
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                   Fit(provider, test_case.batch, options));
    const at::Tensor diagonal = (is_exact ? exact : empirical).diagonal();
    ASSERT_EQ(fit.curvature.layers.size(), 1u);
    EXPECT_EQ(fit.curvature.layers[0].layer, "p2");
    ASSERT_EQ(fit.curvature.diagonals.size(), 2u);
    EXPECT_EQ(fit.curvature.diagonals[0].parameter, 0);
    EXPECT_THAT(fit.curvature.diagonals[0].diagonal,
                TensorNear(diagonal.narrow(0, 0, 20), kTolerance));
    EXPECT_EQ(fit.curvature.diagonals[1].parameter, 1);
    EXPECT_THAT(fit.curvature.diagonals[1].diagonal,
                TensorNear(diagonal.narrow(0, 20, 4), kTolerance));
    EXPECT_TRUE(fit.curvature.dropped.empty());
    ASSERT_EQ(fit.uncovered.size(), 2u);
    EXPECT_EQ(fit.uncovered[0].reason, "used by an embedding");
  }
}

TEST(KroneckerFitTest, WhatIsInNoLayerIsDroppedOrRefused) {
  const Case test_case = TiedCase();
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  KroneckerFitOptions options;
  options.uncovered = UncoveredPolicy::kDrop;
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                 Fit(provider, test_case.batch, options));
  EXPECT_TRUE(fit.curvature.diagonals.empty());
  EXPECT_THAT(fit.curvature.dropped, testing::ElementsAre(0, 1));
  options.uncovered = UncoveredPolicy::kError;
  EXPECT_THAT(
      Fit(provider, test_case.batch, options),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("p0 (used by an embedding), p1 (used by aten::mul); "
                         "expected none with uncovered = error")));
}

TEST(KroneckerFitTest, MeanSquaredNormsAreThoseOfTheTrueLabels) {
  const Case test_case = TiedCase();
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const AutogradGradientProvider> reference,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor gradients,
                                 reference->FlatGrads(test_case.batch));
  const at::Tensor squares = gradients.square().mean({0});
  for (const KroneckerMethod method :
       {KroneckerMethod::kKfac, KroneckerMethod::kEkfac}) {
    for (const auto& [fisher, uncovered] :
         {std::pair(Fisher::kEmpirical, UncoveredPolicy::kDiagonal),
          std::pair(Fisher::kEmpirical, UncoveredPolicy::kDrop),
          std::pair(Fisher::kSampled, UncoveredPolicy::kDrop)}) {
      KroneckerFitOptions options;
      options.method = method;
      options.fisher = fisher;
      options.uncovered = uncovered;
      options.mean_squared_norms = true;
      // By parameter: the bias is a block of its own.
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit fit,
                                     Fit(provider, test_case.batch, options, 4,
                                         BlockStructure::kParameter));
      ASSERT_EQ(fit.mean_squared_norms.size(), 4u);
      int64_t offset = 0;
      for (size_t b = 0; b < 4; ++b) {
        const int64_t size = model->parameters()[b].tensor.numel();
        const double expected =
            squares.narrow(0, offset, size).sum().item<double>();
        EXPECT_NEAR(fit.mean_squared_norms[b], expected, 1e-10 * expected);
        offset += size;
      }
      // All in one block.
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const KroneckerFit full,
          Fit(provider, test_case.batch, options, 4, BlockStructure::kFull));
      EXPECT_NEAR(full.mean_squared_norms[0], squares.sum().item<double>(),
                  1e-10 * full.mean_squared_norms[0]);
    }
  }
}

TEST(KroneckerFitTest, ObservesTheModelItselfWhereTheProviderDidNot) {
  const Case test_case = Cases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const AutogradGradientProvider> unobserved,
      AutogradGradientProvider::Create(model, CrossEntropyLoss()));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TensorBatchSequence data,
      TensorBatchSequence::Create(test_case.batch, 4));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const KroneckerFit found,
      FitKronecker(unobserved,
                   ParameterBlocks::Create(*model, BlockStructure::kLayer),
                   data));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const KroneckerFit expected,
                                 Fit(provider, test_case.batch));
  EXPECT_THAT(Dense(found.curvature, *model),
              TensorNear(Dense(expected.curvature, *model), 1e-10));
}

TEST(KroneckerFitTest, NamesWhatIsWrongWithTheArguments) {
  const Case test_case = Cases()[0];
  const auto model = MakeModel(test_case.parameters, test_case.forward);
  const auto provider = Observe(model, CrossEntropyLoss(), test_case.batch);
  KroneckerFitOptions options;
  options.kept_factor_bytes = -1;
  EXPECT_THAT(Fit(provider, test_case.batch, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("kept_factor_bytes: found -1")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const TensorBatchSequence data,
      TensorBatchSequence::Create(test_case.batch, 4));
  EXPECT_THAT(
      FitKronecker(nullptr,
                   ParameterBlocks::Create(*model, BlockStructure::kLayer),
                   data),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("provider: is null")));
  for (const UncoveredPolicy policy :
       {UncoveredPolicy::kDiagonal, UncoveredPolicy::kDrop,
        UncoveredPolicy::kError}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const UncoveredPolicy parsed,
        ParseUncoveredPolicy(UncoveredPolicyName(policy)));
    EXPECT_EQ(parsed, policy);
  }
  EXPECT_THAT(ParseUncoveredPolicy("keep"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("uncovered: found \"keep\", expected one of "
                                 "diagonal, drop, error")));
}

}  // namespace
}  // namespace influence
