// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// The example as a user runs it, and the `influence` command on the files it
// leaves: the program and the library must say the same.
#include <sys/wait.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "calculators/npy_file.h"
#include "cli/html_checker.h"
#include "examples/digits/ranking.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tools/cpp/runfiles/runfiles.h"

namespace influence {
namespace {

using ::bazel::tools::cpp::runfiles::Runfiles;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Program(absl::string_view label) {
  std::string error;
  const std::unique_ptr<Runfiles> runfiles(Runfiles::CreateForTest(&error));
  EXPECT_NE(runfiles, nullptr) << error;
  return runfiles->Rlocation(absl::StrCat("composable_influence/", label));
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Outcome {
  int exit_code;
  std::string output;
  std::string errors;
};

Outcome RunProgram(const std::string& program, const std::string& arguments) {
  const std::string base = absl::StrCat(::testing::TempDir(), "/run");
  const int status =
      std::system(absl::StrCat("'", program, "' ", arguments, " > '", base,
                               ".out' 2> '", base, ".err'")
                      .c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          ReadText(absl::StrCat(base, ".out")),
          ReadText(absl::StrCat(base, ".err"))};
}

at::Tensor ReadArray(const std::string& path) {
  auto file = NpyFile::Open(path);
  INFLUENCE_EXPECT_OK(file);
  auto values = file->ReadAll();
  INFLUENCE_EXPECT_OK(values);
  return *values;
}

double ShareFoundBy(const at::Tensor& suspicion,
                    const std::vector<bool>& flipped, double inspected) {
  auto order = OrderByDescending(suspicion);
  INFLUENCE_EXPECT_OK(order);
  auto counts = CountFound(*order, flipped);
  INFLUENCE_EXPECT_OK(counts);
  return ShareFound(*counts, inspected);
}

TEST(DigitsTest, FindsTheWrongLabelsAndTheCommandSaysTheSame) {
  const std::string folder = absl::StrCat(::testing::TempDir(), "/report");
  const Outcome example =
      RunProgram(Program("examples/digits/digits"),
                 absl::StrCat("--out '", folder, "' --seed 0"));
  ASSERT_EQ(example.exit_code, 0) << example.errors;
  EXPECT_THAT(example.output,
              AllOf(HasSubstr("1500 training images, 150 of their labels"),
                    HasSubstr(absl::StrCat(folder, "/index.html"))));

  const at::Tensor scores = ReadArray(absl::StrCat(folder, "/scores.npy"));
  const at::Tensor given = ReadArray(absl::StrCat(folder, "/train/y.npy"));
  const at::Tensor truth = ReadArray(absl::StrCat(folder, "/true_labels.npy"));
  ASSERT_EQ(scores.sizes(), at::IntArrayRef({297, 1500}));
  std::vector<bool> flipped(1500);
  for (int64_t n = 0; n < 1500; ++n) {
    flipped[n] = given[n].item<int64_t>() != truth[n].item<int64_t>();
  }
  EXPECT_EQ(std::count(flipped.begin(), flipped.end(), true), 150);

  // Below the 0.48, 0.9 and 1 seen, far enough for another processor's rounding
  // to lead to another minimum, and far above the share inspected, which is
  // what chance finds.
  const at::Tensor self =
      ReadArray(absl::StrCat(folder, "/self_influence.npy"));
  EXPECT_GT(ShareFoundBy(self, flipped, 0.05), 0.4);
  EXPECT_GT(ShareFoundBy(self, flipped, 0.1), 0.75);
  EXPECT_GT(ShareFoundBy(self, flipped, 0.2), 0.9);
  EXPECT_GT(ShareFoundBy(scores.sum(0).neg(), flipped, 0.1), 0.6);

  // 60 suspects; for each of six errors the digit, 6 harmful and 6 helpful.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const HtmlSummary page,
      CheckHtml(ReadText(absl::StrCat(folder, "/index.html"))));
  EXPECT_EQ(page.num_images, 60 + 6 * 13);

  const std::string again = absl::StrCat(folder, "/scores_again.npy");
  const Outcome command = RunProgram(
      Program("cli/influence"),
      absl::StrCat("scores --model '", folder, "/model.pt' --train '", folder,
                   "/train' --test '", folder,
                   "/test' --loss cross_entropy --method direct "
                   "--regularization 0.011 --dtype float64 --out '",
                   again, "'"));
  ASSERT_EQ(command.exit_code, 0) << command.errors;
  const at::Tensor found = ReadArray(again);
  ASSERT_EQ(found.sizes(), scores.sizes());
  ASSERT_EQ(found.scalar_type(), at::kDouble);
  EXPECT_LE(found.sub(scores).abs().max().item<double>(),
            1e-6 * scores.abs().max().item<double>());
}

TEST(DigitsTest, RefusesWrongUsageWithOneLine) {
  const std::string program = Program("examples/digits/digits");
  const Outcome help = RunProgram(program, "--help");
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.output, HasSubstr("--flipped-share"));
  for (const char* arguments :
       {"--flipped-share 0.9", "--threads -1", "--unknown", "extra"}) {
    const Outcome outcome = RunProgram(program, arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments;
    EXPECT_EQ(outcome.output, "") << arguments;
    EXPECT_THAT(outcome.errors, StartsWith("digits: error: ")) << arguments;
    EXPECT_EQ(std::count(outcome.errors.begin(), outcome.errors.end(), '\n'), 1)
        << outcome.errors;
  }
}

}  // namespace
}  // namespace influence
