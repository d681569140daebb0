// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target for the data readers. Bytes that begin as a .npy file are
// read from a folder and, wrapped with a right checksum, from archives; all
// others are read as an archive.
#include <cstddef>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "cli/data_reader_testing.h"
#include "cli/npz_testing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static influence::DataReaderHarness& harness =
      *new influence::DataReaderHarness();
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!absl::StartsWith(bytes, "\x93NUMPY")) {
    harness.ReadArchive(bytes).IgnoreError();
    return 0;
  }
  const std::string array(bytes);
  harness.ReadFolder(bytes, bytes).IgnoreError();
  harness
      .ReadArchive(influence::ZipBytes(
          {{.name = "x.npy", .contents = array},
           {.name = "y.npy", .contents = array, .deflated = true}}))
      .IgnoreError();
  return 0;
}
