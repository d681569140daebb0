// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "cli/model_trial.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/ones.h"
#include "ATen/ops/zeros.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gradients/script_model.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "torch/script.h"

namespace influence {
namespace {

namespace jit = torch::jit;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// In TorchScript's numbers.
constexpr char kFloat32[] = "6";

at::Tensor Values(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  return at::arange(count, at::kDouble)
      .mul(0.37)
      .sin()
      .reshape(shape)
      .to(dtype);
}

class ModelTrialTest : public ::testing::Test {
 protected:
  ModelTrialTest()
      : file_(absl::StrCat(
            ::testing::TempDir(), "/model_trial_",
            ::testing::UnitTest::GetInstance()->current_test_info()->name(),
            ".pt")) {}

  // A model of weight [3, 3], bias [3] and table [5, 3] with this body, saved
  // in `saved` and loaded in `loaded`.
  absl::StatusOr<std::shared_ptr<const Model>> Load(
      const std::string& forward, at::ScalarType loaded = at::kFloat,
      at::ScalarType saved = at::kFloat) const {
    jit::Module module("Net");
    const auto add = [&](const char* name, at::IntArrayRef shape) {
      module.register_parameter(
          name, Values(shape).to(saved).set_requires_grad(true), false);
    };
    add("weight", {3, 3});
    add("bias", {3});
    add("table", {5, 3});
    module.define("def forward(self, " + forward);
    module.save(file_);
    return LoadScriptModel(file_, {.dtype = loaded});
  }

  TrialOrigin Origin(const std::vector<at::Tensor>& x,
                     at::ScalarType dtype) const {
    TrialOrigin origin{file_, "train.npz", {}, {}, dtype};
    for (size_t i = 0; i < x.size(); ++i) {
      origin.input_names.push_back(x.size() == 1 ? "x" : absl::StrCat("x", i));
      std::vector<int64_t> shape = x[i].sizes().vec();
      shape[0] = 12;
      origin.input_shapes.push_back(std::move(shape));
    }
    return origin;
  }

  absl::StatusOr<std::vector<int64_t>> Try(
      const std::string& forward, const std::vector<at::Tensor>& x,
      at::ScalarType loaded = at::kFloat) const {
    absl::StatusOr<std::shared_ptr<const Model>> model = Load(forward, loaded);
    if (!model.ok()) return model.status();
    return TryModel(**model, Origin(x, loaded), x);
  }

  // An error that begins with the file and says all of `parts`.
  auto Blames(const std::string& file, const std::string& part,
              const std::string& other = "") const {
    return StatusIs(absl::StatusCode::kInvalidArgument,
                    AllOf(StartsWith(file + ": found "), HasSubstr(part),
                          HasSubstr(other), Not(HasSubstr("\n"))));
  }

