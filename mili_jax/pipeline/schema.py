"""Every field of a configuration: its default, what must hold for it and what it is for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mili_jax import plugins
from mili_jax.domains import base
from mili_jax.improve import arms, filters, screening
from mili_jax.learning import augment, hyper, mil
from mili_jax.policy import policy
from mili_jax.policy.embedding import SIZES
from mili_jax.types import ConfigError

# What each MIL among `arms.BASELINES` is shown.
SUPPORTS = dict(zip(("mil", "mil_pose", "mil_video"), mil.SUPPORTS, strict=True))
BACKENDS = ("local", "ray")  # where jobs run
# Between the seeds of splits and rounds, and of demonstrations in a split: `check` sees to it that
# no two overlap.
SEED_STRIDE = 1_000_000
DEMO_STRIDE = 90  # more than the attempts at one
MOST_DEMOS = 20  # of one task
MOST_ROWS = 65_536  # of pairs in a batch


@dataclasses.dataclass(frozen=True)
class ConfigField:
    """One field: `section.name`, its default (whose type it has), whether a value may be, in words
    what may, and what it is for."""

    name: str
    default: object
    holds: Callable[[Any], bool]
    wanted: str
    meaning: str

    def check(self, value: object) -> None:
        """Raises ConfigError, naming the field, for a value that may not be."""
        kind = type(self.default)
        typed = isinstance(value, (int, float) if kind is float else kind)
        typed = typed and (kind is bool or not isinstance(value, bool))
        if not typed or not _storable(value) or not self.holds(value):
            wanted = f"{kind.__name__}, {self.wanted}" if self.wanted else kind.__name__
            shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
            raise ConfigError(f"config.{self.name} = {shown} must be {wanted}")


def _storable(value: object) -> bool:
    """Whether a file holds it as it is: of numbers, those that are finite and of 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _positive(value: float) -> bool:
    return bool(value > 0)


def _share(value: float) -> bool:
    return bool(0 <= value <= 1)


def _count(value: float) -> bool:
    return bool(value >= 0)


def _any(value: object) -> bool:
    return True


def _rows(value: int) -> bool:
    return value >= 4 and value % 4 == 0


def _one_of(kind: str, own: Mapping[str, object]) -> tuple[Callable[[str], bool], str]:
    """What `plugins.find` can find."""
    return (lambda v: plugins.known(kind, v, own)), (
        f"one of {sorted(own)}, what an installed package registers, or module:attribute"
    )


def _texts(values: Sequence[str]) -> bool:
    return all(isinstance(v, str) and v for v in values) and len(set(values)) == len(values)


