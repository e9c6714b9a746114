"""The benchmark: the world's physics and camera, scenes, tasks, experts and the environment."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import itertools
import json
import math
import multiprocessing

import gymnasium
import numpy as np
import pybullet
import pytest
from gymnasium.utils.env_checker import check_env

from experiments import make_tasks
from mili_jax.domains import rollout
from mili_jax.domains.kitchen import bodies, objects, scenes, tasks
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.env import HORIZON, REST_STEPS, KitchenEnv, object_pool
from mili_jax.domains.kitchen.experts import Expert
from mili_jax.domains.kitchen.families import FAMILIES
from mili_jax.domains.kitchen.family import KitchenTask
from mili_jax.domains.kitchen.grasp import LIFT_HEIGHT
from mili_jax.domains.kitchen.history import History
from mili_jax.domains.kitchen.objects import CATALOGUE_PATH
from mili_jax.domains.kitchen.place import STEADY
from mili_jax.domains.kitchen.push import PUSH_DISTANCE, PUSH_GAP, PUSH_LIFT, PUSH_ROOM
from mili_jax.domains.kitchen.scenes import EDGE, GAP, OBJECTS
from mili_jax.domains.kitchen.tasks import SPLITS
from mili_jax.domains.kitchen.viewpoints import CAMERA_HEIGHT, VIEW_HALF
from mili_jax.domains.kitchen.world import (
    FINGER_PLAY,
    MAX_STEP,
    MAX_TURN,
    OPENING,
    REACH,
    TOOL_Z,
    Placement,
    Scene,
    World,
    half_turn,
)
from mili_jax.domains.rollout import Trial
from mili_jax.types import DataError, SimulationError

CATALOGUE = objects.load_catalogue()
LISTED = tasks.load_tasks()
ASIDE = (-0.2, 0.2, 0.25, 0.0, 0.0, 0.0, 1.0)  # a tool pose out of everything's way


@pytest.fixture(scope="module")
def world():
    it = World()
    yield it
    it.close()


@pytest.fixture(scope="module")
def env():
    it = KitchenEnv()
    yield it
    it.close()


def a_scene(split, seed, task=None):
    wanted = [task] if task is not None else []
    return scenes.sample(wanted, object_pool(split), np.random.default_rng(seed))


def some_actions(seed, count=30):
    """[count, 7] a smooth random walk that goes down among the objects."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform([-0.2, -0.2, 0, -0.3, -0.3, -1.5, 0], [0.2, 0.2, 0.1, 0.3, 0.3, 1.5, 1])
    walk = knots + np.cumsum(rng.normal(0, 0.03, (count, 7)), axis=0)
    return walk * np.cos(np.arange(count) / 5)[:, None]


def digest(world, scene, actions):
    """A hash of all images, poses and placements of an episode."""
    total = hashlib.sha256()
    world.reset(scene)
    for action in actions:
        world.step(action)
        total.update(world.image(48).tobytes())
        total.update(world.pose().tobytes())
        for name in world.bodies:
            for part in world.placement(name):
                total.update(part.tobytes())
    return total.hexdigest()


def digest_in_fresh_world(text, actions):
    world = World()
    try:
        return digest(world, Scene.from_json(text), actions)
    finally:
        world.close()


def teleport(world, name, x, y, z=0.0):
    """Moves an object's base centre, as it is turned, and leaves it at rest."""
    body, c = world.bodies[name], world.client
    centre, turn = pybullet.getBasePositionAndOrientation(body, physicsClientId=c)
    moved = np.asarray(centre) + np.array([x, y, z]) - world.position(name)
    pybullet.resetBasePositionAndOrientation(body, moved.tolist(), turn, physicsClientId=c)
    pybullet.resetBaseVelocity(body, [0, 0, 0], [0, 0, 0], physicsClientId=c)


def turn_over(world, name, quaternion):
    body, c = world.bodies[name], world.client
    centre, _ = pybullet.getBasePositionAndOrientation(body, physicsClientId=c)
    pybullet.resetBasePositionAndOrientation(body, centre, quaternion, physicsClientId=c)


def wait(world, history, steps=8):
    """Lets things come to rest, the tool out of the way."""
    for _ in range(steps):
        world.step(np.asarray(ASIDE))
        history.update()


def start(world, *placements):
    world.reset(Scene(tuple(Placement(*q) for q in placements), ASIDE))
    return History(world)


def expert_holds(world, history, name, steps=60):
    """Drives the expert until the object is in the air."""
    expert = Expert(KitchenTask("grasp", (name,)), world)
    for _ in range(steps):
        world.step(expert.act())
        history.update()
        if history.last(name)[2] > LIFT_HEIGHT + 0.02:
            return
    raise AssertionError(f"the expert did not lift {name}")


# The world.


