// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/gradient_store.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <tuple>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/linalg_qr.h"
#include "ATen/ops/linalg_svd.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "gradients/gradient_term.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

using Json = nlohmann::ordered_json;
using Kind = StoredGradientTerm::Kind;

constexpr absl::string_view kKindNames[] = {"dense", "outer product",
                                            "row sparse"};

// A chunk of one array, so that a reader takes in what it asked for.
constexpr int64_t kChunkBytes = int64_t{32} << 20;

// Scratch of the gradient matrices that are decomposed together, in scalars.
constexpr int64_t kTileScalars = int64_t{1} << 22;

std::string ArrayName(const std::string& parameter, size_t term,
                      absl::string_view part) {
  return absl::StrCat("gradients/", parameter, "/", term, "/", part);
}

// The arrays of a term, in the order they are stored in: what they are called,
// their extents behind N, and whether they hold row numbers.
struct PartOfTerm {
  absl::string_view name;
  std::vector<int64_t> extents;
  bool is_index = false;
};

std::vector<PartOfTerm> PartsOf(const StoredGradientTerm& term) {
  switch (term.kind) {
    case Kind::kDense:
      return {{"dense", {term.size}}};
    case Kind::kOuterProduct:
      return {{"left", {term.groups, term.positions, term.rows}},
              {"right", {term.groups, term.positions, term.columns}}};
    case Kind::kRowSparse:
      return {{"rows", {term.positions}, true},
              {"values", {term.positions, term.columns}}};
  }
  return {};
}

// How `term` is to be stored.
StoredGradientTerm PlanOf(const GradientTerm& term, int64_t rank) {
  StoredGradientTerm plan;
  plan.offset = term.offset();
  plan.size = term.size();
  if (const auto* sparse = dynamic_cast<const RowSparseTerm*>(&term)) {
    plan.kind = Kind::kRowSparse;
    plan.positions = sparse->row_numbers().size(1);
    plan.rows = sparse->num_rows();
    plan.columns = sparse->values().size(2);
    return plan;
  }
  const auto* outer = dynamic_cast<const OuterProductTerm*>(&term);
  if (outer == nullptr) return plan;
  const int64_t positions = outer->left().size(2);
  plan.groups = outer->left().size(1);
  plan.rows = outer->left().size(3);
  plan.columns = outer->right().size(3);
  const int64_t extents = plan.rows + plan.columns;
  const int64_t whole = plan.rows * plan.columns;
  const bool singular = rank > 0 && positions > 1 &&
                        rank < std::min({positions, plan.rows, plan.columns}) &&
                        rank * extents < std::min(positions * extents, whole);
  if (singular) {
    plan.kind = Kind::kOuterProduct;
    plan.positions = rank;
    plan.truncated = true;
  } else if (positions == 1 || positions * extents <= whole) {
    plan.kind = Kind::kOuterProduct;
    plan.positions = positions;
  }
  return plan;
}

bool SameLayout(const StoredGradientTerm& a, const StoredGradientTerm& b) {
  return std::tie(a.kind, a.offset, a.size, a.groups, a.positions, a.rows,
                  a.columns, a.truncated) ==
         std::tie(b.kind, b.offset, b.size, b.groups, b.positions, b.rows,
                  b.columns, b.truncated);
}

at::Tensor Written(const GradientTerm& term, int64_t begin, int64_t end,
                   const at::TensorOptions& options) {
  at::Tensor out = at::empty({end - begin, term.size()}, options);
  term.Write(begin, end, /*accumulate=*/false, out);
  return out;
}

// Leading singular factors of matrices [.., L, R], left [.., r, L] with the
// singular values in it and right [.., r, R]; all singular values [.., k].
struct SingularFactors {
  at::Tensor left;
  at::Tensor right;
  at::Tensor values;
};