  const std::string file_;
};

TEST_F(ModelTrialTest, TellsTheOutputsShape) {
  const std::string linear =
      "x):\n  return torch.matmul(x, self.weight) + self.bias\n";
  EXPECT_THAT(*Try(linear, {Values({3, 3})}), ElementsAre(3, 3));
  // Of data with fewer than three samples too.
  EXPECT_THAT(*Try(linear, {Values({1, 3})}), ElementsAre(3, 3));
  EXPECT_THAT(*Try("x):\n  return torch.matmul(x, self.weight)[:, 0]\n",
                   {Values({2, 3})}),
              ElementsAre(3));
}

TEST_F(ModelTrialTest, ABareSqueezeIsNamedBySize) {
  EXPECT_THAT(
      Try("x):\n  return torch.matmul(x, self.weight[:, :1]).squeeze()\n",
          {Values({3, 3})}),
      Blames(file_,
             "output of shape [] for a batch of one sample, which the "
             "tool tries itself",
             "use squeeze(-1)"));
  EXPECT_THAT(Try("x):\n  return torch.matmul(x, self.weight).squeeze()\n",
                  {Values({3, 1, 3})}),
              Blames(file_, "output of shape [3] for a batch of one sample",
                     "use squeeze(-1)"));
  // Fails right behind the squeeze.
  EXPECT_THAT(Try("x):\n"
                  "  y = torch.matmul(x, self.weight).squeeze()\n"
                  "  return y.transpose(0, 1).transpose(0, 1)\n",
                  {Values({3, 1, 3})}),
              Blames(file_, "forward() to fail for a batch of one sample",
                     "use squeeze(-1)"));
}

TEST_F(ModelTrialTest, ABatchSizeThatWasBuiltInIsTheModelsFault) {
  EXPECT_THAT(
      Try("x):\n  return torch.matmul(x, self.weight).view([4, 3])\n",
          {Values({3, 3})}),
      Blames(file_,
             "forward() to run for a batch of 4 samples and to fail for 3 "
             "samples",
             "built in when the model was traced"));
  // Three, by chance, is what is tried first.
  EXPECT_THAT(
      Try("x):\n  return torch.matmul(x, self.weight).view([3, 3])\n",
          {Values({3, 3})}),
      Blames(file_,
             "forward() to run for a batch of 3 samples and to fail for one "
             "sample"));
  // Only an index of the example's size.
  EXPECT_THAT(Try("x):\n"
                  "  y = torch.matmul(x, self.weight)\n"
                  "  return torch.stack([y[0], y[1], y[2], y[3], y[4]])\n",
                  {Values({3, 3})}),
              Blames(file_, "a batch of 5 samples and to fail for 3 samples"));
  // A batch of one.
  EXPECT_THAT(Try("x):\n  return torch.matmul(x, self.weight).view([1, 3])\n",
                  {Values({3, 3})}),
              Blames(file_, "a batch of one sample and to fail for 3 samples"));
}

TEST_F(ModelTrialTest, AnOutputAsWideAsTheBatchCouplesSamples) {
  EXPECT_THAT(Try("x):\n"
                  "  y = torch.matmul(x, self.weight)\n"
                  "  return torch.matmul(y, y.t())\n",
                  {Values({3, 3})}),
              Blames(file_,
                     "output of shape [1, 1] for a batch of one sample, which "
                     "the tool tries itself, and [3, 3] for 3 samples",
                     "in-batch negatives"));
}

TEST_F(ModelTrialTest, AnOutputWithoutSamplesIsRefused) {
  EXPECT_THAT(Try("x):\n  return torch.matmul(x, self.weight).sum()\n",
                  {Values({3, 3})}),
              Blames(file_,
                     "output of shape [] for a batch of 3 samples, "
                     "expected the samples along dimension 0"));
  EXPECT_THAT(Try("x):\n  return torch.matmul(x, self.weight).mean(0)[:2]\n",
                  {Values({3, 3})}),
              Blames(file_, "output of shape [2] for a batch of 3 samples"));
}

TEST_F(ModelTrialTest, ADtypeThatTheModelRefusesIsNamedWithTheOneItTakes) {
  const std::string linear = "x):\n  return torch.matmul(x, self.weight)\n";
  for (const at::ScalarType dtype :
       {at::kByte, at::kChar, at::kShort, at::kInt, at::kLong}) {
    SCOPED_TRACE(toString(dtype));
    EXPECT_THAT(Try(linear, {at::ones({3, 3}, dtype)}),
                Blames("train.npz", "expected float32 x; store x as float32"));
  }
  const std::string embedding =
      "x):\n  return torch.embedding(self.table, x).sum(1)\n";
  for (const at::ScalarType dtype : {at::kInt, at::kLong}) {
    EXPECT_THAT(*Try(embedding, {at::ones({3, 4}, dtype)}), ElementsAre(3, 3));
  }
  for (const at::ScalarType dtype :
       {at::kByte, at::kShort, at::kBool, at::kFloat}) {
    SCOPED_TRACE(toString(dtype));
    EXPECT_THAT(Try(embedding, {at::ones({3, 4}, dtype)}),
                Blames("train.npz", "expected int64 x; store x as int64"));
  }
  const std::string fill =
      "x, m):\n  return torch.matmul(x.masked_fill(m, 0.0), self.weight)\n";
  EXPECT_THAT(*Try(fill, {Values({3, 3}), at::ones({3, 3}, at::kBool)}),
              ElementsAre(3, 3));
  for (const at::ScalarType dtype :
       {at::kByte, at::kChar, at::kLong, at::kFloat}) {
    SCOPED_TRACE(toString(dtype));
    EXPECT_THAT(Try(fill, {Values({3, 3}), at::ones({3, 3}, dtype)}),
                Blames("train.npz", " x1 [12, 3], which ",
                       "expected bool x1; store x1 as bool"));
  }
  // Both are taken and mean different things: the user must say.
  EXPECT_THAT(
      Try("x, m):\n"
          "  assert m.dtype != 4\n"
          "  if m.dtype == 11:\n"
          "    return torch.matmul(x.masked_fill(m, 0.0), self.weight)\n"
          "  return torch.matmul(x + m, self.weight)\n",
          {Values({3, 3}), at::ones({3, 3}, at::kLong)}),
      Blames("train.npz", "expected bool or float32 x1"));
}

TEST_F(ModelTrialTest, SeveralWrongDtypesAreNamedTogether) {
  EXPECT_THAT(
      Try("a, b):\n"
          "  return torch.matmul(a, self.weight) + torch.matmul(b, "
          "self.weight)\n",
          {at::ones({3, 3}, at::kByte), at::ones({3, 3}, at::kLong)}),
      Blames("train.npz", "found uint8 x0 [12, 3], int64 x1 [12, 3], which ",
             "expected float32 x0 and float32 x1"));
}

TEST_F(ModelTrialTest, ADtypeBuiltIntoTheModelIsTheModelsFault) {
  const std::string built_in = absl::StrCat(
      "x):\n  return torch.matmul(torch.matmul(x, self.weight), "
      "torch.ones([3, 3], dtype=",
      kFloat32, "))\n");
  EXPECT_THAT(*Try(built_in, {Values({3, 3})}), ElementsAre(3, 3));
  EXPECT_THAT(Try(built_in, {Values({3, 3}, at::kDouble)}, at::kDouble),
              Blames(file_, "float32 built into forward()",
                     "leave --dtype out, or export the model in float64"));
  // Behind an input of integers, and with one whose dtype is wrong for both.
  EXPECT_THAT(
      Try(absl::StrCat("x):\n"
                       "  y = torch.embedding(self.table, x).sum(1)\n"
                       "  return torch.matmul(y, torch.ones([3, 3], dtype=",
                       kFloat32, "))\n"),
          {at::ones({3, 4}, at::kInt)}, at::kDouble),
      Blames(file_, "float32 built into forward()"));
  // The other way round: the default is float32.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Model> doubles,
      Load("x):\n  return torch.matmul(torch.matmul(x, self.weight), "
           "torch.ones([3, 3], dtype=7))\n",
           at::kFloat, at::kDouble));
  EXPECT_THAT(TryModel(*doubles, Origin({Values({3, 3})}, at::kFloat),
                       {Values({3, 3})}),
              Blames(file_, "float64 built into forward()",
                     "give --dtype float64, or export the model in float32"));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Model> halves,
      Load("x):\n  return torch.matmul(x.to(15), self.weight).to(6)\n",
           at::kFloat, at::kBFloat16));
  EXPECT_THAT(
      TryModel(*halves, Origin({Values({3, 3})}, at::kFloat), {Values({3, 3})}),
      Blames(file_, "bfloat16", "export the model in float32"));
  // Casts of its own, whatever it was exported in.
  EXPECT_THAT(Try("x):\n  return torch.matmul(x.to(15), self.weight)\n",
                  {Values({3, 3})}),
              Blames(file_, "dtypes that forward() mixes by itself"));
}