def test_an_episode_is_a_function_of_scene_and_actions(world):
    scene, actions = a_scene("train", 1), some_actions(1)
    first = digest(world, scene, actions)
    assert digest(world, a_scene("test", 2), some_actions(2)) != first
    assert digest(world, scene, actions) == first, "a reused world"
    assert digest_in_fresh_world(scene.to_json(), actions) == first, "a new world"
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        other = pool.submit(digest_in_fresh_world, scene.to_json(), actions).result()
    assert other == first, "another process"
    nudged = actions.copy()
    nudged[3, 0] += 1e-3
    assert digest(world, scene, nudged) != first


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", range(7))
def test_actions_that_are_not_finite_are_refused(world, bad, field):
    world.reset(Scene((), ASIDE))
    before = world.joints()
    action = np.asarray(ASIDE)
    action[field] = bad
    with pytest.raises(SimulationError, match="finite"):
        world.step(action)
    assert np.array_equal(world.joints(), before)


@pytest.mark.parametrize("shape", [(6,), (8,), (1, 7), ()])
def test_actions_of_a_wrong_shape_are_refused(world, shape):
    world.reset(Scene((), ASIDE))
    with pytest.raises(SimulationError, match="shape"):
        world.step(np.zeros(shape))


def test_scenes_that_cannot_be_built_are_refused(world):
    good = a_scene("train", 3)
    for placements, wanted in (
        ([Placement("mug_00", 0, 0, 0)], "mug_00"),
        ([Placement("mug_01", 0, 0, 0), Placement("mug_01", 0.1, 0, 0)], "mug_01.*2 times"),
        ([Placement("mug_01", math.nan, 0, 0)], "mug_01"),
    ):
        with pytest.raises(SimulationError, match=wanted):
            world.reset(Scene(tuple(placements), ASIDE))
        with pytest.raises(SimulationError, match="reset"):
            world.step(np.asarray(ASIDE))
    # It works again after a failure, with the same bits.
    actions = some_actions(3, 5)
    assert digest(world, good, actions) == digest_in_fresh_world(good.to_json(), actions)


def test_a_catalogue_entry_that_makes_no_body_is_named(tmp_path):
    entries = json.loads(CATALOGUE_PATH.read_text())["objects"]
    broken = next(e for e in entries if e["kind"] == "tray")
    broken["dimensions"]["wall"] = 0.5  # thicker than the tray is long
    path = tmp_path / "objects.json"
    path.write_text(json.dumps({"objects": [broken]}))
    world = World(objects.load_catalogue(path))
    with pytest.raises(SimulationError, match=broken["id"]):
        world.reset(Scene((Placement(broken["id"], 0, 0, 0),), ASIDE))
    world.close()
    turned = next(e for e in entries if e["kind"] == "mug")
    turned["dimensions"]["wall"] = 0.5
    path.write_text(json.dumps({"objects": [turned, broken]}))
    with pytest.raises(DataError, match=rf"objects\.json.*{turned['id']}"):
        objects.load_catalogue(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"objects":[]}',
        '{"objects":[["mug_01",0,0]],"tool":[0,0,0.2,0,0,0,1]}',
        '{"objects":[],"tool":[0,0,0.2]}',
        '{"objects":[],"tool":[0,0,NaN,0,0,0,1]}',
        '{"objects":[["mug_01","x",0,0]],"tool":[0,0,0.2,0,0,0,1]}',
    ],
)
def test_text_that_is_no_scene(text):
    with pytest.raises(SimulationError, match="not a scene"):
        Scene.from_json(text)


def test_speed_is_bounded(world):
    world.reset(Scene((), (0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0)))
    rng = np.random.default_rng(5)
    moves, turns, fingers = [], [], []
    for _ in range(60):
        before = world.pose().astype(float)
        goal = rng.uniform([-1, -1, 0, -1, -1, -3, 0], [1, 1, 0.4, 1, 1, 3, 1])
        world.step(goal)
        after = world.pose().astype(float)
        moves.append(np.linalg.norm((after - before)[:3]))
        turns.append(abs(half_turn(after[5] - before[5])))
        fingers.append(abs(after[6] - before[6]))
    # The tolerance is what the position controller still owes from the step before.
    assert 0.8 * MAX_STEP < max(moves) < MAX_STEP + 0.005
    assert 0.8 * MAX_TURN < max(turns) < MAX_TURN + 0.06
    assert 0.3 < max(fingers) < 0.75


def test_the_tool_arrives_and_stays_in_its_workspace(world):
    world.reset(Scene((), (0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0)))
    goal = np.array([0.1, -0.2, 0.05, 0.2, -0.3, 1.2, 0.25])
    for _ in range(25):
        world.step(goal)
    error = np.abs(world.pose() - goal)
    assert error[:3].max() < 0.001 and error[3:6].max() < 0.01 and error[6] < 0.01
    for sign in (-1.0, 1.0):
        for _ in range(25):
            world.step(np.array([sign * 9, -sign * 9, sign * 9, 0, 0, 0, sign * 9]))
        pose = world.pose()
        height = TOOL_Z[0] if sign < 0 else TOOL_Z[1]
        np.testing.assert_allclose(pose[:3], [sign * REACH, -sign * REACH, height], atol=0.003)
        assert abs(pose[6] - (sign > 0)) < 0.05


