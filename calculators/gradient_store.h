// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The gradients of a data set's samples in a Zarr store, factored: scores of
// new queries against them need no pass of the model over that data.
//
// Of a layer without positions the factors are stored, [N, out] and [N, in],
// and the gradients that come back are those that went in, bit for bit. Of one
// with T positions (tokens, places of a convolution) it is whichever is
// smaller, the factors of all positions, [N, T, out] and [N, T, in], or the
// gradients themselves, [N, out * in], which differ by rounding only. With a
// rank r, where that is smaller still, it is the r leading singular factors of
// each sample's gradient matrix, its best approximation of rank r in the
// Frobenius norm (Eckart and Young, 1936); relative_error() says how good.
//
// No method's basis is stored: an orthogonal change of basis leaves singular
// factors and inner products what they are, and the same store serves every
// method and every regularization.
#ifndef INFLUENCE_CALCULATORS_GRADIENT_STORE_H_
#define INFLUENCE_CALCULATORS_GRADIENT_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/communicator.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_store_writer.h"
#include "gradients/factored_gradients.h"

namespace influence {

struct GradientStoreOptions {
  // Singular factors of a gradient with positions, >= 0. 0: all of it.
  int64_t rank = 0;

  int compression_level = 1;  // Of zstd.
};

// How one term of a parameter's gradients (gradient_term.h) is stored.
struct StoredGradientTerm {
  enum class Kind {
    kDense,         // [N, size]
    kOuterProduct,  // left [N, groups, positions, rows], right [..., columns]
    kRowSparse,     // int64 [N, positions], values [N, positions, columns]
  };

  Kind kind = Kind::kDense;
  int64_t offset = 0;
  int64_t size = 0;
  int64_t groups = 1;
  int64_t positions = 1;  // As stored.
  int64_t rows = 0;
  int64_t columns = 0;
  bool truncated = false;  // To singular factors.
};

struct StoredGradientParameter {
  std::string name;
  int64_t size = 0;
  std::vector<StoredGradientTerm> terms;
};

// What is in a store, but for the numbers.
struct GradientStoreLayout {
  int64_t num_samples = 0;
  at::ScalarType dtype = at::kFloat;
  double relative_error = 0;  // See GradientStoreWriter.
  std::vector<StoredGradientParameter> parameters;

  // A line of JSON, and back. kInvalidArgument if it is none.
  std::string ToText() const;
  static absl::StatusOr<GradientStoreLayout> FromText(const std::string& text);
};

// Writes the arrays "gradients/<parameter>/<term>/<left, right, ...>". Not
// thread-safe.
class GradientStoreWriter {
 public:
  // The layout is that of `first`, the gradients of the first samples of
  // num_samples; all of its samples are a chunk, and so are as many of those
  // that follow. Borrows `store`. kInvalidArgument on a bad argument; errors of
  // ZarrStoreWriter::AddArray().
  static absl::StatusOr<std::unique_ptr<GradientStoreWriter>> Create(
      const FactoredGradients& first, int64_t num_samples,
      const GradientStoreOptions& options, ZarrStoreWriter* store);

  // Writes samples [begin, begin + gradients.num_samples()), whole chunks, or
  // up to the last sample. A truncated layer costs a singular value
  // decomposition a sample and group. kInvalidArgument if the gradients are not
  // of the layout; errors of writing.
  absl::Status Write(int64_t begin, const FactoredGradients& gradients);

  // Collective, once, when each rank has written its samples with a writer of
  // its own: from here on relative_error() is that of all of them. Errors of
  // the communicator.
  absl::Status AddUpRanks(Communicator& communicator);

  // Of what was written: |G - stored|_F / |G|_F over all of a layer's samples,
  // the largest of the truncated layers'; 0 where none is.
  double relative_error() const;

  // With this relative_error().
  GradientStoreLayout layout() const;

 private:
  struct Truncation {
    double discarded = 0;  // Sums of squares.
    double total = 0;
  };

  GradientStoreWriter(GradientStoreLayout layout, GradientStoreOptions options);

  GradientStoreLayout layout_;
  GradientStoreOptions options_;
  std::vector<std::vector<std::vector<ZarrArrayWriter*>>> arrays_;
  std::vector<Truncation> truncations_;  // By parameter.
};

// Reads them back. Immutable and thread-safe.
class GradientStore {
 public:
  // `group` is where the writer's store was. kDataLoss if an array is missing
  // or is not as `layout` has it; errors of ZarrGroup::OpenArray().
  static absl::StatusOr<GradientStore> Open(const ZarrGroup& group,
                                            GradientStoreLayout layout);

  const GradientStoreLayout& layout() const { return layout_; }
  int64_t num_samples() const { return layout_.num_samples; }

  // The gradients of samples [begin, end), of all parameters of the layout.
  // Reads their chunks. kInvalidArgument if the range is not within the
  // samples; errors of ZarrArray::ReadRows().
  absl::StatusOr<FactoredGradients> Get(int64_t begin, int64_t end) const;

 private:
  GradientStore(GradientStoreLayout layout,
                std::vector<std::vector<std::vector<ZarrArray>>> arrays);

  GradientStoreLayout layout_;
  std::vector<std::vector<std::vector<ZarrArray>>> arrays_;
};

}  // namespace influence

#endif  // INFLUENCE_CALCULATORS_GRADIENT_STORE_H_