SingularFactors FactorsOfMatrix(const at::Tensor& matrix, int64_t rank) {
  const auto [u, s, v] = at::linalg_svd(matrix, /*full_matrices=*/false);
  return {u.narrow(-1, 0, rank)
              .mul(s.narrow(-1, 0, rank).unsqueeze(-2))
              .transpose(-1, -2),
          v.narrow(-2, 0, rank), s};
}

// The same of left^T right for left [.., T, L] and right [.., T, R], T below
// both: by the singular values of a matrix [T, T].
SingularFactors FactorsOfProduct(const at::Tensor& left,
                                 const at::Tensor& right, int64_t rank) {
  const auto [q_left, r_left] = at::linalg_qr(left.transpose(-1, -2));
  const auto [q_right, r_right] = at::linalg_qr(right.transpose(-1, -2));
  const SingularFactors core =
      FactorsOfMatrix(r_left.matmul(r_right.transpose(-1, -2)), rank);
  return {core.left.matmul(q_left.transpose(-1, -2)),
          core.right.matmul(q_right.transpose(-1, -2)), core.values};
}

SingularFactors FactorsOfTerm(const OuterProductTerm& term, int64_t begin,
                              int64_t end, int64_t rank) {
  const at::Tensor left = term.left().slice(0, begin, end);
  const at::Tensor right = term.right().slice(0, begin, end);
  const int64_t l = left.size(3);
  const int64_t r = right.size(3);
  if (left.size(2) < std::min(l, r)) return FactorsOfProduct(left, right, rank);
  return FactorsOfMatrix(Written(term, begin, end, left.options())
                             .view({end - begin, left.size(1), l, r}),
                         rank);
}

absl::Status OtherLayout(const std::string& parameter) {
  return absl::InvalidArgumentError(
      absl::StrCat("gradients of ", parameter,
                   ": found other terms than in the first batch, expected the "
                   "same in all"));
}

}  // namespace

std::string GradientStoreLayout::ToText() const {
  Json json;
  json["num_samples"] = num_samples;
  json["dtype"] = std::string(DtypeName(dtype));
  json["relative_error"] = relative_error;
  json["parameters"] = Json::array();
  for (const StoredGradientParameter& parameter : parameters) {
    Json terms = Json::array();
    for (const StoredGradientTerm& term : parameter.terms) {
      terms.push_back(
          {{"kind", std::string(kKindNames[static_cast<size_t>(term.kind)])},
           {"offset", term.offset},
           {"size", term.size},
           {"groups", term.groups},
           {"positions", term.positions},
           {"rows", term.rows},
           {"columns", term.columns},
           {"truncated", term.truncated}});
    }
    json["parameters"].push_back({{"name", parameter.name},
                                  {"size", parameter.size},
                                  {"terms", std::move(terms)}});
  }
  return json.dump();
}

absl::StatusOr<GradientStoreLayout> GradientStoreLayout::FromText(
    const std::string& text) {
  // What the JSON library throws is caught here.
  return CatchTorch(
      "layout of gradients", [&]() -> absl::StatusOr<GradientStoreLayout> {
        const Json json = Json::parse(text, nullptr,
                                      /*allow_exceptions=*/false);
        if (!json.is_object() || !json.contains("parameters")) {
          return absl::InvalidArgumentError(
              absl::StrCat("layout of gradients: found \"", text,
                           "\", expected JSON with parameters"));
        }
        GradientStoreLayout layout;
        json.at("num_samples").get_to(layout.num_samples);
        json.at("relative_error").get_to(layout.relative_error);
        layout.dtype = json.at("dtype") == DtypeName(at::kDouble) ? at::kDouble
                                                                  : at::kFloat;
        for (const Json& of_parameter : json.at("parameters")) {
          StoredGradientParameter parameter;
          of_parameter.at("name").get_to(parameter.name);
          of_parameter.at("size").get_to(parameter.size);
          for (const Json& of_term : of_parameter.at("terms")) {
            StoredGradientTerm term;
            const auto* const kind =
                std::find(std::begin(kKindNames), std::end(kKindNames),
                          of_term.at("kind").get<std::string>());
            if (kind == std::end(kKindNames)) {
              return absl::InvalidArgumentError(
                  absl::StrCat("layout of gradients: ", parameter.name,
                               ": found kind ", of_term.at("kind").dump(),
                               ", expected dense, outer product "
                               "or row sparse"));
            }
            term.kind = static_cast<Kind>(kind - std::begin(kKindNames));
            of_term.at("offset").get_to(term.offset);
            of_term.at("size").get_to(term.size);
            of_term.at("groups").get_to(term.groups);
            of_term.at("positions").get_to(term.positions);
            of_term.at("rows").get_to(term.rows);
            of_term.at("columns").get_to(term.columns);
            of_term.at("truncated").get_to(term.truncated);
            parameter.terms.push_back(term);
          }
          layout.parameters.push_back(std::move(parameter));
        }
        return layout;
      });
}

