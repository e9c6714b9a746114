"""The object catalogue: its promises, and the bodies made of it."""

from __future__ import annotations

import collections
import itertools
import json
import math

import numpy as np
import pybullet
import pytest

from experiments import make_objects
from mili_jax.domains.kitchen import bodies, objects
from mili_jax.domains.kitchen.kinds import BUTTON_TRAVEL
from mili_jax.domains.kitchen.objects import CATALOGUE_PATH, SPLITS
from mili_jax.types import DataError, SimulationError

CATALOGUE = objects.load_catalogue()
MOVABLE = [s for s in CATALOGUE.values() if not s.button]
BUTTONS = [s for s in CATALOGUE.values() if s.button]


@pytest.fixture(scope="module")
def client():
    number = pybullet.connect(pybullet.DIRECT)
    yield number
    pybullet.disconnect(number)


@pytest.fixture
def table(client):
    """An empty table top at z = 0, stepped at 120 Hz like the benchmark's own."""
    pybullet.resetSimulation(physicsClientId=client)
    pybullet.setPhysicsEngineParameter(
        fixedTimeStep=1 / 120,
        numSolverIterations=15,
        deterministicOverlappingPairs=1,
        physicsClientId=client,
    )
    pybullet.setGravity(0, 0, -9.81, physicsClientId=client)
    half = [0.3, 0.3, 0.02]
    body = pybullet.createMultiBody(
        0,
        pybullet.createCollisionShape(pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client),
        pybullet.createVisualShape(
            pybullet.GEOM_BOX, halfExtents=half, rgbaColor=[0.75] * 3 + [1], physicsClientId=client
        ),
        [0, 0, -0.02],
        physicsClientId=client,
    )
    pybullet.changeDynamics(body, -1, lateralFriction=0.6, physicsClientId=client)
    return client


def simulate(client, seconds):
    for _ in range(round(120 * seconds)):
        pybullet.stepSimulation(physicsClientId=client)


def up(client, body):
    """The vertical component of the body's own z axis."""
    _, turn = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
    return pybullet.getMatrixFromQuaternion(turn)[8]


def test_counts_and_splits():
    assert len(MOVABLE) >= 124 and len({s.kind for s in MOVABLE}) >= 16
    assert len(BUTTONS) >= 84
    movable = collections.Counter(s.split for s in MOVABLE)
    buttons = collections.Counter(s.split for s in BUTTONS)
    assert abs(movable["train"] - 92) <= 4
    assert abs(movable["validation"] - 14) <= 2
    assert movable["test"] >= 18
    assert buttons["train"] >= 60 and buttons["validation"] >= 10 and buttons["test"] >= 10
    kinds = {split: {s.kind for s in CATALOGUE.values() if s.split == split} for split in SPLITS}
    assert len(kinds["test"] - kinds["train"] - kinds["validation"]) >= 2
    assert len(kinds["validation"] - kinds["train"]) >= 1
    assert len(kinds["test"] & kinds["train"]) >= 10
    for split in SPLITS:
        there = [s for s in MOVABLE if s.split == split]
        assert 0.5 <= np.mean([s.graspable for s in there]) <= 0.7
        assert 0.3 <= np.mean([s.container for s in there]) <= 0.45