@pytest.mark.parametrize("size", [64, 100, 240])
@pytest.mark.parametrize("place", [(0.14, 0.05), (-0.06, 0.17), (-0.15, -0.12), (0.03, -0.19)])
def test_the_camera_is_a_pinhole_above_the_table(world, place, size):
    """A button's cap is where the pin-hole formula puts it; right is +x and down is -y."""
    name = next(n for n in LISTED["train"][0].objects)
    spec = CATALOGUE[name]
    world.reset(Scene((), ASIDE))
    empty = world.image(size).astype(int)
    world.reset(Scene((Placement(name, *place, 0.3),), ASIDE))
    image = world.image(size).astype(int)
    changed = np.abs(image - empty).sum(axis=-1) > 30
    # The light comes from above, so that only the top has the full colour.
    cap = changed & (np.abs(image - 255 * np.array(dict(spec.colours)["cap"])).max(axis=-1) < 12)
    assert cap.sum() > 4
    row, column = (np.mean(axis) + 0.5 for axis in np.nonzero(cap))
    # Of a point at height h the camera at height H sees the point (x, y) H / (H - h) of the table.
    x, y = np.asarray(place) * CAMERA_HEIGHT / (CAMERA_HEIGHT - spec.height)
    tolerance = 0.6 + 0.004 * size
    assert abs(column - (x / VIEW_HALF + 1) / 2 * size) < tolerance
    assert abs(row - (1 - y / VIEW_HALF) / 2 * size) < tolerance


def test_fingers_stay_symmetric_while_an_object_is_carried(world):
    name = "can_04"
    history = start(world, (name, 0.05, 0.02, 0.4))
    expert_holds(world, history, name)
    goal = world.pose().astype(float)
    grip = np.linalg.norm(world.position(name)[:2] - goal[:2])
    for k in range(16):
        goal[:2] = 0.15 * np.array([math.cos(k), math.sin(2 * k)])
        goal[6] = 0.0
        world.step(goal)
        history.update()
        left, right = world.joints()[6:]
        assert abs(left - right) < 0.002
        # Both press on it, neither slides along with the other.
        assert left + right == pytest.approx(CATALOGUE[name].grasp_width, abs=0.003)
        assert left + right < OPENING
    assert world.holding(name)
    assert np.linalg.norm(world.position(name)[:2] - world.pose()[:2]) < grip + 0.01


def test_fingers_stop_at_the_ends_of_their_travel(world):
    world.reset(Scene((), (0.0, 0.0, 0.15, 0.0, 0.0, 0.0, 0.5)))
    low, high = -FINGER_PLAY, OPENING / 2 + FINGER_PLAY
    for inwards in (1, -1):
        reached = []
        for _ in range(10):
            # More than the drive of a finger and the gear between them can hold.
            for link, side in ((6, inwards), (7, -inwards)):
                pybullet.applyExternalForce(
                    world.gripper, link, [900.0 * side, 0, 0], [0, 0, 0], pybullet.WORLD_FRAME,
                    physicsClientId=world.client,
                )  # fmt: skip
            world.step(np.array([0, 0, 0.15, 0, 0, 0, 0.5]))
            reached += list(world.joints()[6:])
        assert min(reached) >= low - 1e-12 and max(reached) <= high + 1e-12
        assert (low if inwards > 0 else high) == pytest.approx(
            (min if inwards > 0 else max)(reached)
        )


# Scenes.


@pytest.mark.parametrize("split", SPLITS)
def test_sampled_scenes_afford_every_family_and_do_not_overlap(split):
    pool, listed = set(object_pool(split)), LISTED[split]
    for seed in range(50):
        rng = np.random.default_rng(seed)
        wanted = [listed[(11 * seed) % len(listed)]] if seed % 3 else []
        foil = listed[(7 * seed + 1) % len(listed)] if seed % 5 == 0 else None
        scene = scenes.sample(wanted, sorted(pool), rng, foil)
        names = [q.object for q in scene.placements]
        assert len(set(names)) == len(names) <= OBJECTS[1]
        assert set(names) <= pool
        there = tasks.afforded(tuple(names))
        assert {t.family for t in there} == set(FAMILIES)
        assert set(wanted) <= set(there) and (foil is None or foil in there)
        for a, b in itertools.combinations(scene.placements, 2):
            room = CATALOGUE[a.object].radius + CATALOGUE[b.object].radius
            assert math.dist((a.x, a.y), (b.x, b.y)) > room + GAP - 2e-4
        for q in scene.placements:
            reach = max(abs(q.x), abs(q.y)) + CATALOGUE[q.object].radius
            assert reach <= EDGE + 1e-4 < VIEW_HALF
        for task in wanted:
            if task.family == "push":
                a, b = (next(q for q in scene.placements if q.object == n) for n in task.objects)
                room = CATALOGUE[a.object].radius + CATALOGUE[b.object].radius
                assert math.dist((a.x, a.y), (b.x, b.y)) - room > PUSH_ROOM - 2e-4
        assert Scene.from_json(scene.to_json()) == scene
        again = scenes.sample(wanted, sorted(pool), np.random.default_rng(seed), foil)
        assert again == scene


def test_nothing_moves_in_a_scene_that_nobody_touches(world):
    for seed in range(5):
        world.reset(a_scene("test", seed))
        history = History(world)
        tool = np.asarray([*world.pose()[:2], 0.2, 0, 0, world.pose()[5], 1.0])
        for _ in range(20):
            world.step(tool)
            history.update()
        assert max(history.moved(n) for n in world.bodies) < 0.002
        assert max(history.highest.values()) < 0.002
        assert not tasks.achieved(world, history) and not tasks.fallen(world, history)


