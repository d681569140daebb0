// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The UCI digits, and the task made of them: images to train on, a known few of
// them with a wrong label, and images held out.
#ifndef INFLUENCE_EXAMPLES_DIGITS_DIGITS_DATA_H_
#define INFLUENCE_EXAMPLES_DIGITS_DIGITS_DATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"

namespace influence {

inline constexpr int64_t kDigitSide = 8;     // Pixels along a side.
inline constexpr int64_t kDigitPixels = 64;  // Pixels of an image.
inline constexpr int64_t kNumDigits = 10;    // Classes.

// x[0]: float64 [N, 64], row by row, 0 for paper to 1 for ink. y: int64 [N] in
// [0, 10).
using DigitImages = Batch;

// Where the archive that ships with this example lies: among the runfiles of
// the program `argv0`, started by Bazel or not. kNotFound if it is not there.
absl::StatusOr<std::string> FindDigits(const std::string& argv0);

// Reads an .npz archive with x, integers [N, 8, 8] in [0, 16], and y, integers
// [N] in [0, 10), as data/README.md describes. kInvalidArgument, naming the
// file, on anything else; errors of reading as they come.
absl::StatusOr<DigitImages> LoadDigits(const std::string& path);

struct MislabelledDigitsOptions {
  int64_t num_train = 1500;    // In [1, N); the rest is held out.
  double flipped_share = 0.1;  // Of the training labels, in [0, 0.5].
  uint64_t seed = 0;
};

struct MislabelledDigits {
  DigitImages train;          // The labels y are partly wrong.
  at::Tensor true_labels;     // int64 [N]: what y was before.
  std::vector<bool> flipped;  // [N]: y differs from true_labels.
  int64_t num_flipped;
  DigitImages test;  // Held out; all labels are right.
};

// Deals the images at random into training and held-out ones, and gives
// round(flipped_share * num_train) training images a wrong label, each of the
// nine wrong ones being equally likely. The same on every machine for the same
// seed. kInvalidArgument, naming the option, if one is out of range.
absl::StatusOr<MislabelledDigits> MakeMislabelledDigits(
    const DigitImages& digits, const MislabelledDigitsOptions& options);

}  // namespace influence

#endif  // INFLUENCE_EXAMPLES_DIGITS_DIGITS_DATA_H_
