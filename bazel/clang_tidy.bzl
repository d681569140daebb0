# Copyright 2026 The Influence Authors. SPDX-License-Identifier: Apache-2.0
"""clang-tidy as an aspect: one action a source file, cached by Bazel.

    bazel build --config=lint //...

Headers are linted with the sources that include them. Tests are left out: what
they do with macros of GoogleTest is not worth the time.
"""

def _clang_tidy_impl(target, ctx):
    if (CcInfo not in target or
        target.label.workspace_name or
        ctx.rule.kind not in ["cc_library", "cc_binary"] or
        getattr(ctx.rule.attr, "testonly", False)):
        return []
    context = target[CcInfo].compilation_context
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
    flags += ["-D" + define for define in context.defines.to_list()]
    flags += ["-I" + path for path in context.includes.to_list()]
    for path in context.quote_includes.to_list():
        # Findings in headers of others are not ours to fix.
        external = path.startswith("external/") or "/external/" in path
        flags += ["-isystem" if external else "-iquote", path]
    for path in context.system_includes.to_list():
        flags += ["-isystem", path]

    outputs = []
    for source in ctx.rule.files.srcs:
        if source.extension != "cc":
            continue
        output = ctx.actions.declare_file(
            "%s.%s.clang_tidy" % (source.basename, target.label.name),
        )
        arguments = ctx.actions.args()
        arguments.add(output)
        arguments.add(ctx.file._config, format = "--config-file=%s")
        arguments.add("--quiet")
        arguments.add(source)
        arguments.add("--")
        arguments.add_all(flags)
        ctx.actions.run_shell(
            outputs = [output],
            inputs = depset(
                ctx.rule.files.srcs + [ctx.file._config],
                transitive = [context.headers],
            ),
            # What it prints without a finding is only a count of warnings in
            # headers of others.
            command = """
                output=$1
                shift
                if ! clang-tidy-14 "$@" >"${output}" 2>&1; then
                    cat "${output}" >&2
                    exit 1
                fi
            """,
            arguments = [arguments],
            mnemonic = "ClangTidy",
            progress_message = "Linting %s" % source.short_path,
            use_default_shell_env = True,
        )
        outputs.append(output)
    return [OutputGroupInfo(clang_tidy = depset(outputs))]

clang_tidy = aspect(
    implementation = _clang_tidy_impl,
    attrs = {
        "_config": attr.label(
            default = Label("//:.clang-tidy"),
            allow_single_file = True,
        ),
    },
)
