// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/data_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/communicator.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/npy_file.h"
#include "cli/npz_file.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kLabels = "y";
// Bytes of one piece while an array is checked.
constexpr int64_t kCheckedPiece = int64_t{1} << 24;

// One array of the data set, on disk or in memory.
class DataArray {
 public:
  virtual ~DataArray() = default;
  // Names the file and the array.
  virtual const std::string& name() const = 0;
  virtual absl::Span<const int64_t> shape() const = 0;
  // As it is held, before the cast.
  virtual at::ScalarType dtype() const = 0;
  // Whether some values cannot be used, so that all must be looked at.
  virtual bool needs_check() const { return at::isFloatingType(dtype()); }
  // New tensor, of the held dtype.
  virtual absl::StatusOr<at::Tensor> Read(int64_t begin, int64_t end) const = 0;
};

class MemoryArray : public DataArray {
 public:
  MemoryArray(std::string name, at::Tensor values)
      : name_(std::move(name)), values_(std::move(values)) {}

  const std::string& name() const override { return name_; }
  absl::Span<const int64_t> shape() const override {
    return absl::MakeConstSpan(values_.sizes().data(), values_.sizes().size());
  }
  at::ScalarType dtype() const override { return values_.scalar_type(); }
  absl::StatusOr<at::Tensor> Read(int64_t begin, int64_t end) const override {
    return CatchTorch(name_, [&]() -> absl::StatusOr<at::Tensor> {
      return values_.narrow(0, begin, end - begin).clone();
    });
  }

 private:
  std::string name_;
  at::Tensor values_;
};

class FileArray : public DataArray {
 public:
  explicit FileArray(NpyFile file) : file_(std::move(file)) {}

  const std::string& name() const override { return file_.path(); }
  absl::Span<const int64_t> shape() const override { return file_.shape(); }
  at::ScalarType dtype() const override { return file_.dtype(); }
  bool needs_check() const override {
    // Reading fails where a uint64 value is above int64.
    return DataArray::needs_check() ||
           (file_.header().widened && file_.header().item_size == 8);
  }
  absl::StatusOr<at::Tensor> Read(int64_t begin, int64_t end) const override {
    return file_.ReadRows(begin, end);
  }

 private:
  NpyFile file_;
};

// What an integer means to a model depends on its dtype: uint8 and bool are
// masks to some operators, and others want bool alone.
at::ScalarType InputDtype(at::ScalarType held, at::ScalarType floating) {
  return at::isFloatingType(held) ? floating : held;
}

// A label is a number: a wider integer is the same one.
at::ScalarType LabelDtype(at::ScalarType held, at::ScalarType floating) {
  return at::isFloatingType(held) ? floating : at::kLong;
}

absl::StatusOr<at::Tensor> ReadAs(const DataArray& array, int64_t begin,
                                  int64_t end, at::ScalarType dtype) {
  INFLUENCE_ASSIGN_OR_RETURN(at::Tensor held, array.Read(begin, end));
  return CatchTorch(array.name(), [&]() -> absl::StatusOr<at::Tensor> {
    return held.to(dtype);
  });
}

// The place of the first value that is not finite; the size if there is none.
template <typename Float>
int64_t FirstNonFinite(const at::Tensor& values) {
  const Float* begin = values.data_ptr<Float>();
  return std::find_if(begin, begin + values.numel(),
                      [](Float value) { return !std::isfinite(value); }) -
         begin;
}

// `held` and `cast`: rows of the array from row `begin` on.
absl::Status ValidateFiniteRows(const std::string& name, int64_t begin,
                                const at::Tensor& held,
                                const at::Tensor& cast) {
  const int64_t first = cast.scalar_type() == at::kDouble
                            ? FirstNonFinite<double>(cast)
                            : FirstNonFinite<float>(cast);
  if (first == cast.numel()) return absl::OkStatus();
  const int64_t sample = begin + first / (cast.numel() / cast.size(0));
  const double value = held.flatten()[first].item<double>();
  if (std::isfinite(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": found value ", value, " at sample ", sample,
                     ", expected values within the range of ",
                     DtypeName(cast.scalar_type())));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": found ",
      std::isnan(value) ? "NaN" : (value > 0 ? "infinity" : "-infinity"),
      " at sample ", sample, ", expected finite values"));
}

