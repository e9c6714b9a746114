"""Several devices, of one host or of many, that share the rows of a batch."""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from mili_jax.types import AnyArray, Batch, ConfigError

Tree = TypeVar("Tree")  # of arrays
ROWS, WHOLE = P("rows"), P()  # how a batch and a state lie on a mesh of devices


def make_mesh() -> Mesh:
    """All devices of all hosts, in one axis over the rows of a batch."""
    return jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(AxisType.Auto,))


def place(batch: Batch, mesh: Mesh) -> Batch:
    """A batch on the mesh: each host gives its part of the rows, in the order of the hosts.

    Raises ConfigError if the rows do not divide by the devices.
    """
    rows = len(batch.task) * jax.process_count()
    if rows % mesh.size:
        raise ConfigError(
            f"a batch of {rows} rows does not divide by {mesh.size} devices; change "
            "config.train.batch, config.improve.batch or config.baselines.mil_tasks"
        )
    sharding = NamedSharding(mesh, ROWS)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(tree: Tree, mesh: Mesh) -> Tree:
    """A state that every host has, on every device of the mesh, as the train step leaves it."""
    sharding = NamedSharding(mesh, WHOLE)

    def put(x: AnyArray) -> Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)
