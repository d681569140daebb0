#!/bin/sh
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
echo "error: coverage is not supported by this workspace" >&2
exit 1
