#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# Runs a test as on another processor: LibTorch and its libraries are told to do
# with less than the machine has.
#   with_processor.sh avx2|sse41 TEST
set -euo pipefail

case $1 in
  avx2)
    export ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
    export MKL_ENABLE_INSTRUCTIONS=AVX2
    ;;
  sse41)
    export ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default
    export MKL_ENABLE_INSTRUCTIONS=SSE4_2
    ;;
  *)
    echo "processor: found $1, expected avx2 or sse41" >&2
    exit 2
    ;;
esac
# A hang is a failure that names the processor, before Bazel ends it silently.
code=0
timeout --signal=ABRT "$((${TEST_TIMEOUT:-900} - 20))" "$2" || code=$?
if ((code != 0)); then
  echo "with the processor told to be $1: $2 ended with code ${code}" >&2
fi
exit "${code}"
