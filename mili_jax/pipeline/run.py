"""A configuration in its folder, and what all stages need of it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mili_jax.domains import base
from mili_jax.domains.base import Domain
from mili_jax.pipeline import schema
from mili_jax.pipeline.earlier import refuse_earlier
from mili_jax.pipeline.stored import configuration
from mili_jax.policy.policy import Policy
from mili_jax.spec import Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.workdir import Workdir
from mili_jax.types import ConfigError, DataError, PolicyId


@dataclasses.dataclass
class Run:
    """A configuration in its folder."""

    config: ConfigDict
    workdir: Workdir
    dataset: Dataset

    @property
    def domain(self) -> Domain:
        return base.load(self.config.domain.name)

    @functools.cached_property
    def spec(self) -> Spec:
        """The robot. Raises DataError for logs of which there are none yet."""
        spec = self.dataset.spec
        if spec is None:
            raise DataError(
                f"{self.dataset.path} holds no episodes, so nobody knows what robot they are of; "
                "bring some with `mili import`"
            )
        return spec

    @property
    def policy(self) -> Policy:
        c = self.config.policy
        return Policy(
            spec=self.spec,
            embedding=c.embedding,
            head=c.head,
            embedding_size=c.embedding_size,
            channels=c.channels,
            blocks=c.blocks,
            bfloat16=self.config.train.bfloat16,
        )


def spec_of(config: ConfigDict) -> Spec | None:
    """The robot of a configuration, None for what its dataset says. Raises ConfigError for a domain
    or camera that is not there."""
    domain = base.load(config.domain.name)
    return domain.spec(config.data.image_size, config.data.cameras)


def open_run(config: ConfigDict, path: Path) -> Run:
    """Makes or resumes the run's folder. Raises ConfigError or DataError, naming what and where."""
    schema.check(config)
    refuse_earlier(Path(path).absolute())
    kept = config.to_dict()
    # Who does the work may change from day to day.
    for field in ("backend", "processes", "pairing"):
        del kept["machine"][field]
    workdir = Workdir(path, kept, free=("evaluate",), grows=("improve.rounds",))
    try:
        return Run(config, workdir, Dataset(workdir.path / "dataset", spec_of(config)))
    except BaseException:
        workdir.close()
        raise


def open_stored(path: Path) -> Run:
    """The run in a folder, with its own configuration, to be read: it is not locked.

    Raises DataError if it is none or damaged, ConfigError if another version has made it.
    """
    config = configuration(path)
    return Run(config, Workdir(path), Dataset(path / "dataset", spec_of(config)))


def join_hosts(coordinator: str, hosts: int, host: int) -> None:
    """Makes this process one of several hosts that train together, before anything else.

    Args:
      coordinator: address:port of host 0, which all can reach.

    They share the folder of the run, and each gives its devices. Raises ConfigError if they do not
    come together within five minutes.
    """
    try:
        jax.distributed.initialize(coordinator, hosts, host)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--coordinator={coordinator} --hosts={hosts} --host={host}: {error}"
        ) from error


def config_part(run: Run, *sections: str) -> dict[str, object]:
    """The parts of the config that a stage depends on."""
    whole = run.config.to_dict()
    return {"seed": whole["seed"], **{name: whole[name] for name in sections}}


def finish_stage(
    run: Run, name: str, subset: Mapping[str, object], began: float, **facts: Any
) -> None:
    run.workdir.finish(name, subset, seconds=round(time.time() - began, 1), **facts)


def parameters(run: Run, policy: PolicyId) -> dict[str, str]:
    """The parameters that a training ended with, as an input of a stage. Raises DataError if it
    did not end."""
    name = str(policy)
    step = run.workdir.read_manifest(name)["steps"]
    return {f"checkpoints/{name}": run.workdir.checkpoint_facts(name, step)["content"]}


def signature(policy: PolicyId, inputs: Mapping[str, str]) -> str:
    """What episodes call the policy that acted: its name and which parameters of that name."""
    return f"{policy}@{inputs[f'checkpoints/{policy}'][:12]}"
