# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Makes data/digits.npz from the copy of the UCI digits in scikit-learn.

  pip download --no-deps scikit-learn==1.9.1
  unzip scikit_learn-*.whl 'sklearn/datasets/data/digits.csv.gz'
  python3 convert_digits.py sklearn/datasets/data/digits.csv.gz data/digits.npz

Each line of the table holds the 64 grey values of an image, 0 to 16, row by
row, and its digit. The archive holds `x`, uint8 [1797, 8, 8], and `y`, uint8
[1797], in the order of the table.
"""

import gzip
import hashlib
import sys

import numpy as np

_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"


def main(source, target):
    with open(source, "rb") as file:
        packed = file.read()
    found = hashlib.sha256(packed).hexdigest()
    if found != _SHA256:
        sys.exit(f"{source}: found SHA-256 {found}, expected {_SHA256}")
    text = gzip.decompress(packed).decode("ascii")
    table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.int64)
    if table.shape != (1797, 65):
        sys.exit(f"{source}: found shape {table.shape}, expected (1797, 65)")
    images, digits = table[:, :64].reshape(-1, 8, 8), table[:, 64]
    if images.min() < 0 or images.max() > 16:
        sys.exit(f"{source}: found grey values outside [0, 16]")
    if digits.min() < 0 or digits.max() > 9:
        sys.exit(f"{source}: found digits outside [0, 9]")
    np.savez_compressed(
        target, x=images.astype(np.uint8), y=digits.astype(np.uint8)
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: convert_digits.py digits.csv.gz digits.npz")
    main(*sys.argv[1:])
