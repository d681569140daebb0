# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Shards on a real LocalCluster give the store of a single run.

usage: run_shards_test.py INFLUENCE MODEL INPUTS CLASSES: the program, and a
TorchScript classifier with so many inputs and classes.
"""

import os
import pathlib
import stat
import subprocess
import sys
import tempfile

import numpy as np

SHARDS = 4

# Dies the first time that shard 2 is run, and kills the worker that runs shard
# 3 for the first time.
UNRELIABLE = """#!/bin/sh
case "$*" in
  *--shard\\ 2/*)
    if mkdir "{folder}/failed" 2>/dev/null; then
      echo "unlucky" >&2
      exit 1
    fi ;;
  *--shard\\ 3/*)
    if mkdir "{folder}/killed" 2>/dev/null; then
      kill -9 $PPID
      exit 1
    fi ;;
esac
exec "{influence}" "$@"
"""


def write_data(folder, samples, seed, inputs, classes):
    folder.mkdir()
    random = np.random.default_rng(seed)
    np.save(folder / "x.npy", random.normal(size=(samples, inputs)))
    np.save(folder / "y.npy", random.integers(classes, size=samples))


def files_of(store):
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != "zarr.json"
    }


def main():
    influence, model, inputs, classes = sys.argv[1:5]
    influence = os.path.abspath(influence)
    program = pathlib.Path(__file__).with_name("run_shards.py")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_data(folder / "train", 60, 1, int(inputs), int(classes))
        write_data(folder / "test", 6, 2, int(inputs), int(classes))
        command = f"--threads 1 --train {folder}/train"
        subprocess.run(
            [influence, *f"fit {command} --quiet --method ekfac --model {model}"
             f" --loss cross_entropy --out {folder}/fitted".split()],
            check=True,
        )
        scores = (
            f"scores {command} --test {folder}/test --fitted {folder}/fitted"
            " --batch-size 5 --out "
        )
        subprocess.run(
            [influence, *f"{scores} {folder}/alone.zarr --quiet".split()],
            check=True,
        )
        wrapper = folder / "unreliable"
        wrapper.write_text(
            UNRELIABLE.format(folder=folder, influence=influence)
        )
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        run = subprocess.run(
            [sys.executable, "-s", str(program), "--shards", str(SHARDS),
             "--retries", "3", "--", str(wrapper),
             *f"{scores} {folder}/shards.zarr".split()],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert f"{SHARDS} of {SHARDS}" in run.stdout, run.stdout
        assert (folder / "failed").exists() and (folder / "killed").exists()
        expected = files_of(folder / "alone.zarr")
        assert len(expected) > SHARDS, expected.keys()
        assert files_of(folder / "shards.zarr") == expected
        failing = subprocess.run(
            [sys.executable, "-s", str(program), "--shards", "2",
             "--retries", "1", "--", influence, "scores", "--nonsense"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert failing.returncode == 1, failing
        assert "--nonsense" in failing.stderr, failing.stderr
    print("PASSED")


if __name__ == "__main__":
    main()
