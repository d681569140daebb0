# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Scores of the methods that approximate or avoid the dense inverse.

Every method's action is written down as one dense [P, P] matrix, built from
single samples and single positions of layers, and multiplied with gradients.
"""

import itertools

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import reference

LINEAR = (F.linear,)
CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)

# Cases by what is computed for them. Kronecker-factored methods need layers
# whose weights are passed as they are; the others any model.
KRONECKER_CASES = (
    "linear_2d", "linear_2d_no_bias", "linear_3d", "linear_3d_no_bias",
    "linear_4d", "conv1d", "conv1d_stride_padding_dilation", "conv1d_groups",
    "conv1d_no_bias", "conv2d", "conv2d_stride_padding_dilation",
    "conv2d_groups", "conv2d_depthwise", "conv2d_reflect", "conv3d_groups",
    "layer_norm", "shared_linear", "shared_module", "shared_conv",
    "sequence_first_square", "flatten_time_major", "logistic_regression",
    "multi_label", "mlp", "mlp_no_bias", "cnn", "transformer_float",
    "tied_language_model", "two_inputs", "frozen_layers",
    "elementwise_parameters", "root_parameters", "single_sample",
    "unused_parameter", "zero_classifier", "zero_detector")
CURVATURE_CASES = (
    "linear_2d", "conv1d_groups", "shared_conv", "logistic_regression",
    "multi_label", "mlp", "mlp_no_bias", "cnn", "transformer_masked",
    "tied_language_model", "two_inputs", "tokens_and_features",
    "root_parameters", "single_sample")
SEED = 3 * 2**32 + 7  # Of drawn labels; both halves of it count.


# Kronecker factors.


class UseRecorder(TorchFunctionMode):
    """Records each use of a parameter: by a layer, or by anything else."""

    def __init__(self, parameters):
        super().__init__()
        self.parameters = {id(p) for p in parameters}
        self.layer_uses = []  # (function, args, kwargs, output)
        self.other_uses = set()

    def _is_parameter(self, value):
        return isinstance(value, torch.Tensor) and id(value) in self.parameters

    def _note_others(self, value):
        if self._is_parameter(value):
            self.other_uses.add(id(value))
        elif isinstance(value, (list, tuple)):
            for entry in value:
                self._note_others(entry)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in LINEAR + CONVOLUTIONS and self._is_parameter(args[1]):
            self._note_others(args[0])
            self.layer_uses.append((func, args, kwargs, output))
        else:
            self._note_others(list(args) + list(kwargs.values()))
        return output


def bias_of(args, kwargs):
    return args[2] if len(args) > 2 else kwargs.get("bias")


def by_position(func, output):
    """Output of one sample as [positions, channels]."""
    if func in LINEAR:
        return output.reshape(-1, output.shape[-1])
    assert output.shape[0] == 1
    return output[0].flatten(1).T


def inputs_by_position(func, args, kwargs, groups, with_one):
    """For each group the rows a of each position, [groups][positions, I].

    Row o of a layer's weight meets exactly one vector at a position: the
    derivative of that output in that row.
    """
    weight = args[1].detach().clone().requires_grad_(True)
    bias = bias_of(args, kwargs)
    rest = [None if bias is None else bias.detach()] + list(args[3:])
    kwargs = {k: v for k, v in kwargs.items() if k != "bias"}
    output = by_position(func, func(args[0].detach(), weight, *rest, **kwargs))
    size = weight.shape[0] // groups
    result = []
    for group in range(groups):
        rows = []
        for position in output[:, group * size]:
            grad, = torch.autograd.grad(position, weight, retain_graph=True)
            row = grad[group * size].flatten()
            rows.append(torch.cat([row, row.new_ones(1)]) if with_one else row)
        result.append(torch.stack(rows))
    return result


def philox(counter, key):
    """Philox4x32-10 of Salmon et al. 2011: 4 words of 4 and 2."""
    mask = 2**32 - 1
    for _ in range(10):
        even = 0xD2511F53 * counter[0]
        odd = 0xCD9E8D57 * counter[2]
        counter = ((odd >> 32) ^ counter[1] ^ key[0], odd & mask,
                   (even >> 32) ^ counter[3] ^ key[1], even & mask)
        key = ((key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask)
    return counter


def uniform(sample, position):
    """In [0, 1): the upper 53 bits of the first two words, lowest first."""
    words = philox((sample, 0, position, 0), (SEED % 2**32, SEED >> 32))
    return ((words[1] * 2**32 + words[0]) >> 11) / 2**53


def drawn_labels(loss, output, y, sample):
    """The labels of sample number `sample`, a draw per prediction."""
    if loss == "binary_cross_entropy_with_logits":
        ones = torch.sigmoid(output.detach()).flatten().tolist()
        labels = [float(uniform(sample, i) < p) for i, p in enumerate(ones)]
        return torch.tensor(labels, dtype=output.dtype).reshape(output.shape)
    rows = torch.softmax(output.detach(), -1).reshape(-1, output.shape[-1])
    labels = []
    for i, (row, label) in enumerate(zip(rows.tolist(), y.flatten().tolist())):
        above = uniform(sample, i) - np.cumsum(row)
        drawn = int(np.argmax(above < 0.0))  # The first class beyond it.
        labels.append(drawn if label != reference.IGNORED_LABEL else label)
    return torch.tensor(labels).reshape(y.shape)


def label_distribution(loss, fisher, output, y, sample):
    """[(probability, labels of one sample)], which sum to 1."""
    if fisher == "empirical":
        return [(1.0, y)]
    if fisher == "sampled":
        return [(1.0, drawn_labels(loss, output, y, sample))]
    if loss == "cross_entropy":
        probabilities = torch.softmax(output.detach(), -1)[0]
        return [(p.item(), torch.tensor([k]))
                for k, p in enumerate(probabilities)]
    assert loss == "binary_cross_entropy_with_logits"
    ones = torch.sigmoid(output.detach()).flatten()
    result = []
    for bits in itertools.product((0.0, 1.0), repeat=ones.numel()):
        labels = torch.tensor(bits, dtype=ones.dtype)
        probability = torch.where(labels == 1.0, ones, 1.0 - ones).prod()
        result.append((probability.item(), labels.reshape(output.shape)))
    return result


class Layer:
    """Where a layer's (or one group's) gradient lies, and its statistics."""

    def __init__(self, indices):
        self.indices = indices  # [O, I], into the flat parameters
        outputs, inputs = indices.shape
        self.input_sum = np.zeros((inputs, inputs))
        self.num_positions = 0
        self.gradient_covariance = np.zeros((outputs, outputs))
        self.gradients = []  # (probability / N, G)

    def eigen(self):
        """S_A, S_G and their eigenvectors."""
        input_covariance = self.input_sum / self.num_positions
        _, u_a = np.linalg.eigh(input_covariance)
        _, u_g = np.linalg.eigh(self.gradient_covariance)
        return input_covariance, u_a, u_g

    def dense(self, method):
        """[O * I, O * I], rows in the order of `indices`."""
        input_covariance, u_a, u_g = self.eigen()
        if method == "kfac":
            return np.kron(self.gradient_covariance, input_covariance)
        eigenvalues = sum(p * (u_g.T @ g @ u_a)**2 for p, g in self.gradients)
        u = np.kron(u_g, u_a)
        return u @ np.diag(eigenvalues.flatten()) @ u.T

    def fisher(self):
        return sum(p * np.outer(g, g) for p, g in self.gradients)


def kronecker_layers(ref, inputs, y, fisher):
    """The layers, and [(probability / N, flat gradient)] for all else."""
    offsets = {}
    offset = 0
    for parameter in ref.parameters:
        offsets[id(parameter)] = offset
        offset += parameter.numel()
    count = y.shape[0]
    layers = {}  # By weight, a list by group.
    other_uses = set()
    flat = []
    for n in range(count):
        sample = [x[n:n + 1] for x in inputs]
        with UseRecorder(ref.parameters) as recorder:
            output = ref.model(*sample)
        other_uses |= recorder.other_uses
        for func, args, kwargs, result in recorder.layer_uses:
            weight, bias = args[1], bias_of(args, kwargs)
            groups = 1
            if func in CONVOLUTIONS:
                groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
            with_one = bias is not None and id(bias) in offsets
            if id(weight) not in layers:
                rows = weight.shape[0]
                indices = offsets[id(weight)] + np.arange(
                    weight.numel()).reshape(rows, -1)
                if with_one:
                    ones = offsets[id(bias)] + np.arange(rows)
                    indices = np.concatenate([indices, ones[:, None]], 1)
                layers[id(weight)] = [
                    Layer(part) for part in np.split(indices, groups)
                ]
            for layer, rows in zip(
                    layers[id(weight)],
                    inputs_by_position(func, args, kwargs, groups, with_one)):
                layer.input_sum += (rows.T @ rows).numpy()
                layer.num_positions += rows.shape[0]
        outputs = [use[3] for use in recorder.layer_uses]
        for probability, labels in label_distribution(
                ref.loss, fisher, output, y[n:n + 1], n):
            loss = reference.sample_loss(ref.loss, output, labels)
            gradient = reference.flat_gradient(loss, ref.parameters,
                                               retain_graph=True).numpy()
            flat.append((probability / count, gradient))
            slopes = outputs and torch.autograd.grad(
                loss, outputs, retain_graph=True, allow_unused=True)
            for (func, args, _, _), slope in zip(recorder.layer_uses, slopes):
                if slope is None:
                    continue
                columns = by_position(func, slope).numpy()
                parts = layers[id(args[1])]
                for layer, part in zip(parts,
                                       np.split(columns, len(parts), 1)):
                    layer.gradient_covariance += (
                        probability / count) * part.T @ part
            for parts in layers.values():
                for layer in parts:
                    layer.gradients.append(
                        (probability / count, gradient[layer.indices]))
    covered = [
        layer for weight, parts in layers.items()
        if weight not in other_uses for layer in parts
    ]
    return covered, flat


def kronecker_matrix(layers, flat, method, uncovered, regularization):
    """The dense action of KFAC or EKFAC; `regularization` has P entries."""
    size = len(regularization)
    is_layer = np.zeros(size, dtype=bool)
    fisher = np.diag(sum(p * g**2 for p, g in flat))
    for layer in layers:
        indices = layer.indices.flatten()
        assert not is_layer[indices].any()
        is_layer[indices] = True
        fisher[np.ix_(indices, indices)] = layer.dense(method)
    inverse = np.linalg.inv(fisher + np.diag(regularization))
    if uncovered == "drop":
        inverse[~is_layer] = 0.0
        inverse[:, ~is_layer] = 0.0
    return inverse, bool((~is_layer).any())


def check_kronecker(case, layers, flat):
    """EKFAC is the nearest of all matrices with its eigenvectors."""
    for layer in layers:
        indices = layer.indices.flatten()
        fisher = sum(p * np.outer(g[indices], g[indices]) for p, g in flat)
        distances = [
            np.linalg.norm(fisher - layer.dense(method))
            for method in ("ekfac", "kfac")
        ]
        rounding = 1e-12 * np.linalg.norm(fisher)
        assert distances[0] <= distances[1] + rounding, (case.name, distances)


# Low rank, LiSSA and the inverse harmonic mean.


def rank_with_a_gap(blocks):
    """A rank at which no block's choice of eigenvalues is a close call."""
    for rank in (4, 3, 5, 2, 6, 1):
        close = False
        for matrix in blocks:
            values = np.sort(np.abs(np.linalg.eigvalsh(matrix)))[::-1]
            if len(values) <= rank or values[rank - 1] < 1e-13 * values[0]:
                continue
            close |= values[rank - 1] - values[rank] < 1e-3 * values[0]
        if not close and any(len(matrix) > rank for matrix in blocks):
            return rank
    return None


