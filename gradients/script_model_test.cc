// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/script_model.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/arange.h"
#include "ATen/ops/eye.h"
#include "ATen/ops/full.h"
#include "ATen/ops/ones.h"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"
#include "torch/script.h"

namespace influence {
namespace {

namespace jit = torch::jit;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::string TemporaryPath(const std::string& name) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "script_model_test";
  std::filesystem::create_directories(folder);
  return (folder / name).string();
}

at::Tensor Trainable(const at::Tensor& values) {
  return values.set_requires_grad(true);
}

// Writes the module and loads it again.
absl::StatusOr<std::shared_ptr<const Model>> SaveAndLoad(
    const jit::Module& module, const ScriptModelOptions& options = {}) {
  const std::string path = TemporaryPath("model.pt");
  module.save(path);
  return LoadScriptModel(path, options);
}

// x -> x weight + shift, with an integer buffer that no conversion may touch.
jit::Module AffineModule() {
  jit::Module module("Affine");
  module.register_parameter("weight", Trainable(at::ones({2, 3}).mul(0.5)),
                            false);
  module.register_buffer("shift", at::ones({3}));
  module.register_buffer("order", at::arange(3, at::kLong));
  module.define(R"(
    def forward(self, x):
        return torch.matmul(x, self.weight) + self.shift[self.order]
  )");
  return module;
}

TEST(ScriptModelTest, LoadsParametersAndRunsForward) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(AffineModule()));
  ASSERT_EQ(model->parameters().size(), 1u);
  EXPECT_EQ(model->parameters()[0].name, "weight");
  EXPECT_EQ(model->dtype(), at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward({at::ones({4, 2})}));
  EXPECT_THAT(output.detach(), TensorNear(at::ones({4, 3}).mul(2), 0));
  EXPECT_TRUE(output.requires_grad());
  EXPECT_THAT(model->CouplingModules(), IsEmpty());
}

TEST(ScriptModelTest, ConvertsFloatingTensorsOnly) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const std::shared_ptr<const Model> model,
      SaveAndLoad(AffineModule(), {.dtype = at::kDouble}));
  EXPECT_EQ(model->dtype(), at::kDouble);
  EXPECT_TRUE(model->parameters()[0].tensor.is_leaf());
  EXPECT_TRUE(model->parameters()[0].tensor.requires_grad());
  INFLUENCE_ASSERT_OK_AND_ASSIGN(
      const at::Tensor output, model->Forward({at::ones({4, 2}, at::kDouble)}));
  EXPECT_THAT(output.detach(),
              TensorNear(at::ones({4, 3}, at::kDouble).mul(2), 0));
}

TEST(ScriptModelTest, AnAliasIsOneTensorAgain) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    jit::Module module("Tied");
    jit::Module first("First");
    jit::Module second("Second");
    const at::Tensor shared = Trainable(at::eye(2).mul(3));
    first.register_parameter("weight", shared, false);
    second.register_parameter("weight", shared, false);
    module.register_module("first", first);
    module.register_module("second", second);
    module.define(R"(
      def forward(self, x):
          return torch.matmul(torch.matmul(x, self.first.weight),
                              self.second.weight)
    )");
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                   SaveAndLoad(module, {.dtype = dtype}));
    ASSERT_EQ(model->parameters().size(), 1u);
    EXPECT_EQ(model->parameters()[0].name, "first.weight");
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                   model->Forward({at::ones({1, 2}, dtype)}));
    EXPECT_THAT(output.detach(), TensorNear(at::ones({1, 2}, dtype).mul(9), 0));
    // d/dw of 9-ish: both uses reach the one tensor. With w = 3 I and x = 1,
    // sum(x w w) has the gradient 3 (row sums) + 3 (column sums) = 6.
    const at::Tensor weight = model->parameters()[0].tensor;
    output.sum().backward();
    EXPECT_THAT(weight.grad(), TensorNear(at::ones({2, 2}, dtype).mul(6), 0));
  }
}

TEST(ScriptModelTest, KeepsFrozenParametersOut) {
  jit::Module module = AffineModule();
  module.register_parameter("frozen", at::ones({3}), false);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(module));
  EXPECT_EQ(model->num_parameters(), 6);
}

