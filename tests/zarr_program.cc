// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Writes and reads Zarr stores for zarr_interoperability_test.py:
//
//   zarr_program write <folder>             the stores that the test expects
//   zarr_program read <store> <npy> ...     each array as a .npy file
//   zarr_program verify <store> ...         checks every chunk of each array
//
// Prints a line for each store, "OK" or what is wrong with it.
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/full.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/validators.h"
#include "calculators/fitted_state_folder.h"
#include "calculators/lazy_chunk_sequence.h"
#include "calculators/npy_file.h"
#include "calculators/zarr_array.h"
#include "calculators/zarr_format.h"
#include "calculators/zarr_sink.h"
#include "calculators/zarr_store_writer.h"
#include "influence/fitted_state.h"

namespace influence {
namespace {

// 0, 1, 2, ... in row-major order.
at::Tensor Counting(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  int64_t size = 1;
  for (const int64_t extent : shape) size *= extent;
  return at::arange(size, at::TensorOptions(at::kDouble))
      .reshape(shape)
      .to(dtype);
}

absl::Status WriteArray(const std::string& path, const at::Tensor& values,
                        ZarrArrayMetadata metadata) {
  INFLUENCE_ASSIGN_OR_RETURN(const auto store, ZarrStoreWriter::Create(path));
  metadata.shape = values.sizes().vec();
  metadata.dtype = values.scalar_type();
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                             store->AddArray("", metadata));
  INFLUENCE_RETURN_IF_ERROR(
      array->Write(std::vector<int64_t>(values.dim(), 0), values));
  return store->Commit({{"seconds", 1.5}});
}

absl::Status WriteStores(const std::string& folder) {
  for (const at::ScalarType dtype :
       {at::kBool, at::kChar, at::kShort, at::kInt, at::kLong, at::kByte,
        at::kFloat, at::kDouble}) {
    at::Tensor values = Counting({5, 7}, dtype);
    if (dtype == at::kFloat || dtype == at::kDouble) {
      values.select(0, 0).select(0, 0).fill_(
          std::numeric_limits<double>::quiet_NaN());
      values.select(0, 4).select(0, 6).fill_(
          -std::numeric_limits<double>::infinity());
    }
    ZarrArrayMetadata metadata;
    metadata.chunk_shape = {2, 3};
    metadata.attributes = {{"units", "raw"}, {"blocks", {"fc1.weight", "b"}}};
    metadata.dimension_names = {"query", "train"};
    INFLUENCE_RETURN_IF_ERROR(
        WriteArray(absl::StrCat(folder, "/", DtypeName(dtype), ".zarr"), values,
                   metadata));
  }

  ZarrArrayMetadata plain;
  plain.chunk_shape = {2, 3, 1};
  plain.zstd = std::nullopt;
  plain.separator = '.';
  INFLUENCE_RETURN_IF_ERROR(WriteArray(folder + "/plain.zarr",
                                       Counting({3, 4, 2}, at::kFloat), plain));
  INFLUENCE_RETURN_IF_ERROR(
      WriteArray(folder + "/single.zarr",
                 at::full({}, 2.5, at::TensorOptions(at::kDouble)), {}));
  ZarrArrayMetadata empty;
  empty.chunk_shape = {1, 3};
  INFLUENCE_RETURN_IF_ERROR(
      WriteArray(folder + "/empty.zarr", Counting({0, 3}, at::kFloat), empty));

  // Tiles of scores, from a lazy sequence.
  const at::Tensor scores = Counting({10, 9}, at::kFloat);
  const NestedLazyChunkSequence tiles(
      "scores", 3, 2, 10, 9,
      [&](int64_t i) -> absl::StatusOr<NestedLazyChunkSequence::TileFunction> {
        return [&scores, i](int64_t j) -> absl::StatusOr<at::Tensor> {
          return scores.slice(0, 4 * i, 4 * (i + 1))
              .slice(1, 5 * j, 5 * (j + 1));
        };
      });
  INFLUENCE_RETURN_IF_ERROR(tiles.ToZarr(folder + "/tiles.zarr"));

  // An array for each block.
  INFLUENCE_ASSIGN_OR_RETURN(const auto group,
                             ZarrStoreWriter::Create(folder + "/blocks.zarr"));
  const std::vector<std::string> blocks = {"fc1.weight", "_root", "fc1.bias"};
  INFLUENCE_RETURN_IF_ERROR(group->SetGroupAttributes({{"blocks", blocks}}));
  for (size_t b = 0; b < blocks.size(); ++b) {
    ZarrArrayMetadata metadata;
    metadata.shape = metadata.chunk_shape = {2, 2};
    INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                               group->AddArray(blocks[b], metadata));
    INFLUENCE_RETURN_IF_ERROR(
        array->Write({0, 0}, at::full({2, 2}, static_cast<double>(b),
                                      at::TensorOptions(at::kFloat))));
  }
  INFLUENCE_RETURN_IF_ERROR(group->Commit());

  // A run that stopped before chunk (1, 0).
  INFLUENCE_ASSIGN_OR_RETURN(const auto unfinished,
                             ZarrStoreWriter::Create(folder + "/stopped.zarr"));
  unfinished->set_keep_unfinished(true);
  ZarrArrayMetadata half;
  half.shape = {4, 2};
  half.chunk_shape = {2, 2};
  INFLUENCE_ASSIGN_OR_RETURN(ZarrArrayWriter* const array,
                             unfinished->AddArray("", half));
  INFLUENCE_RETURN_IF_ERROR(array->Write({0, 0}, Counting({2, 2}, at::kFloat)));

  FittedState state;
  state.method = "ekfac";
  state.blocks = {{"fc1.0", {"fc1.0.weight"}}};
  state.arrays = {{"fc1.0/eigenvalues", Counting({3, 4}, at::kDouble)}};
  return SaveFittedState(folder + "/fitted", state, FittedStateOrigin());
}

absl::Status Read(const std::string& store, const std::string& npy) {
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrArray array, ZarrArray::Open(store));
  INFLUENCE_ASSIGN_OR_RETURN(const at::Tensor values, array.ReadAll());
  INFLUENCE_ASSIGN_OR_RETURN(
      const auto writer,
      NpyWriter::Create(npy, values.sizes(), values.scalar_type(), true));
  INFLUENCE_RETURN_IF_ERROR(writer->WriteRows(0, values));
  return writer->Commit();
}

absl::Status Verify(const std::string& store) {
  INFLUENCE_ASSIGN_OR_RETURN(const ZarrArray array, ZarrArray::Open(store));
  return array.Verify();
}

// A status for each store.
std::vector<absl::Status> Run(const std::vector<std::string>& arguments) {
  std::vector<absl::Status> results;
  const std::string command = arguments.empty() ? "" : arguments[0];
  if (command == "write" && arguments.size() == 2) {
    results.push_back(WriteStores(arguments[1]));
  } else if (command == "read") {
    for (size_t i = 1; i + 1 < arguments.size(); i += 2) {
      results.push_back(Read(arguments[i], arguments[i + 1]));
    }
  } else if (command == "verify") {
    for (size_t i = 1; i < arguments.size(); ++i) {
      results.push_back(Verify(arguments[i]));
    }
  } else {
    results.push_back(absl::InvalidArgumentError(
        "usage: zarr_program write <folder> | read <store> <npy> ... | verify "
        "<store> ..."));
  }
  return results;
}

}  // namespace
}  // namespace influence

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const absl::Status& status : influence::Run(arguments)) {
    std::puts(status.ToString().c_str());
  }
  return 0;
}
