#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# clang-tidy finds nothing in libraries, programs and benchmarks. Bazel caches
# each file's result, so only what changed is looked at again.
set -euo pipefail

bazel build --config=lint --keep_going --noshow_progress //...
