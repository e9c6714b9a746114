"""Where the configuration of a command comes from: a name, somebody's file, the run's folder."""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import inspect
import re
import sys
import textwrap
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mili_jax.command.parser import home
from mili_jax.types import ConfigError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_FILE = re.compile(r"(.+?\.py)(?::(.*))?")
_MODULE = "_mili_configuration"  # what a file is called while it is read


def of(text: str) -> ConfigDict:
    """The configuration that `--config=text` names: NAME, FILE.py or FILE.py:name.

    Raises ConfigError for a name that does not exist, with the one that is nearest, and for a file
    that has no `get_config`, or whose `get_config` fails.
    """
    if found := _FILE.fullmatch(text):
        return _of_file(home(found[1]).absolute(), found[2] or "")
    names = [name for name, _, _ in summaries()]
    if text not in names:
        near = difflib.get_close_matches(text, names, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise ConfigError(f"--config={text}: no configuration has this name; {meant}")
    from mili_jax.configs import get_config

    return get_config(text)


def absolute(text: str) -> str:
    """The same `--config`, for a command that begins in another folder."""
    found = _FILE.fullmatch(text)
    return text if found is None else f"{home(found[1]).absolute()}{text[found.end(1) :]}"


def _of_file(file: Path, name: str) -> ConfigDict:
    from ml_collections import ConfigDict

    if not file.is_file():
        raise ConfigError(f"--config={file}: there is no such file")
    module = types.ModuleType(_MODULE)
    module.__file__ = str(file)
    sys.modules[_MODULE] = module
    try:
        # Not imported, for that would leave a folder beside somebody's file.
        exec(compile(file.read_bytes(), file, "exec", dont_inherit=True), vars(module))
        made: object = _called(file, module, name)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's file raises
        frames = traceback.extract_tb(error.__traceback__)
        line = [frame.lineno for frame in frames if frame.filename == str(file)]
        where = f"{file}, line {line[-1]}" if line else str(file)
        raise ConfigError(f"--config: {where}: {type(error).__name__}: {error}") from error
    finally:
        del sys.modules[_MODULE]
    if not isinstance(made, ConfigDict):
        raise ConfigError(
            f"--config={file}: get_config() returns {type(made).__name__}; it must be what "
            "mili_jax.configs.get_config returns, changed"
        )
    return made


def _called(file: Path, module: object, name: str) -> object:
    function = getattr(module, "get_config", None)
    if not callable(function):
        raise ConfigError(f"--config={file}: it has no function get_config()")
    given = (name,) if name else ()
    try:
        inspect.signature(function).bind(*given)
    except TypeError:
        wanted = f"{file} without a name" if name else f"{file}:name"
        raise ConfigError(f"--config: get_config of {file} wants --config={wanted}") from None
    return function(*given)


def stored(workdir: Path) -> ConfigDict | None:
    """The configuration of the run in a folder, None if there is none yet. Raises as
    `pipeline.stored.configuration`."""
    if not (workdir / "manifest.json").exists():
        return None
    from mili_jax.pipeline import stored

    return stored.configuration(workdir)


def chosen(options: argparse.Namespace, workdir: Path | None) -> ConfigDict:
    """The configuration of `--config`, else that of the run in the folder, with what the command
    line changes. Raises ConfigError if there is neither."""
    from mili_jax.pipeline import overrides

    if options.config is not None:
        config = of(options.config)
    else:
        found = None if workdir is None else stored(workdir)
        if found is None:
            where = "" if workdir is None else f"{workdir} holds no run yet: "
            names = ", ".join(name for name, _, _ in summaries())
            raise ConfigError(f"{where}say --config=NAME, one of {names}, or --config=FILE.py")
        config = found
    overrides.override(config, options.changes)
    return config


def flags(options: argparse.Namespace) -> list[str]:
    """The flags that give another command the same configuration, wherever it begins."""
    changed = [f"--config.{name}={text}" for name, text in options.changes]
    return [f"--config={absolute(options.config)}", *changed]


def summaries() -> list[tuple[str, str, str]]:
    """Of each named configuration its name, its first line, and how long it takes.

    Read off its file: importing it would take seconds.
    """
    package = importlib.util.find_spec("mili_jax.configs")
    assert package is not None and package.submodule_search_locations is not None
    (folder,) = package.submodule_search_locations
    found = []
    for file in sorted(Path(folder).glob("*.py")):
        if file.stem != "__init__":
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            about = _paragraphs(text)
            takes = _first_sentence(about[-1]) if len(about) > 1 else ""
            found.append((file.stem, about[0] if about else "", takes))
    return found


def listed() -> str:
    """The named configurations, what they are for and how long they take, for people."""
    lines = []
    for name, about, takes in summaries():
        text = f"{about} {takes}"
        lines += textwrap.wrap(text, 94, initial_indent=f"  {name:<14}", subsequent_indent=" " * 16)
    return "\n".join(lines)


def _paragraphs(text: str) -> Sequence[str]:
    """The paragraphs of a docstring but for its commands, each in one line."""
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in parts if part and not part.startswith("mili ")]


def _first_sentence(text: str) -> str:
    return f"{text.partition('. ')[0].rstrip('.')}." if text else ""
