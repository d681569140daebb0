#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# A workspace of its own that depends on this one builds, and its program runs.
set -euo pipefail

cd examples/consumer
bazel run --noshow_progress //:consumer </dev/null
