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
#include "ATen/core/grad_mode.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "cli/data_reader.h"
#include "cli/job.h"
#include "gradients/batch.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"

namespace influence {
namespace {

// Before a command chooses: of the pass over the labels.
constexpr int64_t kInitialBatchSize = 1024;

// The model is tried on so many samples.
constexpr int64_t kProbeSamples = 3;

// All combinations of casts are tried up to this many integer inputs.
constexpr int64_t kMaxCombinedInputs = 4;

// "int64 x [1500, 64]" or "float32 x0 [..], int64 x1 [..]".
std::string DescribeInputs(const DataReader& data) {
  std::vector<std::string> inputs;
  for (int64_t i = 0; i < data.num_inputs(); ++i) {
    inputs.push_back(
        absl::StrCat(DtypeName(data.input_dtype(i)), " ", data.input_name(i),
                     " [", absl::StrJoin(data.input_shape(i), ", "), "]"));
  }
  return absl::StrJoin(inputs, ", ");
}

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

DataSet::DataSet(std::string path, at::ScalarType dtype, DataReader reader)
    : path_(std::move(path)),
      dtype_(dtype),
      reader_(std::move(reader)),
      is_cast_(reader_.num_inputs(), false) {}

absl::StatusOr<std::shared_ptr<const DataSet>> DataSet::Open(
    const std::string& path, at::ScalarType dtype, const Model& model,
    const std::string& model_file) {
  INFLUENCE_ASSIGN_OR_RETURN(
      DataReader reader,
      DataReader::Open(path, {.dtype = dtype,
                              .batch_size = kInitialBatchSize,
                              .ranks = Job().get()}));
  std::shared_ptr<DataSet> data(new DataSet(path, dtype, std::move(reader)));
  absl::Status as_they_are = data->TryModel(model, model_file);
  if (as_they_are.ok()) return data;

  std::vector<int64_t> integers;
  for (int64_t i = 0; i < data->num_inputs(); ++i) {
    if (!data->input_is_floating(i)) integers.push_back(i);
  }
  // All of them first: numbers are more often several than mixed with tokens.
  const int64_t count = integers.size();
  const int64_t combinations =
      count <= kMaxCombinedInputs ? (int64_t{1} << count) : 2;
  for (int64_t c = combinations - 1; c > 0; --c) {
    for (int64_t k = 0; k < count; ++k) {
      data->is_cast_[integers[k]] =
          count > kMaxCombinedInputs || ((c >> k) & 1) == 1;
    }
    if (data->TryModel(model, model_file).ok()) return data;
  }
  return as_they_are;
}

absl::Status DataSet::TryModel(const Model& model,
                               const std::string& model_file) {
  INFLUENCE_ASSIGN_OR_RETURN(const Batch probe, First(kProbeSamples));
  const at::NoGradGuard no_grad;
  const absl::StatusOr<at::Tensor> output = model.Forward(probe.x);
  if (!output.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ": found ", DescribeInputs(reader_), ", expected inputs that ",
        model_file, " accepts (",
        absl::StripPrefix(output.status().message(), "model: "), ")"));
  }
  if (!output->defined() || output->dim() < 1 ||
      output->size(0) != probe.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        model_file, ": found output of shape ", ShapeString(*output), " for ",
        probe.size(), " samples of ", path_,
        ", expected the samples along dimension 0"));
  }
  output_shape_ = output->sizes().vec();
  return absl::OkStatus();
}

absl::StatusOr<Batch> DataSet::Get(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(Batch batch, reader_.Get(index));
  INFLUENCE_RETURN_IF_ERROR(CatchTorch(path_, [&]() -> absl::Status {
    for (size_t i = 0; i < batch.x.size(); ++i) {
      if (is_cast_[i]) batch.x[i] = batch.x[i].to(dtype_);
    }
    return absl::OkStatus();
  }));
  return batch;
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
  return is_cast_[input] ? dtype_ : reader_.input_dtype(input);
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
