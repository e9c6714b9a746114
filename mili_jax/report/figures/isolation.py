"""Matplotlib as this package wants it, whatever the caller's environment says.

A notebook's `MPLBACKEND`, a `matplotlibrc` in the folder or at home, settings that the caller has
made: none of it may change a figure or keep one from being drawn. This module is the first of
`figures` to be imported, and imports Matplotlib with nobody's settings but its own.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mili_jax.types import DataError

P = ParamSpec("P")
R = TypeVar("R")
_OURS: dict[Any, object] = {
    "svg.hashsalt": "mili_jax",
    "svg.fonttype": "path",
    "text.parse_math": False,
}
_SESSION = {"backend", "backend_fallback", "interactive", "toolbar", "timezone"}  # no looks


def _import_matplotlib() -> None:
    """Imports it; raises DataError if it finds no folder for its cache."""
    if "matplotlib" in sys.modules:
        return
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("Matplotlib is not installed; install mili-jax with its dependencies")
    own = str(Path(spec.submodule_search_locations[0]) / "mpl-data")
    kept = {name: os.environ.get(name) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = own
    try:
        with _in_folder(own) if Path("matplotlibrc").is_file() else contextlib.nullcontext():
            import matplotlib.font_manager  # noqa: F401  the fonts need the cache
    except OSError as error:
        raise DataError(
            f"Matplotlib cannot be loaded ({error}); it needs a folder to write to: free space, or "
            "set MPLCONFIGDIR to one"
        ) from error
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _in_folder(path: str) -> Iterator[None]:
    """Works there: what Matplotlib reads first is the `matplotlibrc` of the folder it is in."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path)
        yield
    finally:
        os.fchdir(here)
        os.close(here)


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Matplotlib's defaults and our few changes, and the caller's own settings afterwards."""
    import matplotlib

    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in _SESSION}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        with matplotlib.rc_context({**defaults, **_OURS}):
            yield


def isolated(draw: Callable[P, R]) -> Callable[P, R]:
    """A function that draws, with our own settings."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_settings():
            return draw(*args, **kwargs)

    return drawn


_import_matplotlib()
