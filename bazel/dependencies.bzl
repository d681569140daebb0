# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""External repositories, all of them on this machine: nothing is downloaded.

A workspace that depends on this project calls the same macro:

    local_repository(name = "composable_influence", path = "...")
    load("@composable_influence//bazel:dependencies.bzl",
         "composable_influence_dependencies")
    composable_influence_dependencies()
"""

load("//bazel:local.bzl", "nested_repository")
load("//bazel:system_library.bzl", "system_library")
load("//third_party/libtorch:libtorch.bzl", "libtorch")
load("//third_party/python:python.bzl", "python")

def composable_influence_dependencies():
    """Declares each repository that the caller has not declared already."""
    _maybe(nested_repository, name = "rules_cc", folder = "bazel/rules_cc")
    _maybe(
        nested_repository,
        name = "remote_coverage_tools",
        folder = "bazel/remote_coverage_tools",
    )
    _maybe(
        native.local_repository,
        name = "rules_java",
        path = "/usr/share/bazel/rules/java",
    )
    _maybe(libtorch, name = "libtorch")
    _maybe(python, name = "python")
    _maybe(
        system_library,
        name = "absl",
        build_file = Label("//third_party/absl:system.BUILD.bazel"),
        header = "absl/status/statusor.h",
        package = "libabsl-dev",
    )
    _maybe(
        system_library,
        name = "gtest",
        build_file = Label("//third_party/gtest:system.BUILD.bazel"),
        header = "gmock/gmock.h",
        package = "libgmock-dev",
    )
    _maybe(
        system_library,
        name = "google_benchmark",
        build_file = Label("//third_party/google_benchmark:system.BUILD.bazel"),
        header = "benchmark/benchmark.h",
        package = "libbenchmark-dev",
    )
    _maybe(
        system_library,
        name = "eigen",
        build_file = Label("//third_party/eigen:system.BUILD.bazel"),
        header = "eigen3/Eigen/Core",
        linked = ["eigen3/Eigen"],
        package = "libeigen3-dev",
    )
    _maybe(
        system_library,
        name = "spectra",
        build_file = Label("//third_party/spectra:system.BUILD.bazel"),
        header = "Spectra/SymEigsSolver.h",
        package = "libspectra-dev",
    )
    _maybe(
        system_library,
        name = "cli11",
        build_file = Label("//third_party/cli11:system.BUILD.bazel"),
        header = "CLI/CLI.hpp",
        package = "libcli11-dev",
    )
    _maybe(
        system_library,
        name = "nlohmann_json",
        build_file = Label("//third_party/nlohmann_json:system.BUILD.bazel"),
        header = "nlohmann/json.hpp",
        package = "nlohmann-json3-dev",
    )
    _maybe(
        system_library,
        name = "libzip",
        build_file = Label("//third_party/libzip:system.BUILD.bazel"),
        header = "zip.h",
        package = "libzip-dev",
    )
    _maybe(
        system_library,
        name = "zlib",
        build_file = Label("//third_party/zlib:system.BUILD.bazel"),
        header = "zlib.h",
        package = "zlib1g-dev",
    )
    _maybe(
        system_library,
        name = "zstd",
        build_file = Label("//third_party/zstd:system.BUILD.bazel"),
        header = "zstd.h",
        package = "libzstd-dev",
    )
    _maybe(
        system_library,
        name = "openmpi",
        build_file = Label("//third_party/openmpi:system.BUILD.bazel"),
        header = "x86_64-linux-gnu/mpi/mpi.h",
        package = "libopenmpi-dev",
    )
    _maybe(
        system_library,
        name = "openssl",
        build_file = Label("//third_party/openssl:system.BUILD.bazel"),
        header = "openssl/evp.h",
        package = "libssl-dev",
    )

def _maybe(rule, name, **kwargs):
    if not native.existing_rule(name):
        rule(name = name, **kwargs)
