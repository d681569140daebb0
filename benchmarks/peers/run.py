#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Runs Python peers and the library on the same files, side by side.

Every measurement is a process of its own that repeats the work and times it
inside, without start-up and file reading. Processes of the two sides take
turns, so that a busy minute of the machine hits both. Prints medians, their
ratios, peak memory and the largest difference between the two results.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
THREADS = 2


@dataclasses.dataclass(frozen=True)
class Comparison:
    name: str
    task: str  # Of influence_peer.
    model: str
    batch_size: int = 0  # 0: all samples in one batch.
    repeats: int = 3  # In each process.
    peer_task: str = ""  # Of peer.py; `task` where empty.
    data: str = "train"
    # What both sides are told, and what each is told alone.
    options: tuple = ()
    our_options: tuple = ()
    peer_options: tuple = ()
    peer_repeats: int = 0  # Where not `repeats`: some peers take minutes.
    fit_only: bool = False  # Only the fits are compared.

    @property
    def is_method(self):
        return self.task not in ("grads", "gram")

    def arguments(self, side, work, data=None):
        task = self.task if side == "ours" else self.peer_task or self.task
        result = [
            task, "--model", work / f"{self.model}.pt", "--train",
            work / f"{self.model}_{data or self.data}.npz", "--loss",
            "cross_entropy", "--threads", THREADS
        ]
        if self.is_method:
            result += ["--test", work / f"{self.model}_test.npz"]
        if self.batch_size:
            result += ["--batch-size", self.batch_size]
        result += self.options
        result += self.our_options if side == "ours" else self.peer_options
        return [str(a) for a in result]

    def repeats_of(self, side):
        return self.peer_repeats or self.repeats if side == "peer" \
            else self.repeats


DIGITS = ("--regularization", 0.1)
EKFAC = ("--regularization", 1e-3)
# The peers' curvature of these methods.
HESSIAN = ("--second-order", "hessian")


def kronfluence(name, model, batch_size, tolerance=None):
    ours = ("--uncovered", "drop", "--query-batch-size", 0)
    if tolerance:
        ours += ("--score-tolerance", tolerance)
    return Comparison(name, "ekfac", model, batch_size, repeats=1,
                      peer_task="kronfluence_ekfac", data="methods",
                      options=EKFAC, our_options=ours)


COMPARISONS = [
    Comparison("grads_mlp", "grads", "mlp"),
    Comparison("grads_cnn", "grads", "cnn"),
    Comparison("grads_transformer", "grads", "transformer", repeats=1),
    Comparison("gram_mlp", "gram", "mlp"),
    Comparison("gram_cnn", "gram", "cnn"),
    Comparison("gram_transformer", "gram", "transformer", 256, repeats=1),
    Comparison("direct_one_batch", "direct", "digits",
               peer_task="pydvl_direct", options=DIGITS),
    Comparison("direct_batches_of_256", "direct", "digits", 256,
               peer_task="pydvl_direct", options=DIGITS),
    Comparison("cg_all_at_once", "cg", "digits", peer_task="pydvl_cg",
               options=DIGITS, our_options=HESSIAN + ("--tolerance", 1e-4),
               peer_repeats=1),
    Comparison("cg_batches_of_256", "cg", "digits", 256,
               peer_task="pydvl_cg", options=DIGITS,
               our_options=HESSIAN + ("--tolerance", 1e-4), peer_repeats=1),
    Comparison("cg_one_by_one", "cg_single", "digits",
               peer_task="pydvl_cg_single", options=DIGITS,
               our_options=HESSIAN + ("--tolerance", 1e-4), repeats=1),
    Comparison("arnoldi_rank_100", "arnoldi", "digits",
               peer_task="pydvl_arnoldi", options=DIGITS + ("--rank", 100),
               peer_repeats=1),
    Comparison("nystroem_rank_100", "nystroem", "digits",
               peer_task="pydvl_nystroem", options=DIGITS + ("--rank", 100),
               our_options=("--second-order", "generalized_gauss_newton")),
    Comparison("ihm", "ihm", "digits", peer_task="pydvl_ihm", options=DIGITS,
               peer_repeats=1),
    Comparison("ekfac_digits", "ekfac", "digits", peer_task="pydvl_ekfac",
               options=DIGITS, our_options=("--fisher", "sampled")),
    Comparison("lissa", "lissa", "digits", 256, peer_task="pydvl_lissa",
               options=DIGITS + ("--scale", 10), our_options=HESSIAN,
               repeats=1),
    Comparison("ekfac_statistics_mlp", "ekfac", "mlp", 256,
               peer_task="curvlinops_ekfac", data="methods", options=EKFAC,
               our_options=("--uncovered", "drop", "--fit-only"),
               fit_only=True),
    Comparison("ekfac_statistics_cnn", "ekfac", "cnn", 256,
               peer_task="curvlinops_ekfac", data="methods", options=EKFAC,
               our_options=("--uncovered", "drop", "--fit-only"),
               fit_only=True, peer_repeats=1),
    kronfluence("ekfac_mlp", "mlp", 256),
    kronfluence("ekfac_mlp_tolerance", "mlp", 256, 1e-3),
    kronfluence("ekfac_cnn", "cnn", 256),
    kronfluence("ekfac_cnn_tolerance", "cnn", 256, 1e-3),
    kronfluence("ekfac_transformer", "transformer", 32),
]