GradientStoreWriter::GradientStoreWriter(GradientStoreLayout layout,
                                         GradientStoreOptions options)
    : layout_(std::move(layout)),
      options_(options),
      truncations_(layout_.parameters.size()) {}

absl::StatusOr<std::unique_ptr<GradientStoreWriter>>
GradientStoreWriter::Create(const FactoredGradients& first, int64_t num_samples,
                            const GradientStoreOptions& options,
                            ZarrStoreWriter* store) {
  if (options.rank < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("stored rank: found ", options.rank, ", expected >= 0"));
  }
  if (first.num_samples() < 1 || num_samples < first.num_samples()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gradients: found ", first.num_samples(), " samples of ", num_samples,
        ", expected at least one and no more than all"));
  }
  GradientStoreLayout layout;
  layout.num_samples = num_samples;
  layout.dtype = first.dtype();
  for (const FactoredParameter& parameter : first.parameters()) {
    StoredGradientParameter stored{parameter.name, parameter.size, {}};
    stored.terms.reserve(parameter.terms.size());
    for (const auto& term : parameter.terms) {
      stored.terms.push_back(PlanOf(*term, options.rank));
    }
    layout.parameters.push_back(std::move(stored));
  }
  std::unique_ptr<GradientStoreWriter> writer(
      new GradientStoreWriter(std::move(layout), options));
  for (const StoredGradientParameter& parameter : writer->layout_.parameters) {
    writer->arrays_.emplace_back();
    for (size_t t = 0; t < parameter.terms.size(); ++t) {
      writer->arrays_.back().emplace_back();
      for (const PartOfTerm& part : PartsOf(parameter.terms[t])) {
        ZarrArrayMetadata metadata;
        metadata.shape = part.extents;
        metadata.shape.insert(metadata.shape.begin(), num_samples);
        metadata.dtype = part.is_index ? at::kLong : first.dtype();
        metadata.zstd = ZstdCodec{options.compression_level, /*checksum=*/true};
        std::vector<int64_t> tile = metadata.shape;
        tile[0] = first.num_samples();
        metadata.chunk_shape = ZarrChunkShapeForTiles(
            metadata.shape, tile, metadata.dtype == at::kFloat ? 4 : 8,
            kChunkBytes);
        INFLUENCE_ASSIGN_OR_RETURN(
            ZarrArrayWriter* const array,
            store->AddArray(ArrayName(parameter.name, t, part.name),
                            std::move(metadata)));
        writer->arrays_.back().back().push_back(array);
      }
    }
  }
  return writer;
}

