"""Meta-World as a domain: its environment, pictures, cameras and experts."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mili_jax.domains import base
from mili_jax.domains.metaworld import native, tasks
from mili_jax.domains.metaworld.env import HORIZON, REST_STEPS, MetaWorldEnv
from mili_jax.domains.metaworld.scenes import Scene
from mili_jax.domains.metaworld.spec import ACTION, CAMERAS
from mili_jax.domains.rollout import Request, Teacher, Trial, demonstrate, replay
from mili_jax.types import ConfigError, SimulationError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("metaworld") is None, reason="the extra `metaworld` is not installed"
)

SCENE = Scene("push-v3", 3).to_json()
HAND = np.array([0.0, 0.6, 0.2])  # about where it begins


@pytest.fixture(scope="module")
def env():
    return MetaWorldEnv(cameras=("corner", "top"))


def begin(env: MetaWorldEnv, scene: str = SCENE, task: str = "push-v3") -> dict[str, np.ndarray]:
    return env.reset(seed=0, options={"task": task, "scene": scene})[0]


def go(env: MetaWorldEnv, place: np.ndarray, steps: int = 12) -> dict[str, np.ndarray]:
    begin(env)
    for _ in range(steps):
        seen, *_ = env.step(np.append(place, -1.0))
    return seen


def fingers(picture: np.ndarray) -> np.ndarray:
    """Where the cyan finger is: row and column of the middle of its pixels."""
    r, g, b = picture.astype(int).transpose(2, 0, 1)
    found = np.argwhere((b > 150) & (g > 140) & (r < 90))
    assert len(found) >= 3
    return found.mean(0)


def seen_at(camera: str, place: np.ndarray, size: int) -> np.ndarray:
    """Row and column at which a camera's matrix says that a point is seen."""
    u, v, w = np.asarray(CAMERAS[camera].matrix) @ np.append(place, 1.0)
    assert w > 0
    return np.array([(1 - v / w) / 2 * size, (u / w + 1) / 2 * size]) - 0.5


def test_gymnasium_accepts_the_environment() -> None:
    made = MetaWorldEnv(split="test", task="button-press-v3", render_mode="rgb_array")
    check_env(made, skip_render_check=False)
    made.reset(seed=0)
    picture = made.render()
    assert picture.shape == (360, 480, 3) and picture.dtype == np.uint8 and picture.std() > 10
    made.close()
    with pytest.raises(SimulationError, match="closed"):
        made.reset()


def goal(picture: np.ndarray) -> np.ndarray:
    """Where the green goal is: row and column of the middle of its pixels."""
    r, g, b = picture.astype(int).transpose(2, 0, 1)
    found = np.argwhere((g > 120) & (r < 90) & (b < 90))
    assert len(found) >= 2
    return found.mean(0)


def test_the_corner_sees_up_as_up_and_right_and_ahead_as_right(env) -> None:
    low, high = (go(env, HAND + np.array([0, 0, z]))["image"][0] for z in (-0.05, 0.1))
    assert fingers(high)[0] < fingers(low)[0] - 4
    left, right = (go(env, HAND + np.array([x, 0, 0]))["image"][0] for x in (-0.12, 0.12))
    assert fingers(right)[1] > fingers(left)[1] + 4
    near, far = (go(env, HAND + np.array([0, y, 0]))["image"][0] for y in (-0.05, 0.15))
    assert fingers(far)[1] > fingers(near)[1] + 4


@pytest.mark.parametrize("k, camera", [(0, "corner"), (1, "top")])
def test_the_calibration_says_where_things_are_seen(env, k, camera) -> None:
    """The goal, of which MuJoCo knows where it lies, is where its pixels are; so from above the
    right is to the right and ahead is up."""
    seen = []
    for seed in range(5):
        picture = begin(env, Scene("push-v3", seed).to_json())["image"][k]
        place = env._native._target_pos
        assert np.abs(seen_at(camera, place, 64) - goal(picture)).max() < 2.5  # pixels
        seen.append([*place[:2], *goal(picture)])
    if camera == "top":
        x, y, row, column = np.array(seen).T
        assert np.corrcoef(x, column)[0, 1] > 0.95 and np.corrcoef(y, row)[0, 1] < -0.95


def test_the_hand_is_where_the_corner_says(env) -> None:
    for move in ([0, 0, 0], [0.1, 0.1, 0.05], [-0.15, 0.05, -0.05]):
        picture = go(env, HAND + np.array(move))["image"][0]
        pads = [env._native.data.body(name).xpos for name in ("leftpad", "rightpad")]
        assert min(np.abs(seen_at("corner", at, 64) - fingers(picture)).max() for at in pads) < 3


