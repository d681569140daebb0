// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/sample_tracker.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "gmock/gmock.h"
#include "gradients/model.h"
#include "gradients/operator_capture.h"
#include "gradients/sample_axis.h"
#include "gradients/sample_layout.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using testing::HasSubstr;
using Function = std::function<at::Tensor(const at::Tensor&)>;

// What the tracker says of f(x) for x [4, 6, 5]: "proven", the axis of a result
// whose rows are not the samples, or the reason against.
std::string Verdict(const at::Tensor& x, const Function& f) {
  SampleTracker tracker(x.size(0));
  tracker.AddSamples(x);
  const std::vector<NamedParameter> none;
  OperatorCapture capture(none, &tracker);
  at::Tensor result;
  {
    const OperatorCapture::Scope scope(&capture);
    result = f(x);
  }
  uint64_t guess = 0;
  const std::optional<SampleAxis> axis = tracker.Axis(result, &guess);
  if (!tracker.Holds(guess)) return "wrong guess";
  if (tracker.Proves(result)) return "proven";
  if (!axis.has_value()) return tracker.reason();
  return "axis " + std::to_string(axis->dim) + " x " +
         std::to_string(axis->repeats) +
         (axis->sample_major ? " sample-major" : " time-major");
}

at::Tensor Input() { return at::randn({4, 6, 5}); }

std::string Verdict(const Function& f) { return Verdict(Input(), f); }

// Whether f computes each sample's rows from that sample alone: what the
// tracker claims of all it calls proven.
void ExpectProvenAndTrue(const std::string& name, const Function& f) {
  SCOPED_TRACE(name);
  const at::Tensor x = Input().to(at::kDouble);
  EXPECT_EQ(Verdict(x, f), "proven");
  const at::Tensor all = f(x);
  for (int64_t n = 0; n < x.size(0); ++n) {
    EXPECT_TRUE(at::allclose(all.narrow(0, n, 1), f(x.narrow(0, n, 1))));
  }
}

TEST(SampleLayoutTest, ViewsAreArithmetic) {
  // [N, T, D] -> [N * T, D] -> [N, T * D] for N = 4.
  const SampleLayout first;
  const auto merged = LayoutOfView(first, {4, 6, 5}, {24, 5}, 4);
  ASSERT_TRUE(merged.has_value());
  EXPECT_EQ(*merged, (SampleLayout{0, 1, 6}));
  const auto rows = LayoutOfView(*merged, {24, 5}, {4, 30}, 4);
  ASSERT_TRUE(rows.has_value());
  EXPECT_EQ(*rows, first);
  // [T, N, D] -> [T * N, D] -> [T, N, D], also where T = N.
  const auto time_major =
      LayoutOfView(SampleLayout{1, 1, 1}, {4, 4, 5}, {16, 5}, 4);
  ASSERT_TRUE(time_major.has_value());
  EXPECT_EQ(*time_major, (SampleLayout{0, 4, 1}));
  EXPECT_EQ(LayoutOfView(*time_major, {16, 5}, {4, 4, 5}, 4),
            (SampleLayout{1, 1, 1}));
  // Samples that a view cuts in two.
  EXPECT_EQ(LayoutOfView(first, {4, 6}, {8, 3}, 4), (SampleLayout{0, 1, 2}));
  EXPECT_EQ(LayoutOfView(first, {4, 6}, {3, 8}, 4), std::nullopt);
  EXPECT_EQ(LayoutOfView(SampleLayout{1, 1, 1}, {3, 4}, {4, 3}, 4),
            std::nullopt);
}

TEST(SampleLayoutTest, VaryingDimensionsAreKnownAfterViews) {
  EXPECT_EQ(AllVary({4, 1, 5}), 0b101u);
  // Rows are equal, columns are not: [4, 6] -> [4, 2, 3] and [24].
  EXPECT_EQ(VariesOfView(0b10, {4, 6}, {4, 2, 3}), 0b110u);
  EXPECT_EQ(VariesOfView(0b10, {4, 6}, {24}), 0b1u);
  EXPECT_EQ(VariesOfView(0, {4, 6}, {24}), 0u);
}