def low_rank_inverse(matrix, rank, form, regularization):
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(values))[:rank]
    values, vectors = values[order], vectors[:, order]
    if form == "exact":
        part = (vectors * values) @ vectors.T
        return np.linalg.inv(part + regularization * np.eye(len(matrix)))
    bound = np.finfo(float).eps * len(matrix) * np.abs(values).max()
    relative = np.abs(values) / np.abs(values).max()
    assert ((relative < 1e-13) | (relative > 1e-9)).all()
    kept = np.abs(values) >= bound * 100.0
    return (vectors[:, kept] / (values[kept] + regularization)
            ) @ vectors[:, kept].T


def block_diagonal(size, indices, inverses):
    result = np.zeros((size, size))
    for i, inverse in zip(indices, inverses):
        result[np.ix_(i, i)] = inverse
    return result


# All of them.


class MethodResults:
    """Arrays of one case and what each of them is."""

    def __init__(self, case, arrays, mixed_grads):
        self.case = case
        self.grads = arrays["grads"]
        self.test_grads = arrays["test_grads"]
        self.mixed_grads = mixed_grads  # By suffix, (array, shape of one x).
        self.arrays = {}
        self.results = []

    def add(self, inverse, perturbation=False, **fields):
        """`inverse` [P, P] is the method's action."""
        name = "_".join(str(v) for k, v in fields.items()
                        if k not in ("regularization", "scale", "dampen",
                                     "seed"))
        if fields.get("regularization") == "auto":
            name += "_auto"
        fields["array"] = name
        fields["perturbations"] = []
        factors = self.test_grads @ inverse.T
        self.arrays[name] = factors @ self.grads.T
        if perturbation:
            for suffix, (mixed, shape) in self.mixed_grads.items():
                scores = np.einsum("mp,nip->mni", factors, mixed)
                found = f"{name}_perturbation{suffix}"
                self.arrays[found] = scores.reshape(scores.shape[:2] + shape)
                fields["perturbations"].append({
                    "input": int(suffix or 0),
                    "array": found
                })
        self.results.append(fields)


