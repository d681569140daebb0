// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/data_set.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/data_reader.h"
#include "cli/job.h"
#include "cli/model_trial.h"
#include "gradients/batch.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {
namespace {

// Before a command chooses: of the pass over the labels.
constexpr int64_t kInitialBatchSize = 1024;

// Checks labels against an output of zeros.
absl::Status CheckLabelBatch(const PerSampleFunction& function,
                             std::vector<int64_t> output_shape,
                             at::ScalarType dtype, const at::Tensor& y) {
  output_shape[0] = y.size(0);
  INFLUENCE_ASSIGN_OR_RETURN(
      const at::Tensor output,
      CatchTorch("labels", [&]() -> absl::StatusOr<at::Tensor> {
        return at::zeros({}, at::TensorOptions(dtype)).expand(output_shape);
      }));
  return function.Validate(output, y);
}

}  // namespace

DataSet::DataSet(std::string path, std::string model_file, at::ScalarType dtype,
                 DataReader reader)
    : path_(std::move(path)),
      model_file_(std::move(model_file)),
      dtype_(dtype),
      reader_(std::move(reader)) {}

absl::StatusOr<std::shared_ptr<const DataSet>> DataSet::Open(
    const std::string& path, at::ScalarType dtype, const Model& model,
    const std::string& model_file) {
  INFLUENCE_ASSIGN_OR_RETURN(
      DataReader reader,
      DataReader::Open(path, {.dtype = dtype,
                              .batch_size = kInitialBatchSize,
                              .ranks = Job().get()}));
  std::shared_ptr<DataSet> data(
      new DataSet(path, model_file, dtype, std::move(reader)));
  INFLUENCE_ASSIGN_OR_RETURN(const Batch first, data->First(kTrialSamples));
  INFLUENCE_ASSIGN_OR_RETURN(data->output_shape_,
                             TryModel(model, data->origin(), first.x));
  return data;
}

absl::StatusOr<Batch> DataSet::Get(int64_t index) const {
  return reader_.Get(index);
}

TrialOrigin DataSet::origin() const {
  TrialOrigin origin{model_file_, path_, {}, {}, dtype_};
  for (int64_t i = 0; i < num_inputs(); ++i) {
    origin.input_names.push_back(input_name(i));
    const absl::Span<const int64_t> shape = input_shape(i);
    origin.input_shapes.emplace_back(shape.begin(), shape.end());
  }
  return origin;
}

absl::StatusOr<std::vector<at::Tensor>> DataSet::SpreadInputs(
    int64_t count) const {
  INFLUENCE_ASSIGN_OR_RETURN(const DataReader single, reader_.WithBatchSize(1));
  count = std::min(count, num_samples());
  std::vector<std::vector<at::Tensor>> by_input(num_inputs());
  for (int64_t i = 0; i < count; ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch one,
                               single.Get(i * num_samples() / count));
    for (size_t k = 0; k < by_input.size(); ++k) {
      by_input[k].push_back(one.x[k]);
    }
  }
  return CatchTorch(path_, [&]() -> absl::StatusOr<std::vector<at::Tensor>> {
    std::vector<at::Tensor> inputs;
    inputs.reserve(by_input.size());
    for (const std::vector<at::Tensor>& samples : by_input) {
      inputs.push_back(at::cat(samples));
    }
    return inputs;
  });
}

absl::StatusOr<std::shared_ptr<const DataSet>> DataSet::WithBatchSize(
    int64_t batch_size) const {
  INFLUENCE_ASSIGN_OR_RETURN(DataReader reader,
                             reader_.WithBatchSize(batch_size));
  std::shared_ptr<DataSet> data(new DataSet(*this));
  data->reader_ = std::move(reader);
  return data;
}

absl::StatusOr<Batch> DataSet::First(int64_t count) const {
  INFLUENCE_ASSIGN_OR_RETURN(const std::shared_ptr<const DataSet> data,
                             WithBatchSize(std::min(count, num_samples())));
  return data->Get(0);
}

absl::Status DataSet::CheckLabels(const PerSampleFunction& function) const {
  int64_t offset = 0;
  for (int64_t i = 0; i < num_batches(); ++i) {
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, reader_.Get(i));
    const absl::Status status =
        CheckLabelBatch(function, output_shape_, dtype_, batch.y);
    if (!status.ok()) {
      // Validators count within the batch: look for the sample.
      std::string message(status.message());
      for (int64_t n = 0; offset > 0 && n < batch.size(); ++n) {
        const at::Tensor one = batch.y.slice(0, n, n + 1);
        if (CheckLabelBatch(function, output_shape_, dtype_, one).ok()) {
          continue;
        }
        message = absl::StrReplaceAll(message,
                                      {{absl::StrCat("sample ", n),
                                        absl::StrCat("sample ", offset + n)}});
        break;
      }
      return absl::Status(status.code(), absl::StrCat(path_, ": ", message));
    }
    offset += batch.size();
  }
  return absl::OkStatus();
}

bool DataSet::input_is_floating(int64_t input) const {
  return at::isFloatingType(input_dtype(input));
}

at::ScalarType DataSet::input_dtype(int64_t input) const {
  return reader_.input_dtype(input);
}

int64_t DataSet::values_per_sample() const {
  int64_t values = 0;
  for (int64_t i = 0; i < num_inputs(); ++i) {
    int64_t product = 1;
    for (const int64_t length : input_shape(i).subspan(1)) product *= length;
    values += product;
  }
  return std::max<int64_t>(values, 1);
}

}  // namespace influence
