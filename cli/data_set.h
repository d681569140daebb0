// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A data file and the shape of what the model makes of it.
#ifndef INFLUENCE_CLI_DATA_SET_H_
#define INFLUENCE_CLI_DATA_SET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cli/data_reader.h"
#include "cli/model_trial.h"
#include "gradients/batch.h"
#include "gradients/batch_sequence.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {

// Immutable and thread-safe.
class DataSet : public BatchSequence {
 public:
  // Opens `path`, floating arrays in `dtype` and integer inputs in the dtype of
  // the file, and tries `model`, which came from `model_file`, on the first
  // samples. Errors of DataReader and of TryModel() (model_trial.h).
  static absl::StatusOr<std::shared_ptr<const DataSet>> Open(
      const std::string& path, at::ScalarType dtype, const Model& model,
      const std::string& model_file);

  int64_t num_batches() const override { return reader_.num_batches(); }
  int64_t num_samples() const override { return reader_.num_samples(); }
  absl::StatusOr<Batch> Get(int64_t index) const override;
  absl::StatusOr<int64_t> BatchSize(int64_t index) const override {
    return reader_.BatchSize(index);
  }

  // The same in batches of `batch_size` >= 1 samples.
  absl::StatusOr<std::shared_ptr<const DataSet>> WithBatchSize(
      int64_t batch_size) const;

  // Where the model and the inputs come from.
  TrialOrigin origin() const;

  // Inputs of up to `count` samples, spread evenly over the data.
  absl::StatusOr<std::vector<at::Tensor>> SpreadInputs(int64_t count) const;

  // Up to `count` samples from the start.
  absl::StatusOr<Batch> First(int64_t count) const;

  // Every label, by `function`'s validator, as if the model had answered with
  // zeros. Reads the data once. kInvalidArgument naming file and sample.
  absl::Status CheckLabels(const PerSampleFunction& function) const;

  int64_t num_inputs() const { return reader_.num_inputs(); }
  const std::string& input_name(int64_t input) const {
    return reader_.input_name(input);
  }
  absl::Span<const int64_t> input_shape(int64_t input) const {
    return reader_.input_shape(input);
  }
  // As the model gets it.
  bool input_is_floating(int64_t input) const;
  at::ScalarType input_dtype(int64_t input) const;

  // Scalars in all inputs of one sample; at least 1.
  int64_t values_per_sample() const;

 private:
  DataSet(std::string path, std::string model_file, at::ScalarType dtype,
          DataReader reader);

  std::string path_;
  std::string model_file_;
  at::ScalarType dtype_;
  DataReader reader_;
  std::vector<int64_t> output_shape_;  // Of the model on a few samples.
};

}  // namespace influence

#endif  // INFLUENCE_CLI_DATA_SET_H_
