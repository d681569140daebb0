// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/generalized_linear_model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/zeros.h"
#include "Eigen/Core"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "base/worker_pool.h"

namespace influence {
namespace {

using RowMatrix =
    Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Rows = Eigen::Map<RowMatrix>;
using ConstRows = Eigen::Map<const RowMatrix>;

// Samples at a time: enough for the matrix products to run at full rate, few
// enough for the intermediate results to stay in the cache.
constexpr int64_t kChunkRows = 2048;

// Bound on an intermediate result with a column for each right-hand side and
// output.
constexpr int64_t kChunkScalars = int64_t{1} << 20;

// Columns of a curvature that are one task for a thread.
constexpr int64_t kStripColumns = 32;

Rows MapRows(const at::Tensor& tensor) {
  return Rows(tensor.data_ptr<double>(), tensor.size(0), tensor.size(1));
}

ConstRows MapConstRows(const at::Tensor& tensor) {
  return ConstRows(tensor.data_ptr<double>(), tensor.size(0), tensor.size(1));
}

// Samples [begin, begin + size) of a batch.
struct Chunk {
  int64_t begin;
  int64_t size;
  at::Tensor x;  // [n, D], contiguous float64.
  at::Tensor y;  // Contiguous: float64 [n, K], or classes int64 [n].
};

Chunk MakeChunk(const GeneralizedLinearModel& model, const Batch& batch,
                int64_t begin, int64_t size) {
  const at::ScalarType labels =
      model.loss() == GeneralizedLinearLoss::kCrossEntropy ? at::kLong
                                                           : at::kDouble;
  return {
      begin, size,
      batch.x[0].detach().narrow(0, begin, size).to(at::kDouble).contiguous(),
      batch.y.detach().narrow(0, begin, size).to(labels).contiguous()};
}

// Chunks of `rows` samples, the last one maybe shorter.
struct Chunking {
  int64_t num_samples;
  int64_t rows;

