// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// A query without an answer, through the `influence` program: NaN in every
// result, named in the summary, recorded with the result, skipped by top and
// said in the report. And blocks without information by the defaults.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/tensor.h"
#include "ATen/ops/zeros.h"
#include "absl/strings/str_cat.h"
#include "calculators/zarr_array.h"
#include "cli/npz_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/cli_problem.h"
#include "tests/support/influence_command.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/script.h"

namespace influence {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;
namespace jit = torch::jit;

at::Tensor Trainable(const at::Tensor& values) {
  return values.clone().set_requires_grad(true);
}

at::Tensor Waves(at::IntArrayRef shape, double phase) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return at::arange(count, at::kFloat)
      .mul(1.37)
      .add(phase)
      .sin()
      .reshape(shape);
}

class MissingAnswersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/missing_answers_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }

  void WriteData(const std::string& name, const at::Tensor& x,
                 const at::Tensor& y) const {
    std::ofstream(Path(name), std::ios::binary)
        << ZipBytes({{"x.npy", NpyBytes(x)}, {"y.npy", NpyBytes(y)}});
  }

  // Words that begin with "@" are names in the folder.
  CommandResult Run(const std::string& line) const {
    std::vector<std::string> words = Words(line);
    for (std::string& word : words) {
      if (word[0] == '@') word = Path(word.substr(1));
    }
    return RunInfluence(words);
  }

  CommandResult RunOk(const std::string& line) const {
    CommandResult result = Run(line);
    EXPECT_EQ(result.exit_code, 0) << line << "\n" << result.err;
    return result;
  }

  // o = w^T x, with two directions of the inputs: along the first the curvature
  // is 16 times that along the second, and --scale 1 makes LiSSA diverge there,
  // with twice that scale too. Queries 0 and 2 look along the first, the others
  // along the second.
  void MakeTwoDirections() const {
    jit::Module module("Net");
    module.register_parameter("w", Trainable(Waves({2, 1}, 0.3)), false);
    module.define(R"(
  def forward(self, x):
      return torch.matmul(x, self.w)
)");
    module.save(Path("m.pt"));
    WriteData(
        "train.npz",
        at::tensor({4.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0, 4.0, 0.0, 0.0, 1.0},
                   at::kFloat)
            .reshape({6, 2}),
        Waves({6, 1}, 0.9));
    WriteData("test.npz",
              at::tensor({1.0, 0.0, 0.0, 2.0, -3.0, 0.0, 0.0, 1.0}, at::kFloat)
                  .reshape({4, 2}),
              Waves({4, 1}, 2.1));
  }

  static constexpr char kShared[] =
      " --model @m.pt --train @train.npz --loss mse --regularization 0.1"
      " --dtype float64 ";
  static constexpr char kDiverging[] =
      "--method lissa --scale 1 --second-order generalized_gauss_newton ";

  // The scores of the same queries by a dense solve.
  at::Tensor Dense() const {
    RunOk(
        absl::StrCat("scores --test @test.npz --method direct --second-order "
                     "generalized_gauss_newton --out @dense.npy --quiet",
                     kShared));
    return ReadNpy(Path("dense.npy"));
  }

  // Rows 0 and 2 are NaN throughout, the others those of `dense`.
  static void ExpectRows(const at::Tensor& scores, const at::Tensor& dense) {
    ASSERT_TRUE(scores.defined() && dense.defined());
    ASSERT_EQ(scores.sizes(), dense.sizes());
    for (const int64_t row : {0, 2}) {
      EXPECT_TRUE(scores[row].isnan().all().item<bool>()) << row;
    }
    for (const int64_t row : {1, 3}) {
      EXPECT_THAT(scores[row], TensorNear(dense[row], 1e-3)) << row;
    }
  }

  Json TopOf(const std::string& scores, int k) const {
    const CommandResult top = RunOk(
        absl::StrCat("top --json --quiet --k ", k, " --scores @", scores));
    return Json::parse(top.out, nullptr, false);
  }

  // Queries 0 and 2 have failed, the others have k samples of each kind.
  static void ExpectTop(const Json& top, size_t k) {
    ASSERT_EQ(top["queries"].size(), 4);
    for (const int i : {0, 2}) {
      EXPECT_EQ(top["queries"][i]["failed"], true);
      EXPECT_TRUE(top["queries"][i]["helpful"].empty());
      EXPECT_TRUE(top["queries"][i]["harmful"].empty());
    }
    for (const int i : {1, 3}) {
      EXPECT_FALSE(top["queries"][i].contains("failed"));
      EXPECT_EQ(top["queries"][i]["helpful"].size(), k);
      EXPECT_EQ(top["queries"][i]["harmful"].size(), k);
    }
  }

  std::string folder_;
};

