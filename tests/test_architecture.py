"""The direction of imports: pure below, I/O above, and one module that sees both halves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mili_jax", "experiments", "benchmarks")
KITCHEN = "mili_jax.domains.kitchen"
JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports_of(source, module, is_package=False):
    """Dotted names that a module's source imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if is_package else module.split(".")[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *([base] if base else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            # `from package import module` imports the module; other names belong to `base`.
            found |= {name if name in FILES else base for name in names}
    return found


IMPORTS = {
    name: imports_of(path.read_text(), name, path.name == "__init__.py")
    for name, path in FILES.items()
}


def inside(module, *packages):
    return any(module == p or module.startswith(p + ".") for p in packages)


def project(module):
    """What the module imports of this project."""
    return {name for name in IMPORTS[module] if inside(name, *PACKAGES)}


def outside(module):
    """The top-level packages of others that the module imports."""
    return {name.split(".")[0] for name in IMPORTS[module] - project(module)}


def reached(module):
    """The module and everything of the project that it imports, directly or not."""
    seen, rest = set(), [module]
    while rest:
        name = rest.pop()
        if name not in seen:
            seen.add(name)
            rest += [n for n in project(name) if n in FILES]
    return seen


def modules(*names):
    """Modules of the package by name, those in subpackages included, that exist."""
    return [m for m in FILES if inside(m, *(f"mili_jax.{n}" for n in names))]


def test_imports_are_found_wherever_and_however_they_are_written():
    source = """
import os.path, jax.numpy as jnp
from mili_jax import types, pipeline as p
from mili_jax.domains.kitchen.world import World, Scene
from . import losses
from .kitchen import tasks
def late():
    if True:
        import flax.linen
    from mili_jax.domains.kitchen import env
"""
    assert imports_of(source, "mili_jax.domains.base") == {
        "os.path",
        "jax.numpy",
        "mili_jax.types",
        "mili_jax.pipeline",
        "mili_jax.domains.kitchen.world",
        "mili_jax.domains",
        "mili_jax.domains.kitchen.tasks",
        "flax.linen",
        "mili_jax.domains.kitchen.env",
    }
    kitchen = "mili_jax.domains.kitchen"
    assert imports_of("from .world import World", kitchen, True) == {f"{kitchen}.world"}
    assert imports_of("from ...types import Task", f"{kitchen}.env") == {"mili_jax.types"}


# What each room may import of the others. `domains.base` is the protocol: it imports no simulator.
BELOW = ("types", "given", "spec", "plugins")
ROOMS = {
    "types": (),
    "given": ("types",),
    "spec": ("given", "types"),
    "plugins": ("types",),
    "policy": BELOW,
    "learning": ("policy", *BELOW),
    "storage": BELOW,
    "workers": BELOW,
    "domains": ("workers", *BELOW),
    "batches": ("storage", "domains.base", *BELOW),
    "improve": ("storage", "domains.base", "domains.rollout", *BELOW),
    "report": ("storage", "improve", *BELOW),
    "interchange": ("storage", *BELOW),
    "pipeline": (
        *("policy", "learning", "storage", "batches", "workers", "domains", "improve", "report"),
        *BELOW,
    ),
    "configs": ("pipeline", *BELOW),
    "people": (
        *("pipeline", "improve", "storage", "workers", "domains.base", "domains.rollout"),
        *BELOW,
    ),
    "command": (
        *("configs", "pipeline", "report", "improve", "storage", "workers", "domains"),
        *("interchange", "people", *BELOW),
    ),
    "cli": ("command", "pipeline", "workers", "types"),
}


def test_every_module_has_a_room():
    rooms = {m.split(".")[1] for m in FILES if m.startswith("mili_jax.")}
    assert rooms == set(ROOMS)
    assert "mili_jax.pipeline.algorithm" in FILES and "experiments.mili" in FILES


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_imported_in_one_direction(room):
    allowed = [f"mili_jax.{name}" for name in (room, *ROOMS[room])]
    for module in modules(room):
        assert all(inside(name, *allowed) for name in project(module)), (module, project(module))


def test_types_need_no_package_that_takes_long_to_import():
    assert not outside("mili_jax.types") & (JAX | {"pybullet"})


def test_the_pipeline_and_the_protocol_know_no_kitchen():
    for module in [m for m in FILES if inside(m, "mili_jax") and not inside(m, KITCHEN)]:
        assert not any(inside(name, KITCHEN) for name in project(module)), module


@pytest.mark.parametrize("module", modules("domains", "workers", "batches"))
def test_simulators_workers_and_batches_need_no_jax(module):
    for name in reached(module):
        assert not outside(name) & JAX, name


def test_the_simulator_runs_without_jax():
    """What the static rules promise, third-party packages included: workers start fast and lean."""
    code = "import sys, mili_jax.domains.rollout, mili_jax.domains.kitchen.domain"
    code += "; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(run.stdout.split())
    assert "pybullet" in loaded and not loaded & (JAX | {"tensorflow", "tensorflow_datasets"})


@pytest.mark.parametrize("module", modules("policy", "learning"))
def test_the_learner_knows_no_simulator_and_no_files(module):
    for name in reached(module):
        assert not outside(name) & {
            *("pybullet", "gymnasium", "orbax", "tensorflow_datasets", "os"),
        }, name


def test_what_workers_import_is_less_than_what_trains():
    code = "import sys, mili_jax.learning.actors, mili_jax.storage.dataset, experiments.mili"
    code += ", mili_jax.domains.rollout, mili_jax.domains.kitchen.domain; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(run.stdout.split())
    assert "mili_jax.learning.actors" in loaded
    assert not loaded & {"mili_jax.pipeline.algorithm", "grain", "orbax.checkpoint", "matplotlib"}


def test_orbax_is_used_in_one_room():
    users = [m for m in FILES if "orbax" in outside(m)]
    assert users == ["mili_jax.storage.checkpoints"]


@pytest.mark.parametrize("module", [m for m in FILES if inside(m, "experiments")])
def test_experiments_are_thin(module):
    allowed = ["experiments.command", "mili_jax.types", "mili_jax.command"]
    allowed += ["mili_jax.pipeline.console", "mili_jax.pipeline.overrides"]
    allowed += ["mili_jax.workers.stopping"]
    if inside(module, "experiments.configs"):
        allowed = ["mili_jax.configs"]
    elif module.startswith("experiments.make_"):
        allowed.append("mili_jax.domains.kitchen")
    assert all(inside(name, *allowed) for name in project(module)), project(module)


def test_the_package_imports_neither_experiments_nor_benchmarks():
    for module in modules(*{m.split(".")[1] for m in FILES if m.startswith("mili_jax.")}):
        assert all(inside(name, "mili_jax") for name in project(module)), module


def test_no_module_imports_itself_in_a_circle():
    for module in FILES:
        for name in project(module) & set(FILES):
            # A package's own modules may import the package's first file by their dotted name.
            if not inside(name, module) and not inside(module, name):
                assert module not in reached(name), (module, name)