absl::Status ValidateValues(const DataArray& array, at::ScalarType floating,
                            const Communicator* ranks) {
  if (!array.needs_check()) return absl::OkStatus();
  int64_t row_bytes = static_cast<int64_t>(c10::elementSize(array.dtype()));
  for (const int64_t extent : array.shape().subspan(1)) row_bytes *= extent;
  const int64_t step = std::max<int64_t>(1, kCheckedPiece / row_bytes);
  const RankShare mine = ShareOf(array.shape().front(), ranks);
  for (int64_t begin = mine.begin; begin < mine.end; begin += step) {
    const int64_t end = begin + std::min(step, mine.end - begin);
    INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor held, array.Read(begin, end));
    if (!at::isFloatingType(held.scalar_type())) continue;
    INFLUENCE_RETURN_IF_ERROR(CatchTorch(array.name(), [&]() -> absl::Status {
      return ValidateFiniteRows(array.name(), begin, held, held.to(floating));
    }));
  }
  return absl::OkStatus();
}

// kInvalidArgument unless `array` has `num_samples` samples (any number >= 1
// if that is zero), each with a value.
absl::Status ValidateSamples(const DataArray& array, int64_t num_samples,
                             absl::string_view reference) {
  const absl::Span<const int64_t> shape = array.shape();
  const std::string found = absl::StrCat(array.name(), ": found shape [",
                                         absl::StrJoin(shape, ", "), "]");
  if (shape.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(found, ", expected samples along a first dimension"));
  }
  if (shape.front() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(found, ", expected at least one sample"));
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(found, ", expected at least one value in each sample"));
  }
  if (num_samples != 0 && shape.front() != num_samples) {
    return absl::InvalidArgumentError(
        absl::StrCat(array.name(), ": found ", shape.front(),
                     " samples, expected ", num_samples, " as in ", reference));
  }
  return absl::OkStatus();
}

// The number in "x<number>", without leading zeros; -1 for another name.
int64_t InputNumber(absl::string_view name) {
  int64_t number = 0;
  if (!absl::ConsumePrefix(&name, "x") || name.empty() || name.size() > 4 ||
      !std::all_of(name.begin(), name.end(), absl::ascii_isdigit) ||
      (name.size() > 1 && name.front() == '0') ||
      !absl::SimpleAtoi(name, &number)) {
    return -1;
  }
  return number;
}

// The names of the inputs in order, given the names of all arrays, which are
// distinct. kInvalidArgument if they are not those of a data set.
absl::StatusOr<std::vector<std::string>> InputNames(
    const std::string& path, const std::vector<std::string>& names) {
  const std::set<std::string> sorted(names.begin(), names.end());
  const auto mismatch = [&](absl::string_view why) {
    std::vector<std::string> shown;
    for (const std::string& name : sorted) {
      constexpr size_t kMaxShown = 10;
      if (shown.size() == kMaxShown) {
        shown.push_back("...");
        break;
      }
      shown.push_back(absl::CHexEscape(name.substr(0, 60)));
    }
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": found ",
        shown.empty() ? "no arrays"
                      : absl::StrCat("arrays ", absl::StrJoin(shown, ", ")),
        ", expected x (or x0, x1, ...) and y: ", why));
  };
  int64_t num_numbered = 0;
  for (const std::string& name : sorted) {
    if (InputNumber(name) >= 0) {
      ++num_numbered;
    } else if (name != "x" && name != kLabels) {
      return mismatch(absl::StrCat(absl::CHexEscape(name.substr(0, 60)),
                                   " is none of them"));
    }
  }
  const bool has_single = sorted.count("x") > 0;
  if (has_single && num_numbered > 0) {
    return mismatch("either x alone or numbered inputs");
  }
  if (!has_single && num_numbered == 0) return mismatch("x is missing");
  std::vector<std::string> inputs;
  if (has_single) inputs.push_back("x");
  for (int64_t i = 0; i < num_numbered; ++i) {
    inputs.push_back(absl::StrCat("x", i));
    if (sorted.count(inputs.back()) == 0) {
      return mismatch(absl::StrCat(inputs.back(), " is missing"));
    }
  }
  if (sorted.count(std::string(kLabels)) == 0) return mismatch("y is missing");
  return inputs;
}

