// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/method_definition.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/diag.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/full_like.h"
#include "ATen/ops/linalg_eigh.h"
#include "ATen/ops/linalg_inv.h"
#include "ATen/ops/linear.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/outer.h"
#include "ATen/ops/softmax.h"
#include "ATen/ops/tanh.h"
#include "ATen/ops/zeros.h"
#include "ATen/ops/zeros_like.h"
#include "base/counter_based_random.h"
#include "base/status_macros.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/parameter_blocks.h"
#include "gradients/per_sample_function.h"
#include "operators/problem_testing.h"
#include "tests/support/function_model.h"

namespace influence {
namespace {

constexpr int64_t kNumClasses = 3;

at::Tensor Damped(const at::Tensor& matrix, double regularization) {
  return matrix.add(at::eye(matrix.size(0), at::kDouble), regularization);
}

at::Tensor FlatGrads(const ClassifierProblem& problem, const at::Tensor& y) {
  absl::StatusOr<at::Tensor> grads =
      problem.reference().FlatGrads({problem.train().x, y});
  INFLUENCE_CHECK(grads.ok());
  return *std::move(grads);
}

// The inverse of the `rank` eigenpairs of largest magnitude.
at::Tensor LowRankDefinition(const at::Tensor& c, int64_t rank, bool exact,
                             double regularization) {
  auto [values, vectors] = at::linalg_eigh(c);
  const at::Tensor order = values.abs().argsort(0, /*descending=*/true);
  values = values.index_select(0, order);
  vectors = vectors.index_select(1, order);
  const double largest = values[0].abs().item<double>();
  rank = std::min(rank, c.size(0));
  if (rank < c.size(0)) {
    const double last = values[rank - 1].abs().item<double>() / largest;
    const double next = values[rank].abs().item<double>() / largest;
    // Either apart, or nothing is left out.
    INFLUENCE_CHECK(last - next > 1e-6 || next < 1e-13);
  }
  at::Tensor result = exact
                          ? at::eye(c.size(0), at::kDouble).div(regularization)
                          : at::zeros_like(c);
  for (int64_t i = 0; i < rank; ++i) {
    const double d = values[i].item<double>();
    // Zero but for the error of central differences.
    if (!exact && std::abs(d) < 1e-8 * largest) continue;
    const double weight = exact ? 1 / (d + regularization) - 1 / regularization
                                : 1 / (d + regularization);
    const at::Tensor u = vectors.select(1, i);
    result.add_(at::outer(u, u), weight);
  }
  return result;
}

at::Tensor InverseHarmonicMean(const at::Tensor& grads, double regularization) {
  at::Tensor sum = at::zeros({grads.size(1), grads.size(1)}, at::kDouble);
  for (int64_t n = 0; n < grads.size(0); ++n) {
    sum.add_(
        at::linalg_inv(Damped(at::outer(grads[n], grads[n]), regularization)));
  }
  return sum.div(static_cast<double>(grads.size(0)));
}

// Gradients whose weighted outer products average to the Fisher.
struct FisherTerm {
  at::Tensor weights;  // [N], a mean over samples: they sum to 1.
  at::Tensor grads;    // [N, P]
};

std::vector<FisherTerm> FisherTerms(const InfluenceMethod& method,
                                    const ClassifierProblem& problem) {
  const int64_t size = problem.train().size();
  const double share = 1.0 / static_cast<double>(size);
  if (method.fisher == "empirical") {
    return {{at::full({size}, share, at::kDouble),
             FlatGrads(problem, problem.train().y)}};
  }
  const at::Tensor p = problem.Probabilities();
  if (method.fisher == "exact") {
    std::vector<FisherTerm> terms;
    for (int64_t k = 0; k < kNumClasses; ++k) {
      terms.push_back(
          {p.select(1, k).mul(share),
           FlatGrads(problem, at::full_like(problem.train().y, k))});
    }
    return terms;
  }
  INFLUENCE_CHECK(method.fisher == "sampled");
  at::Tensor drawn = at::zeros({size}, at::kLong);
  for (int64_t n = 0; n < size; ++n) {
    const double u = UniformAt(method.seed, static_cast<uint64_t>(n), 0);
    double total = 0;
    int64_t label = 0;  // The first with a total beyond u.
    for (int64_t k = 0; k < kNumClasses; ++k) {
      total += p[n][k].item<double>();
      if (total <= u) label = k + 1;
    }
    drawn[n].fill_(std::min(label, kNumClasses - 1));
  }
  return {{at::full({size}, share, at::kDouble), FlatGrads(problem, drawn)}};
}

// The layer with outputs o and inputs a (a 1 appended), whose weight and bias
// lie in the flat vector from `offset` on. Without positions g is the bias's
// gradient.
void FillLayer(const std::vector<FisherTerm>& terms, const at::Tensor& a,
               int64_t outputs, int64_t offset, bool ekfac,
               const at::Tensor& fisher) {
  const int64_t inputs = a.size(1);
  const int64_t bias = offset + outputs * (inputs - 1);
  const at::Tensor s_a = a.t().matmul(a).div(static_cast<double>(a.size(0)));
  at::Tensor s_g = at::zeros({outputs, outputs}, at::kDouble);
  for (const FisherTerm& term : terms) {
    const at::Tensor g = term.grads.narrow(1, bias, outputs);
    s_g.add_(g.t().matmul(g.mul(term.weights.unsqueeze(1))));
  }
  // Entry (o, i) of the layer's gradient.
  const auto place = [&](int64_t o, int64_t i) {
    return i + 1 < inputs ? offset + o * (inputs - 1) + i : bias + o;
  };
  at::Tensor places = at::empty({outputs * inputs}, at::kLong);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t i = 0; i < inputs; ++i) {
      places[o * inputs + i].fill_(place(o, i));
    }
  }
  at::Tensor dense;  // [outputs * inputs, outputs * inputs]
  if (!ekfac) {
    dense = at::zeros({outputs, inputs, outputs, inputs}, at::kDouble);
    for (int64_t o = 0; o < outputs; ++o) {
      for (int64_t p = 0; p < outputs; ++p) {
        dense.select(2, p).select(0, o).copy_(s_a.mul(s_g[o][p]));
      }
    }
    dense = dense.reshape({outputs * inputs, outputs * inputs});
  } else {
    dense = at::zeros({outputs * inputs, outputs * inputs}, at::kDouble);
    const at::Tensor u_a = std::get<1>(at::linalg_eigh(s_a));
    const at::Tensor u_g = std::get<1>(at::linalg_eigh(s_g));
    for (int64_t k = 0; k < outputs; ++k) {
      for (int64_t l = 0; l < inputs; ++l) {
        const at::Tensor direction =
            at::outer(u_g.select(1, k), u_a.select(1, l)).reshape({-1});
        double eigenvalue = 0;
        for (const FisherTerm& term : terms) {
          const at::Tensor along =
              term.grads.index_select(1, places).matmul(direction);
          eigenvalue += along.square().dot(term.weights).item<double>();
        }
        dense.add_(at::outer(direction, direction), eigenvalue);
      }
    }
  }
  for (int64_t i = 0; i < places.size(0); ++i) {
    fisher[places[i].item<int64_t>()].index_copy_(0, places, dense[i]);
  }
}

