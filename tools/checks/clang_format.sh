#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# Every C++ file is formatted as clang-format 14 formats it.
set -euo pipefail

git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h' |
  while IFS= read -r -d '' file; do
    # A deleted file is listed until the deletion is committed.
    if [[ -f ${file} ]]; then printf '%s\0' "${file}"; fi
  done |
  xargs -0 -r clang-format-14 --dry-run --Werror