TEST(SampleTrackerTest, FollowsWhatKeepsSamplesApart) {
  const at::TensorOptions d = at::dtype(at::kDouble);
  const at::Tensor w = at::randn({7, 5}, d), b = at::randn({7}, d);
  const at::Tensor square = at::randn({5, 5}, d);
  const at::Tensor table = at::randn({9, 3}, d);
  const at::Tensor token = at::randn({1, 1, 5}, d);
  const at::Tensor picks = at::tensor({4, 0, 2}, at::kLong);
  const std::vector<std::pair<std::string, Function>> functions = {
      {"linear", [=](auto& x) { return at::linear(x, w, b); }},
      {"addmm",
       [=](auto& x) {
         return at::addmm(b, x.reshape({-1, 5}), w.t())
             .reshape({x.size(0), 6, 7});
       }},
      {"matmul from the left",
       [=](auto& x) { return at::matmul(square, x.transpose(1, 2)); }},
      {"einsum",
       [=](auto& x) {
         return at::einsum("ntd,od->nto", {x, w});
       }},
      {"its own Gram matrix",
       [=](auto& x) { return at::bmm(x, x.transpose(1, 2)); }},
      {"time-major and back",
       [=](auto& x) {
         return x.transpose(0, 1)
             .contiguous()
             .view({-1, 5})
             .mm(square)
             .view({6, -1, 5})
             .transpose(0, 1);
       }},
      {"softmax", [=](auto& x) { return at::softmax(x, -1).mul(2).sub(x); }},
      {"layer norm", [=](auto& x) { return at::layer_norm(x, {5}); }},
      {"group norm", [=](auto& x) { return at::group_norm(x, 3); }},
      {"instance norm",
       [=](auto& x) {
         return at::instance_norm(x, {}, {}, {}, {}, true, 0.1, 1e-5, false);
       }},
      {"convolution",
       [=](auto& x) {
         return at::conv1d(x, at::ones({4, 6, 3}, d), {}, 1, 1);
       }},
      {"pooling", [=](auto& x) { return at::max_pool1d(x, 2); }},
      {"reduction", [=](auto& x) { return std::get<0>(x.max(1)).sum(-1); }},
      {"topk", [=](auto& x) { return std::get<0>(x.topk(2, 1)); }},
      {"sort within a sample", [=](auto& x) { return std::get<0>(x.sort(1)); }},
      {"class token",
       [=](auto& x) {
         return at::cat({token.expand({x.size(0), 1, 5}), x}, 1).select(1, 0);
       }},
      {"initial state of zeros",
       [=](auto& x) {
         at::Tensor h = at::zeros({x.size(0), 5}, d);
         for (int64_t t = 0; t < 6; ++t) {
           h = at::tanh(at::linear(h, square).add(x.select(1, t)));
         }
         return h;
       }},
      {"written into a state of zeros",
       [=](auto& x) {
         const at::Tensor gates = at::linear(at::zeros({x.size(0), 5}, d), w);
         std::vector<at::Tensor> parts = gates.chunk(2, 1);
         parts[0].add_(x.select(1, 0).narrow(1, 0, 4)).sigmoid_();
         return at::cat({gates, parts[1].mul(2)}, 1);
       }},
      {"embedding",
       [=](auto& x) {
         return at::embedding(table, x.gt(0).to(at::kLong)).mean(1);
       }},
      {"index of a table",
       [=](auto& x) { return table.index({x.gt(0).to(at::kLong)}); }},
      {"the same columns for all",
       [=](auto& x) {
         return x.index({at::indexing::Slice(), at::indexing::Slice(), picks});
       }},
      {"one place of each sample",
       [=](auto& x) {
         return x.index({at::arange(x.size(0)), x.sum(-1).argmax(-1)});
       }},
      {"places of each sample, as masks are looked up",
       [=](auto& x) {
         const at::Tensor rows = at::arange(x.size(0)).view({-1, 1, 1});
         return x.index({rows, at::arange(3).view({1, -1, 1}), picks});
       }},
      {"gather", [=](auto& x) { return x.gather(1, x.argsort(int64_t{1})); }},
      {"one-hot by scatter",
       [=](auto& x) {
         return at::zeros({x.size(0), 6}, d)
             .scatter_(1, x.sum(-1).argmax(-1, true), 1);
       }},
      {"masked",
       [=](auto& x) { return x.masked_fill(x.lt(0), 0).clamp(-1, 1); }},
      {"where", [=](auto& x) { return at::where(x.gt(0), x, x.mul(2)); }},
      {"attention",
       [=](auto& x) { return at::scaled_dot_product_attention(x, x, x); }},
      {"split and stack", [=](auto& x) { return at::stack(x.unbind(1), 2); }},
      {"in place", [=](auto& x) { return x.clone().relu_().add_(1).mul_(x); }},
      {"sliding windows",
       [=](auto& x) {
         return x.transpose(0, 1).unfold(0, 3, 1).sum(-1).transpose(0, 1);
       }},
      {"repeat",
       [=](auto& x) {
         return x.repeat({1, 2, 1});
       }},
      {"chunks", [=](auto& x) { return x.chunk(2, 1)[1].square(); }},
      {"equal to itself", [=](auto& x) { return x.equal(x) ? x.mul(2) : x; }},
  };
  for (const auto& [name, f] : functions) ExpectProvenAndTrue(name, f);
}

TEST(SampleTrackerTest, TellsWhereSamplesLie) {
  EXPECT_EQ(Verdict([](auto& x) {
              return x.reshape({-1, 5});
            }),
            "axis 0 x 6 sample-major");
  EXPECT_EQ(Verdict([](auto& x) {
              return x.transpose(0, 1).reshape({-1, 5});
            }),
            "axis 0 x 6 time-major");
  EXPECT_EQ(Verdict([](auto& x) {
              return x.permute({2, 1, 0}).mul(2);
            }),
            "axis 2 x 1 sample-major");
  EXPECT_EQ(Verdict([](auto& x) {
              return x.repeat({3, 1, 1});
            }),
            "axis 0 x 3 time-major");
  EXPECT_EQ(Verdict([](auto& x) { return x.repeat_interleave(3, 0); }),
            "axis 0 x 3 sample-major");
}

