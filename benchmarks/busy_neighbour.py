#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Times the command beside another process that wants a processor.

  python3 benchmarks/busy_neighbour.py bazel-bin/cli/influence /tmp/busy

Each command runs with one thread and with the default, alone and beside one
busy process, in turn, a few times; the fastest and the median count. Prints a
line a command and exits with 1 where the default beside the neighbour takes
more than 1.5 times as long as one thread there (medians). With --before PROGRAM
another program runs in turn with it, and it must not be slower than that when
idle either: 1.05 times (fastest), for what a measurement varies. Nothing else
should run on the machine. Needs numpy and torch (see
benchmarks/peers/requirements.txt).
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

MOST_SLOWER_BUSY = 1.5
MOST_SLOWER_IDLE = 1.05

# Model, method and its options.
COMMANDS = [
    ("mlp", "identity", []),
    ("mlp", "ekfac", ["--regularization", "0.1"]),
    ("mlp", "cg", ["--regularization", "0.1"]),
    ("cnn", "ekfac", ["--regularization", "0.1"]),
    ("small_cnn", "lissa", ["--regularization", "1"]),
    ("small_cnn", "direct", ["--regularization", "0.1"]),
    ("lstm", "identity", []),
    ("transformer", "identity", []),
    ("transformer", "ekfac", ["--regularization", "0.1"]),
]


def make_models(folder):
    """Writes models, and data for each: samples of its input's shape."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)

    class Lstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(16, 32, batch_first=True)
            self.out = nn.Linear(32, 10)

        def forward(self, x):
            return self.out(self.lstm(x)[0][:, -1])

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(16, 64)
            layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
            self.encoder = nn.TransformerEncoder(
                layer, 2, enable_nested_tensor=False
            )
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(self.encoder(self.embed(x)).mean(1))

    def cnn(channels):
        return nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * channels, 10),
        )

    mlp = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    models = {
        "mlp": (mlp, (64,), 4000),
        "cnn": (cnn(16), (1, 16, 16), 1000),
        "small_cnn": (cnn(4), (1, 8, 8), 256),
        "lstm": (Lstm(), (20, 16), 512),
        "transformer": (Transformer(), (20, 16), 256),
    }
    generator = np.random.default_rng(0)
    for name, (model, shape, count) in models.items():
        example = torch.zeros(7, *shape)
        torch.jit.trace(model.eval(), example).save(str(folder / f"{name}.pt"))
        for part, size in (("train", count), ("test", 20)):
            x = generator.standard_normal((size, *shape), dtype=np.float32)
            y = generator.integers(0, 10, size)
            np.savez(folder / f"{name}_{part}.npz", x=x, y=y)


def seconds_of(program, folder, command, threads):
    model, method, options = command
    words = [program, "scores", "--model", folder / f"{model}.pt"]
    words += ["--train", folder / f"{model}_train.npz"]
    words += ["--test", folder / f"{model}_test.npz"]
    words += ["--loss", "cross_entropy", "--method", method] + options
    words += ["--out", folder / "out.npy", "--overwrite", "--quiet"]
    words += ["--threads", threads] if threads else []
    start = time.perf_counter()
    subprocess.run([str(word) for word in words], check=True, timeout=600)
    return time.perf_counter() - start


class Neighbour:
    """A process that always wants a processor, while the block runs."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", "while 1: 0"])

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--before", help="a program to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    make_models(options.folder)

    programs = {"now": options.program}
    if options.before:
        programs["before"] = options.before
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} processors, load {load:.1f} at the start")
    is_fast = True
    for command in COMMANDS:
        times = {}
        for _ in range(options.repeats):
            for busy in (False, True):
                for name, program in programs.items():
                    for threads in (1, None):
                        run = (program, options.folder, command, threads)
                        if busy:
                            with Neighbour():
                                seconds = seconds_of(*run)
                        else:
                            seconds = seconds_of(*run)
                        key = (name, busy, threads)
                        times.setdefault(key, []).append(seconds)
        least = {key: min(values) for key, values in times.items()}
        median = {
            key: statistics.median(values) for key, values in times.items()
        }
        ratio = median["now", True, None] / median["now", True, 1]
        text = (
            f"{command[0]} {command[1]}: idle"
            f" {least['now', False, 1]:.2f} s with one thread,"
            f" {least['now', False, None]:.2f} s by default; busy"
            f" {median['now', True, 1]:.2f} s and"
            f" {median['now', True, None]:.2f} s, ratio {ratio:.2f}"
        )
        is_fast = is_fast and ratio <= MOST_SLOWER_BUSY
        if options.before:
            idle = least["now", False, None] / least["before", False, None]
            text += (
                f"; before: idle {least['before', False, None]:.2f} s"
                f" ({idle:.2f} of it now), busy"
                f" {median['before', True, None]:.2f} s"
            )
            is_fast = is_fast and idle <= MOST_SLOWER_IDLE
        print(text, flush=True)
    shutil.rmtree(options.folder)
    sys.exit(0 if is_fast else 1)


if __name__ == "__main__":
    main()
