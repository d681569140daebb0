// Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#include "tests/random_programs.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "ATen/core/Tensor.h"
#include "ATen/ops/empty.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "gradients/batch.h"
#include "tests/support/script_source.h"

namespace influence {
namespace {

constexpr int64_t kSamples = 7;
constexpr int64_t kTokens = 12;  // Distinct ones.
constexpr int64_t kClasses = 3;

class Writer {
 public:
  explicit Writer(uint64_t seed) : random_(seed) {}

  RandomProgram Write() {
    steps_ = 2 + Draw(4);
    width_ = 2 * (1 + Draw(3));
    Line("d = x.size(2)");
    Input();
    const int64_t num_layers = 1 + Draw(4);
    for (int64_t i = 0; i < num_layers; ++i) Layer();
    Head();
    program_.source.code =
        absl::StrCat("def forward(self, x, k):\n", body_, "    return h\n");
    return std::move(program_);
  }

 private:
  int64_t Draw(int64_t bound) {  // [0, bound)
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound));
  }

  at::Tensor Normal(at::IntArrayRef shape, double scale = 1) {
    std::normal_distribution<double> normal(0, scale);
    at::Tensor values = at::empty(shape, at::dtype(at::kDouble));
    double* data = values.data_ptr<double>();
    for (int64_t i = 0; i < values.numel(); ++i) data[i] = normal(random_);
    return values;
  }

  at::Tensor Integers(at::IntArrayRef shape, int64_t bound) {
    at::Tensor values = at::empty(shape, at::dtype(at::kLong));
    int64_t* data = values.data_ptr<int64_t>();
    for (int64_t i = 0; i < values.numel(); ++i) data[i] = Draw(bound);
    return values;
  }

  // A new parameter, or now and then an old one of that shape.
  std::string Parameter(const std::vector<int64_t>& shape) {
    if (Draw(4) == 0) {
      for (const auto& [name, tensor] : program_.source.parameters) {
        if (tensor.sizes() == at::IntArrayRef(shape)) return "self." + name;
      }
    }
    const std::string name =
        absl::StrCat("p", program_.source.parameters.size());
    program_.source.parameters.emplace_back(name, Normal(shape, 0.6));
    return "self." + name;
  }

  // $0, $1, ... are replaced by `arguments`; lines are indented.
  void Line(absl::string_view text,
            const std::vector<std::string>& arguments = {}) {
    std::string line(text);
    for (size_t i = 0; i < arguments.size(); ++i) {
      line = absl::StrReplaceAll(line, {{absl::StrCat("$", i), arguments[i]}});
    }
    line = absl::StrReplaceAll(line, {{"\n", "\n    "}});
    absl::StrAppend(&body_, "    ", line, "\n");
  }

  std::string Weight(int64_t out, int64_t in) { return Parameter({out, in}); }
  std::string Bias(int64_t out) { return Parameter({out}); }
  std::string Activation() {
    const std::vector<std::string> names = {"torch.tanh", "torch.sigmoid",
                                            "torch.relu", "torch.gelu"};
    return names[Draw(4)];
  }

  void Input() {
    program_.data.x = {Normal({kSamples, steps_, width_}),
                       Integers({kSamples, steps_}, kTokens)};
    program_.data.y = Integers({kSamples}, kClasses);
    if (Draw(5) == 0) {
      // A sample that comes twice, and one without any information.
      program_.data.x[0][4].copy_(program_.data.x[0][1]);
      program_.data.x[1][4].copy_(program_.data.x[1][1]);
      program_.data.x[0][2].fill_(0);
    }
    switch (Draw(4)) {
      case 0:
        Line("h = torch.embedding($0, k)", {Parameter({kTokens, width_})});
        break;
      case 1:
        Line("h = x + torch.embedding($0, k)", {Parameter({kTokens, width_})});
        break;
      case 2:
        Line("h = x + $0[k]", {Parameter({kTokens, width_})});
        break;
      default:
        Line("h = x");
    }
  }

