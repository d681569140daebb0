#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# usage: zarr_interoperability_test.sh <python3> <test.py> <zarr_program>
set -euo pipefail

exec "$@"
