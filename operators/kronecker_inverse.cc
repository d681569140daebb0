// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "operators/kronecker_inverse.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/empty_like.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"

namespace influence {
namespace {

using Eigenvalues = KroneckerPairInverse::Eigenvalues;

// Scratch of a product in scalars, three times: 64 MiB each in float32.
constexpr int64_t kTileScalars = int64_t{1} << 24;

// The queries' side of the scores is kept written out up to this size, 512 MiB
// in float32, and is otherwise written again for each batch of samples.
constexpr int64_t kKeptScalars = int64_t{1} << 27;

// Training samples that share one preparation of the queries, for the choice
// between the two ways to score: more favour the second.
constexpr double kAssumedSamples = 4096;

absl::Status SingularError(const std::string& where, double regularization,
                           double smallest, double largest) {
  return absl::InvalidArgumentError(
      absl::StrCat("regularization: found ", regularization,
                   ", with which the curvature of ", where,
                   " is singular (eigenvalues of ", smallest, " to ", largest,
                   "), expected a larger value (--regularization)"));
}

// Lambda + lambda > 0 throughout, and 1 / that is finite in float32 too.
// `has_zeros`: there are zeros beside `eigenvalues`.
absl::Status ValidateEigenvalues(const std::string& where,
                                 const at::Tensor& eigenvalues, bool has_zeros,
                                 const KroneckerInverseOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(
      ValidateFinite(absl::StrCat("eigenvalues of ", where), eigenvalues));
  auto smallest = eigenvalues.min().item<double>();
  if (has_zeros) smallest = std::min(smallest, 0.0);
  const auto largest = eigenvalues.max().item<double>();
  if (smallest < 0) {
    return absl::InvalidArgumentError(absl::StrCat("eigenvalues of ", where,
                                                   ": found ", smallest,
                                                   ", expected values >= 0"));
  }
  const double least = smallest + options.regularization;
  if (least < std::numeric_limits<float>::min() ||
      (options.regularization <= 0 &&
       smallest <= options.relative_accuracy * largest)) {
    return SingularError(where, options.regularization, smallest, largest);
  }
  return absl::OkStatus();
}

absl::Status ValidateMatrix(absl::string_view name, const std::string& where,
                            const at::Tensor& matrix, int64_t rows,
                            int64_t columns) {
  const std::string what = absl::StrCat(name, " of ", where);
  INFLUENCE_RETURN_IF_ERROR(ValidateShape(what, matrix, {rows, columns}));
  if (matrix.scalar_type() != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": found dtype ", DtypeName(matrix.scalar_type()),
                     ", expected float64"));
  }
  return ValidateFinite(what, matrix);
}

// Of a matrix; 0 for what is none.
int64_t NumRows(const at::Tensor& matrix) {
  return matrix.defined() && matrix.dim() == 2 ? matrix.size(0) : 0;
}

absl::Status ValidatePair(const std::string& where,
                          const KroneckerFactors& factors) {
  if (!factors.eigenvalues.defined() || factors.eigenvalues.dim() != 2 ||
      factors.eigenvalues.size(0) < 1 || factors.eigenvalues.size(1) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("eigenvalues of ", where, ": found ",
                     ShapeString(factors.eigenvalues), ", expected [Q, R]"));
  }
  const int64_t q = factors.eigenvalues.size(0);
  const int64_t r = factors.eigenvalues.size(1);
  INFLUENCE_RETURN_IF_ERROR(
      ValidateMatrix("eigenvalues", where, factors.eigenvalues, q, r));
  INFLUENCE_RETURN_IF_ERROR(ValidateMatrix(
      "gradient eigenvectors", where, factors.gradient_eigenvectors,
      NumRows(factors.gradient_eigenvectors), q));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateMatrix("input eigenvectors", where, factors.input_eigenvectors,
                     NumRows(factors.input_eigenvectors), r));
  if (factors.num_outputs() >= q && factors.num_inputs() >= r) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("eigenvectors of ", where, ": found ",
                   ShapeString(factors.gradient_eigenvectors), " and ",
                   ShapeString(factors.input_eigenvectors),
                   ", expected at most as many columns as rows"));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const KroneckerInverse>>
