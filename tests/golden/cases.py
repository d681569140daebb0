# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""The table of golden cases: model, data, loss and what to store."""

import dataclasses
from typing import Callable, Optional, Tuple

import torch
from torch import nn

import layers
import models

CROSS_ENTROPY = "cross_entropy"
MSE = "mse"
BCE = "binary_cross_entropy_with_logits"


@dataclasses.dataclass(frozen=True)
class Case:
    """One golden case.

    inputs: a shape of one sample for each input; with `words` given (an
      entry per input, None for a floating one) the input holds tokens.
    ignored: share of labels set to -100.
    min_torch: oldest LibTorch that knows every operator in the file.
    """
    name: str
    kind: str
    build: Callable[[], nn.Module]
    loss: str
    inputs: Tuple[Tuple[int, ...], ...]
    words: Optional[Tuple[Optional[int], ...]] = None
    num_train: int = 5
    num_test: int = 3
    ignored: float = 0.0
    whole: bool = False  # A whole model: store scores by block and by mode.
    detached: bool = False  # Derivatives leave out a use of a parameter.
    zero: bool = False  # All parameters are zero: every class equally likely.
    queries: Tuple[str, ...] = ()
    trace: bool = False
    min_torch: str = "1.13"


def _layer(name, kind, build, loss, *inputs, **kwargs):
    return Case(name, kind, build, loss, inputs, **kwargs)


def _model(name, kind, build, loss, *inputs, **kwargs):
    return Case(name, kind, build, loss, inputs, whole=True, **kwargs)


def _linear_cases():
    pair = layers.LinearPair
    return [
        _layer("linear_2d", "linear", lambda: pair(3, 4, 2, True), MSE, (3,)),
        _layer("linear_2d_no_bias", "linear", lambda: pair(3, 4, 2, False),
               CROSS_ENTROPY, (3,)),
        _layer("linear_3d", "linear", lambda: pair(2, 3, 2, True),
               CROSS_ENTROPY, (3, 2)),
        _layer("linear_3d_no_bias", "linear", lambda: pair(2, 3, 2, False),
               MSE, (3, 2)),
        _layer("linear_4d", "linear", lambda: pair(2, 3, 2, True), BCE,
               (2, 3, 2)),
        _layer("linear_4d_no_bias", "linear", lambda: pair(2, 3, 2, False),
               CROSS_ENTROPY, (2, 2, 2)),
        _layer("linear_traced", "linear", lambda: pair(2, 3, 2, True), MSE,
               (3, 2), trace=True),
        _layer("linear_addmm", "linear",
               lambda: layers.AffineAddmm(3, 3), CROSS_ENTROPY, (3,)),
        _layer("linear_addmm_scaled", "linear",
               lambda: layers.AffineAddmmScaled(3, 3), CROSS_ENTROPY, (3,)),
        _layer("linear_matmul_add", "linear",
               lambda: layers.AffineMatmulAdd(3, 2, transposed=True), BCE,
               (3,)),
        _layer("linear_matmul_add_3d", "linear",
               lambda: layers.Flat(
                   layers.AffineMatmulAdd(3, 2, transposed=True)), MSE,
               (3, 3)),
        _layer("linear_mm", "linear",
               lambda: layers.AffineMm(3, 2, transposed=True), BCE, (3,)),
        _layer("linear_mv", "linear", lambda: layers.AffineVector(3, 1), BCE,
               (3,)),
        _layer("linear_functional", "linear",
               lambda: layers.AffineFunctional(3, 3), CROSS_ENTROPY, (3,)),
        _layer("linear_einsum", "linear", lambda: layers.AffineEinsum(3, 3),
               CROSS_ENTROPY, (3,)),
        _layer("linear_einsum_3d", "linear",
               lambda: layers.AffineEinsumTokens(3, 2), MSE, (4, 3)),
        _layer("linear_left", "linear", lambda: layers.AffineLeft(3, 3),
               CROSS_ENTROPY, (3,)),
        _layer("linear_left_3d", "linear",
               lambda: layers.AffineLeftTokens(3, 2), BCE, (4, 3)),
        _layer("linear_bmm", "linear", lambda: layers.AffineBmm(3, 2), MSE,
               (4, 3)),
        _layer("linear_copied_weight", "uncovered",
               lambda: layers.AffineCopied(3, 3), CROSS_ENTROPY, (3,)),
        _layer("linear_sliced_weight", "linear",
               lambda: layers.AffineSliced(3, 4), MSE, (3,)),
        _layer("linear_masked_weight", "uncovered",
               lambda: layers.AffineMasked(3, 3), CROSS_ENTROPY, (3,)),
    ]


