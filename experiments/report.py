"""The last stage: the page report/index.html.

python -m experiments.report --workdir=runs/run
"""

from __future__ import annotations

if __name__ == "__main__":
    # Here, not above: the worker processes that this one starts import this file as well.
    from experiments import command

    command.main("report")
