// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Changes valid files at random and reads them: whatever the change, the reader
// answers with data that keeps its promises or with a Status (the harness
// aborts otherwise). The seed is fixed, so that every run does the same.
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "ATen/ops/arange.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/data_reader_testing.h"
#include "cli/npz_testing.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

constexpr uint64_t kSeed = 20260101;
constexpr int kMutationsOfAFile = 2000;

// Random edits of bytes. Not std distributions, whose results differ between
// libraries.
class Mutator {
 public:
  explicit Mutator(uint64_t seed) : engine_(seed) {}

  std::string Mutate(std::string bytes) {
    const uint64_t edits = 1 + Below(4);
    for (uint64_t i = 0; i < edits; ++i) Edit(bytes);
    return bytes;
  }

 private:
  uint64_t Below(uint64_t bound) { return engine_() % bound; }

  void Edit(std::string& bytes) {
    if (bytes.empty()) bytes.push_back('\0');
    const size_t at = Below(bytes.size());
    const size_t length =
        std::min<size_t>(1 + Below(Below(8) == 0 ? 200 : 8), bytes.size() - at);
    switch (Below(8)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(Below(256));
        break;
      case 2: {
        // Values at which lengths and numbers change their nature.
        constexpr char kEdges[] = {'\x00', '\x01', '\x7f', '\x80', '\xff',
                                   '\'',   ')',    '0',    '9',    ','};
        bytes[at] = kEdges[Below(std::size(kEdges))];
        break;
      }
      case 3:
        std::fill_n(bytes.begin() + at, length, '\xff');
        break;
      case 4:
        bytes.erase(at, length);
        break;
      case 5:
        bytes.insert(Below(bytes.size()), bytes.substr(at, length));
        break;
      case 6:
        bytes.resize(at);
        break;
      default:
        ReplaceToken(bytes);
    }
  }

  // Swaps one word of a .npy header for another, which may be of another
  // length.
  void ReplaceToken(std::string& bytes) {
    static const auto& tokens = *new std::vector<std::string>{
        "<f4",  "<f8",   ">i2", "|O",   "<u8",  "|b1",
        "True", "False", "(5,", "(0,",  "3)",   "(4294967296, 4294967296,",
        "x",    "y",     "x0",  ".npy", "descr"};
    const std::string& from = tokens[Below(tokens.size())];
    const std::string& to = tokens[Below(tokens.size())];
    const size_t found = bytes.find(from, Below(bytes.size() + 1));
    if (found != std::string::npos) bytes.replace(found, from.size(), to);
  }

  std::mt19937_64 engine_;
};

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// How often each code came back; prints it. Every mutant is one of these.
class Outcomes {
 public:
  void Count(const absl::Status& status) { ++counts_[status.code()]; }

  // Mutation must neither destroy every file nor leave every file whole, or
  // the test would be blind.
  void ExpectBothKinds() const {
    int failures = 0;
    for (const auto& [code, count] : counts_) {
      std::cout << absl::StatusCodeToString(code) << ": " << count << "\n";
      if (code != absl::StatusCode::kOk) failures += count;
      EXPECT_TRUE(code == absl::StatusCode::kOk ||
                  code == absl::StatusCode::kInvalidArgument ||
                  code == absl::StatusCode::kResourceExhausted)
          << absl::StatusCodeToString(code);
    }
    const auto successes = counts_.find(absl::StatusCode::kOk);
    ASSERT_NE(successes, counts_.end());
    EXPECT_GT(successes->second, 20);
    EXPECT_GT(failures, 20);
  }

 private:
  std::map<absl::StatusCode, int> counts_;
};

TEST(DataReaderMutationTest, SurvivesChangedArchives) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  DataReaderHarness harness;
  Outcomes outcomes;
  for (const char* name : {"stored", "deflated", "two_inputs", "object"}) {
    const std::string bytes =
        Contents(absl::StrCat("cli/testdata/", name, ".npz"));
    for (int i = 0; i < kMutationsOfAFile; ++i) {
      outcomes.Count(harness.ReadArchive(mutator.Mutate(bytes)));
    }
  }
  outcomes.ExpectBothKinds();
}

// The arrays are changed before they are wrapped, so that checksums are right
// and the changes reach the decoder.
TEST(DataReaderMutationTest, SurvivesChangedArrays) {
  std::cout << "seed " << kSeed << "\n";
  Mutator mutator(kSeed);
  DataReaderHarness harness;
  Outcomes outcomes;
  const std::string labels = NpyBytes(at::arange(5, at::kLong));
  for (const std::string& bytes :
       {NpyBytes(at::arange(15, at::kFloat).reshape({5, 3})),
        NpyBytes(at::arange(15, at::kDouble).reshape({5, 3})),
        NpyBytes(">u4", "(5, 3)", std::string(60, '\x11')),
        NpyBytes("<u8", "(5, 1, 1)", std::string(40, '\x22')),
        NpyBytes("|b1", "(5,)", std::string(5, '\x01'))}) {
    for (int i = 0; i < kMutationsOfAFile; ++i) {
      const std::string mutant = mutator.Mutate(bytes);
      const absl::Status from_folder = harness.ReadFolder(mutant, labels);
      outcomes.Count(from_folder);
      const absl::Status from_archive = harness.ReadArchive(ZipBytes(
          {{.name = "x.npy", .contents = mutant, .deflated = i % 2 == 0},
           {.name = "y.npy", .contents = labels}}));
      // Both ways are the same reader.
      EXPECT_EQ(from_archive.code(), from_folder.code()) << from_archive << "\n"
                                                         << from_folder;
    }
  }
  outcomes.ExpectBothKinds();
}

}  // namespace
}  // namespace influence