TEST_F(ModelTrialTest, WhatForwardTakesAndGives) {
  EXPECT_THAT(Try("x):\n  return {\"logits\": torch.matmul(x, self.weight)}\n",
                  {Values({3, 3})}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith(file_ + ": forward(): found a dict"),
                             HasSubstr("wrap the model"))));
  EXPECT_THAT(Try("x):\n  return (x, torch.matmul(x, self.weight))\n",
                  {Values({3, 3})}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith(file_ + ": forward(): found a tuple")));
  EXPECT_THAT(Try("x, m):\n  return torch.matmul(x + m, self.weight)\n",
                  {Values({3, 3})}),
              Blames("train.npz", "float32 x [12, 3], expected 2 inputs"));
  EXPECT_THAT(Try("x, sr: int):\n  return torch.matmul(x, self.weight) * sr\n",
                  {Values({3, 3})}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("found argument sr of type int"),
                             HasSubstr("wrap the model"))));
  EXPECT_THAT(
      *Try("x, sr: int = 2):\n  return torch.matmul(x, self.weight) * sr\n",
           {Values({3, 3})}),
      ElementsAre(3, 3));
}

TEST_F(ModelTrialTest, FaultsThatLibTorchsMessageGivesAway) {
  EXPECT_THAT(Try("x):\n  return torch.matmul(x.to(\"cuda\"), self.weight)\n",
                  {Values({3, 3})}),
              Blames(file_, "on a GPU", "device=\"cuda\""));
  // As a trace of spectral_norm in training mode writes its buffer.
  EXPECT_THAT(Try("x):\n"
                  "  u = torch.div(self.bias, 2.0, out=self.bias)\n"
                  "  return torch.matmul(x, self.weight) + u\n",
                  {Values({3, 3})}),
              Blames(file_, "a buffer that forward() writes to",
                     "call eval() before the model is traced"));
}

