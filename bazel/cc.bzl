# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""The C++ rules of this project: native rules plus the flags, which live here.

Attributes are those of the native rules. External headers are system includes,
so the warnings below concern our own code only.
"""

_COPTS = [
    "-std=c++20",
    # at::parallel_for runs on one thread in a file compiled without it.
    "-fopenmp",
    "-Wall",
    "-Wextra",
    "-Wcast-qual",
    "-Wextra-semi",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wshadow",
    "-Wvla",
    "-Werror",
]

_LINKOPTS = ["-fopenmp"]

def influence_cc_library(name, copts = [], **kwargs):
    # Static only: tests, benchmarks and programs share one set of objects.
    native.cc_library(
        name = name,
        copts = _COPTS + copts,
        linkstatic = True,
        **kwargs
    )

def influence_cc_test(name, copts = [], linkopts = [], **kwargs):
    native.cc_test(
        name = name,
        copts = _COPTS + copts,
        linkopts = _LINKOPTS + linkopts,
        linkstatic = True,
        **kwargs
    )

def influence_cc_binary(name, copts = [], linkopts = [], **kwargs):
    native.cc_binary(
        name = name,
        copts = _COPTS + copts,
        linkopts = _LINKOPTS + linkopts,
        **kwargs
    )
