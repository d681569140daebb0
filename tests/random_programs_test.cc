// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
//
// Per-sample gradients of random programs (random_programs.h): those of a loop
// over single samples, to 1e-10, for random batches, or a refusal. A thousand
// of them; for others or more:
//
//   export INFLUENCE_PROGRAMS=100000 INFLUENCE_FIRST_PROGRAM=5000
//   bazel-bin/tests/random_programs_test
#include "tests/random_programs.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/core/Tensor.h"
#include "ATen/core/grad_mode.h"
#include "ATen/ops/cat.h"
#include "ATen/ops/index_select.h"
#include "ATen/ops/tensor.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gradients/affine_layers.h"
#include "gradients/autograd_gradient_provider.h"
#include "gradients/batch.h"
#include "gradients/capturing_gradient_provider.h"
#include "gradients/model.h"
#include "gradients/per_sample_function.h"
#include "gtest/gtest.h"
#include "tests/support/script_source.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tensor_matchers.h"

namespace influence {
namespace {

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

Batch Select(const Batch& batch, const std::vector<int64_t>& rows) {
  const at::Tensor index = at::tensor(rows);
  Batch selected;
  for (const at::Tensor& x : batch.x) {
    selected.x.push_back(at::index_select(x, 0, index));
  }
  selected.y = at::index_select(batch.y, 0, index);
  return selected;
}

std::vector<int64_t> Weights(const AffineLayers& layers) {
  std::vector<int64_t> weights;
  for (const AffineLayer& layer : layers.layers) {
    weights.push_back(layer.weight);
  }
  return weights;
}

// What became of a program.
enum class Fate { kTogether, kOneByOne, kRefused };

Fate Check(uint64_t seed) {
  const RandomProgram program = MakeRandomProgram(seed);
  SCOPED_TRACE(testing::Message() << "program " << seed << "\n"
                                  << program.source.code);
  std::mt19937_64 random(seed);
  const absl::StatusOr<std::shared_ptr<const Model>> model =
      ModelOf(program.source);
  INFLUENCE_EXPECT_OK(model.status());
  if (!model.ok()) return Fate::kRefused;
  const PerSampleFunction loss = CrossEntropyLoss();
  std::vector<int64_t> order = {0, 1, 2, 3, 4, 5, 6};
  std::shuffle(order.begin(), order.end(), random);
  const absl::StatusOr<std::shared_ptr<const CapturingGradientProvider>> found =
      CapturingGradientProvider::Create(*model, loss,
                                        Select(program.data, order));
  if (!found.ok()) {
    EXPECT_TRUE(program.mixes) << found.status();
    EXPECT_EQ(found.status().code(), absl::StatusCode::kInvalidArgument)
        << found.status();
    return Fate::kRefused;
  }
  const auto reference = AutogradGradientProvider::Create(*model, loss);
  INFLUENCE_EXPECT_OK(reference.status());
  for (int round = 0; round < 3; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    const int64_t size = 1 + static_cast<int64_t>(random() % order.size());
    const Batch batch =
        Select(program.data, {order.begin(), order.begin() + size});
    const auto gradients = (*found)->FlatGrads(batch);
    const auto expected = (*reference)->FlatGrads(batch);
    INFLUENCE_EXPECT_OK(gradients.status());
    INFLUENCE_EXPECT_OK(expected.status());
    if (!gradients.ok() || !expected.ok()) return Fate::kRefused;
    EXPECT_THAT(*gradients, TensorNear(*expected, 1e-10));
    // What sums over a batch are made of.
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> alone;
    for (int64_t n = 0; n < size; ++n) {
      const Batch one = *SliceBatch(batch, n, n + 1);
      const auto output = (*model)->Forward(one.x);
      INFLUENCE_EXPECT_OK(output.status());
      alone.push_back(*output);
    }
    const auto outputs = (*found)->model().Forward(batch.x);
    INFLUENCE_EXPECT_OK(outputs.status());
    EXPECT_THAT(*outputs, TensorNear(at::cat(alone, 0), 1e-10));
  }
  const bool together = (*found)->coverage().one_by_one.empty();
  if (together) {
    // Which parameters are layers does not depend on the probe.
    std::shuffle(order.begin(), order.end(), random);
    const auto again = CapturingGradientProvider::Create(
        *model, loss, Select(program.data, order));
    INFLUENCE_EXPECT_OK(again.status());
    EXPECT_EQ(Weights((*again)->affine_layers()),
              Weights((*found)->affine_layers()));
  }
  return together ? Fate::kTogether : Fate::kOneByOne;
}

TEST(RandomProgramsTest, GradientsAreThoseOfSingleSamples) {
  at::set_num_threads(1);
  const uint64_t count = Setting("INFLUENCE_PROGRAMS", 1000);
  const uint64_t first = Setting("INFLUENCE_FIRST_PROGRAM", 1);
  std::map<Fate, uint64_t> fates;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    ++fates[Check(seed)];
    if (HasFailure()) break;
  }
  std::cout << count << " programs from " << first << ": "
            << fates[Fate::kTogether] << " in batches, "
            << fates[Fate::kOneByOne] << " sample by sample, "
            << fates[Fate::kRefused] << " refused" << std::endl;
  // The grammar has all of them.
  if (count >= 1000) {
    EXPECT_GT(fates[Fate::kTogether], count / 5);
    EXPECT_GT(fates[Fate::kOneByOne], count / 5);
    EXPECT_GT(fates[Fate::kRefused], 0u);
  }
}

}  // namespace
}  // namespace influence