at::Tensor KroneckerDefinition(const InfluenceMethod& method,
                               const ClassifierProblem& problem,
                               double regularization) {
  const std::vector<FisherTerm> terms = FisherTerms(method, problem);
  const std::vector<at::Tensor> inputs = problem.LayerInputs();
  const int64_t size = problem.reference().num_parameters();
  at::Tensor fisher = at::zeros({size, size}, at::kDouble);
  const bool ekfac = method.method == "ekfac";
  FillLayer(terms, inputs[0], 4, 0, ekfac, fisher);
  FillLayer(terms, inputs[1], kNumClasses, 20, ekfac, fisher);
  // norm.scale.
  at::Tensor diagonal = at::zeros({4}, at::kDouble);
  for (const FisherTerm& term : terms) {
    diagonal.add_(
        term.grads.narrow(1, 16, 4).square().t().matmul(term.weights));
  }
  fisher.narrow(0, 16, 4).narrow(1, 16, 4).copy_(at::diag(diagonal));
  at::Tensor inverse = at::linalg_inv(Damped(fisher, regularization));
  if (method.uncovered == "drop") {
    inverse.narrow(0, 16, 4).zero_();
    inverse.narrow(1, 16, 4).zero_();
  }
  return inverse;
}

// Of one block: c [P_b, P_b] (undefined for methods without), grads [N, P_b].
at::Tensor BlockDefinition(const InfluenceMethod& method, const at::Tensor& c,
                           const at::Tensor& grads, double regularization) {
  const std::string& name = method.method;
  if (name == "identity") return at::eye(grads.size(1), at::kDouble);
  if (name == "ihm") return InverseHarmonicMean(grads, regularization);
  if (name == "direct" || name == "cg") {
    return at::linalg_inv(Damped(c, regularization));
  }
  if (name == "lissa") {
    const double shift = method.dampen == 0 ? 0 : *method.scale * method.dampen;
    return at::linalg_inv(Damped(c, regularization + shift));
  }
  INFLUENCE_CHECK(name == "arnoldi" || name == "nystroem");
  const int64_t rank = method.rank == 0 ? c.size(0) : method.rank;
  return LowRankDefinition(c, rank, method.low_rank_inverse == "exact",
                           regularization);
}

}  // namespace