def object_pose(client, body):
    """World position [3] and quaternion [4] (x, y, z, w) of the object frame of a spawned body."""
    centre, turn = pybullet.getBasePositionAndOrientation(body, physicsClientId=client)
    local = pybullet.getDynamicsInfo(body, -1, physicsClientId=client)[3]
    x, y, z, w = turn
    axis, offset = np.array([x, y, z]), np.array(local)
    rotated = offset + 2 * np.cross(axis, np.cross(axis, offset) + w * offset)
    return np.array(centre) - rotated, np.array(turn)


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_roles_keep_their_constraints(spec):
    assert spec.graspable == (spec.grasp is not None)
    assert spec.button + spec.container + spec.graspable == 1
    if spec.button:
        size = dict(spec.dimensions)
        assert 0.035 <= spec.radius <= 0.05 and 0.03 <= spec.height <= 0.05
        assert 0.018 <= size["cap_radius"] <= 0.032
        # The cap at the end of its travel is still above the base, and never wider than it.
        assert spec.height - BUTTON_TRAVEL > size["base_height"] + 0.002
        corner = math.cos(math.pi / size["base_sides"]) if size["base_sides"] else 1.0
        assert size["cap_radius"] < size["radius"] * corner
        return
    assert spec.height >= 0.025, "too low for finger tips at 2 cm to push it"
    if spec.graspable:
        assert 0.02 <= spec.grasp_width <= 0.066
        assert spec.height <= 0.12 and spec.radius <= 0.0525
        assert 0.04 <= spec.mass <= 0.4
        assert 0.005 <= spec.grasp[2] < spec.height
    if spec.container:
        assert spec.inner_radius >= 0.045 and 0.055 <= spec.radius <= 0.0851
        assert spec.height <= 0.05 and 0.25 <= spec.mass <= 0.8
        assert 0 < spec.floor_height <= spec.height


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_surface_agrees_with_the_numbers(spec):
    """The drawn solid is closed, stands on z = 0 and has the promised height and radius."""
    mesh = bodies.solid_mesh(spec)
    assert mesh.volume > 0
    closed = mesh.copy()
    closed.merge_vertices(merge_norm=True, merge_tex=True)
    edges, uses = np.unique(np.sort(closed.edges, axis=1), axis=0, return_counts=True)
    assert (uses[edges[:, 0] != edges[:, 1]] % 2 == 0).all()
    low, high = mesh.bounds
    assert abs(low[2]) < 1e-9 and abs(high[2] - spec.height) < 1e-9
    reach = np.hypot(*mesh.vertices[:, :2].T).max()
    # Round bodies are drawn as polygons of the circle's area: their corners stick out.
    assert spec.radius - 1e-9 <= reach * 1.0005 and reach <= spec.radius * 1.03
    if spec.graspable:
        angle = spec.grasp[3]
        band = mesh.section(plane_normal=[0, 0, 1], plane_origin=[0, 0, spec.grasp[2] + 0.005])
        across = band.vertices[:, :2] @ [math.cos(angle), math.sin(angle)]
        assert np.ptp(across) <= 1.03 * spec.grasp_width
        assert np.ptp(across) >= 0.80 * spec.grasp_width


def test_grasp_faces_away_from_the_handle():
    for spec in MOVABLE:
        if spec.kind == "mug":
            assert abs(math.cos(spec.grasp[3])) < 1e-9  # the handle is on +x


def test_objects_can_be_told_apart():
    """No two objects of a kind share their colours; none has the table's or gripper's colour."""
    for a, b in itertools.combinations(CATALOGUE.values(), 2):
        if a.kind != b.kind:
            continue
        colours = max(math.dist(x, y) for (_, x), (_, y) in zip(a.colours, b.colours, strict=True))
        assert colours >= 0.2, (a.id, b.id)
    for spec in CATALOGUE.values():
        for name, rgb in spec.colours:
            assert math.dist(rgb, (0.75, 0.75, 0.75)) > 0.25, (spec.id, name)
            assert math.dist(rgb, (0.25, 0.25, 0.25)) > 0.25, (spec.id, name)


def test_the_generator_writes_the_committed_file():
    text = make_objects.to_text(make_objects.make_catalogue())
    assert text == CATALOGUE_PATH.read_text(encoding="utf-8"), (
        "run python -m experiments.make_objects and look at the difference"
    )
    assert make_objects.to_text(make_objects.make_catalogue(seed=1)) != text


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_stands_still_upright(table, spec):
    body = bodies.spawn(table, spec, (0.03, -0.02), 0.7)
    assert np.allclose(object_pose(table, body)[0], [0.03, -0.02, 0], atol=1e-6)
    simulate(table, 1)
    first, _ = object_pose(table, body)
    assert np.abs(first - [0.03, -0.02, 0]).max() < 0.002
    simulate(table, 1)
    second, turn = object_pose(table, body)
    assert np.linalg.norm(second - first) < 2e-4
    assert up(table, body) > math.cos(math.radians(0.5))
    assert abs(2 * math.atan2(turn[2], turn[3]) - 0.7) < math.radians(1)
    if spec.button:
        assert bodies.button_depth(table, body) < 1e-4


@pytest.mark.parametrize("spec", MOVABLE, ids=[s.id for s in MOVABLE])
def test_slides_before_it_tips(table, spec):
    """On a table tilted by 15 degrees an object slides, or stands, but does not topple."""
    body = bodies.spawn(table, spec, (0, 0), 0.3)
    tilt = math.radians(15)
    down = [9.81 * math.sin(tilt), 0, -9.81 * math.cos(tilt)]
    pybullet.changeDynamics(body, -1, lateralFriction=0.9, physicsClientId=table)
    pybullet.setGravity(*down, physicsClientId=table)
    simulate(table, 1)
    assert up(table, body) > 0.995


