# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""The models of the side-by-side runs, defined once for every program."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TRANSFORMER_LENGTH = 128
BYTES = 256


class Mlp(nn.Module):
    """784-512-256-10 with ReLU: P = 535,818."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(784, 512), nn.ReLU(),
                                    nn.Linear(512, 256), nn.ReLU(),
                                    nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Cnn(nn.Module):
    """Two 3x3 convolutions with pooling, two linear layers: P = 206,922."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
                                    nn.MaxPool2d(2),
                                    nn.Conv2d(16, 32, 3, padding=1),
                                    nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                    nn.Linear(1568, 128), nn.ReLU(),
                                    nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Block(nn.Module):

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.size(0), x.size(1), x.size(2)
        h = self.heads
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        y = F.scaled_dot_product_attention(
            q.view(n, t, h, d // h).transpose(1, 2),
            k.view(n, t, h, d // h).transpose(1, 2),
            v.view(n, t, h, d // h).transpose(1, 2),
            is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(n, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Causal byte-level language model, four blocks of width 128."""

    def __init__(self):
        super().__init__()
        width = 128
        self.tokens = nn.Embedding(BYTES, width)
        self.position = nn.Parameter(
            0.02 * torch.randn(TRANSFORMER_LENGTH, width))
        self.blocks = nn.Sequential(*[Block(width, 4) for _ in range(4)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, BYTES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.tokens(x) +
                                               self.position)))


class Digits(nn.Module):
    """64-32-10 with tanh: P = 2,410."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 32), nn.Tanh(),
                                    nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


ARCHITECTURES = {
    "mlp": Mlp,
    "cnn": Cnn,
    "transformer": Transformer,
    "digits": Digits,
}


def batch_loss(output, y):
    """Sum over a sample's predictions, mean over samples."""
    total = F.cross_entropy(output.reshape(-1, output.shape[-1]),
                            y.reshape(-1),
                            ignore_index=-100,
                            reduction="sum")
    return total / y.shape[0]


def load(path):
    """The Python model of a TorchScript file named as its architecture."""
    model = ARCHITECTURES[path.stem]().eval()
    model.load_state_dict(torch.jit.load(str(path)).state_dict())
    return model
