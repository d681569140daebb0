#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# A workspace of its own that depends on this one builds, and its programs,
# which check their results against values by hand, run.
set -euo pipefail

cd examples/consumer
bazel build --noshow_progress //...
for program in newton_step logistic_regression; do
  bazel run --noshow_progress "//:${program}"
done
