// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/result_output.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/communicator.h"
#include "base/missing_rows.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "cli/interruption.h"
#include "cli/job.h"
#include "cli/options.h"
#include "cli/output_store.h"
#include "cli/resume_guard.h"
#include "cli/solve_reports_json.h"
#include "cli/usage_error.h"
#include "influence/prepared_queries.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

namespace fs = std::filesystem;

// The note of how a part was solved for.
std::string SolvesNote(int64_t part) {
  return absl::StrCat("solves.", part, ".json");
}

// `outer` is `inner` or a folder above it.
bool Contains(const fs::path& outer, const fs::path& inner) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(fs::absolute(inner), error);
  while (!error) {
    std::error_code ignored;
    if (fs::equivalent(outer, path, ignored)) return true;
    const fs::path parent = path.parent_path();
    if (parent == path) break;
    path = parent;
  }
  return false;
}

}  // namespace

bool IsZarrPath(absl::string_view path) {
  return absl::EndsWith(path, ".zarr");
}

absl::Status RefuseToOverwriteInputs(const OutputOptions& options,
                                     const std::vector<std::string>& inputs) {
  std::error_code error;
  if (!fs::exists(options.out, error)) return absl::OkStatus();
  for (const std::string& input : inputs) {
    if (input.empty()) continue;
    if (!Contains(input, options.out) && !Contains(options.out, input)) {
      continue;
    }
    return absl::AlreadyExistsError(
        absl::StrCat(options.out,
                     ": found an input of this run, expected another path for "
                     "--out"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ResultOutput>> ResultOutput::Open(
    const OutputOptions& options) {
  if (options.shard.has_value() && Job()->size() > 1) {
    return UsageError(
        "--shard",
        absl::StrCat(options.shard->index, "/", options.shard->count, " for ",
                     Job()->size(), " processes of one job"),
        "one of the two");
  }
  std::unique_ptr<ResultOutput> output(new ResultOutput(options));
  if (IsZarrPath(options.out)) {
    INFLUENCE_ASSIGN_OR_RETURN(output->store_, OutputStore::Open(options));
    return output;
  }
  if (Job()->size() > 1) {
    return UsageError(
        "--out",
        absl::StrCat(options.out, " for ", Job()->size(), " processes"),
        "a path ending in .zarr, which several can write");
  }
  absl::Status status =
      NpyWriter::Create(options.out, {1}, at::kFloat, options.overwrite)
          .status();
  if (!status.ok()) return InWordsOfOptions(options, status);
  return output;
}

absl::StatusOr<ZarrAttributes> ResultOutput::CheckFinished(
    const RunItems& run) const {
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrNodeType type,
                             ZarrNodeTypeOf(options_.out));
  ZarrAttributes attributes;
  if (type == ZarrNodeType::kArray) {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrArray array,
                               ZarrArray::Open(options_.out));
    attributes = array.metadata().attributes;
  } else {
    INFLUENCE_ASSIGN_OR_RETURN(const ZarrGroup group,
                               ZarrGroup::Open(options_.out));
    attributes = group.attributes();
  }
  INFLUENCE_RETURN_IF_ERROR(CheckSameRun(options_.out, attributes, run));
  return attributes;
}

absl::StatusOr<nlohmann::ordered_json> ResultOutput::Plan(
    const RunItems& run,
    absl::FunctionRef<absl::StatusOr<nlohmann::ordered_json>()> make_plan) {
  if (store_ == nullptr) return make_plan();
  return AgreeOnPlan(store_->writer(), run, make_plan);
}

absl::Status ResultOutput::Begin(at::ScalarType dtype,
                                 std::vector<ResultArray> arrays) {
  arrays_ = std::move(arrays);
  if (store_ == nullptr) {
    INFLUENCE_CHECK(arrays_.size() == 1);
    absl::StatusOr<std::unique_ptr<InterruptibleFile>> guard =
        InterruptibleFile::Create([&]() -> absl::StatusOr<std::string> {
          INFLUENCE_ASSIGN_OR_RETURN(
              npy_, NpyWriter::Create(options_.out, arrays_[0].shape, dtype,
                                      options_.overwrite));
          return npy_->temporary_path();
        });
    if (!guard.ok()) return InWordsOfOptions(options_, guard.status());
    guard_ = *std::move(guard);
    return absl::OkStatus();
  }
  for (const ResultArray& array : arrays_) {
    const at::ScalarType of_array = array.dtype.value_or(dtype);
    const auto item_size = static_cast<int64_t>(c10::elementSize(of_array));
    ZarrArrayMetadata metadata;
    metadata.shape = array.shape;
    metadata.chunk_shape =
        ZarrChunkShapeForTiles(array.shape, array.tile, item_size);
    metadata.dtype = of_array;
    INFLUENCE_ASSIGN_OR_RETURN(
        ZarrArrayWriter* const writer,
        store_->writer().AddArray(array.name, std::move(metadata)));
    writers_.push_back(writer);
  }
  return absl::OkStatus();
}

bool ResultOutput::HasTile(size_t array,
                           absl::Span<const int64_t> begin) const {
  if (store_ == nullptr) return false;
  const ResultArray& of = arrays_[array];
  std::vector<int64_t> first(of.shape.size(), 0);
  std::copy(begin.begin(), begin.end(), first.begin());
  std::vector<int64_t> end(first.size());
  for (size_t d = 0; d < end.size(); ++d) {
    end[d] = std::min(first[d] + of.tile[d], of.shape[d]);
  }
  return writers_[array]->HasRegion(first, end);
}

absl::Status ResultOutput::Write(size_t array, absl::Span<const int64_t> begin,
                                 const at::Tensor& values, double scale) {
  INFLUENCE_RETURN_IF_ERROR(CheckValues(begin[0], values));
  const at::Tensor scaled = scale == 1 ? values : values.mul(scale);
  if (store_ != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(writers_[array]->Write(begin, scaled));
    store_->Keep();
    return absl::OkStatus();
  }
  if (begin.size() == 1) return npy_->WriteRows(begin[0], scaled);
  return npy_->WriteTile(begin[0], begin[1], scaled);
}

absl::Status ResultOutput::CheckValues(int64_t row,
                                       const at::Tensor& values) const {
  INFLUENCE_ASSIGN_OR_RETURN(const std::vector<int64_t> missing,
                             FindMissingRows("result", values));
  if (missing.empty()) return absl::OkStatus();
  const int64_t part_size = arrays_[0].tile[0];
  const int64_t part = row / part_size;
  std::vector<int64_t> expected;  // In any block.
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto kept = solves_.find(part); kept != solves_.end()) {
      expected = QueriesWithoutAnswer(kept->second);
    }
  }
  for (const int64_t i : missing) {
    if (std::binary_search(expected.begin(), expected.end(),
                           row - part * part_size + i)) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("result: found NaN throughout row ", row + i,
                     ", expected numbers: its solve has not failed"));
  }
  return absl::OkStatus();
}