KroneckerInverse::Create(std::shared_ptr<const KroneckerCurvature> curvature,
                         const Model& model, const ParameterBlock& block,
                         const KroneckerInverseOptions& options) {
  if (curvature == nullptr) {
    return absl::InvalidArgumentError("curvature: is null");
  }
  std::shared_ptr<KroneckerInverse> inverse(new KroneckerInverse());
  inverse->curvature_ = std::move(curvature);
  inverse->dtype_ = model.dtype();
  inverse->indices_ = block.parameters;
  for (const int64_t index : block.parameters) {
    const NamedParameter& parameter = model.parameters()[index];
    inverse->names_.push_back(parameter.name);
    inverse->sizes_.push_back(parameter.tensor.numel());
  }
  INFLUENCE_RETURN_IF_ERROR(
      CatchTorch("Kronecker inverse", [&] { return inverse->Build(options); }));
  return inverse;
}

absl::StatusOr<std::shared_ptr<const KroneckerInverse>>
KroneckerInverse::WithOptions(const KroneckerInverseOptions& options) const {
  std::shared_ptr<KroneckerInverse> inverse(new KroneckerInverse());
  inverse->curvature_ = curvature_;
  inverse->dtype_ = dtype_;
  inverse->names_ = names_;
  inverse->indices_ = indices_;
  inverse->sizes_ = sizes_;
  INFLUENCE_RETURN_IF_ERROR(
      CatchTorch("Kronecker inverse", [&] { return inverse->Build(options); }));
  return inverse;
}

absl::Status KroneckerInverse::Build(const KroneckerInverseOptions& options) {
  const at::NoGradGuard no_grad;
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("regularization", options.regularization));
  INFLUENCE_RETURN_IF_ERROR(
      ValidateNonNegative("score_tolerance", options.score_tolerance));
  INFLUENCE_RETURN_IF_ERROR(
      ValidatePositive("relative_accuracy", options.relative_accuracy));
  if (options.score_tolerance >= 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("score_tolerance: found ", options.score_tolerance,
                     ", expected a value below 1"));
  }
  options_ = options;
  const auto position_of = [this](int64_t index) -> int64_t {
    const auto found = std::find(indices_.begin(), indices_.end(), index);
    return found == indices_.end() ? -1 : found - indices_.begin();
  };
  // Ranges [begin, end) of each parameter that something covers.
  std::vector<std::vector<std::pair<int64_t, int64_t>>> covered(sizes_.size());

  for (const KroneckerFactors& factors : curvature_->layers) {
    const int64_t weight = position_of(factors.weight);
    if (weight < 0) continue;
    const std::string where =
        factors.group == 0
            ? absl::StrCat("layer ", factors.layer)
            : absl::StrCat("layer ", factors.layer, ", group ", factors.group);
    INFLUENCE_RETURN_IF_ERROR(ValidatePair(where, factors));
    INFLUENCE_RETURN_IF_ERROR(ValidateEigenvalues(
        where, factors.eigenvalues, factors.is_deficient(), options));
    int64_t bias = -1;
    if (factors.bias.has_value()) {
      bias = position_of(*factors.bias);
      if (bias < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("block: found the weight of ", where,
                         " without its bias, expected both in one block"));
      }
    }
    const int64_t o = factors.num_outputs();
    const int64_t inputs = factors.num_inputs() - (bias < 0 ? 0 : 1);
    covered[weight].emplace_back(factors.weight_offset,
                                 factors.weight_offset + o * inputs);
    if (bias >= 0) {
      covered[bias].emplace_back(factors.bias_offset, factors.bias_offset + o);
    }
    num_factored_ += o * factors.num_inputs();
    pairs_.push_back(Pair{KroneckerPairInverse(factors, options.regularization,
                                               options.score_tolerance, dtype_),
                          weight, bias, factors.weight_offset,
                          factors.bias_offset});
  }
  for (const DiagonalFactor& factor : curvature_->diagonals) {
    const int64_t position = position_of(factor.parameter);
    if (position < 0) continue;
    const std::string where = absl::StrCat("parameter ", names_[position]);
    INFLUENCE_RETURN_IF_ERROR(ValidateShape(absl::StrCat("diagonal of ", where),
                                            factor.diagonal,
                                            {sizes_[position]}));
    INFLUENCE_RETURN_IF_ERROR(ValidateEigenvalues(
        where, factor.diagonal, /*has_zeros=*/false, options));
    covered[position].emplace_back(0, sizes_[position]);
    num_diagonal_ += sizes_[position];
    diagonals_.push_back(Diagonal{position, factor.diagonal});
  }
  for (const int64_t index : curvature_->dropped) {
    const int64_t position = position_of(index);
    if (position < 0) continue;
    covered[position].emplace_back(0, sizes_[position]);
    num_dropped_ += sizes_[position];
    dropped_.push_back(position);
  }
  for (size_t p = 0; p < sizes_.size(); ++p) {
    std::sort(covered[p].begin(), covered[p].end());
    int64_t end = 0;
    bool exact = true;
    for (const auto& [first, last] : covered[p]) {
      exact = exact && first == end;
      end = last;
    }
    if (!exact || end != sizes_[p]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "curvature: found a cover of parameter ", names_[p], " by ",
          covered[p].size(), " parts, expected each of its ", sizes_[p],
          " scalars in exactly one"));
    }
    size_ += sizes_[p];
  }
  return absl::OkStatus();
}