TEST(ScriptModelTest, SeveralInputsAreCounted) {
  jit::Module module("Sum");
  module.register_parameter("weight", Trainable(at::ones({2})), false);
  module.define(R"(
    def forward(self, a, b, c : Optional[Tensor] = None):
        y = (a + b) * self.weight
        if c is not None:
            y = y + c
        return y
  )");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(module));
  const at::Tensor x = at::ones({1, 2});
  INFLUENCE_EXPECT_OK(model->Forward({x, x}));
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor three,
                                 model->Forward({x, x, x}));
  EXPECT_THAT(three.detach(), TensorNear(x.mul(3), 0));
  for (const std::vector<at::Tensor>& inputs :
       {std::vector<at::Tensor>{x}, std::vector<at::Tensor>{x, x, x, x}}) {
    EXPECT_THAT(model->Forward(inputs),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(StartsWith("model inputs: found "),
                               HasSubstr("expected 2 to 3"))));
  }
}

TEST(ScriptModelTest, AFailingForwardIsAStatus) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(AffineModule()));
  EXPECT_THAT(model->Forward({at::ones({4, 5})}),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(StartsWith("model: "),
                             HasSubstr("shapes cannot be multiplied"))));
}

TEST(ScriptModelTest, AnOutputThatIsNoTensorIsRefused) {
  jit::Module module("Pair");
  module.register_parameter("weight", Trainable(at::ones({2})), false);
  module.define(R"(
    def forward(self, x):
        return (x * self.weight, x)
  )");
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(module));
  EXPECT_THAT(model->Forward({at::ones({1, 2})}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("model output: found a tuple, expected one "
                                  "tensor; wrap the model")));
}

TEST(ScriptModelTest, ArgumentsThatAreNoTensorsNeedADefault) {
  for (const bool has_default : {false, true}) {
    jit::Module module("Rate");
    module.register_parameter("weight", Trainable(at::ones({2})), false);
    module.define(has_default ? "def forward(self, x, sr: int = 2):\n"
                                "    return x * self.weight * sr\n"
                              : "def forward(self, x, sr: int):\n"
                                "    return x * self.weight * sr\n");
    const absl::StatusOr<std::shared_ptr<const Model>> model =
        SaveAndLoad(module);
    if (!has_default) {
      EXPECT_THAT(model, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("found argument sr of type int in "
                                            "forward(), expected tensors")));
      continue;
    }
    ASSERT_THAT(model, IsOk());
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                   (*model)->Forward({at::ones({1, 2})}));
    EXPECT_THAT(output.detach(), TensorNear(at::ones({1, 2}).mul(2), 0));
  }
}

TEST(ScriptModelTest, ACopyHasTensorsOfItsOwn) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(AffineModule()));
  EXPECT_EQ(model->exported_dtype(), at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> copy,
                                 model->CopyAs(at::kDouble));
  EXPECT_EQ(copy->dtype(), at::kDouble);
  EXPECT_EQ(copy->exported_dtype(), at::kFloat);
  ASSERT_EQ(copy->parameters().size(), 1u);
  EXPECT_EQ(copy->parameters()[0].name, "weight");
  EXPECT_TRUE(copy->parameters()[0].tensor.is_leaf());
  copy->parameters()[0].tensor.detach().zero_();
  EXPECT_EQ(model->dtype(), at::kFloat);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const at::Tensor output,
                                 model->Forward({at::ones({4, 2})}));
  EXPECT_THAT(output.detach(), TensorNear(at::ones({4, 3}).mul(2), 0));
}

TEST(ScriptModelTest, ThreadsMayShareAModel) {
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(AffineModule()));
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        const auto output = model->Forward({at::ones({4, 2}).mul(i)});
        if (output.ok() && (*output)[0][0].item<float>() == i + 1) ++right[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 50));
}

TEST(ScriptModelTest, AMissingFileIsNotFound) {
  const std::string path = TemporaryPath("none.pt");
  EXPECT_THAT(LoadScriptModel(path),
              StatusIs(absl::StatusCode::kNotFound,
                       path + ": found no file, expected a TorchScript file"));
}

