// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// What the `influence` program gives to models whose inputs are masks, tokens
// or bytes and whose outputs have their classes anywhere, against autograd of
// the model called as its author would; and what it says of models that it
// cannot run.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/npz_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/cli_problem.h"
#include "tests/support/influence_command.h"
#include "tests/support/tensor_matchers.h"
#include "torch/csrc/autograd/autograd.h"
#include "torch/script.h"

namespace influence {
namespace {

namespace jit = torch::jit;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kTrain = 9;
constexpr int64_t kTest = 3;

// Of scores in float64.
constexpr double kTolerance = 1e-12;

at::Tensor Values(at::IntArrayRef shape, double phase) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return at::arange(count, at::kDouble)
      .mul(0.37)
      .add(phase)
      .sin()
      .reshape(shape);
}

// Integers in [0, size).
at::Tensor Integers(at::IntArrayRef shape, int64_t size, double phase) {
  return Values(shape, phase).mul(1000).to(at::kLong).remainder(size).abs();
}

struct Data {
  std::vector<at::Tensor> x;
  at::Tensor y;
};

// From one sample's output and label to its loss.
using Loss =
    std::function<at::Tensor(const at::Tensor& output, const at::Tensor& y)>;

at::Tensor CrossEntropy(const at::Tensor& output, const at::Tensor& y) {
  return at::cross_entropy_loss(output, y, {}, at::Reduction::Sum);
}

class CliInputsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/cli_inputs_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }

  // A float32 model of table [20, 6], query [6, 6], weight [6, 3].
  void WriteModel(const std::string& forward) const {
    jit::Module module("Net");
    const auto add = [&](const char* name, at::IntArrayRef shape,
                         double phase) {
      module.register_parameter(
          name, Values(shape, phase).to(at::kFloat).set_requires_grad(true),
          false);
    };
    add("table", {20, 6}, 0);
    add("query", {6, 6}, 1);
    add("weight", {6, 3}, 2);
    module.define("def forward(self, " + forward);
    module.save(Path("m.pt"));
  }

  void WriteData(const std::string& name, const Data& data) const {
    std::vector<ZipMember> members = {{"y.npy", NpyBytes(data.y)}};
    for (size_t i = 0; i < data.x.size(); ++i) {
      members.push_back(
          {data.x.size() == 1 ? "x.npy" : absl::StrCat("x", i, ".npy"),
           NpyBytes(data.x[i])});
    }
    std::ofstream(Path(name), std::ios::binary) << ZipBytes(members);
  }

  std::string Files() const {
    return " --loss cross_entropy --model " + Path("m.pt") + " --train " +
           Path("train.npz");
  }

  CommandResult Scores(const std::string& more) const {
    std::filesystem::remove(Path("s.npy"));
    return RunInfluence(Words("scores --quiet --test " + Path("test.npz") +
                              " --out " + Path("s.npy") + Files() + " " +
                              more));
  }

  // Gradients of each sample alone, in float64, with inputs as they are.
  at::Tensor Gradients(const Data& data, const Loss& loss) const {
    jit::Module module = jit::load(Path("m.pt"));
    module.to(at::kDouble);
    std::vector<at::Tensor> parameters;
    for (const at::Tensor& parameter : module.parameters()) {
      parameters.push_back(parameter);
    }
    std::vector<at::Tensor> rows;
    for (int64_t n = 0; n < data.y.size(0); ++n) {
      std::vector<c10::IValue> x;
      for (const at::Tensor& input : data.x) {
        const at::Tensor one = input.narrow(0, n, 1);
        x.emplace_back(
            at::isFloatingType(one.scalar_type()) ? one.to(at::kDouble) : one);
      }
      const at::Tensor output = module.forward(x).toTensor();
      std::vector<at::Tensor> flat;
      const auto gradients = torch::autograd::grad(
          {loss(output, data.y.narrow(0, n, 1).to(at::kLong))}, parameters, {},
          false, false, /*allow_unused=*/true);
      for (size_t p = 0; p < parameters.size(); ++p) {
        flat.push_back((gradients[p].defined() ? gradients[p]
                                               : at::zeros_like(parameters[p]))
                           .reshape({-1}));
      }
      rows.push_back(at::cat(flat));
    }
    return at::stack(rows);
  }

  // Writes the data and compares identity scores.
  void ExpectScores(const Data& train, const Data& test,
                    const std::string& more = "",
                    const Loss& loss = CrossEntropy) const {
    WriteData("train.npz", train);
    WriteData("test.npz", test);
    const CommandResult result =
        Scores("--method identity --dtype float64 " + more);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const at::Tensor expected =
        Gradients(test, loss).mm(Gradients(train, loss).t());
    EXPECT_THAT(
        ReadNpy(Path("s.npy")),
        TensorNear(expected, kTolerance * expected.abs().max().item<double>()));
  }

  // Every command says the same in one line.
  void ExpectRefusal(const std::string& more, const std::string& begin,
                     const std::string& part, const std::string& other = "",
                     const std::string& method = "identity") const {
    const CommandResult result = Scores("--method " + method + " " + more);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, AllOf(StartsWith("influence: error: " + begin),
                                  HasSubstr(part), HasSubstr(other)));
    const std::vector<std::string> lines = absl::StrSplit(result.err, '\n');
    EXPECT_EQ(lines.size(), 2) << result.err;
    EXPECT_FALSE(std::filesystem::exists(Path("s.npy")));
  }

  std::string folder_;
};

