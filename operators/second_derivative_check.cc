// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/second_derivative_check.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/zeros_like.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/differentiable_attention.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "operators/curvature_graph.h"
#include "operators/random_matrix.h"
#include "torch/csrc/autograd/autograd.h"
#include "torch/csrc/autograd/function.h"
#include "torch/csrc/autograd/variable.h"

namespace influence {
namespace {

using Vectors = CurvatureGraph::Vectors;
using torch::autograd::Node;

constexpr int64_t kCheckedSamples = 3;
constexpr uint64_t kSeed = 20261201;

// Of |u^T H v - v^T H u|, in |u| |H v| / sqrt(P), about the Frobenius norm of
// H. Rounding is far below either.
constexpr double kDoubleTolerance = 1e-4;
constexpr double kFloatTolerance = 3e-2;

// The same in that of a loss that does not flatten out: a saturated loss has a
// Hessian of nothing but rounding.
constexpr double kDoubleFloor = 1e-10;
constexpr double kFloatFloor = 1e-4;

// Of |d - H v| / |H v|, d by central differences.
constexpr double kDifferenceTolerance = 1e-2;
constexpr double kDifferenceFloor = 1e-6;

// Steps, relative to the parameters. The best counts: a longer one leaves the
// piece of a piecewise linear model, a shorter one drowns in rounding where the
// model computes in float32 inside.
constexpr double kSteps[] = {1e-5, 1e-6, 1e-4, 1e-3, 1e-7, 1e-8};

struct Kind {
  absl::string_view name;
  absl::string_view way_out;  // Where the derivative is wrong.
  absl::StatusOr<std::unique_ptr<const CurvatureGraph>> (*create)(
      const GradientProvider& provider, const std::vector<int64_t>& parameters,
      const Batch& batch);
  bool has_differences;
};

constexpr absl::string_view kFirstDerivatives =
    "gauss_newton, or the method ekfac";

// Half the squared norm of a sample's output.
PerSampleFunction SquaredOutput() {
  return PerSampleFunction(
      "squared output", /*higher_is_better=*/false,
      [](const at::Tensor& output, const at::Tensor& /*y*/) {
        return output.mul(output).reshape({output.size(0), -1}).sum(1).div(2);
      });
}

// One model whose derivatives are looked at.
class Subject {
 public:
  Subject(const Kind& kind, const GradientProvider& provider,
          const std::vector<int64_t>& parameters, const Batch& batch)
      : kind_(kind),
        provider_(provider),
        parameters_(parameters),
        batch_(batch),
        is_double_(provider.model().dtype() == at::kDouble) {
    for (const int64_t index : parameters) {
      tensors_.push_back(provider.model().parameters()[index].tensor);
      outputs_.push_back(outputs_.size());
      size_ += tensors_.back().numel();
    }
  }

  // What is wrong; empty if nothing is. May throw.
  absl::StatusOr<std::string> Asymmetry() const {
    const Vectors u = Random(1);
    const Vectors v = Random(2);
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<const CurvatureGraph> graph,
        kind_.create(provider_, parameters_, batch_));
    const Vectors hu = graph->Product(u, outputs_);
    const Vectors hv = graph->Product(v, outputs_);
    const double scale = Scale(u, hu, v, hv);
    const double apart = std::abs(Dot(u, hv) - Dot(v, hu));
    const double tolerance = is_double_ ? kDoubleTolerance : kFloatTolerance;
    // Not finite: said elsewhere, with the block's name.
    if (!std::isfinite(apart) || apart <= tolerance * scale) return "";
    INFLUENCE_ASSIGN_OR_RETURN(const double unsaturated, UnsaturatedScale());
    const double floor = is_double_ ? kDoubleFloor : kFloatFloor;
    if (apart <= tolerance * scale + floor * unsaturated) return "";

    // The parameter that is worst by itself.
    size_t worst = 0;
    double most = -1;
    for (size_t p = 0; p < tensors_.size(); ++p) {
      Vectors only(tensors_.size());
      only[p] = u[p];
      const double difference =
          std::abs(Dot(only, hv) - Dot(v, graph->Product(only, outputs_)));
      if (difference <= most) continue;
      most = difference;
      worst = p;
    }
    return WrongDerivative(
        worst, absl::StrFormat("u^T C v and v^T C u differ by %.2g of the norm "
                               "of C for random u and v",
                               apart / scale));
  }