int64_t PhysicalMemory() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * int64_t{sysconf(_SC_PAGESIZE)};
}

// The names, without suffix, of the visible .npy files in a folder.
absl::StatusOr<std::vector<std::string>> ArraysInFolder(
    const std::string& path) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(path, error);
  while (!error && entry != fs::directory_iterator()) {
    const std::string file = entry->path().filename().string();
    absl::string_view name = file;
    if (name.front() != '.' && absl::ConsumeSuffix(&name, ".npy")) {
      names.emplace_back(name);
    }
    entry.increment(error);
  }
  if (error) {
    return absl::Status(absl::ErrnoToStatusCode(error.value()),
                        absl::StrCat(path, ": found \"", error.message(),
                                     "\", expected a readable folder"));
  }
  return names;
}

absl::Status ValidateBatchSize(int64_t batch_size) {
  if (batch_size >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("batch_size: found ", batch_size, ", expected >= 1"));
}

}  // namespace

struct DataReader::DataSet {
  at::ScalarType dtype;
  std::vector<std::string> input_names;
  std::vector<std::unique_ptr<DataArray>> inputs;
  std::unique_ptr<DataArray> labels;

  // Opens the arrays without judging their shapes and values.
  absl::Status OpenArchive(const std::string& path, int64_t max_bytes) {
    INFLUENCE_ASSIGN_OR_RETURN(NpzFile archive, NpzFile::Open(path));
    INFLUENCE_ASSIGN_OR_RETURN(input_names, InputNames(path, archive.names()));
    int64_t rest = max_bytes == 0 ? PhysicalMemory() : max_bytes;
    const auto read = [&](absl::string_view name)
        -> absl::StatusOr<std::unique_ptr<DataArray>> {
      INFLUENCE_ASSIGN_OR_RETURN(at::Tensor values, archive.Read(name, rest));
      rest -= std::min(rest, static_cast<int64_t>(values.nbytes()));
      return std::make_unique<MemoryArray>(absl::StrCat(path, ": ", name),
                                           std::move(values));
    };
    for (const std::string& name : input_names) {
      INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<DataArray> input, read(name));
      inputs.push_back(std::move(input));
    }
    INFLUENCE_ASSIGN_OR_RETURN(labels, read(kLabels));
    return absl::OkStatus();
  }

  absl::Status OpenFolder(const std::string& path) {
    INFLUENCE_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                               ArraysInFolder(path));
    INFLUENCE_ASSIGN_OR_RETURN(input_names, InputNames(path, names));
    const auto open = [&](absl::string_view name)
        -> absl::StatusOr<std::unique_ptr<DataArray>> {
      INFLUENCE_ASSIGN_OR_RETURN(
          NpyFile file,
          NpyFile::Open(
              (fs::path(path) / absl::StrCat(name, ".npy")).string()));
      return std::make_unique<FileArray>(std::move(file));
    };
    for (const std::string& name : input_names) {
      INFLUENCE_ASSIGN_OR_RETURN(std::unique_ptr<DataArray> input, open(name));
      inputs.push_back(std::move(input));
    }
    INFLUENCE_ASSIGN_OR_RETURN(labels, open(kLabels));
    return absl::OkStatus();
  }

  absl::Status Validate(const Communicator* ranks) const {
    const DataArray& reference = *inputs.front();
    INFLUENCE_RETURN_IF_ERROR(ValidateSamples(reference, 0, ""));
    const int64_t num_samples = reference.shape().front();
    for (const std::unique_ptr<DataArray>& input : inputs) {
      INFLUENCE_RETURN_IF_ERROR(
          ValidateSamples(*input, num_samples, input_names.front()));
    }
    INFLUENCE_RETURN_IF_ERROR(
        ValidateSamples(*labels, num_samples, input_names.front()));
    // Shapes first: they cost nothing.
    for (const std::unique_ptr<DataArray>& input : inputs) {
      INFLUENCE_RETURN_IF_ERROR(ValidateValues(*input, dtype, ranks));
    }
    return ValidateValues(*labels, dtype, ranks);
  }
};

