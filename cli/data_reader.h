// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The data sets of the command line: an `.npz` archive, read into memory, or a
// folder of `.npy` files, mapped into memory and read batch by batch. Either
// holds one array `x` (or `x0`, `x1`, ... for several inputs, in the order of
// the model's forward) and one array `y`.
//
//   INFLUENCE_ASSIGN_OR_RETURN(
//       const DataReader data,
//       DataReader::Open("train.npz", {.dtype = at::kDouble}));
//   INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, data.Get(0));
#ifndef INFLUENCE_CLI_DATA_READER_H_
#define INFLUENCE_CLI_DATA_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/communicator.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"

namespace influence {

struct DataReaderOptions {
  at::ScalarType dtype = at::kFloat;  // Of floating data: kFloat or kDouble.
  int64_t batch_size = 256;           // >= 1; the last batch may be shorter.
  // Limit on the values of an archive, uncompressed, in bytes; >= 0. Zero
  // stands for the machine's memory. A folder is not limited.
  int64_t max_archive_bytes = 0;
  // Of ranks that open the same data: each checks the values of its samples
  // (ShareOf()). Borrowed while it is opened; null for a process alone.
  const Communicator* ranks = nullptr;
};

// A validated data set, cut into batches. Floating arrays of any width come out
// in options.dtype. Integer and boolean inputs keep the dtype of the file,
// which decides what they mean to a model (of LibTorch's dtypes: uint16, uint32
// and uint64 come out as int64); such labels come out as int64. Thread-safe;
// copies share the data.
class DataReader : public BatchSequence {
 public:
  // Checks everything there is to check, which reads floating arrays once, in
  // pieces: N >= 1 samples in every array, the same N everywhere, no NaN,
  // infinity or number too large for options.dtype, at least one value in each
  // sample. kInvalidArgument, naming the file, the array and the sample, if
  // not, or if the arrays are not exactly x and y or x0, x1, ... and y; errors
  // of NpzFile and NpyFile as they come (object arrays, truncated files).
  static absl::StatusOr<DataReader> Open(const std::string& path,
                                         const DataReaderOptions& options);

  int64_t num_batches() const override;
  int64_t num_samples() const override;

  // New tensors, which the caller may change.
  absl::StatusOr<Batch> Get(int64_t index) const override;
  absl::StatusOr<int64_t> BatchSize(int64_t index) const override;

  int64_t batch_size() const { return batch_size_; }

  // The same data in batches of another size. kInvalidArgument if < 1.
  absl::StatusOr<DataReader> WithBatchSize(int64_t batch_size) const;

  // "x", or "x0", "x1", ...
  int64_t num_inputs() const;
  const std::string& input_name(int64_t input) const;

  // [N, ...], and the dtype of the tensors in a batch.
  absl::Span<const int64_t> input_shape(int64_t input) const;
  at::ScalarType input_dtype(int64_t input) const;
  absl::Span<const int64_t> label_shape() const;
  at::ScalarType label_dtype() const;

 private:
  struct DataSet;
  DataReader(std::shared_ptr<const DataSet> data, int64_t batch_size);

  std::shared_ptr<const DataSet> data_;  // Never null.
  int64_t batch_size_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_DATA_READER_H_
