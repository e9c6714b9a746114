"""Figures of a run, from its rows and arrays alone: a committed file of result rows is enough to
draw one again.

Each exists for a light and a dark page and for a wide and a narrow one, and does not depend on how
the caller has set Matplotlib up. The same group has the same colour everywhere (`palette`).
"""

import mili_jax.report.figures.isolation  # noqa: F401  imports Matplotlib, before anything else does