  int64_t count() const { return (num_samples + rows - 1) / rows; }
  int64_t begin(int64_t index) const { return index * rows; }
  int64_t size(int64_t index) const {
    return std::min(rows, num_samples - begin(index));
  }
};

// For intermediate results of `columns` numbers a sample.
Chunking CutInto(int64_t num_samples, int64_t columns) {
  return {num_samples, std::clamp(kChunkScalars / std::max<int64_t>(columns, 1),
                                  int64_t{32}, kChunkRows)};
}

// The loss and its derivatives in the outputs.
struct OutputTerms {
  RowMatrix o;  // [n, K]
  RowMatrix r;  // [n, K]
  RowMatrix s;  // [n, K]: the diagonal of S, or p where S = diag(p) - p p^T.
  Eigen::VectorXd loss;
};

void EvaluateMeanSquaredError(const ConstRows& y, OutputTerms& terms) {
  const auto num_outputs = static_cast<double>(terms.o.cols());
  terms.r = terms.o - y;
  terms.loss = terms.r.rowwise().squaredNorm() / num_outputs;
  terms.r *= 2 / num_outputs;
  terms.s.setConstant(2 / num_outputs);
}

void EvaluateBinaryCrossEntropy(const ConstRows& y, OutputTerms& terms) {
  const auto num_outputs = static_cast<double>(terms.o.cols());
  for (Eigen::Index n = 0; n < terms.o.rows(); ++n) {
    double sum = 0;
    for (Eigen::Index k = 0; k < terms.o.cols(); ++k) {
      const double o = terms.o(n, k);
      const double e = std::exp(-std::abs(o));  // No overflow.
      const double less = e / (1 + e);          // The smaller of p and 1 - p.
      const double more = 1 / (1 + e);
      const double p = o >= 0 ? more : less;
      // y = 1 is the case where p - y would cancel.
      const double r = y(n, k) == 1 ? (o >= 0 ? -less : -more) : p - y(n, k);
      sum += std::max(o, 0.0) - y(n, k) * o + std::log1p(e);
      terms.r(n, k) = r / num_outputs;
      terms.s(n, k) = more * less / num_outputs;
    }
    terms.loss(n) = sum / num_outputs;
  }
}

void EvaluateCrossEntropy(const int64_t* y, OutputTerms& terms) {
  const Eigen::Index num_outputs = terms.o.cols();
  for (Eigen::Index n = 0; n < terms.o.rows(); ++n) {
    const double largest = terms.o.row(n).maxCoeff();
    double sum = 0;
    for (Eigen::Index k = 0; k < num_outputs; ++k) {
      terms.s(n, k) = std::exp(terms.o(n, k) - largest);
      sum += terms.s(n, k);
    }
    double others = 0;  // 1 - p_y without a difference.
    for (Eigen::Index k = 0; k < num_outputs; ++k) {
      terms.s(n, k) /= sum;
      terms.r(n, k) = terms.s(n, k);
      if (k != y[n]) others += terms.s(n, k);
    }
    terms.r(n, y[n]) = -others;
    terms.loss(n) = std::log(sum) - (terms.o(n, y[n]) - largest);
  }
}

OutputTerms Evaluate(const GeneralizedLinearModel& model, const Chunk& chunk) {
  const ConstRows weight = MapConstRows(model.weight());
  OutputTerms terms;
  terms.o.noalias() = MapConstRows(chunk.x) * weight.transpose();
  if (model.has_intercept()) {
    terms.o.rowwise() += Eigen::Map<const Eigen::RowVectorXd>(
        model.bias().data_ptr<double>(), weight.rows());
  }
  terms.r.resize(terms.o.rows(), terms.o.cols());
  terms.s.resize(terms.o.rows(), terms.o.cols());
  terms.loss.resize(terms.o.rows());
  switch (model.loss()) {
    case GeneralizedLinearLoss::kMeanSquaredError:
      EvaluateMeanSquaredError(MapConstRows(chunk.y), terms);
      break;
    case GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits:
      EvaluateBinaryCrossEntropy(MapConstRows(chunk.y), terms);
      break;
    case GeneralizedLinearLoss::kCrossEntropy:
      EvaluateCrossEntropy(chunk.y.data_ptr<int64_t>(), terms);
      break;
  }
  return terms;
}

// u_k <- row k of S u, for u = (u_1, ..., u_K), each [n, Q].
void ApplyOutputHessian(GeneralizedLinearLoss loss, const OutputTerms& terms,
                        std::vector<RowMatrix>& u) {
  if (loss == GeneralizedLinearLoss::kCrossEntropy) {
    RowMatrix mean = RowMatrix::Zero(u[0].rows(), u[0].cols());
    for (size_t k = 0; k < u.size(); ++k) {
      mean.array() += u[k].array().colwise() * terms.s.col(k).array();
    }
    for (RowMatrix& u_k : u) u_k -= mean;
  }
  for (size_t k = 0; k < u.size(); ++k) {
    u[k].array().colwise() *= terms.s.col(k).array();
  }
}

// u_k <- r_k sum_l r_l u_l.
void ApplyOutputOuterProduct(const OutputTerms& terms,
                             std::vector<RowMatrix>& u) {
  RowMatrix sum = RowMatrix::Zero(u[0].rows(), u[0].cols());
  for (size_t k = 0; k < u.size(); ++k) {
    sum.array() += u[k].array().colwise() * terms.r.col(k).array();
  }
  for (size_t k = 0; k < u.size(); ++k) {
    u[k] = sum.array().colwise() * terms.r.col(k).array();
  }
}

// body(index of a chunk), on several threads.
void ForEachChunk(const Chunking& chunking,
                  const std::function<void(int64_t)>& body) {
  const int64_t count = chunking.count();
  ForEachPart(WorkersFor(count), count, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) body(c);
  });
}

