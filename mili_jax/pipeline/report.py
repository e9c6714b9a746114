"""Stage: the report of a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mili_jax.domains.kitchen import rollout
from mili_jax.domains.kitchen.env import KitchenEnv
from mili_jax.domains.kitchen.rollout import Trial
from mili_jax.improve import arms
from mili_jax.pipeline.run import Run
from mili_jax.pipeline.train import embed, load_params
from mili_jax.storage.labels import resolve
from mili_jax.types import FAMILIES, Task

# Report


def write_report(run: Run) -> Path:
    """Stage: `report/index.html` from what the other stages left; made anew every time."""
    from mili_jax.report import page  # brings Matplotlib, which no other stage needs

    config, workdir, last = run.config, run.workdir, arms.last_policy(run.config)
    rounds = range(1, config.improve.rounds + 1)
    names = [name for number in (0, *rounds) for name in arms.policies(config, number)]
    collection = [_collected(run, number) for number in rounds]
    metrics = [
        {"stage": name, "step": step, **values}
        for name in names
        for step, values in workdir.read_metrics(name).items()
    ]
    params = load_params(run, last)
    splits = ["demos_train", "demos_validation", "demos_test"]
    z, metas = embed(run, params, splits)
    kinds = [Task.parse(m.task).family for m in metas]
    rows = workdir.read_rows()
    return page.write_report(
        workdir.path / "report",
        title="One-shot imitation that improves from its own trials",
        config=config.to_dict(),
        manifest=workdir.provenance(),
        rows=[row for row in rows if "task" in row],
        pairing_rows=[row for row in rows if "alpha" in row],
        metrics=metrics,
        embedding={
            "z": z,
            "family": kinds,
            "task": [m.task for m in metas],
            "split": [m.episode_id.split("-")[0] for m in metas],
        },
        neighbours=workdir.read_manifest(f"evaluate_{last}")["neighbours"],
        collection=collection,
        videos=_films(run, last),
    )


def _collected(run: Run, number: int) -> dict[str, Any]:
    """What the trials of a round did, for people: this reads the oracle."""
    metas = list(run.dataset.read_metadata(f"round_{number}"))
    answers = resolve(run.dataset.read_labels(f"round_{number}"))
    achieved: Counter[str] = Counter()
    confusion = {family: Counter[str]() for family in FAMILIES}
    for m in metas:
        done = {Task.parse(t).family for t in m.achieved_tasks} if m.useful else set()
        achieved.update(done)
        confusion[Task.parse(m.task).family].update(done or {"none"})
    return {
        "round": number,
        "trials": len(metas),
        "useful": sum(answer is True for answer in answers.values()),
        "achieved": dict(achieved),
        "confusion": {family: dict(row) for family, row in confusion.items()},
    }


def _films(run: Run, name: str) -> list[dict[str, Any]]:
    """Successes and failures of each family, played again in front of an oblique camera."""
    config = run.config
    split, most = f"evaluation_{name}", config.evaluate.videos
    right = [
        m for m in run.dataset.read_metadata(split) if m.episode_id.startswith(f"{name}-right-")
    ]
    chosen: list[str] = []
    for family in FAMILIES:
        for success in (True, False):
            fits = [
                m.episode_id
                for m in right
                if Task.parse(m.task).family == family and m.success == success
            ]
            chosen += fits[:: max(1, len(fits) // max(1, most))][:most]
    found = {e.meta.episode_id: e for e in run.dataset.read(split) if e.meta.episode_id in chosen}
    demos = {m.episode_id: m for m in run.dataset.read_metadata(f"demos_{config.evaluate.split}")}
    films = []
    env = KitchenEnv(image_size=config.data.image_size)
    try:
        for episode_id in tqdm(chosen, desc="videos", unit="episode", mininterval=1):
            episode = found[episode_id]
            m, shown = episode.meta, demos[episode.meta.demonstration]
            frames: list[np.ndarray] = []
            rollout.replay(env, m, episode.action, lambda e: frames.append(e.render()))  # noqa: B023
            lesson: list[np.ndarray] = []
            trial = Trial(shown.episode_id, shown.task, shown.scene, shown.seed)
            rollout.demonstrate(
                env,
                trial,
                config.data.noise,
                lambda e: lesson.append(e.render()),  # noqa: B023
            )
            films.append(
                {
                    "title": m.task.replace(":", " "),
                    "family": Task.parse(m.task).family,
                    "success": m.success,
                    "demo": np.stack(lesson),
                    "attempt": np.stack(frames),
                    "caption": "achieved: " + (", ".join(m.achieved_tasks) or "nothing"),
                }
            )
    finally:
        env.close()
    return films
