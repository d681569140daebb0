#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# Every BUILD, .bzl and WORKSPACE file is formatted as buildifier formats it,
# and buildifier has nothing to warn of.
set -euo pipefail

# The first two kinds of warning ask for what newer Bazel wants, which Bazel 4.2
# does not have; the third takes system.BUILD.bazel for a .bzl file.
readonly WARNINGS=-native-cc-info,-native-cc-library,-native-cc-test,\
-native-cc-binary,-native-cc-import,-native-cc-proto,-native-cc-toolchain,\
-native-cc-toolchain-suite,-native-cc-objc-library,-native-cc-objc-import,\
-native-cc-fdo-prefetch-hints,-native-cc-fdo-profile,-native-sh-test,\
-module-docstring

git ls-files -z --cached --others --exclude-standard -- \
  '*.bazel' '*.bzl' 'WORKSPACE' '**/WORKSPACE' |
  while IFS= read -r -d '' file; do
    # A deleted file is listed until the deletion is committed.
    if [[ -f ${file} ]]; then printf '%s\0' "${file}"; fi
  done |
  xargs -0 -r .tools/buildifier --mode=check --lint=warn \
    --warnings="${WARNINGS}"
