// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "calculators/fitted_state_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/torch_boundary.h"
#include "base/validators.h"
#include "calculators/atomic_file.h"
#include "calculators/fingerprint.h"
#include "calculators/folder_writer.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_store_writer.h"
#include "gradients/parameter_blocks.h"
#include "nlohmann/json.hpp"

namespace influence {
namespace {

// Keeps the order in which it is written, so that its text can be checked.
using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "influence fitted state";
constexpr int64_t kMaxJsonBytes = int64_t{1} << 30;

// Chunks of an array are read and checked one by one; larger ones only need
// more memory.
constexpr int64_t kChunkBytes = int64_t{16} << 20;

// Smaller arrays are packed, where there are more than so many.
constexpr int64_t kMostSmallArrays = 32;
constexpr int64_t kOwnArrayBytes = int64_t{4} << 20;
constexpr char kPackedAt[] = "packed_at";
constexpr absl::string_view kPackedPrefix = "packed_";

std::string JsonPath(const std::string& path) {
  return absl::StrCat(path, "/", kFittedStateFile);
}

// Over all that follows the sum itself, without spaces.
std::string ChecksumOf(const Json& json) {
  Json rest = json;
  rest.erase("sha256");
  return FingerprintOfText(
      rest.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Json BlocksJson(const std::vector<ParameterGroup>& blocks) {
  Json json = Json::array();
  for (const ParameterGroup& block : blocks) {
    json.push_back({{"name", block.name}, {"parameters", block.parameters}});
  }
  return json;
}

Json StateJson(const FittedState& state, const FittedStateOrigin& origin,
               const Json& arrays) {
  Json json;
  json["format"] = kFormat;
  json["version"] = kFittedStateVersion;
  json["sha256"] = "";  // Has its place here; set below.
  json["method"] = state.method;
  json["options"] = state.options;
  json["regularization"] = state.regularization;
  json["auto_regularization"] = state.auto_regularization;
  json["num_fitted_samples"] = state.num_fitted_samples;
  json["loss"] = origin.loss;
  json["query_function"] = origin.query_function;
  json["dtype"] = origin.dtype;
  json["model"] = {{"path", origin.model_path},
                   {"sha256", origin.model_fingerprint}};
  json["training_data"] = {{"path", origin.train_path},
                           {"sha256", origin.train_fingerprint}};
  json["versions"] = origin.versions;
  json["extra"] = origin.extra;
  json["blocks"] = BlocksJson(state.blocks);
  json["arrays"] = arrays;
  // Once through its text, so that what is summed is what will be read.
  json = Json::parse(
      json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  json["sha256"] = ChecksumOf(json);
  return json;
}

absl::Status ValidateArray(const FittedArray& array) {
  INFLUENCE_RETURN_IF_ERROR(ZarrNodePath(array.name).status());
  INFLUENCE_RETURN_IF_ERROR(
      ValidateDefined(absl::StrCat("fitted array ", array.name), array.values));
  const at::ScalarType dtype = array.values.scalar_type();
  if (dtype == at::kFloat || dtype == at::kDouble || dtype == at::kLong) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fitted array ", array.name, ": found dtype ",
                   DtypeName(dtype), ", expected float32, float64 or int64"));
}

absl::Status ValidateState(const FittedState& state) {
  for (const FittedArray& array : state.arrays) {
    INFLUENCE_RETURN_IF_ERROR(ValidateArray(array));
    if (absl::StartsWith(array.name, kPackedPrefix) &&
        !absl::StrContains(array.name, '/')) {
      return absl::InvalidArgumentError(absl::StrCat(
          "fitted array ", array.name, ": found a name that begins with ",
          kPackedPrefix, ", expected another (those are for packed arrays)"));
    }
  }
  for (const double value : state.regularization) {
    INFLUENCE_RETURN_IF_ERROR(ValidateNonNegative("regularization", value));
  }
  for (const double value : state.auto_regularization) {
    INFLUENCE_RETURN_IF_ERROR(ValidateNonNegative("regularization", value));
  }
  return absl::OkStatus();
}

std::string PackedName(at::ScalarType dtype) {
  return absl::StrCat(kPackedPrefix, DtypeName(dtype));
}

bool IsSmall(const FittedArray& array) {
  return array.values.numel() *
             static_cast<int64_t>(array.values.element_size()) <
         kOwnArrayBytes;
}

// Writes small arrays of one dtype one after the other, chunk by chunk.
class PackedArrayWriter {
 public:
  // `size`: scalars of all of them.
  static absl::StatusOr<PackedArrayWriter> Create(
      at::ScalarType dtype, int64_t size, const FittedStateOptions& options,
      ZarrStoreWriter& store) {
    PackedArrayWriter packed;
    ZarrArrayMetadata metadata;
    metadata.shape = {size};
    metadata.dtype = dtype;
    metadata.zstd = ZstdCodec{options.compression_level, /*checksum=*/true};
    const int64_t chunk = std::clamp<int64_t>(
        size, 1, kChunkBytes / static_cast<int64_t>(at::elementSize(dtype)));
    metadata.chunk_shape = {chunk};
    INFLUENCE_ASSIGN_OR_RETURN(
        packed.writer_, store.AddArray(PackedName(dtype), std::move(metadata)));
    packed.size_ = size;
    packed.buffer_ = at::empty({std::min(chunk, size)}, at::dtype(dtype));
    return packed;
  }

  // Adds `values` and returns where they begin.
  absl::StatusOr<int64_t> Add(const at::Tensor& values) {
    const int64_t place = written_ + filled_;
    const at::Tensor flat = values.reshape({-1});
    int64_t done = 0;
    while (done < flat.numel()) {
      const int64_t count =
          std::min(flat.numel() - done, buffer_.numel() - filled_);
      buffer_.narrow(0, filled_, count).copy_(flat.narrow(0, done, count));
      done += count;
      filled_ += count;
      if (filled_ == buffer_.numel() || written_ + filled_ == size_) {
        INFLUENCE_RETURN_IF_ERROR(
            writer_->Write({written_}, buffer_.narrow(0, 0, filled_)));
        written_ += filled_;
        filled_ = 0;
      }
    }
    return place;
  }

 private:
  ZarrArrayWriter* writer_ = nullptr;  // Borrowed from the store.
  int64_t size_ = 0;
  at::Tensor buffer_;  // A chunk, of which filled_ scalars count.
  int64_t filled_ = 0;
  int64_t written_ = 0;
};

absl::Status WriteArray(const FittedArray& array,
                        const FittedStateOptions& options,
                        ZarrStoreWriter& store) {
  ZarrArrayMetadata metadata;
  metadata.shape = array.values.sizes().vec();
  metadata.dtype = array.values.scalar_type();
  metadata.zstd = ZstdCodec{options.compression_level, /*checksum=*/true};
  metadata.chunk_shape = ZarrChunkShapeForTiles(
      metadata.shape, metadata.shape,
      static_cast<int64_t>(array.values.element_size()), kChunkBytes);
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const writer,
                             store.AddArray(array.name, std::move(metadata)));
  return writer->Write(std::vector<int64_t>(array.values.dim(), 0),
                       array.values);
}

absl::Status NotFitted(const std::string& path, absl::string_view found) {
  return absl::NotFoundError(
      absl::StrCat(path, ": found ", found, ", expected a fitted folder"));
}

// The contents of fitted.json, checked.
absl::StatusOr<Json> ReadJson(const std::string& path) {
  const std::string file = JsonPath(path);
  absl::StatusOr<std::string> text = ReadFile(file, kMaxJsonBytes);
  if (!text.ok()) {
    const auto exists = [](const std::string& at) {
      struct stat status;
      return stat(at.c_str(), &status) == 0;
    };
    if (exists(file)) return text.status();
    if (exists(absl::StrCat(path, ".incomplete")) && !exists(path)) {
      return NotFitted(path, absl::StrCat("only ", path,
                                          ".incomplete of an unfinished fit"));
    }
    return NotFitted(path, exists(path)
                               ? absl::StrCat("no ", kFittedStateFile, " in it")
                               : "nothing there");
  }
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return absl::DataLossError(
        absl::StrCat(file,
                     ": found damaged data (not JSON), expected a fitted "
                     "state"));
  }
  if (!json.contains("format") || json["format"] != kFormat) {
    return absl::DataLossError(absl::StrCat(file, ": found no \"format\": \"",
                                            kFormat, "\", expected it"));
  }
  if (!json.contains("version") || json["version"] != kFittedStateVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, ": found version ",
                     json.contains("version") ? json["version"].dump() : "none",
                     " of the format, expected version ", kFittedStateVersion,
                     "; fit again with this version"));
  }
  if (!json.contains("sha256") || json["sha256"] != ChecksumOf(json)) {
    return absl::DataLossError(
        absl::StrCat(file,
                     ": found damaged data (another checksum), expected "
                     "the file as it was written"));
  }
  return json;
}