# Beside those of the sections. The compiled step takes the seed as a 32-bit integer.
TOP: tuple[ConfigField, ...] = (
    ConfigField(
        "name",
        "",
        lambda v: bool(v) and v.isprintable(),
        "one line, not empty",
        "what result rows call the configuration",
    ),
    ConfigField("seed", 0, lambda v: 0 <= v < 2**31, f"0..{2**31 - 1}", "of everything random"),
)
_ROWS = "a multiple of 4, the colour groups"
FIELDS: tuple[ConfigField, ...] = (
    ConfigField(
        "domain.name", "kitchen", *_one_of("domains", base.BUILT_IN), "the robot and its world"
    ),
    ConfigField(
        "data.image_size",
        64,
        lambda v: 32 <= v <= 512 and v % 4 == 0,
        "a multiple of 4, 32..512",
        "height of a picture in pixels; the paper has 100",
    ),
    ConfigField(
        "data.cameras",
        (),
        _texts,
        "names of the domain's cameras, each once",
        "that take the pictures, the one that places are found in first; () for the domain's own",
    ),
    ConfigField(
        "data.tasks",
        200,
        _positive,
        "positive",
        "demonstrated training tasks; the paper bootstraps from 200 of 520",
    ),
    ConfigField(
        "data.demonstrations", 4, lambda v: 2 <= v <= MOST_DEMOS, f"2..{MOST_DEMOS}", "per task"
    ),
    ConfigField("data.noise", 1.0, _count, "at least 0", "disturbance of the scripted expert"),
    ConfigField(
        "policy.embedding",
        "pose_anchored",
        *_one_of("embeddings", dict(policy.EMBEDDINGS)),
        "what reads a demonstration; `images_only` is the paper's",
    ),
    ConfigField(
        "policy.head",
        "anchored_mixture",
        *_one_of("heads", dict(policy.HEADS)),
        "what chooses an action; `spatial_softmax_mdn` is the paper's",
    ),
    ConfigField(
        "policy.embedding_size", 64, lambda v: v > SIZES, f"more than {SIZES}", "numbers of a z"
    ),
    ConfigField("policy.channels", 32, _positive, "positive", "of the encoder"),
    ConfigField("policy.blocks", 2, _count, "at least 0", "residual blocks of the encoder"),
    ConfigField(
        "policy.frames",
        2,
        lambda v: v >= 2,
        "at least 2",
        "encoded frames of a demonstration; 2 are the first and the last",
    ),
    ConfigField(
        "policy.places",
        14,
        lambda v: v >= 4,
        "at least 4",
        "poses of a demonstration: two key poses, the others evenly along it",
    ),
    ConfigField("train.steps", 2000, _positive, "positive", "gradient steps of pre-training"),
    ConfigField("train.batch", 48, _rows, _ROWS, "pairs of episodes in a batch"),
    ConfigField("train.policy_steps", 4, _positive, "positive", "time steps imitated of each pair"),
    ConfigField("train.learning_rate", 3e-3, _positive, "positive", "at its peak"),
    ConfigField(
        "train.contrastive",
        "supervised",
        lambda v: v in hyper.CONTRASTIVE,
        f"one of {hyper.CONTRASTIVE}",
        "loss of the latent space; `hinge` is the paper's",
    ),
    ConfigField("train.contrastive_weight", 1.0, _count, "at least 0", "1 in eq. 3"),
    ConfigField(
        "train.truncated", True, _any, "", "what a demonstration broken off shows is another task"
    ),
    ConfigField(
        "train.recall_weight",
        1.0,
        _count,
        "at least 0",
        "of finding again what lies in the demonstration's picture",
    ),
    ConfigField(
        "train.embedding_gradient",
        1.0,
        _share,
        "0..1",
        "share of the policy's gradient that reaches the embedding; with 0 the contrastive loss "
        "alone trains it",
    ),
    ConfigField(
        "train.demo_dropout",
        0.05,
        _share,
        "0..1",
        "share of pairs imitated without a demonstration",
    ),
    ConfigField("train.checkpoint_every", 250, _positive, "positive", "steps"),
    ConfigField(
        "train.bfloat16", False, _any, "", "products of the encoder in bfloat16; accelerators only"
    ),
    # More of either and the seeds of trials would be those of evaluation (`SEED_STRIDE`).
    ConfigField("improve.rounds", 1, lambda v: 0 <= v < 80, "0..79", "of trials and retraining"),
    ConfigField(
        "improve.trials",
        2000,
        lambda v: 0 < v < SEED_STRIDE,
        f"1..{SEED_STRIDE - 1}",
        "per round",
    ),
    ConfigField(
        "improve.commanded_share",
        0.5,
        _share,
        "0..1",
        "share of the trials whose scene holds the demonstrated objects",
    ),
    ConfigField(
        "improve.object_sets",
        80,
        _count,
        "at least 0",
        "sets of objects that the other scenes share; 0: each has objects of its own",
    ),
    ConfigField(
        "improve.trial_share",
        0.7,
        _share,
        "0..1",
        "share of later rounds' trials that follow an earlier trial",
    ),
    ConfigField(
        "improve.temperature", 0.0, _count, "at least 0", "of the actions tried; 0 takes the mode"
    ),
    ConfigField("improve.noise", 1.0, _count, "at least 0", "disturbance of the trials"),
    ConfigField(
        "improve.filter",
        "simulator",
        *_one_of("filters", filters.FILTERS),
        "what answers for the trials that nobody has answered for",
    ),
    ConfigField(
        "improve.alpha",
        0.95,
        lambda v: -1 <= v <= 1,
        "a cosine, -1..1",
        "least cosine of a pair; the paper's is 0.9",
    ),
    ConfigField("improve.cap", 40, _positive, "positive", "most pairs of a trial, nearest first"),
    ConfigField(
        "improve.mutual", False, _any, "", "whether both must be among each other's nearest"
    ),
    ConfigField(
        "improve.balance",
        True,
        _any,
        "",
        "whether pairs, and trials to follow, are drawn evenly over the groups they resemble",
    ),
    ConfigField(
        "improve.rested",
        True,
        _any,
        "",
        "whether only trials count that ended by themselves, not by the time limit",
    ),
    ConfigField(
        "improve.batch", 48, _rows, _ROWS, "pairs of demonstrations in a batch of retraining"
    ),
    ConfigField(
        "improve.self_share",
        0.5,
        _share,
        "0..1",
        "share of the pairs drawn that are a trial with itself, seen in two ways",
    ),
    ConfigField(
        "improve.pair_fraction",
        0.5,
        lambda v: 0 <= v < 1,
        "at least 0 and below 1",
        "share of a batch that is pairs of trials, on top of the demonstrations",
    ),
    ConfigField("improve.steps", 500, _positive, "positive", "gradient steps of retraining"),
    ConfigField("improve.learning_rate", 1e-3, _positive, "positive", "of retraining"),
    ConfigField(
        "improve.warm_start", True, _any, "", "whether retraining starts from the last policy"
    ),
    ConfigField(
        "improve.arms",
        ("mili", "control"),
        lambda v: v and _texts(v) and v[0] == "mili",
        "names of arms, mili first",
        "what a round trains side by side: mili_jax/improve/arms.py",
    ),
    ConfigField(
        "baselines.methods",
        (),
        lambda v: _texts(v) and set(v) <= set(arms.BASELINES),
        f"any of {sorted(arms.BASELINES)}",
        "what is trained beside the loop on the demonstrations alone",
    ),
    ConfigField(
        "baselines.bc_steps", 2000, _positive, "positive", "gradient steps of behaviour cloning"
    ),
    ConfigField("baselines.mil_steps", 850, _positive, "positive", "meta-steps"),
    ConfigField("baselines.mil_tasks", 16, _rows, _ROWS, "tasks in a meta-batch"),
    ConfigField(
        "baselines.mil_policy_steps",
        8,
        _positive,
        "positive",
        "time steps of a demonstration, and of a query",
    ),
    ConfigField("baselines.mil_learning_rate", 3e-3, _positive, "positive", "of the meta-steps"),
    ConfigField(
        "baselines.mil_adapted",
        "actor",
        lambda v: v in mil.ADAPTED,
        f"one of {mil.ADAPTED}",
        "what adapts: the head and a bias, or the encoder too",
    ),
    ConfigField("baselines.mil_inner_steps", 1, _positive, "positive", "gradient steps inside"),
    ConfigField(
        "baselines.mil_inner_rate",
        0.01,
        _positive,
        "positive",
        "to begin with; every parameter learns its own",
    ),
    ConfigField(
        "baselines.mil_first_order", False, _any, "", "whether the inner gradient is a constant"
    ),
    ConfigField(
        "baselines.mil_clip", 10.0, _count, "at least 0", "of each element of an inner gradient"
    ),
    ConfigField(
        "evaluate.split",
        "test",
        lambda v: v in ("validation", "test"),
        "validation or test",
        "whose tasks are evaluated",
    ),
    ConfigField("evaluate.tasks", 40, lambda v: v >= 2, "at least 2", "of the split"),
    ConfigField("evaluate.episodes", 10, lambda v: 1 <= v <= 1000, "1..1000", "per task"),
    ConfigField(
        "evaluate.seed",
        1000,
        _count,
        "at least 0",
        "of the arrangements: the same for every method and seed",
    ),
    ConfigField(
        "evaluate.conditions",
        ("right", "wrong", "none"),
        lambda v: v and _texts(v) and v[0] == "right" and set(v) <= {"right", "wrong", "none"},
        "right first, then any of wrong, none",
        "which demonstration the policy is given",
    ),
    ConfigField(
        "evaluate.videos", 2, _count, "at least 0", "successes and failures shown per group"
    ),
    ConfigField(
        "machine.backend",
        "local",
        lambda v: v in BACKENDS,
        f"one of {BACKENDS}",
        "where episodes are rolled out; `ray`: on the cluster of RAY_ADDRESS",
    ),
    ConfigField(
        "machine.processes",
        2,
        _count,
        "at least 0",
        "workers that simulate; 0: this process does",
    ),
    ConfigField(
        "machine.pairing",
        "blocks",
        lambda v: v in screening.BACKENDS,
        f"one of {sorted(screening.BACKENDS)}",
        "what searches pairs; `faiss`, where it is installed, finds the same",
    ),
    ConfigField("machine.shard", 32, _positive, "positive", "episodes in a file"),
    ConfigField(
        "machine.pool_gb",
        1.0,
        _count,
        "at least 0",
        "GB of pictures held in memory; training on more streams them from the shards",
    ),
)