TEST_F(MissingAnswersTest, SomeQueriesDivergeAndTheOthersKeepTheirScores) {
  MakeTwoDirections();
  const at::Tensor dense = Dense();
  const std::string scores =
      absl::StrCat("scores --test @test.npz ", kDiverging, kShared);
  const CommandResult npy = RunOk(scores + "--out @s.npy");
  EXPECT_THAT(npy.err,
              HasSubstr("warning: no answer for 2 of 4 queries: 0, 2; "));
  ExpectRows(ReadNpy(Path("s.npy")), dense);
  // Several groups of queries and tiles.
  const CommandResult zarr =
      RunOk(scores + "--batch-size 2 --units loss_change --json --out @s.zarr");
  EXPECT_EQ(Json::parse(zarr.out)["without_answer"], Json({0, 2}));
  ExpectRows(ReadZarr(Path("s.zarr")), dense.div(6));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const ZarrArray array,
                                 ZarrArray::Open(Path("s.zarr")));
  EXPECT_EQ(array.metadata().attributes["without_answer"], Json({0, 2}));

  const Json top = TopOf("s.zarr", 2);
  ExpectTop(top, 2);
  const CommandResult table = RunOk("top --scores @s.zarr --k 2");
  EXPECT_THAT(table.out,
              AllOf(HasSubstr("    0  no answer"),
                    HasSubstr("    2  no answer"), Not(HasSubstr("nan"))));
  // The strongest as they are kept, by one run and by shards.
  RunOk(scores + "--batch-size 2 --units loss_change --top-k 2 --out @k.zarr");
  EXPECT_EQ(TopOf("k.zarr", 2), top);
  RunOk(absl::StrCat("fit --batch-size 2 --out @fitted ", kDiverging, kShared));
  const std::string fitted =
      "scores --fitted @fitted --model @m.pt --train @train.npz --test "
      "@test.npz --batch-size 2 ";
  for (const char* shard : {"2/2", "1/2"}) {
    RunOk(absl::StrCat(fitted, "--units loss_change --top-k 2 --out @p.zarr ",
                       "--shard ", shard));
  }
  EXPECT_EQ(TopOf("p.zarr", 2), top);
  for (const char* shard : {"2/2", "1/2"}) {
    RunOk(absl::StrCat(fitted, "--out @q.zarr --shard ", shard));
  }
  ExpectRows(ReadZarr(Path("q.zarr")), dense);
  // Found complete.
  RunOk(fitted + "--out @q.zarr --resume");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const ZarrArray indices, ZarrArray::Open(Path("k.zarr/helpful_indices")));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor kept, indices.ReadAll());
  EXPECT_TRUE(kept[2].eq(-1).all().item<bool>());

  for (const char* name : {"s", "k"}) {
    RunOk(absl::StrCat("report --scores @", name, ".zarr --train @train.npz ",
                       "--test @test.npz --k 2 --out @", name, ".html"));
    const std::string page = ReadText(Path(absl::StrCat(name, ".html")));
    EXPECT_THAT(page, AllOf(HasSubstr("No answer"), HasSubstr("Most helpful"),
                            Not(HasSubstr("nan"))));
  }
}

TEST_F(MissingAnswersTest, FactorsAndSelfScoresSaySoToo) {
  MakeTwoDirections();
  const at::Tensor dense = Dense();
  RunOk(absl::StrCat("fit --out @fitted ", kDiverging, kShared));
  RunOk(
      "factors --fitted @fitted --model @m.pt --test @test.npz --out @f.zarr");
  const at::Tensor factors = ReadZarr(Path("f.zarr"));
  EXPECT_TRUE(factors[0].isnan().all().item<bool>());
  EXPECT_TRUE(factors[1].isfinite().all().item<bool>());
  const CommandResult scores = RunOk(
      "scores --fitted @fitted --model @m.pt --train @train.npz --factors "
      "@f.zarr --out @s.zarr");
  EXPECT_THAT(scores.err, HasSubstr("no answer for 2 of 4 queries: 0, 2"));
  ExpectRows(ReadZarr(Path("s.zarr")), dense);
  ExpectTop(TopOf("s.zarr", 3), 3);

  const CommandResult self = RunOk(
      "self --fitted @fitted --model @m.pt --train @train.npz --out @self.npy");
  EXPECT_THAT(self.err, HasSubstr("no answer for 3 of 6 samples: 0, 2, 4; "));
  const at::Tensor own = ReadNpy(Path("self.npy"));
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(own[i].isnan().item<bool>(), i % 2 == 0) << i;
  }
}