// What the checksum has vouched for is as StateJson() made it.
LoadedFittedState ParseState(const Json& json) {
  LoadedFittedState loaded;
  FittedState& state = loaded.state;
  FittedStateOrigin& origin = loaded.origin;
  json.at("method").get_to(state.method);
  json.at("options").get_to(state.options);
  json.at("regularization").get_to(state.regularization);
  json.at("auto_regularization").get_to(state.auto_regularization);
  json.at("num_fitted_samples").get_to(state.num_fitted_samples);
  json.at("loss").get_to(origin.loss);
  json.at("query_function").get_to(origin.query_function);
  json.at("dtype").get_to(origin.dtype);
  json.at("model").at("path").get_to(origin.model_path);
  json.at("model").at("sha256").get_to(origin.model_fingerprint);
  json.at("training_data").at("path").get_to(origin.train_path);
  json.at("training_data").at("sha256").get_to(origin.train_fingerprint);
  json.at("versions").get_to(origin.versions);
  json.at("extra").get_to(origin.extra);
  for (const Json& block : json.at("blocks")) {
    ParameterGroup group;
    block.at("name").get_to(group.name);
    block.at("parameters").get_to(group.parameters);
    state.blocks.push_back(std::move(group));
  }
  return loaded;
}

absl::StatusOr<ZarrArray> OpenStored(const std::string& path,
                                     const ZarrGroup& group,
                                     const std::string& name) {
  absl::StatusOr<ZarrArray> stored = group.OpenArray(name);
  if (stored.ok() || stored.status().code() != absl::StatusCode::kNotFound) {
    return stored;
  }
  return absl::DataLossError(absl::StrCat(path, ": found no array \"", name,
                                          "\" (", stored.status().message(),
                                          ")"));
}