def test_an_episode_is_a_function_of_scene_seed_and_actions(env) -> None:
    scene = Scene("push-v3", 5, (0.03, -0.02, 0.01)).to_json()
    rng = np.random.default_rng(0)
    actions = rng.uniform(ACTION.low, ACTION.high, (8, 4)).astype(np.float32)

    def run(made: MetaWorldEnv) -> list[np.ndarray]:
        seen = [begin(made, scene)]
        seen += [made.step(action)[0] for action in actions]
        return [np.concatenate([s["image"].ravel(), s["pose"].view(np.uint8)]) for s in seen]

    first = run(env)
    begin(env, Scene("push-v3", 77).to_json())
    for _ in range(3):
        env.step(actions[3])
    begin(env, Scene("button-press-v3", 1).to_json(), "button-press-v3")
    np.testing.assert_array_equal(run(env), first)
    np.testing.assert_array_equal(run(MetaWorldEnv(cameras=("corner", "top"))), first)


def test_a_stored_demonstration_is_replayed_to_the_bit() -> None:
    simulator = base.simulator_of(base.load("metaworld"), "this test")
    env = MetaWorldEnv()
    trial = Trial("one", "button-press-v3", Scene("button-press-v3", 4).to_json(), 4)
    episode = demonstrate(simulator, env, trial, noise=0.0)
    assert episode.meta.success and episode.meta.terminated
    poses = []
    replay(env, episode.meta, episode.action, lambda e: poses.append(e._poses[-1]))
    np.testing.assert_array_equal(poses[:-1], episode.pose[1:])
    assert env.outcome()["success"]


@pytest.mark.parametrize("name", ["reach-v3", "drawer-open-v3", "window-open-v3", "pick-place-v3"])
def test_experts_do_their_tasks(name) -> None:
    domain = base.load("metaworld")
    teacher = Teacher("metaworld", domain.spec(64, ()))
    (episode,) = teacher([Request("one", tasks.Task(name, domain.group(name)), "train", 0)])
    assert episode.meta.achieved_tasks == (name,) and episode.meta.useful
    assert 5 < len(episode) <= HORIZON and episode.image.shape[1:] == (64, 64, 3)
    assert (episode.action >= ACTION.low).all() and (episode.action <= ACTION.high).all()
    touch, end = domain.hindsight(episode.pose, episode.action).key
    assert 0 < touch <= end == len(episode) - 1


def test_a_hand_that_rests_ends_an_episode_and_another_task_is_no_success(env) -> None:
    seen = begin(env)
    for _ in range(REST_STEPS + 4):
        seen, reward, terminated, truncated, info = env.step(np.append(seen["pose"][:3], -1.0))
        if terminated:
            break
    assert terminated and not truncated and reward == 0 and not info["useful"]
    # What the scene holds was done, and something else was asked for.
    begin(env, Scene("reach-v3", 0).to_json(), "push-v3")
    expert = base.load("metaworld").simulator.make_expert(env)
    ended = False
    while not ended:
        *_, ended, cut, info = env.step(expert.act())
        ended = ended or cut
    assert info == {"success": False, "useful": True, "achieved_tasks": ("reach-v3",)}


def test_splits_share_no_task_and_all_50_are_somewhere() -> None:
    known = native._load("metaworld.env_dict").ALL_V3_ENVIRONMENTS
    listed = [name for names in tasks.SPLITS.values() for name in names]
    assert sorted([*listed, *tasks.LEFT_OUT]) == sorted(known) and len(set(listed)) == len(listed)
    assert all(tasks.group(name) in tasks.GROUPS for name in listed)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        json.dumps({"env": "no-v3", "seed": 0, "hand": [0, 0, 0]}),
        json.dumps({"env": "push-v3", "seed": -1, "hand": [0, 0, 0]}),
        json.dumps({"env": "push-v3", "seed": 0, "hand": [0, 9, 0]}),
    ],
)
def test_what_is_no_scene_is_refused(env, text) -> None:
    with pytest.raises(SimulationError, match="scene"):
        env.reset(options={"scene": text})
    with pytest.raises(SimulationError, match="call reset"):
        env.step(np.zeros(4))


@pytest.mark.parametrize("action", [np.zeros(3), np.full(4, np.nan)])
def test_what_is_no_action_is_refused(env, action) -> None:
    begin(env)
    with pytest.raises(SimulationError, match="4 finite numbers"):
        env.step(action)


def test_without_the_extra_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "metaworld.env_dict", None)
    with pytest.raises(ConfigError, match=r"pip install 'mili-jax\[metaworld\]'"):
        native.make("push-v3")