// Adds what body(index of a chunk, sum) adds, each thread to a sum of its own.
void SumOverChunks(const Chunking& chunking, const at::Tensor& sum,
                   const std::function<void(int64_t, Rows&)>& body) {
  const int64_t count = chunking.count();
  const int parts = WorkersFor(count);
  std::vector<at::Tensor> sums = {sum};
  while (static_cast<int>(sums.size()) < parts) {
    sums.push_back(at::zeros(sum.sizes(), at::kDouble));
  }
  ForEachWorker(parts, [&](int part) {
    Rows rows = MapRows(sums[part]);
    for (int64_t c = part * count / parts; c < (part + 1) * count / parts;
         ++c) {
      body(c, rows);
    }
  });
  for (int part = 1; part < parts; ++part) sum.add_(sums[part]);
}

// Adds sum_n of the curvature's terms times the rows of v [Q, P].
void AddProducts(const GeneralizedLinearModel& model, bool gauss_newton,
                 const Batch& batch, const at::Tensor& v,
                 const at::Tensor& sum) {
  const int64_t d = model.num_features();
  const int64_t k = model.num_outputs();
  const Chunking chunking = CutInto(batch.size(), v.size(0) * k);
  const ConstRows right = MapConstRows(v);
  SumOverChunks(chunking, sum, [&](int64_t c, Rows& part) {
    const Chunk chunk =
        MakeChunk(model, batch, chunking.begin(c), chunking.size(c));
    const OutputTerms terms = Evaluate(model, chunk);
    const ConstRows x = MapConstRows(chunk.x);
    std::vector<RowMatrix> u(k);
    for (int64_t i = 0; i < k; ++i) {
      u[i].noalias() = x * right.middleCols(i * d, d).transpose();
      if (model.has_intercept()) {
        u[i].rowwise() += right.col(k * d + i).transpose();
      }
    }
    if (gauss_newton) {
      ApplyOutputOuterProduct(terms, u);
    } else {
      ApplyOutputHessian(model.loss(), terms, u);
    }
    for (int64_t i = 0; i < k; ++i) {
      part.middleCols(i * d, d).noalias() += u[i].transpose() * x;
      if (model.has_intercept()) {
        part.col(k * d + i) += u[i].colwise().sum().transpose();
      }
    }
  });
}

