# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Whole models, as people write them, at the smallest useful size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Mlp(nn.Module):

    def __init__(self, inputs: int, hidden: int, outputs: int, bias: bool):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden, bias=bias), nn.Tanh(),
            nn.Linear(hidden, hidden, bias=bias), nn.GELU(),
            nn.Linear(hidden, outputs, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Cnn(nn.Module):
    """Reflect padding, a grouped convolution, BatchNorm and a linear head."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(2)
        self.conv2 = nn.Conv2d(2, 4, 2, padding=1, groups=2, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv1(x)))
        y = self.pool(torch.tanh(self.conv2(y)))
        return self.head(y.mean([2, 3]))


class Block(nn.Module):
    """Pre-norm transformer block with fused attention kernels."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.size(0), x.size(1), x.size(2)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        h = self.heads
        y = F.scaled_dot_product_attention(
            q.view(n, t, h, d // h).transpose(1, 2),
            k.view(n, t, h, d // h).transpose(1, 2),
            v.view(n, t, h, d // h).transpose(1, 2),
            is_causal=self.causal)
        x = x + self.proj(y.transpose(1, 2).reshape(n, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TransformerFloat(nn.Module):
    """Transformer over float features; mixed derivatives exist."""

    def __init__(self, width: int, heads: int, outputs: int):
        super().__init__()
        self.block = Block(width, heads, causal=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x).mean(1))


class TransformerTokens(nn.Module):
    """Causal language model over tokens."""

    def __init__(self, words: int, length: int, width: int, heads: int):
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.position = nn.Parameter(torch.randn(length, width))
        self.block = Block(width, heads, causal=True)
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.tokens(x) + self.position))


class MaskedTransformer(nn.Module):
    """Attention written out, with a causal mask held in a buffer."""

    def __init__(self, length: int, width: int, outputs: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, outputs)
        self.register_buffer(
            "mask", torch.triu(torch.ones(length, length), 1).bool())

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        scores = torch.matmul(self.query(y), self.key(y).transpose(1, 2))
        scores = (scores * x.size(2)**-0.5).masked_fill(
            self.mask, float("-inf"))
        y = torch.matmul(torch.softmax(scores, -1), self.value(y))
        return self.head(x + y)


class TwoInputs(nn.Module):

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 4)
        self.right = nn.Conv1d(1, 2, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        y = torch.tanh(self.left(x0))
        z = torch.tanh(self.right(x1)).flatten(1)
        return self.head(y * z)


class TokensAndFeatures(nn.Module):
    """One integer and one float input: only the second has derivatives."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.body = nn.Linear(2, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        y = self.embedding(x0).mean(1)
        return self.head(torch.tanh(y * self.body(x1)))


class Frozen(nn.Module):
    """First layer frozen whole, the second's bias frozen alone."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.first.weight.requires_grad_(False)
        self.first.bias.requires_grad_(False)
        self.second.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.head(torch.tanh(self.second(y)))


class Elementwise(nn.Module):
    """Elementwise parameters alone, no matrix anywhere."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.gate = nn.Parameter(torch.zeros(1, width))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x * self.scale + self.bias)
        return y * torch.sigmoid(self.gate)


class WeightNorm(nn.Module):
    """A weight-normalised layer: the weight is computed on the way."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.direction = nn.Parameter(torch.randn(outputs, inputs))
        self.length = nn.Parameter(torch.ones(outputs, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.head = nn.Linear(outputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.direction.pow(2).sum(1, keepdim=True).sqrt()
        weight = self.direction * (self.length / norm)
        return self.head(torch.tanh(F.linear(x, weight, self.bias)))


class BilinearModel(nn.Module):

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.bilinear = nn.Bilinear(3, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x, torch.tanh(self.body(x)))


class PReluModel(nn.Module):

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.activation = nn.PReLU(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.body(x)))


class LstmModel(nn.Module):

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 2, batch_first=True)
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        return self.head(y[:, -1])


class GruModel(nn.Module):
    """Sequence first, as recurrent layers are by default."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 2)
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(x.transpose(0, 1))
        return self.head(y[-1])


class RootParameters(nn.Module):
    """Parameters held by the root module beside a child's."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))
        self.bias = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(F.linear(x, self.weight, self.bias)))


class InplaceRelu(nn.Module):
    """In-place activations straight after a convolution and a linear."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2)
        self.body = nn.Linear(8, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.conv(x))
        y = torch.relu_(self.body(y.flatten(1)))
        return self.head(y)


class InplaceArithmetic(nn.Module):
    """Outputs changed in place by parameters and by each other."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4, bias=False)
        self.scale = nn.Parameter(torch.ones(4))
        self.bias = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y = y.add_(self.bias)
        y = torch.tanh(y)
        z = y * self.scale
        z += self.bias
        return self.head(z).add_(x)


class DetachedWeight(nn.Module):
    """One use of the weight is cut from the graph, another is not."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(F.linear(x, self.body.weight.detach(), self.body.bias))
        y = y + torch.tanh(self.body(x))
        return self.head(y) + F.linear(x, self.head.weight, None).detach()


class UnusedParameter(nn.Module):
    """A trainable layer the output does not depend on: zero gradients."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.spare = nn.Linear(2, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)))


class DropoutEval(nn.Module):
    """Dropout in evaluation mode: no chance involved."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 4), nn.Dropout(0.5), nn.Softplus(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
