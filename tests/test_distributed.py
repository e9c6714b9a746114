"""Several devices and several processes train as one device does, up to the order of sums."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parent

# Trains a few steps on the problem of `squares` and writes what came out.
TRAIN = """
import sys
import jax
import numpy as np
sys.path.insert(0, sys.argv[1])
out, index, count, address = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
if count > 1:
    jax.distributed.initialize(address, count, index)
from squares import HYPER, POLICY, squares
from mili_jax.learning.mesh import make_mesh, place, replicate
from mili_jax.learning.step import init_state, make_train_step

mesh = make_mesh()
step = make_train_step(POLICY, HYPER, mesh)
state = replicate(init_state(POLICY, HYPER, seed=0), mesh)
rows = slice(16 * index // count, 16 * (index + 1) // count)
found = {}
for k in range(4):
    batch = jax.tree.map(lambda x: x[rows], squares(k))
    state, metrics = step(state, place(batch, mesh), 7)
    found |= {f"{name}{k}": np.asarray(value) for name, value in metrics.items()}
assert step._cache_size() == 1
for path, leaf in jax.tree.leaves_with_path(state):
    assert leaf.is_fully_replicated
    found[jax.tree_util.keystr(path)] = np.asarray(leaf)
np.savez(out, devices=jax.device_count(), **found)
"""


def train(out: Path, devices: int, processes: int = 1) -> list[dict[str, np.ndarray]]:
    """What each process wrote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    # Compiling takes longer than training here.
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    flags = f"{os.environ['XLA_FLAGS']} {flags}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    files = [out / f"{devices}_{processes}_{i}.npz" for i in range(processes)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(TESTS), str(file), str(i), str(processes), address],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, file in enumerate(files)
    ]
    said = [process.communicate(timeout=600)[1] for process in running]
    assert [process.returncode for process in running] == [0] * processes, said
    return [dict(np.load(file)) for file in files]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory) -> dict[str, np.ndarray]:
    return train(tmp_path_factory.mktemp("one"), 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("devices, processes", [(8, 1), (2, 2)])
def test_any_number_of_devices_trains_as_one(one_device, devices, processes, tmp_path) -> None:
    found = train(tmp_path, devices, processes)
    for mine in found:
        assert mine["devices"] == devices * processes
        assert set(mine) == set(one_device)
        apart = {n: np.abs(mine[n] - one_device[n]).ravel() for n in mine if n.startswith(".")}
        # Adam turns the rounding of a gradient near zero into a step; the largest that four of them
        # make is 1.2e-3. So a few parameters may end apart, but not many.
        assert max(a.max() for a in apart.values()) < 1.2e-3
        params = [a for name, a in apart.items() if name.startswith(".params")]
        assert np.concatenate(params).mean() < 2e-5
        for name in set(mine) - {"devices", *apart}:
            np.testing.assert_allclose(
                mine[name], one_device[name], rtol=1e-3, atol=1e-4, err_msg=name
            )
    for other in found[1:]:
        for name in other:
            np.testing.assert_array_equal(other[name], found[0][name], err_msg=name)
