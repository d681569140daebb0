# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""Python with the packages that tools/setup installed into .tools/python.

For tests that open our files with the programs of others. The interpreter is
the one they were installed for; nothing of it is needed to build.
"""

_SCRIPT = """#!/bin/sh
packages='{packages}'
if [ ! -f "${{packages}}/interpreter" ]; then
  echo "python3: error: found no ${{packages}}, expected the packages that" \\
    "tools/setup installs there" >&2
  exit 1
fi
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="${{packages}}" \\
  exec "$(cat "${{packages}}/interpreter")" -s "$@"
"""

_BUILD = """# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
sh_binary(
    name = "python3",
    srcs = ["python3.sh"],
    data = glob(["installed"]),
    visibility = ["//visibility:public"],
)
"""

def _python_impl(ctx):
    project = str(ctx.path(Label("//:WORKSPACE")).dirname)
    packages = project + "/.tools/python"
    ctx.file("python3.sh", _SCRIPT.format(packages = packages))

    # What is installed, so that a change of it makes the tests run again.
    if ctx.path(packages + "/installed").exists:
        ctx.symlink(packages + "/installed", "installed")
    ctx.file("BUILD.bazel", _BUILD, executable = False)

python = repository_rule(
    implementation = _python_impl,
    configure = True,
    local = True,
)