def _conv(dims, *args, **kwargs):
    cls = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return lambda: layers.Flat(cls(*args, **kwargs))


def _transposed(dims, *args, **kwargs):
    cls = (nn.ConvTranspose1d, nn.ConvTranspose2d,
           nn.ConvTranspose3d)[dims - 1]
    return lambda: layers.Flat(cls(*args, **kwargs))


def _conv_cases():
    result = [
        _layer("conv1d", "conv", _conv(1, 2, 3, 2), MSE, (2, 5)),
        _layer("conv1d_stride_padding_dilation", "conv",
               _conv(1, 2, 2, 3, stride=2, padding=2, dilation=2), BCE,
               (2, 6)),
        _layer("conv1d_groups", "conv", _conv(1, 4, 2, 2, groups=2), MSE,
               (4, 4)),
        _layer("conv1d_no_bias", "conv", _conv(1, 2, 2, 3, bias=False), MSE,
               (2, 5)),
        _layer("conv2d", "conv",
               lambda: layers.FlatHead(nn.Conv2d(1, 2, 2), 8, 3),
               CROSS_ENTROPY, (1, 3, 3)),
        _layer("conv2d_stride_padding_dilation", "conv",
               _conv(2, 1, 2, (2, 3), stride=(2, 1), padding=(1, 2),
                     dilation=(2, 1)), MSE, (1, 4, 3)),
        _layer("conv2d_stride_unused_border", "conv",
               _conv(2, 1, 2, 2, stride=3), BCE, (1, 4, 4)),
        _layer("conv2d_groups", "conv",
               _conv(2, 4, 4, 2, groups=2, bias=False), MSE, (4, 2, 3)),
        _layer("conv2d_depthwise", "conv",
               _conv(2, 2, 4, 2, groups=2, padding=1), MSE, (2, 2, 2)),
        _layer("conv2d_pointwise", "conv", _conv(2, 3, 2, 1), MSE,
               (3, 2, 2)),
        _layer("conv2d_traced", "conv", _conv(2, 1, 2, 3, padding=1), MSE,
               (1, 3, 3), trace=True),
        _layer("conv3d", "conv", _conv(3, 1, 2, 2), MSE, (1, 2, 3, 2)),
        _layer("conv3d_stride_padding_dilation", "conv",
               _conv(3, 1, 2, (1, 2, 2), stride=(2, 1, 1), padding=(0, 1, 1),
                     dilation=(1, 2, 1)), BCE, (1, 3, 2, 2)),
        _layer("conv3d_groups", "conv", _conv(3, 2, 2, 2, groups=2), MSE,
               (2, 2, 2, 3)),
    ]
    sizes = {1: (2, 4), 2: (1, 3, 3), 3: (1, 2, 3, 2)}
    for dims, shape in sizes.items():
        for mode in ("reflect", "replicate", "circular"):
            result.append(
                _layer(f"conv{dims}d_{mode}", "conv",
                       _conv(dims, shape[0], 2, 2, padding=1,
                             padding_mode=mode), MSE, shape))
        # An even kernel: 'same' pads one side more than the other.
        result.append(
            _layer(f"conv{dims}d_same", "conv",
                   _conv(dims, shape[0], 2, 2, padding="same"), MSE, shape))
    result += [
        _layer("conv1d_same_dilation", "conv",
               _conv(1, 2, 2, 3, padding="same", dilation=2), MSE, (2, 4)),
        _layer("conv1d_same_reflect", "conv",
               _conv(1, 2, 2, 2, padding="same", padding_mode="reflect"),
               MSE, (2, 4)),
        _layer("conv2d_valid", "conv", _conv(2, 1, 2, 2, padding="valid"),
               MSE, (1, 3, 3)),
        _layer("conv_transpose1d", "conv_transpose", _transposed(1, 2, 3, 2),
               MSE, (2, 3)),
        _layer("conv_transpose1d_full", "conv_transpose",
               _transposed(1, 2, 4, 3, stride=2, padding=1, output_padding=1,
                           groups=2, dilation=2), MSE, (2, 3)),
        _layer("conv_transpose2d", "conv_transpose",
               _transposed(2, 2, 2, 2, bias=False), MSE, (2, 2, 2)),
        _layer("conv_transpose2d_full", "conv_transpose",
               _transposed(2, 2, 2, (2, 3), stride=(2, 1), padding=(1, 0),
                           output_padding=(1, 0), groups=2,
                           dilation=(2, 1)), BCE, (2, 2, 2)),
        _layer("conv_transpose3d", "conv_transpose", _transposed(3, 1, 2, 2),
               MSE, (1, 2, 1, 2)),
        _layer("conv_transpose3d_full", "conv_transpose",
               _transposed(3, 2, 2, (1, 2, 2), stride=(1, 2, 1),
                           padding=(0, 1, 1), output_padding=(0, 1, 0),
                           groups=2, dilation=(1, 1, 2)), MSE, (2, 1, 2, 2)),
    ]
    return result