double KroneckerInverse::contracted_share() const {
  if (pairs_.empty()) return 1;
  double contracted = 0;
  for (const Pair& pair : pairs_) {
    contracted += pair.inverse.contracted_share() *
                  static_cast<double>(pair.inverse.size());
  }
  return contracted / static_cast<double>(num_factored_);
}

std::vector<int64_t> KroneckerInverse::OffsetsOf(
    const std::vector<int64_t>& positions) const {
  std::vector<int64_t> offsets(sizes_.size(), -1);
  int64_t offset = 0;
  for (const int64_t position : positions) {
    offsets[position] = offset;
    offset += sizes_[position];
  }
  return offsets;
}

PairOffsets KroneckerInverse::OffsetsOf(const Pair& pair,
                                        const std::vector<int64_t>& offsets) {
  return {offsets[pair.weight] + pair.weight_offset,
          pair.bias < 0 ? -1 : offsets[pair.bias] + pair.bias_offset};
}

void KroneckerInverse::Transform(const at::Tensor& in,
                                 const std::vector<int64_t>& offsets,
                                 const std::vector<bool>& split,
                                 const at::Tensor& out) const {
  const int64_t k = in.size(0);
  for (size_t p = 0; p < pairs_.size(); ++p) {
    const Pair& pair = pairs_[p];
    if (offsets[pair.weight] < 0) continue;
    const Eigenvalues eigenvalues =
        !split.empty() && split[p] ? Eigenvalues::kSplit : Eigenvalues::kExact;
    const PairOffsets place = OffsetsOf(pair, offsets);
    const int64_t tile_rows =
        std::max<int64_t>(1, kTileScalars / pair.inverse.size());
    for (int64_t row = 0; row < k; row += tile_rows) {
      const int64_t rows = std::min(k, row + tile_rows) - row;
      pair.inverse.Apply(in.narrow(0, row, rows), place, eigenvalues,
                         out.narrow(0, row, rows), place);
    }
  }
  for (const Diagonal& diagonal : diagonals_) {
    const int64_t offset = offsets[diagonal.parameter];
    if (offset < 0) continue;
    const int64_t size = sizes_[diagonal.parameter];
    out.narrow(1, offset, size)
        .copy_(in.narrow(1, offset, size)
                   .mul(diagonal.diagonal.add(options_.regularization)
                            .reciprocal()
                            .to(in.scalar_type())));
  }
  for (const int64_t position : dropped_) {
    if (offsets[position] < 0) continue;
    out.narrow(1, offsets[position], sizes_[position]).zero_();
  }
}

absl::StatusOr<at::Tensor> KroneckerInverse::DoApply(
    const at::Tensor& matrix) const {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> positions(sizes_.size());
  for (size_t p = 0; p < positions.size(); ++p) {
    positions[p] = static_cast<int64_t>(p);
  }
  const at::Tensor in = matrix.contiguous();
  at::Tensor out = at::empty_like(in);
  Transform(in, OffsetsOf(positions), /*split=*/{}, out);
  return out;
}

// The queries, pair by pair in the form that is cheaper to score with.
class KroneckerInverse::Prepared : public PreparedGrads {
 public:
  // Throws on a LibTorch failure.
  static absl::StatusOr<std::unique_ptr<const PreparedGrads>> Create(
      const KroneckerInverse* inverse, const FactoredGradients& left) {
    const at::NoGradGuard no_grad;
    std::unique_ptr<Prepared> prepared(new Prepared(inverse, left));
    INFLUENCE_RETURN_IF_ERROR(prepared->Prepare(left));
    return prepared;
  }