TEST_F(ModelTrialTest, OtherFailuresNameTheDataFile) {
  EXPECT_THAT(
      Try("x):\n  return torch.matmul(x, self.weight)\n", {Values({3, 5})}),
      Blames("train.npz", "float32 x [12, 5], expected inputs that"));
}

TEST_F(ModelTrialTest, AConversionThatChangesTheModelIsRefused) {
  const std::vector<at::Tensor> x = {Values({3, 3}, at::kDouble)};
  const TrialOrigin origin = Origin(x, at::kDouble);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      std::shared_ptr<const Model> model,
      Load("x):\n  return torch.tanh(torch.matmul(x, self.weight))\n",
           at::kDouble));
  INFLUENCE_EXPECT_OK(CheckConversion(*model, origin, x));
  EXPECT_EQ(model->exported_dtype(), at::kFloat);
  // 27 % more in float64.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(model,
                                 Load("x):\n"
                                      "  y = torch.matmul(x, self.weight)\n"
                                      "  if y.dtype == 7:\n"
                                      "    y = y * 1.27\n"
                                      "  return y\n",
                                      at::kDouble));
  EXPECT_THAT(CheckConversion(*model, origin, x),
              Blames(file_,
                     "outputs that differ by 0.27 (relative) after the "
                     "conversion from float32 to float64",
                     "leave --dtype out, or export the model in float64"));
  // Nothing but NaN.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(model,
                                 Load("x):\n"
                                      "  y = torch.matmul(x, self.weight)\n"
                                      "  if y.dtype == 7:\n"
                                      "    y = y / 0.0 * 0.0\n"
                                      "  return y\n",
                                      at::kDouble));
  EXPECT_THAT(CheckConversion(*model, origin, x),
              Blames(file_, "outputs that differ"));
  // What half precision rounds away is no difference.
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      model, Load("x):\n  return torch.matmul(x, self.weight)\n", at::kDouble,
                  at::kBFloat16));
  INFLUENCE_EXPECT_OK(CheckConversion(*model, origin, x));
}

}  // namespace
}  // namespace influence