absl::Status GradientStoreWriter::Write(int64_t begin,
                                        const FactoredGradients& gradients) {
  const int64_t n = gradients.num_samples();
  if (begin < 0 || n > layout_.num_samples - begin) {
    return absl::InvalidArgumentError(
        absl::StrCat("gradients: found samples [", begin, ", ", begin + n,
                     "), expected some of [0, ", layout_.num_samples, ")"));
  }
  if (gradients.parameters().size() != layout_.parameters.size()) {
    return OtherLayout("the model");
  }
  return CatchTorch("gradient store", [&]() -> absl::Status {
    const at::NoGradGuard no_grad;
    for (size_t p = 0; p < layout_.parameters.size(); ++p) {
      const StoredGradientParameter& stored = layout_.parameters[p];
      const FactoredParameter& parameter = gradients.parameters()[p];
      if (parameter.terms.size() != stored.terms.size()) {
        return OtherLayout(stored.name);
      }
      for (size_t t = 0; t < stored.terms.size(); ++t) {
        const GradientTerm& term = *parameter.terms[t];
        const StoredGradientTerm& plan = stored.terms[t];
        if (!SameLayout(PlanOf(term, options_.rank), plan)) {
          return OtherLayout(stored.name);
        }
        const auto put = [&](size_t part, int64_t at,
                             const at::Tensor& values) -> absl::Status {
          std::vector<int64_t> first(values.dim(), 0);
          first[0] = at;
          return arrays_[p][t][part]->Write(first, values);
        };
        if (plan.kind == Kind::kRowSparse) {
          const auto& sparse = dynamic_cast<const RowSparseTerm&>(term);
          INFLUENCE_RETURN_IF_ERROR(put(0, begin, sparse.row_numbers()));
          INFLUENCE_RETURN_IF_ERROR(put(1, begin, sparse.values()));
          continue;
        }
        if (plan.kind == Kind::kDense) {
          INFLUENCE_RETURN_IF_ERROR(
              put(0, begin, Written(term, 0, n, at::dtype(gradients.dtype()))));
          continue;
        }
        const auto& outer = dynamic_cast<const OuterProductTerm&>(term);
        if (!plan.truncated) {
          INFLUENCE_RETURN_IF_ERROR(put(0, begin, outer.left()));
          INFLUENCE_RETURN_IF_ERROR(put(1, begin, outer.right()));
          continue;
        }
        at::Tensor left = at::empty({n, plan.groups, plan.positions, plan.rows},
                                    outer.left().options());
        at::Tensor right =
            at::empty({n, plan.groups, plan.positions, plan.columns},
                      outer.left().options());
        const int64_t step = std::max<int64_t>(1, kTileScalars / plan.size);
        for (int64_t i = 0; i < n; i += step) {
          const int64_t end = std::min(i + step, n);
          const SingularFactors factors =
              FactorsOfTerm(outer, i, end, plan.positions);
          left.slice(0, i, end).copy_(factors.left);
          right.slice(0, i, end).copy_(factors.right);
          const at::Tensor squares = factors.values.to(at::kDouble).square();
          truncations_[p].total += squares.sum().item<double>();
          truncations_[p].discarded +=
              squares.slice(-1, plan.positions, squares.size(-1))
                  .sum()
                  .item<double>();
        }
        INFLUENCE_RETURN_IF_ERROR(put(0, begin, left));
        INFLUENCE_RETURN_IF_ERROR(put(1, begin, right));
      }
    }
    return absl::OkStatus();
  });
}

absl::Status GradientStoreWriter::AddUpRanks(Communicator& communicator) {
  return CatchTorch("gradient store", [&]() -> absl::Status {
    const at::Tensor sums =
        at::empty({static_cast<int64_t>(truncations_.size()), 2}, at::kDouble);
    auto* sum = sums.data_ptr<double>();
    for (const Truncation& truncation : truncations_) {
      *sum++ = truncation.discarded;
      *sum++ = truncation.total;
    }
    INFLUENCE_RETURN_IF_ERROR(communicator.AllReduceSum(sums));
    sum = sums.data_ptr<double>();
    for (Truncation& truncation : truncations_) {
      truncation.discarded = *sum++;
      truncation.total = *sum++;
    }
    return absl::OkStatus();
  });
}

double GradientStoreWriter::relative_error() const {
  double largest = 0;
  for (const Truncation& truncation : truncations_) {
    if (truncation.total > 0) {
      largest =
          std::max(largest, std::sqrt(truncation.discarded / truncation.total));
    }
  }
  return largest;
}