def test_too_many_objects_for_the_table():
    large = [n for n, s in CATALOGUE.items() if s.radius > 0.07][:14]
    with pytest.raises(SimulationError, match="room"):
        scenes.arrange(large, np.random.default_rng(0))
    some = [p.object for p in scenes.rearrange(large, np.random.default_rng(0)).placements]
    assert 3 <= len(some) < 14 and some == large[: len(some)]


# Tasks.


def test_the_list_of_tasks():
    assert {split: len(listed) for split, listed in LISTED.items()} == {
        "train": 520, "validation": 40, "test": 40
    }  # fmt: skip
    every = [t.id for listed in LISTED.values() for t in listed]
    assert len(set(every)) == len(every) == 600
    used = {split: {n for t in listed for n in t.objects} for split, listed in LISTED.items()}
    pools = {split: set(object_pool(split)) for split in SPLITS}
    for split in SPLITS:
        assert used[split] <= pools[split]
        assert {t.family for t in LISTED[split]} == set(FAMILIES)
        for task in LISTED[split]:
            tasks.check(task)
    for a, b in itertools.combinations(SPLITS, 2):
        assert not pools[a] & pools[b] and not used[a] & used[b]
    kinds = {split: {CATALOGUE[n].kind for n in names} for split, names in used.items()}
    seen = {CATALOGUE[n].kind for n in pools["train"]}
    assert len(kinds["test"] - seen) >= 2 and len(kinds["test"] & seen) >= 8
    assert sum(map(len, pools.values())) == len(CATALOGUE)


@pytest.mark.parametrize("length", [4, 40, 100, 200])
def test_a_prefix_of_the_training_tasks_is_balanced(length):
    counts = collections.Counter(t.family for t in LISTED["train"][:length])
    assert max(counts.values()) - min(counts[f] for f in FAMILIES) <= 1
    grasped = collections.Counter(
        t.objects[0] for t in LISTED["train"][:length] if t.family == "grasp"
    )
    assert max(grasped.values()) == 1


def test_the_tasks_file_is_what_its_generator_writes():
    listed = {split: [t.id for t in some] for split, some in LISTED.items()}
    assert make_tasks.make_tasks() == listed, (
        "run python -m experiments.make_tasks and look at the difference"
    )


def test_damaged_task_files_are_named(tmp_path):
    path = tmp_path / "tasks.json"
    for text in (None, "", "{}", '{"train": 1, "validation": [], "test": []}'):
        if text is not None:
            path.write_text(text)
        with pytest.raises(DataError, match=r"tasks\.json"):
            tasks.load_tasks(path)


@pytest.mark.parametrize(
    "name",
    [
        "fly:mug_01",
        "grasp",
        "grasp:mug_01:mug_02",
        "push:mug_01",
        "grasp:mug_00",
        "press:mug_01",
        "grasp:button_01",
        "grasp:bowl_01",
        "push:button_01:mug_01",
        "push:mug_01:button_01",
        "push:mug_01:mug_01",
        "place:bowl_01:bowl_02",
        "place:mug_01:mug_02",
    ],
)
def test_tasks_that_do_not_exist(name):
    with pytest.raises(SimulationError):
        tasks.find(name)
    with pytest.raises(SimulationError):
        KitchenEnv(task=name)


def test_afforded_is_what_the_roles_allow():
    for seed in range(20):
        names = tuple(q.object for q in a_scene("train", seed).placements)
        expected = set()
        for name in names:
            spec = CATALOGUE[name]
            if spec.button:
                expected.add(f"press:{name}")
            if spec.graspable:
                expected.add(f"grasp:{name}")
            for other in names:
                if other == name or spec.button or CATALOGUE[other].button:
                    continue
                expected.add(f"push:{name}:{other}")
                if spec.graspable and CATALOGUE[other].container:
                    expected.add(f"place:{name}:{other}")
        found = [t.id for t in tasks.afforded(names)]
        assert len(found) == len(set(found)) and set(found) == expected
        for task in found:
            tasks.find(task)


def holds(world, history, task):
    """The predicate, and that `achieved` agrees with it."""
    result = tasks.succeeded(KitchenTask.parse(task), world, history)
    assert (KitchenTask.parse(task) in tasks.achieved(world, history)) == result
    return result


def test_pressed(world):
    history = start(world, ("button_01", 0.1, 0.1, 0.0), ("button_02", -0.1, 0.1, 0.0))
    for depth, expected in ((0.0, False), (0.007, False), (0.009, True), (0.0, True)):
        body = world.bodies["button_01"]
        pybullet.resetJointState(body, 0, -depth, physicsClientId=world.client)
        history.update()
        assert holds(world, history, "press:button_01") == expected
        assert not holds(world, history, "press:button_02")
    empty = start(world)
    assert not holds(world, empty, "press:button_01"), "not there"


def test_the_cap_springs_back_and_the_predicate_remembers(world):
    history = start(world, ("button_01", 0.1, 0.1, 0.0))
    expert = Expert(KitchenTask("press", ("button_01",)), world)
    for _ in range(40):
        world.step(expert.act())
        history.update()
        if holds(world, history, "press:button_01"):
            break
    wait(world, history, 12)
    assert bodies.button_depth(world.client, world.bodies["button_01"]) < 0.002
    assert holds(world, history, "press:button_01")