def auto_regularization(grads, indices):
    return [0.1 * np.mean(np.sum(grads[:, i]**2, 1)) / len(i) for i in indices]


def add_kronecker(results, ref, train, y_train, regularization, checks):
    case = results.case
    size = results.grads.shape[1]
    fishers = ["empirical"]
    one_prediction = (case.loss == "binary_cross_entropy_with_logits" or
                      (case.loss == "cross_entropy" and y_train.dim() == 1))
    if one_prediction:
        fishers.append("exact")
    if case.loss != "mse":
        fishers.append("sampled")
    for fisher in fishers:
        layers, flat = kronecker_layers(ref, train, y_train, fisher)
        if checks:
            check_kronecker(case, layers, flat)
        fields = {"fisher": fisher}
        if fisher == "sampled":
            fields["seed"] = SEED
        for method, uncovered in itertools.product(("kfac", "ekfac"),
                                                   ("diagonal", "drop")):
            inverse, any_uncovered = kronecker_matrix(
                layers, flat, method, uncovered, np.full(size, regularization))
            if uncovered == "drop" and not any_uncovered:
                continue
            results.add(inverse, perturbation=case.whole and
                        uncovered == "diagonal", method=method,
                        **fields, uncovered=uncovered,
                        regularization=regularization)
        if not case.whole:
            continue
        indices = [i for _, i in reference.blocks(ref.model, "layer")]
        values = np.zeros(size)
        for i, value in zip(indices, auto_regularization(results.grads,
                                                         indices)):
            values[i] = value
        if values.min() == 0.0:
            continue
        for method in ("kfac", "ekfac"):
            inverse, _ = kronecker_matrix(layers, flat, method, "diagonal",
                                          values)
            results.add(inverse, method=method, **fields,
                        uncovered="diagonal", regularization="auto")