def sections() -> dict[str, dict[str, ConfigField]]:
    """The fields by section and name."""
    found: dict[str, dict[str, ConfigField]] = {}
    for field in FIELDS:
        section, _, name = field.name.partition(".")
        found.setdefault(section, {})[name] = field
    return found


def default_config(name: str) -> ConfigDict:
    """A configuration of that name in which every field has its default."""
    config = ConfigDict({"name": name, "seed": 0})
    for section, fields in sections().items():
        config[section] = ConfigDict({key: field.default for key, field in fields.items()})
    return config


def check(config: ConfigDict) -> None:
    """Raises ConfigError naming the first field that is unknown, missing, mistyped or wrong."""
    for field, value in _fields_of(config):
        field.check(value)
    domain = base.load(config.domain.name)
    spec = domain.spec(config.data.image_size, config.data.cameras)
    if spec is not None:
        policy.check(spec, config.policy.embedding, config.policy.head)
    if domain.simulator is not None:
        tasks = domain.simulator.tasks
        splits = {"data.tasks": "train", "evaluate.tasks": config.evaluate.split}
        for asked_by, split in splits.items():
            section, _, name = asked_by.partition(".")
            asked, there = config[section][name], len(tasks(split))
            if asked > there:
                raise ConfigError(
                    f"config.{asked_by} = {asked}: the domain {domain.name!r} has {there} tasks of "
                    f"the split {split!r}; ask for at most so many"
                )
    _check_pair_rows(config)
    chosen = plugins.find("filters", config.improve.filter, filters.FILTERS)
    if not callable(chosen):
        raise ConfigError(
            f"config.improve.filter = {config.improve.filter!r} is of the type "
            f"{type(chosen).__name__}, not a function of improve.filters.Unanswered"
        )
    trials = config.improve.trials
    taken: dict[str, str] = {}
    for name in config.improve.arms:
        arm = arms.parse(name)
        if taken.setdefault(arm.name, name) != name:
            raise ConfigError(
                f"config.improve.arms: {taken[arm.name]!r} and {name!r} both call themselves "
                f"{arm.name!r}; give one of them another name"
            )
        if arm.trials is not None and arm.trials > trials:
            raise ConfigError(
                f"config.improve.arms: {name!r} is more than config.improve.trials = {trials}"
            )
        if arm.adapts and "mil" not in config.baselines.methods:
            raise ConfigError(
                f"config.improve.arms: {name!r} goes on from MIL; add 'mil' to "
                "config.baselines.methods"
            )
    for name in config.baselines.methods:
        if name in SUPPORTS:
            mil.check(config.policy.head, SUPPORTS[name])


