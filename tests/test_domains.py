"""What somebody else's robot can have wrong: each is a typed error of one line that names it.

The robot is the toy of `tests/toy`, with one thing wrong at a time.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from installing import install

from mili_jax.batches.pool import build_pool
from mili_jax.configs import get_config
from mili_jax.domains import base, rollout
from mili_jax.domains.kitchen.spec import spec as kitchen_spec
from mili_jax.domains.rollout import Request, Teacher, Trial
from mili_jax.improve.arms import ARMS
from mili_jax.pipeline import collect, demonstrate, schema
from mili_jax.pipeline.run import open_run
from mili_jax.spec import Camera, Field, Layout, Spec
from mili_jax.storage.dataset import Dataset
from mili_jax.storage.files import sealed
from mili_jax.storage.records import codec
from mili_jax.storage.robot import Shapes
from mili_jax.storage.shards import write_records
from mili_jax.types import ConfigError, DataError, Episode, EpisodeMeta, MiliError, Task

TOY = Path(__file__).with_name("toy")
sys.path.insert(0, str(TOY))

from toy_robot import domain as toy  # noqa: E402
from toy_robot.env import ToyEnv  # noqa: E402
from toy_robot.expert import ToyExpert  # noqa: E402

SPEC = toy.TOY.spec(96, ())
FIELDS = {
    "domain.name": "toy_robot.domain:TOY",
    "data.image_size": 96,
    "policy.embedding": "images_only",
    "policy.head": "spatial_softmax_mdn",
    "data.tasks": 2,
    "data.demonstrations": 2,
    "evaluate.tasks": 2,
    "machine.processes": 0,
}


def config(**changes):
    made = get_config("test")
    made.update_from_flattened_dict({**FIELDS, **changes})
    return made


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    said = str(error.value)
    assert isinstance(error.value, MiliError) and "\n" not in said
    without_paths = re.sub(r"\S*/\S+|'/[^']*'", "PATH", said)
    assert len(without_paths) < 400, said
    return said


@pytest.fixture
def offer(monkeypatch):
    """Makes an object importable, and says how."""
    module = types.ModuleType("offered_by_a_test")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def offer(found) -> str:
        name = f"it_{len(vars(module))}"
        setattr(module, name, found)
        base._load.cache_clear()
        return f"{module.__name__}:{name}"

    yield offer
    base._load.cache_clear()


def like_toy(**changes):
    """The toy with other members."""
    return type("Mine", (toy.Toy,), changes)()


def without(found, member):
    """An object that has all of another's members but one."""
    names = {name for name in dir(found) if not name.startswith("_")} - {member}
    return types.SimpleNamespace(**{name: getattr(found, name) for name in names})


# A domain that lacks a member


@pytest.mark.parametrize("member", ["name", "groups", "hindsight", "simulator", "spec", "group"])
def test_a_domain_that_lacks_a_member(member, offer):
    where = offer(without(toy.TOY, member))
    with pytest.raises(ConfigError) as error:
        schema.check(config(**{"domain.name": where}))
    said = one_line(error)
    assert where in said and f"lacks {member!r}, a member of domains.base.Domain" in said


@pytest.mark.parametrize(
    "member",
    [
        *("renderer", "tasks", "make_env", "make_expert", "sample_scene"),
        *("rearrange", "disturb_start", "disturb"),
    ],
)
def test_a_simulator_that_lacks_a_member(member, offer):
    where = offer(like_toy(simulator=without(toy.ToySimulator(), member)))
    with pytest.raises(ConfigError) as error:
        base.load(where)
    assert f"lacks {member!r}, a member of domains.base.Simulator" in one_line(error)


def test_the_protocols_ask_for_nothing_that_was_not_tried():
    """The lists above are written out; this one says when a protocol has grown."""
    assert set(base.lacking(base.Domain, object())) == {
        *("name", "groups", "hindsight", "simulator", "spec", "group")
    }
    assert len(base.lacking(base.Simulator, object())) == 8
    assert not base.lacking(base.Domain, toy.TOY)
    assert not base.lacking(base.Simulator, toy.TOY.simulator)


@pytest.mark.parametrize("groups", [(), ["drawer"], ("drawer", "drawer"), ("drawer", 3), "drawer"])
def test_groups_that_cannot_be(groups, offer):
    where = offer(like_toy(groups=groups))
    with pytest.raises(ConfigError, match="its groups are") as error:
        base.load(where)
    assert where in one_line(error)


