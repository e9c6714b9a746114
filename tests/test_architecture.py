"""The direction of imports: pure below, I/O above, and one module that sees both halves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mili_jax", "experiments", "benchmarks")
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
from mili_jax import types, nets as n
from mili_jax.sim.world import World, Scene
from . import losses
from .sim import tasks
def late():
    if True:
        import flax.linen
    from mili_jax.sim import rollout
"""
    assert imports_of(source, "mili_jax.learner") == {
        "os.path",
        "jax.numpy",
        "mili_jax.types",
        "mili_jax.nets",
        "mili_jax.sim.world",
        "mili_jax.losses",
        "mili_jax.sim.tasks",
        "flax.linen",
        "mili_jax.sim.rollout",
    }
    assert imports_of("from .world import World", "mili_jax.sim", True) == {"mili_jax.sim.world"}
    assert imports_of("from ..types import Task", "mili_jax.sim.env") == {"mili_jax.types"}


def test_the_modules_of_the_design_are_there():
    assert {"mili_jax.types", "mili_jax.nets", "mili_jax.stages", "mili_jax.sim.world"} <= set(
        FILES
    )
    assert "experiments.mili" in FILES and len(modules("sim")) >= 7


def test_types_imports_nothing_of_the_project():
    assert not project("mili_jax.types")
    assert not outside("mili_jax.types") & (JAX | {"pybullet"})


@pytest.mark.parametrize("module", modules("sim"))
def test_the_simulator_knows_no_learner(module):
    allowed = ("mili_jax.sim", "mili_jax.types")
    assert all(inside(name, *allowed) for name in project(module))
    assert all(inside(name, *allowed) for name in reached(module))
    assert not outside(module) & JAX


def test_the_simulator_runs_without_jax():
    """What the static rules promise, third-party packages included: workers start fast and lean."""
    code = "import sys, mili_jax.sim.rollout; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(run.stdout.split())
    assert "pybullet" in loaded and not loaded & (JAX | {"tensorflow", "tensorflow_datasets"})


@pytest.mark.parametrize(
    "module", modules("nets", "losses", "learner", "pairing", "maml", "acting")
)
def test_the_learner_knows_no_simulator_and_no_files(module):
    forbidden = ("sim", "episodes", "workdir", "stages", "training", "report", "figures")
    forbidden += ("filters", "results")
    for name in reached(module):
        assert not inside(name, *(f"mili_jax.{f}" for f in forbidden)), name
    assert not outside(module) & {"pybullet", "gymnasium", "orbax", "tensorflow_datasets", "os"}


def test_what_workers_import_is_less_than_what_trains():
    code = "import sys, mili_jax.acting, mili_jax.episodes, mili_jax.sim.rollout, experiments.mili"
    code += "; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(run.stdout.split())
    assert "mili_jax.acting" in loaded
    assert not loaded & {"mili_jax.stages", "grain", "orbax.checkpoint", "matplotlib"}


def test_losses_and_nets_stand_below_the_learner():
    for module in modules("nets", "losses", "pairing"):
        above = ("mili_jax.learner", "mili_jax.maml")
        assert not any(inside(name, *above) for name in reached(module)), module


@pytest.mark.parametrize("module", modules("episodes", "data"))
def test_data_needs_no_jax(module):
    for name in reached(module):
        assert not outside(name) & JAX, name
        assert not inside(name, "mili_jax.sim"), name


def test_only_stages_sees_both_halves():
    def sees_both(module):
        halves = reached(module)
        simulator = any(inside(name, "mili_jax.sim") for name in halves)
        return simulator and bool(halves & {"mili_jax.learner", "mili_jax.maml"})

    assert [m for m in modules("stages") if sees_both(m)] == ["mili_jax.stages"]
    # Whoever else has both has them through stages alone.
    for module in FILES:
        if module != "mili_jax.stages" and sees_both(module):
            assert "mili_jax.stages" in reached(module), module
            direct = project(module)
            assert not direct & {"mili_jax.learner", "mili_jax.maml"}, module
            assert not any(inside(name, "mili_jax.sim") for name in direct), module


@pytest.mark.parametrize("module", modules("training", "results"))
def test_training_and_results_know_no_simulator(module):
    assert not any(inside(name, "mili_jax.sim") for name in reached(module))


def test_orbax_is_used_in_one_module():
    assert [m for m in FILES if "orbax" in outside(m)] == ["mili_jax.workdir"]


@pytest.mark.parametrize("module", [m for m in FILES if inside(m, "experiments")])
def test_experiments_are_thin(module):
    allowed = ["experiments.command", "mili_jax.types"]
    allowed += ["mili_jax.schema", "mili_jax.stages", "mili_jax.training", "mili_jax.results"]
    allowed += ["mili_jax.workdir", "mili_jax.doctor"]
    if inside(module, "experiments.configs"):
        allowed = ["experiments.configs"]
    elif module.startswith("experiments.make_"):
        allowed.append("mili_jax.sim")
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
