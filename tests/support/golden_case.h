// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The golden cases of tests/golden: TorchScript models with gradients,
// curvatures and scores computed by PyTorch. tests/golden/README.md says what
// the fields and arrays are. A test that uses this needs
// //tests/golden:cases as data, and //tests/golden:methods for the methods.
#ifndef INFLUENCE_TESTS_SUPPORT_GOLDEN_CASE_H_
#define INFLUENCE_TESTS_SUPPORT_GOLDEN_CASE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "gradients/batch.h"

namespace influence {

struct GoldenParameter {
  std::string name;
  std::vector<int64_t> shape;
};

struct GoldenBlock {
  std::string name;
  int64_t size;
};

// One entry of cases.json.
struct GoldenCase {
  std::string name;
  std::string kind;
  bool whole_model;
  std::string model_path;
  std::string data_path;
  std::string min_torch;  // "1.13"
  std::string loss;
  std::vector<std::string> inputs;
  int64_t num_train;
  int64_t num_test;
  int64_t num_parameters;
  std::vector<GoldenParameter> parameters;
  std::map<std::string, std::vector<GoldenBlock>> blocks;  // By structure.
  double regularization;
  std::vector<std::string> arrays;

  // Whether the LibTorch this is compiled against knows the model's operators.
  bool RunsHere() const;
};

// The cases of the folder `folder`, in the order of its cases.json.
absl::StatusOr<std::vector<GoldenCase>> LoadGoldenCases(
    const std::string& folder = "tests/golden");

// Scores of one method, in methods.json.
struct GoldenResult {
  std::string method;
  std::string structure;  // Empty where the method has none, as what follows.
  std::string curvature;
  std::string fisher;
  uint64_t seed;  // 0 where there is none, as the other numbers.
  std::string uncovered;
  std::string low_rank_inverse;
  std::optional<double> regularization;  // Nothing: auto.
  int64_t rank;
  double scale;
  double dampen;
  std::string array;  // Of the scores; a readable name of the result, too.
  std::map<int64_t, std::string> perturbations;  // Arrays by input.
};

// One entry of methods.json.
struct GoldenMethods {
  GoldenCase golden;
  std::string data_path;
  std::vector<GoldenResult> results;
};

// In the order of the folder's methods.json.
absl::StatusOr<std::vector<GoldenMethods>> LoadGoldenMethods(
    const std::string& folder = "tests/golden");

// All arrays of a case by name.
using GoldenArrays = std::map<std::string, at::Tensor>;
absl::StatusOr<GoldenArrays> LoadGoldenArrays(const GoldenCase& golden);
absl::StatusOr<GoldenArrays> LoadGoldenArrays(const GoldenMethods& methods);

// The train samples, and the test samples, as a batch.
Batch GoldenTrainBatch(const GoldenCase& golden, const GoldenArrays& arrays);
Batch GoldenTestBatch(const GoldenCase& golden, const GoldenArrays& arrays);

}  // namespace influence

#endif  // INFLUENCE_TESTS_SUPPORT_GOLDEN_CASE_H_
