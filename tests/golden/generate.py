#!/usr/bin/env python3
# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Writes the golden cases.

NAME.pt, NAME.npz, NAME_methods.npz, cases.json, methods.json and cases.bzl.

See README.md in this folder for what they hold and how to run this.
"""

import argparse
import io
import json
import os
import pathlib
import sys
import zipfile
import zlib

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import cases
import methods
import reference

# What is stored, and up to which size, so that the folder stays small.
MAX_SOLVED_PARAMETERS = 150  # Direct scores.
MAX_MATRIX_PARAMETERS = {  # The curvatures themselves.
    "hessian": 55,
    "gauss_newton": 40,
    "generalized_gauss_newton": 55,
}
MAX_MIXED_NUMBERS = 2000  # Mixed derivatives themselves.

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # Same input, same bytes.


def forget_scripted_classes():
    """Class names in a file then do not depend on the cases before it."""
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = (
        torch.jit._recursive.ConcreteTypeStore())
    torch.jit._state._clear_class_state()


def write_torchscript(case, model, inputs, path):
    """Scripts or traces `model`; drops debug records, which name paths."""
    forget_scripted_classes()
    if case.trace:
        scripted = torch.jit.trace(model, tuple(inputs))
    else:
        scripted = torch.jit.script(model)
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(
            path, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if entry.filename.endswith(".debug_pkl"):
                continue
            body = source.read(entry)
            _, _, inner = entry.filename.partition("/")
            target.writestr(
                zipfile.ZipInfo(f"{case.name}/{inner}", ZIP_DATE), body)


def check_torchscript(case, model, train, test, path):
    """The file gives the model's outputs and gradients, any batch size."""
    loaded = torch.jit.load(str(path))
    old_mode = torch._C._get_graph_executor_optimize(False)
    wanted = {n: p.requires_grad for n, p in model.named_parameters()}
    found = {n: p.requires_grad for n, p in loaded.named_parameters()}
    assert all(found.get(n) == wanted[n] for n in wanted), case.name
    assert not any(m.training for m in loaded.modules()), case.name
    for inputs in (train, test, [x[:1] for x in train],
                   [x[:2] for x in train]):
        torch.testing.assert_close(loaded(*inputs), model(*inputs),
                                   rtol=1e-12, atol=1e-14)
    loaded(*train).sum().backward()
    model.zero_grad()
    model(*train).sum().backward()
    expected = {n: p.grad for n, p in model.named_parameters()}
    for name, parameter in loaded.named_parameters():
        if name in expected and expected[name] is not None:
            torch.testing.assert_close(parameter.grad, expected[name],
                                       rtol=1e-10, atol=1e-12)
    model.zero_grad()
    torch._C._get_graph_executor_optimize(old_mode)


def add_scores(case, arrays, ref, train, y_train, checks):
    """Curvatures, direct scores, and for whole models both extras.

    Returns the results of the other methods, or None.
    """
    model = ref.model
    names = [n for n in arrays if n in ("x", "x0", "x1")]
    mixed_grads = {
        "" if len(names) == 1 else str(i):
            ref.mixed_gradients(train, y_train, i).numpy()
        for i, x in enumerate(train)
        if x.is_floating_point()
    }
    for which, mixed in mixed_grads.items():
        if mixed.size <= MAX_MIXED_NUMBERS:
            arrays[f"mixed_grads{which}"] = mixed
    grads, test_grads = arrays["grads"], arrays["test_grads"]
    hessian = ref.hessian(train, y_train)
    scale = hessian.abs().max()
    asymmetry = (hessian - hessian.T).abs().max() / scale
    assert asymmetry < 1e-12, (case.name, asymmetry)
    if checks and not case.detached:
        numeric = ref.hessian_by_differences(train, y_train)
        error = (hessian - numeric).abs().max() / scale
        assert error < 1e-6, (case.name, float(error))
    curvatures = {
        "hessian":
            hessian.numpy(),
        "gauss_newton":
            sum(np.outer(g, g) for g in grads) / len(grads),
        "generalized_gauss_newton":
            ref.generalized_gauss_newton(train, y_train).numpy(),
    }
    regularization = reference.well_conditioned_regularization(
        list(curvatures.values()))
    arrays["regularization"] = np.array(regularization)
    for curvature, matrix in curvatures.items():
        # Scores check the other two curvatures of the single layers.
        if len(matrix) <= MAX_MATRIX_PARAMETERS[curvature] and (
                case.whole or curvature == "hessian"):
            arrays[curvature] = matrix
        for structure in reference.STRUCTURES:
            indices = [i for _, i in reference.blocks(model, structure)]
            tag = f"{structure}_{curvature}"
            factors = reference.inverse_times(
                matrix, indices, [regularization] * len(indices), test_grads)
            by_block = factors @ grads.T
            arrays[f"scores_{tag}"] = by_block.sum(0)
            if case.whole or tag == "full_hessian":
                for which, mixed in mixed_grads.items():
                    scores = np.einsum("mp,nip->mni", factors.sum(0), mixed)
                    shape = train[int(which or 0)].shape[1:]
                    arrays[f"perturbation{which}_{tag}"] = scores.reshape(
                        scores.shape[:2] + tuple(shape))
            if not case.whole or structure == "full":
                continue
            arrays[f"block_scores_{tag}"] = by_block
            # Every block another value, largest first.
            values = regularization * (1.0 + 1.0 /
                                       (1.0 + np.arange(len(indices))))
            arrays[f"block_regularization_{structure}"] = values
            factors = reference.inverse_times(matrix, indices, values,
                                              test_grads)
            arrays[f"block_regularization_scores_{tag}"] = (
                factors.sum(0) @ grads.T)
    mixed_of_shape = {
        which: (mixed, tuple(train[int(which or 0)].shape[1:]))
        for which, mixed in mixed_grads.items()
    }
    return methods.compute(case, arrays, ref, train, y_train, curvatures,
                           mixed_of_shape, checks)