// The packed arrays that were read, by name.
using PackedArrays = std::map<std::string, at::Tensor>;

absl::Status CheckFingerprint(const std::string& where,
                              const FittedArray& array,
                              const Json& description) {
  INFLUENCE_ASSIGN_OR_RETURN(const std::string fingerprint,
                             FingerprintOfTensor(array.values));
  if (fingerprint == description.at("sha256").get<std::string>()) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      where, ": found other values (sha256 ", fingerprint,
      "), expected those of array \"", array.name, "\" as written"));
}

absl::StatusOr<FittedArray> ReadPacked(const std::string& path,
                                       const ZarrGroup& group,
                                       const Json& description,
                                       PackedArrays& packed) {
  FittedArray array;
  description.at("name").get_to(array.name);
  const std::string name =
      absl::StrCat(kPackedPrefix, description.at("dtype").get<std::string>());
  const auto shape = description.at("shape").get<std::vector<int64_t>>();
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrArray stored,
                             OpenStored(path, group, name));
  auto found = packed.find(name);
  if (found == packed.end()) {
    INFLUENCE_ASSIGN_OR_RETURN(at::Tensor values, stored.ReadAll());
    found = packed.emplace(name, std::move(values)).first;
  }
  const at::Tensor& all = found->second;
  const auto begin = description.at(kPackedAt).get<int64_t>();
  int64_t size = 1;
  for (const int64_t length : shape) size *= length;
  if (all.dim() != 1 || begin < 0 || begin + size > all.numel() ||
      DtypeName(all.scalar_type()) !=
          description.at("dtype").get<std::string>()) {
    return absl::DataLossError(
        absl::StrCat(stored.folder(), ": found ", stored.metadata().ToString(),
                     ", expected ", begin + size, " entries of ",
                     description.at("dtype").get<std::string>()));
  }
  array.values = all.narrow(0, begin, size).view(shape);
  INFLUENCE_RETURN_IF_ERROR(
      CheckFingerprint(stored.folder(), array, description));
  return array;
}

