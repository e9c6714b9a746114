"""`mili teleop`: the teleoperation page, from the folder to the server."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from mili_jax.domains import base
from mili_jax.people import plan, serving
from mili_jax.people.alone import alone
from mili_jax.people.demonstrations import Kept
from mili_jax.people.labelling import people_folder
from mili_jax.people.lan import address, certificate, explain
from mili_jax.people.plan import Plan
from mili_jax.people.playground import Pupil
from mili_jax.people.robot import Robot
from mili_jax.people.session import Session
from mili_jax.people.states import State
from mili_jax.people.teleoperation import Teleoperation
from mili_jax.pipeline.oneshot import load_policy
from mili_jax.pipeline.run import open_run, open_stored, spec_of
from mili_jax.storage.dataset import Dataset
from mili_jax.types import SimulationError
from mili_jax.workers import stopping

SCENES = 100_000  # arrangements of a seed
OFFERED = 8  # tasks of the playground


@dataclasses.dataclass(frozen=True)
class Page:
    """How a page is served. port: None for any; opens: in this machine's browser; lan: for other
    machines in this network, encrypted; seed: of the arrangements; speed: of the world, 1 for real
    time."""

    port: int | None = None
    opens: bool = False
    lan: bool = False
    seed: int = 0
    speed: float = 1.0


PLAIN = Page()


def serve(
    config: ConfigDict,
    path: Path | None,
    *,
    tasks: Sequence[str] = (),
    free: bool = False,
    page: Page = PLAIN,
) -> None:
    """Serves the page on which people demonstrate, until it is asked to stop.

    Args:
      config: of the run; of a folder in which none has begun it becomes the run's.
      path: the run's folder, None to practise.
      tasks: to be demonstrated; none: those that the run trains on, and without a run anything.
      free: anything, and the person says afterwards what it was.

    Raises ConfigError for what cannot be demonstrated, a page that is served already or a port that
    is taken; DataError for damage; Stopped in the end.
    """
    domain, dataset = base.load(config.domain.name), None
    simulator = base.simulator_of(domain, "the teleoperation page")
    if path is not None:
        dataset = _dataset(config, path)
    chosen = plan.chosen(simulator, tasks, path is not None)
    if path is not None and not tasks and not free:
        chosen = Plan(tuple(simulator.tasks("train")[: config.data.tasks]))
    spec = spec_of(config) if dataset is None else dataset.spec
    assert spec is not None  # a domain with a simulator has one
    robot = Robot(domain, spec, config.data.noise if path is not None else 0.0)
    _serve(robot, chosen, dataset, path, None, page)


def serve_playground(
    path: Path | None,
    *,
    name: str = "kitchen",
    tasks: Sequence[str] = (),
    page: Page = PLAIN,
) -> None:
    """Serves the page on which a person teaches a trained policy a task that it has never met.

    path: a folder for what people say of it, None: it is only shown. name: of the policy.
    Raises as `serve`, and as `load_policy`.
    """
    policy = load_policy(name)
    simulator = base.simulator_of(policy.domain, "the playground")
    if tasks:
        chosen = plan.chosen(simulator, tasks, stored=False)
    else:
        chosen = Plan(tuple(simulator.tasks("test")[:OFFERED]), "test")
    answers = None if path is None else people_folder(path) / "playground.jsonl"
    pupil = Pupil(policy, answers)
    robot = Robot(policy.domain, policy.spec)
    _serve(robot, chosen, None, path, pupil, page)


def _dataset(config: ConfigDict, path: Path) -> Dataset:
    """Of a run, which is begun if there is none. Its folder is not kept locked: others may train
    there meanwhile."""
    if (path / "manifest.json").exists():
        return open_stored(path).dataset
    run = open_run(config, path)
    run.workdir.close()
    return run.dataset


def _serve(
    robot: Robot,
    chosen: Plan,
    dataset: Dataset | None,
    path: Path | None,
    pupil: Pupil | None,
    page: Page,
) -> None:
    host = address() if page.lan else serving.HOST
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(serving.bind(page.port, host))
        if path is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            token = secrets.token_urlsafe(24)
        else:
            folder = people_folder(path)
            lock = folder / "teleop.lock"
            stack.enter_context(alone(lock, f"{path}: the teleoperation page", listening))
            token = serving.kept_token(folder / "token")
        tls = certificate(folder / "tls", host) if page.lan else None
        if tls is not None:
            explain("mili teleop", tls)
        kept = Kept(dataset)
        stack.callback(robot.close)
        if pupil is not None:
            stack.callback(pupil.close)
        try:
            session = Session(robot, chosen, kept, pupil, SCENES * page.seed)
        except SimulationError as error:
            raise plan.why_not(error) from error
        site = Teleoperation(session, page.speed)
        serving.serve(
            site.router(),
            name="mili teleop",
            listening=listening,
            token=token,
            opens=page.opens,
            tls=tls,
        )
    if pupil is not None:
        raise stopping.stopped("with all answers given")
    left = ", one not kept" if session.state is State.REVIEW else ""
    raise stopping.stopped(f"with {kept.mine} demonstrations{left}")
