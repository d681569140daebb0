// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/data_reader.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ATen/ops/arange.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/equal.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/communicator.h"
#include "base/thread_team.h"
#include "cli/npz_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace influence {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// An array's name, without ".npy", and its file's bytes.
using Arrays = std::vector<std::pair<std::string, std::string>>;

enum class Form { kArchive, kFolder };

// Every behaviour that both forms share is tested on both.
class DataReaderTest : public ::testing::TestWithParam<Form> {
 protected:
  DataReaderTest()
      : root_(fs::path(::testing::TempDir()) /
              absl::StrCat("data_reader_test.", getpid())) {
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  ~DataReaderTest() override { fs::remove_all(root_); }

  std::string Write(const Arrays& arrays) const {
    if (GetParam() == Form::kArchive) {
      std::vector<ZipMember> members;
      for (const auto& [name, bytes] : arrays) {
        members.push_back({.name = name + ".npy", .contents = bytes});
      }
      const std::string path = (root_ / "data.npz").string();
      std::ofstream(path, std::ios::binary) << ZipBytes(members);
      return path;
    }
    const fs::path folder = root_ / "data";
    fs::remove_all(folder);
    fs::create_directories(folder);
    for (const auto& [name, bytes] : arrays) {
      std::ofstream(folder / (name + ".npy"), std::ios::binary) << bytes;
    }
    return folder.string();
  }

  // What a message says before "found" about the array.
  std::string Name(const std::string& array) const {
    return GetParam() == Form::kArchive
               ? (root_ / "data.npz").string() + ": " + array
               : (root_ / "data" / (array + ".npy")).string();
  }

  absl::StatusOr<DataReader> Open(const Arrays& arrays,
                                  const DataReaderOptions& options = {}) const {
    return DataReader::Open(Write(arrays), options);
  }

  // Matches the refusal of an array, in words that begin as given.
  auto Refuses(const std::string& array, const std::string& found) const {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    StartsWith(Name(array) + ": found " + found));
  }

  const fs::path root_;
};

INSTANTIATE_TEST_SUITE_P(Forms, DataReaderTest,
                         ::testing::Values(Form::kArchive, Form::kFolder),
                         [](const ::testing::TestParamInfo<Form>& form) {
                           return form.param == Form::kArchive ? "Archive"
                                                               : "Folder";
                         });

// n rows of m values, all different.
at::Tensor Rows(int64_t n, int64_t m, at::ScalarType dtype = at::kFloat) {
  return at::arange(n * m, at::kDouble).div(4).reshape({n, m}).to(dtype);
}

at::Tensor Labels(int64_t n) { return at::arange(n, at::kLong); }

TEST_P(DataReaderTest, CutsTheSamplesIntoBatchesInOrder) {
  const at::Tensor x = Rows(7, 3);
  for (int64_t batch_size : {1, 2, 3, 7, 100}) {
    SCOPED_TRACE(batch_size);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const DataReader data,
        Open({{"x", NpyBytes(x)}, {"y", NpyBytes(Labels(7))}},
             {.batch_size = batch_size}));
    EXPECT_EQ(data.num_samples(), 7);
    EXPECT_EQ(data.num_batches(), (7 + batch_size - 1) / batch_size);
    std::vector<at::Tensor> read_x;
    std::vector<at::Tensor> read_y;
    for (int64_t i = 0; i < data.num_batches(); ++i) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(i));
      ASSERT_EQ(batch.x.size(), 1);
      EXPECT_EQ(batch.size(), std::min(batch_size, 7 - i * batch_size));
      read_x.push_back(batch.x[0]);
      read_y.push_back(batch.y);
    }
    EXPECT_TRUE(at::equal(at::cat(read_x), x));
    EXPECT_TRUE(at::equal(at::cat(read_y), Labels(7)));
    for (int64_t index : {int64_t{-1}, data.num_batches()}) {
      EXPECT_THAT(
          data.Get(index),
          StatusIs(absl::StatusCode::kOutOfRange,
                   absl::StrCat("batch: found index ", index, ", expected [0, ",
                                data.num_batches(), ")")));
    }
  }
}