def axis_floor(spec):
    """Height of what a thing dropped along the axis lands on: the highest triangle there."""
    x, y, z = np.moveaxis(bodies.solid_mesh(spec).triangles, 2, 0)
    place = np.array([1.1e-4, 0.7e-4])
    ab = np.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], axis=1)
    ac = np.stack([x[:, 2] - x[:, 0], y[:, 2] - y[:, 0]], axis=1)
    ap = place - np.stack([x[:, 0], y[:, 0]], axis=1)
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    flat = np.abs(area) > 1e-12
    area = np.where(flat, area, 1.0)
    v = (ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area
    w = (ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area
    under = flat & (v >= 0) & (w >= 0) & (v + w <= 1)
    heights = z[:, 0] + v * (z[:, 1] - z[:, 0]) + w * (z[:, 2] - z[:, 0])
    return heights[under].max()


HOLLOW = [s for s in MOVABLE if s.container or s.kind in ("mug", "cup", "glass", "egg_cup")]


WALLED = [s for s in HOLLOW if s.kind != "cutting_board"]


@pytest.mark.parametrize("spec", WALLED, ids=[s.id for s in WALLED])
def test_keeps_a_ball_that_is_shoved(table, spec):
    body = bodies.spawn(table, spec, (0, 0), 0.5)
    radius, floor = 0.006, axis_floor(spec)
    shape = pybullet.createCollisionShape(
        pybullet.GEOM_SPHERE, radius=radius, physicsClientId=table
    )
    ball = pybullet.createMultiBody(
        0.01, shape, basePosition=[0, 0, spec.height + 0.02], physicsClientId=table
    )
    simulate(table, 0.5)
    at = pybullet.getBasePositionAndOrientation(ball, physicsClientId=table)[0]
    assert abs(at[2] - floor - radius) < 0.001
    pybullet.resetBaseVelocity(ball, [0.05, 0.25, 0], physicsClientId=table)
    simulate(table, 1.5)
    at = np.array(pybullet.getBasePositionAndOrientation(ball, physicsClientId=table)[0])
    base, _ = object_pose(table, body)
    assert np.hypot(*(at - base)[:2]) < spec.radius
    assert floor + radius - 0.0015 < at[2] < spec.height + radius
    assert up(table, body) > 0.999


CONTAINERS = [s for s in MOVABLE if s.container]


@pytest.mark.parametrize("spec", CONTAINERS, ids=[s.id for s in CONTAINERS])
def test_what_is_put_inside_rests_on_the_floor(table, spec):
    """A cube put down off the middle by half the inner radius."""
    body = bodies.spawn(table, spec, (0, 0), 0.5)
    half = 0.01
    shape = pybullet.createCollisionShape(
        pybullet.GEOM_BOX, halfExtents=[half] * 3, physicsClientId=table
    )
    start = [0.5 * spec.inner_radius, 0, spec.floor_height + 0.02]
    cube = pybullet.createMultiBody(0.05, shape, basePosition=start, physicsClientId=table)
    simulate(table, 1)
    at = np.array(pybullet.getBasePositionAndOrientation(cube, physicsClientId=table)[0])
    base, _ = object_pose(table, body)
    assert np.hypot(*(at - base)[:2]) < spec.inner_radius
    assert abs(at[2] - spec.floor_height - half) < 0.001
    assert up(table, body) > 0.999 and up(table, cube) > 0.999


def dynamics(client, body):
    """(mass, inertia diagonal, centre of mass in the object frame)."""
    info = pybullet.getDynamicsInfo(body, -1, physicsClientId=client)
    return info[0], np.array(info[2]), np.array(info[3])


def test_inertia_of_a_solid_cylinder_and_a_box(table):
    can = next(s for s in MOVABLE if s.kind == "can")
    mass, inertia, centre = dynamics(table, bodies.spawn(table, can, (0, 0), 0.4))
    r, h = can.grasp_width / 2, can.height
    across = mass * (3 * r**2 + h**2) / 12
    assert mass == pytest.approx(can.mass)
    assert inertia == pytest.approx([across, across, mass * r**2 / 2], rel=0.01)
    assert centre == pytest.approx([0, 0, h / 2], abs=1e-6)

    packet = next(s for s in MOVABLE if s.kind == "tea_box")
    mass, inertia, centre = dynamics(table, bodies.spawn(table, packet, (0.1, 0), 0.4))
    x, y, z = (dict(packet.dimensions)[k] for k in ("length", "width", "height"))
    expected = mass / 12 * np.array([y**2 + z**2, x**2 + z**2, x**2 + y**2])
    assert mass == pytest.approx(packet.mass)
    assert inertia == pytest.approx(expected, rel=1e-6)
    assert centre == pytest.approx([0, 0, z / 2], abs=1e-6)


def test_inertia_of_a_hollow_bowl(table):
    """Against a stack of thin rings between the outer and the inner cone."""
    bowl = next(s for s in MOVABLE if s.kind == "bowl")
    d = dict(bowl.dimensions)
    floor, n = bowl.floor_height, 200_000
    z = (np.arange(n) + 0.5) / n * d["height"]
    outer = d["base_radius"] + (d["radius"] - d["base_radius"]) * z / d["height"]
    share = np.clip((z - floor) / (d["height"] - floor), 0, 1)
    inner = outer[0] - d["wall"] + (d["radius"] - d["base_radius"]) * share
    inner = np.where(z > floor, inner, 0.0)
    ring = outer**2 - inner**2
    mass = bowl.mass * ring / ring.sum()
    height = (mass * z).sum() / bowl.mass
    around = (mass * (outer**2 + inner**2)).sum() / 2
    across = around / 2 + (mass * (z - height) ** 2).sum()
    got_mass, inertia, centre = dynamics(table, bodies.spawn(table, bowl, (0, 0), 0))
    assert got_mass == pytest.approx(bowl.mass)
    assert centre == pytest.approx([0, 0, height], abs=2e-4)
    assert inertia == pytest.approx([across, across, around], rel=0.015)


def test_a_handle_moves_the_centre_of_mass_and_not_the_frame(table):
    pan = next(s for s in MOVABLE if s.kind == "pan")
    body = bodies.spawn(table, pan, (0.05, -0.1), math.pi / 2)
    _, _, local = dynamics(table, body)
    assert 0.001 < local[0] < 0.02 and abs(local[1]) < 1e-9
    centre, _ = pybullet.getBasePositionAndOrientation(body, physicsClientId=table)
    # A quarter turn carries the object's x to the world's y.
    assert np.allclose(centre, [0.05, -0.1 + local[0], local[2]], atol=1e-6)
    pybullet.resetBasePositionAndOrientation(
        body, [0.1, 0.2, 0.3], pybullet.getQuaternionFromEuler([0.4, -0.3, 1.1]),
        physicsClientId=table,
    )  # fmt: skip
    position, turn = object_pose(table, body)
    there, _ = pybullet.multiplyTransforms(position, turn, local, [0, 0, 0, 1])
    assert np.allclose(there, [0.1, 0.2, 0.3], atol=1e-6)


@pytest.mark.parametrize("spec", BUTTONS[::6], ids=[s.id for s in BUTTONS[::6]])
def test_button_needs_a_force_and_comes_back(table, spec):
    body = bodies.spawn(table, spec, (0.02, 0.03), 0.4)

    def press(newtons, seconds):
        for _ in range(round(120 * seconds)):
            pybullet.applyExternalForce(
                body, 0, [0, 0, -newtons], [0, 0, 0], pybullet.LINK_FRAME, physicsClientId=table
            )
            pybullet.stepSimulation(physicsClientId=table)

    press(2.0, 0.5)
    assert bodies.button_depth(table, body) < 0.001
    press(8.0, 0.5)
    assert 0.008 <= bodies.button_depth(table, body) <= BUTTON_TRAVEL
    simulate(table, 0.5)
    assert bodies.button_depth(table, body) < 5e-4
    position, _ = object_pose(table, body)
    assert np.allclose(position, [0.02, 0.03, 0], atol=1e-9)


def test_parts_are_drawn_in_their_colours(table):
    """From above, in TinyRenderer: each probed place has its part's hue, the table stays grey."""
    probes = {  # kind: [(part, place in the object frame)]
        "button": [("cap", (0.0, 0.0))],
        "can": [("lid", (0.0, 0.0))],
        "tray": [("inside", (0.0, 0.0))],
        "bowl": [("inside", (0.0, 0.0))],
        "tea_box": [("stripe", (0.0, 0.0)), ("body", (0.027, 0.0))],
        "pan": [("inside", (0.0, 0.0)), ("handle", (0.074, 0.0))],
    }
    yaw, pixels, half = 0.8, 200, 0.1
    view = pybullet.computeViewMatrix([0, 0, 1.2], [0, 0, 0], [0, 1, 0])
    projection = pybullet.computeProjectionMatrixFOV(
        math.degrees(2 * math.atan(half / 1.2)), 1, 0.3, 1.4
    )
    for kind, parts in probes.items():
        for spec in [s for s in CATALOGUE.values() if s.kind == kind][:3]:
            body = bodies.spawn(table, spec, (0.0, 0.0), yaw)
            image = pybullet.getCameraImage(
                pixels, pixels, view, projection, lightDirection=[0, 0, 1], shadow=0,
                renderer=pybullet.ER_TINY_RENDERER, physicsClientId=table,
            )[2]  # fmt: skip
            image = np.reshape(np.asarray(image, float), (pixels, pixels, 4))[:, :, :3]
            assert np.ptp(image[3, 3]) < 5
            for part, (x, y) in parts:
                world = np.array(
                    [x * math.cos(yaw) - y * math.sin(yaw), x * math.sin(yaw) + y * math.cos(yaw)]
                )
                # What is z above the table looks as if it were further out.
                world *= 1.2 / (1.2 - (spec.height if part != "inside" else 0.01))
                column = round((world[0] / half + 1) / 2 * pixels)
                row = round((1 - world[1] / half) / 2 * pixels)
                seen = image[row, column]
                wanted = np.array(dict(spec.colours)[part])
                cosine = seen @ wanted / np.linalg.norm(seen) / np.linalg.norm(wanted)
                assert cosine > 0.995, (spec.id, part, seen, wanted)
            pybullet.removeBody(body, physicsClientId=table)


def broken(tmp_path, change):
    """Load a catalogue of one mug after `change` was done to its entry."""
    document = json.loads(CATALOGUE_PATH.read_text(encoding="utf-8"))
    entry = next(e for e in document["objects"] if e["id"] == "mug_03")
    entries = change(entry) or [entry]
    path = tmp_path / "objects.json"
    path.write_text(json.dumps({"objects": entries}), encoding="utf-8")
    return objects.load_catalogue(path)


def test_an_undamaged_entry_loads(tmp_path):
    assert broken(tmp_path, lambda e: None) == {"mug_03": CATALOGUE["mug_03"]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda e: e.pop("mass") and None, "mass"),
        (lambda e: e.update(mass="heavy"), "mass"),
        (lambda e: e.update(mass=-0.2), "mass"),
        (lambda e: e.update(mass=True), "mass"),
        (lambda e: e.update(friction=float("nan")), "friction"),
        (lambda e: e.update(kind="spaceship"), "kind"),
        (lambda e: e.update(kind=[]), "kind"),
        (lambda e: e.update(split="holdout"), "split"),
        (lambda e: e["dimensions"].pop("handle") and None, "dimensions"),
        (lambda e: e["dimensions"].update(radius=None), "dimensions.radius"),
        (lambda e: e["dimensions"].update(radius=0.0), "dimensions.radius"),
        (lambda e: e["colours"].update(body=[0.1, 0.2]), "colours.body"),
        (lambda e: e["colours"].update(inside=[0.1, 0.2, 7]), "colours.inside"),
        (lambda e: e.update(weight=1), "weight"),
        (lambda e: [e, e], "twice"),
    ],
)
def test_damaged_entries_are_named(tmp_path, change, field):
    with pytest.raises(DataError, match="mug_03") as error:
        broken(tmp_path, change)
    assert field in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"objects": 3}', '{"objects": [7]}'])
def test_damaged_files_are_named(tmp_path, text):
    path = tmp_path / "objects.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"objects\.json"):
        objects.load_catalogue(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json"):
        objects.load_catalogue(tmp_path / "nowhere.json")


def test_a_changed_file_is_read_again(tmp_path):
    first = broken(tmp_path, lambda e: None)
    first.clear()  # the caller's dictionary is its own
    assert broken(tmp_path, lambda e: e.update(id="mug_99")).keys() == {"mug_99"}


def test_spawn_errors_name_the_object(client):
    with pytest.raises(SimulationError, match="mug_03"):
        bodies.spawn(client, CATALOGUE["mug_03"], (float("nan"), 0.0), 0.0)
    with pytest.raises(SimulationError, match="mug_03"):
        bodies.spawn(99, CATALOGUE["mug_03"], (0.0, 0.0), 0.0)  # no such client