  // h [N, T, D] -> [N, T, D], by D = width_ and T = h.size(1).
  void Layer() {
    const int64_t kind = Draw(30);
    const std::string w = Weight(width_, width_), b = Bias(width_);
    switch (kind) {
      case 0:
      case 1:
        Line("h = $2(torch.linear(h, $0, $1))", {w, b, Activation()});
        break;
      case 2:
        Line("h = h + torch.layer_norm(h, [$2], $0, $1)",
             {Bias(width_), b, absl::StrCat(width_)});
        break;
      case 3:
        Line("h = torch.matmul(h, $0) * $1", {w, b});
        break;
      case 4:  // Time-major and back.
        Line(
            "t = h.transpose(0, 1).contiguous()\n"
            "t = torch.linear(t.view(-1, $2), $0, $1).view(h.size(1), "
            "h.size(0), $2)\n"
            "h = torch.tanh(t).transpose(0, 1)",
            {w, b, absl::StrCat(width_)});
        break;
      case 5:
        Line(
            "h = torch.relu(torch.conv1d(h.transpose(1, 2), $0, $1, [1], [1]))"
            ".transpose(1, 2)",
            {Parameter({width_, width_, 3}), b});
        break;
      case 6:
        Line(
            "q = torch.linear(h, $0)\n"
            "h = h + torch.scaled_dot_product_attention(q, "
            "torch.linear(h, $1), h)",
            {w, Weight(width_, width_)});
        break;
      case 7:  // Two heads, batch and heads in one dimension, time first.
        Line(
            "q = torch.linear(h.transpose(0, 1), $0, $1)\n"
            "q = q.reshape(h.size(1), h.size(0) * 2, $2).transpose(0, 1)\n"
            "a = torch.softmax(torch.bmm(q, q.transpose(1, 2)), -1)\n"
            "q = torch.bmm(a, q).transpose(0, 1).reshape(h.size(1), h.size(0)"
            ", $3).transpose(0, 1)\n"
            "h = h + torch.linear(q, $4)",
            {w, b, absl::StrCat(width_ / 2), absl::StrCat(width_),
             Weight(width_, width_)});
        break;
      case 8:
        Line(
            "o, s = torch.gru(h, torch.zeros([1, h.size(0), $4], dtype="
            "h.dtype), [$0, $1, $2, $3], True, 1, 0.0, False, False, True)\n"
            "h = h + o",
            {Weight(3 * width_, width_), Weight(3 * width_, width_),
             Bias(3 * width_), Bias(3 * width_), absl::StrCat(width_)});
        break;
      case 9:
        Line(
            "s = torch.zeros([h.size(0), $2], dtype=h.dtype)\n"
            "y = [s]\n"
            "for i in range(h.size(1)):\n"
            "    s = torch.tanh(torch.linear(s, $0, $1) + h[:, i])\n"
            "    y.append(s)\n"
            "h = torch.stack(y[1:], 1)",
            {w, b, absl::StrCat(width_)});
        break;
      case 10:
        Line("h = torch.where(h > 0.5, torch.linear(h, $0), h)", {w});
        break;
      case 11:
        Line("h = torch.linear(torch.sort(h, 1)[0], $0, $1)", {w, b});
        break;
      case 12:
        Line("h = h + $0[k].unsqueeze(-1)", {Parameter({kTokens})});
        break;
      case 13:  // A class token in front.
        Line(
            "h = torch.cat([$0.expand(h.size(0), 1, $1), h], 1)[:, :h.size(1)]",
            {Parameter({1, 1, width_}), absl::StrCat(width_)});
        break;
      case 14:
        Line("h = h.masked_fill(torch.linear(h, $0) > 1.0, 0.0) * $1", {w, b});
        break;
      case 15:
        Line("h = torch.gather(h, 1, torch.argsort(h, 1)) @ $0", {w});
        break;
      default:
        RowMovingLayer(kind, w, b);
    }
  }