def make_case(case, folder, checks):
    """Entries of cases.json and, or None, of methods.json."""
    generator = torch.Generator().manual_seed(zlib.crc32(case.name.encode()))
    torch.manual_seed(zlib.crc32(case.name.encode()))
    model = case.build().double().eval()
    cases.randomize(model, generator)
    if case.zero:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
    train = cases.make_inputs(case, case.num_train, generator)
    test = cases.make_inputs(case, case.num_test, generator)
    with torch.no_grad():
        y_train = cases.make_labels(case, model(*train), generator)
        y_test = cases.make_labels(case, model(*test), generator)

    model_path = folder / f"{case.name}.pt"
    write_torchscript(case, model, train, model_path)
    check_torchscript(case, model, train, test, model_path)

    names = ["x"] if len(train) == 1 else [f"x{i}" for i in range(len(train))]
    arrays = {}
    for name, x, x_test in zip(names, train, test):
        arrays[name] = x.numpy()
        arrays[f"{name}_test"] = x_test.numpy()
    arrays["y"] = y_train.numpy()
    arrays["y_test"] = y_test.numpy()

    ref = reference.Reference(model, case.loss)
    with sdpa_kernel(SDPBackend.MATH):
        arrays["outputs"] = model(*train).detach().numpy()
        arrays["grads"] = ref.gradients(train, y_train).numpy()
        arrays["test_grads"] = ref.gradients(test, y_test).numpy()
        arrays["identity_scores"] = arrays["test_grads"] @ arrays["grads"].T
        for query in case.queries:
            arrays[f"{query}_grads"] = ref.gradients(test, y_test,
                                                     query).numpy()
        num_parameters = arrays["grads"].shape[1]
        found = None
        if num_parameters <= MAX_SOLVED_PARAMETERS:
            found = add_scores(case, arrays, ref, train, y_train, checks)
    assert all(np.isfinite(a).all() for a in arrays.values()), case.name

    np.savez_compressed(folder / f"{case.name}.npz", **arrays)
    of_methods = None
    if found:
        assert all(np.isfinite(a).all() for a in found.arrays.values())
        data = f"{case.name}_methods.npz"
        np.savez_compressed(folder / data, **found.arrays)
        of_methods = {
            "case": case.name,
            "data": data,
            "results": found.results
        }
    of_case = {
        "name": case.name,
        "kind": case.kind,
        "whole_model": case.whole,
        "model": f"{case.name}.pt",
        "data": f"{case.name}.npz",
        "min_torch": case.min_torch,
        "traced": case.trace,
        "loss": case.loss,
        "inputs": names,
        "num_train": case.num_train,
        "num_test": case.num_test,
        "num_parameters": num_parameters,
        "parameters": [{
            "name": n,
            "shape": list(p.shape)
        } for n, p in reference.trainable(model)],
        "blocks": {
            structure: [{
                "name": n,
                "size": len(i)
            } for n, i in reference.blocks(model, structure)]
            for structure in reference.STRUCTURES
        },
        "regularization": float(arrays.get("regularization", 0.0)),
        "arrays": list(arrays),
    }
    return of_case, of_methods


def write_manifest(path, **fields):
    """An entry of a list in a line: differences read well."""
    parts = []
    for key, value in fields.items():
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(entry) for entry in value)
            parts.append(f'"{key}": [\n{lines}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(value)}')
    path.write_text("{" + ", ".join(parts) + "}\n")


def names_in_bzl(name, entries):
    lines = "".join(f'    "{entry}",\n' for entry in entries)
    return f"{name} = [\n{lines}]\n"


def fix_hash_seed():
    """Scripting walks sets of names: fix their order, by a restart."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable] + sys.argv)


def main():
    fix_hash_seed()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent)
    parser.add_argument("--only", help="name of one case, to try it")
    parser.add_argument("--skip_checks", action="store_true",
                        help="leave out the central differences")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    manifest = []
    method_manifest = []
    for case in cases.all_cases():
        if arguments.only and case.name != arguments.only:
            continue
        of_case, of_methods = make_case(case, arguments.out,
                                        not arguments.skip_checks)
        manifest.append(of_case)
        if of_methods:
            method_manifest.append(of_methods)
        print(case.name, of_case["num_parameters"], flush=True)
    if arguments.only:
        return
    write_manifest(arguments.out / "cases.json", torch=torch.__version__,
                   cases=manifest)
    write_manifest(arguments.out / "methods.json", torch=torch.__version__,
                   cases=method_manifest)
    (arguments.out / "cases.bzl").write_text(
        "# Copyright 2026 The Influence Authors. "
        "SPDX-License-Identifier: Apache-2.0\n"
        '"""Names of the golden cases. Written by generate.py."""\n\n' +
        names_in_bzl("GOLDEN_CASES", [c["name"] for c in manifest]) + "\n" +
        names_in_bzl("GOLDEN_METHOD_CASES",
                     [c["case"] for c in method_manifest]))


if __name__ == "__main__":
    main()
