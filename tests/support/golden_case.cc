// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.h"

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "cli/npz_file.h"
#include "gradients/batch.h"
#include "nlohmann/json.hpp"
#include "torch/version.h"

namespace influence {
namespace {

using Json = nlohmann::json;

GoldenCase ParseCase(const std::string& folder, const Json& json) {
  GoldenCase golden;
  golden.name = json.at("name").get<std::string>();
  golden.kind = json.at("kind").get<std::string>();
  golden.whole_model = json.at("whole_model").get<bool>();
  golden.model_path =
      absl::StrCat(folder, "/", json.at("model").get<std::string>());
  golden.data_path =
      absl::StrCat(folder, "/", json.at("data").get<std::string>());
  golden.min_torch = json.at("min_torch").get<std::string>();
  golden.loss = json.at("loss").get<std::string>();
  golden.inputs = json.at("inputs").get<std::vector<std::string>>();
  golden.num_train = json.at("num_train").get<int64_t>();
  golden.num_test = json.at("num_test").get<int64_t>();
  golden.num_parameters = json.at("num_parameters").get<int64_t>();
  for (const Json& parameter : json.at("parameters")) {
    golden.parameters.push_back(
        {parameter.at("name").get<std::string>(),
         parameter.at("shape").get<std::vector<int64_t>>()});
  }
  for (const auto& [structure, blocks] : json.at("blocks").items()) {
    for (const Json& block : blocks) {
      golden.blocks[structure].push_back({block.at("name").get<std::string>(),
                                          block.at("size").get<int64_t>()});
    }
  }
  golden.regularization = json.at("regularization").get<double>();
  golden.arrays = json.at("arrays").get<std::vector<std::string>>();
  return golden;
}

Batch MakeBatch(const GoldenCase& golden, const GoldenArrays& arrays,
                const std::string& suffix) {
  Batch batch;
  for (const std::string& input : golden.inputs) {
    batch.x.push_back(arrays.at(input + suffix));
  }
  batch.y = arrays.at("y" + suffix);
  return batch;
}

}  // namespace

bool GoldenCase::RunsHere() const {
  int major = 0;
  int minor = 0;
  INFLUENCE_CHECK(std::sscanf(min_torch.c_str(), "%d.%d", &major, &minor) == 2);
  return std::pair(TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR) >=
         std::pair(major, minor);
}

absl::StatusOr<std::vector<GoldenCase>> LoadGoldenCases(
    const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/cases.json");
  return CatchTorch(path, [&]() -> absl::StatusOr<std::vector<GoldenCase>> {
    std::ifstream file(path);
    if (!file)
      return absl::NotFoundError(absl::StrCat(path, ": found no file"));
    const Json manifest = Json::parse(file);
    std::vector<GoldenCase> cases;
    for (const Json& json : manifest.at("cases")) {
      cases.push_back(ParseCase(folder, json));
    }
    return cases;
  });
}

absl::StatusOr<GoldenArrays> LoadGoldenArrays(const GoldenCase& golden) {
  constexpr int64_t kMaxBytes = int64_t{1} << 28;
  INFLUENCE_ASSIGN_OR_RETURN(NpzFile file, NpzFile::Open(golden.data_path));
  GoldenArrays arrays;
  for (const std::string& name : golden.arrays) {
    INFLUENCE_ASSIGN_OR_RETURN(arrays[name], file.Read(name, kMaxBytes));
  }
  return arrays;
}

Batch GoldenTrainBatch(const GoldenCase& golden, const GoldenArrays& arrays) {
  return MakeBatch(golden, arrays, "");
}

Batch GoldenTestBatch(const GoldenCase& golden, const GoldenArrays& arrays) {
  return MakeBatch(golden, arrays, "_test");
}

}  // namespace influence
