# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""The C++ rules of this project: native rules plus the flags, which live here.

Attributes are those of the native rules. External headers are system includes,
so the warnings below concern our own code only.
"""

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wcast-qual",
    "-Wextra-semi",
    "-Wnon-virtual-dtor",
    "-Woverloaded-virtual",
    "-Wshadow",
    "-Wvla",
]

# at::parallel_for runs on one thread in a file compiled without it.
_OPENMP = ["-fopenmp"]

_COPTS = ["-std=c++20"] + _WARNINGS + select({
    # Clang would need an OpenMP runtime of its own beside LibTorch's, and its
    # warnings are clang-tidy's business.
    "//bazel:fuzz": [],
    "//conditions:default": _OPENMP + ["-Werror"],
}) + select({
    # GCC's flow analysis is wrong about instrumented code of LibTorch's headers.
    "//bazel:asan": ["-Wno-maybe-uninitialized"],
    "//bazel:tsan": ["-Wno-maybe-uninitialized"],
    "//conditions:default": [],
})

_LINKOPTS = select({
    "//bazel:fuzz": [],
    "//conditions:default": _OPENMP,
})

# What the sanitizers are told, linked into all that runs.
_SANITIZER_DEPS = select({
    "//bazel:asan": ["//tools/sanitizers:defaults"],
    "//bazel:fuzz": ["//tools/sanitizers:defaults"],
    "//bazel:tsan": ["//tools/sanitizers:defaults"],
    "//conditions:default": [],
})

def influence_cc_library(name, copts = [], **kwargs):
    # Static only: tests, benchmarks and programs share one set of objects.
    native.cc_library(
        name = name,
        copts = _COPTS + copts,
        linkstatic = True,
        **kwargs
    )

def influence_cc_test(name, copts = [], deps = [], linkopts = [], **kwargs):
    native.cc_test(
        name = name,
        copts = _COPTS + copts,
        linkopts = _LINKOPTS + linkopts,
        linkstatic = True,
        deps = deps + _SANITIZER_DEPS,
        **kwargs
    )

def influence_cc_binary(name, copts = [], deps = [], linkopts = [], **kwargs):
    native.cc_binary(
        name = name,
        copts = _COPTS + copts,
        linkopts = _LINKOPTS + linkopts,
        deps = deps + _SANITIZER_DEPS,
        **kwargs
    )