def add_curvature_methods(results, model, curvatures, regularization):
    """curvatures: by name, [P, P]."""
    size = results.grads.shape[1]
    for structure in reference.STRUCTURES:
        indices = [i for _, i in reference.blocks(model, structure)]
        eye = [np.eye(len(i)) for i in indices]
        inverses = []
        for i, one in zip(indices, eye):
            inverses.append(
                np.mean([
                    np.linalg.inv(np.outer(g, g) + regularization * one)
                    for g in results.grads[:, i]
                ], 0))
        results.add(block_diagonal(size, indices, inverses),
                    perturbation=results.case.whole, method="ihm",
                    structure=structure, regularization=regularization)
        for curvature, matrix in curvatures.items():
            blocks = [matrix[np.ix_(i, i)] for i in indices]
            fields = {"structure": structure, "curvature": curvature,
                      "regularization": regularization}

            # The scale is that of the largest block: A / s below 1.
            largest = max(np.linalg.eigvalsh(b).max() for b in blocks)
            scale = float(f"{1.2 * (largest + regularization):.2g}")
            dampen = 0.1
            results.add(
                block_diagonal(size, indices, [
                    np.linalg.inv(b + (regularization + scale * dampen) * one)
                    for b, one in zip(blocks, eye)
                ]), method="lissa", scale=scale, dampen=dampen, **fields)

            rank = rank_with_a_gap(blocks)
            if rank is None:
                continue
            for form in ("exact", "projected"):
                results.add(
                    block_diagonal(size, indices, [
                        low_rank_inverse(b, rank, form, regularization)
                        for b in blocks
                    ]), perturbation=results.case.whole and
                    structure == "full", method="arnoldi",
                    low_rank_inverse=form, rank=rank, **fields)


def compute(case, arrays, ref, train, y_train, curvatures, mixed_grads,
            checks):
    """MethodResults of one case, or None if it is in no list above."""
    results = MethodResults(case, arrays, mixed_grads)
    regularization = float(arrays["regularization"])
    if case.name in KRONECKER_CASES:
        add_kronecker(results, ref, train, y_train, regularization, checks)
    if case.name in CURVATURE_CASES:
        add_curvature_methods(results, ref.model, curvatures, regularization)
    return results if results.results else None