def test_grasped(world):
    history = start(world, ("can_04", 0.1, 0.1, 0.0), ("mug_01", -0.1, 0.1, 0.0))
    wait(world, history, 2)
    assert not holds(world, history, "grasp:can_04")
    teleport(world, "can_04", 0.1, 0.1, 0.1)
    history.update()
    assert history.last("can_04")[2] > LIFT_HEIGHT
    assert not holds(world, history, "grasp:can_04"), "in the air, but not held"
    teleport(world, "can_04", 0.1, 0.1)
    expert_holds(world, history, "can_04")
    assert holds(world, history, "grasp:can_04") and not holds(world, history, "grasp:mug_01")
    pose = world.pose().astype(float)
    hang = pose[2] - history.last("can_04")[2]
    for _ in range(6):
        world.step(np.array([*pose[:2], hang + 0.03, 0, 0, pose[5], 0.0]))
        history.update()
    assert world.holding("can_04") and 0.02 < history.last("can_04")[2] < 0.04
    assert not holds(world, history, "grasp:can_04"), "held, but too low"
    for _ in range(6):
        world.step(np.array([*pose[:3], 0, 0, pose[5], 0.0]))
        history.update()
    assert holds(world, history, "grasp:can_04")
    for _ in range(6):
        world.step(np.array([*pose[:3], 0, 0, pose[5], 1.0]))
        history.update()
    assert not holds(world, history, "grasp:can_04"), "dropped"


MUG, CAN = CATALOGUE["mug_01"], CATALOGUE["can_04"]


def beside(gap):
    """Where can_04 stands with this gap (m) to the far side of mug_01's body at (0.1, 0)."""
    return 0.1 - dict(MUG.dimensions)["radius"] - CAN.radius - gap


@pytest.fixture
def apart(world):
    """can_04 and mug_01 (its handle away) 25 cm apart."""
    return start(world, ("can_04", -0.15, 0.0, 0.0), ("mug_01", 0.1, 0.0, 0.0))


def test_pushed(world, apart):
    task = "push:can_04:mug_01"
    assert not holds(world, apart, task)
    for gap, expected in ((0.020, False), (0.010, True), (0.002, True)):
        teleport(world, "can_04", beside(gap), 0.0)
        wait(world, apart, 2)
        assert world.gap("can_04", "mug_01", 0.1) == pytest.approx(gap, abs=0.003)
        assert holds(world, apart, task) == expected
        assert not holds(world, apart, "push:mug_01:can_04"), "the mug has not moved"


def test_pushed_needs_a_way(world):
    gone = PUSH_DISTANCE - 0.01
    history = start(world, ("can_04", beside(0.005) - gone, 0, 0), ("mug_01", 0.1, 0, 0))
    teleport(world, "can_04", beside(0.005), 0.0)
    wait(world, history, 2)
    assert 0 < history.moved("can_04") < PUSH_DISTANCE
    assert not holds(world, history, "push:can_04:mug_01")


def test_carrying_is_not_pushing(world, apart):
    teleport(world, "can_04", 0.0, 0.0, PUSH_LIFT + 0.01)
    apart.update()
    teleport(world, "can_04", beside(0.005), 0.0)
    wait(world, apart, 2)
    assert not holds(world, apart, "push:can_04:mug_01")


def test_pushing_the_goal_along_is_not_pushing_to_it(world, apart):
    teleport(world, "mug_01", 0.1, 0.09)
    teleport(world, "can_04", beside(0.005), 0.09)
    wait(world, apart, 2)
    assert holds(world, apart, "push:can_04:mug_01"), "the goal moved less than half as far"
    teleport(world, "mug_01", 0.1, 0.17)
    teleport(world, "can_04", beside(0.005), 0.17)
    wait(world, apart, 2)
    assert not holds(world, apart, "push:can_04:mug_01")


def test_toppled_objects_are_not_pushed(world, apart):
    teleport(world, "can_04", 0.1 - 0.09 - 0.045, 0.0, 0.0)
    apart.update()
    turn_over(world, "can_04", [0, math.sin(math.pi / 4), 0, math.cos(math.pi / 4)])
    teleport(world, "can_04", 0.1 - 0.04 - CAN.height, 0.0, CAN.radius)
    for _ in range(2):
        apart.update()
    apart.highest["can_04"] = 0.0  # the height is another condition
    pybullet.performCollisionDetection(physicsClientId=world.client)
    assert world.gap("can_04", "mug_01", 0.1) < PUSH_GAP
    assert world.placement("can_04")[1][2, 2] < 0.1
    assert not holds(world, apart, "push:can_04:mug_01")


