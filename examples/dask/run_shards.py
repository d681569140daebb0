# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Runs an influence command in shards on a Dask cluster.

Each shard is the command with --shard i/n: a process that does every n-th tile
of one store, which all of them share. A shard that fails, or whose worker dies,
is tried again: what it has done stays done.

    python3 run_shards.py --shards 8 --retries 3 [--scheduler tcp://host:8786] \
        -- influence scores --fitted fitted --train train --test test \
           --out scores.zarr

Without --scheduler the cluster is a LocalCluster of --workers processes. The
store must lie on a file system that all workers have.
"""

import argparse
import subprocess
import sys

import distributed


def run_shard(command, index, count):
    """Runs one shard; an error carries what the command said."""
    result = subprocess.run(
        [*command, "--quiet", "--shard", f"{index}/{count}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"shard {index}/{count}: {result.stderr.strip()}")
    return index


def run_shards(client, command, count, retries):
    """Runs all shards, each with so many retries, and says which are done."""
    futures = [
        client.submit(
            run_shard, command, index, count, retries=retries, pure=False
        )
        for index in range(1, count + 1)
    ]
    done = 0
    for future in distributed.as_completed(futures):
        index = future.result()
        done += 1
        print(f"shard {index}/{count} is done, {done} of {count}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--retries", type=int, default=2)
    parser.add_argument("--scheduler", help="address of a running cluster")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("command", nargs="+", help="after --")
    arguments = parser.parse_args()
    if arguments.scheduler:
        cluster = None
        client = distributed.Client(arguments.scheduler)
    else:
        cluster = distributed.LocalCluster(
            n_workers=arguments.workers,
            threads_per_worker=1,
            dashboard_address=None,
        )
        client = distributed.Client(cluster)
    try:
        run_shards(
            client, arguments.command, arguments.shards, arguments.retries
        )
    except RuntimeError as error:
        print(f"run_shards: error: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
