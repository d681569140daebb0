# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""A repository that lives in a folder of this one."""

def _nested_repository_impl(ctx):
    folder = ctx.path(Label("//:WORKSPACE")).dirname
    for part in ctx.attr.folder.split("/"):
        folder = folder.get_child(part)
    for entry in folder.readdir():
        ctx.symlink(entry, entry.basename)

# local_repository() resolves a relative path against the main workspace, which
# is another one when this project is a dependency.
nested_repository = repository_rule(
    implementation = _nested_repository_impl,
    attrs = {"folder": attr.string(mandatory = True)},
    local = True,
)