DataReader::DataReader(std::shared_ptr<const DataSet> data, int64_t batch_size)
    : data_(std::move(data)), batch_size_(batch_size) {}

absl::StatusOr<DataReader> DataReader::Open(const std::string& path,
                                            const DataReaderOptions& options) {
  if (options.dtype != at::kFloat && options.dtype != at::kDouble) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: found ", DtypeName(options.dtype),
                     ", expected float32 or float64"));
  }
  INFLUENCE_RETURN_IF_ERROR(ValidateBatchSize(options.batch_size));
  if (options.max_archive_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_archive_bytes: found ",
                                                   options.max_archive_bytes,
                                                   ", expected >= 0"));
  }
  return CatchTorch(path, [&]() -> absl::StatusOr<DataReader> {
    auto data = std::make_shared<DataSet>();
    data->dtype = options.dtype;
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) {
      return absl::Status(
          error ? absl::ErrnoToStatusCode(error.value())
                : absl::StatusCode::kNotFound,
          absl::StrCat(path, ": found \"",
                       error ? error.message() : "No such file or directory",
                       "\", expected an .npz archive or a folder with x.npy "
                       "and y.npy"));
    }
    if (fs::is_directory(status)) {
      INFLUENCE_RETURN_IF_ERROR(data->OpenFolder(path));
    } else {
      INFLUENCE_RETURN_IF_ERROR(
          data->OpenArchive(path, options.max_archive_bytes));
    }
    INFLUENCE_RETURN_IF_ERROR(data->Validate(options.ranks));
    return DataReader(std::move(data), options.batch_size);
  });
}

int64_t DataReader::num_samples() const {
  return data_->labels->shape().front();
}

int64_t DataReader::num_batches() const {
  return (num_samples() - 1) / batch_size_ + 1;
}

absl::StatusOr<int64_t> DataReader::BatchSize(int64_t index) const {
  if (index < 0 || index >= num_batches()) {
    return absl::OutOfRangeError(absl::StrCat(
        "batch: found index ", index, ", expected [0, ", num_batches(), ")"));
  }
  return std::min(batch_size_, num_samples() - index * batch_size_);
}

absl::StatusOr<Batch> DataReader::Get(int64_t index) const {
  INFLUENCE_ASSIGN_OR_RETURN(const int64_t size, BatchSize(index));
  const int64_t begin = index * batch_size_;
  const int64_t end = begin + size;
  Batch batch;
  for (const std::unique_ptr<DataArray>& input : data_->inputs) {
    INFLUENCE_ASSIGN_OR_RETURN(
        at::Tensor x,
        ReadAs(*input, begin, end, InputDtype(input->dtype(), data_->dtype)));
    batch.x.push_back(std::move(x));
  }
  INFLUENCE_ASSIGN_OR_RETURN(batch.y,
                             ReadAs(*data_->labels, begin, end, label_dtype()));
  return batch;
}

absl::StatusOr<DataReader> DataReader::WithBatchSize(int64_t batch_size) const {
  INFLUENCE_RETURN_IF_ERROR(ValidateBatchSize(batch_size));
  return DataReader(data_, batch_size);
}

int64_t DataReader::num_inputs() const {
  return static_cast<int64_t>(data_->inputs.size());
}

const std::string& DataReader::input_name(int64_t input) const {
  return data_->input_names[input];
}

absl::Span<const int64_t> DataReader::input_shape(int64_t input) const {
  return data_->inputs[input]->shape();
}

at::ScalarType DataReader::input_dtype(int64_t input) const {
  return InputDtype(data_->inputs[input]->dtype(), data_->dtype);
}

absl::Span<const int64_t> DataReader::label_shape() const {
  return data_->labels->shape();
}

at::ScalarType DataReader::label_dtype() const {
  return LabelDtype(data_->labels->dtype(), data_->dtype);
}

}  // namespace influence
