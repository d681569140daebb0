#!/usr/bin/env bash
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
#
# Each command of the README's section "When one machine is not enough" does
# what it says, with the digits example's model and data.
set -euo pipefail

readonly section="When one machine is not enough"
repository=$(pwd)
bazel build --noshow_progress //cli:influence //examples/digits
work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
mkdir "${work}/bin"
ln -s "${repository}/bazel-bin/cli/influence" "${work}/bin/influence"
ln -s "${repository}/examples" "${work}/examples"
export PATH="${work}/bin:${PATH}"
# More ranks than cores, and root in a container.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# tools/setup has put `distributed` here.
export PYTHONPATH="${repository}/.tools/python${PYTHONPATH:+:${PYTHONPATH}}"
export OMPI_MCA_rmaps_base_oversubscribe=1 OMP_NUM_THREADS=1

bazel-bin/examples/digits/digits --out "${work}/digits" >/dev/null
cd "${work}"
mv digits/model.pt digits/train digits/test .
# What the section before has made.
influence fit --quiet --model model.pt --train train --loss cross_entropy \
  --method ekfac --out fitted

count=0
while IFS= read -r command; do
  case ${command} in
    *--resume*) ;;
    *" fit "*) rm -rf fitted ;;
    *"--out scores.zarr"*) rm -rf scores.zarr ;;
  esac
  echo "\$ ${command}"
  bash -c "${command}" </dev/null >log 2>&1 || { cat log; exit 1; }
  tail -n 2 log
  count=$((count + 1))
done < <(awk -v title="## ${section}" '
  $0 == title { inside = 1; next }
  /^## / { inside = 0 }
  inside && /^    / { sub(/^    /, ""); sub(/ +#.*$/, ""); print }
' "${repository}/README.md")
echo "${count} commands ran"
((count >= 9))