// A Hessian with negative eigenvalues: no query has an answer.
TEST_F(MissingAnswersTest, NoQueryHasAnAnswer) {
  jit::Module module("Net");
  module.register_parameter("w1", Trainable(Waves({3, 4}, 0.3)), false);
  module.register_parameter("b1", Trainable(Waves({4}, 1.3)), false);
  module.register_parameter("w2", Trainable(Waves({4, 3}, 2.3)), false);
  module.define(R"(
  def forward(self, x):
      return torch.matmul(torch.tanh(torch.matmul(x, self.w1) + self.b1), self.w2)
)");
  module.save(Path("m.pt"));
  WriteData("train.npz", Waves({12, 3}, 0.1),
            at::arange(12, at::kLong).remainder(3));
  WriteData("test.npz", Waves({4, 3}, 0.5),
            at::arange(4, at::kLong).remainder(3));
  const std::string scores =
      "scores --model @m.pt --train @train.npz --test @test.npz --loss "
      "cross_entropy --method lissa --second-order hessian --regularization "
      "0.002 --out @s.zarr ";
  const CommandResult result = RunOk(scores);
  EXPECT_THAT(result.err,
              HasSubstr("warning: no answer for 4 of 4 queries: 0, 1, 2, 3; "));
  EXPECT_TRUE(ReadZarr(Path("s.zarr")).isnan().all().item<bool>());
  const Json top = TopOf("s.zarr", 2);
  for (const Json& query : top["queries"]) EXPECT_EQ(query["failed"], true);
  RunOk(scores + "--overwrite --top-k 3");
  EXPECT_EQ(TopOf("s.zarr", 2), top);
  RunOk(
      "report --scores @s.zarr --train @train.npz --test @test.npz --out "
      "@s.html");
  EXPECT_THAT(ReadText(Path("s.html")), HasSubstr("No answer"));
}

// A head that the output does not depend on, with all defaults.
TEST_F(MissingAnswersTest, ABlockWithoutInformationIsNoFailure) {
  jit::Module a("Linear");
  a.register_parameter("weight", Trainable(Waves({5, 4}, 0.3)), false);
  a.register_parameter("bias", Trainable(Waves({5}, 1.3)), false);
  jit::Module module("Net");
  module.register_module("a", a);
  jit::Module aux("Linear");
  aux.register_parameter("weight", Trainable(Waves({7, 5}, 0.7)), false);
  aux.register_parameter("bias", Trainable(Waves({7}, 1.7)), false);
  module.register_module("aux", aux);
  jit::Module h("Linear");
  h.register_parameter("weight", Trainable(Waves({3, 5}, 2.3)), false);
  h.register_parameter("bias", Trainable(Waves({3}, 3.3)), false);
  module.register_module("h", h);
  module.define(R"(
  def forward(self, x):
      y = torch.tanh(torch.matmul(x, self.a.weight.t()) + self.a.bias)
      return torch.matmul(y, self.h.weight.t()) + self.h.bias
)");
  module.save(Path("m.pt"));
  WriteData("train.npz", Waves({20, 4}, 0.1),
            at::arange(20, at::kLong).remainder(3));
  WriteData("test.npz", Waves({4, 4}, 0.5),
            at::arange(4, at::kLong).remainder(3));
  for (const std::string method :
       {"ekfac", "kfac", "direct --block-structure layer",
        "cg --block-structure layer", "direct --block-structure parameter",
        "lissa --block-structure layer", "nystroem --block-structure layer",
        "arnoldi --block-structure layer", "ihm --block-structure layer",
        "direct", "ekfac --by-block"}) {
    SCOPED_TRACE(method);
    const CommandResult result = RunOk(
        "scores --model @m.pt --train @train.npz --test @test.npz --loss "
        "cross_entropy --out @s.zarr --overwrite --method " +
        method);
    const bool by_layer = method != "direct";
    EXPECT_EQ(result.err.find("all gradients are zero: contributes nothing") !=
                  std::string::npos,
              by_layer)
        << result.err;
    if (method == "ekfac --by-block") {
      EXPECT_TRUE(ReadZarr(Path("s.zarr/aux")).eq(0).all().item<bool>());
    } else {
      EXPECT_TRUE(ReadZarr(Path("s.zarr")).isfinite().all().item<bool>());
    }
  }
}

}  // namespace
}  // namespace influence
