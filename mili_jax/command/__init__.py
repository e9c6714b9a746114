"""The subcommands of `mili`, a module each.

A module has a docstring, whose text `mili <name> --help` shows; `add_arguments(parser)`; and
`run(options)`, which returns the exit code or nothing. It imports what takes long inside `run`, and
is named by a line of `mili_jax.cli.COMMANDS`.
"""
