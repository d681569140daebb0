// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Golden cases as files for the `influence` program, and what it writes read
// back. A test that uses this needs //cli:influence and //tests/golden:cases as
// data.
#ifndef INFLUENCE_TESTS_SUPPORT_CLI_PROBLEM_H_
#define INFLUENCE_TESTS_SUPPORT_CLI_PROBLEM_H_

#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/string_view.h"
#include "gradients/batch.h"
#include "tests/support/golden_case.h"

namespace influence {

// A golden case with its data written to a folder of its own.
struct CliProblem {
  GoldenCase golden;
  GoldenArrays arrays;
  std::string folder;  // Holds the data folders train and test.
  std::string out;     // Where RunScores() writes: a .npy file.

  // `name` in the folder.
  std::string Path(absl::string_view name) const;

  // "scores" with everything but the method.
  std::vector<std::string> Scores(absl::string_view more) const;

  // Runs it and reads its file.
  at::Tensor RunScores(absl::string_view more) const;

  // Runs "<command> --quiet <more> --out <out>", where words of `more` that
  // begin with "@" are names in the folder, expects it to succeed in silence,
  // and reads the array it wrote unless `out` ends otherwise than in .npy or
  // .zarr.
  at::Tensor Run(absl::string_view more, const std::string& out) const;
};

// Writes train and test data to a folder named after the running test.
CliProblem LoadCliProblem(const std::string& name);

// `batch` as a folder of .npy files named as the inputs of `golden`.
void WriteDataFolder(const std::string& folder, const GoldenCase& golden,
                     const Batch& batch);

// Undefined, with a test failure, if it cannot be read.
at::Tensor ReadNpy(const std::string& path);
at::Tensor ReadZarr(const std::string& path);

// 17 digits.
std::string NumberText17(double value);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_CLI_PROBLEM_H_
