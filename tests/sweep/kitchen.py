"""The simulated kitchen: environments, actions, scenes, tasks, moments."""

from __future__ import annotations

import contextlib
import functools
import json
import math

import numpy as np

from mili_jax.domains import base
from mili_jax.domains.kitchen import families, objects, scenes, tasks
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.env import KitchenEnv, object_pool
from mili_jax.domains.kitchen.world import Scene
from sweep.row import Row

AREA = "The kitchen: environments, actions, scenes, tasks, moments"
TOOL = [0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0]
TASK = "press:button_01"
STAY = np.array(TOOL, np.float32)


@contextlib.contextmanager
def kitchen(**given):
    made = KitchenEnv(**{"image_size": 16, **given})
    try:
        yield made
    finally:
        made.close()


def begun(**given):
    with kitchen(**given) as made:
        return made.reset(seed=0)


def reset(**given):
    with kitchen() as made:
        return made.reset(**given)


def stepped(action):
    with kitchen() as made:
        made.reset(seed=0, options={"scene": scene()})
        return made.step(action)[0]["pose"]


def moments(*names):
    """What the last of these methods gives, called in turn."""
    with kitchen() as made:
        for name in names:
            result = getattr(made, name)(*([STAY] if name == "step" else []))
        return result


def scene(*rows, **changes):
    rows = rows or (["mug_01", 0.1, 0.1, 0.0],)
    return json.dumps({"objects": list(rows), "tool": TOOL, **changes})


def in_scene(*rows, **changes):
    return reset(options={"task": TASK, "scene": scene(*rows, **changes)})


def tool(**changes):
    names = ("x", "y", "z", "roll", "pitch", "yaw", "finger")
    return in_scene(tool=[changes.get(name, v) for name, v in zip(names, TOOL, strict=True)])


def finite(pose):
    return pose.shape == (7,) and bool(np.isfinite(pose).all())


def near(*wanted):
    return lambda pose: np.allclose(pose[: len(wanted)], wanted, atol=0.02)


@functools.cache
def overlapping():
    """Two mugs in one place, for a second."""
    with kitchen() as made:
        rows = [["mug_01", 0.1, 0.1, 0.0], ["mug_02", 0.1, 0.1, 0.0]]
        made.reset(seed=0, options={"task": TASK, "scene": scene(*rows)})
        for _ in range(10):
            pose = made.step(STAY)[0]["pose"]
        places = [made.world.position(name) for name in ("mug_01", "mug_02")]
    return finite(pose) and bool(np.isfinite(places).all())


