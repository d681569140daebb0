# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Writes the .npz archives of npz_file_test.cc and data_reader_test.cc.

Run in this folder with Python 3 and NumPy (the files here: NumPy 2.4.6):

    python3 generate.py

The values are repeated in the tests, which must be changed with them.
"""

import numpy as np


def main():
    x = (np.arange(5 * 3) / 4).reshape(5, 3)
    y = np.array([0, 1, 2, 1, 0])
    np.savez("stored.npz", x=x.astype("<f4"), y=y.astype("<i8"))
    np.savez_compressed("deflated.npz", x=x, y=y.astype(np.uint8))
    np.savez_compressed(
        "two_inputs.npz",
        x1=np.asfortranarray(x.astype("<f2")),
        y=(np.arange(5) / 8).astype(">f8"),
        x0=np.arange(10, dtype="<u2").reshape(5, 2),
    )
    np.savez("object.npz", x=x, y=np.array([0, 1, None, 1, 0], dtype=object))


if __name__ == "__main__":
    main()