TEST_P(DataReaderTest, ReadsSeveralInputsInTheOrderOfTheirNumbers) {
  // More than ten: by number, not by name.
  Arrays arrays = {{"y", NpyBytes(Labels(2))}};
  for (int64_t i = 11; i >= 0; --i) {
    arrays.emplace_back(absl::StrCat("x", i),
                        NpyBytes(at::ones({2, 1}).mul(i)));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const DataReader data, Open(arrays));
  ASSERT_EQ(data.num_inputs(), 12);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
  ASSERT_EQ(batch.x.size(), 12);
  for (int64_t i = 0; i < 12; ++i) {
    EXPECT_EQ(data.input_name(i), absl::StrCat("x", i));
    EXPECT_EQ(batch.x[i][0].item<float>(), i);
  }
}

TEST_P(DataReaderTest, ASingleNumberedInputIsAllowed) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const DataReader data,
      Open({{"x0", NpyBytes(Rows(2, 3))}, {"y", NpyBytes(Labels(2))}}));
  EXPECT_EQ(data.num_inputs(), 1);
  EXPECT_EQ(data.input_name(0), "x0");
}

TEST_P(DataReaderTest, CastsFloatingDataAndKeepsIntegers) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const at::ScalarType stored : {at::kHalf, at::kFloat, at::kDouble}) {
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const DataReader data,
                                     Open({{"x", NpyBytes(Rows(4, 3, stored))},
                                           {"y", NpyBytes(Rows(4, 2, stored))}},
                                          {.dtype = dtype}));
      EXPECT_EQ(data.input_dtype(0), dtype);
      EXPECT_EQ(data.label_dtype(), dtype);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
      EXPECT_EQ(batch.x[0].scalar_type(), dtype);
      EXPECT_EQ(batch.y.scalar_type(), dtype);
      EXPECT_TRUE(at::equal(batch.x[0], Rows(4, 3, dtype)));
      EXPECT_TRUE(at::equal(batch.y, Rows(4, 2, dtype)));
    }
    for (const at::ScalarType stored :
         {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong}) {
      const std::string bytes = NpyBytes(Labels(4).to(stored));
      INFLUENCE_ASSERT_OK_AND_ASSIGN(
          const DataReader data,
          Open({{"x", bytes}, {"y", bytes}}, {.dtype = dtype}));
      EXPECT_EQ(data.input_dtype(0), stored);
      EXPECT_EQ(data.label_dtype(), at::kLong);
      INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
      EXPECT_EQ(batch.x[0].scalar_type(), stored);
      EXPECT_EQ(batch.y.scalar_type(), at::kLong);
      EXPECT_TRUE(at::equal(batch.x[0], Labels(4).to(stored)));
      EXPECT_TRUE(at::equal(batch.y, Labels(4)));
    }
  }
}

// A mask is no number: with zeros and ones a model does something else.
TEST_P(DataReaderTest, BooleanInputsStayBoolean) {
  const std::string bytes =
      NpyBytes("|b1", "(2, 2)", std::string("\x01\x00\x00\x01", 4));
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const DataReader data,
        Open({{"x0", NpyBytes(Rows(2, 3))}, {"x1", bytes}, {"y", bytes}},
             {.dtype = dtype}));
    EXPECT_EQ(data.input_dtype(0), dtype);
    EXPECT_EQ(data.input_dtype(1), at::kBool);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
    EXPECT_EQ(batch.x[1].scalar_type(), at::kBool);
    EXPECT_TRUE(at::equal(batch.x[1].to(at::kLong),
                          at::tensor({1, 0, 0, 1}, at::kLong).view({2, 2})));
  }
}