  // The same by central differences. Moves the model's parameters. May throw.
  absl::StatusOr<std::string> Differences() const {
    const Vectors v = ScaledRandom(3);
    Vectors hv;
    {
      INFLUENCE_ASSIGN_OR_RETURN(
          const std::unique_ptr<const CurvatureGraph> graph,
          kind_.create(provider_, parameters_, batch_));
      hv = graph->Product(v, outputs_);
    }
    const double norm = std::sqrt(Dot(hv, hv));
    if (!std::isfinite(norm)) return "";
    double unsaturated = -1;
    double least = -1;
    size_t worst = 0;
    for (const double step : kSteps) {
      INFLUENCE_ASSIGN_OR_RETURN(const Vectors above, GradientAt(v, step));
      INFLUENCE_ASSIGN_OR_RETURN(const Vectors below, GradientAt(v, -step));
      double apart = 0;
      double differences = 0;
      double most = -1;
      size_t worst_of_step = 0;
      for (size_t p = 0; p < tensors_.size(); ++p) {
        const at::Tensor difference =
            above[p].sub(below[p]).div_(2 * step).to(at::kDouble);
        differences += SquaredNorm(difference);
        const double of_parameter =
            SquaredNorm(hv[p].defined() ? difference.sub(hv[p]) : difference);
        apart += of_parameter;
        if (of_parameter > most) {
          most = of_parameter;
          worst_of_step = p;
        }
      }
      apart = std::sqrt(apart);
      const double size = std::max(norm, std::sqrt(differences));
      if (!std::isfinite(apart) || apart <= kDifferenceTolerance * size) {
        return "";
      }
      if (unsaturated < 0) {
        INFLUENCE_ASSIGN_OR_RETURN(unsaturated, UnsaturatedNorm(v));
      }
      if (apart <= kDifferenceFloor * unsaturated) return "";
      if (least < 0 || apart / size < least) {
        least = apart / size;
        worst = worst_of_step;
      }
    }
    // A model may stop gradients (detach): then its gradient is not that of a
    // function, its differences tell nothing, and C is what autograd makes it.
    INFLUENCE_ASSIGN_OR_RETURN(const bool symmetric, DifferencesAreSymmetric());
    if (!symmetric) return "";
    return WrongDerivative(
        worst, absl::StrFormat("C v differs by %.2g of its norm from central "
                               "differences of the gradient",
                               least));
  }

  // "embedding_bag (used by parameter e.weight)" for a message of LibTorch's
  // that `name` has no derivative. May throw.
  absl::StatusOr<std::string> DescribeOperator(const std::string& name) const {
    const std::string wanted = absl::StrReplaceAll(name, {{"_", ""}});
    const at::AutoGradMode enable_grad(true);
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor loss, Loss(provider_));
    std::vector<std::string> names;
    for (const Node* node : NodesBehind(loss)) {
      if (absl::AsciiStrToLower(OperatorOf(*node)) != wanted) continue;
      AddParameters(*node, /*depth=*/0, names);
    }
    if (names.empty()) return name;
    return absl::StrCat(name, " (used by parameter ",
                        absl::StrJoin(names, ", "), ")");
  }

 private:
  static double SquaredNorm(const at::Tensor& tensor) {
    return tensor.to(at::kDouble).square().sum().item<double>();
  }

  static double Dot(const Vectors& a, const Vectors& b) {
    double sum = 0;
    for (size_t p = 0; p < a.size(); ++p) {
      if (!a[p].defined() || !b[p].defined()) continue;
      sum +=
          a[p].to(at::kDouble).mul(b[p].to(at::kDouble)).sum().item<double>();
    }
    return sum;
  }

  Vectors Random(uint64_t seed) const {
    Vectors vectors;
    for (size_t p = 0; p < tensors_.size(); ++p) {
      vectors.push_back(
          RandomNormalMatrix(1, tensors_[p].numel(), kSeed + 1000 * p + seed)
              .reshape(tensors_[p].sizes())
              .to(tensors_[p].scalar_type()));
    }
    return vectors;
  }

