# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Small models, each built round one kind of layer or one way to use a weight.

Every class scripts with torch.jit.script. Sizes are as small as the behaviour
under test allows: they set the size of the stored matrices.
"""

from typing import List

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Flat(nn.Module):
    """A layer followed by a smooth nonlinearity, flattened to [N, *]."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x)).flatten(1)


class FlatHead(nn.Module):
    """A layer, a smooth nonlinearity and a linear head over all of it."""

    def __init__(self, layer: nn.Module, features: int, outputs: int):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(x)).flatten(1))


class LinearPair(nn.Module):
    """Two linear layers over any leading dimensions, then a sum over them."""

    def __init__(self, inputs: int, hidden: int, outputs: int, bias: bool):
        super().__init__()
        self.first = nn.Linear(inputs, hidden, bias=bias)
        self.second = nn.Linear(hidden, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.tanh(self.first(x)))
        if y.dim() > 2:
            y = y.flatten(1, -2).sum(1)
        return y


class Affine(nn.Module):
    """Owns a weight [outputs, inputs] and a bias; subclasses apply them."""

    def __init__(self, inputs: int, outputs: int, transposed: bool = False):
        super().__init__()
        shape = (inputs, outputs) if transposed else (outputs, inputs)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.randn(outputs))


class AffineAddmm(Affine):

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.t())


class AffineAddmmScaled(Affine):
    """addmm with beta and alpha, which scale bias and weight gradients."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.t(), beta=0.5, alpha=2.0)


class AffineMatmulAdd(Affine):

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) + self.bias


class AffineMm(Affine):

    def forward(self, x: Tensor) -> Tensor:
        return torch.mm(x, self.weight).add_(self.bias)


class AffineFunctional(Affine):

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class AffineEinsum(Affine):

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nd,od->no", x, self.weight) + self.bias


class AffineEinsumTokens(Affine):

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("ntd,od->nto", x, self.weight) + self.bias
        return torch.tanh(y).sum(1)


class AffineLeft(Affine):
    """The weight on the left: matmul(W, x^T)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(self.weight, x.t()).t() + self.bias


class AffineLeftTokens(Affine):
    """The weight on the left of a batch of matrices, as a 1x1 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.matmul(self.weight, x.transpose(1, 2))
        return torch.tanh(y + self.bias.unsqueeze(1)).sum(2)


class AffineBmm(Affine):
    """The weight expanded over the batch for a batched product."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.t().unsqueeze(0).expand(x.size(0), -1, -1)
        return torch.tanh(torch.bmm(x, weight) + self.bias).sum(1)


class AffineCopied(Affine):
    """The product sees a copy of the weight, in storage of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.t().contiguous())


class AffineSliced(Affine):
    """Rows of one weight serve two products of different inputs."""

    def forward(self, x: Tensor) -> Tensor:
        first = F.linear(x, self.weight[:2], self.bias[:2])
        second = F.linear(torch.sin(x), self.weight[2:], self.bias[2:])
        return torch.cat([first, second], 1)


class AffineMasked(Affine):
    """The product sees a function of the weight, not the weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.tril(self.weight), self.bias)


class AffineVector(Affine):
    """A matrix-vector product with a single row of weights."""

    def forward(self, x: Tensor) -> Tensor:
        return (torch.mv(x, self.weight[0]) + self.bias[0]).unsqueeze(1)


class EmbeddingHead(nn.Module):

    def __init__(self, words: int, width: int, outputs: int, padding: bool):
        super().__init__()
        self.embedding = nn.Embedding(
            words, width, padding_idx=0 if padding else None)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embedding(x)).sum(1))


class IndexedTable(nn.Module):
    """An embedding written as indexing into a parameter."""

    def __init__(self, words: int, width: int, outputs: int):
        super().__init__()
        self.table = nn.Parameter(torch.randn(words, width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.table[x]).sum(1))


class HandWrittenRmsNorm(nn.Module):

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        mean_square = x.pow(2).mean(-1, keepdim=True)
        return x * torch.rsqrt(mean_square + 1e-6) * self.scale


class FunctionalRmsNorm(nn.Module):

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, [self.width], self.scale, 1e-6)


class NormHead(nn.Module):
    """Linear, norm, nonlinearity, linear; the norm acts on its output."""

    def __init__(self, inputs: int, width: int, norm: nn.Module, outputs: int):
        super().__init__()
        self.body = nn.Linear(inputs, width)
        self.norm = norm
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(torch.tanh(self.norm(self.body(x))))
        if y.dim() > 2:
            y = y.sum(1)
        return y


class ConvNorm(nn.Module):

    def __init__(self, conv: nn.Module, norm: nn.Module):
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.conv(x))).flatten(1)


class ScaleBias(nn.Module):
    """Elementwise scale and bias of any broadcastable shape."""

    def __init__(self, scale: List[int], bias: List[int]):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(scale))
        self.bias = nn.Parameter(torch.zeros(bias))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x * self.scale + self.bias)
        return (y * self.scale).flatten(1)