ClassifierProblem::ClassifierProblem(at::ScalarType dtype) {
  const auto parameter = [&](const std::vector<int64_t>& shape, uint64_t seed,
                             double scale) {
    parameters_.push_back(
        ParameterLike(SeededNormal(shape, at::kDouble, seed, scale).to(dtype)));
    return parameters_.back();
  };
  const at::Tensor w1 = parameter({4, 3}, 1, 0.6);
  const at::Tensor b1 = parameter({4}, 2, 0.2);
  const at::Tensor scale = parameter({4}, 3, 0.8);
  const at::Tensor w2 = parameter({kNumClasses, 4}, 4, 0.6);
  const at::Tensor b2 = parameter({kNumClasses}, 5, 0.2);
  model_ = std::make_shared<const FunctionModel>(
      std::vector<NamedParameter>{{"fc1.weight", w1},
                                  {"fc1.bias", b1},
                                  {"norm.scale", scale},
                                  {"fc2.weight", w2},
                                  {"fc2.bias", b2}},
      [=](const std::vector<at::Tensor>& x) {
        const at::Tensor a = at::tanh(at::linear(x[0], w1, b1));
        return at::linear(a.mul(scale), w2, b2);
      });
  train_ = SeededClassification(9, 3, kNumClasses, at::kDouble, 6);
  test_ = SeededClassification(4, 3, kNumClasses, at::kDouble, 8);
  for (Batch* batch : {&train_, &test_}) {
    batch->x[0] = batch->x[0].mul(0.7).to(dtype);
  }
  // Two labels in three are what the model predicts, so that the Hessian is not
  // too indefinite.
  const at::Tensor predicted = Probabilities().argmax(1);
  for (int64_t n = 0; n < train_.size(); ++n) {
    if (n % 3 != 0) train_.y[n].copy_(predicted[n]);
  }
  auto reference = AutogradGradientProvider::Create(model_, CrossEntropyLoss());
  INFLUENCE_CHECK(reference.ok());
  reference_ = *std::move(reference);
}

const at::Tensor& ClassifierProblem::DenseCurvature(Curvature curvature) const {
  at::Tensor& found = curvatures_[curvature];
  if (!found.defined()) {
    switch (curvature) {
      case Curvature::kHessian:
        found = HessianByDifferences(*reference_, train_);
        break;
      case Curvature::kGaussNewton:
        found = DenseGaussNewton(*reference_, train_);
        break;
      case Curvature::kGeneralizedGaussNewton:
        found = DenseGeneralizedGaussNewton(*reference_, train_);
        break;
    }
  }
  return found;
}

std::vector<at::Tensor> ClassifierProblem::LayerInputs() const {
  const at::NoGradGuard no_grad;
  const at::Tensor ones = at::ones({train_.size(), 1}, train_.x[0].options());
  const at::Tensor hidden =
      at::tanh(train_.x[0].matmul(parameters_[0].t()).add(parameters_[1]))
          .mul(parameters_[2]);
  return {at::cat({train_.x[0], ones}, 1), at::cat({hidden, ones}, 1)};
}

at::Tensor ClassifierProblem::Probabilities() const {
  const at::NoGradGuard no_grad;
  const at::Tensor hidden = LayerInputs()[1].narrow(1, 0, 4);
  return at::softmax(hidden.matmul(parameters_[3].t()).add(parameters_[4]), 1);
}

at::Tensor DenseDefinition(const InfluenceMethod& method,
                           const ClassifierProblem& problem,
                           double regularization) {
  if (method.method == "kfac" || method.method == "ekfac") {
    return KroneckerDefinition(method, problem, regularization);
  }
  const at::Tensor grads = FlatGrads(problem, problem.train().y);
  at::Tensor dense = at::zeros({grads.size(1), grads.size(1)}, at::kDouble);
  const auto blocks =
      ParameterBlocks::Create(*problem.model(), method.structure);
  for (const ParameterBlock& block : blocks.blocks()) {
    const auto cut = [&block](const at::Tensor& matrix) {
      return matrix.narrow(0, block.offset, block.size)
          .narrow(1, block.offset, block.size);
    };
    at::Tensor c;
    if (method.has_curvature()) {
      c = cut(problem.DenseCurvature(method.curvature));
    }
    cut(dense).copy_(BlockDefinition(
        method, c, grads.narrow(1, block.offset, block.size), regularization));
  }
  return dense;
}

}  // namespace influence