TEST(SampleTrackerTest, RefusesWhatMixesOrMayMix) {
  const std::vector<std::pair<std::string, Function>> functions = {
      {"mean over the batch", [](auto& x) { return x.sub(x.mean(0, true)); }},
      {"sum of all", [](auto& x) { return x.div(x.sum()); }},
      {"sorted batch", [](auto& x) { return std::get<0>(x.sort(0)); }},
      {"flipped batch", [](auto& x) { return x.flip({0}); }},
      {"neighbour", [](auto& x) { return x.roll(1, 0); }},
      {"running sum", [](auto& x) { return x.cumsum(0); }},
      {"first sample", [](auto& x) { return x.add(x.select(0, 0)); }},
      {"half of the samples",
       [](auto& x) {
         return x.slice(0, 0, 2).repeat({2, 1, 1});
       }},
      {"softmax over the batch", [](auto& x) { return at::softmax(x, 0); }},
      {"Gram matrix of the samples",
       [](auto& x) { return x.flatten(1).mm(x.flatten(1).t()); }},
      {"selected rows", [](auto& x) { return x.index({x.gt(0)}); }},
      {"unique rows",
       [](auto& x) { return std::get<0>(at::unique_dim(x, 0)); }},
      {"a number read out",
       [](auto& x) { return x.mul(x.max().template item<double>()); }},
      {"control flow",
       [](auto& x) {
         return x.max().gt(3).template item<bool>() ? x.mul(2) : x;
       }},
      {"rows in another order",
       [](auto& x) {
         return x.index({at::arange(x.size(0)).flip({0}).view({-1, 1}),
                         at::arange(2).view({1, -1})});
       }},
      {"a place by the row's number",
       [](auto& x) {
         const at::Tensor rows = at::arange(x.size(0));
         return x.index({rows, rows});
       }},
      {"a value for each row",
       [](auto& x) {
         return x.add(at::arange(x.size(0)).view({-1, 1, 1}));
       }},
      {"batch statistics",
       [](auto& x) {
         return at::batch_norm(x, {}, {}, {}, {}, true, 0.1, 1e-5, false);
       }},
      {"scattered among samples",
       [](auto& x) {
         return at::zeros_like(x).index_add(0, x.sum({1, 2}).argsort(), x);
       }},
      {"written into a part",
       [](auto& x) {
         at::Tensor all = at::zeros({x.size(0) * 2, 6, 5});
         all.narrow(0, 1, x.size(0)).copy_(x);
         return all.narrow(0, 0, x.size(0)).add(x.mul(0));
       }},
      {"seen around the operators",
       [](auto& x) {
         return at::from_blob(x.data_ptr(), x.sizes()).add(x).flip({0});
       }},
      {"one-hot as wide as the batch needs",
       [](auto& x) { return at::one_hot(x.gt(0).to(at::kLong)).sum(-1); }},
  };
  for (const auto& [name, f] : functions) {
    EXPECT_NE(Verdict(f), "proven") << name;
  }
}

TEST(SampleTrackerTest, NamesTheOperator) {
  EXPECT_THAT(Verdict([](auto& x) { return x.cumsum(0); }),
              HasSubstr("aten::cumsum along the samples"));
  EXPECT_THAT(
      Verdict([](auto& x) { return x.mul(x.max().template item<double>()); }),
      HasSubstr("aten::max"));
  EXPECT_THAT(Verdict([](auto& x) { return x.index({x.gt(0)}); }),
              HasSubstr("aten::index"));
}

// A tensor of zeros that is as long as the batch by accident.
TEST(SampleTrackerTest, ReadsEqualElementsEitherWay) {
  const at::Tensor x = at::randn({4, 4, 5});
  EXPECT_EQ(Verdict(x,
                    [](auto& v) {
                      return v.add(at::zeros({4, 1}));
                    }),
            "proven");
  EXPECT_EQ(Verdict(x,
                    [](auto& v) {
                      return v.mul(at::ones({4, 5}).cumsum(0));
                    }),
            "proven");
  EXPECT_EQ(Verdict(x,
                    [](auto& v) {
                      return at::matmul(at::ones({4, 4}).triu(), v);
                    }),
            "proven");
}

TEST(SampleTrackerTest, AnOutputWithoutSamplesIsTheSameForAll) {
  EXPECT_EQ(Verdict([](auto& x) {
              return at::ones({x.size(0), 2});
            }),
            "proven");
  EXPECT_NE(Verdict([](auto& x) { return at::arange(x.size(0)); }), "proven");
}

}  // namespace
}  // namespace influence