def _other_layer_cases():
    norm = layers.NormHead
    return [
        _layer("embedding", "embedding",
               lambda: layers.EmbeddingHead(6, 3, 2, False), CROSS_ENTROPY,
               (4,), words=(6,)),
        _layer("embedding_padding_idx", "embedding",
               lambda: layers.EmbeddingHead(4, 3, 2, True), CROSS_ENTROPY,
               (5,), words=(4,)),
        _layer("embedding_indexed", "uncovered",
               lambda: layers.IndexedTable(5, 3, 2), MSE, (4,), words=(5,)),
        _layer("layer_norm", "norm",
               lambda: norm(3, 4, nn.LayerNorm(4), 2), CROSS_ENTROPY, (3,)),
        _layer("layer_norm_3d", "norm",
               lambda: norm(2, 3, nn.LayerNorm(3), 2), MSE, (3, 2)),
        _layer("layer_norm_two_dims", "norm",
               lambda: norm(2, 3, nn.LayerNorm([3, 3]), 2), MSE, (3, 2)),
        _layer("group_norm", "norm",
               lambda: layers.ConvNorm(nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4)),
               MSE, (1, 3, 3)),
        _layer("group_norm_2d", "norm",
               lambda: norm(3, 4, nn.GroupNorm(2, 4), 2), MSE, (3,)),
        _layer("rms_norm", "norm", lambda: norm(2, 3, nn.RMSNorm(3), 2), MSE,
               (3, 2), min_torch="2.4"),
        _layer("rms_norm_functional", "norm",
               lambda: norm(3, 4, layers.FunctionalRmsNorm(4), 2),
               CROSS_ENTROPY, (3,), min_torch="2.4"),
        _layer("rms_norm_handwritten", "norm",
               lambda: norm(2, 3, layers.HandWrittenRmsNorm(3), 2), MSE,
               (3, 2)),
        _layer("batch_norm1d", "norm",
               lambda: norm(3, 4, nn.BatchNorm1d(4), 2), CROSS_ENTROPY,
               (3,)),
        _layer("batch_norm1d_sequence", "norm",
               lambda: layers.ConvNorm(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3)),
               MSE, (2, 4)),
        _layer("batch_norm2d", "norm",
               lambda: layers.ConvNorm(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3)),
               BCE, (1, 3, 3)),
        _layer("batch_norm3d", "norm",
               lambda: layers.ConvNorm(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2)),
               MSE, (1, 2, 3, 3)),
        _layer("scale_bias", "elementwise",
               lambda: layers.ScaleBias([3], [3]), MSE, (3,)),
        _layer("scale_bias_tokens", "elementwise",
               lambda: layers.ScaleBias([3], [2, 3]), MSE, (2, 3)),
        _layer("scale_bias_channel", "elementwise",
               lambda: layers.ScaleBias([3, 1, 1], [3, 1, 1]), MSE,
               (3, 2, 2)),
        _layer("scale_bias_leading_one", "elementwise",
               lambda: layers.ScaleBias([1, 1, 3], [1, 2, 1]), MSE, (2, 3)),
        _layer("scale_bias_expands_input", "elementwise",
               lambda: layers.ScaleBias([3], [2, 1]), MSE, (2, 1)),
        _layer("elementwise_divide_subtract", "elementwise",
               lambda: layers.DivideSubtract(4), MSE, (4,)),
        _layer("elementwise_add_alpha", "elementwise",
               lambda: layers.AddScaled(3), MSE, (3,)),
        _layer("elementwise_scalar", "elementwise",
               lambda: layers.ScalarParameters(3, 3), CROSS_ENTROPY, (3,)),
        _layer("position_embedding", "elementwise",
               lambda: layers.PositionEmbedding(5, 4, 3, 2), CROSS_ENTROPY,
               (4,), words=(5,)),
        _layer("position_lookup", "embedding",
               lambda: layers.PositionLookup(5, 4, 3, 2), CROSS_ENTROPY,
               (4,), words=(5,)),
        _layer("attention_multihead", "attention",
               lambda: layers.MultiheadSelf(2, 2, True), MSE, (3, 2),
               min_torch="2.0"),
        _layer("attention_multihead_sequence_first", "attention",
               lambda: layers.MultiheadSelf(2, 1, False), MSE, (3, 2),
               min_torch="2.0"),
        _layer("attention_multihead_traced", "attention",
               lambda: layers.MultiheadSelf(2, 1, True), MSE, (3, 2),
               trace=True, min_torch="2.0"),
        _layer("attention_multihead_cross", "attention",
               lambda: layers.MultiheadCross(2, 1), MSE, (3, 2),
               trace=True, min_torch="2.0"),
        _layer("attention_fused_output", "attention",
               lambda: layers.FusedAttention(4, 2), MSE, (2, 4)),
        _layer("attention_chunked_weight", "attention",
               lambda: layers.ChunkedWeightAttention(3), MSE, (3, 3)),
        _layer("shared_linear", "shared", lambda: layers.SharedLinear(3),
               CROSS_ENTROPY, (3,)),
        _layer("shared_module", "shared", lambda: layers.SharedModule(3),
               CROSS_ENTROPY, (3,)),
        _layer("shared_conv", "shared", layers.SharedConv, MSE, (2, 4, 2)),
        _layer("shared_transposed", "shared",
               lambda: layers.TiedAutoencoder(3, 2), MSE, (3,)),
        _layer("shared_embedding_decoder", "shared",
               lambda: layers.TiedEmbedding(4, 3), CROSS_ENTROPY, (3,),
               words=(4,)),
        _layer("sequence_first", "layout",
               lambda: layers.SequenceFirst(2, 3, 2), MSE, (3, 2)),
        # As many positions as samples, so that sizes do not tell them apart.
        _layer("sequence_first_square", "layout",
               lambda: layers.SequenceFirst(2, 3, 2), CROSS_ENTROPY, (5, 2)),
        _layer("flatten_sample_major", "layout",
               lambda: layers.FlattenTokens(2, 3, 2, False), MSE, (3, 2)),
        _layer("flatten_time_major", "layout",
               lambda: layers.FlattenTokens(2, 3, 2, True), MSE, (3, 2)),
        _layer("flatten_time_major_square", "layout",
               lambda: layers.FlattenTokens(2, 3, 2, True), CROSS_ENTROPY,
               (5, 2)),
    ]