  // Of the size of the parameters, each by itself.
  Vectors ScaledRandom(uint64_t seed) const {
    Vectors vectors = Random(seed);
    double all = 0;
    for (const at::Tensor& tensor : tensors_) {
      all += SquaredNorm(tensor.detach());
    }
    const double mean = std::sqrt(all / static_cast<double>(size_));
    for (size_t p = 0; p < tensors_.size(); ++p) {
      const double own = std::sqrt(SquaredNorm(tensors_[p].detach()) /
                                   static_cast<double>(tensors_[p].numel()));
      vectors[p].mul_(own > 0 ? own : (mean > 0 ? mean : 1));
    }
    return vectors;
  }

  double Scale(const Vectors& u, const Vectors& hu, const Vectors& v,
               const Vectors& hv) const {
    return (std::sqrt(Dot(u, u) * Dot(hv, hv)) +
            std::sqrt(Dot(v, v) * Dot(hu, hu))) /
           2 / std::sqrt(static_cast<double>(size_));
  }

  absl::StatusOr<Vectors> UnsaturatedProduct(const Vectors& v) const {
    INFLUENCE_ASSIGN_OR_RETURN(
        const std::unique_ptr<const CurvatureGraph> graph,
        kind_.create(*provider_.WithFunction(SquaredOutput()), parameters_,
                     batch_));
    return graph->Product(v, outputs_);
  }

  absl::StatusOr<double> UnsaturatedNorm(const Vectors& v) const {
    INFLUENCE_ASSIGN_OR_RETURN(const Vectors product, UnsaturatedProduct(v));
    return std::sqrt(Dot(product, product));
  }

  absl::StatusOr<double> UnsaturatedScale() const {
    const Vectors u = Random(1);
    const Vectors v = Random(2);
    INFLUENCE_ASSIGN_OR_RETURN(const Vectors hu, UnsaturatedProduct(u));
    INFLUENCE_ASSIGN_OR_RETURN(const Vectors hv, UnsaturatedProduct(v));
    return Scale(u, hu, v, hv);
  }

