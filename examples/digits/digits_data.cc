// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "examples/digits/digits_data.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "ATen/ops/index_select.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "cli/data_reader.h"
#include "tools/cpp/runfiles/runfiles.h"

namespace influence {
namespace {

using ::bazel::tools::cpp::runfiles::Runfiles;

constexpr char kRunfile[] =
    "composable_influence/examples/digits/data/digits.npz";

constexpr int64_t kDarkest = 16;

// Uniform in [0, bound), the same on every machine, which the distributions of
// the standard library are not. The bias of the remainder is below 1e-15.
int64_t Draw(std::mt19937_64& random, int64_t bound) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(bound));
}

// 0, ..., size - 1 in random order (Fisher and Yates).
std::vector<int64_t> Shuffled(std::mt19937_64& random, int64_t size) {
  std::vector<int64_t> order(size);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = size - 1; i > 0; --i) {
    std::swap(order[i], order[Draw(random, i + 1)]);
  }
  return order;
}

DigitImages Select(const DigitImages& digits, const int64_t* indices,
                   int64_t count) {
  at::Tensor rows = at::empty({count}, at::kLong);
  std::copy(indices, indices + count, rows.data_ptr<int64_t>());
  return {{at::index_select(digits.x[0], 0, rows)},
          at::index_select(digits.y, 0, rows)};
}

absl::Status ValidateRange(const std::string& name, const at::Tensor& values,
                           int64_t largest) {
  const int64_t low = values.min().item<int64_t>();
  const int64_t high = values.max().item<int64_t>();
  if (low >= 0 && high <= largest) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found values from ", low, " to ", high,
                   ", expected [0, ", largest, "]"));
}

}  // namespace

absl::StatusOr<std::string> FindDigits(const std::string& argv0) {
  std::string error;
  const std::unique_ptr<Runfiles> runfiles(Runfiles::Create(argv0, &error));
  if (runfiles == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("runfiles of ", argv0, ": found none (", error,
                     "), expected the folder Bazel makes beside a program"));
  }
  std::string path = runfiles->Rlocation(kRunfile);
  if (path.empty() || !std::ifstream(path).good()) {
    return absl::NotFoundError(absl::StrCat("runfiles of ", argv0,
                                            ": found no ", kRunfile,
                                            ", expected the digits there"));
  }
  return path;
}

absl::StatusOr<DigitImages> LoadDigits(const std::string& path) {
  return CatchTorch("reading the digits", [&]() -> absl::StatusOr<DigitImages> {
    INFLUENCE_ASSIGN_OR_RETURN(const DataReader reader,
                               DataReader::Open(path, {.dtype = at::kDouble}));
    INFLUENCE_ASSIGN_OR_RETURN(
        const DataReader whole,
        reader.WithBatchSize(std::max<int64_t>(1, reader.num_samples())));
    INFLUENCE_ASSIGN_OR_RETURN(const Batch batch, whole.Get(0));
    const std::string x_name = absl::StrCat(path, ": x");
    const std::string y_name = absl::StrCat(path, ": y");
    const int64_t num_images = batch.size();
    INFLUENCE_RETURN_IF_ERROR(ValidateInteger(x_name, batch.x[0]));
    INFLUENCE_RETURN_IF_ERROR(ValidateShape(
        x_name, batch.x[0], {num_images, kDigitSide, kDigitSide}));
    INFLUENCE_RETURN_IF_ERROR(ValidateRange(x_name, batch.x[0], kDarkest));
    INFLUENCE_RETURN_IF_ERROR(ValidateInteger(y_name, batch.y));
    INFLUENCE_RETURN_IF_ERROR(ValidateShape(y_name, batch.y, {num_images}));
    INFLUENCE_RETURN_IF_ERROR(ValidateRange(y_name, batch.y, kNumDigits - 1));
    return DigitImages{{batch.x[0]
                            .reshape({num_images, kDigitPixels})
                            .to(at::kDouble)
                            .div(static_cast<double>(kDarkest))},
                       batch.y.to(at::kLong)};
  });
}

absl::StatusOr<MislabelledDigits> MakeMislabelledDigits(
    const DigitImages& digits, const MislabelledDigitsOptions& options) {
  const int64_t num_images = digits.size();
  if (options.num_train < 1 || options.num_train >= num_images) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_train: found ", options.num_train, ", expected [1, ",
                     num_images, ")"));
  }
  if (!(options.flipped_share >= 0 && options.flipped_share <= 0.5)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "flipped_share: found ", options.flipped_share, ", expected [0, 0.5]"));
  }
  return CatchTorch(
      "dealing the digits", [&]() -> absl::StatusOr<MislabelledDigits> {
        std::mt19937_64 random(options.seed);
        const std::vector<int64_t> order = Shuffled(random, num_images);
        MislabelledDigits task;
        task.train = Select(digits, order.data(), options.num_train);
        task.test = Select(digits, order.data() + options.num_train,
                           num_images - options.num_train);
        task.true_labels = task.train.y.clone();
        task.flipped.assign(options.num_train, false);
        task.num_flipped = std::llround(options.flipped_share *
                                        static_cast<double>(options.num_train));
        const std::vector<int64_t> victims =
            Shuffled(random, options.num_train);
        int64_t* const labels = task.train.y.data_ptr<int64_t>();
        for (int64_t i = 0; i < task.num_flipped; ++i) {
          const int64_t n = victims[i];
          labels[n] =
              (labels[n] + 1 + Draw(random, kNumDigits - 1)) % kNumDigits;
          task.flipped[n] = true;
        }
        return task;
      });
}

}  // namespace influence
