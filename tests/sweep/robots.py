"""Descriptions of robots: fields, layouts, cameras, tools, specs."""

from __future__ import annotations

import dataclasses
import json
import math
from decimal import Decimal

import numpy as np
from specs import ABOVE, POSE, TOOL, table

from mili_jax.spec import Camera, Field, Layout, Spec, Tool
from mili_jax.storage.robot import mark_of
from mili_jax.types import PolicyId, Task
from sweep.row import Row

AREA = "Robots: `Field`, `Layout`, `Camera`, `Tool`, `Spec`, `Task`"
ROTATION = [[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]
K = [[100.0, 0, 64], [0, 100, 48], [0, 0, 1]]
MATRIX = ((1.0, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 1))


def field(**changes):
    given = {"name": "x", "unit": "m", "low": 0.0, "high": 1.0, **changes}
    return Layout((Field(**given),))


def spec(**changes):
    given = {"pose": POSE, "action": POSE, "height": 32, "width": 32, "cameras": (ABOVE,)}
    return Spec(**{**given, **changes})


def reread(made):
    return Spec.from_json(made.to_json()) == made and isinstance(hash(made), int)


def described(**changes):
    raw = json.loads(table().to_json())
    raw.update(changes)
    return Spec.from_json(json.dumps(raw))


ROWS = [
    Row("a bound as text", lambda _: field(low="0"), "field 'x'.* low is '0'"),
    Row("no upper bound", lambda _: field(high=None), "field 'x'.* high is None"),
    Row("a bound of NaN", lambda _: field(low=math.nan), "field 'x'.* low is nan"),
    Row("True for a bound", lambda _: field(high=True), "field 'x'.* high is True"),
    Row("a complex bound", lambda _: field(high=1 + 2j), "field 'x'.* high is"),
    Row("an endless Decimal for a bound", lambda _: field(high=Decimal("inf")), "field 'x'.* high"),
    Row("a period as text", lambda _: field(period="2pi"), "field 'x'.* period is '2pi'"),
    Row("a negative period", lambda _: field(period=-3.1), "field 'x'.* period .*positive"),
    Row("a number for a name", lambda _: field(name=7), "field 7: a name is"),
    Row("no name", lambda _: field(name=None), "field None: a name is"),
    Row("a name with an end of line", lambda _: field(name="x\n"), "field 'x.n': a name is"),
    Row("a name in capitals", lambda _: field(name="X"), "field 'X': a name is"),
    Row("no unit", lambda _: field(unit=None), "field 'x'.* unit is None"),
    Row(
        "numpy's scalars for bounds",
        lambda _: spec(action=field(low=np.float32(0), high=np.int64(2), period=np.array(3.0))),
        reread,
    ),
    Row("a layout of no field", lambda _: Layout(()), "at least one field"),
    Row("a layout of one field without its tuple", lambda _: Layout(POSE.fields[0]), "layout"),
    Row("a layout of names", lambda _: Layout(("x", "y")), "layout.* Field"),
    Row("a layout of a text", lambda _: Layout("xyz"), "layout.* Field"),
    Row("a list of fields", lambda _: spec(action=Layout(list(POSE.fields))), reread),
    Row(
        "a camera's name with a space", lambda _: Camera("my camera"), "camera 'my camera': a name"
    ),
    Row("a camera without a name", lambda _: Camera(None), "camera None: a name"),
    Row(
        "a camera's matrix as an array",
        lambda _: spec(cameras=(Camera("c", np.asarray(MATRIX, np.float32)),)),
        reread,
    ),
    Row(
        "a matrix of whole numbers, stored and read",
        lambda _: spec(cameras=(Camera("c", np.array(MATRIX, int)),)),
        lambda made: mark_of(Spec.from_json(made.to_json())) == mark_of(made),
    ),
    Row("a matrix of 4 x 4", lambda _: Camera("c", np.eye(4)), "camera 'c'.* 3 x 4"),
    Row("a matrix as text", lambda _: Camera("c", "eye"), "camera 'c'.* 3 x 4"),
    Row("a ragged matrix", lambda _: Camera("c", ((1, 2), (3,))), "camera 'c'.* 3 x 4"),
    Row("a matrix of None", lambda _: Camera("c", ((None,) * 4,) * 3), "camera 'c'.* 3 x 4"),
    Row("a matrix with NaN", lambda _: Camera("c", np.full((3, 4), math.nan)), "'c'.* 3 x 4"),
    Row("a complex matrix", lambda _: Camera("c", np.eye(3, 4) * 1j), "camera 'c'.* 3 x 4"),
    Row("a camera mounted on the ceiling", lambda _: Camera("c", mount="ceiling"), "'ceiling'"),
    Row("a list for a mount", lambda _: Camera("c", mount=["world"]), r"mount \['world'\]"),
    Row("a depth as text", lambda _: Camera("c", depth="0.2"), "camera 'c'.* depth"),
    Row("True for a depth", lambda _: Camera("c", depth=True), "camera 'c'.* depth"),
    Row("a negative height", lambda _: Camera.straight_down("c", 0.2, -1), "height .*is -1"),
    Row("a view as text", lambda _: Camera.straight_down("c", "0.2", 1), "camera 'c'.* metres"),
    Row("a view of NaN", lambda _: Camera.straight_down("c", math.nan, 1), "camera 'c'.* metres"),
    Row(
        "a picture 0 pixels wide",
        lambda _: Camera.calibrated("c", K, ROTATION, [0, 0, 1], 0, 96),
        "camera 'c'.* width",
    ),
    Row(
        "a width as text",
        lambda _: Camera.calibrated("c", K, ROTATION, [0, 0, 1], "128", 96),
        "camera 'c'.* width",
    ),
    Row(
        "intrinsics of None",
        lambda _: Camera.calibrated("c", None, ROTATION, [0, 0, 1], 128, 96),
        "camera 'c'",
    ),
    Row(
        "a rotation as a dictionary",
        lambda _: Camera.calibrated("c", K, {"r": 1}, [0, 0, 1], 128, 96),
        "camera 'c'",
    ),
    Row(
        "a translation of NaN",
        lambda _: Camera.calibrated("c", K, ROTATION, [0, math.nan, 1], 128, 96),
        "camera 'c'.* finite",
    ),
    Row("a tool of text", lambda _: dataclasses.replace(TOOL, hover="13 cm"), "hover .*is '13 cm'"),
    Row(
        "a tool that reaches NaN",
        lambda _: dataclasses.replace(TOOL, reach=math.nan),
        "reach .*is nan",
    ),
    Row("a tool without reach", lambda _: dataclasses.replace(TOOL, reach=0), "reach .*positive"),
    Row(
        "a tool in numpy's scalars",
        lambda _: spec(tool=Tool(*map(np.float32, (0.25, 0.13, 0.17, 0.09, 0.07)))),
        reread,
    ),
    Row("a height as text", lambda _: spec(height="64"), "height .*'64'"),
    Row("a height of 64.5", lambda _: spec(height=64.5), "height .*64.5"),
    Row("True for a width", lambda _: spec(width=True), "width .*True"),
    Row("no width", lambda _: spec(width=None), "width .*None"),
    Row("a width of numpy's", lambda _: spec(width=np.int64(32)), reread),
    Row("no cameras", lambda _: spec(cameras=None), "cameras"),
    Row("a camera without its tuple", lambda _: spec(cameras=ABOVE), "cameras"),
    Row("names for cameras", lambda _: spec(cameras=("top",)), "cameras.* Camera"),
    Row("a list of cameras", lambda _: spec(cameras=[ABOVE]), reread),
    Row("a pose of fields", lambda _: spec(pose=POSE.fields), "pose.* Layout"),
    Row("no action", lambda _: spec(action=None), "action.* Layout"),
    Row("delta as text", lambda _: spec(delta="no"), "delta.* 'no'"),
    Row("a delta of numpy's", lambda _: spec(delta=np.bool_(True)), reread),
    Row("a tool as a dictionary", lambda _: spec(tool=dataclasses.asdict(TOOL)), "tool.* Tool"),
    Row("a description with a height of null", lambda _: described(height=None), "height .*None"),
    Row("a description with delta as text", lambda _: described(delta="false"), "delta.* 'false'"),
    Row(
        "a description with a tool of other lengths",
        lambda _: described(tool={"reach": 1}),
        "description of a robot",
    ),
    Row(
        "a description with a bound beyond floats",
        lambda _: Spec.from_json(table().to_json().replace("0.35", "1e999")),
        "field 'z'",
    ),
    Row(
        "a description of bytes that are no text",
        lambda _: Spec.from_json(b"\xff\xfe{"),
        "description of a robot",
    ),
    Row(
        "a description 100,000 lists deep",
        lambda _: Spec.from_json("[" * 100_000),
        "description of a robot",
    ),
    Row("a task without a name", lambda _: Task(None, "press"), "task None"),
    Row("a task of bytes", lambda _: Task(b"press", "press"), "task b'press'"),
    Row("a task with a tab", lambda _: Task("a\tb", "press"), "task 'a.tb'"),
    Row("a task of two lines", lambda _: Task("a\u2028b", "press"), "one line"),
    Row("a group of a task as None", lambda _: Task("open", None), "group"),
    Row(
        "a policy's name of odd digits",
        lambda _: PolicyId.parse("mili_\u00b2"),
        lambda p: str(p) == "mili_\u00b2",
    ),
    Row(
        "a policy's name of zeros",
        lambda _: PolicyId.parse("mili_007"),
        lambda p: str(p) == "mili_007",
    ),
    Row(
        "a policy of round 0 by its number",
        lambda _: PolicyId.parse("mili_0"),
        lambda p: str(p) == "mili_0",
    ),
]