  // Rows that data select, sort, route or mix.
  void RowMovingLayer(int64_t kind, const std::string& w,
                      const std::string& b) {
    const std::string d = absl::StrCat(width_);
    switch (kind) {
      case 16:  // The valid tokens alone.
        Line(
            "m = k > 3\n"
            "z = torch.zeros([h.size(0), h.size(1), $2], dtype=h.dtype)\n"
            "z[m] = torch.tanh(torch.linear(h[m], $0, $1))\n"
            "h = z + h",
            {w, b, d});
        break;
      case 17:  // Sorted by a learned key, and back.
        Line(
            "r = torch.argsort(torch.linear(h, $0, $1).sum([1, 2]))\n"
            "s = torch.tanh(torch.linear(h.index_select(0, r), $0))\n"
            "h = s.index_select(0, torch.argsort(r))",
            {w, b});
        break;
      case 18:  // Routed to two experts.
        Line(
            "f = h.reshape(-1, $3)\n"
            "e = (torch.linear(f, $0).sum(-1) > 0).long()\n"
            "z = torch.zeros_like(f)\n"
            "for i in range(2):\n"
            "    r = torch.nonzero(e == i).squeeze(-1)\n"
            "    if i == 0:\n"
            "        z = z.index_add(0, r, torch.tanh(torch.linear(f[r], $1, "
            "$2)))\n"
            "    else:\n"
            "        z = z.index_add(0, r, torch.linear(f[r], $4))\n"
            "h = h + z.reshape(h.shape)",
            {w, Weight(width_, width_), b, d, Weight(width_, width_)});
        break;
      case 19:  // Each distinct row once.
        Line(
            "u, v = torch._unique2(k.reshape(-1), True, True)[0:2]\n"
            "t = torch.tanh(torch.embedding($0, u))\n"
            "h = h + torch.linear(t, $1, $2)[v].reshape(h.shape)",
            {Parameter({kTokens, width_}), w, b});
        break;
      case 20:  // Samples leave early, one by one.
        Line(
            "a = torch.ones([h.size(0), 1, 1], dtype=h.dtype)\n"
            "for i in range(3):\n"
            "    a = a * (h.sum([1, 2]) < 1.0 + i).to(h.dtype).view(-1, 1, 1)\n"
            "    if bool(a.sum() == 0):\n"
            "        break\n"
            "    h = h + a * torch.tanh(torch.linear(h, $0, $1))",
            {w, b});
        break;
      case 21:  // Time-major by the longest sample.
        Line(
            "n = (k > 2).sum(1)\n"
            "l = max(1, int(n.max()))\n"
            "t = torch.linear(h[:, :l].transpose(0, 1).reshape(-1, $2), $0, "
            "$1)\n"
            "t = t.view(l, h.size(0), $2).transpose(0, 1)\n"
            "m = (torch.arange(l).unsqueeze(0) < n.unsqueeze(1)).unsqueeze(-1)"
            "\n"
            "h = h + (t * m).sum(1, keepdim=True)",
            {w, b, d});
        break;
      case 22:  // One place of each sample.
        Line(
            "j = h.sum(-1).argmax(-1)\n"
            "h = h + torch.linear(h[torch.arange(h.size(0)), j], $0, $1)"
            ".unsqueeze(1)",
            {w, b});
        break;
      case 23:  // Mixed where some sample has a large entry.
        program_.mixes = true;
        Line(
            "if bool(h.max() > 2.5):\n"
            "    h = h - torch.linear(h, $0).mean(0, keepdim=True)\n"
            "h = torch.linear(h, $0, $1)",
            {w, b});
        break;
      case 24:  // Always mixed.
        program_.mixes = true;
        Line(
            "h = torch.tanh(torch.linear(h - h.mean(0, keepdim=True), $0, $1))",
            {w, b});
        break;
      case 25:  // An expert takes four rows at most.
        program_.mixes = true;
        Line(
            "f = h.reshape(-1, $2)\n"
            "e = (torch.linear(f, $0).sum(-1) > 0).long()\n"
            "keep = (torch.cumsum(e, 0) <= 4).to(f.dtype).unsqueeze(-1)\n"
            "h = h + (torch.linear(f, $0, $1) * keep).reshape(h.shape)",
            {w, b, d});
        break;
      case 26:  // The weight itself depends on the sample.
        Line(
            "g = torch.tanh(torch.linear(h.mean(1), $0, $1))\n"
            "h = h * g.unsqueeze(1) + torch.bmm(h, h.transpose(1, 2)) @ h",
            {w, b});
        break;
      case 27:  // Scattered into places that the tokens name.
        Line(
            "z = torch.zeros([h.size(0), 12, $2], dtype=h.dtype)\n"
            "z = z.scatter_add(1, k.unsqueeze(-1).expand(-1, -1, $2), h)\n"
            "h = h + torch.linear(z, $0, $1).mean(1, keepdim=True)",
            {w, b, d});
        break;
      case 28:  // In place.
        Line(
            "c = h.clone()\n"
            "c[:, 0] = torch.tanh(torch.linear(h[:, 0], $0, $1))\n"
            "c.mul_(2.0).add_($1)\n"
            "h = c",
            {w, b});
        break;
      default:  // In reverse order, and back.
        Line(
            "h = torch.flip(torch.tanh(torch.linear(torch.flip(h, [0]), $0, "
            "$1)), [0])",
            {w, b});
    }
  }

  void Head() {
    const std::vector<std::string> pools = {"h.mean(1)", "h[:, -1]", "h[:, 0]",
                                            "torch.amax(h, 1)"};
    Line("h = torch.linear($0, $1, $2)",
         {pools[Draw(4)], Weight(kClasses, width_), Bias(kClasses)});
  }

  std::mt19937_64 random_;
  int64_t steps_ = 0, width_ = 0;
  std::string body_;
  RandomProgram program_;
};

}  // namespace

RandomProgram MakeRandomProgram(uint64_t seed) { return Writer(seed).Write(); }

}  // namespace influence