GradientStoreLayout GradientStoreWriter::layout() const {
  GradientStoreLayout layout = layout_;
  layout.relative_error = relative_error();
  return layout;
}

GradientStore::GradientStore(
    GradientStoreLayout layout,
    std::vector<std::vector<std::vector<ZarrArray>>> arrays)
    : layout_(std::move(layout)), arrays_(std::move(arrays)) {}

absl::StatusOr<GradientStore> GradientStore::Open(const ZarrGroup& group,
                                                  GradientStoreLayout layout) {
  std::vector<std::vector<std::vector<ZarrArray>>> arrays;
  for (const StoredGradientParameter& parameter : layout.parameters) {
    arrays.emplace_back();
    for (size_t t = 0; t < parameter.terms.size(); ++t) {
      arrays.back().emplace_back();
      for (const PartOfTerm& part : PartsOf(parameter.terms[t])) {
        const std::string name = ArrayName(parameter.name, t, part.name);
        absl::StatusOr<ZarrArray> array = group.OpenArray(name);
        if (array.status().code() == absl::StatusCode::kNotFound) {
          return absl::DataLossError(absl::StrCat(
              group.folder(), ": found no array \"", name, "\", expected it"));
        }
        INFLUENCE_RETURN_IF_ERROR(array.status());
        std::vector<int64_t> shape = part.extents;
        shape.insert(shape.begin(), layout.num_samples);
        const at::ScalarType dtype = part.is_index ? at::kLong : layout.dtype;
        if (array->shape() != shape || array->dtype() != dtype) {
          return absl::DataLossError(absl::StrCat(
              array->folder(), ": found ", array->metadata().ToString(),
              ", expected the gradients of ", layout.num_samples, " samples"));
        }
        arrays.back().back().push_back(*std::move(array));
      }
    }
  }
  return GradientStore(std::move(layout), std::move(arrays));
}

absl::StatusOr<FactoredGradients> GradientStore::Get(int64_t begin,
                                                     int64_t end) const {
  if (begin < 0 || end > num_samples() || begin >= end) {
    return absl::InvalidArgumentError(
        absl::StrCat("gradients: found samples [", begin, ", ", end,
                     "), expected some of [0, ", num_samples(), ")"));
  }
  return CatchTorch(
      "gradient store", [&]() -> absl::StatusOr<FactoredGradients> {
        std::vector<FactoredParameter> parameters;
        parameters.reserve(layout_.parameters.size());
        for (size_t p = 0; p < layout_.parameters.size(); ++p) {
          const StoredGradientParameter& stored = layout_.parameters[p];
          FactoredParameter parameter{stored.name, stored.size, {}};
          for (size_t t = 0; t < stored.terms.size(); ++t) {
            const StoredGradientTerm& plan = stored.terms[t];
            std::vector<at::Tensor> parts;
            for (const ZarrArray& array : arrays_[p][t]) {
              INFLUENCE_ASSIGN_OR_RETURN(at::Tensor part,
                                         array.ReadRows(begin, end));
              parts.push_back(std::move(part));
            }
            switch (plan.kind) {
              case Kind::kDense:
                parameter.terms.push_back(
                    std::make_shared<const DenseTerm>(plan.offset, parts[0]));
                break;
              case Kind::kOuterProduct:
                parameter.terms.push_back(
                    std::make_shared<const OuterProductTerm>(
                        plan.offset, parts[0], parts[1]));
                break;
              case Kind::kRowSparse:
                parameter.terms.push_back(std::make_shared<const RowSparseTerm>(
                    plan.offset, plan.rows, parts[0], parts[1]));
                break;
            }
          }
          parameters.push_back(std::move(parameter));
        }
        return FactoredGradients(end - begin, layout_.dtype,
                                 std::move(parameters));
      });
}

}  // namespace influence