// The curvature is made of blocks [D', D'] = sum_n w_n x~_n x~_n^T, one for
// each pair of outputs, symmetric each; those that differ are summed here.
class BlockSums {
 public:
  BlockSums(const GeneralizedLinearModel& model, bool gauss_newton)
      : model_(model),
        gauss_newton_(gauss_newton),
        size_(model.num_features() + (model.has_intercept() ? 1 : 0)) {
    const int64_t k = model.num_outputs();
    if (gauss_newton) {
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j <= i; ++j) pairs_.push_back({i, j});
      }
    } else if (model.loss() == GeneralizedLinearLoss::kMeanSquaredError) {
      pairs_.push_back({0, 0});  // S is the same for all samples and outputs.
    } else if (model.loss() == GeneralizedLinearLoss::kCrossEntropy) {
      // S_ii = -sum_j S_ij.
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < i; ++j) pairs_.push_back({i, j});
      }
    } else {
      for (int64_t i = 0; i < k; ++i) pairs_.push_back({i, i});
    }
    sums_.resize(pairs_.size(), Eigen::MatrixXd::Zero(size_, size_));
  }

  void Add(const Batch& batch) {
    const Chunking chunking{batch.size(), kChunkRows};
    for (int64_t c = 0; c < chunking.count(); ++c) {
      AddChunk(MakeChunk(model_, batch, chunking.begin(c), chunking.size(c)));
    }
  }

  // The curvature in the flat order of the parameters, [P, P].
  at::Tensor Assemble(double scale) {
    const int64_t p = model_.num_parameters();
    at::Tensor matrix = at::zeros({p, p}, at::kDouble);
    Rows rows = MapRows(matrix);
    for (size_t i = 0; i < pairs_.size(); ++i) {
      const auto [k, l] = pairs_[i];
      Eigen::MatrixXd& block = sums_[i];
      block *= scale;
      block.triangularView<Eigen::StrictlyUpper>() =
          block.triangularView<Eigen::StrictlyLower>().transpose();
      if (gauss_newton_) {
        AddBlock(block, 1, k, l, rows);
        if (k != l) AddBlock(block, 1, l, k, rows);
      } else if (model_.loss() == GeneralizedLinearLoss::kMeanSquaredError) {
        const int64_t num_outputs = model_.num_outputs();
        for (int64_t o = 0; o < num_outputs; ++o) {
          AddBlock(block, 2 / static_cast<double>(num_outputs), o, o, rows);
        }
      } else if (model_.loss() == GeneralizedLinearLoss::kCrossEntropy) {
        AddBlock(block, -1, k, l, rows);
        AddBlock(block, -1, l, k, rows);
        AddBlock(block, 1, k, k, rows);
        AddBlock(block, 1, l, l, rows);
      } else {
        AddBlock(block, 1, k, l, rows);
      }
      block.resize(0, 0);
    }
    return matrix;
  }

 private:
  struct Pair {
    int64_t k;
    int64_t l;
  };

  // w_n of a pair; ones where it is the same for all samples.
  Eigen::VectorXd Weights(const Pair& pair, const OutputTerms& terms) const {
    if (gauss_newton_) {
      return terms.r.col(pair.k).cwiseProduct(terms.r.col(pair.l));
    }
    switch (model_.loss()) {
      case GeneralizedLinearLoss::kMeanSquaredError:
        return Eigen::VectorXd::Ones(terms.r.rows());
      case GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits:
        return terms.s.col(pair.k);
      case GeneralizedLinearLoss::kCrossEntropy:
        break;
    }
    return terms.s.col(pair.k).cwiseProduct(terms.s.col(pair.l));
  }

  // The lower triangles, in strips of columns that threads take one by one.
  void AddChunk(const Chunk& chunk) {
    const OutputTerms terms = Evaluate(model_, chunk);
    RowMatrix x(chunk.size, size_);
    x.leftCols(model_.num_features()) = MapConstRows(chunk.x);
    if (model_.has_intercept()) x.col(size_ - 1).setOnes();
    std::vector<Eigen::VectorXd> weights;
    for (const Pair& pair : pairs_) weights.push_back(Weights(pair, terms));

    const int64_t strips = (size_ + kStripColumns - 1) / kStripColumns;
    const auto tasks = static_cast<int64_t>(pairs_.size()) * strips;
    std::atomic<int64_t> next_task = 0;
    const int64_t products =
        static_cast<int64_t>(pairs_.size()) * chunk.size * size_ * size_ / 2;
    ForEachWorker(WorkersFor(tasks, products), [&](int) {
      RowMatrix weighted;
      for (int64_t task = next_task++; task < tasks; task = next_task++) {
        const int64_t pair = task / strips;
        const int64_t first = task % strips * kStripColumns;
        const int64_t columns = std::min(kStripColumns, size_ - first);
        weighted = x.middleCols(first, columns).array().colwise() *
                   weights[pair].array();
        sums_[pair].block(first, first, size_ - first, columns).noalias() +=
            x.rightCols(size_ - first).transpose() * weighted;
      }
    });
  }

  // Adds factor * block for the pair of outputs (k, l).
  void AddBlock(const Eigen::MatrixXd& block, double factor, int64_t k,
                int64_t l, Rows& matrix) const {
    const int64_t d = model_.num_features();
    matrix.block(k * d, l * d, d, d) += factor * block.topLeftCorner(d, d);
    if (!model_.has_intercept()) return;
    const int64_t biases = model_.num_outputs() * d;
    matrix.block(k * d, biases + l, d, 1) += factor * block.col(d).head(d);
    matrix.block(biases + k, l * d, 1, d) += factor * block.row(d).head(d);
    matrix(biases + k, biases + l) += factor * block(d, d);
  }

  const GeneralizedLinearModel& model_;
  bool gauss_newton_;
  int64_t size_;  // D' = D + 1, or D without intercept.
  std::vector<Pair> pairs_;
  std::vector<Eigen::MatrixXd> sums_;  // Lower triangles.
};

