# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Writes the .npy files of npy_format_test.cc, as NumPy itself does.

Run in this folder with Python 3 and NumPy (the files here: NumPy 2.4.6):

    python3 generate.py

The values are repeated in the test, which must be changed with them.
"""

import datetime

import numpy as np

# By dtype: six values with the extremes, and some whose bytes all differ.
VALUES = {
    "bool": [True, False, True, False, False, True],
    "int8": [-128, -1, 0, 1, 2, 127],
    "uint8": [0, 1, 2, 127, 128, 255],
    "int16": [-(2**15), -1, 0, 1, 0x0102, 2**15 - 1],
    "uint16": [0, 1, 0x0102, 2**15 - 1, 2**15, 2**16 - 1],
    "int32": [-(2**31), -1, 0, 1, 0x01020304, 2**31 - 1],
    "uint32": [0, 1, 0x01020304, 2**31 - 1, 2**31, 2**32 - 1],
    "int64": [-(2**63), -1, 0, 1, 0x0102030405060708, 2**63 - 1],
    "uint64": [0, 1, 2, 2**32, 0x0102030405060708, 2**63 - 1],
    "float16": [-65504.0, -1.5, 0.0, 2.0**-24, 0.25, 65504.0],
    "float32": [-1e38, -1.5, 0.0, 2.0**-149, 0.1, 1e38],
    "float64": [-1e308, -1.5, 0.0, 5e-324, 0.1, 1e308],
}


def write(name, array, version=None, allow_pickle=False):
    with open(name + ".npy", "wb") as file:
        np.lib.format.write_array(
            file, array, version=version, allow_pickle=allow_pickle
        )


def main():
    for dtype, values in VALUES.items():
        array = np.array(values, dtype=dtype).reshape(2, 3)
        write(dtype, array)
        if array.dtype.itemsize > 1:
            write(dtype + "_big_endian", array.astype(array.dtype.newbyteorder(">")))

    cube = np.arange(24).reshape(2, 3, 4)
    write("fortran_float32", np.asfortranarray(cube.astype("<f4")))
    write("fortran_big_endian_int32", np.asfortranarray(cube.astype(">i4")))
    write("fortran_uint16", np.asfortranarray(cube.astype("<u2")))
    write("version_2", cube.astype("<f4"), version=(2, 0))
    write("version_3", cube.astype("<f4"), version=(3, 0))
    write("single_value", np.array(2.5))
    write("vector", np.arange(5, dtype="<i8"))
    write("no_rows", np.zeros((0, 3), dtype="<f4"))
    write("above_int64", np.array([[1, 2], [3, 2**63]], dtype="<u8"))

    # What must be refused.
    write("object", np.array([{}, None], dtype=object), allow_pickle=True)
    write("structured", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i8")]))
    write("complex64", np.zeros(2, dtype="<c8"))
    write("unicode", np.array(["a", "bc"]))
    write("bytes", np.array([b"a", b"bc"]))
    write("raw", np.zeros(2, dtype="V4"))
    write("date", np.array([datetime.date(2020, 1, 2)], dtype="<M8[D]"))
    write("time_span", np.array([1], dtype="<m8[s]"))
    write("long_double", np.zeros(2, dtype=np.longdouble))


if __name__ == "__main__":
    main()