def test_a_task_of_no_group(offer):
    odd = like_toy(group=lambda self, task: "door")
    with pytest.raises(ConfigError, match="'open drawer' is of the group 'door', which is none"):
        build_pool(odd, [an_episode(SPEC, "a"), an_episode(SPEC, "b")], demonstrations=True)


def test_a_domain_under_another_name(tmp_path, monkeypatch):
    registered(tmp_path, monkeypatch, "mine", "toy_robot.domain:TOY")
    with pytest.raises(ConfigError, match="'mine': what is registered so calls itself 'toy'"):
        base.load("mine")


# An environment that is not as its spec says


class Odd(ToyEnv):
    """The toy with another picture, pose or action space."""

    def __init__(self, spec, **changes) -> None:
        super().__init__(spec)
        self.changes = changes
        if "space" in changes:
            self.action_space = changes["space"]

    def _see(self):
        seen = super()._see()
        return {**seen, **{k: f(seen[k]) for k, f in self.changes.items() if k in seen}}

    def outcome(self):
        lost = self.changes.get("lost")
        return {k: v for k, v in super().outcome().items() if k != lost}


def box(low, high, *shape):
    return gymnasium.spaces.Box(np.float32(low), np.float32(high), shape)


SMALL = gymnasium.spaces.Box(np.float32([-0.01] * 3 + [0]), np.float32([0.01] * 3 + [1]))
ENVS = [
    ({"image": lambda x: x[:64]}, "its image is 64 x 128 x 3 of uint8, the spec says 96 x 128 x 3"),
    ({"image": lambda x: x / np.float32(255)}, "of float32, the spec says 96 x 128 x 3 of uint8"),
    ({"pose": lambda x: x[:3]}, r"its pose is 3 of float32, the spec names 4 .*\(x, y, z, grip\)"),
    ({"pose": lambda x: x.astype(float)}, "its pose is 4 of float64, the spec names 4 of float32"),
    ({"pose": lambda x: x * np.float32([1, np.nan, 1, 1])}, "'y' of its pose is no finite number"),
    ({"space": box(-1, 1, 7)}, r"action_space has shape \(7,\), the spec's action has 4 numbers"),
    ({"space": gymnasium.spaces.Discrete(4)}, r"action_space has shape \(\), the spec's"),
    ({"space": SMALL}, "action 'dx' may be -0.05 to 0.05 by the spec, -0.01 to 0.01 by its"),
    ({"lost": "useful"}, r"its outcome\(\) lacks 'useful'"),
]


def one_trial(rng=0):
    task = toy.TOY.simulator.tasks("train")[0]
    scene = toy.TOY.simulator.sample_scene("train", np.random.default_rng(rng), [task])
    return Trial("a", task.name, scene, 0)


def still(trials):
    return lambda image, pose: np.zeros((len(pose), 4), np.float32)


@pytest.mark.parametrize(("changes", "said"), ENVS)
def test_an_environment_is_held_against_the_spec(changes, said):
    simulator, env = toy.TOY.simulator, Odd(SPEC, **changes)
    for attempt in (
        lambda: rollout.demonstrate(simulator, env, one_trial(), spec=SPEC),
        lambda: rollout.run_job(simulator, [env], [one_trial()], still, spec=SPEC),
    ):
        with pytest.raises(ConfigError, match=f"Odd: .*{said}") as error:
            attempt()
        one_line(error)


def test_a_larger_action_space_than_the_spec_uses_is_no_fault():
    env = Odd(SPEC, space=box(-np.inf, np.inf, 4))
    assert rollout.demonstrate(toy.TOY.simulator, env, one_trial(), spec=SPEC).meta.success
    (episode,) = rollout.run_job(toy.TOY.simulator, [env], [one_trial()], still, spec=SPEC)
    assert episode.meta.terminated and not episode.meta.success


@pytest.mark.parametrize("member", ["outcome", "render", "close", "step", "reset"])
def test_an_environment_that_lacks_a_member(member):
    env = without(ToyEnv(SPEC), member)
    with pytest.raises(ConfigError, match=f"lacks {member!r}, a member of .*SimulatorEnv"):
        rollout.run_job(toy.TOY.simulator, [env], [one_trial()], still, spec=SPEC)


class Clumsy(ToyExpert):
    def act(self):
        return np.array([0.0, 0.0, np.nan, 1.0], np.float32)


class Seven(ToyExpert):
    def act(self):
        return np.zeros(7, np.float32)


class Endless:
    act = ToyExpert.act

    def __init__(self, env) -> None:
        self.env = env