@pytest.mark.parametrize("container", ["bowl_01", "plate_01", "cutting_board_01", "tray_01"])
def test_placed(world, container):
    name, spec = "spice_shaker_01", CATALOGUE[container]
    task = f"place:{name}:{container}"
    history = start(world, (name, -0.15, 0.0, 0.0), (container, 0.1, 0.05, 0.0))
    wait(world, history, 1)
    assert not holds(world, history, task), "never moved"
    inside = (0.1, 0.05, spec.floor_height + 0.001)
    teleport(world, name, *inside)
    wait(world, history)
    assert holds(world, history, task)
    assert not holds(world, history, f"push:{name}:{container}") or spec.floor_height < 0.025
    teleport(world, name, 0.1 - spec.radius - CATALOGUE[name].radius - 0.002, 0.05)
    wait(world, history)
    assert not holds(world, history, task), "beside it"
    teleport(world, name, 0.1, 0.05, spec.height + 0.08)
    history.update()
    assert not holds(world, history, task), "above it"


def test_height_and_position_agree_however_an_object_lies(world):
    start(world, ("mug_01", 0.05, -0.1, 0.7))
    rng = np.random.default_rng(0)
    for quaternion in rng.normal(size=(20, 4)):
        turn_over(world, "mug_01", (quaternion / np.linalg.norm(quaternion)).tolist())
        state = world.state("mug_01")
        at, rotation = world.placement("mug_01")
        assert world.height("mug_01", state) == pytest.approx(at[2], abs=1e-12)
        assert np.array_equal(world.position("mug_01", state), at)
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_what_moves_is_not_placed(world):
    history = start(world, ("spice_shaker_01", -0.15, 0, 0), ("cutting_board_01", 0.1, 0.05, 0))
    board = CATALOGUE["cutting_board_01"]
    teleport(world, "spice_shaker_01", 0.1, 0.05, board.floor_height)
    wait(world, history)
    assert holds(world, history, "place:spice_shaker_01:cutting_board_01")
    teleport(world, "spice_shaker_01", 0.1 + STEADY + 0.002, 0.05, board.floor_height)
    history.update()
    assert not holds(world, history, "place:spice_shaker_01:cutting_board_01")
    history.update()
    assert holds(world, history, "place:spice_shaker_01:cutting_board_01")


def test_what_stands_on_the_edge_is_not_placed(world):
    board = CATALOGUE["cutting_board_01"]
    length = dict(board.dimensions)["length"] / 2
    history = start(world, ("spice_shaker_01", -0.15, 0, 0), ("cutting_board_01", 0.1, 0.05, 0))
    offset = board.inner_radius + 0.006
    assert offset < length
    teleport(world, "spice_shaker_01", 0.1 + offset, 0.05, board.floor_height)
    wait(world, history)
    assert world.touching("spice_shaker_01", world.bodies["cutting_board_01"])
    assert not holds(world, history, "place:spice_shaker_01:cutting_board_01")


def test_what_is_still_held_is_not_placed(world):
    name, container = "can_04", "bowl_01"
    history = start(world, (name, -0.12, 0.0, 0.0), (container, 0.1, 0.05, 0.0))
    expert = Expert(KitchenTask("place", (name, container)), world)
    for _ in range(60):
        label = expert.act()
        if expert.motion.phase in ("release", "retreat"):
            break
        world.step(label)
        history.update()
    down = world.pose().astype(float)
    down[6] = 0.0
    for _ in range(4):  # on the floor of the bowl, still between the fingers
        down[2] -= 0.004
        world.step(down)
        history.update()
    assert world.holding(name) and world.touching(name, world.bodies[container])
    assert not holds(world, history, f"place:{name}:{container}")
    for _ in range(20):
        world.step(expert.act())
        history.update()
    assert holds(world, history, f"place:{name}:{container}")


def useful(world, history):
    return tasks.useful(tasks.achieved(world, history), world, history)


def test_useful_needs_the_rest_to_stay_on_the_table(world):
    history = start(world, ("button_01", 0.1, 0.1, 0.0), ("can_04", -0.1, -0.1, 0.0))
    wait(world, history, 2)
    assert not useful(world, history), "nothing done"
    pybullet.resetJointState(world.bodies["button_01"], 0, -0.01, physicsClientId=world.client)
    history.update()
    wait(world, history, 2)
    assert useful(world, history)
    teleport(world, "can_04", 0.34, 0.0, 0.0)
    wait(world, history, 5)
    assert world.position("can_04")[2] < -0.02
    assert tasks.fallen(world, history) and not useful(world, history)
    assert KitchenTask.parse("press:button_01") in tasks.achieved(world, history)


# Experts.


def attempts(env, family, split, count, noise=1.0):
    """Successes of the expert with one attempt at each of `count` fresh scenes."""
    listed = [t for t in LISTED[split] if t.family == family]
    done = []
    for k in range(count):
        task = listed[k % len(listed)]
        scene = a_scene(split, (77, k), task).to_json()
        trial = Trial(f"{k}", task.id, scene, 77_000 + k)
        done.append(rollout.demonstrate(KITCHEN.simulator, env, trial, noise).meta.success)
    return done


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_succeed_on_unseen_objects_despite_disturbances(env, family):
    done = attempts(env, family, "test", 12)
    assert sum(done) >= 10, done


def run_expert(world, task, scene, disturb, steps=80):
    """Whether the expert succeeds when `disturb(k, world, expert)` meddles after step k."""
    world.reset(scene)
    history, expert = History(world), Expert(task, world)
    for k in range(steps):
        world.step(expert.act())
        disturb(k, world, expert)
        history.update()
    return tasks.succeeded(task, world, history)


