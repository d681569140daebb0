#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# What no other tool checks: licence lines, header guards, the one direction of
# dependencies, LibTorch's heavy headers kept out of public headers, and no
# regions of OpenMP.
set -euo pipefail

python3 - <<'END'
import re
import subprocess
import sys

LICENSE = ("Copyright 2026 The Influence Authors. "
           "SPDX-License-Identifier: Apache-2.0")
# Each may include those before it; the rest may include all of them.
LAYERS = ["base", "gradients", "operators", "influence", "calculators", "cli"]
REST = ["benchmarks", "examples", "tests"]
# What third_party/libtorch does not declare. Where two LibTorchs are installed,
# such an include would find the header of the wrong one.
UNDECLARED = re.compile(
    r"ATen/(native|cuda|cudnn|hip|miopen|mps|xpu)/|c10/(cuda|hip|metal|xpu)/|"
    r"ATen/ops/.*_dispatch\.h$|torch/csrc/(inductor|jit/tensorexpr|lazy)/")
# An operator of LibTorch that runs in a region of OpenMP may wait for ever.
REGION = re.compile(r"\bparallel_(for|reduce)\b|\binvoke_parallel\b|"
                    r"#\s*pragma\s+omp\b|\b_Pragma\(\"omp")
# What is tested there is the region itself.
REGION_TESTS = ["base/worker_pool_test.cc",
                "third_party/libtorch/libtorch_test.cc"]

findings = []


def found(path, line, text):
  findings.append(f"{path}:{line}: {text}")


def check_license(path, lines):
  script = bool(lines) and lines[0].startswith("#!")
  if LICENSE not in "".join(lines[script:script + 1]):
    found(path, 1, f"found no licence line, expected '{LICENSE}'")


def check_guard(path, lines):
  guard = "INFLUENCE_" + re.sub(r"[/.]", "_", path).upper() + "_"
  guards = [(i, line) for i, line in enumerate(lines, 1)
            if line.startswith("#ifndef ")]
  if not guards:
    found(path, 1, f"found no guard, expected {guard}")
  elif guards[0][1] != f"#ifndef {guard}":
    found(path, guards[0][0], f"found {guards[0][1]}, expected {guard}")


def check_includes(path, lines):
  top = path.split("/")[0]
  for number, line in enumerate(lines, 1):
    match = re.match(r'#include ["<]([^">]+)[">]', line)
    if not match:
      continue
    included = match.group(1)
    folder = included.split("/")[0]
    if included.startswith("../"):
      found(path, number, "found a relative include, expected one from the "
            "root")
    if UNDECLARED.match(included):
      found(path, number, f"found {included}, expected only LibTorch's public "
            "headers")
    if top in LAYERS:
      # Unit tests may use the testonly helpers of tests/support.
      test = path.endswith(("_test.cc", "_fuzzer.cc")) or "testing" in path
      allowed = LAYERS[:LAYERS.index(top) + 1]
      if test:
        allowed = allowed + ["tests"]
      if folder in LAYERS + REST and folder not in allowed:
        found(path, number,
              f"found an include of {folder}/ in {top}/, expected only "
              f"{', '.join(allowed)}")
    if (top in LAYERS and path.endswith(".h")
        and included in ("torch/torch.h", "torch/script.h", "torch/all.h",
                         "ATen/ATen.h", "ATen/Functions.h")):
      found(path, number, f"found {included} in a header, expected "
            "ATen/core/Tensor.h or a forward declaration")


def check_regions(path, lines):
  if path in REGION_TESTS:
    return
  for number, line in enumerate(lines, 1):
    match = REGION.search(line.split("//")[0])
    if match:
      found(path, number, f"found {match.group(0)}, expected the workers of "
            "base/worker_pool.h")


def main():
  listed = subprocess.run(
      ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
      check=True, capture_output=True, text=True).stdout.split("\0")
  checked = 0
  for path in sorted(set(filter(None, listed))):
    name = path.split("/")[-1]
    code = path.endswith((".cc", ".h"))
    if not (code or path.endswith((".py", ".sh", ".bzl", ".bazel"))
            or name in ("WORKSPACE", "quickstart", "run", "run_tests",
                        "setup")):
      continue
    try:
      lines = open(path, encoding="utf-8").read().splitlines()
    except FileNotFoundError:  # Deleted, the deletion not yet committed.
      continue
    checked += 1
    check_license(path, lines)
    if path.endswith(".h"):
      check_guard(path, lines)
    if code:
      check_includes(path, lines)
      check_regions(path, lines)
  for finding in findings:
    print(finding, file=sys.stderr)
  print(f"{checked} files checked, {len(findings)} findings")
  sys.exit(1 if findings or not checked else 0)


main()
END