TEST_P(DataReaderTest, ReadsBooleanLabelsAndWideUnsignedIntegersAsInt64) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const DataReader data,
      Open({{"x", NpyBytes(">u2", "(2,)", std::string("\xff\xff\x00\x01", 4))},
            {"y", NpyBytes("|b1", "(2,)", std::string("\x01\x00", 2))}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
  EXPECT_TRUE(at::equal(batch.x[0], at::tensor({65535, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(batch.y, at::tensor({1, 0}, at::kLong)));
}

TEST_P(DataReaderTest, TellsShapes) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const DataReader data,
                                 Open({{"x0", NpyBytes(at::zeros({4, 3, 2}))},
                                       {"x1", NpyBytes(Labels(4))},
                                       {"y", NpyBytes(at::zeros({4, 5}))}}));
  EXPECT_THAT(data.input_shape(0), ElementsAre(4, 3, 2));
  EXPECT_THAT(data.input_shape(1), ElementsAre(4));
  EXPECT_THAT(data.label_shape(), ElementsAre(4, 5));
}

TEST_P(DataReaderTest, HandsOutCopies) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const DataReader data,
      Open({{"x", NpyBytes(Rows(4, 3))}, {"y", NpyBytes(Labels(4))}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch first, data.Get(0));
  first.x[0].zero_();
  first.y.zero_();
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch second, data.Get(0));
  EXPECT_TRUE(at::equal(second.x[0], Rows(4, 3)));
  EXPECT_TRUE(at::equal(second.y, Labels(4)));
}

TEST_P(DataReaderTest, ChangesTheBatchSizeOfTheSameData) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const DataReader data,
      Open({{"x", NpyBytes(Rows(4, 3))}, {"y", NpyBytes(Labels(4))}}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const DataReader pairs, data.WithBatchSize(2));
  EXPECT_EQ(data.num_batches(), 1);
  EXPECT_EQ(pairs.num_batches(), 2);
  EXPECT_EQ(pairs.batch_size(), 2);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, pairs.Get(1));
  EXPECT_TRUE(at::equal(batch.y, at::tensor({2, 3}, at::kLong)));
  EXPECT_THAT(data.WithBatchSize(0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "batch_size: found 0, expected >= 1"));
}