// [Q, P] or [P] -> [Q, P], contiguous float64.
absl::StatusOr<at::Tensor> AsRows(absl::string_view name, const at::Tensor& v,
                                  int64_t size) {
  INFLUENCE_RETURN_IF_ERROR(ValidateVectorOrMatrix(name, v, size));
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite(name, v));
  return (v.dim() == 1 ? v.unsqueeze(0) : v)
      .detach()
      .to(at::kDouble)
      .contiguous();
}

absl::StatusOr<at::Tensor> IfFinite(absl::string_view name, at::Tensor result) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite(name, result));
  return result;
}

}  // namespace

absl::string_view GeneralizedLinearLossName(GeneralizedLinearLoss loss) {
  switch (loss) {
    case GeneralizedLinearLoss::kMeanSquaredError:
      return "mse";
    case GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits:
      return "binary_cross_entropy_with_logits";
    case GeneralizedLinearLoss::kCrossEntropy:
      break;
  }
  return "cross_entropy";
}

absl::StatusOr<GeneralizedLinearLoss> ParseGeneralizedLinearLoss(
    absl::string_view name) {
  for (const GeneralizedLinearLoss loss :
       {GeneralizedLinearLoss::kMeanSquaredError,
        GeneralizedLinearLoss::kBinaryCrossEntropyWithLogits,
        GeneralizedLinearLoss::kCrossEntropy}) {
    if (GeneralizedLinearLossName(loss) == name) return loss;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("loss: found \"", name,
                   "\", expected one of mse, binary_cross_entropy_with_logits, "
                   "cross_entropy"));
}

absl::StatusOr<std::shared_ptr<const GeneralizedLinearModel>>
GeneralizedLinearModel::Create(GeneralizedLinearLoss loss,
                               const at::Tensor& weight,
                               const at::Tensor& bias) {
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("weight", weight));
  if (weight.dim() != 2 || weight.size(0) < 1 || weight.size(1) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight: found shape ", ShapeString(weight),
                     ", expected [outputs, features]"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateFinite("weight", weight));
  if (bias.defined()) {
    INFLUENCE_RETURN_IF_ERROR(ValidateFloating("bias", bias));
    INFLUENCE_RETURN_IF_ERROR(ValidateShape("bias", bias, {weight.size(0)}));
    INFLUENCE_RETURN_IF_ERROR(ValidateFinite("bias", bias));
  }
  INFLUENCE_ASSIGN_OR_RETURN(PerSampleFunction function,
                             LossByName(GeneralizedLinearLossName(loss)));
  return CatchTorch(
      "generalized linear model",
      [&]() -> absl::StatusOr<std::shared_ptr<const GeneralizedLinearModel>> {
        const auto copy = [](const at::Tensor& tensor) {
          if (!tensor.defined()) return at::Tensor();
          return tensor.detach().to(at::kDouble, /*non_blocking=*/false,
                                    /*copy=*/true,
                                    at::MemoryFormat::Contiguous);
        };
        return std::shared_ptr<const GeneralizedLinearModel>(
            new GeneralizedLinearModel(loss, std::move(function), copy(weight),
                                       copy(bias)));
      });
}

GeneralizedLinearModel::GeneralizedLinearModel(GeneralizedLinearLoss loss,
                                               PerSampleFunction function,
                                               at::Tensor weight,
                                               at::Tensor bias)
    : loss_(loss),
      function_(std::move(function)),
      weight_(std::move(weight)),
      bias_(std::move(bias)) {}

int64_t GeneralizedLinearModel::num_parameters() const {
  return weight_.numel() + (has_intercept() ? num_outputs() : 0);
}

