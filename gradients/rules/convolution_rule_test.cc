// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "gradients/rules/convolution_rule.h"

#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/conv1d.h"
#include "ATen/ops/conv2d.h"
#include "ATen/ops/conv3d.h"
#include "ATen/ops/conv_transpose1d.h"
#include "ATen/ops/conv_transpose2d.h"
#include "ATen/ops/conv_transpose3d.h"
#include "ATen/ops/reflection_pad2d.h"
#include "gradients/rules/rule_testing.h"
#include "gtest/gtest.h"

namespace influence {
namespace {

using Tensors = std::vector<at::Tensor>;
using Ints = std::vector<int64_t>;

TEST(ConvolutionRuleTest, OneDimension) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({4, 2, 3}, 1)}, {"bias", Normal({4}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv1d(x, p[0], p[1], /*stride=*/2, /*padding=*/Ints{1},
                           /*dilation=*/2, /*groups=*/1);
       },
       Normal({5, 2, 9}, 3),
       {"convolution", "convolution"}});
}

TEST(ConvolutionRuleTest, TwoDimensionsWithDifferentSettingsEach) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({4, 2, 3, 2}, 1)}, {"bias", Normal({4}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv2d(x, p[0], p[1], Ints{1, 2}, Ints{2, 1}, Ints{1, 3});
       },
       Normal({5, 2, 6, 7}, 3),
       {"convolution", "convolution"}});
}

TEST(ConvolutionRuleTest, ThreeDimensions) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 2, 2, 3, 2}, 1)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv3d(x, p[0], {}, Ints{1, 1, 2}, Ints{1, 0, 1});
       },
       Normal({5, 2, 3, 4, 5}, 3),
       {"convolution"}});
}

TEST(ConvolutionRuleTest, GroupsAndDepthwise) {
  ExpectMatchesAutograd(
      {{{"grouped", Normal({6, 2, 3, 3}, 1)},
        {"depthwise", Normal({12, 1, 2, 2}, 4)},
        {"bias", Normal({12}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv2d(at::conv2d(x, p[0], {}, 1, Ints{1, 1}, 1, 2).tanh(),
                           p[1], p[2], 1, Ints{0, 0}, 1, 6);
       },
       Normal({5, 4, 4, 4}, 3),
       {"convolution", "convolution", "convolution"}});
}

TEST(ConvolutionRuleTest, ManyGroups) {
  ExpectMatchesAutograd({{{"weight", Normal({10, 1, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::conv1d(x, p[0], {}, 1, Ints{1}, 1, 10);
                         },
                         Normal({5, 10, 4}, 3),
                         {"convolution"}});
}

TEST(ConvolutionRuleTest, SamePadding) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 3, 2, 4}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::conv2d(x, p[0], {}, 1, "same");
                         },
                         Normal({5, 3, 5, 6}, 3),
                         {"convolution"}});
}

TEST(ConvolutionRuleTest, ReflectPaddingBeforeAGroupedConvolution) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({4, 1, 3, 3}, 1)}, {"bias", Normal({4}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv2d(at::reflection_pad2d(x, {1, 1, 1, 1}), p[0], p[1], 1,
                           Ints{0, 0}, 1, 2);
       },
       Normal({5, 2, 5, 5}, 3),
       {"convolution", "convolution"}});
}

TEST(ConvolutionRuleTest, Transposed) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({4, 3, 3}, 1)}, {"bias", Normal({6}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv_transpose1d(x, p[0], p[1], /*stride=*/2,
                                     /*padding=*/1, /*output_padding=*/1,
                                     /*groups=*/2, /*dilation=*/2);
       },
       Normal({5, 4, 5}, 3),
       {"convolution", "convolution"}});
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 3, 2, 3}, 1)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv_transpose2d(x, p[0], {}, Ints{2, 1}, Ints{0, 1});
       },
       Normal({5, 2, 3, 4}, 3),
       {"convolution"}});
  ExpectMatchesAutograd({{{"weight", Normal({2, 2, 2, 2, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::conv_transpose3d(x, p[0], {}, 2);
                         },
                         Normal({5, 2, 2, 3, 2}, 3),
                         {"convolution"}});
}

TEST(ConvolutionRuleTest, FramesMergedWithSamples) {
  ExpectMatchesAutograd(
      {{{"weight", Normal({2, 2, 3}, 1)}, {"bias", Normal({2}, 2)}},
       [](const Tensors& p, const at::Tensor& x) {
         return at::conv1d(x.reshape({-1, 2, 4}), p[0], p[1])
             .view({-1, 3, 2, 2});
       },
       Normal({5, 3, 2, 4}, 3),
       {"convolution", "convolution"}});
}

TEST(ConvolutionRuleTest, UsedTwiceOnDifferentSizes) {
  ExpectMatchesAutograd({{{"weight", Normal({2, 2, 3}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::conv1d(at::conv1d(x, p[0]).tanh(), p[0]);
                         },
                         Normal({5, 2, 8}, 3),
                         {"convolution"}});
}

TEST(ConvolutionRuleTest, ChannelsLastInput) {
  ExpectMatchesAutograd({{{"weight", Normal({3, 2, 2, 2}, 1)}},
                         [](const Tensors& p, const at::Tensor& x) {
                           return at::conv2d(x.permute({0, 3, 1, 2}), p[0]);
                         },
                         Normal({5, 4, 4, 2}, 3),
                         {"convolution"}});
}

}  // namespace
}  // namespace influence
