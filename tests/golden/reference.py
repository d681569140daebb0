# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Reference values by the most direct route PyTorch offers, in float64.

One sample at a time, one row of a matrix at a time, dense solves: slow, and
independent of how the library arrives at the same numbers.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CURVATURES = ("hessian", "gauss_newton", "generalized_gauss_newton")
STRUCTURES = ("full", "layer", "parameter")
ROOT_BLOCK = "_root"
IGNORED_LABEL = -100


def sample_loss(name, output, y):
    """Loss of ONE sample: output and y have a leading dimension of 1."""
    assert output.shape[0] == 1 and y.shape[0] == 1
    if name == "cross_entropy":
        return F.cross_entropy(output.reshape(-1, output.shape[-1]),
                               y.reshape(-1),
                               ignore_index=IGNORED_LABEL,
                               reduction="sum")
    if name == "mse":
        return F.mse_loss(output, y)
    if name == "binary_cross_entropy_with_logits":
        return F.binary_cross_entropy_with_logits(output, y)
    raise ValueError(name)


def sample_query(name, output, y):
    """Query functions of one sample, summed over the tokens of a sequence."""
    logits = output.reshape(-1, output.shape[-1])
    labels = y.reshape(-1)
    total = output.new_zeros(())
    for row, label in zip(logits, labels.tolist()):
        if label == IGNORED_LABEL:
            continue
        if name == "logit":
            total = total + row[label]
        elif name == "margin":
            others = [k for k in range(row.numel()) if k != label]
            total = total + row[label] - torch.logsumexp(row[others], 0)
        else:
            raise ValueError(name)
    return total


def trainable(model):
    """Trainable parameters by name; an alias counts under its first name."""
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def blocks(model, structure):
    """Ordered [(block name, [indices into the flat parameter vector])]."""
    result = {}
    offset = 0
    for name, parameter in trainable(model):
        if structure == "full":
            key = "full"
        elif structure == "layer":
            key = name.rpartition(".")[0] or ROOT_BLOCK
        else:
            key = name
        indices = range(offset, offset + parameter.numel())
        result.setdefault(key, []).extend(indices)
        offset += parameter.numel()
    return [(key, np.array(value)) for key, value in result.items()]


def padding_entries(model):
    """Mask [P] of the entries that PyTorch treats as constants.

    An embedding's row at padding_idx takes part in the output, but has no
    derivative, of any order.
    """
    padded = {}
    for module in model.modules():
        if getattr(module, "padding_idx", None) is not None:
            padded[module.weight] = module.padding_idx
    masks = []
    for _, parameter in trainable(model):
        mask = torch.zeros(parameter.shape, dtype=torch.bool)
        if parameter in padded:
            mask[padded[parameter]] = True
        masks.append(mask.flatten())
    return torch.cat(masks)


def flat_gradient(scalar, wrt, **kwargs):
    """Gradient of a scalar in several tensors, flattened; zero if unused."""
    if not scalar.requires_grad:
        return torch.cat([torch.zeros_like(w).flatten() for w in wrt])
    found = torch.autograd.grad(scalar, wrt, allow_unused=True, **kwargs)
    return torch.cat([(torch.zeros_like(w) if g is None else g).flatten()
                      for g, w in zip(found, wrt)])


class Reference:
    """All derivatives of one model and loss, sample by sample."""

    def __init__(self, model, loss):
        self.model = model
        self.loss = loss
        self.parameters = [p for _, p in trainable(model)]

    def _loss(self, inputs, y):
        return sample_loss(self.loss, self.model(*inputs), y)

    def gradients(self, inputs, y, query=None):
        rows = []
        for n in range(y.shape[0]):
            sample = [x[n:n + 1] for x in inputs]
            output = self.model(*sample)
            if query is None:
                value = sample_loss(self.loss, output, y[n:n + 1])
            else:
                value = sample_query(query, output, y[n:n + 1])
            rows.append(flat_gradient(value, self.parameters).detach())
        return torch.stack(rows)

    def mixed_gradients(self, inputs, y, which):
        """[N, n, P]: derivative in input `which` of the gradient in theta."""
        result = []
        for n in range(y.shape[0]):
            sample = [x[n:n + 1].clone() for x in inputs]
            sample[which].requires_grad_(True)
            gradient = flat_gradient(self._loss(sample, y[n:n + 1]),
                                     self.parameters,
                                     create_graph=True)
            rows = [
                flat_gradient(entry, [sample[which]], retain_graph=True)
                for entry in gradient
            ]
            result.append(torch.stack(rows, 1).detach())
        return torch.stack(result)

    def hessian(self, inputs, y):
        """Hessian of the mean loss, row by row."""
        count = y.shape[0]
        total = 0.0
        for n in range(count):
            sample = [x[n:n + 1] for x in inputs]
            gradient = flat_gradient(self._loss(sample, y[n:n + 1]),
                                     self.parameters,
                                     create_graph=True)
            rows = [
                flat_gradient(entry, self.parameters, retain_graph=True)
                for entry in gradient
            ]
            total = total + torch.stack(rows).detach()
        return total / count

    def generalized_gauss_newton(self, inputs, y):
        """Mean over samples of J^T H J, J and H formed densely."""
        count = y.shape[0]
        total = 0.0
        for n in range(count):
            sample = [x[n:n + 1] for x in inputs]
            output = self.model(*sample)
            jacobian = torch.stack([
                flat_gradient(entry, self.parameters, retain_graph=True)
                for entry in output.flatten()
            ])
            leaf = output.detach().requires_grad_(True)
            slope = flat_gradient(sample_loss(self.loss, leaf, y[n:n + 1]),
                                  [leaf],
                                  create_graph=True)
            curvature = torch.stack([
                flat_gradient(entry, [leaf], retain_graph=True)
                for entry in slope
            ])
            total = total + jacobian.T @ curvature @ jacobian
        return (total / count).detach()

    def hessian_by_differences(self, inputs, y, step=1e-6):
        """Central differences of the mean gradient: checks hessian()."""
        columns = []
        with torch.no_grad():
            for parameter in self.parameters:
                flat = parameter.view(-1)
                for i in range(flat.numel()):
                    keep = flat[i].item()
                    sides = []
                    for sign in (1.0, -1.0):
                        flat[i] = keep + sign * step
                        with torch.enable_grad():
                            sides.append(self.gradients(inputs, y).mean(0))
                    flat[i] = keep
                    columns.append((sides[0] - sides[1]) / (2.0 * step))
        result = torch.stack(columns, 1)
        result[:, padding_entries(self.model)] = 0.0
        return result


def well_conditioned_regularization(matrices):
    """A damping that keeps every block of every curvature solvable.

    It exceeds twice the most negative eigenvalue, so all damped blocks are
    positive definite (a principal block's spectrum lies within the whole's),
    and a tenth of the largest eigenvalue bounds the condition number.
    """
    values = np.concatenate([np.linalg.eigvalsh(m) for m in matrices])
    bound = max(0.1 * values.max(), -2.0 * values.min(), 1e-3)
    return float(f"{bound:.2g}")


def inverse_times(matrix, block_indices, regularizations, rows):
    """A^-1 applied to each row, A block-diagonal: [B, M, P] by block.

    Entries outside a block are zero, so the sum over blocks is A^-1 rows.
    """
    result = np.zeros((len(block_indices),) + rows.shape)
    for b, indices in enumerate(block_indices):
        damped = matrix[np.ix_(indices, indices)]
        damped = damped + regularizations[b] * np.eye(len(indices))
        result[b][:, indices] = np.linalg.solve(damped, rows[:, indices].T).T
    return result
