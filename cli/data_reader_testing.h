// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Hands any bytes to DataReader, as an archive or as a folder, and ends the
// process if it breaks a promise: the part that the fuzzer and the mutation
// test share.
#ifndef INFLUENCE_CLI_DATA_READER_TESTING_H_
#define INFLUENCE_CLI_DATA_READER_TESTING_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace influence {

// The files live in memory, so that a run costs microseconds. Not thread-safe.
class DataReaderHarness {
 public:
  // Makes a temporary folder, gone with this object.
  DataReaderHarness();
  ~DataReaderHarness();
  DataReaderHarness(const DataReaderHarness&) = delete;
  DataReaderHarness& operator=(const DataReaderHarness&) = delete;

  // Opens `bytes` as an archive, and reads every batch if that succeeds. What
  // Open() or the first failing Get() returns. Aborts if
  // - a failure has no message of one line that begins with the path,
  // - the batches have not num_samples() samples together, or
  // - a tensor has not the dtype that is announced, or holds a NaN or an
  //   infinity.
  absl::Status ReadArchive(absl::string_view bytes);

  // The same for a folder with x.npy and y.npy.
  absl::Status ReadFolder(absl::string_view x, absl::string_view y);

 private:
  std::string folder_;
  int archive_;  // Descriptors of files in memory.
  int x_;
  int y_;
};

}  // namespace influence

#endif  // INFLUENCE_CLI_DATA_READER_TESTING_H_
