#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# The root target assembles every public library of the layers below the
# command, and nothing else.
set -euo pipefail

readonly LAYERS='//base/... + //gradients/... + //operators/... +
  //influence/... + //calculators/...'

query() { bazel query --noshow_progress --order_output=no "$1" | sort; }

public=$(query "attr(visibility, '//visibility:public',
  kind(cc_library, ${LAYERS})) except attr(testonly, 1, ${LAYERS})")
assembled=$(query "labels(deps, //:composable_influence)")

difference=$(diff <(echo "${public}") <(echo "${assembled}") || true)
if [[ -n ${difference} ]]; then
  echo "//:composable_influence: < is public but not in deps, > the reverse"
  grep '^[<>]' <<<"${difference}"
  exit 1
fi
echo "//:composable_influence assembles $(wc -l <<<"${public}") libraries"
