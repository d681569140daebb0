#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""The Python side of a comparison: same arguments and output as influence_peer.

Prints one JSON line: seconds of each repeat (fit_seconds and score_seconds for
methods), without start-up and file reading, and the process's peak memory.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import torch
from torch.func import functional_call, grad, vmap
from torch.utils.data import DataLoader, TensorDataset

import models
import peer_methods

# Samples in one vmap: the fastest of 8, 16, 32, 64, 128 and 1,024 (`--tune`).
CHUNKS = {"mlp": 64, "cnn": 256, "transformer": 32}


def peak_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in the status of this process")


def read(path):
    with np.load(path) as data:
        return torch.from_numpy(data["x"]), torch.from_numpy(data["y"])


def per_sample_gradients(model, x, y, chunk):
    """[N, P] by vmap(grad), chunk after chunk into one matrix."""
    parameters = {n: p.detach() for n, p in model.named_parameters()}

    def loss(values, x_one, y_one):
        output = functional_call(model, values, (x_one.unsqueeze(0),))
        return models.batch_loss(output, y_one.unsqueeze(0))

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    total = sum(p.numel() for p in parameters.values())
    result = torch.empty(len(y), total)
    for start in range(0, len(y), chunk):
        rows = slice(start, start + chunk)
        part = gradients(parameters, x[rows], y[rows])
        offset = 0
        for name, value in parameters.items():
            end = offset + value.numel()
            result[rows, offset:end] = part[name].flatten(1)
            offset = end
    return result


def run_write(model, x, y, arguments):
    """The floor: writing N * P numbers into fresh memory."""
    total = sum(p.numel() for p in model.parameters())
    return torch.empty(len(y), total).fill_(1.0)


def run_grads(model, x, y, arguments):
    return per_sample_gradients(model, x, y, arguments.chunk)


def run_gram(model, x, y, arguments):
    rows = per_sample_gradients(model, x, y, arguments.chunk)
    return rows @ rows.T


def run_direct(model, train, test, arguments):
    from pydvl.influence import SequentialInfluenceCalculator
    from pydvl.influence.torch import DirectInfluence
    from pydvl.influence.torch.util import NestedTorchCatAggregator

    size = arguments.batch_size
    loaders = [
        DataLoader(TensorDataset(*data), batch_size=size or len(data[1]))
        for data in (train, test)
    ]
    begin = time.perf_counter()
    influence = DirectInfluence(model, models.batch_loss,
                                regularization=arguments.regularization)
    influence.fit(loaders[0])
    middle = time.perf_counter()
    scores = SequentialInfluenceCalculator(influence).influences(
        loaders[1], loaders[0]).compute(aggregator=NestedTorchCatAggregator())
    return scores, middle - begin, time.perf_counter() - middle


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["grads", "gram", "write", "pydvl_direct"]
                        + peer_methods.TASKS)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--train", type=pathlib.Path, required=True)
    parser.add_argument("--test", type=pathlib.Path)
    parser.add_argument("--loss", choices=["cross_entropy"],
                        default="cross_entropy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--regularization", type=float, default=0.1)
    parser.add_argument("--rank", type=int, default=100)
    parser.add_argument("--scale", type=float, default=10.0)
    parser.add_argument("--query-batch-size", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--chunk", type=int,
                        help="samples in one vmap, where not the usual")
    parser.add_argument("--tune", action="store_true",
                        help="print the time of each chunk size and stop")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.chunk = arguments.chunk or CHUNKS.get(arguments.model.stem, 64)

    model = models.load(arguments.model)
    train = read(arguments.train)
    if arguments.tune:
        for chunk in (8, 16, 32, 64, 128, 1024):
            begin = time.perf_counter()
            per_sample_gradients(model, *train, chunk)
            print(chunk, time.perf_counter() - begin, flush=True)
        return

    report = {}
    result = None
    if arguments.task == "pydvl_direct" or arguments.task in peer_methods.TASKS:
        test = read(arguments.test)
        report = {"fit_seconds": [], "score_seconds": []}
        for _ in range(arguments.repeats):
            model = models.load(arguments.model)  # Some peers wrap it.
            if arguments.task == "pydvl_direct":
                result, fit, score = run_direct(model, train, test, arguments)
            else:
                result, fit, score = peer_methods.run(
                    arguments.task, model, train, test, arguments)
            report["fit_seconds"].append(fit)
            report["score_seconds"].append(score)
    else:
        run = {"grads": run_grads, "gram": run_gram, "write": run_write}
        report = {"seconds": []}
        for _ in range(arguments.repeats):
            result = None  # Frees the last repeat's matrix.
            begin = time.perf_counter()
            result = run[arguments.task](model, *train, arguments)
            report["seconds"].append(time.perf_counter() - begin)
    report["peak_bytes"] = peak_bytes()
    if arguments.out and result is not None:
        np.save(arguments.out, result.detach().numpy())
    print(json.dumps(report))


if __name__ == "__main__":
    main()
