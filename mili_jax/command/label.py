"""Serves a page on which people answer for the trials of a round: did the robot do anything useful?

  mili label runs/run --round=1

It prints the page's address, and serves until ctrl-C. Every answer is in the run's label file
before the page says so. Several people may answer at once, on this machine. What nobody answers,
`mili filter` answers as config.improve.filter says; it never overrules people.
"""

from __future__ import annotations

import argparse
import os

from mili_jax.command.parser import Parser, add_page, whole, workdir


def add_arguments(parser: Parser) -> None:
    parser.usage = "mili label DIR --round=1 [--port=P] [--no-open] [--lan]"
    parser.add_workdir()
    parser.add_argument(
        "--round", type=whole(1), default=1, metavar="N", help="of the trials; 1 if not given"
    )
    add_page(parser)
    parser.add_argument(
        "--reveal", action="store_true", help="let the page show what the robot was shown"
    )
    parser.add_stopped()


def run(options: argparse.Namespace) -> None:
    """Serves it. Raises ConfigError or DataError, and Stopped in the end."""
    path = workdir(options)
    # The learned filter is trained beside the page, and threads that wait for each other would
    # take both cores. Numpy looks at this when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from mili_jax.people import label
    except ModuleNotFoundError as error:
        from mili_jax.types import ConfigError

        raise ConfigError(
            f"mili label needs the package {error.name}: pip install 'mili-jax[people]'"
        ) from None
    label.serve(
        path,
        options.round,
        port=options.port,
        opens=not options.no_open,
        reveal=options.reveal,
        lan=options.lan,
    )