def test_experts_come_back_when_the_tool_is_thrown_off(world):
    def throw(k, world, expert):
        if k == 9:
            for _ in range(3):
                world.step(np.array([-0.2, 0.2, 0.2, 0, 0, 1.0, 1.0]))

    for family in FAMILIES:
        task = next(t for t in LISTED["train"] if t.family == family)
        assert run_expert(world, task, a_scene("train", 21, task), throw), task.id


@pytest.mark.parametrize(
    ("task", "target"),
    [("grasp:can_04", None), ("push:can_04:mug_01", "mug_01"), ("place:can_04:bowl_01", "bowl_01")],
)
def test_experts_follow_an_object_that_jumps(world, task, target):
    rows = [Placement("can_04", -0.1, -0.05, 0.0)]
    if target:
        rows.append(Placement(target, 0.12, 0.08, 0.0))
    jumps = []

    def jump(k, world, expert):
        # As soon as the tool is down at the object, it is elsewhere.
        if not jumps and world.pose()[2] < 0.06:
            jumps.append(k)
            teleport(world, "can_04", -0.08, 0.06)

    scene = Scene(tuple(rows), (0.0, -0.15, 0.2, 0.0, 0.0, 0.3, 1.0))
    assert run_expert(world, KitchenTask.parse(task), scene, jump)
    assert len(jumps) == 1


@pytest.mark.parametrize("family", ["press", "grasp", "push"])
def test_an_expert_that_is_down_in_a_wrong_place_goes_up_first(world, family):
    names = {"press": ("button_01",), "grasp": ("can_04",), "push": ("can_04", "mug_01")}[family]
    rows = tuple(Placement(n, 0.1 - 0.25 * k, 0.0, 0.0) for k, n in enumerate(names))
    world.reset(Scene(rows, (0.1, 0.12, 0.03, 0.0, 0.0, 0.0, 1.0)))
    label = Expert(KitchenTask(family, names), world).act()
    np.testing.assert_allclose(label[:2], [0.1, 0.12], atol=1e-3)
    assert label[2] > max(CATALOGUE[n].height for n in names)


@pytest.mark.parametrize("family", ["press", "grasp"])
def test_on_the_way_down_labels_change_little_where_the_tool_stands_little_elsewhere(world, family):
    # At no error does the label jump: a policy that sees the error badly would stop there.
    name = {"press": "button_01", "grasp": "can_04"}[family]
    heights = []
    for off in np.arange(0, 0.05, 0.002):
        tool = (off, 0.0, 0.13, 0.0, 0.0, 0.0, 1.0)
        world.reset(Scene((Placement(name, 0.0, 0.0, 0.0),), tool))
        label = Expert(KitchenTask(family, (name,)), world).act()
        np.testing.assert_allclose(label[:2], 0, atol=2e-3)
        heights.append(label[2])
    heights = np.array(heights)
    assert (np.diff(heights) > -1e-3).all() and np.diff(heights).max() < 0.02
    assert heights[0] < CATALOGUE[name].height and heights[-1] == pytest.approx(0.13)


def test_the_place_expert_takes_again_what_it_lost(world):
    lost = []

    def lose(k, world, expert):
        if not lost and expert.motion.phase == "carry" and world.position("can_04")[2] > 0.05:
            lost.append(k)
            teleport(world, "can_04", -0.12, 0.1)

    scene = Scene(
        (Placement("can_04", -0.1, -0.05, 0.0), Placement("bowl_01", 0.12, 0.08, 0.0)), ASIDE
    )
    assert run_expert(world, KitchenTask.parse("place:can_04:bowl_01"), scene, lose, steps=100)
    assert len(lost) == 1


# The environment.


def test_gymnasium_accepts_the_environment():
    made = gymnasium.make("mili_jax/Kitchen-v0", split="test", render_mode="rgb_array")
    check_env(made.unwrapped, skip_render_check=False)
    made.reset(seed=0)
    picture = made.render()
    assert picture.shape == (288, 384, 3) and picture.dtype == np.uint8 and picture.std() > 10
    made.close()


@pytest.mark.parametrize("size", [64, 100])
def test_observations(size):
    env = KitchenEnv(image_size=size)
    observation, info = env.reset(seed=3)
    env.close()
    assert env.observation_space.contains(observation)
    assert observation["image"].shape == (size, size, 3) and observation["image"].std() > 5
    assert KitchenTask.parse(info["task"]) in LISTED["train"]
    tool = Scene.from_json(info["scene"]).tool
    np.testing.assert_allclose(observation["pose"], np.asarray(tool), atol=1e-3)


@pytest.mark.parametrize("size", [15, 1025])
def test_image_sizes_out_of_range(size):
    with pytest.raises(SimulationError, match="image_size"):
        KitchenEnv(image_size=size)


def test_seeding_reproduces(env):
    runs = []
    for seed in (8, 9, 8):
        observation, info = env.reset(seed=seed)
        env.action_space.seed(seed)
        images = [observation["image"]]
        images += [env.step(env.action_space.sample())[0]["image"] for _ in range(4)]
        runs.append((info, np.stack(images)))
    assert runs[0][0] == runs[2][0] and np.array_equal(runs[0][1], runs[2][1])
    assert runs[0][0] != runs[1][0]
    # Without a seed the generator goes on.
    assert env.reset()[1] != runs[2][0]