absl::Status ResultOutput::KeepSolves(
    int64_t part, const std::vector<BlockSolveReports>& reports) {
  if (reports.empty()) return absl::OkStatus();
  if (store_ != nullptr) {
    INFLUENCE_RETURN_IF_ERROR(store_->writer().WriteNote(
        SolvesNote(part), SolveReportsJson(reports).dump() + "\n"));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  solves_[part] = reports;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BlockSolveReports>> ResultOutput::Solves(
    int64_t num_parts) const {
  std::vector<BlockSolveReports> all;
  int64_t missing = -1;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (int64_t part = 0; part < num_parts; ++part) {
    if (const auto kept = solves_.find(part); kept != solves_.end()) {
      AppendReports(kept->second, all);
      continue;
    }
    std::optional<std::string> note;
    if (store_ != nullptr && !store_->writer().finished()) {
      INFLUENCE_ASSIGN_OR_RETURN(note,
                                 store_->writer().ReadNote(SolvesNote(part)));
    }
    if (!note.has_value()) {
      missing = part;
      continue;
    }
    AppendReports(ParseSolveReports(nlohmann::ordered_json::parse(
                      *note, nullptr, /*allow_exceptions=*/false)),
                  all);
  }
  if (!all.empty() && missing >= 0) {
    return absl::DataLossError(absl::StrCat(
        store_->writer().folder(), "/.run/", SolvesNote(missing),
        ": found nothing, expected how these queries were solved for"));
  }
  return all;
}

absl::Status ResultOutput::Commit(const ZarrAttributes& attributes) {
  return InWordsOfOptions(options_, store_ != nullptr
                                        ? store_->writer().Commit(attributes)
                                        : npy_->Commit());
}

absl::Status ResultOutput::Explain(const absl::Status& status) const {
  return store_ != nullptr ? store_->Explain(status) : status;
}

absl::Status ResultOutput::NameSource(const absl::Status& status,
                                      absl::string_view source) const {
  if (absl::StrContains(status.message(), options_.out)) return status;
  return absl::Status(status.code(),
                      absl::StrCat(source, ": ", status.message()));
}

}  // namespace influence