  absl::StatusOr<at::Tensor> Loss(const GradientProvider& provider) const {
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor output,
                               provider.model().Forward(batch_.x));
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor losses,
                               provider.function().Evaluate(output, batch_.y));
    return losses.sum();
  }

  // At theta + step v.
  absl::StatusOr<Vectors> GradientAt(const Vectors& v, double step) const {
    Vectors originals;
    for (size_t p = 0; p < tensors_.size(); ++p) {
      originals.push_back(tensors_[p].detach());
      tensors_[p].set_data(tensors_[p].detach().add(v[p], step));
    }
    absl::StatusOr<Vectors> gradients =
        CatchTorch("gradient", [&]() -> absl::StatusOr<Vectors> {
          const at::AutoGradMode enable_grad(true);
          INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor loss, Loss(provider_));
          Vectors found = torch::autograd::grad(
              {loss}, tensors_, /*grad_outputs=*/{}, /*retain_graph=*/false,
              /*create_graph=*/false, /*allow_unused=*/true);
          for (size_t p = 0; p < found.size(); ++p) {
            if (!found[p].defined()) {
              found[p] = at::zeros_like(tensors_[p].detach());
            } else if (found[p].is_sparse()) {
              found[p] = found[p].to_dense();
            }
          }
          return found;
        });
    for (size_t p = 0; p < tensors_.size(); ++p) {
      tensors_[p].set_data(originals[p]);
    }
    return gradients;
  }

  // The derivative of the gradient along v, by central differences.
  absl::StatusOr<Vectors> DifferenceAlong(const Vectors& v) const {
    constexpr double kStep = 1e-5;
    INFLUENCE_ASSIGN_OR_RETURN(Vectors above, GradientAt(v, kStep));
    INFLUENCE_ASSIGN_OR_RETURN(const Vectors below, GradientAt(v, -kStep));
    for (size_t p = 0; p < above.size(); ++p) {
      above[p] = above[p].sub(below[p]).div_(2 * kStep);
    }
    return above;
  }

  // Whether these are those of a function's gradient, as far as two directions
  // show.
  absl::StatusOr<bool> DifferencesAreSymmetric() const {
    constexpr double kTolerance = 1e-2;
    const Vectors u = ScaledRandom(4);
    const Vectors v = ScaledRandom(3);
    INFLUENCE_ASSIGN_OR_RETURN(const Vectors ju, DifferenceAlong(u));
    INFLUENCE_ASSIGN_OR_RETURN(const Vectors jv, DifferenceAlong(v));
    return std::abs(Dot(u, jv) - Dot(v, ju)) <=
           kTolerance * Scale(u, ju, v, jv);
  }

  const std::string& NameOf(size_t parameter) const {
    return provider_.model().parameters()[parameters_[parameter]].name;
  }

  // "WeightNormInterface" of a node WeightNormInterfaceBackward0.
  static std::string OperatorOf(const Node& node) {
    const std::string name = node.name();
    return name.substr(0, name.find("Backward"));
  }

  static std::vector<const Node*> NodesBehind(const at::Tensor& value) {
    std::vector<const Node*> nodes;
    std::unordered_set<const Node*> seen;
    if (value.grad_fn() == nullptr) return nodes;
    nodes.push_back(value.grad_fn().get());
    seen.insert(nodes[0]);
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const auto& edge : nodes[i]->next_edges()) {
        const Node* next = edge.function.get();
        if (next != nullptr && seen.insert(next).second) nodes.push_back(next);
      }
    }
    return nodes;
  }

  // The parameter that `node` gathers the gradient of; size() if it is none.
  size_t ParameterOf(const Node& node) const {
    for (size_t p = 0; p < tensors_.size(); ++p) {
      if (torch::autograd::impl::gradient_edge(tensors_[p]).function.get() ==
          &node) {
        return p;
      }
    }
    return tensors_.size();
  }

  // Parameters behind `node`, directly or behind views and the like.
  void AddParameters(const Node& node, int depth,
                     std::vector<std::string>& names) const {
    constexpr int kMaxDepth = 4;
    if (depth > kMaxDepth) return;
    for (const auto& edge : node.next_edges()) {
      if (edge.function == nullptr) continue;
      if (const size_t p = ParameterOf(*edge.function); p < tensors_.size()) {
        if (std::find(names.begin(), names.end(), NameOf(p)) == names.end()) {
          names.push_back(NameOf(p));
        }
      } else if (edge.function->next_edges().size() == 1) {
        AddParameters(*edge.function, depth + 1, names);
      }
    }
  }

  // The operators that take the parameter, and behind an operator of one
  // argument (a view, say) those that take its result.
  absl::StatusOr<std::vector<std::string>> UsersOf(size_t parameter) const {
    constexpr int kMaxDepth = 3;
    const at::AutoGradMode enable_grad(true);
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor loss, Loss(provider_));
    const std::vector<const Node*> nodes = NodesBehind(loss);
    std::vector<const Node*> used = {
        torch::autograd::impl::gradient_edge(tensors_[parameter])
            .function.get()};
    std::vector<std::string> names;
    for (int depth = 0; depth < kMaxDepth; ++depth) {
      std::vector<const Node*> next;
      for (const Node* node : nodes) {
        const auto& edges = node->next_edges();
        if (std::none_of(edges.begin(), edges.end(), [&](const auto& edge) {
              return std::find(used.begin(), used.end(), edge.function.get()) !=
                     used.end();
            })) {
          continue;
        }
        if (edges.size() == 1) next.push_back(node);
        const std::string name = OperatorOf(*node);
        if (std::find(names.begin(), names.end(), name) == names.end()) {
          names.push_back(name);
        }
      }
      used = std::move(next);
    }
    return names;
  }

  absl::StatusOr<std::string> WrongDerivative(size_t parameter,
                                              const std::string& how) const {
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<std::string> users,
                               UsersOf(parameter));
    return absl::StrCat(
        "found a wrong second derivative of the model in "
        "LibTorch (",
        how, ", most for parameter ", NameOf(parameter),
        users.empty() ? "" : ", used by ", absl::StrJoin(users, ", "), ")");
  }

  const Kind& kind_;
  const GradientProvider& provider_;
  const std::vector<int64_t>& parameters_;
  const Batch& batch_;
  const bool is_double_;
  Vectors tensors_;
  std::vector<size_t> outputs_;
  int64_t size_ = 0;
};

// "embedding_bag" of "the derivative for '_embedding_bag_backward' is not
// implemented"; empty for another message.
std::string MissingDerivative(absl::string_view message) {
  constexpr absl::string_view kBegin = "derivative for ";
  const size_t begin = message.find(kBegin);
  const size_t end = message.find(" is not implemented");
  if (begin == absl::string_view::npos || end == absl::string_view::npos ||
      end < begin) {
    return "";
  }
  absl::string_view name =
      message.substr(begin + kBegin.size(), end - begin - kBegin.size());
  absl::ConsumePrefix(&name, "'");
  absl::ConsumeSuffix(&name, "'");
  absl::ConsumePrefix(&name, "aten::");
  absl::ConsumeSuffix(&name, "_backward");
  absl::ConsumePrefix(&name, "_");
  return std::string(name);
}

