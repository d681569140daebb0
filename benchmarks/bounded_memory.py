#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Shows that memory is bounded: scores of an MLP 784-64-10, synthetic data.

  python3 benchmarks/bounded_memory.py bazel-bin/cli/influence /tmp/bounded

Fits and scores with ekfac, for N training samples and for 2 N, into a store of
4 N M bytes that is larger than the memory used, and prints the planned and the
measured peak. Exits with 1 where the peak is 1 GiB or more, where it grows with
N by more than 10 %, or where it is farther from the plan than 25 % plus 200
MiB. Needs numpy and torch (see benchmarks/peers/requirements.txt).
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

MIB = 2**20


def write_data(folder, count, seed):
    """Writes a folder with x.npy and y.npy, part by part."""
    folder.mkdir(parents=True)
    x = np.lib.format.open_memmap(
        folder / "x.npy", mode="w+", dtype=np.float32, shape=(count, 784)
    )
    generator = np.random.default_rng(seed)
    for begin in range(0, count, 10000):
        part = x[begin : begin + 10000]
        part[:] = generator.standard_normal(part.shape, dtype=np.float32)
    x.flush()
    np.save(folder / "y.npy", generator.integers(0, 10, count))


def write_model(path):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    ).eval()
    torch.jit.script(model).save(str(path))


def run(program, folder, count, arguments):
    out = folder / "scores.zarr"
    shutil.rmtree(out, ignore_errors=True)
    command = [program, "scores", "--model", folder / "model.pt"]
    command += ["--train", folder / f"train{count}", "--test", folder / "test"]
    command += ["--loss", "cross_entropy", "--method", "ekfac", "--json"]
    command += ["--out", out] + arguments
    start = time.time()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(process.returncode)
    result = json.loads(output)
    # What the system says, and the program: the larger one counts.
    peak = max(usage.ru_maxrss * 1024, result.get("peak_memory_bytes", 0))
    return peak, result["plan"]["peak_memory_bytes"], time.time() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--train", type=int, default=60000, help="N")
    parser.add_argument("--queries", type=int, default=2000, help="M")
    options, arguments = parser.parse_known_args()
    counts = [options.train, 2 * options.train]
    shutil.rmtree(options.folder, ignore_errors=True)
    write_data(options.folder / "test", options.queries, seed=1)
    for count in counts:
        write_data(options.folder / f"train{count}", count, seed=2)
    write_model(options.folder / "model.pt")
    peaks = []
    is_bounded = True
    for count in counts:
        peak, plan, seconds = run(
            options.program, options.folder, count, arguments
        )
        peaks.append(peak)
        near = abs(peak - plan) <= 0.25 * plan + 200 * MIB
        is_bounded = is_bounded and near and peak < 1024 * MIB
        print(
            f"N = {count}, M = {options.queries}: store of"
            f" {4 * count * options.queries / 1e6:.0f} MB, peak"
            f" {peak / MIB:.0f} MiB, planned {plan / MIB:.0f} MiB,"
            f" {seconds:.1f} s",
            flush=True,
        )
    is_bounded = is_bounded and peaks[1] <= 1.1 * peaks[0]
    shutil.rmtree(options.folder)
    sys.exit(0 if is_bounded else 1)


if __name__ == "__main__":
    main()
