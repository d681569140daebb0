# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Zarr stores between this library, zarr-python and TensorStore.

usage: zarr_interoperability_test.py <zarr_program>

What the program (zarr_program.cc) writes is opened by both packages; what they
write is read by the program.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import tensorstore
import zarr
from zarr.codecs import BytesCodec, GzipCodec, ZstdCodec

PROGRAM = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
FOLDER = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"))

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "float32",
          "float64")


def path(name):
  return os.path.join(FOLDER, name)


def run(*arguments):
  """Runs the program; returns the lines it prints, one for each store."""
  done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True,
                        check=True)
  return done.stdout.splitlines()


def counting(shape, dtype):
  return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def expected(dtype):
  values = counting((5, 7), dtype)
  if dtype.startswith("float"):
    values[0, 0] = np.nan
    values[4, 6] = -np.inf
  return values


def open_tensorstore(store):
  spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": store}}
  return tensorstore.open(spec, open=True, read=True).result()


def by_tensorstore(store):
  return open_tensorstore(store).read().result()


def by_program(stores):
  """The arrays of the stores, by store. One start of the program for all."""
  pairs = [(store, f"{path('read')}.{i}.npy") for i, store in enumerate(stores)]
  lines = run("read", *(word for pair in pairs for word in pair))
  assert lines == ["OK"] * len(pairs), lines
  return {store: np.load(npy) for store, npy in pairs}


class OursReadByOthers(unittest.TestCase):

  @classmethod
  def setUpClass(cls):
    lines = run("write", FOLDER)
    assert lines == ["OK"], lines
    names = [f"{dtype}.zarr" for dtype in DTYPES] + ["plain.zarr", "tiles.zarr"]
    cls.by_program = by_program([path(name) for name in names])

  def assert_same(self, found, wanted):
    found = np.asarray(found)
    self.assertEqual(found.dtype, wanted.dtype)
    np.testing.assert_array_equal(found, wanted)

  def check(self, name, wanted):
    self.assert_same(zarr.open_array(path(name), mode="r")[...], wanted)
    self.assert_same(by_tensorstore(path(name)), wanted)
    self.assert_same(self.by_program[path(name)], wanted)

  def test_every_dtype(self):
    for dtype in DTYPES:
      with self.subTest(dtype):
        self.check(f"{dtype}.zarr", expected(dtype))

  def test_metadata(self):
    array = zarr.open_array(path("float32.zarr"), mode="r")
    self.assertEqual(array.metadata.zarr_format, 3)
    self.assertEqual(array.chunks, (2, 3))
    self.assertEqual(array.metadata.dimension_names, ("query", "train"))
    self.assertTrue(np.isnan(array.fill_value))
    self.assertEqual(
        dict(array.attrs),
        {"units": "raw", "blocks": ["fc1.weight", "b"], "seconds": 1.5,
         "complete": True})
    codec = array.metadata.codecs[1]
    self.assertIsInstance(codec, ZstdCodec)
    self.assertTrue(codec.checksum)
    store = open_tensorstore(path("float32.zarr"))
    self.assertEqual(store.domain.labels, ("query", "train"))
    self.assertEqual(store.chunk_layout.read_chunk.shape, (2, 3))
    self.assertEqual(zarr.open_array(path("int64.zarr")).fill_value, 0)

  def test_other_layouts(self):
    self.check("plain.zarr", counting((3, 4, 2), "float32"))
    self.check("tiles.zarr", counting((10, 9), "float32"))
    self.assertEqual(zarr.open_array(path("tiles.zarr")).chunks, (4, 5))
    self.assert_same(zarr.open_array(path("single.zarr"))[...],
                     np.array(2.5))
    self.assert_same(by_tensorstore(path("single.zarr")), np.array(2.5))
    self.assertEqual(zarr.open_array(path("empty.zarr")).shape, (0, 3))
    self.assertEqual(by_tensorstore(path("empty.zarr")).shape, (0, 3))

  def test_groups_keep_dots_and_order(self):
    group = zarr.open_group(path("blocks.zarr"), mode="r")
    blocks = group.attrs["blocks"]
    self.assertEqual(blocks, ["fc1.weight", "_root", "fc1.bias"])
    self.assertEqual(sorted(group.array_keys()), sorted(blocks))
    for index, block in enumerate(blocks):
      wanted = np.full((2, 2), index, "float32")
      self.assert_same(group[block][...], wanted)
      self.assert_same(by_tensorstore(path(f"blocks.zarr/{block}")), wanted)

  def test_fitted_state(self):
    wanted = counting((3, 4), "float64")
    group = zarr.open_group(path("fitted"), mode="r")
    self.assertEqual(group.attrs["method"], "ekfac")
    self.assert_same(group["fc1.0/eigenvalues"][...], wanted)
    self.assert_same(by_tensorstore(path("fitted/fc1.0/eigenvalues")), wanted)
    with open(path("fitted/fitted.json"), encoding="utf-8") as file:
      self.assertEqual(json.load(file)["format"], "influence fitted state")

  def test_what_a_stopped_run_leaves_says_so(self):
    self.assertFalse(os.path.exists(path("stopped.zarr")))
    array = zarr.open_array(path("stopped.zarr.incomplete"), mode="r")
    self.assertIs(array.attrs["complete"], False)
    self.assert_same(array[:2], counting((2, 2), "float32"))
    self.assertTrue(np.isnan(array[2:]).all())
    self.assertIn("FAILED_PRECONDITION",
                  run("verify", path("stopped.zarr.incomplete"))[0])

  def test_everybody_notices_a_flipped_byte(self):
    chunk = path("float64.zarr/c/1/1")
    with open(chunk, "rb") as file:
      good = file.read()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 16
    try:
      with open(chunk, "wb") as file:
        file.write(bad)
      with self.assertRaises(Exception):
        _ = zarr.open_array(path("float64.zarr"), mode="r")[...]
      with self.assertRaises(Exception):
        by_tensorstore(path("float64.zarr"))
      message = run("verify", path("float64.zarr"))[0]
      self.assertIn("DATA_LOSS", message)
      self.assertIn(chunk, message)
      self.assertIn("chunk (1, 1)", message)
    finally:
      with open(chunk, "wb") as file:
        file.write(good)
    self.assertEqual(run("verify", path("float64.zarr")), ["OK"])