Data Tokens(int64_t count, double phase, at::ScalarType dtype = at::kLong) {
  return {{Integers({count, 5}, 20, phase).to(dtype)},
          Integers({count}, 3, phase + 1)};
}

// With a mask of what is padding: behind two to five tokens.
Data Padded(int64_t count, double phase) {
  Data data = Tokens(count, phase);
  const at::Tensor lengths = Integers({count}, 4, phase + 2).add(2);
  data.x.push_back(
      at::arange(5, at::kLong).unsqueeze(0).ge(lengths.unsqueeze(1)));
  return data;
}

constexpr char kAttention[] = R"(x, pad):
    e = torch.embedding(self.table, x)
    s = torch.matmul(torch.matmul(e, self.query), e.transpose(1, 2))
    %s
    a = torch.softmax(s, -1)
    return torch.matmul(torch.matmul(a, e)[:, 0], self.weight)
)";

std::string Attention(const std::string& mask) {
  std::string forward = kAttention;
  forward.replace(forward.find("%s"), 2, mask);
  return forward;
}

TEST_F(CliInputsTest, BooleanMasksReachTheModelAsTheyAre) {
  const Data train = Padded(kTrain, 0);
  const Data test = Padded(kTest, 3);
  ASSERT_EQ(train.x[1].scalar_type(), at::kBool);
  for (const char* mask :
       {"s = s.masked_fill(pad.unsqueeze(1), -1e9)",
        "s = torch.where(pad.unsqueeze(1), torch.full_like(s, -1e9), s)",
        // As nn.TransformerEncoder: accepts both, and adds what floats.
        "if pad.dtype == 11:\n"
        "        s = s.masked_fill(pad.unsqueeze(1), -1e9)\n"
        "    else:\n"
        "        assert pad.is_floating_point()\n"
        "        s = s + pad.unsqueeze(1)",
        // An index by mask.
        "b = pad.unsqueeze(1).expand_as(s)\n"
        "    s = s.masked_scatter(b, torch.full_like(s, -1e9))",
        "s = s - 1e9 * pad.logical_not().logical_not().unsqueeze(1)"}) {
    SCOPED_TRACE(mask);
    WriteModel(Attention(mask));
    ExpectScores(train, test);
  }
  const CommandResult inspect = RunInfluence(Words("inspect" + Files()));
  EXPECT_THAT(inspect.out,
              AllOf(HasSubstr("x0 int64 [9, 5]"), HasSubstr("x1 bool [9, 5]")));
}

TEST_F(CliInputsTest, AMaskInAnotherDtypeIsRefusedWithBothDtypes) {
  WriteModel(Attention("s = s.masked_fill(pad.unsqueeze(1), -1e9)"));
  for (const at::ScalarType dtype :
       {at::kByte, at::kChar, at::kLong, at::kFloat}) {
    Data train = Padded(kTrain, 0);
    train.x[1] = train.x[1].to(dtype);
    WriteData("train.npz", train);
    WriteData("test.npz", train);
    ExpectRefusal("", Path("train.npz") + ": found ", " x1 [9, 5], which ",
                  "expected bool x1; store x1 as bool");
  }
}

