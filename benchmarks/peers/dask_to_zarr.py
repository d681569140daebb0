#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Whole runs to a Zarr store: pyDVL's Dask calculator and `influence scores`.

The digits MLP, direct influence with the Hessian, 1,500 x 297, chunks of 256,
two cores each: a cluster of two processes of one thread there, two threads
here. Timed from the start of the process to its end, as whoever waits for the
store does; fit and reading are inside, on both sides. The processes take turns.
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

HERE = pathlib.Path(__file__).resolve().parent
CHUNK = 256
REGULARIZATION = 0.1


def run_pydvl(work, out):
    import dask.array as da
    import distributed
    import torch
    from pydvl.influence import DaskInfluenceCalculator
    from pydvl.influence.torch import DirectInfluence
    from pydvl.influence.torch.util import TorchNumpyConverter
    from torch.utils.data import DataLoader, TensorDataset

    import models

    model = models.load(work / "digits.pt")
    arrays = []
    for name in ("train", "test"):
        with np.load(work / f"digits_{name}.npz") as data:
            arrays.append((data["x"], data["y"]))
    train = TensorDataset(*(torch.from_numpy(a) for a in arrays[0]))
    influence = DirectInfluence(model, models.batch_loss,
                                regularization=REGULARIZATION)
    influence.fit(DataLoader(train, batch_size=CHUNK))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1,
                                  dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            calculator = DaskInfluenceCalculator(
                influence, TorchNumpyConverter(), client)
            chunked = [
                da.from_array(a, chunks=(CHUNK,) + a.shape[1:])
                for side in reversed(arrays) for a in side
            ]
            calculator.influences(*chunked).to_zarr(str(out))


def run_ours(program, work, out):
    subprocess.run([
        program, "scores", "--model", work / "digits.pt", "--train",
        work / "digits_train.npz", "--test", work / "digits_test.npz",
        "--loss", "cross_entropy", "--method", "direct", "--second-order",
        "hessian", "--regularization", str(REGULARIZATION), "--batch-size",
        str(CHUNK), "--threads", "2", "--out", out, "--quiet"
    ], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--influence", type=pathlib.Path,
                        help="the program of //cli:influence")
    parser.add_argument("--work", type=pathlib.Path, default=HERE / "build",
                        help="the folder prepare.py wrote to")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pydvl", type=pathlib.Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pydvl:
        run_pydvl(options.work, options.pydvl)
        return
    if not options.influence:
        parser.error("--influence: found none, expected a program")

    import zarr

    def run_peer(out):
        subprocess.run([
            sys.executable, "-W", "ignore", __file__, "--work", options.work,
            "--pydvl", out
        ], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    sides = {
        "pydvl": run_peer,
        "ours": lambda out: run_ours(options.influence.resolve(),
                                     options.work, out),
    }
    seconds = {side: [] for side in sides}
    outs = {side: options.work / f"dask_{side}.zarr" for side in sides}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    for _ in range(options.rounds):
        for side, run in sides.items():
            shutil.rmtree(outs[side], ignore_errors=True)
            begin = time.perf_counter()
            run(outs[side])
            seconds[side].append(time.perf_counter() - begin)
    scores = {side: np.asarray(zarr.open_array(str(outs[side]), mode="r")[:])
              for side in sides}
    if scores["pydvl"].shape != scores["ours"].shape:
        sys.exit(f"shapes differ: ours {scores['ours'].shape}, "
                 f"peer {scores['pydvl'].shape}")
    difference = (np.abs(scores["ours"] - scores["pydvl"]).max() /
                  np.abs(scores["pydvl"]).max())
    medians = {side: statistics.median(s) for side, s in seconds.items()}
    print(f"pyDVL and Dask {medians['pydvl']:.2f} s, ours "
          f"{medians['ours']:.2f} s: {medians['pydvl'] / medians['ours']:.1f} "
          f"times faster; scores differ by {difference:.1e}")


if __name__ == "__main__":
    main()
