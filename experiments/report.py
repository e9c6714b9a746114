"""The last stage: the page report/index.html.

python -m experiments.report --workdir=runs/quick
"""

from __future__ import annotations

from experiments import command
from mili_jax.pipeline.report import write_report

if __name__ == "__main__":
    command.main(write_report)
