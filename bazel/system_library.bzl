# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""A library that Debian installs under /usr/include and /usr/lib.

Headers in /usr/include are not declared: they are on the compiler's own search
path, like those of the C library, and cost an action nothing.
"""

def _system_library_impl(ctx):
    header = ctx.path("/usr/include/" + ctx.attr.header)
    if not header.exists:
        fail(("@%s: found no %s, expected the Debian package %s; " +
              "tools/setup installs it") %
             (ctx.name, header, ctx.attr.package))
    for folder in ctx.attr.linked:
        ctx.symlink("/usr/include/" + folder, "include/" + folder)
    ctx.symlink(ctx.attr.build_file, "BUILD.bazel")

system_library = repository_rule(
    implementation = _system_library_impl,
    attrs = {
        "build_file": attr.label(mandatory = True, allow_single_file = True),
        "header": attr.string(
            mandatory = True,
            doc = "A header below /usr/include that must be there.",
        ),
        "linked": attr.string_list(
            doc = "Folders below /usr/include, which are not on the " +
                  "compiler's search path themselves, to link as include/.",
        ),
        "package": attr.string(
            mandatory = True,
            doc = "The Debian package that brings the header.",
        ),
    },
    configure = True,
    local = True,
)
