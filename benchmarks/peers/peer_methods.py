# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Methods of the Python peers: each returns scores, fit and score seconds.

`scores` is [M, N], or None where a peer has only a fit. Settings are the
peers' defaults unless the comparison names them.
"""

import tempfile
import time

import models


def loaders(train, test, batch_size):
    from torch.utils.data import DataLoader, TensorDataset
    return [
        DataLoader(TensorDataset(*data), batch_size=batch_size or len(data[1]))
        for data in (train, test)
    ]


def pydvl_model(name, model, arguments):
    from pydvl.influence import torch as pydvl
    regularization = arguments.regularization
    loss = models.batch_loss
    if name == "cg":
        return pydvl.CgInfluence(model, loss, regularization=regularization,
                                 solve_simultaneously=True)
    if name == "cg_single":
        return pydvl.CgInfluence(model, loss, regularization=regularization,
                                 solve_simultaneously=False)
    if name == "lissa":
        return pydvl.LissaInfluence(model, loss, regularization=regularization,
                                    scale=arguments.scale)
    if name == "arnoldi":
        return pydvl.ArnoldiInfluence(model, loss,
                                      regularization=regularization,
                                      rank=arguments.rank, use_woodbury=True)
    if name == "nystroem":
        # Of the Hessian, though this model's is indefinite: the Gauss-Newton
        # matrix here is that of a batch's mean gradient, of rank one.
        return pydvl.NystroemSketchInfluence(model, loss,
                                             regularization=regularization,
                                             rank=arguments.rank)
    if name == "ihm":
        return pydvl.InverseHarmonicMeanInfluence(
            model, loss, regularization=regularization)
    if name == "ekfac":
        return pydvl.EkfacInfluence(model, update_diagonal=True,
                                    hessian_regularization=regularization)
    raise ValueError(name)


def run_pydvl(name, model, train, test, arguments):
    from pydvl.influence import SequentialInfluenceCalculator
    from pydvl.influence.torch.util import NestedTorchCatAggregator

    train_loader, test_loader = loaders(train, test, arguments.batch_size)
    begin = time.perf_counter()
    influence = pydvl_model(name, model, arguments)
    influence.fit(train_loader)
    middle = time.perf_counter()
    scores = SequentialInfluenceCalculator(influence).influences(
        test_loader, train_loader).compute(
            aggregator=NestedTorchCatAggregator())
    return scores, middle - begin, time.perf_counter() - middle


def run_kronfluence(model, train, test, arguments):
    """EKFAC of all Linear and convolution layers, empirical Fisher."""
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task
    from torch.utils.data import TensorDataset

    class SummedLoss(Task):

        def compute_train_loss(self, batch, model, sample=False):
            x, y = batch
            return models.batch_loss(model(x), y) * y.shape[0]

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

    task = SummedLoss()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        analyzer = Analyzer("peer", prepare_model(model, task), task, cpu=True,
                            disable_tqdm=True, disable_model_save=True,
                            output_dir=folder)
        train_set, test_set = TensorDataset(*train), TensorDataset(*test)
        analyzer.fit_all_factors(
            "factors", train_set,
            per_device_batch_size=arguments.batch_size or 256,
            factor_args=FactorArguments(strategy="ekfac",
                                        use_empirical_fisher=True))
        middle = time.perf_counter()
        analyzer.compute_pairwise_scores(
            "scores", "factors", test_set, train_set,
            per_device_query_batch_size=arguments.query_batch_size or
            len(test_set),
            per_device_train_batch_size=arguments.batch_size or 256,
            score_args=ScoreArguments(
                damping_factor=arguments.regularization))
        scores = analyzer.load_pairwise_scores("scores")["all_modules"]
        end = time.perf_counter()
    return scores, middle - begin, end - middle


def run_curvlinops(model, train, test, arguments):
    """The statistics of EKFAC alone."""
    from curvlinops.ekfac import EKFACLinearOperator
    from curvlinops.kfac import FisherType
    from torch import nn

    train_loader, _ = loaders(train, test, arguments.batch_size)
    begin = time.perf_counter()
    operator = EKFACLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), train_loader,
        fisher_type=FisherType.EMPIRICAL, separate_weight_and_bias=False,
        check_deterministic=False)
    _ = operator.trace  # Computes factors, eigenvectors and corrections.
    return None, time.perf_counter() - begin, 0.0


def run(task, model, train, test, arguments):
    library, name = task.split("_", 1)
    if library == "pydvl":
        return run_pydvl(name, model, train, test, arguments)
    if library == "kronfluence":
        return run_kronfluence(model, train, test, arguments)
    if library == "curvlinops":
        return run_curvlinops(model, train, test, arguments)
    raise ValueError(task)


TASKS = [
    "pydvl_cg", "pydvl_cg_single", "pydvl_lissa", "pydvl_arnoldi",
    "pydvl_nystroem", "pydvl_ihm", "pydvl_ekfac", "kronfluence_ekfac",
    "curvlinops_ekfac"
]