absl::Status GeneralizedLinearModel::Validate(const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatch(batch));
  if (batch.x.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("x: found ", batch.x.size(),
                     " inputs, expected 1 for a generalized linear model"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateFloating("x0", batch.x[0]));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateShape("x0", batch.x[0], {batch.size(), num_features()}));
  return CatchTorch("labels", [&]() -> absl::Status {
    return function_.Validate(
        at::empty({1, 1}, at::kDouble).expand({batch.size(), num_outputs()}),
        batch.y);
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::Outputs(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("outputs", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor outputs = at::empty({batch.size(), num_outputs()}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      MapRows(outputs).middleRows(chunk.begin, chunk.size) =
          Evaluate(*this, chunk).o;
    });
    return IfFinite("outputs", std::move(outputs));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::Losses(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("losses", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor losses = at::empty({batch.size(), 1}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      MapRows(losses).middleRows(chunk.begin, chunk.size) =
          Evaluate(*this, chunk).loss;
    });
    return IfFinite("losses", losses.squeeze(1));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::OutputGrads(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("output gradients", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor grads = at::empty({batch.size(), num_outputs()}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      MapRows(grads).middleRows(chunk.begin, chunk.size) =
          Evaluate(*this, chunk).r;
    });
    return IfFinite("output gradients", std::move(grads));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::FlatGrads(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("gradients", [&]() -> absl::StatusOr<at::Tensor> {
    const int64_t d = num_features();
    const int64_t k = num_outputs();
    at::Tensor grads = at::empty({batch.size(), num_parameters()}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      const OutputTerms terms = Evaluate(*this, chunk);
      const ConstRows x = MapConstRows(chunk.x);
      Rows all = MapRows(grads);
      auto rows = all.middleRows(chunk.begin, chunk.size);
      for (int64_t n = 0; n < chunk.size; ++n) {
        for (int64_t i = 0; i < k; ++i) {
          rows.row(n).segment(i * d, d) = terms.r(n, i) * x.row(n);
        }
      }
      if (has_intercept()) rows.rightCols(k) = terms.r;
    });
    return IfFinite("gradients", std::move(grads));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::SquaredGradNorms(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("gradient norms", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor norms = at::empty({batch.size(), 1}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      const OutputTerms terms = Evaluate(*this, chunk);
      MapRows(norms).middleRows(chunk.begin, chunk.size) =
          (terms.r.rowwise().squaredNorm().array() *
           (MapConstRows(chunk.x).rowwise().squaredNorm().array() +
            (has_intercept() ? 1.0 : 0.0)))
              .matrix();
    });
    return IfFinite("gradient norms", norms.squeeze(1));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::JacobianProd(
    const Batch& batch, const at::Tensor& v) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("gradient products", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor right,
                               AsRows("directions", v, num_parameters()));
    const int64_t d = num_features();
    const int64_t k = num_outputs();
    const ConstRows directions = MapConstRows(right);
    at::Tensor products = at::zeros({batch.size(), right.size(0)}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      const OutputTerms terms = Evaluate(*this, chunk);
      const ConstRows x = MapConstRows(chunk.x);
      Rows all = MapRows(products);
      auto rows = all.middleRows(chunk.begin, chunk.size);
      RowMatrix weighted;
      for (int64_t i = 0; i < k; ++i) {
        weighted = x.array().colwise() * terms.r.col(i).array();
        rows.noalias() +=
            weighted * directions.middleCols(i * d, d).transpose();
      }
      if (has_intercept()) {
        rows.noalias() += terms.r * directions.rightCols(k).transpose();
      }
    });
    return IfFinite("gradient products",
                    v.dim() == 1 ? products.squeeze(1) : products);
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::WeightedGradSums(
    const Batch& batch, const at::Tensor& weights) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("gradient sums", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor left,
                               AsRows("weights", weights, batch.size()));
    const int64_t d = num_features();
    const int64_t k = num_outputs();
    const ConstRows by_sample = MapConstRows(left);
    at::Tensor sums = at::zeros({left.size(0), num_parameters()}, at::kDouble);
    const Chunking chunking = CutInto(batch.size(), left.size(0));
    SumOverChunks(chunking, sums, [&](int64_t c, Rows& part) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      const OutputTerms terms = Evaluate(*this, chunk);
      const ConstRows x = MapConstRows(chunk.x);
      const auto columns = by_sample.middleCols(chunk.begin, chunk.size);
      RowMatrix weighted;
      for (int64_t i = 0; i < k; ++i) {
        weighted = x.array().colwise() * terms.r.col(i).array();
        part.middleCols(i * d, d).noalias() += columns * weighted;
      }
      if (has_intercept()) part.rightCols(k).noalias() += columns * terms.r;
    });
    return IfFinite("gradient sums",
                    weights.dim() == 1 ? sums.squeeze(0) : sums);
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::GradsInnerProd(
    const Batch& left, const Batch& right) const {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor left_grads, OutputGrads(left));
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor right_grads, OutputGrads(right));
  return CatchTorch("inner products", [&]() -> absl::StatusOr<at::Tensor> {
    at::Tensor products = at::empty({left.size(), right.size()}, at::kDouble);
    const Chunking lefts{left.size(), kChunkRows};
    const Chunking rights{right.size(), kChunkRows};
    const double one = has_intercept() ? 1 : 0;
    ForEachChunk(rights, [&](int64_t c) {
      const Chunk r = MakeChunk(*this, right, rights.begin(c), rights.size(c));
      for (int64_t b = 0; b < lefts.count(); ++b) {
        const Chunk l = MakeChunk(*this, left, lefts.begin(b), lefts.size(b));
        const RowMatrix inputs =
            MapConstRows(l.x) * MapConstRows(r.x).transpose();
        const RowMatrix outputs =
            MapConstRows(left_grads).middleRows(l.begin, l.size) *
            MapConstRows(right_grads).middleRows(r.begin, r.size).transpose();
        MapRows(products).block(l.begin, r.begin, l.size, r.size) =
            outputs.array() * (inputs.array() + one);
      }
    });
    return IfFinite("inner products", std::move(products));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::FlatMixedGrads(
    const Batch& batch) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("mixed derivatives", [&]() -> absl::StatusOr<at::Tensor> {
    const int64_t d = num_features();
    const int64_t k = num_outputs();
    const int64_t p = num_parameters();
    const ConstRows weight = MapConstRows(weight_);
    at::Tensor mixed = at::zeros({batch.size(), d, p}, at::kDouble);
    const Chunking chunking{batch.size(), kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      const OutputTerms terms = Evaluate(*this, chunk);
      const ConstRows x = MapConstRows(chunk.x);
      for (int64_t n = 0; n < chunk.size; ++n) {
        Rows rows(mixed.data_ptr<double>() + (chunk.begin + n) * d * p, d, p);
        // S W, [K, D].
        RowMatrix moved = weight;
        if (loss_ == GeneralizedLinearLoss::kCrossEntropy) {
          moved.rowwise() -= (terms.s.row(n) * weight).eval();
        }
        moved.array().colwise() *= terms.s.row(n).transpose().array();
        for (int64_t i = 0; i < k; ++i) {
          auto block = rows.middleCols(i * d, d);
          block.noalias() = moved.row(i).transpose() * x.row(n);
          block.diagonal().array() += terms.r(n, i);
          if (has_intercept()) rows.col(k * d + i) = moved.row(i).transpose();
        }
      }
    });
    return IfFinite("mixed derivatives", std::move(mixed));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::MixedProd(
    const Batch& batch, const at::Tensor& v) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("mixed products", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor right,
                               AsRows("directions", v, num_parameters()));
    const int64_t d = num_features();
    const int64_t k = num_outputs();
    const int64_t size = batch.size();
    const ConstRows weight = MapConstRows(weight_);
    at::Tensor products = at::empty({right.size(0), size, d}, at::kDouble);
    const Chunking chunking{size, kChunkRows};
    ForEachChunk(chunking, [&](int64_t c) {
      const Chunk chunk =
          MakeChunk(*this, batch, chunking.begin(c), chunking.size(c));
      const OutputTerms terms = Evaluate(*this, chunk);
      const ConstRows x = MapConstRows(chunk.x);
      RowMatrix u;
      for (int64_t q = 0; q < right.size(0); ++q) {
        const double* row = right.data_ptr<double>() + q * right.size(1);
        const ConstRows direction(row, k, d);
        u.noalias() = x * direction.transpose();
        if (has_intercept()) {
          u.rowwise() += Eigen::Map<const Eigen::RowVectorXd>(row + k * d, k);
        }
        if (loss_ == GeneralizedLinearLoss::kCrossEntropy) {
          u.colwise() -= terms.s.cwiseProduct(u).rowwise().sum().eval();
        }
        u = u.cwiseProduct(terms.s);
        Rows out(products.data_ptr<double>() + (q * size + chunk.begin) * d,
                 chunk.size, d);
        out.noalias() = terms.r * direction;
        out.noalias() += u * weight;
      }
    });
    return IfFinite("mixed products", std::move(products));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::HessianProd(
    const Batch& batch, const at::Tensor& v) const {
  return MeanProducts(/*gauss_newton=*/false, batch, v);
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::GaussNewtonProd(
    const Batch& batch, const at::Tensor& v) const {
  return MeanProducts(/*gauss_newton=*/true, batch, v);
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::HessianProd(
    const BatchSequence& data, const at::Tensor& v) const {
  return MeanProducts(/*gauss_newton=*/false, data, v);
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::GaussNewtonProd(
    const BatchSequence& data, const at::Tensor& v) const {
  return MeanProducts(/*gauss_newton=*/true, data, v);
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::DenseHessian(
    const BatchSequence& data, ProgressReporter* progress) const {
  return FormDense(/*gauss_newton=*/false, data, progress);
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::DenseGaussNewton(
    const BatchSequence& data, ProgressReporter* progress) const {
  return FormDense(/*gauss_newton=*/true, data, progress);
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::MeanProducts(
    bool gauss_newton, const Batch& batch, const at::Tensor& v) const {
  INFLUENCE_RETURN_IF_ERROR(Validate(batch));
  return CatchTorch("curvature products", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor right,
                               AsRows("directions", v, num_parameters()));
    at::Tensor sum = at::zeros(right.sizes(), at::kDouble);
    AddProducts(*this, gauss_newton, batch, right, sum);
    sum.div_(static_cast<double>(batch.size()));
    return IfFinite("curvature products", sum.reshape(v.sizes()));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::MeanProducts(
    bool gauss_newton, const BatchSequence& data, const at::Tensor& v) const {
  return CatchTorch("curvature products", [&]() -> absl::StatusOr<at::Tensor> {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor right,
                               AsRows("directions", v, num_parameters()));
    at::Tensor sum = at::zeros(right.sizes(), at::kDouble);
    int64_t num_samples = 0;
    for (int64_t i = 0; i < data.num_batches(); ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data.Get(i));
      INFLUENCE_RETURN_IF_ERROR(Validate(batch));
      AddProducts(*this, gauss_newton, batch, right, sum);
      num_samples += batch.size();
    }
    if (num_samples < 1) {
      return absl::InvalidArgumentError(
          "data: found no samples, expected at least one");
    }
    sum.div_(static_cast<double>(num_samples));
    return IfFinite("curvature products", sum.reshape(v.sizes()));
  });
}

absl::StatusOr<at::Tensor> GeneralizedLinearModel::FormDense(
    bool gauss_newton, const BatchSequence& data,
    ProgressReporter* progress) const {
  return CatchTorch("dense curvature", [&]() -> absl::StatusOr<at::Tensor> {
    BlockSums sums(*this, gauss_newton);
    ProgressStage stage(progress, "curvature", data.num_batches(), "batches");
    int64_t num_samples = 0;
    for (int64_t i = 0; i < data.num_batches(); ++i) {
      INFLUENCE_ASSIGN_OR_RETURN(Batch batch, data.Get(i));
      INFLUENCE_RETURN_IF_ERROR(Validate(batch));
      sums.Add(batch);
      num_samples += batch.size();
      stage.Advance();
    }
    if (num_samples < 1) {
      return absl::InvalidArgumentError(
          "data: found no samples, expected at least one");
    }
    return IfFinite("curvature",
                    sums.Assemble(1 / static_cast<double>(num_samples)));
  });
}

}  // namespace influence