absl::StatusOr<FittedArray> ReadArray(const std::string& path,
                                      const ZarrGroup& group,
                                      const Json& description,
                                      PackedArrays& packed) {
  if (description.contains(kPackedAt)) {
    return ReadPacked(path, group, description, packed);
  }
  FittedArray array;
  description.at("name").get_to(array.name);
  const absl::StatusOr<ZarrArray> stored = OpenStored(path, group, array.name);
  if (!stored.ok()) return stored.status();
  if (DtypeName(stored->dtype()) !=
          description.at("dtype").get<std::string>() ||
      stored->shape() != description.at("shape").get<std::vector<int64_t>>()) {
    return absl::DataLossError(absl::StrCat(
        stored->folder(), ": found ", stored->metadata().ToString(),
        ", expected ", description.at("dtype").get<std::string>(), " ",
        description.at("shape").dump()));
  }
  INFLUENCE_ASSIGN_OR_RETURN(array.values, stored->ReadAll());
  INFLUENCE_RETURN_IF_ERROR(
      CheckFingerprint(stored->folder(), array, description));
  return array;
}

absl::Status CheckOrigin(absl::string_view what, const std::string& path,
                         const std::string& fitted_path,
                         const std::string& fitted_fingerprint,
                         const std::string& found_path,
                         const std::string& found_fingerprint) {
  if (found_fingerprint == fitted_fingerprint) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(found_path, ": found ", what, " with fingerprint ",
                   found_fingerprint, ", expected ", fitted_fingerprint, ": ",
                   path, " was fitted to another (", fitted_path, ")"));
}

}  // namespace

absl::Status SaveFittedState(const std::string& path, const FittedState& state,
                             const FittedStateOrigin& origin,
                             const FittedStateOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateState(state));
  FolderWriterOptions folder_options;
  folder_options.overwrite = options.overwrite;
  if (options.overwrite) {
    folder_options.unfinished = UnfinishedRun::kDiscard;
  }
  INFLUENCE_ASSIGN_OR_RETURN(
      const std::unique_ptr<ZarrStoreWriter> store,
      ZarrStoreWriter::Create(path, folder_options, kFittedStateFile));
  return SaveFittedState(*store, state, origin, options);
}

