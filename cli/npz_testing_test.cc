// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/npz_testing.h"

#include <zip.h>

#include <string>

#include "ATen/ops/arange.h"
#include "ATen/ops/equal.h"
#include "calculators/npy_format.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

TEST(NpzTestingTest, NpyBytesAreReadBack) {
  const at::Tensor values = at::arange(6, at::kFloat).reshape({2, 3});
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor read,
                                 DecodeNpy("a.npy", NpyBytes(values)));
  EXPECT_EQ(read.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(read, values));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor bytes,
      DecodeNpy("a.npy", NpyBytes("|u1", "(3,)", "\x01\x02\x03")));
  EXPECT_TRUE(at::equal(bytes, at::arange(1, 4, at::kByte)));
}

// libzip, which is not ours, finds the members whole and consistent.
TEST(NpzTestingTest, ZipBytesAreAnArchive) {
  const std::string long_text(100000, 'a');
  std::string archive =
      ZipBytes({{.name = "a", .contents = "stored"},
                {.name = "b", .contents = long_text, .deflated = true}});
  EXPECT_LT(archive.size(), 2000);
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source =
      zip_source_buffer_create(archive.data(), archive.size(), 0, &error);
  ASSERT_NE(source, nullptr);
  zip_t* zip = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
  ASSERT_NE(zip, nullptr) << zip_error_strerror(&error);
  ASSERT_EQ(zip_get_num_entries(zip, 0), 2);
  for (const auto& [name, contents] :
       {std::pair<std::string, std::string>{"a", "stored"}, {"b", long_text}}) {
    zip_file_t* file = zip_fopen(zip, name.c_str(), 0);
    ASSERT_NE(file, nullptr) << zip_strerror(zip);
    std::string read(contents.size() + 1, '\0');
    // The count, and with it the checksum at the end, are right.
    EXPECT_EQ(zip_fread(file, read.data(), read.size()),
              static_cast<int64_t>(contents.size()));
    EXPECT_EQ(zip_fread(file, read.data() + contents.size(), 1), 0);
    read.resize(contents.size());
    EXPECT_EQ(read, contents);
    zip_fclose(file);
  }
  zip_discard(zip);
}

TEST(NpzTestingTest, ZipBytesDeclareWhatTheyAreTold) {
  std::string archive = ZipBytes({{.name = "a",
                                   .contents = "abc",
                                   .encrypted = true,
                                   .declared_size = 77,
                                   .declared_checksum = 55,
                                   .declared_method = 12}});
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source =
      zip_source_buffer_create(archive.data(), archive.size(), 0, &error);
  ASSERT_NE(source, nullptr);
  zip_t* zip = zip_open_from_source(source, ZIP_RDONLY, &error);
  ASSERT_NE(zip, nullptr) << zip_error_strerror(&error);
  zip_stat_t entry;
  ASSERT_EQ(zip_stat_index(zip, 0, 0, &entry), 0);
  EXPECT_EQ(entry.size, 77);
  EXPECT_EQ(entry.comp_size, 3);
  EXPECT_EQ(entry.crc, 55);
  EXPECT_EQ(entry.comp_method, 12);
  EXPECT_NE(entry.encryption_method, ZIP_EM_NONE);
  zip_discard(zip);
}

}  // namespace
}  // namespace influence