TEST(ScriptModelTest, AFolderIsRefused) {
  EXPECT_THAT(LoadScriptModel(testing::TempDir()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found no regular file")));
}

TEST(ScriptModelTest, ATruncatedFileIsRefusedByName) {
  const std::string path = TemporaryPath("truncated.pt");
  AffineModule().save(path);
  const uintmax_t size = std::filesystem::file_size(path);
  for (const uintmax_t kept :
       {size - 1, size / 2, uintmax_t{10}, uintmax_t{0}}) {
    std::filesystem::resize_file(path, kept);
    EXPECT_THAT(LoadScriptModel(path),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(StartsWith(path + ": found"),
                               HasSubstr("expected a TorchScript file"))))
        << kept;
  }
}

TEST(ScriptModelTest, ADamagedFileIsRefusedByName) {
  const std::string path = TemporaryPath("damaged.pt");
  AffineModule().save(path);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const int64_t size = static_cast<int64_t>(std::filesystem::file_size(path));
  for (int64_t place = 64; place < size; place += 7) {
    file.seekp(place);
    file.put('\x5a');
  }
  file.close();
  EXPECT_THAT(LoadScriptModel(path),
              StatusIs(absl::StatusCode::kInvalidArgument, StartsWith(path)));
}

TEST(ScriptModelTest, AnotherKindOfFileIsRefused) {
  const std::string text = TemporaryPath("text.pt");
  std::ofstream(text) << "this is no model\n";
  EXPECT_THAT(LoadScriptModel(text),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected a TorchScript file")));
}

// What torch.save(model.state_dict()) writes: a zip archive with a pickle and
// without code.
TEST(ScriptModelTest, APickledStateDictIsRefused) {
  const std::string path = TemporaryPath("state_dict.pt");
  c10::Dict<std::string, at::Tensor> state;
  state.insert("weight", at::ones({2}));
  const std::vector<char> bytes = jit::pickle_save(state);
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  EXPECT_THAT(LoadScriptModel(path),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith(path),
                             HasSubstr("expected a TorchScript file"))));
}

TEST(ScriptModelTest, RefusesAModelWithNothingToTrain) {
  jit::Module module("Identity");
  module.define("def forward(self, x):\n    return x\n");
  EXPECT_THAT(SaveAndLoad(module),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.pt: model: found no trainable "
                                 "parameter")));
}

TEST(ScriptModelTest, RefusesAParameterThatIsNotFinite) {
  jit::Module module = AffineModule();
  module.register_parameter("bias", Trainable(at::full({3}, std::nan(""))),
                            false);
  EXPECT_THAT(SaveAndLoad(module),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.pt: parameter bias: found NaN at index "
                                 "[0]")));
}

TEST(ScriptModelTest, RefusesAModuleWithoutForward) {
  jit::Module module("Backward");
  module.register_parameter("weight", Trainable(at::ones({2})), false);
  module.define("def backward(self, x):\n    return x * self.weight\n");
  EXPECT_THAT(SaveAndLoad(module), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("found no forward()")));
}

// A module as torch.jit.script makes it of a torch.nn class of that name.
jit::Module Layer(const std::string& type, bool training) {
  jit::Module layer("__torch__.torch.nn.modules." + type);
  layer.register_attribute("training", c10::BoolType::get(), training);
  return layer;
}

TEST(ScriptModelTest, NamesModulesThatCoupleSamplesInTrainingMode) {
  for (const bool training : {true, false}) {
    jit::Module module = AffineModule();
    module.register_module("bn1", Layer("BatchNorm2d", training));
    module.register_module("norm", Layer("LayerNorm", training));
    jit::Module dropout = Layer("Dropout", training);
    dropout.register_attribute("p", c10::FloatType::get(), 0.5);
    module.register_module("drop", dropout);
    jit::Module nothing = Layer("Dropout1d", training);
    nothing.register_attribute("p", c10::FloatType::get(), 0.0);
    module.register_module("nothing", nothing);
    INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                   SaveAndLoad(module));
    if (training) {
      EXPECT_THAT(model->CouplingModules(),
                  ElementsAre("bn1 (BatchNorm2d in training mode)",
                              "drop (Dropout in training mode)"));
    } else {
      EXPECT_THAT(model->CouplingModules(), IsEmpty());
    }
  }
}

TEST(ScriptModelTest, BatchStatisticsInEvaluationModeAreCoupling) {
  jit::Module module = AffineModule();
  jit::Module norm = Layer("BatchNorm1d", /*training=*/false);
  norm.register_attribute("running_mean", c10::NoneType::get(), c10::IValue());
  module.register_module("bn1", norm);
  INFLUENCE_ASSERT_OK_AND_ASSIGN(const std::shared_ptr<const Model> model,
                                 SaveAndLoad(module));
  EXPECT_THAT(model->CouplingModules(),
              ElementsAre("bn1 (BatchNorm1d without running statistics)"));
}

}  // namespace
}  // namespace influence