def test_options_fix_task_and_scene():
    env = KitchenEnv(split="test", task="grasp:mug_10")
    assert env.reset(seed=0)[1]["task"] == "grasp:mug_10"
    assert "mug_10" in env.world.bodies
    scene = a_scene("train", 4)
    _, info = env.reset(options={"task": "press:button_01", "scene": scene})
    assert info == {"task": "press:button_01", "scene": scene.to_json()}
    assert env.reset(options={"scene": scene.to_json()})[1]["scene"] == scene.to_json()
    assert env.reset()[1]["task"] == "grasp:mug_10", "an option is for one episode"
    for options in ({"task": "grasp:mug_00"}, {"scene": "?"}):
        with pytest.raises(SimulationError):
            env.reset(options=options)
        with pytest.raises(SimulationError, match="reset"):
            env.step(np.asarray(ASIDE))
    env.close()
    with pytest.raises(SimulationError, match="split"):
        KitchenEnv(split="training")


def test_the_reward_comes_at_the_end_and_only_for_the_commanded_task(env):
    commanded = next(t for t in LISTED["train"] if t.family == "grasp")
    scene = a_scene("train", 5, commanded)
    other = next(
        t for t in tasks.afforded(tuple(q.object for q in scene.placements)) if t.family == "press"
    )
    for task, expected in ((commanded, 1.0), (other, 0.0)):
        env.reset(seed=0, options={"task": task.id, "scene": scene})
        expert = Expert(commanded, env.world)
        rewards, ended = [], False
        while not ended:
            _, reward, terminated, truncated, info = env.step(expert.act())
            ended = terminated or truncated
            rewards.append(reward)
            assert ended or (reward == 0.0 and not info)
        assert terminated and len(rewards) < HORIZON, "at rest with the object in the air"
        assert rewards[-1] == expected == float(info["success"])
        assert info["useful"] and info["achieved_tasks"] == (commanded.id,)


def circle(k):
    """A desired pose that never comes to rest."""
    return np.array([0.15 * math.cos(k), 0.15 * math.sin(k), 0.25, 0, 0, 0, 1])


def test_episodes_end_at_rest_or_at_the_horizon(env):
    env.reset(seed=1)
    pose = env.world.pose()
    flags = [env.step(pose)[2:4] for _ in range(REST_STEPS)]
    assert flags == [(False, False)] * (REST_STEPS - 1) + [(True, False)]
    env.reset(seed=1)
    flags = []
    while not flags or not any(flags[-1]):
        flags.append(env.step(circle(len(flags)))[2:4])
    assert len(flags) == HORIZON and flags[-1] == (False, True)


@pytest.mark.parametrize(
    ("field", "first", "last"), [(6, 1.0, 0.3), (5, -1.2, 1.2)], ids=["finger", "yaw"]
)
def test_opening_the_fingers_or_turning_is_not_rest(env, field, first, last):
    tool = np.array([0, 0, 0.2, 0, 0, 0, 1.0])
    tool[field] = first
    env.reset(seed=1, options={"scene": Scene((), tuple(tool))})
    for value in np.linspace(first, last, 12):
        tool[field] = value
        assert not env.step(tool)[2]


def test_a_trial_may_be_told_what_its_scene_does_not_hold(env):
    scene = Scene((Placement("mug_01", 0.1, 0.1, 0.0),), ASIDE)
    env.reset(seed=0, options={"task": "place:can_04:bowl_01", "scene": scene})
    env.step(np.asarray(ASIDE))
    assert not env.success() and env.outcome()["success"] is False


def test_changing_an_observation_does_not_change_the_episode(env):
    observation, _ = env.reset(seed=2)
    pose = observation["pose"].copy()
    ended = []
    for k in range(REST_STEPS):
        observation["pose"][:] = k
        observation["image"][:] = 0
        observation, _, terminated, _, _ = env.step(pose)
        ended.append(terminated)
    assert ended == [False] * (REST_STEPS - 1) + [True], "the tool was at rest"


def test_vector_environments_run_in_processes_of_their_own():
    made = gymnasium.make_vec(
        "mili_jax/Kitchen-v0",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"context": "spawn"},
        split="validation",
    )
    try:
        observation, info = made.reset(seed=[4, 5])
        assert observation["image"].shape == (2, 64, 64, 3)
        here = KitchenEnv(split="validation")
        for row, seed in enumerate((4, 5)):
            expected, facts = here.reset(seed=seed)
            assert np.array_equal(observation["image"][row], expected["image"])
            assert info["task"][row] == facts["task"]
        action = observation["pose"] + np.array([0.05, 0, 0, 0, 0, 0, 0], np.float32)
        for _ in range(3):
            observation, *_ = made.step(action)
            expected, *_ = here.step(action[1])
        assert np.array_equal(observation["image"][1], expected["image"])
        here.close()
    finally:
        made.close()


def test_a_world_that_is_forgotten_ends_its_server():
    world = World()
    client = world.client
    assert pybullet.isConnected(client)
    del world
    assert not pybullet.isConnected(client)
    again = World()
    again.close()
    again.close()
    assert again.client == -1