  int64_t num_samples() const override { return num_samples_; }
  int64_t num_parameters() const override { return inverse_->size_; }

 protected:
  absl::StatusOr<at::Tensor> DoTransformedGrads() const override {
    const at::NoGradGuard no_grad;
    std::vector<int64_t> all(inverse_->sizes_.size());
    for (size_t p = 0; p < all.size(); ++p) all[p] = static_cast<int64_t>(p);
    const std::vector<int64_t> offsets = inverse_->OffsetsOf(all);
    at::Tensor transformed =
        at::zeros({num_samples_, inverse_->size_}, at::dtype(dtype_));
    WriteRotated(Eigenvalues::kExact, offsets, transformed);
    const auto copy = [&](const at::Tensor& matrix,
                          const std::vector<int64_t>& positions) {
      int64_t offset = 0;
      for (const int64_t position : positions) {
        const int64_t size = inverse_->sizes_[position];
        transformed.narrow(1, offsets[position], size)
            .copy_(matrix.narrow(1, offset, size));
        offset += size;
      }
    };
    if (!matrix_positions_.empty()) copy(matrix_, matrix_positions_);
    if (split_matrix_grads_.has_value()) {
      INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor matrix,
                                 split_matrix_grads_->Flatten());
      inverse_->Transform(matrix, inverse_->OffsetsOf(split_positions_),
                          /*split=*/{}, matrix);
      copy(matrix, split_positions_);
    }
    return transformed;
  }

  absl::StatusOr<at::Tensor> DoGradsInnerProd(
      const FactoredGradients& right) const override {
    const at::NoGradGuard no_grad;
    if (right.dtype() != dtype_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "right gradients: found dtype ", DtypeName(right.dtype()),
          ", expected ", DtypeName(dtype_), ", the left ones'"));
    }
    at::Tensor scores =
        at::zeros({num_samples_, right.num_samples()}, at::dtype(dtype_));
    if (!matrix_positions_.empty()) {
      INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                                 right.Select(matrix_positions_));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products, part.Contract(matrix_));
      scores.add_(products.t());
    }
    if (rotated_.empty()) return scores;
    const std::vector<RotatedFactors> samples = RotateAll(right);
    if (samples.empty()) {
      INFLUENCE_ASSIGN_OR_RETURN(FactoredGradients part,
                                 right.Select(rotated_positions_));
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor products,
                                 part.Contract(RotatedMatrix()));
      scores.add_(products.t());
      return scores;
    }
    for (size_t i = 0; i < rotated_.size(); ++i) {
      const KroneckerPairInverse& pair =
          inverse_->pairs_[rotated_[i].pair].inverse;
      pair.AddInnerProducts(rotated_[i].factors, Divided(i), samples[i],
                            scores);
    }
    return scores;
  }

  absl::StatusOr<at::Tensor> DoRowwiseInnerProd(
      const FactoredGradients& right) const override {
    const at::NoGradGuard no_grad;
    at::Tensor products = at::zeros({num_samples_}, at::dtype(dtype_));
    if (!matrix_positions_.empty()) {
      INFLUENCE_RETURN_IF_ERROR(
          AddRowwise(right, matrix_positions_, matrix_, products));
    }
    if (rotated_.empty()) return products;
    const std::vector<RotatedFactors> samples = RotateAll(right);
    if (samples.empty()) {
      INFLUENCE_RETURN_IF_ERROR(
          AddRowwise(right, rotated_positions_, RotatedMatrix(), products));
      return products;
    }
    for (size_t i = 0; i < rotated_.size(); ++i) {
      const KroneckerPairInverse& pair =
          inverse_->pairs_[rotated_[i].pair].inverse;
      products.add_(pair.RowwiseInnerProducts(rotated_[i].factors, samples[i]));
    }
    return products;
  }

 private:
  // Of one pair.
  struct Rotated {
    size_t pair;
    RotatedFactors factors;
  };

  // Divide() of one pair, computed by the first call that wants it.
  struct LazyTensor {
    std::once_flag once;
    at::Tensor value;
  };

  Prepared(const KroneckerInverse* inverse, const FactoredGradients& left)
      : inverse_(inverse),
        num_samples_(left.num_samples()),
        dtype_(left.dtype()) {}

  static std::optional<RotatedFactors> RotatePair(
      const Pair& pair, const FactoredGradients& grads) {
    return pair.inverse.Rotate(
        grads.parameters()[pair.weight],
        pair.bias < 0 ? nullptr : &grads.parameters()[pair.bias]);
  }

  // Whether to meet the samples' rotated factors rather than to rotate the
  // queries' coordinates back, in multiply-adds.
  bool RotatedIsCheaper(const KroneckerPairInverse& inverse) const {
    const auto m = static_cast<double>(num_samples_);
    const auto o = static_cast<double>(inverse.num_outputs());
    const auto i = static_cast<double>(inverse.num_inputs());
    return m * inverse.InnerProductCost() + o * o + i * i <
           m * o * i * (1 + (o + i) / kAssumedSamples);
  }

  absl::Status Prepare(const FactoredGradients& left) {
    const std::vector<Pair>& pairs = inverse_->pairs_;
    std::vector<std::optional<RotatedFactors>> factors(pairs.size());
    // Parameters whose every pair is scored by rotated factors.
    std::vector<bool> rotated(inverse_->sizes_.size(), false);
    for (const Pair& pair : pairs) {
      rotated[pair.weight] = true;
      if (pair.bias >= 0) rotated[pair.bias] = true;
    }
    std::vector<bool> split(pairs.size(), false);
    for (size_t p = 0; p < pairs.size(); ++p) {
      factors[p] = RotatePair(pairs[p], left);
      split[p] = factors[p].has_value() && pairs[p].inverse.is_split();
      if (factors[p].has_value() && RotatedIsCheaper(pairs[p].inverse)) {
        continue;
      }
      rotated[pairs[p].weight] = false;
      if (pairs[p].bias >= 0) rotated[pairs[p].bias] = false;
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (const Pair& pair : pairs) {
        if (pair.bias < 0 || rotated[pair.weight] == rotated[pair.bias]) {
          continue;
        }
        rotated[pair.weight] = rotated[pair.bias] = false;
        changed = true;
      }
    }
    std::vector<bool> split_matrix(inverse_->sizes_.size(), false);
    for (size_t p = 0; p < pairs.size(); ++p) {
      if (!rotated[pairs[p].weight]) {
        if (!split[p]) continue;
        split_matrix[pairs[p].weight] = true;
        if (pairs[p].bias >= 0) split_matrix[pairs[p].bias] = true;
        continue;
      }
      rotated_.push_back({p, *std::move(factors[p])});
      divided_.push_back(std::make_unique<LazyTensor>());
    }
    for (size_t p = 0; p < rotated.size(); ++p) {
      const auto position = static_cast<int64_t>(p);
      const std::vector<int64_t>& dropped = inverse_->dropped_;
      if (rotated[p]) {
        rotated_positions_.push_back(position);
        rotated_size_ += inverse_->sizes_[p];
      } else if (std::find(dropped.begin(), dropped.end(), position) ==
                 dropped.end()) {
        matrix_positions_.push_back(position);
      }
    }
    if (matrix_positions_.empty()) return absl::OkStatus();
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients part,
                               left.Select(matrix_positions_));
    INFLUENCE_ASSIGN_OR_RETURN(matrix_, part.Flatten());
    inverse_->Transform(matrix_, inverse_->OffsetsOf(matrix_positions_), split,
                        matrix_);
    for (size_t p = 0; p < split_matrix.size(); ++p) {
      if (split_matrix[p]) split_positions_.push_back(static_cast<int64_t>(p));
    }
    if (split_positions_.empty()) return absl::OkStatus();
    INFLUENCE_ASSIGN_OR_RETURN(split_matrix_grads_,
                               left.Select(split_positions_));
    return absl::OkStatus();
  }

  // The factors of `grads` for each of rotated_. None if their form is another
  // than the queries': gradients with positions, or written out.
  std::vector<RotatedFactors> RotateAll(const FactoredGradients& grads) const {
    std::vector<RotatedFactors> all;
    for (const Rotated& rotated : rotated_) {
      std::optional<RotatedFactors> factors =
          RotatePair(inverse_->pairs_[rotated.pair], grads);
      if (!factors.has_value()) return {};
      all.push_back(*std::move(factors));
    }
    return all;
  }

  // What number i of rotated_ is met with, or undefined where it is too large.
  at::Tensor Divided(size_t i) const {
    const KroneckerPairInverse& pair =
        inverse_->pairs_[rotated_[i].pair].inverse;
    if (pair.num_contracted() >
        kKeptScalars / std::max<int64_t>(1, num_samples_)) {
      return at::Tensor();
    }
    LazyTensor& lazy = *divided_[i];
    std::call_once(lazy.once,
                   [&] { lazy.value = pair.Divide(rotated_[i].factors); });
    return lazy.value;
  }

  // The rotated parameters' transformed gradients, [M, rotated_size_].
  at::Tensor RotatedMatrix() const {
    at::Tensor matrix =
        at::zeros({num_samples_, rotated_size_}, at::dtype(dtype_));
    WriteRotated(Eigenvalues::kSplit, inverse_->OffsetsOf(rotated_positions_),
                 matrix);
    return matrix;
  }

  // Adds to products [N] the row products of matrix [N, *] with the gradients
  // of the parameters at `positions`.
  absl::Status AddRowwise(const FactoredGradients& right,
                          const std::vector<int64_t>& positions,
                          const at::Tensor& matrix,
                          const at::Tensor& products) const {
    INFLUENCE_ASSIGN_OR_RETURN(const FactoredGradients part,
                               right.Select(positions));
    const int64_t tile_rows =
        std::max<int64_t>(1, kTileScalars / part.num_parameters());
    for (int64_t row = 0; row < num_samples_; row += tile_rows) {
      const int64_t end = std::min(num_samples_, row + tile_rows);
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor tile, part.FlattenRows(row, end));
      products.narrow(0, row, end - row)
          .add_(tile.mul_(matrix.narrow(0, row, end - row)).sum(1));
    }
    return absl::OkStatus();
  }

  // The rotated pairs' part of B g at `offsets` of `out`.
  void WriteRotated(Eigenvalues eigenvalues,
                    const std::vector<int64_t>& offsets,
                    const at::Tensor& out) const {
    for (const Rotated& rotated : rotated_) {
      const Pair& pair = inverse_->pairs_[rotated.pair];
      const int64_t tile_rows =
          std::max<int64_t>(1, kTileScalars / pair.inverse.size());
      for (int64_t row = 0; row < num_samples_; row += tile_rows) {
        const int64_t rows = std::min(num_samples_, row + tile_rows) - row;
        pair.inverse.ApplyToFactors(
            {rotated.factors.rows.narrow(0, row, rows),
             rotated.factors.columns.narrow(0, row, rows)},
            eigenvalues, out.narrow(0, row, rows), OffsetsOf(pair, offsets));
      }
    }
  }

  const KroneckerInverse* inverse_;  // Borrowed, never null.
  int64_t num_samples_;
  at::ScalarType dtype_;

  std::vector<Rotated> rotated_;
  std::vector<std::unique_ptr<LazyTensor>> divided_;  // One each of rotated_.
  std::vector<int64_t> rotated_positions_;            // In the block.
  int64_t rotated_size_ = 0;

  // The others' transformed gradients.
  std::vector<int64_t> matrix_positions_;
  at::Tensor matrix_;  // [M, size of matrix_positions_]
  // Those of them that a split inverse has transformed, and their gradients.
  std::vector<int64_t> split_positions_;
  std::optional<FactoredGradients> split_matrix_grads_;
};

class KroneckerInverse::Form : public BilinearForm {
 public:
  explicit Form(const KroneckerInverse* inverse) : inverse_(inverse) {}

  int64_t input_size() const override { return inverse_->input_size(); }

 protected:
  absl::StatusOr<at::Tensor> Transform(const at::Tensor& left) const override {
    return inverse_->Apply(left);
  }

  absl::StatusOr<std::unique_ptr<const PreparedGrads>> DoPrepareGrads(
      const FactoredGradients& left) const override {
    return Prepared::Create(inverse_, left);
  }

 private:
  const KroneckerInverse* inverse_;  // Borrowed, never null.
};

std::unique_ptr<const BilinearForm> KroneckerInverse::AsBilinearForm() const {
  return std::make_unique<const Form>(this);
}

}  // namespace influence