TEST_P(DataReaderTest, ServesThreadsAtTheSameTime) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const DataReader data,
      Open({{"x", NpyBytes(Rows(8, 3))}, {"y", NpyBytes(Labels(8))}},
           {.batch_size = 2}));
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&data, t] {
      for (int i = 0; i < 50; ++i) {
        INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(t));
        EXPECT_TRUE(at::equal(batch.x[0], Rows(8, 3).narrow(0, 2 * t, 2)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(DataReaderTest, NamesTheArraysItFoundAndExpected) {
  const std::string a = NpyBytes(Labels(2));
  for (const auto& [arrays, message] :
       std::vector<std::pair<Arrays, std::string>>{
           {{},
            "found no arrays, expected x (or x0, x1, ...) and y: x is "
            "missing"},
           {{{"y", a}},
            "found arrays y, expected x (or x0, x1, ...) and y: x is missing"},
           {{{"x", a}},
            "found arrays x, expected x (or x0, x1, ...) and y: y is missing"},
           {{{"x0", a}, {"x1", a}},
            "found arrays x0, x1, expected x (or x0, x1, ...) and y: y is "
            "missing"},
           {{{"x1", a}, {"x2", a}, {"y", a}},
            "found arrays x1, x2, y, expected x (or x0, x1, ...) and y: x0 is "
            "missing"},
           {{{"x0", a}, {"x2", a}, {"y", a}},
            "found arrays x0, x2, y, expected x (or x0, x1, ...) and y: x1 is "
            "missing"},
           {{{"x", a}, {"x0", a}, {"y", a}},
            "found arrays x, x0, y, expected x (or x0, x1, ...) and y: either "
            "x alone or numbered inputs"},
           {{{"x", a}, {"y", a}, {"ids", a}},
            "found arrays ids, x, y, expected x (or x0, x1, ...) and y: ids "
            "is none of them"},
           {{{"x00", a}, {"y", a}},
            "found arrays x00, y, expected x (or x0, x1, ...) and y: x00 is "
            "none of them"},
           {{{"x-1", a}, {"y", a}},
            "found arrays x-1, y, expected x (or x0, x1, ...) and y: x-1 is "
            "none of them"},
           {{{"x99999999999999999999", a}, {"y", a}},
            "found arrays x99999999999999999999, y, expected x (or x0, x1, "
            "...) and y: x99999999999999999999 is none of them"},
       }) {
    const std::string path = Write(arrays);
    EXPECT_THAT(DataReader::Open(path, {}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         absl::StrCat(path, ": ", message)));
  }
}

TEST_P(DataReaderTest, RefusesCountsThatDiffer) {
  EXPECT_THAT(Open({{"x", NpyBytes(Rows(4, 3))}, {"y", NpyBytes(Labels(5))}}),
              Refuses("y", "5 samples, expected 4 as in x"));
  EXPECT_THAT(Open({{"x0", NpyBytes(Rows(4, 3))},
                    {"x1", NpyBytes(Rows(3, 3))},
                    {"y", NpyBytes(Labels(4))}}),
              Refuses("x1", "3 samples, expected 4 as in x0"));
}

TEST_P(DataReaderTest, RefusesEmptyData) {
  EXPECT_THAT(Open({{"x", NpyBytes(Rows(0, 3))}, {"y", NpyBytes(Labels(0))}}),
              Refuses("x", "shape [0, 3], expected at least one sample"));
  EXPECT_THAT(Open({{"x", NpyBytes(Rows(2, 3))}, {"y", NpyBytes(Labels(0))}}),
              Refuses("y", "shape [0], expected at least one sample"));
  EXPECT_THAT(
      Open({{"x", NpyBytes(Rows(2, 0))}, {"y", NpyBytes(Labels(2))}}),
      Refuses("x", "shape [2, 0], expected at least one value in each"));
  EXPECT_THAT(
      Open({{"x", NpyBytes(Rows(2, 3))}, {"y", NpyBytes("<f4", "()", "0123")}}),
      Refuses("y", "shape [], expected samples along a first dimension"));
}

// Of ranks each looks at its own samples; the values of one that is not its own
// are another's to refuse.
TEST_P(DataReaderTest, RanksShareTheCheckOfValues) {
  const at::Tensor bad = Rows(5, 3);
  bad[3][1] = std::numeric_limits<double>::quiet_NaN();
  const std::string path =
      Write({{"x", NpyBytes(bad)}, {"y", NpyBytes(Labels(5))}});
  for (const absl::Status& status :
       RunThreadTeam(3, [&](Communicator& communicator) -> absl::Status {
         const absl::StatusOr<DataReader> reader =
             DataReader::Open(path, {.ranks = &communicator});
         if (communicator.rank() != 2) return reader.status();
         EXPECT_THAT(reader, Refuses("x", "NaN at sample 3"));
         return absl::OkStatus();
       })) {
    INFLUENCE_EXPECT_OK(status);
  }
}

TEST_P(DataReaderTest, NamesTheSampleThatIsNotFinite) {
  const std::vector<std::pair<double, std::string>> bad_values = {
      {std::numeric_limits<double>::quiet_NaN(), "NaN"},
      {std::numeric_limits<double>::infinity(), "infinity"},
      {-std::numeric_limits<double>::infinity(), "-infinity"}};
  for (const auto& [value, text] : bad_values) {
    for (const at::ScalarType stored : {at::kHalf, at::kFloat, at::kDouble}) {
      for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
        const at::Tensor bad = Rows(5, 3, stored);
        bad[3][1] = value;
        EXPECT_THAT(
            Open({{"x", NpyBytes(bad)}, {"y", NpyBytes(Labels(5))}},
                 {.dtype = dtype}),
            Refuses("x", text + " at sample 3, expected finite values"));
        EXPECT_THAT(
            Open({{"x", NpyBytes(Rows(5, 3))}, {"y", NpyBytes(bad)}},
                 {.dtype = dtype}),
            Refuses("y", text + " at sample 3, expected finite values"));
      }
    }
  }
}

TEST_P(DataReaderTest, NamesTheSampleBeyondTheFirstPieceThatIsNotFinite) {
  // Values are checked in pieces of 16 MiB: 4 rows of 4 MiB each.
  const at::Tensor x = at::zeros({10, 1 << 20});
  x[9][(1 << 20) - 1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Open({{"x", NpyBytes(x)}, {"y", NpyBytes(Labels(10))}}),
              Refuses("x", "NaN at sample 9, expected finite values"));
}

TEST_P(DataReaderTest, RefusesAValueThatTheDtypeCannotHold) {
  const at::Tensor x = Rows(5, 3, at::kDouble);
  x[2][0] = 1e300;
  const Arrays arrays = {{"x", NpyBytes(x)}, {"y", NpyBytes(Labels(5))}};
  EXPECT_THAT(Open(arrays, {.dtype = at::kFloat}),
              Refuses("x",
                      "value 1e+300 at sample 2, expected values within "
                      "the range of float32"));
  INFLUENCE_EXPECT_OK(Open(arrays, {.dtype = at::kDouble}));
}

TEST_P(DataReaderTest, RefusesArraysThatCannotBeRead) {
  const std::string labels = NpyBytes(Labels(2));
  EXPECT_THAT(Open({{"x", NpyBytes("|O", "(2,)", "01234567")}, {"y", labels}}),
              Refuses("x", "an object array (a pickle)"));
  EXPECT_THAT(Open({{"x", labels}, {"y", NpyBytes("<U1", "(2,)", "01234567")}}),
              Refuses("y", "strings (dtype \"<U1\")"));
  EXPECT_THAT(Open({{"x", labels.substr(0, labels.size() - 3)}, {"y", labels}}),
              Refuses("x", "13 bytes of values (truncated), expected 16"));
  EXPECT_THAT(Open({{"x", labels}, {"y", "text"}}),
              Refuses("y", "4 bytes, expected a .npy array"));
  EXPECT_THAT(
      Open({{"x", labels},
            {"y", NpyBytes("<u8", "(2,)", std::string(16, '\xff'))}}),
      Refuses("y", "18446744073709551615 at sample 0, expected at most"));
}

TEST_P(DataReaderTest, RefusesBadOptions) {
  const Arrays arrays = {{"x", NpyBytes(Labels(2))},
                         {"y", NpyBytes(Labels(2))}};
  EXPECT_THAT(Open(arrays, {.dtype = at::kHalf}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "dtype: found float16, expected float32 or float64"));
  EXPECT_THAT(Open(arrays, {.batch_size = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "batch_size: found 0, expected >= 1"));
  EXPECT_THAT(Open(arrays, {.max_archive_bytes = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "max_archive_bytes: found -1, expected >= 0"));
}

// Only one of the forms, or neither.
using DataReaderFormTest = DataReaderTest;
INSTANTIATE_TEST_SUITE_P(Folder, DataReaderFormTest,
                         ::testing::Values(Form::kFolder));

TEST_P(DataReaderFormTest, ReadsArchivesThatNumpyWrote) {
  const at::Tensor x = Rows(5, 3, at::kDouble);
  for (const char* name : {"stored", "deflated"}) {
    INFLUENCE_ASSERT_OK_AND_ASSIGN(
        const DataReader data,
        DataReader::Open(absl::StrCat("cli/testdata/", name, ".npz"),
                         {.dtype = at::kDouble}));
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
    EXPECT_TRUE(at::equal(batch.x[0], x));
    EXPECT_TRUE(at::equal(batch.y, at::tensor({0, 1, 2, 1, 0}, at::kLong)));
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const DataReader data,
      DataReader::Open("cli/testdata/two_inputs.npz", {.dtype = at::kDouble}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch batch, data.Get(0));
  ASSERT_EQ(batch.x.size(), 2);
  EXPECT_TRUE(at::equal(batch.x[0], at::arange(10, at::kLong).reshape({5, 2})));
  EXPECT_TRUE(at::equal(batch.x[1], x));
  EXPECT_TRUE(at::equal(batch.y, at::arange(5, at::kDouble).div(8)));
  EXPECT_THAT(DataReader::Open("cli/testdata/object.npz", {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("y: found an object array (a pickle)")));
}

TEST_P(DataReaderFormTest, RefusesWhatIsNeitherArchiveNorFolder) {
  EXPECT_THAT(DataReader::Open("none.npz", {}),
              StatusIs(absl::StatusCode::kNotFound,
                       "none.npz: found \"No such file or directory\", "
                       "expected an .npz archive or a folder with x.npy and "
                       "y.npy"));
  const std::string path = (root_ / "x.npy").string();
  std::ofstream(path, std::ios::binary) << NpyBytes(Rows(2, 3));
  EXPECT_THAT(DataReader::Open(path, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith(path + ": found"),
                             EndsWith("expected an .npz archive"))));
}

TEST_P(DataReaderFormTest, PassesOverOtherAndHiddenFilesInAFolder) {
  const std::string path =
      Write({{"x", NpyBytes(Rows(2, 3))}, {"y", NpyBytes(Labels(2))}});
  std::ofstream(path + "/README.txt") << "text";
  std::ofstream(path + "/._x.npy") << "a desktop's shadow of x.npy";
  INFLUENCE_EXPECT_OK(DataReader::Open(path, {}));
}

TEST_P(DataReaderFormTest, LimitsTheMemoryOfAnArchiveAsAWhole) {
  const std::string array = NpyBytes(at::zeros({100}, at::kByte));
  const std::string path = (root_ / "data.npz").string();
  std::ofstream(path, std::ios::binary)
      << ZipBytes({{.name = "x.npy", .contents = array, .deflated = true},
                   {.name = "y.npy", .contents = array, .deflated = true}});
  INFLUENCE_EXPECT_OK(DataReader::Open(path, {.max_archive_bytes = 200}));
  EXPECT_THAT(DataReader::Open(path, {.max_archive_bytes = 199}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       StartsWith(path + ": y: found 100 bytes of values")));
}

TEST_P(DataReaderFormTest, ReadsOfAFolderOnlyWhatABatchNeeds) {
  // 1 TiB each, of which the disk holds the headers and one value.
  constexpr int64_t kSize = int64_t{1} << 40;
  const std::string header =
      NpyBytes("|u1", absl::StrCat("(", kSize, ",)"), "");
  const std::string path = Write({{"x", header}, {"y", header}});
  for (const char* name : {"/x.npy", "/y.npy"}) {
    const auto size = static_cast<int64_t>(header.size()) + kSize;
    if (truncate((path + name).c_str(), size) != 0) {
      GTEST_SKIP() << "the file system has no files of 1 TiB";
    }
    std::fstream file(path + name,
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(size - 1);
    file.put('\x07');
  }
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const DataReader data,
                                 DataReader::Open(path, {.batch_size = 4}));
  EXPECT_EQ(data.num_samples(), kSize);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const Batch last,
                                 data.Get(data.num_batches() - 1));
  EXPECT_TRUE(at::equal(last.y, at::tensor({0, 0, 0, 7}, at::kLong)));
}

}  // namespace
}  // namespace influence