class OthersReadByUs(unittest.TestCase):

  def check(self, wanted):
    """Reads stores, by name of what they must hold."""
    found = by_program([path(name) for name in wanted])
    for name, values in wanted.items():
      with self.subTest(name):
        self.assertEqual(found[path(name)].dtype, values.dtype)
        np.testing.assert_array_equal(found[path(name)], values)

  def write(self, name, values, **options):
    array = zarr.create_array(path(name), shape=values.shape,
                              dtype=values.dtype, **options)
    array[...] = values
    return {name: values}

  def test_every_dtype_as_zarr_python_likes_it(self):
    wanted = {}
    for dtype in DTYPES:
      wanted |= self.write(f"python_{dtype}.zarr", expected(dtype),
                           chunks=(2, 3))
    self.check(wanted)

  def test_codecs_of_zarr_python(self):
    cases = {
        "zstd": {"compressors": ZstdCodec(level=7, checksum=True)},
        "none": {"compressors": None},
        "big": {"serializer": BytesCodec(endian="big")},
        "dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
        "names": {"dimension_names": ("query", None)},
    }
    wanted = {}
    for name, options in cases.items():
      wanted |= self.write(f"python_{name}.zarr", expected("float32"),
                           chunks=(2, 3), **options)
    self.check(wanted)

  def test_chunks_of_only_the_fill_value(self):
    wanted = {}
    for fill in (0, -3.5, float("nan"), float("inf")):
      values = np.full((4, 4), fill, "float64")
      values[0, 0] = 1
      name = f"python_fill_{fill}.zarr"
      wanted |= self.write(name, values, chunks=(2, 2), fill_value=fill)
      chunks = [file for _, _, files in os.walk(path(name))
                for file in files if file != "zarr.json"]
      self.assertEqual(len(chunks), 1)
    self.check(wanted)

  def test_groups_of_zarr_python(self):
    group = zarr.open_group(path("python_group.zarr"), mode="w")
    array = group.create_array("fc1.weight", shape=(3,), dtype="int64")
    array[...] = [1, 2, 3]
    self.check({"python_group.zarr/fc1.weight": np.array([1, 2, 3], "int64")})

  def test_tensorstore(self):
    values = counting((5, 7), "float32")
    wanted = {}
    for name, codecs in {
        "default": {},
        "zstd": {"codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 3}}]},
    }.items():
      store = f"tensorstore_{name}.zarr"
      array = tensorstore.open(
          {"driver": "zarr3",
           "kvstore": {"driver": "file", "path": path(store)},
           "metadata": {
               "data_type": "float32", "shape": [5, 7],
               "chunk_grid": {"name": "regular",
                              "configuration": {"chunk_shape": [2, 3]}},
           } | codecs}, create=True).result()
      array.write(values).result()
      wanted[store] = values
    self.check(wanted)

  def test_what_is_not_supported_is_named(self):
    cases = {
        "gzip": ({"dtype": "f4", "compressors": GzipCodec()}, "gzip"),
        "shards": ({"dtype": "f4", "shards": (4, 6)}, "sharding_indexed"),
        "uint16": ({"dtype": "u2"}, "uint16"),
        "v2": ({"dtype": "f4", "zarr_format": 2}, "no zarr.json"),
    }
    stores = [path(f"python_{name}.zarr") for name in cases]
    for store, (options, _) in zip(stores, cases.values()):
      zarr.create_array(store, shape=(5, 7), chunks=(2, 3), **options)
    for store, line, (_, wanted) in zip(stores, run("verify", *stores),
                                        cases.values()):
      self.assertIn(wanted, line)
      self.assertIn(store, line)


if __name__ == "__main__":
  print(f"zarr {zarr.__version__}, tensorstore "
        f"{getattr(tensorstore, '__version__', '')}, numpy {np.__version__}, "
        f"Python {sys.version.split()[0]}")
  unittest.main(verbosity=2)
