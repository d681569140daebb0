# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Finds LibTorch on this machine.

In this order:
  1. $LIBTORCH_HOME, a folder that holds include/ and lib/;
  2. .libtorch/torch in this project, where tools/setup unpacks the CPU wheel;
  3. Debian's libtorch-dev.
--repo_env=INFLUENCE_LIBTORCH=system goes to the third at once.
"""

_LIBRARIES = ["libtorch.so", "libtorch_cpu.so", "libc10.so"]

_SYSTEM_LIBRARIES = "/usr/lib/x86_64-linux-gnu"

def _libtorch_impl(ctx):
    home = ctx.os.environ.get("LIBTORCH_HOME", "")
    wanted = ctx.os.environ.get("INFLUENCE_LIBTORCH", "")
    if wanted not in ["", "system"]:
        fail("INFLUENCE_LIBTORCH: found \"%s\", expected \"system\" or none" %
             wanted)
    project = str(ctx.path(Label("//:WORKSPACE")).dirname)
    installed = project + "/.libtorch/torch"
    if wanted == "system":
        _use_debian(ctx)
    elif home:
        _use_home(ctx, home)
    elif ctx.path(installed + "/lib/libtorch_cpu.so").exists:
        _use_home(ctx, installed)
    else:
        _use_debian(ctx)

def _use_home(ctx, home):
    for file in ["include/ATen/core/Tensor.h"] + \
                ["lib/" + library for library in _LIBRARIES]:
        if not ctx.path(home + "/" + file).exists:
            fail("LibTorch: found no %s/%s, expected an unpacked LibTorch" %
                 (home, file))

    # Debian's Abseil has the new std::string; LibTorch must have it as well.
    config = home + "/share/cmake/Torch/TorchConfig.cmake"
    if ctx.path(config).exists and \
       "_GLIBCXX_USE_CXX11_ABI=0" in ctx.read(config):
        fail("LibTorch: found the old std::string in %s, expected a build " %
             home + "with _GLIBCXX_USE_CXX11_ABI=1")
    ctx.symlink(home + "/include", "include")

    # The wheel brings the OpenMP runtime that it wants beside it.
    for entry in ctx.path(home + "/lib").readdir():
        if entry.basename in _LIBRARIES or \
           entry.basename.startswith("libgomp"):
            ctx.symlink(entry, "lib/" + entry.basename)
    ctx.template(
        "BUILD.bazel",
        Label("//third_party/libtorch:home.BUILD.bazel"),
        {"%{lib}": str(ctx.path(home + "/lib"))},
    )

def _use_debian(ctx):
    for file in ["/usr/include/ATen/core/Tensor.h"] + \
                [_SYSTEM_LIBRARIES + "/" + name for name in _LIBRARIES]:
        if not ctx.path(file).exists:
            fail(("LibTorch: found no %s and none in LIBTORCH_HOME or " +
                  ".libtorch, expected one of them; tools/setup installs it") %
                 file)
    ctx.symlink(
        "/usr/include/torch/csrc/api/include",
        "include/torch/csrc/api/include",
    )
    ctx.symlink(
        Label("//third_party/libtorch:system.BUILD.bazel"),
        "BUILD.bazel",
    )

libtorch = repository_rule(
    implementation = _libtorch_impl,
    configure = True,
    environ = ["INFLUENCE_LIBTORCH", "LIBTORCH_HOME"],
    local = True,
)