TEST_F(CliInputsTest, IntegersKeepTheDtypeOfTheFile) {
  WriteModel(
      "x):\n"
      "    e = torch.embedding(self.table, x)\n"
      "    return torch.matmul(torch.tanh(e).sum(1), self.weight)\n");
  for (const at::ScalarType dtype : {at::kInt, at::kLong}) {
    SCOPED_TRACE(toString(dtype));
    ExpectScores(Tokens(kTrain, 0, dtype), Tokens(kTest, 3, dtype));
  }
  for (const at::ScalarType dtype : {at::kByte, at::kShort, at::kChar}) {
    WriteData("train.npz", Tokens(kTrain, 0, dtype));
    ExpectRefusal("", Path("train.npz") + ": found ",
                  "expected int64 x; store x as int64");
  }
  // Each dtype means something else here.
  WriteModel(
      "x):\n"
      "    f = x.float() / 255\n"
      "    if x.dtype != 0:\n"
      "        f = x.float()\n"
      "    if self.table.dtype == 7:\n"
      "        f = f.double()\n"
      "    return torch.matmul(torch.tanh(torch.matmul(f, self.query)), "
      "self.weight)\n");
  for (const at::ScalarType dtype :
       {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kBool}) {
    SCOPED_TRACE(toString(dtype));
    const auto data = [&](int64_t count, double phase) -> Data {
      return {
          {Integers({count, 6}, dtype == at::kBool ? 2 : 100, phase).to(dtype)},
          Integers({count}, 3, phase + 1)};
    };
    ExpectScores(data(kTrain, 0), data(kTest, 3));
  }
}

TEST_F(CliInputsTest, LabelsOfAnyIntegerDtypeAreTheSameLabels) {
  WriteModel("x):\n    return torch.matmul(torch.tanh(x), self.weight)\n");
  for (const at::ScalarType dtype :
       {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong}) {
    const auto data = [&](int64_t count, double phase) -> Data {
      return {{Values({count, 6}, phase)},
              Integers({count}, 3, phase + 1).to(dtype)};
    };
    ExpectScores(data(kTrain, 0), data(kTest, 3));
  }
}

TEST_F(CliInputsTest, ClassesMayBeSecond) {
  // [N, K, L], L = 4 of K = 3; [N, K, H, W] with H = K = 3 and W = 2.
  const std::string per_position =
      "x):\n    return torch.matmul(torch.tanh(x), "
      "self.weight).movedim(-1, 1)\n";
  WriteModel(per_position);
  const auto data = [](at::IntArrayRef positions, int64_t count,
                       double phase) -> Data {
    std::vector<int64_t> y = {count};
    y.insert(y.end(), positions.begin(), positions.end());
    std::vector<int64_t> x = y;
    x.push_back(6);
    return {{Values(x, phase)}, Integers(y, 3, phase + 1)};
  };
  ExpectScores(data({4}, kTrain, 0), data({4}, kTest, 3));
  ExpectScores(data({3, 2}, kTrain, 0), data({3, 2}, kTest, 3));

  // As many positions as classes: the user must say.
  for (const std::vector<int64_t>& positions :
       {std::vector<int64_t>{3}, std::vector<int64_t>{3, 3}}) {
    const Data train = data(positions, kTrain, 0);
    const Data test = data(positions, kTest, 3);
    WriteData("train.npz", train);
    WriteData("test.npz", test);
    ExpectRefusal("", Path("train.npz") + ": model output: found shape [9, 3",
                  "(classes_last) and as [N, K = 3, 3", "--logits-layout");
    ExpectScores(train, test, "--logits-layout classes_second");
  }
  const Data train = data({3}, kTrain, 0);
  const Data test = data({3}, kTest, 3);
  ExpectScores(train, test, "--logits-layout classes_last",
               [](const at::Tensor& output, const at::Tensor& y) {
                 return CrossEntropy(output.transpose(1, 2), y);
               });
}

// A fit remembers the layout, and every method sees the same losses as with
// the classes last and no doubt.
TEST_F(CliInputsTest, EveryMethodKnowsTheLayout) {
  const auto data = [](int64_t count, double phase) -> Data {
    return {{Values({count, 3, 6}, phase)}, Integers({count, 3}, 3, phase + 1)};
  };
  WriteData("train.npz", data(kTrain, 0));
  WriteData("test.npz", data(kTest, 3));
  const std::string last =
      "x):\n    return torch.matmul(torch.tanh(x), self.weight)\n";
  for (const std::string method :
       {"ekfac --fisher sampled --seed 3", "cg", "direct",
        "identity --query-function margin"}) {
    SCOPED_TRACE(method);
    const std::string more = "--dtype float64 --method " + method +
                             (method[0] == 'i' ? "" : " --regularization 0.1");
    WriteModel(last);
    CommandResult result = Scores(more + " --logits-layout classes_last");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const at::Tensor expected = ReadNpy(Path("s.npy"));
    WriteModel(
        "x):\n    return torch.matmul(torch.tanh(x), "
        "self.weight).transpose(1, 2)\n");
    result = Scores(more + " --logits-layout classes_second");
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const double tolerance = 1e-10 * expected.abs().max().item<double>();
    EXPECT_THAT(ReadNpy(Path("s.npy")), TensorNear(expected, tolerance));
    if (method[0] == 'i') continue;
    result = RunInfluence(Words("fit --quiet --out " + Path("fitted") +
                                Files() + " " + more +
                                " --logits-layout classes_second --overwrite"));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    std::filesystem::remove(Path("s.npy"));
    result = RunInfluence(Words("scores --quiet --fitted " + Path("fitted") +
                                " --train " + Path("train.npz") + " --test " +
                                Path("test.npz") + " --out " + Path("s.npy")));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(ReadNpy(Path("s.npy")), TensorNear(expected, tolerance));
  }
  const CommandResult result = RunInfluence(
      Words("inspect --loss mse --logits-layout classes_last --model " +
            Path("m.pt") + " --train " + Path("train.npz")));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--logits-layout: found "));
}