def _model_cases():
    both = ("margin", "logit")
    return [
        _model("logistic_regression", "linear", lambda: nn.Linear(4, 3),
               CROSS_ENTROPY, (4,), num_train=8, queries=both),
        _model("zero_classifier", "linear", lambda: nn.Linear(3, 2),
               CROSS_ENTROPY, (3,), num_train=6, zero=True),
        _model("zero_detector", "linear", lambda: nn.Linear(3, 1), BCE, (3,),
               num_train=6, zero=True),
        _model("multi_label", "linear", lambda: models.Mlp(3, 3, 2, True),
               BCE, (3,), num_train=7),
        _model("mlp", "linear", lambda: models.Mlp(3, 4, 3, True),
               CROSS_ENTROPY, (3,), num_train=7, queries=both),
        _model("mlp_no_bias", "linear", lambda: models.Mlp(3, 4, 2, False),
               MSE, (3,), num_train=7),
        _model("cnn", "conv", models.Cnn, CROSS_ENTROPY, (1, 4, 4),
               num_train=6),
        _model("transformer_float", "attention",
               lambda: models.TransformerFloat(4, 2, 2), CROSS_ENTROPY,
               (3, 4), min_torch="2.0"),
        _model("transformer_traced", "attention",
               lambda: models.TransformerFloat(2, 1, 2), MSE, (3, 2),
               min_torch="2.0", trace=True),
        _model("transformer_causal_tokens", "attention",
               lambda: models.TransformerTokens(5, 4, 4, 2), CROSS_ENTROPY,
               (4,), words=(5,), num_train=6, ignored=0.25, queries=both,
               min_torch="2.0"),
        _model("transformer_masked", "attention",
               lambda: models.MaskedTransformer(3, 3, 2), CROSS_ENTROPY,
               (3, 3), ignored=0.2),
        _model("tied_language_model", "shared",
               lambda: layers.TiedEmbedding(6, 4), CROSS_ENTROPY, (4,),
               words=(6,), num_train=6, ignored=0.2),
        _model("two_inputs", "linear", models.TwoInputs, CROSS_ENTROPY, (3,),
               (1, 3)),
        _model("tokens_and_features", "embedding", models.TokensAndFeatures,
               MSE, (3,), (2,), words=(5, None)),
        _model("frozen_layers", "linear", models.Frozen, CROSS_ENTROPY,
               (4,)),
        _model("elementwise_parameters", "elementwise",
               lambda: models.Elementwise(4), MSE, (4,)),
        _model("root_parameters", "linear", models.RootParameters,
               CROSS_ENTROPY, (3,)),
        _model("single_sample", "linear", lambda: models.Mlp(3, 3, 2, True),
               CROSS_ENTROPY, (3,), num_train=1, num_test=1),
        _model("inplace_relu", "linear", models.InplaceRelu, CROSS_ENTROPY,
               (1, 3, 3)),
        _model("inplace_arithmetic", "elementwise", models.InplaceArithmetic,
               MSE, (3,)),
        _model("detached_weight", "linear", models.DetachedWeight, MSE,
               (4,), detached=True),
        _model("unused_parameter", "linear", models.UnusedParameter, MSE,
               (3,)),
        _model("dropout_eval", "linear", models.DropoutEval, CROSS_ENTROPY,
               (3,)),
        _model("uncovered_weight_norm", "uncovered",
               lambda: models.WeightNorm(3, 3), MSE, (3,)),
        _model("uncovered_bilinear", "uncovered", models.BilinearModel, MSE,
               (3,)),
        _model("uncovered_prelu", "uncovered", models.PReluModel, MSE, (3,)),
        _model("uncovered_lstm", "uncovered", models.LstmModel, MSE, (3, 2)),
        _model("uncovered_gru", "uncovered", models.GruModel, MSE, (3, 2)),
    ]