def measure(program, arguments):
    """Runs one process and returns its JSON line."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(THREADS),
                       MKL_NUM_THREADS=str(THREADS))
    done = subprocess.run(program + arguments, env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{' '.join(program + arguments)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def seconds(reports):
    """All repeats of all processes; the total of fit and scores of methods."""
    values = []
    for report in reports:
        if "seconds" in report:
            values += report["seconds"]
        else:
            values += [
                f + s for f, s in zip(report["fit_seconds"],
                                      report["score_seconds"])
            ]
    return values


def largest_difference(ours, peer):
    a, b = np.load(ours), np.load(peer)
    if a.shape != b.shape:
        sys.exit(f"shapes differ: ours {a.shape}, peer {b.shape}")
    return float(np.abs(a - b).max() / np.abs(b).max())


def compare(comparison, sides, work, rounds, repeats, peers):
    """One comparison: {"ours": [...], "peer": [...], "write": [...]}.

    `peers` holds what the peer has needed and where its result is, by its
    arguments: two comparisons with the same peer's work run it once.
    """
    results = {side: [] for side in sides}
    outputs = {s: work / f"{comparison.name}_{s}.npy" for s in sides}
    peers_work = tuple(comparison.arguments("peer", work))
    if comparison.is_method and peers_work in peers:
        results["peer"], outputs["peer"] = peers[peers_work]
        sides = {"ours": sides["ours"]}
    # [N, P] of all samples is too large to keep: a few rows are compared, by a
    # run of their own. Smaller results are kept from the first round.
    few = comparison.task == "grads"
    for side, program in sides.items():
        if few:
            measure(program, comparison.arguments(side, work, "verify") +
                    ["--repeats", "1", "--out", str(outputs[side])])
    if few:
        results["write"] = []
    for turn in range(rounds):
        for side, program in sides.items():
            arguments = comparison.arguments(side, work)
            arguments += ["--repeats",
                          str(repeats or comparison.repeats_of(side))]
            if turn == 0 and not few and not comparison.fit_only:
                arguments += ["--out", str(outputs[side])]
            results[side].append(measure(program, arguments))
        if few:
            write = ["write"] + comparison.arguments("peer", work)[1:] + [
                "--repeats", str(repeats or comparison.repeats)]
            results["write"].append(measure(sides["peer"], write))
    results["difference"] = float("nan")
    if not comparison.fit_only:
        results["difference"] = largest_difference(outputs["ours"],
                                                   outputs["peer"])
        outputs["ours"].unlink()
    peers[peers_work] = results["peer"], outputs["peer"]
    return results


def line(name, results):
    median = {
        side: statistics.median(seconds(results[side]))
        for side in ("ours", "peer", "write") if side in results
    }
    peak = {
        side: max(r["peak_bytes"] for r in results[side]) / 1e9
        for side in ("ours", "peer")
    }
    text = (f"{name:<22} {median['peer']:>9.3f} {median['ours']:>9.4f} "
            f"{median['peer'] / median['ours']:>7.2f}  "
            f"{peak['peer']:>8.2f} {peak['ours']:>8.2f} "
            f"{peak['ours'] / peak['peer']:>7.2f}  "
            f"{results['difference']:>8.1e}")
    if "write" in median:
        text += f"  {median['ours'] / median['write']:>5.2f}"
    for side in ("peer", "ours"):
        for part in ("fit_seconds", "score_seconds"):
            values = [v for r in results[side] for v in r.get(part, [])]
            if values:
                text += (f"\n    {side} {part}: "
                         f"{statistics.median(values):.3f}")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--influence_peer", type=pathlib.Path, required=True,
                        help="the program of //benchmarks/peers")
    parser.add_argument("--work", type=pathlib.Path, default=HERE / "build",
                        help="the folder prepare.py wrote to")
    parser.add_argument("--only", nargs="*", default=[],
                        help="names of comparisons, all by default")
    parser.add_argument("--rounds", type=int, default=2,
                        help="processes of each side, taking turns")
    parser.add_argument("--repeats", type=int,
                        help="repeats in each process, where not the usual")
    options = parser.parse_args()
    unknown = set(options.only) - {c.name for c in COMPARISONS}
    if unknown:
        parser.error(f"--only: found {sorted(unknown)}, expected of "
                     f"{[c.name for c in COMPARISONS]}")
    sides = {
        "peer": [sys.executable, "-W", "ignore", str(HERE / "peer.py")],
        "ours": [str(options.influence_peer.resolve())],
    }
    record = {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load_before": os.getloadavg(),
        "results": {},
    }
    print(f"{os.cpu_count()} cores, {THREADS} threads each, load "
          f"{os.getloadavg()[0]:.2f}, {options.rounds} processes each")
    print(f"{'':<22} {'peer s':>9} {'ours s':>9} {'faster':>7}  "
          f"{'peer GB':>8} {'ours GB':>8} {'ratio':>7}  {'differ':>8}  "
          f"ours/write")
    peers = {}
    for comparison in COMPARISONS:
        if options.only and comparison.name not in options.only:
            continue
        results = compare(comparison, sides, options.work.resolve(),
                          options.rounds, options.repeats, peers)
        record["results"][comparison.name] = results
        print(line(comparison.name, results), flush=True)
    for _, output in peers.values():
        output.unlink(missing_ok=True)
    record["load_after"] = os.getloadavg()
    print(f"load after: {record['load_after'][0]:.2f}")
    stamp = record["date"].replace(":", "")
    (options.work / f"results_{stamp}.json").write_text(
        json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