TEST_F(CliInputsTest, TheToolsOwnBatchesAreNamedAsItsOwn) {
  const Data data = {{Values({kTrain, 6}, 0)}, Integers({kTrain}, 3, 1)};
  WriteData("train.npz", data);
  WriteData("test.npz", data);
  WriteModel("x):\n    return torch.matmul(x, self.weight).squeeze()\n");
  ExpectRefusal("",
                Path("m.pt") +
                    ": found output of shape [3] for a batch "
                    "of one sample, which the tool tries itself",
                "use squeeze(-1)");
  WriteModel("x):\n    return torch.matmul(x, self.weight).view([4, 3])\n");
  ExpectRefusal("", Path("m.pt") + ": found forward() to run for a batch of 4",
                "built in when the model was traced");
  WriteModel(
      "x):\n    return torch.matmul(torch.matmul(x, self.query) @ "
      "torch.eye(6, dtype=6), self.weight)\n");
  ExpectRefusal("--dtype float64", Path("m.pt") + ": found float32 built in",
                "leave --dtype out, or export the model in float64");
  WriteModel(
      "x):\n    y = torch.matmul(x, self.weight)\n"
      "    if y.dtype == 7:\n        y = 1.27 * y\n    return y\n");
  ExpectRefusal("--dtype float64",
                Path("m.pt") + ": found outputs that differ by 0.27",
                "export the model in float64");
}

TEST_F(CliInputsTest, SecondDerivativesAreMissedByNameOrRefused) {
  WriteModel(
      "x):\n"
      "    o = torch.arange(0, x.numel(), x.size(1))\n"
      "    e = torch.embedding_bag(self.table, x.reshape([-1]), o)[0]\n"
      "    return torch.matmul(torch.tanh(e), self.weight)\n");
  WriteData("train.npz", Tokens(kTrain, 0));
  WriteData("test.npz", Tokens(kTest, 3));
  for (const char* method :
       {"direct", "cg", "arnoldi --rank 3", "lissa", "nystroem --rank 3"}) {
    SCOPED_TRACE(method);
    ExpectRefusal("--regularization 1", "--second-order: ",
                  "found no second derivative of embedding_bag (used by "
                  "parameter table) in LibTorch",
                  "expected gauss_newton, or the method ekfac", method);
  }
  for (const char* method :
       {"direct --second-order gauss_newton", "ekfac", "identity"}) {
    const CommandResult result =
        Scores(std::string("--method ") + method +
               (method[0] == 'i' ? "" : " --regularization 1"));
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }
  // The second derivative that LibTorch has of weight_norm is wrong.
  WriteModel(
      "x):\n"
      "    g = torch.norm_except_dim(self.query, 2, 0).detach()\n"
      "    w = torch._weight_norm(self.query, g, 0)\n"
      "    return torch.matmul(torch.tanh(torch.matmul(x, w.t())), "
      "self.weight)\n");
  const auto features = [](int64_t count, double phase) -> Data {
    return {{Values({count, 6}, phase)}, Integers({count}, 3, phase + 1)};
  };
  WriteData("train.npz", features(kTrain, 0));
  WriteData("test.npz", features(kTest, 3));
  for (const char* method :
       {"direct", "cg --second-order hessian", "arnoldi --rank 3"}) {
    for (const char* dtype : {"float32", "float64"}) {
      SCOPED_TRACE(absl::StrCat(method, dtype));
      ExpectRefusal(absl::StrCat("--regularization 1 --dtype ", dtype),
                    "--second-order: ",
                    "found a wrong second derivative of the model in LibTorch",
                    "expected generalized_gauss_newton", method);
    }
  }
  const CommandResult result = Scores("--method cg --regularization 1");
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

}  // namespace
}  // namespace influence