def pair_rows(config: ConfigDict) -> int:
    """The rows of pairs in a batch of retraining, on top of those of demonstrations: as many in
    each of the colour groups that these make."""
    c = config.improve
    colours = augment.most_colours(c.batch)
    return colours * round(c.batch * c.pair_fraction / (1 - c.pair_fraction) / colours)


def _check_pair_rows(config: ConfigDict) -> None:
    """Raises ConfigError for a share of pairs that leaves no row of them, or needs too many."""
    share, rows = config.improve.pair_fraction, pair_rows(config)
    if rows > MOST_ROWS or (share > 0 and rows == 0):
        raise ConfigError(
            f"config.improve.pair_fraction = {share} with config.improve.batch = "
            f"{config.improve.batch} gives {rows} rows of pairs; it must be 1..{MOST_ROWS}, or 0 "
            "for none"
        )


def _fields_of(config: ConfigDict) -> Iterator[tuple[ConfigField, object]]:
    """Every field with its value. Raises ConfigError for one that is unknown or missing."""
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"a configuration is of type {type(config).__name__}; it must be the ConfigDict that "
            "get_config returns, changed"
        )
    wanted = sections()
    known = {"name", "seed", *wanted}
    if set(config) != known:
        raise ConfigError(
            f"config: unknown {sorted(set(config) - known)}, missing {sorted(known - set(config))}"
        )
    for field in TOP:
        yield field, config[field.name]
    for section, fields in wanted.items():
        given = config[section]
        if not isinstance(given, ConfigDict):
            raise ConfigError(
                f"config.{section} = {given!r} must be a ConfigDict of {list(fields)}"
            )
        for name in sorted(set(given) | set(fields)):
            if name not in fields:
                raise ConfigError(
                    f"config.{section}.{name} is unknown; {section} has {sorted(fields)}"
                )
            if name not in given:
                raise ConfigError(f"config.{section}.{name} is missing")
            yield fields[name], given[name]
