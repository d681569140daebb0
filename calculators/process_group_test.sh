#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# The communicator of real processes: 1, 2 and 3 ranks, and one that fails.
set -euo pipefail

readonly PROGRAM=$1
readonly BUILD=$2 # "mpi", or "alone" with --config=no_mpi.
readonly MPIRUN=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
# For mpirun's sockets; the test's own is too long a path.
TMPDIR=$(mktemp -d /tmp/mpi.XXXXXX)
export TMPDIR
trap 'rm -rf "${TMPDIR}"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

[[ $("${PROGRAM}") == "1 ranks" ]] || fail "without mpirun"
if [[ ${BUILD} == alone ]]; then
  # As mpirun would start it.
  if OMPI_COMM_WORLD_SIZE=2 "${PROGRAM}" 2>"${TMPDIR}/log"; then
    fail "two processes without MPI"
  fi
  grep -q "found 2 processes" "${TMPDIR}/log" || fail "no message"
  echo PASSED
  exit
fi
for ranks in 1 2 3; do
  found=$("${MPIRUN[@]}" -n "${ranks}" "${PROGRAM}")
  [[ ${found} == "${ranks} ranks" ]] || fail "${ranks} ranks: ${found}"
done

code=0
"${MPIRUN[@]}" -n 3 "${PROGRAM}" fail >"${TMPDIR}/log" 2>&1 || code=$?
[[ ${code} -eq 7 ]] || fail "exit code ${code}, expected 7"
grep -q "the first error" "${TMPDIR}/log" || fail "no message"
echo PASSED