@pytest.mark.parametrize(
    ("expert", "said"),
    [
        (Clumsy, r"Clumsy: its action is .*nan.*, the spec names 4 finite numbers \(dx, dy, dz"),
        (Seven, "Seven: its action is .*the spec names 4"),
        (Endless, "Endless lacks 'done', a member of domains.base.Expert"),
    ],
)
def test_an_expert_is_held_against_the_spec(expert, said, offer):
    simulator = type("Mine", (toy.ToySimulator,), {"make_expert": lambda self, env: expert(env)})()
    where = offer(like_toy(simulator=simulator))
    with pytest.raises(ConfigError, match=said) as error:
        Teacher(where, SPEC)([Request("a", Task("open drawer", "drawer"), "train", 0)])
    one_line(error)


# Bounds and cameras


@pytest.mark.parametrize(("low", "high"), [(0.05, -0.05), (1.0, 1.0), (0.0, np.nan), (-np.inf, 0)])
def test_bounds_that_cannot_be(low, high):
    with pytest.raises(ConfigError, match="field 'dx': ") as error:
        Layout((Field("dy", "m", -1, 1), Field("dx", "m", low, high)))
    one_line(error)


K = [[100.0, 0, 64], [0, 100, 48], [0, 0, 1]]
TURN = [[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]
SINGULAR = {
    "no focal length": lambda: Camera.calibrated(
        "front", [[0.0, 0, 64], [0, 0, 48], [0, 0, 1]], TURN, [0, 0, 1], 128, 96
    ),
    "two equal rows": lambda: Camera("front", ((1, 0, 0, 0), (1, 0, 0, 0), (0, 0, -1, 1))),
    "zeros": lambda: Camera("front", ((0, 0, 0, 0),) * 3),
    "a rotation that is none": lambda: Camera.calibrated(
        "front", K, [[1, 0, 0], [0, 1, 0], [0, 0, 0]], [0, 0, 1], 128, 96
    ),
    "in the plane of the table": lambda: Camera.calibrated(
        "front", K, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], [0, 0, 1], 128, 96
    ),
}


