#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# The README's example is the marked part of examples/first_scores, which is
# built and run here.
set -euo pipefail

python3 - <<'END'
import re
import sys

source = open("examples/first_scores/first_scores.cc").read()
marked = source.split("// [README]\n")
readme = open("README.md").read()
blocks = re.findall(r"```cpp\n(.*?)```", readme, re.S)
if len(marked) != 3:
  sys.exit("examples/first_scores/first_scores.cc: expected two [README] lines")
if marked[1] not in blocks:
  sys.exit("README.md: found no cpp block equal to the marked part of "
           "examples/first_scores/first_scores.cc")
END
bazel build --noshow_progress //examples/first_scores
output=$(bazel-bin/examples/first_scores/first_scores)
echo "${output}"
[[ $(wc -w <<<"${output}") == 8 ]]