ROWS = [
    Row("a split in a list", lambda _: begun(split=["test"]), r"no split \['test'\]"),
    Row("no split", lambda _: begun(split=None), "no split None"),
    Row("a split in capitals", lambda _: begun(split="Test"), "no split 'Test'"),
    Row("a task as a number", lambda _: begun(task=5), "task 5"),
    Row("an empty task", lambda _: begun(task=""), "task ''"),
    Row("a task of bytes", lambda _: begun(task=b"press:button_01"), "task b'press"),
    Row("a task with a colon too many", lambda _: begun(task=TASK + ":"), "names 1 object"),
    Row("a task with a space before it", lambda _: begun(task=" " + TASK), "no family ' press'"),
    Row("a task of two lines", lambda _: begun(task=TASK + "\n"), r"no object 'button_01\\n'"),
    Row("a task in Cyrillic", lambda _: begun(task="\u0440ress:button_01"), "no family"),
    Row("an image size as text", lambda _: begun(image_size="64"), "image_size.*'64'"),
    Row("an image size of 64.0", lambda _: begun(image_size=64.0), "image_size.*64.0"),
    Row("an image size of NaN", lambda _: begun(image_size=math.nan), "image_size.*nan"),
    Row("no image size", lambda _: begun(image_size=None), "image_size.*None"),
    Row("a horizon of 0", lambda _: begun(horizon=0), "horizon.*0"),
    Row("a negative horizon", lambda _: begun(horizon=-45), "horizon.*-45"),
    Row("a horizon in seconds, 4.5", lambda _: begun(horizon=4.5), "horizon.*4.5"),
    Row("a horizon as text", lambda _: begun(horizon="45"), "horizon.*'45'"),
    Row("no horizon", lambda _: begun(horizon=None), "horizon.*None"),
    Row("a render mode for a window", lambda _: begun(render_mode="human"), "render_mode 'human'"),
    Row("a render mode in a list", lambda _: begun(render_mode=["rgb_array"]), "render_mode"),
    Row("a light in a list", lambda _: begun(light=["above"]), r"no light \['above'\]"),
    Row("no light", lambda _: begun(light=None), "no light None"),
    Row("cameras as text", lambda _: begun(cameras="top"), "cameras.*'top'"),
    Row(
        "no camera", lambda _: begun(cameras=()), lambda seen: seen[0]["image"].shape == (16, 16, 3)
    ),
    Row("cameras of None", lambda _: begun(cameras=None), "cameras.*None"),
    Row("a camera twice", lambda _: begun(cameras=("top", "top")), "name of its own"),
    Row("a camera in a list of lists", lambda _: begun(cameras=[["top"]]), "no camera"),
    Row("a camera that is not there", lambda _: begun(cameras=("Top",)), "no camera 'Top'"),
    Row("no families", lambda _: begun(families={}), "famil"),
    Row("families in a list", lambda _: begun(families=list(families.OWN)), "famil"),
    Row("a negative seed", lambda _: reset(seed=-1), "seed.*-1"),
    Row("a seed as text", lambda _: reset(seed="7"), "seed.*'7'"),
    Row("a seed of 1.5", lambda _: reset(seed=1.5), "seed.*1.5"),
    Row("True for a seed", lambda _: reset(seed=True), "seed.*True"),
    Row(
        "a seed of numpy's",
        lambda _: (reset(seed=np.int64(3))[1], reset(seed=3)[1]),
        lambda two: two[0] == two[1],
    ),
    Row("a misspelt option", lambda _: reset(options={"tsak": TASK}), "'tsak'.*'task'"),
    Row("an option that is a number", lambda _: reset(options={5: TASK}), "option 5"),
    Row("options in a list", lambda _: reset(options=[TASK]), "options"),
    Row("the task as options", lambda _: reset(options=TASK), "options"),
    Row(
        "a task of None in the options",
        lambda _: reset(options={"task": None})[1],
        lambda info: ":" in info["task"],
    ),
    Row("a scene that is a number", lambda _: reset(options={"scene": 5}), "scene"),
    Row("a scene as a dictionary", lambda _: reset(options={"scene": {}}), "scene"),
    Row("a scene of bytes", lambda _: reset(options={"scene": b"{}"}), "scene"),
    Row(
        "a scene cut in the middle", lambda _: reset(options={"scene": scene()[:30]}), "not a scene"
    ),
    Row("a scene 100,000 lists deep", lambda _: Scene.from_json("[" * 100_000), "not a scene"),
    Row("a scene with a field more", lambda _: in_scene(light="red"), "'light'"),
    Row("objects as a dictionary", lambda _: in_scene(objects={"mug_01": [0, 0, 0]}), "scene"),
    Row("an object of another catalogue", lambda _: in_scene(["teapot", 0, 0, 0]), "'teapot'"),
    Row("a place in millimetres", lambda _: in_scene(["mug_01", 120, 50, 0]), "mug_01.*metres"),
    Row("a turn in degrees", lambda _: in_scene(["mug_01", 0.1, 0.1, 90]), "mug_01.*radians"),
    Row("a place of NaN", lambda _: in_scene(["mug_01", math.nan, 0, 0]), "mug_01"),
    Row("an endless turn", lambda _: in_scene(["mug_01", 0.1, 0.1, math.inf]), "mug_01"),
    Row("a place beside the table", lambda _: in_scene(["mug_01", 0.5, 0.1, 0]), "mug_01.*table"),
    Row("two objects in one place", lambda _: overlapping(), bool),
    Row("a tool in millimetres", lambda _: tool(z=200), "tool.*'?z"),
    Row("a tool under the table", lambda _: tool(z=-0.2), "tool.*'?z"),
    Row("a finger of 0 to 255", lambda _: tool(finger=255), "tool.*finger"),
    Row("a tool turned in degrees", lambda _: tool(yaw=90), "tool.*yaw"),
    Row("an action in a list", lambda _: stepped(list(TOOL)), finite),
    Row("an action in float64", lambda _: stepped(STAY.astype(float)), finite),
    Row("an action in whole numbers", lambda _: stepped(np.zeros(7, int)), finite),
    Row("an action in millimetres", lambda _: stepped(STAY * 1000), finite),
    Row("an action of 1e30", lambda _: stepped(np.full(7, 1e30)), finite),
    Row("a yaw of 90 degrees", lambda _: stepped([0, 0, 0.2, 0, 0, 90, 1]), finite),
    Row("no action", lambda _: stepped(None), "action"),
    Row("an action of texts", lambda _: stepped(["0"] * 7), "action"),
    Row("a ragged action", lambda _: stepped([[0], [0, 1]]), "action"),
    Row("a complex action", lambda _: stepped(STAY * 1j), "action"),
    Row("an action as a dictionary", lambda _: stepped({"x": 0}), "action"),
    Row("an action of a batch of one", lambda _: stepped(STAY[None]), r"shape \(7,\)"),
    Row("an action with a hole", lambda _: stepped([0, 0, None, 0, 0, 0, 1]), "action"),
    Row("a step before the first reset", lambda _: moments("step"), "reset before step"),
    Row("what it counts as before the first reset", lambda _: moments("outcome"), "reset"),
    Row("success before the first reset", lambda _: moments("success"), "reset"),
    Row("a picture before the first reset", lambda _: moments("render"), "reset"),
    Row("a step after close", lambda _: moments("reset", "close", "step"), "closed"),
    Row("a reset after close", lambda _: moments("close", "reset"), "closed"),
    Row("a picture after close", lambda _: moments("reset", "close", "render"), "closed"),
    Row("an outcome after close", lambda _: moments("reset", "close", "outcome"), "closed"),
    Row(
        "closed twice", lambda _: moments("reset", "close", "close"), lambda result: result is None
    ),
    Row("objects of no split", lambda _: object_pool("dev"), "no split 'dev'"),
    Row("tasks of no split", lambda _: KITCHEN.simulator.tasks("dev"), "no split 'dev'"),
    Row("tasks of a split in a list", lambda _: tasks.listed(["train"]), "no split"),
    Row("no task to find", lambda _: tasks.find(None), "task None"),
    Row("the group of a number", lambda _: KITCHEN.group(3), "3 is no task"),
    Row(
        "a scene of two objects, arranged again",
        lambda _: KITCHEN.simulator.rearrange(
            scene(["mug_01", 0.1, 0.1, 0], ["button_01", -0.1, 0, 0]), np.random.default_rng(0)
        ),
        lambda text: {row[0] for row in json.loads(text)["objects"]} == {"mug_01", "button_01"},
    ),
    Row(
        "a scene of no object, arranged again",
        lambda _: scenes.rearrange((), np.random.default_rng(0)),
        lambda made: made.placements == (),
    ),
    Row(
        "a scene out of no objects",
        lambda _: scenes.sample([], (), np.random.default_rng(0)),
        "needs a button",
    ),
    Row(
        "a scene out of objects that are not there",
        lambda _: scenes.sample([], ("teapot",), np.random.default_rng(0)),
        "'teapot'",
    ),
    Row(
        "an arrangement of an object that is not there",
        lambda _: scenes.arrange(["teapot"], np.random.default_rng(0)),
        "'teapot'",
    ),
    Row("a catalogue that is a folder", lambda here: objects.load_catalogue(here), "catalogue"),
    Row("a list of tasks that is a folder", lambda here: tasks.load_tasks(here), "list of tasks"),
    Row(
        "a list of tasks with a number among them",
        lambda here: tasks.load_tasks(here / "tasks.json"),
        "list of tasks",
        files={"tasks.json": '{"train": [5], "validation": [], "test": []}'},
    ),
    Row("no domain", lambda _: base.load(None), "None"),
    Row("a domain in a list", lambda _: base.load(["kitchen"]), "kitchen"),
    Row("an empty domain", lambda _: base.load(""), "there is no ''"),
    Row("a domain of a colon", lambda _: base.load(":"), "':'"),
    Row("a domain with a line too many", lambda _: base.load("kitchen\n"), r"'kitchen\\n'"),
    Row("the robot seen by a camera as text", lambda _: KITCHEN.spec(64, "top"), "cameras.*'top'"),
    Row("the robot in pictures of None", lambda _: KITCHEN.spec(None, ()), "height.*None"),
]
