"""Stage: the report of a run."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mili_jax.domains import base, rollout
from mili_jax.domains.rollout import Trial
from mili_jax.improve import arms
from mili_jax.pipeline.demonstrations import DEMOS, demo_splits
from mili_jax.pipeline.loop import COLLAPSED
from mili_jax.pipeline.run import Run
from mili_jax.pipeline.train import embed, load_params
from mili_jax.report.row_checks import check_errors, check_results
from mili_jax.storage.labels import Kind, resolve
from mili_jax.types import PolicyId


def write_report(run: Run) -> Path:
    """Stage: `report/index.html` from what the other stages left; made again every time. Its first
    lines go to stderr as well."""
    from mili_jax.report import page  # brings Matplotlib, which no other stage needs

    config, workdir, last = run.config, run.workdir, arms.last_policy(run.config)
    rounds = range(1, config.improve.rounds + 1)
    names = [str(p) for number in (0, *rounds) for p in arms.policies(config, number)]
    collection = [_collected(run, number) for number in rounds]
    metrics = [
        {"stage": name, "step": step, **values}
        for name in names
        for step, values in workdir.read_metrics(name).items()
    ]
    params, there = load_params(run, last), run.dataset.splits()
    held = [split for split in ("demos_validation", "demos_test") if split in there]
    shown = [*demo_splits(run.dataset), *held]
    z, metas = embed(run, params, shown)
    kinds = [run.domain.group(m.task) for m in metas]
    rows = workdir.read_rows()
    results = [row for row in rows if "task" in row]
    errors = [row for row in rows if "error_of" in row]
    trained = {name: workdir.read_manifest(name) for name in names}
    made = page.write_report(
        workdir.path / "report",
        title="One-shot imitation that improves from its own trials",
        config=config.to_dict(),
        manifest=workdir.provenance(),
        rows=results,
        errors=errors,
        pairing_rows=[row for row in rows if "alpha" in row],
        metrics=metrics,
        embedding={
            "z": z,
            "family": kinds,
            "task": [m.task for m in metas],
            "split": [
                "train" if name in DEMOS else name.removeprefix("demos_")
                for name in shown
                for _ in range(there[name])
            ],
        },
        warnings=[
            f"{name}: all demonstrations have nearly the same embedding, so the policy cannot tell "
            "tasks apart. What else this page says of it rests on that."
            for name, facts in trained.items()
            if facts.get("last_other_cosine", 0) > COLLAPSED
        ],
        neighbours=workdir.read_manifest(f"evaluate_{last}").get("neighbours"),
        collection=collection,
        videos=_films(run, last) if run.domain.simulator else (),
        groups=run.domain.groups,
    )
    for gain in page.first_of(check_results(results), check_errors(errors)):
        print(*gain.claims, sep="\n", file=sys.stderr)
    return made


def _collected(run: Run, number: int) -> dict[str, object]:
    """What the trials of a round did, for people: this reads the oracle."""
    metas = list(run.dataset.read_metadata(f"round_{number}"))
    labels = run.dataset.read_labels(f"round_{number}")
    answers = resolve(labels)
    achieved: Counter[str] = Counter()
    confusion = {group: Counter[str]() for group in run.domain.groups}
    for m in metas:
        done = {run.domain.group(t) for t in m.achieved_tasks} if m.useful else set()
        achieved.update(done)
        confusion[run.domain.group(m.task)].update(done or {"none"})
    return {
        "round": number,
        "trials": len(metas),
        "answered": sum(answer is not None for answer in answers.values()),
        "by_people": len({x.episode_id for x in labels if x.kind is Kind.PERSON}),
        "useful": sum(answer is True for answer in answers.values()),
        "achieved": dict(achieved),
        "confusion": {group: dict(row) for group, row in confusion.items()},
    }


def _films(run: Run, policy: PolicyId) -> list[dict[str, object]]:
    """Successes and failures of each group, played again in front of a camera for people."""
    config = run.config
    split, most = f"evaluation_{policy}", config.evaluate.videos
    right = [
        m for m in run.dataset.read_metadata(split) if m.episode_id.startswith(f"{policy}-right-")
    ]
    chosen: list[str] = []
    for group in run.domain.groups:
        for success in (True, False):
            fits = [
                m.episode_id
                for m in right
                if run.domain.group(m.task) == group and m.success == success
            ]
            chosen += fits[:: max(1, len(fits) // max(1, most))][:most]
    found = {e.meta.episode_id: e for e in run.dataset.read(split) if e.meta.episode_id in chosen}
    demos = {m.episode_id: m for m in run.dataset.read_metadata(f"demos_{config.evaluate.split}")}
    films = []
    simulator = base.simulator_of(run.domain, "a film")
    env = simulator.make_env(run.spec)
    try:
        for episode_id in tqdm(chosen, desc="videos", unit="episode", mininterval=1):
            episode = found[episode_id]
            m, shown = episode.meta, demos[episode.meta.demonstration]
            frames: list[np.ndarray] = []
            rollout.replay(env, m, episode.action, lambda e: frames.append(e.render()))  # noqa: B023
            lesson: list[np.ndarray] = []
            trial = Trial(shown.episode_id, shown.task, shown.scene, shown.seed)
            rollout.demonstrate(
                simulator,
                env,
                trial,
                config.data.noise,
                lambda e: lesson.append(e.render()),  # noqa: B023
            )
            films.append(
                {
                    "title": m.task.replace(":", " "),
                    "family": run.domain.group(m.task),
                    "success": m.success,
                    "demo": np.stack(lesson),
                    "attempt": np.stack(frames),
                    "caption": "achieved: " + (", ".join(m.achieved_tasks) or "nothing"),
                }
            )
    finally:
        env.close()
    return films