class DivideSubtract(nn.Module):
    """Elementwise parameters where order matters: b - x / s."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), 2.0))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.bias - x / self.scale)


class AddScaled(nn.Module):
    """add with alpha: the bias enters tripled."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.add(self.body(x), self.bias, alpha=3.0))


class PositionEmbedding(nn.Module):
    """[T, D] positions added to [N, T, D] tokens."""

    def __init__(self, words: int, length: int, width: int, outputs: int):
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(length, width))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tokens(x) + self.position
        return self.head(torch.tanh(y).sum(1))


class PositionLookup(nn.Module):
    """Positions looked up by arange: an index without the sample dimension."""

    def __init__(self, words: int, length: int, width: int, outputs: int):
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.positions = nn.Embedding(length, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        index = torch.arange(x.size(1), device=x.device)
        y = self.tokens(x) + self.positions(index)
        return self.head(torch.tanh(y).sum(1))


class ScalarParameters(nn.Module):
    """A 0-dimensional and a one-element parameter."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.body = nn.Linear(inputs, outputs)
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.body(x) * self.temperature) + self.shift * x.sum(
            1, keepdim=True)


class MultiheadSelf(nn.Module):

    def __init__(self, width: int, heads: int, batch_first: bool):
        super().__init__()
        self.batch_first = batch_first
        self.attention = nn.MultiheadAttention(
            width, heads, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        if self.batch_first:
            return self.attention(x, x, x, need_weights=False)[0].sum(1)
        y = x.transpose(0, 1)
        return self.attention(y, y, y, need_weights=False)[0].sum(0)


class MultiheadCross(nn.Module):
    """Queries differ from keys and values: the in-projection is split."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        memory = torch.sin(x)
        return self.attention(x, memory, memory, need_weights=False)[0].sum(1)


class FusedAttention(nn.Module):
    """One in-projection whose output is cut in three."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.size(0), x.size(1), x.size(2)
        q, k, v = self.in_proj(x).chunk(3, -1)
        h = self.heads
        q = q.view(n, t, h, d // h).transpose(1, 2)
        k = k.view(n, t, h, d // h).transpose(1, 2)
        v = v.view(n, t, h, d // h).transpose(1, 2)
        weights = torch.softmax(
            torch.matmul(q, k.transpose(2, 3)) * (d // h)**-0.5, -1)
        y = torch.matmul(weights, v).transpose(1, 2).reshape(n, t, d)
        return self.out_proj(y).sum(1)


class ChunkedWeightAttention(nn.Module):
    """One in-projection weight cut in three before it is applied."""

    def __init__(self, width: int):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))

    def forward(self, x: Tensor) -> Tensor:
        w_q, w_k, w_v = self.in_proj_weight.chunk(3)
        b_q, b_k, b_v = self.in_proj_bias.chunk(3)
        q = F.linear(x, w_q, b_q)
        k = F.linear(x, w_k, b_k)
        v = F.linear(x, w_v, b_v)
        scale = x.size(2)**-0.5
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)) * scale, -1)
        return torch.bmm(weights, v).sum(1)


class SharedLinear(nn.Module):
    """One layer applied three times in a row, in a loop."""

    def __init__(self, width: int):
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return x


class SharedModule(nn.Module):
    """One module registered under two names, used under both."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class SharedConv(nn.Module):
    """One convolution applied at two resolutions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.conv(x))
        y = torch.tanh(self.conv(F.avg_pool2d(y, 2)))
        return y.flatten(1)


class TiedAutoencoder(nn.Module):
    """One weight as W and as W^T."""

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(hidden, inputs))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.output_bias = nn.Parameter(torch.zeros(inputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(F.linear(x, self.weight, self.hidden_bias))
        return F.linear(y, self.weight.t(), self.output_bias)


class TiedEmbedding(nn.Module):
    """The decoder's weight is the embedding's, under a second name."""

    def __init__(self, words: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.body = nn.Linear(width, width)
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.embedding(x)
        y = y + torch.tanh(self.body(y))
        return self.decoder(torch.cumsum(y, 1))


class SequenceFirst(nn.Module):
    """[N, T, D] outside, [T, N, D] inside."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.scale = nn.Parameter(torch.ones(hidden))
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x.transpose(0, 1)))
        y = self.second(torch.tanh(y * self.scale))
        return torch.tanh(y).sum(0)


class FlattenTokens(nn.Module):
    """[N, T, D] flattened to rows before the layers, either way round."""

    def __init__(self, inputs: int, hidden: int, outputs: int,
                 time_major: bool):
        super().__init__()
        self.time_major = time_major
        self.first = nn.Linear(inputs, hidden)
        self.scale = nn.Parameter(torch.ones(hidden))
        self.second = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        n, t = x.size(0), x.size(1)
        if self.time_major:
            x = x.transpose(0, 1)
        rows = x.reshape(n * t, x.size(2))
        rows = torch.tanh(
            self.second(torch.tanh(self.first(rows)) * self.scale))
        if self.time_major:
            return rows.view(t, n, -1).sum(0)
        return rows.view(n, t, -1).sum(1)
