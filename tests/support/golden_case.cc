// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.h"

#include <algorithm>
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

GoldenResult ParseResult(const Json& json) {
  GoldenResult result;
  const auto text = [&](const char* field) {
    return json.value(field, std::string());
  };
  result.method = json.at("method").get<std::string>();
  result.structure = text("structure");
  result.curvature = text("curvature");
  result.fisher = text("fisher");
  result.seed = json.value("seed", uint64_t{0});
  result.uncovered = text("uncovered");
  result.low_rank_inverse = text("low_rank_inverse");
  if (json.at("regularization").is_number()) {
    result.regularization = json.at("regularization").get<double>();
  }
  result.rank = json.value("rank", int64_t{0});
  result.scale = json.value("scale", 0.0);
  result.dampen = json.value("dampen", 0.0);
  result.array = json.at("array").get<std::string>();
  for (const Json& perturbation : json.at("perturbations")) {
    result.perturbations[perturbation.at("input").get<int64_t>()] =
        perturbation.at("array").get<std::string>();
  }
  return result;
}

absl::StatusOr<Json> ParseFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": found no file"));
  return Json::parse(file);
}

absl::StatusOr<GoldenArrays> ReadArrays(const std::string& path,
                                        const std::vector<std::string>& names) {
  constexpr int64_t kMaxBytes = int64_t{1} << 28;
  INFLUENCE_ASSIGN_OR_RETURN(NpzFile file, NpzFile::Open(path));
  GoldenArrays arrays;
  for (const std::string& name : names) {
    INFLUENCE_ASSIGN_OR_RETURN(arrays[name], file.Read(name, kMaxBytes));
  }
  return arrays;
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
    INFLUENCE_ASSIGN_OR_RETURN(const Json manifest, ParseFile(path));
    std::vector<GoldenCase> cases;
    for (const Json& json : manifest.at("cases")) {
      cases.push_back(ParseCase(folder, json));
    }
    return cases;
  });
}

absl::StatusOr<std::vector<GoldenMethods>> LoadGoldenMethods(
    const std::string& folder) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<GoldenCase> cases,
                             LoadGoldenCases(folder));
  const std::string path = absl::StrCat(folder, "/methods.json");
  return CatchTorch(path, [&]() -> absl::StatusOr<std::vector<GoldenMethods>> {
    INFLUENCE_ASSIGN_OR_RETURN(const Json manifest, ParseFile(path));
    std::vector<GoldenMethods> methods;
    for (const Json& json : manifest.at("cases")) {
      const auto name = json.at("case").get<std::string>();
      const auto golden =
          std::find_if(cases.begin(), cases.end(),
                       [&](const GoldenCase& c) { return c.name == name; });
      if (golden == cases.end()) {
        return absl::NotFoundError(
            absl::StrCat(path, ": found no case called ", name));
      }
      GoldenMethods entry;
      entry.golden = *golden;
      entry.data_path =
          absl::StrCat(folder, "/", json.at("data").get<std::string>());
      for (const Json& result : json.at("results")) {
        entry.results.push_back(ParseResult(result));
      }
      methods.push_back(std::move(entry));
    }
    return methods;
  });
}

absl::StatusOr<GoldenArrays> LoadGoldenArrays(const GoldenCase& golden) {
  return ReadArrays(golden.data_path, golden.arrays);
}

absl::StatusOr<GoldenArrays> LoadGoldenArrays(const GoldenMethods& methods) {
  std::vector<std::string> names;
  for (const GoldenResult& result : methods.results) {
    names.push_back(result.array);
    for (const auto& [input, array] : result.perturbations) {
      names.push_back(array);
    }
  }
  return ReadArrays(methods.data_path, names);
}

Batch GoldenTrainBatch(const GoldenCase& golden, const GoldenArrays& arrays) {
  return MakeBatch(golden, arrays, "");
}

Batch GoldenTestBatch(const GoldenCase& golden, const GoldenArrays& arrays) {
  return MakeBatch(golden, arrays, "_test");
}

}  // namespace influence
