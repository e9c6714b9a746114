"""The benchmark. Importing this package registers `mili_jax/Kitchen-v0` with Gymnasium."""

from __future__ import annotations

import os
import sys

import gymnasium

gymnasium.register("mili_jax/Kitchen-v0", entry_point="mili_jax.domains.kitchen.env:KitchenEnv")


def _import_quietly() -> None:
    """PyBullet prints its build time when it is imported, from C, and every worker process imports
    it: that would tear progress bars. Its errors arrive as exceptions all the same."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # there is no stderr to keep quiet
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        import pybullet  # noqa: F401
    finally:
        os.dup2(saved, 2)
        os.close(saved)


_import_quietly()