absl::Status SaveFittedState(ZarrStoreWriter& store, const FittedState& state,
                             const FittedStateOrigin& origin,
                             const FittedStateOptions& options) {
  INFLUENCE_RETURN_IF_ERROR(ValidateState(state));
  // What the JSON library throws is caught here too.
  return CatchTorch(store.path(), [&]() -> absl::Status {
    INFLUENCE_RETURN_IF_ERROR(store.SetGroupAttributes(
        {{"format", kFormat}, {"method", state.method}}));
    ProgressStage stage(options.progress, "saving",
                        static_cast<int64_t>(state.arrays.size()), "arrays");
    const bool packs = std::count_if(state.arrays.begin(), state.arrays.end(),
                                     IsSmall) > kMostSmallArrays;
    std::map<at::ScalarType, int64_t> sizes;  // Of what is packed.
    for (const FittedArray& array : state.arrays) {
      if (packs && IsSmall(array)) {
        sizes[array.values.scalar_type()] += array.values.numel();
      }
    }
    std::map<at::ScalarType, PackedArrayWriter> packed;
    for (const auto& [dtype, size] : sizes) {
      INFLUENCE_ASSIGN_OR_RETURN(
          PackedArrayWriter writer,
          PackedArrayWriter::Create(dtype, size, options, store));
      packed.emplace(dtype, std::move(writer));
    }
    Json arrays = Json::array();
    for (const FittedArray& array : state.arrays) {
      INFLUENCE_ASSIGN_OR_RETURN(const std::string fingerprint,
                                 FingerprintOfTensor(array.values));
      Json description = {{"name", array.name},
                          {"dtype", DtypeName(array.values.scalar_type())},
                          {"shape", array.values.sizes().vec()},
                          {"sha256", fingerprint}};
      if (packs && IsSmall(array)) {
        INFLUENCE_ASSIGN_OR_RETURN(
            const int64_t place,
            packed.at(array.values.scalar_type()).Add(array.values));
        description[kPackedAt] = place;
      } else {
        INFLUENCE_RETURN_IF_ERROR(WriteArray(array, options, store));
      }
      arrays.push_back(std::move(description));
      stage.Advance();
    }
    FittedStateOrigin whole_origin = origin;
    if (options.add_more != nullptr) {
      INFLUENCE_ASSIGN_OR_RETURN(const auto more, options.add_more(store));
      whole_origin.extra.insert(more.begin(), more.end());
    }
    store.SetFile(std::string(kFittedStateFile),
                  StateJson(state, whole_origin, arrays).dump(2) + "\n");
    return store.Commit();
  });
}

absl::StatusOr<LoadedFittedState> LoadFittedStateWithoutArrays(
    const std::string& path) {
  return CatchTorch(path, [&]() -> absl::StatusOr<LoadedFittedState> {
    INFLUENCE_ASSIGN_OR_RETURN(const Json json, ReadJson(path));
    return ParseState(json);
  });
}

absl::StatusOr<LoadedFittedState> LoadFittedState(const std::string& path,
                                                  ProgressReporter* progress) {
  return CatchTorch(path, [&]() -> absl::StatusOr<LoadedFittedState> {
    INFLUENCE_ASSIGN_OR_RETURN(const Json json, ReadJson(path));
    LoadedFittedState loaded = ParseState(json);
    const Json& arrays = json.at("arrays");
    ProgressStage stage(progress, "loading",
                        static_cast<int64_t>(arrays.size()), "arrays");
    const absl::StatusOr<ZarrGroup> group = ZarrGroup::Open(path);
    if (!group.ok()) {
      if (group.status().code() != absl::StatusCode::kNotFound) {
        return group.status();
      }
      return absl::DataLossError(group.status().message());
    }
    PackedArrays packed;
    for (const Json& description : arrays) {
      INFLUENCE_ASSIGN_OR_RETURN(FittedArray array,
                                 ReadArray(path, *group, description, packed));
      loaded.state.arrays.push_back(std::move(array));
      stage.Advance();
    }
    return loaded;
  });
}

absl::Status CheckFittedModel(const std::string& path,
                              const FittedStateOrigin& origin,
                              const std::string& model_path,
                              const std::string& model_fingerprint) {
  return CheckOrigin("a model", path, origin.model_path,
                     origin.model_fingerprint, model_path, model_fingerprint);
}

absl::Status CheckFittedData(const std::string& path,
                             const FittedStateOrigin& origin,
                             const std::string& train_path,
                             const std::string& train_fingerprint) {
  return CheckOrigin("data", path, origin.train_path, origin.train_fingerprint,
                     train_path, train_fingerprint);
}

}  // namespace influence