@pytest.mark.parametrize("fault", SINGULAR)
def test_a_camera_that_cannot_be_is_named(fault, offer, tmp_path):
    with pytest.raises(ConfigError, match="camera 'front'") as error:
        SINGULAR[fault]()
    one_line(error)

    def spec(self, image_size, cameras):
        return Spec(toy.POSE, toy.ACTION, 96, 128, (SINGULAR[fault](),))

    where = offer(like_toy(spec=spec))
    with pytest.raises(ConfigError, match="camera 'front'"):
        open_run(config(**{"domain.name": where}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_description_with_a_singular_camera_is_refused():
    facts = json.loads(SPEC.to_json())
    facts["cameras"][0]["matrix"] = [[0, 0, 0, 0]] * 3
    with pytest.raises(ConfigError, match="camera 'side': its matrix is singular"):
        Spec.from_json(json.dumps(facts))


# Names of tasks

NAMES = ["open/drawer", "open\\drawer", "o" * 300, "", "open\ndrawer", "open\0drawer"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_tasks_that_cannot_be(name, offer):
    with pytest.raises(ConfigError, match="task '") as error:
        Task(name, "drawer")
    assert name[:10].encode("unicode_escape").decode()[:4] in one_line(error)

    def tasks(self, split):
        return [Task(name, "drawer"), Task("turn lever", "lever")]

    where = offer(like_toy(simulator=type("Mine", (toy.ToySimulator,), {"tasks": tasks})()))
    with pytest.raises(ConfigError, match="task '"):
        demonstrate.demonstration_requests(config(**{"domain.name": where}), "train")


def test_names_of_200_letters_and_any_script_may_be():
    for name in ("o" * 200, "шкаф открыть", "open: the drawer (slowly)"):
        assert Task(name, "drawer").name == name


# Episodes of unlike cameras


def an_episode(spec: Spec, name: str, length: int = 3, task: str = "open drawer") -> Episode:
    meta = EpisodeMeta(name, task, "{}", 1, 0, "expert", "", "numpy", True, True, (task,))
    image = np.zeros((length, *spec.picture), np.uint8)
    pose = np.zeros((length, len(spec.pose)), np.float32)
    action = np.zeros((length, len(spec.action)), np.float32)
    return Episode(image, pose, action, meta)


def test_a_run_refuses_a_dataset_of_other_cameras(offer, tmp_path):
    other = Spec(toy.POSE, toy.ACTION, 96, 128, (Camera("front"),), delta=True)
    dataset = Dataset(tmp_path / "run" / "dataset", other)
    dataset.write_shard("demos_train", 0, [an_episode(other, "a")])
    dataset.commit("demos_train", 1)
    where = offer(like_toy())
    with pytest.raises(DataError) as error:
        open_run(config(**{"domain.name": where}), tmp_path / "run")
    assert "cameras ['front'], the spec has ['side']" in one_line(error)


def test_episodes_of_unlike_cameras_do_not_meet_in_one_dataset(tmp_path):
    other = Spec(toy.POSE, toy.ACTION, 96, 128, (Camera("front"),), delta=True)
    Dataset(tmp_path, SPEC).write_shard("demos_train", 0, [an_episode(SPEC, "a")])
    Dataset(tmp_path, other).write_shard("demos_train", 1, [an_episode(other, "b")])
    with pytest.raises(DataError, match="record-00001 is of another robot") as error:
        Dataset(tmp_path, SPEC).commit("demos_train", 2)
    assert "take this shard away" in one_line(error)
    assert Dataset(tmp_path, SPEC).splits() == {}
    both = Spec(toy.POSE, toy.ACTION, 96, 128, (Camera("side"), Camera("front")), delta=True)
    with pytest.raises(DataError, match="'b' has images"):
        episodes = [an_episode(SPEC, "a"), an_episode(both, "b")]
        build_pool(toy.TOY, episodes, demonstrations=True)


# Entry points


def registered(folder, monkeypatch, name, where, kind="domains") -> None:
    """Installs a package that registers `name` as `where`, for as long as the test lasts."""
    source, site = folder / "source", folder / "site"
    source.mkdir()
    site.mkdir()
    (source / "pyproject.toml").write_text(
        '[project]\nname = "theirs"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
        f'[project.entry-points."mili_jax.{kind}"]\n{name} = "{where}"\n'
    )
    install(source, site)
    monkeypatch.syspath_prepend(site)
    base._load.cache_clear()


POINTS = [
    ("not_there.domain:IT", "", r"ModuleNotFoundError: No module named 'not_there'"),
    ("theirs:IT", "IT = 1 / 0", "ZeroDivisionError: division by zero"),
    ("theirs:IT", "import sys; sys.exit(3)", "SystemExit: 3"),
    ("theirs:IT", "def broken(:", "SyntaxError"),
    ("theirs:IT", "OTHER = 1", "AttributeError: .* no attribute 'IT'"),
    ("theirs", "IT = 1", "registered as 'theirs', which names no attribute of a module"),
]


@pytest.mark.parametrize(("where", "text", "said"), POINTS)
@pytest.mark.parametrize("kind", ["domains", "heads", "filters", "arms"])
def test_an_entry_point_that_cannot_be_imported(kind, where, text, said, tmp_path, monkeypatch):
    registered(tmp_path, monkeypatch, "mine", where, kind)
    (tmp_path / "site" / "theirs.py").write_text(text)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    field, value = {
        "domains": ("domain.name", "mine"),
        "heads": ("policy.head", "mine"),
        "filters": ("improve.filter", "mine"),
        "arms": ("improve.arms", ("mili", "mine")),
    }[kind]
    with pytest.raises(ConfigError, match=said) as error:
        open_run(config(**{field: value}), tmp_path / "run")
    assert "'mine'" in one_line(error) and repr(where) in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_filter_that_is_no_function(offer):
    where = offer(3)
    with pytest.raises(ConfigError, match="is of the type int, not a function of") as error:
        schema.check(config(**{"improve.filter": where}))
    assert where in one_line(error)


def test_two_arms_of_one_name(offer):
    where = offer(copy.copy(ARMS["control"]))
    with pytest.raises(ConfigError, match="both call themselves 'control'") as error:
        schema.check(config(**{"improve.arms": ("mili", "control", where)}))
    assert where in one_line(error)


# Stages without a simulator


@pytest.fixture
def logs(tmp_path):
    """A run on episodes of somebody's robot, with no simulator."""
    dataset = Dataset(tmp_path / "run" / "dataset", SPEC)
    dataset.write_shard("demos_train", 0, [an_episode(SPEC, f"e{i}") for i in range(4)])
    dataset.commit("demos_train", 1)
    run = open_run(config(**{"domain.name": "logs"}), tmp_path / "run")
    with run.workdir:
        yield run


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (demonstrate.demonstrate, "the stage `demos` needs a simulator"),
        (lambda run: collect.collect(run, 1), "the stage `collect` needs a simulator"),
    ],
)
def test_stages_that_need_a_simulator_say_so(stage, said, logs):
    with pytest.raises(ConfigError, match=said) as error:
        stage(logs)
    assert "the domain 'logs' has none; bring episodes of your own" in one_line(error)
    assert not list((logs.workdir.path / "stages").glob("*"))


@pytest.mark.parametrize("domain", ["logs"])
def test_a_worker_cannot_simulate_logs(domain):
    with pytest.raises(ConfigError, match="a demonstration needs a simulator"):
        Teacher(domain, SPEC)


def test_logs_of_which_there_are_none(tmp_path):
    with open_run(config(**{"domain.name": "logs"}), tmp_path / "run").workdir as workdir:
        assert workdir.path.exists()
    run = open_run(config(**{"domain.name": "logs"}), tmp_path / "run")
    with run.workdir, pytest.raises(DataError, match=r"holds no episodes.*mili import"):
        run.spec  # noqa: B018


# A run of an earlier version

OLD_CONFIG = {  # the sections that a configuration had then, shortened
    "name": "test",
    "seed": 0,
    "data": {"image_size": 32, "tasks": 5, "demonstrations": 2, "noise": 1.0},
    "policy": {"embedding": "pose_anchored", "head": "anchored_mixture"},
    "train": {"steps": 40, "batch": 4},
    "improve": {"rounds": 1, "trials": 20},
    "baselines": {"methods": []},
    "evaluate": {"split": "test", "tasks": 4},
    "machine": {"shard": 4},
}


@pytest.fixture
def earlier(tmp_path):
    """The folder of a run from before there were domains: its manifest, a stage, a checkpoint, and
    two demonstrations in the format of that time."""
    path = tmp_path / "my runs" / "old"
    data = path / "dataset" / "mili" / "1.0.0"
    data.mkdir(parents=True)
    spec = kitchen_spec(32)
    old = codec(Shapes.of(spec), None)
    task = "press:button_22"
    episodes = [an_episode(spec, f"train-000-{i}", 2, task) for i in range(2)]
    shard = data / "mili-demos_train.array_record-00000"
    write_records(shard, [old.encode(episode) for episode in episodes])
    Dataset(path / "dataset", spec).commit("demos_train", 1)
    assert not (data / "spec.json").exists()
    (path / "manifest.json").write_text(sealed({"config": OLD_CONFIG, "stages": ["demos_train"]}))
    (path / "stages").mkdir()
    stage = {"stage": "demos_train", "config": {"data": OLD_CONFIG["data"]}}
    stage |= {"inputs": {}, "outputs": {}}
    (path / "stages" / "demos_train.json").write_text(sealed(stage))
    (path / "checkpoints" / "pretrain").mkdir(parents=True)
    return path


def files_of(path):
    return {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_a_run_of_an_earlier_version_names_the_command_that_takes_its_episodes(earlier):
    asked = get_config("test")
    asked.data.image_size = 32
    before = files_of(earlier)
    with pytest.raises(ConfigError) as error:
        open_run(asked, earlier)
    said = one_line(error)
    assert str(earlier) in said and "made by an earlier version" in said
    assert "checkpoints and stages cannot go on" in said and "(absent)" not in said
    assert files_of(earlier) == before, "nothing is changed"

    subprocess.run(re.search("`(.*)`", said)[1], shell=True, check=True)
    fresh = earlier.with_name("old_new")
    assert f"--workdir='{fresh}'" in said
    run = open_run(asked, fresh)
    with run.workdir:
        assert run.dataset.splits() == {"demos_train": 2}
        assert [m.episode_id for m in run.dataset.read_metadata("demos_train")] == [
            *("train-000-0", "train-000-1")
        ]
        # What the stage would ask for first is what is there.
        for request, meta in zip(
            demonstrate.demonstration_requests(asked, "train")[:2],
            run.dataset.read_metadata("demos_train"),
            strict=True,
        ):
            assert (request.episode_id, request.task.name) == (meta.episode_id, meta.task)
    assert files_of(earlier) == before


def test_a_damaged_manifest_of_an_earlier_version_is_damage_first(earlier):
    manifest = earlier / "manifest.json"
    manifest.write_text(manifest.read_text().replace("pose_anchored", "pose_anchered"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        open_run(get_config("test"), earlier)


def test_a_run_of_now_is_no_earlier_one(tmp_path):
    for _ in range(2):
        with open_run(get_config("test"), tmp_path / "run").workdir:
            pass