def all_cases():
    cases = (_linear_cases() + _conv_cases() + _other_layer_cases() +
             _model_cases())
    names = [case.name for case in cases]
    assert len(names) == len(set(names)), "two cases of one name"
    return cases


def randomize(model, generator):
    """Moves parameters and buffers off their defaults (ones and zeros)."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator,
                                dtype=torch.float64)
            parameter.copy_(0.5 * parameter + 0.4 * noise +
                            0.5 * (parameter == 1.0))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * torch.randn(buffer.shape,
                                               generator=generator,
                                               dtype=torch.float64))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape,
                                              generator=generator,
                                              dtype=torch.float64))


def make_inputs(case, count, generator):
    words = case.words or (None,) * len(case.inputs)
    result = []
    for shape, limit in zip(case.inputs, words):
        if limit is None:
            result.append(torch.randn((count,) + shape, generator=generator,
                                      dtype=torch.float64))
        else:
            result.append(torch.randint(limit, (count,) + shape,
                                        generator=generator))
    return result


def make_labels(case, output, generator):
    """Labels that fit `output`, drawn whatever the model predicts."""
    shape = output.shape
    if case.loss == CROSS_ENTROPY:
        labels = torch.randint(shape[-1], shape[:-1], generator=generator)
        if case.ignored:
            drawn = torch.rand(labels.shape, generator=generator)
            labels[drawn < case.ignored] = -100
        return labels
    if case.loss == MSE:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    # Soft labels, as the loss allows.
    return torch.rand(shape, generator=generator, dtype=torch.float64)
