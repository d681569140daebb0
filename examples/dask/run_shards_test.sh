#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# usage: run_shards_test.sh PYTHON TEST INFLUENCE MODEL INPUTS CLASSES
set -euo pipefail
exec "$@"