absl::Status Refusal(const Kind& kind, absl::string_view found,
                     absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(
      "curvature: ", found, " for ", kind.name, ", expected ", expected));
}

bool IsRefusal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) &&
         absl::StartsWith(status.message(), "curvature: ");
}

// OK, a refusal, or another error where the subject cannot be run at all.
absl::Status CheckSubject(const Kind& kind, const Subject& subject,
                          bool may_move) {
  std::string wrong;
  absl::Status run = CatchTorch("second derivative", [&]() -> absl::Status {
    INFLUENCE_ASSIGN_OR_RETURN(wrong, subject.Asymmetry());
    if (wrong.empty() && may_move && kind.has_differences) {
      INFLUENCE_ASSIGN_OR_RETURN(wrong, subject.Differences());
    }
    return absl::OkStatus();
  });
  if (run.ok()) {
    return wrong.empty() ? absl::OkStatus()
                         : Refusal(kind, wrong, kind.way_out);
  }
  const std::string name = MissingDerivative(run.message());
  if (name.empty()) return run;
  std::string described = name;
  const absl::StatusOr<std::string> full =
      CatchTorch("operator", [&] { return subject.DescribeOperator(name); });
  if (full.ok()) described = *full;
  return Refusal(kind,
                 absl::StrCat("found no second derivative of ", described,
                              " in LibTorch, which is needed"),
                 kFirstDerivatives);
}

// `batch` in float64.
Batch InDouble(const Batch& batch) {
  const auto convert = [](const at::Tensor& tensor) {
    return at::isFloatingType(tensor.scalar_type()) ? tensor.to(at::kDouble)
                                                    : tensor;
  };
  Batch converted;
  for (const at::Tensor& x : batch.x) converted.x.push_back(convert(x));
  converted.y = convert(batch.y);
  return converted;
}

absl::Status Check(const Kind& kind, const GradientProvider& provider,
                   const std::vector<int64_t>& parameters, const Batch& batch) {
  if (batch.size() < 1) return absl::OkStatus();
  INFLUENCE_ASSIGN_OR_RETURN(
      const Batch some,
      SliceBatch(batch, 0, std::min(kCheckedSamples, batch.size())));
  const DifferentiableAttentionScope differentiable_attention;
  absl::StatusOr<std::shared_ptr<const Model>> copy =
      provider.model().CopyAs(at::kDouble);
  if (copy.ok()) {
    const absl::StatusOr<std::shared_ptr<const AutogradGradientProvider>>
        copied = AutogradGradientProvider::Create(*std::move(copy),
                                                  provider.function());
    if (copied.ok()) {
      const Batch converted = InDouble(some);
      absl::Status status =
          CheckSubject(kind, Subject(kind, **copied, parameters, converted),
                       /*may_move=*/true);
      if (status.ok() || IsRefusal(status)) return status;
      // What is built into the model is in its own dtype.
    }
  }
  const absl::Status status =
      CheckSubject(kind, Subject(kind, provider, parameters, some),
                   /*may_move=*/false);
  // Other failures are the product's own to report.
  return IsRefusal(status) ? status : absl::OkStatus();
}

}  // namespace

absl::Status CheckHessian(const GradientProvider& provider,
                          const std::vector<int64_t>& parameters,
                          const Batch& batch) {
  constexpr Kind kHessian{"hessian",
                          "generalized_gauss_newton, or gauss_newton",
                          CreateHessianGraph, /*has_differences=*/true};
  return Check(kHessian, provider, parameters, batch);
}

absl::Status CheckGeneralizedGaussNewton(const GradientProvider& provider,
                                         const std::vector<int64_t>& parameters,
                                         const Batch& batch) {
  constexpr Kind kGeneralized{"generalized_gauss_newton", kFirstDerivatives,
                              CreateGeneralizedGaussNewtonGraph,
                              /*has_differences=*/false};
  return Check(kGeneralized, provider, parameters, batch);
}

}  // namespace influence
