"""Training: augmentation keeps the geometry true, the step is reproducible, and it learns.

The problem to learn: pictures of coloured squares; a demonstration goes to the square of one
colour; the action to imitate is the place of the square of that colour in another picture.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mili_jax.policy.camera import Camera

from mili_jax.batches.sampling import Batch
from mili_jax.learning import acting, augment, objective
from mili_jax.learning.acting import DOWN_Z
from mili_jax.learning.augment import DIHEDRAL
from mili_jax.learning.hyper import CONTRASTIVE, Hyper
from mili_jax.learning.step import TrainState, init_state, make_train_step
from mili_jax.policy.encoder import STRIDE
from mili_jax.policy.policy import Policy, init_params
from mili_jax.types import ConfigError

CAMERA = Camera(view=0.25, height=1.0)
SIZE = 32
COLOURS = np.array([[230, 30, 30], [30, 230, 30], [30, 30, 230], [230, 230, 30], [230, 30, 230]])
POLICY = Policy(camera=CAMERA, embedding_size=24, channels=16, blocks=1)
HYPER = Hyper(steps=140, learning_rate=2e-3, warmup=10, shift=1, demo_dropout=0.0, colours=2)


def scene(rng: np.random.Generator, target: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of three squares, one of them of the target's colour, whose place is returned."""
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    others = rng.choice([c for c in range(len(COLOURS)) if c != target], 2, replace=False)
    spots = rng.choice(9, 3, replace=False)
    for spot, colour in zip(spots, [target, *others], strict=True):
        row, column = 10 * np.array(divmod(spot, 3)) + rng.integers(0, 6, 2)
        image[row : row + 6, column : column + 6] = COLOURS[colour]
        if colour == target:
            uv = np.array([(column + 3) / SIZE * 2 - 1, 1 - (row + 3) / SIZE * 2])
    return image, uv * CAMERA.view


def squares(
    seed: int, b: int = 16, p: int = 4, k: int = 6, task: np.ndarray | None = None
) -> Batch:
    rng = np.random.default_rng(seed)
    task = rng.integers(0, len(COLOURS), b) if task is None else task
    demo_image = np.zeros((b, 2, 2, SIZE, SIZE, 3), np.uint8)
    image = np.zeros((b, p, SIZE, SIZE, 3), np.uint8)
    demo_pose, pose, action = (np.zeros((*s, 7), np.float32) for s in ((b, 2, k), (b, p), (b, p)))
    for row, member in itertools.product(range(b), range(2)):
        picture, place = scene(rng, task[row])
        demo_image[row, member] = picture
        start = rng.uniform(-0.2, 0.2, 2)
        demo_pose[row, member, :2, :2] = place  # the two key poses
        demo_pose[row, member, 2:, :2] = start + np.linspace(0, 1, k - 2)[:, None] * (place - start)
        if member == 0:
            image[row] = picture
            pose[row, :, :2] = rng.uniform(-0.2, 0.2, (p, 2))
            pose[row, :, 2] = rng.uniform(0, 0.2, p)
            action[row, :, :2] = place
    task = task.astype(np.int32)
    focus = np.broadcast_to(action[:, :, None, None, :2], (b, p, 2, 3, 2))
    seen = np.ones((b, p, 2), bool)
    return Batch(demo_image, demo_pose, image, pose, action, task, focus, seen)


def bright_place(image: np.ndarray) -> np.ndarray:
    """uv of the single brightest pixel's centre."""
    row, column = np.unravel_index(image.sum(-1).argmax(), image.shape[:2])
    return np.array([(column + 0.5) / SIZE * 2 - 1, 1 - (row + 0.5) / SIZE * 2])


@pytest.mark.parametrize("element", range(8))
def test_pixels_and_poses_move_together(element: int) -> None:
    rng = np.random.default_rng(element)
    shift = rng.integers(-2, 3, (4, 2))
    image = np.zeros((4, 2, SIZE, SIZE, 3), np.uint8)
    pose = np.zeros((4, 2, 7), np.float32)
    for e, f in itertools.product(range(4), range(2)):
        row, column = rng.integers(4, SIZE - 4, 2)
        image[e, f, row, column] = 255
        pose[e, f, :2] = bright_place(image[e, f]) * CAMERA.view
    elements = jnp.full(4, element)
    metres = shift * (2 * CAMERA.view / SIZE)
    moved = np.asarray(augment.transform_image(jnp.asarray(image), elements, jnp.asarray(shift)))
    there = augment.transform_pose(jnp.asarray(pose), elements[:, None], metres[:, None])
    for e, f in itertools.product(range(4), range(2)):
        assert np.count_nonzero(moved[e, f].max(-1)) == 1
        expected = CAMERA.project(np.asarray(there))[e, f]
        np.testing.assert_allclose(bright_place(moved[e, f]), expected, atol=1e-5)


@pytest.mark.parametrize("element", range(8))
def test_symmetries_commute_with_the_camera_at_any_height(element: int) -> None:
    pose = np.random.default_rng(0).uniform(-0.2, 0.2, (5, 7)).astype(np.float32)
    moved = augment.transform_pose(pose, jnp.array(element), jnp.zeros(2))
    flat = np.zeros((5, 7), np.float32)
    flat[:, :2] = CAMERA.project(pose)
    expected = augment.transform_pose(flat, jnp.array(element), jnp.zeros(2))[:, :2]
    np.testing.assert_allclose(CAMERA.project(moved), expected, atol=1e-6)


@pytest.mark.parametrize("element", range(8))
def test_orientation_turns_with_the_table(element: int) -> None:
    # As matrices: a symmetry S of the table turns R into S R M, with M the same mirror seen from
    # the gripper if S is one.
    roll, pitch, yaw = 0.3, -0.2, 0.7

    def matrix(roll: float, pitch: float, yaw: float) -> np.ndarray:
        (a, b), (c, d), (e, f) = ((math.cos(t), math.sin(t)) for t in (roll, pitch, yaw))
        x = np.array([[1, 0, 0], [0, a, -b], [0, b, a]])
        y = np.array([[c, 0, d], [0, 1, 0], [-d, 0, c]])
        z = np.array([[e, -f, 0], [f, e, 0], [0, 0, 1]])
        return z @ y @ x

    symmetry = np.eye(3)
    symmetry[:2, :2] = DIHEDRAL[element]
    mirror = np.diag([1.0, np.linalg.det(symmetry), 1.0])
    pose = jnp.array([0.0, 0.0, 0.0, roll, pitch, yaw, 0.5])
    moved = augment.transform_pose(pose, jnp.array(element), jnp.zeros(2))
    expected = symmetry @ matrix(roll, pitch, yaw) @ mirror
    np.testing.assert_allclose(matrix(*map(float, moved[3:6])), expected, atol=1e-6)


def test_the_symmetries_are_eight() -> None:
    assert len({tuple(m.ravel()) for m in DIHEDRAL}) == 8
    for matrix in DIHEDRAL:
        assert (matrix @ matrix.T == np.eye(2)).all()


@pytest.mark.parametrize("rows", [12, 16, 20, 24, 28, 36, 40, 48, 64])
def test_in_every_colour_group_tasks_of_one_family_are_compared(rows) -> None:
    """Demonstrations are drawn family by family; from as many rows as `compare` has on no group is
    left without two of each."""
    colours = augment.most_colours(rows)
    group = augment.colour_groups(rows, dataclasses.replace(HYPER, colours=colours))
    family = np.arange(rows) * 4 // rows
    for n in range(colours):
        assert np.bincount(family[group == n], minlength=4).min() >= 2
    assert colours == {12: 1, 24: 2, 48: 4, 64: 4}.get(rows, colours) and rows % colours == 0
    assert augment.most_colours(4) == augment.most_colours(8) == 1


def test_augmented_batch_stays_true_and_colours_turn_by_group() -> None:
    batch = squares(0)
    # Broken off after nothing was left out: so it must become what the whole becomes.
    batch = batch._replace(
        truncated_image=batch.demo_image[:, 0, 1:], truncated_pose=batch.demo_pose[:, 0]
    )
    step = jax.jit(augment.augment, static_argnums=(2, 3))
    hyper = dataclasses.replace(HYPER, brightness=0.0, contrast=0.0)
    new, _ = step(batch, jax.random.key(3), CAMERA.view, hyper)
    np.testing.assert_array_equal(new.truncated_image, new.demo_image[:, 0, 1:])
    np.testing.assert_array_equal(new.truncated_pose, new.demo_pose[:, 0])
    groups = augment.colour_groups(16, hyper)
    elements, turned = set(), {}
    for row in range(16):
        for image, place in (
            (new.image[row, 1], new.action[row, 1]),
            (new.image[row, 1], new.focus[row, 1, 1, 2]),
            (new.demo_image[row, 0, 0], new.demo_pose[row, 0, -1]),
            (new.demo_image[row, 1, 1], new.demo_pose[row, 1, -1]),
        ):
            u, v = CAMERA.project(np.asarray([*place[:2], 0.0]))
            r, c = int((1 - v) / 2 * SIZE), int((u + 1) / 2 * SIZE)
            # One colour of a group becomes one other colour, in every picture of every row.
            seen = tuple(np.asarray(image)[r, c].tolist())
            assert turned.setdefault((groups[row], batch.task[row]), seen) == seen
        for member in range(2):
            old = batch.demo_pose[row, member]
            now = np.asarray(new.demo_pose[row, member])
            motion = old[-1, :2] - old[2, :2]
            fits = [np.allclose(m @ motion, now[-1, :2] - now[2, :2], atol=1e-6)
                    for m in DIHEDRAL]  # fmt: skip
            elements.add((member, fits.index(True)))
    both = [t for t in range(5) if (0, t) in turned and (1, t) in turned]
    assert any(turned[0, t] != turned[1, t] for t in both)  # groups have turns of their own
    assert len(elements) > 8  # members turn on their own
    off = dataclasses.replace(hyper, dihedral=False, shift=0, colours=0)
    same, spots = step(batch, jax.random.key(3), CAMERA.view, off)
    jax.tree.map(np.testing.assert_array_equal, same, batch)
    np.testing.assert_array_equal(spots[:, 0], spots[:, 1])
    with pytest.raises(ConfigError, match="colour groups"):
        step(squares(0, b=5), jax.random.key(0), CAMERA.view, hyper)


def around(image: np.ndarray, spot: np.ndarray) -> np.ndarray | None:
    """Mean colour of the four pixels that meet nearest to a spot; None beyond the border."""
    u, v = spot / CAMERA.view
    r, c = round(float(1 - v) / 2 * SIZE), round(float(u + 1) / 2 * SIZE)
    if not (0 < r < SIZE and 0 < c < SIZE):
        return None
    return np.asarray(image)[r - 1 : r + 1, c - 1 : c + 1].astype(float).mean((0, 1))


def test_spots_are_the_same_things_in_two_views() -> None:
    rng = np.random.default_rng(0)
    batch = squares(0)
    noisy = rng.integers(0, 256, batch.image[:, :1].shape, dtype=np.uint8)  # no two places alike
    batch = batch._replace(
        image=np.broadcast_to(noisy, batch.image.shape),
        demo_image=np.broadcast_to(noisy[:, None], batch.demo_image.shape),
    )
    dark = dataclasses.replace(HYPER, colours=0, brightness=0.0, contrast=0.0)
    new, spots = augment.augment(batch, jax.random.key(1), CAMERA.view, dark)
    assert spots.shape == (16, 2, 2, 2)
    seen, moved = 0, 0
    for row, k in itertools.product(range(16), range(2)):
        there = around(new.image[row, 0], spots[row, 1, k])
        if there is not None:
            here = around(new.demo_image[row, 0, 0], spots[row, 0, k])
            np.testing.assert_allclose(here, there)
            seen += 1
            moved += float(np.linalg.norm(spots[row, 0, k] - spots[row, 1, k])) > 0.05
    assert seen > 24 and moved > 12


def test_what_stands_out_is_asked_for() -> None:
    image = np.full((200, SIZE, SIZE, 3), 128, np.uint8)
    image[:, 6:12, 18:24] = 0
    centre = np.array([(21 / SIZE * 2 - 1), 1 - 9 / SIZE * 2]) * CAMERA.view
    spots = np.asarray(augment.salient(image, jax.random.key(0), CAMERA.view))
    assert (np.linalg.norm(spots[:, 0] - spots[:, 1], axis=1) > 0).all()
    distance = np.abs(spots - centre).max(-1) / CAMERA.view * SIZE / 2  # pixels
    # A quarter of the picture lies that near to the square.
    assert (distance <= 8).mean() > 0.8
    flat = np.asarray(augment.salient(0 * image, jax.random.key(0), CAMERA.view))
    assert len(np.unique(flat.reshape(-1, 2), axis=0)) == (SIZE // STRIDE) ** 2


def test_turns_of_the_colour_circle_are_isometries_that_keep_greys() -> None:
    turns = np.asarray(augment.turn_colours(jax.random.key(0), 40))
    np.testing.assert_allclose(
        turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (40, 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(turns @ np.ones(3), np.ones((40, 3)), atol=1e-5)
    handed = np.linalg.det(turns).round().astype(int)
    assert set(handed) == {-1, 1}
    assert len({tuple(t.ravel().round(3)) for t in turns}) == 40


def test_shift_repeats_the_border() -> None:
    image = np.zeros((1, 1, 4, 4, 3), np.uint8)
    image[..., :, 0, :] = 7
    moved = augment.transform_image(jnp.asarray(image), jnp.array([0]), jnp.array([[2, -1]]))
    assert np.asarray(moved)[0, 0, :, :, 0].tolist() == [[7, 7, 7, 0]] * 4
    with pytest.raises(ConfigError, match="square"):
        augment.transform_image(jnp.zeros((1, 1, 4, 8, 3)), jnp.array([0]), jnp.zeros((1, 2)))


@pytest.fixture(scope="module")
def step():
    return make_train_step(POLICY, HYPER)


@pytest.fixture(scope="module")
def learned(step):
    state = init_state(POLICY, HYPER, seed=0)
    history = []
    for k in range(HYPER.steps):
        state, metrics = step(state, squares(k), 1)
        history.append(jax.device_get(metrics))
    return state, history


def test_learns_to_go_to_the_demonstrated_colour(learned) -> None:
    state, history = learned
    early = np.mean([m["nll"] for m in history[:5]])
    late = np.mean([m["nll"] for m in history[-10:]])
    assert late < early - 3
    assert np.mean([m["neighbour_accuracy"] for m in history[-10:]]) > 0.9
    assert np.mean([m["same_cosine"] - m["other_cosine"] for m in history[-10:]]) > 0.5
    # Held-out pictures, the averaged parameters, the functions that act: a square is 9 cm wide.
    batch = squares(10_000, b=64, p=1)
    z = acting.embed_all(
        acting.make_embed(POLICY), state.average, batch.demo_image[:, 1], batch.demo_pose[:, 1], 24
    )
    start = acting.make_act(POLICY)
    wanted = batch.action[:, 0, :2]

    def error(z: np.ndarray) -> float:
        action = np.asarray(start(state.average, z)(batch.image[:, 0], batch.pose[:, 0]))
        return float(np.median(np.linalg.norm(action[:, :2] - wanted, axis=1)))

    other = np.array([np.flatnonzero(batch.task != t)[0] for t in batch.task])
    assert error(z) < 0.03
    assert error(z[other]) > 0.05  # it looks at the demonstration


def test_same_seed_same_bits(step) -> None:
    def run(seed: int) -> TrainState:
        state = init_state(POLICY, HYPER, seed=0)
        for k in range(3):
            state, _ = step(state, squares(k), seed)
        return state

    first, again, other = run(7), run(7), run(8)
    assert int(first.step) == 3
    jax.tree.map(np.testing.assert_array_equal, first, again)
    differs = jax.tree.map(lambda a, b: bool((a != b).any()), first.params, other.params)
    assert any(jax.tree.leaves(differs))


def test_warm_start_copies_the_parameters(step, learned) -> None:
    params = learned[0].average
    before = jax.tree.map(np.array, params)
    state = init_state(POLICY, HYPER, seed=5, params=params)
    state, _ = step(state, squares(0), 0)
    jax.tree.map(np.testing.assert_array_equal, params, before)
    assert int(state.step) == 1


def size(tree: dict) -> float:
    return float(sum(jnp.abs(x).sum() for x in jax.tree.leaves(tree)))


@pytest.mark.slow
def test_gradient_reaches_the_shared_encoder_from_both_losses_and_stops_where_told() -> None:
    params = init_params(POLICY, jax.random.key(0), image_size=SIZE)
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))

    def gradients(**options: float) -> dict:
        hyper = dataclasses.replace(HYPER, **options)
        loss = lambda p: objective.loss_fn(POLICY, hyper, p, batch, jax.random.key(0))[0]  # noqa: E731
        return jax.jit(jax.grad(loss))(params)

    policy_only = gradients(contrastive_weight=0.0)
    blocked = gradients(contrastive_weight=0.0, policy_to_embedding_scale=0.0)
    half = gradients(contrastive_weight=0.0, policy_to_embedding_scale=0.5)
    both = gradients(policy_to_embedding_scale=0.0)
    assert size(policy_only["embedder"]) > 0 and size(policy_only["encoder"]) > 0
    assert size(blocked["embedder"]) == 0 and size(blocked["encoder"]) > 0
    ratio = jax.tree.map(lambda a, b: float(jnp.abs(2 * a - b).max()), half, policy_only)
    assert max(jax.tree.leaves(ratio["embedder"])) < 1e-3
    # The contrastive loss reaches embedder and encoder, and leaves the actor alone.
    assert size(both["embedder"]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), both["actor"],
                 blocked["actor"])  # fmt: skip
    change = jax.tree.map(lambda a, b: a - b, both["encoder"], blocked["encoder"])
    assert size(change) > 1e-3


def test_without_condition_the_demonstration_has_no_part() -> None:
    params = init_params(POLICY, jax.random.key(0), image_size=SIZE)
    hyper = dataclasses.replace(HYPER, condition=False)
    loss = jax.jit(lambda b: objective.loss_fn(POLICY, hyper, params, b, jax.random.key(0))[0])
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    changed = batch._replace(demo_image=255 - batch.demo_image, demo_pose=batch.demo_pose + 0.1)
    assert float(loss(batch)) == float(loss(changed))
    # Every demonstration dropped is the same policy, and the same first term of the loss.
    alone = {"contrastive_weight": 0.0}
    dropped = dataclasses.replace(HYPER, demo_dropout=1.0, **alone)
    total = jax.jit(lambda b: objective.loss_fn(POLICY, dropped, params, b, jax.random.key(0))[0])
    assert float(total(batch)) == pytest.approx(float(loss(batch)), rel=1e-4)


def test_trial_pairs_stay_out_of_the_contrastive_loss() -> None:
    params = init_params(POLICY, jax.random.key(0), image_size=SIZE)
    hyper = dataclasses.replace(HYPER, compared=4)
    metrics = jax.jit(lambda b: objective.loss_fn(POLICY, hyper, params, b, jax.random.key(0))[1])
    batch = jax.tree.map(jnp.asarray, squares(0, b=8, p=2))
    first = jax.tree.map(lambda x: x[:4], batch)
    assert float(metrics(batch)["contrastive"]) == pytest.approx(
        float(metrics(first)["contrastive"]), rel=1e-5
    )
    shown = batch._replace(demo_image=batch.demo_image.at[4:, 1].set(0))
    assert float(metrics(batch)["contrastive"]) == float(metrics(shown)["contrastive"])
    assert float(metrics(batch)["nll"]) != float(metrics(shown)["nll"])
    unread = batch._replace(demo_image=batch.demo_image.at[4:, 0].set(0))
    assert float(metrics(batch)["loss"]) == float(metrics(unread)["loss"])
    with pytest.raises(ConfigError, match="compared"):
        dataclasses.replace(HYPER, compared=0)


def broken_off(batch: Batch, seed: int = 9) -> Batch:
    """The batch, its episodes m broken off: a picture of their own, and the way up to somewhere."""
    other = squares(seed, b=len(batch.pose), k=batch.demo_pose.shape[2])
    return batch._replace(
        truncated_image=other.demo_image[:, 0, 1:], truncated_pose=other.demo_pose[:, 0]
    )


@pytest.mark.parametrize("contrastive", CONTRASTIVE)
def test_what_is_broken_off_is_pushed_away_from_every_task(contrastive: str) -> None:
    batch = broken_off(squares(0, b=8, p=2, task=np.arange(8) % 4))
    params = init_params(POLICY, jax.random.key(0), image_size=SIZE)
    hyper = dataclasses.replace(HYPER, contrastive=contrastive)
    loss = jax.jit(lambda b: objective.loss_fn(POLICY, hyper, params, b, jax.random.key(0))[1])
    embed = acting.make_embed(POLICY)
    # It begins with the first picture of the whole.
    image = np.concatenate([batch.demo_image[:, 0, :1], batch.truncated_image], 1)
    z = np.stack(
        [embed(params, batch.demo_image[:, k], batch.demo_pose[:, k]) for k in range(2)]
        + [embed(params, image, batch.truncated_pose)],
        1,
    ).astype(np.float64)
    values = []
    for group in range(2):
        rows = range(group, 8, 2)
        of = [(int(batch.task[r]), z[r, k]) for r in rows for k in range(2)]
        of += [(-1 - r, z[r, 2]) for r in rows]
        same = [(a, b) for a, (t, _) in enumerate(of) for b, (u, _) in enumerate(of) if t == u]
        same = [(a, b) for a, b in same if a != b]
        if contrastive == "hinge":
            couples = itertools.permutations(range(12), 2)
            square = {(a, b): ((of[a][1] - of[b][1]) ** 2).sum() for a, b in couples}
            values.append(
                np.mean([square[pair] for pair in same])
                + np.mean([max(0, 1 - h) for pair, h in square.items() if pair not in same])
            )
            continue
        rated = {}
        for a, b in same:
            others = [of[a][1] @ of[c][1] / hyper.temperature for c in range(12) if c != a]
            rated.setdefault(a, []).append(
                np.log(np.exp(others).sum()) - of[a][1] @ of[b][1] / hyper.temperature
            )
        assert set(rated) == set(range(8))  # nothing draws together what was broken off
        values.append(np.mean([np.mean(v) for v in rated.values()]))
    assert float(loss(batch)["contrastive"]) == pytest.approx(np.mean(values), rel=1e-4)
    whole = batch._replace(truncated_image=None, truncated_pose=None)
    without = loss(whole)
    assert float(without["contrastive"]) != float(loss(batch)["contrastive"])
    assert float(without["nll"]) == pytest.approx(float(loss(batch)["nll"]), rel=1e-6)


def test_finding_again_is_learned_and_needs_no_task(learned) -> None:
    _, history = learned
    found = [m["recalled"] for m in history]
    assert np.mean(found[-20:]) > np.mean(found[:5]) + 0.1
    assert np.mean([m["recall"] for m in history[-10:]]) < np.mean(
        [m["recall"] for m in history[:5]]
    )


@pytest.mark.slow
def test_finding_again_trains_encoder_portraits_and_finder_on_every_row() -> None:
    params = init_params(POLICY, jax.random.key(0), image_size=SIZE)
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    batch, spots = augment.augment(batch, jax.random.key(0), CAMERA.view, HYPER)

    def gradient(**options: float) -> Callable[[dict, Batch], dict]:
        hyper, key = dataclasses.replace(HYPER, compared=2, **options), jax.random.key(0)
        return jax.jit(jax.grad(lambda p, b: objective.loss_fn(POLICY, hyper, p, b, key, spots)[0]))

    recalling = gradient()
    on, off = recalling(params, batch), gradient(recall_weight=0.0)(params, batch)
    change = jax.tree.map(lambda a, b: a - b, on, off)
    assert size(change["encoder"]) > 1e-3
    assert size(change["embedder"]["anchored"]["portraits"]) > 1e-3
    assert size(change["actor"]["finder"]) > 1e-3
    assert size(change["embedder"]["anchored"]["pooled"]) < 1e-4
    assert size(change["actor"]["mover"]) < 1e-4
    # Also on rows that no other loss reads as demonstrations.
    unread = batch._replace(demo_image=batch.demo_image.at[2:, 0].set(0))
    differs = jax.tree.map(lambda a, b: a - b, on, recalling(params, unread))
    assert size(differs["actor"]["finder"]) > 1e-3


def test_an_embedding_without_portraits_is_not_asked_to_find_again() -> None:
    policy = dataclasses.replace(POLICY, embedding="images_only")
    assert POLICY.recalls and not policy.recalls
    params = init_params(policy, jax.random.key(0), image_size=SIZE)
    batch = jax.tree.map(jnp.asarray, squares(0, b=4, p=2))
    batch, spots = augment.augment(batch, jax.random.key(0), CAMERA.view, HYPER)
    metrics = jax.eval_shape(
        lambda p: objective.loss_fn(policy, HYPER, p, batch, jax.random.key(0), spots)[1], params
    )
    assert "nll" in metrics and "recall" not in metrics


def test_the_average_follows_the_parameters() -> None:
    hyper = dataclasses.replace(HYPER, ema=0.5)
    step = make_train_step(POLICY, dataclasses.replace(hyper, condition=False))
    state = init_state(POLICY, hyper, seed=0)
    average = jax.tree.map(np.array, state.average)
    for k in range(2):
        state, _ = step(state, squares(k, b=4), 0)
        decay = min(0.5, (1 + k) / (10 + k))
        average = jax.tree.map(
            lambda a, p, d=decay: d * a + (1 - d) * np.asarray(p), average, state.params
        )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), state.average, average
    )


def test_embed_all_does_not_depend_on_the_chunk(learned) -> None:
    params, batch = learned[0].average, squares(3, b=7)
    embed = acting.make_embed(POLICY)
    images, pose = batch.demo_image[:, 0], batch.demo_pose[:, 0]
    whole = acting.embed_all(embed, params, images, pose, chunk=7)
    assert whole.shape == (7, POLICY.embedding_size)
    parts = acting.embed_all(embed, params, images, pose, chunk=3)
    np.testing.assert_allclose(whole, parts, atol=1e-5)
    with pytest.raises(ConfigError, match="no episode"):
        acting.embed_all(embed, params, images[:0], pose[:0])


def test_sampled_actions_spread_about_the_mode(learned) -> None:
    params, batch = learned[0].average, squares(4, b=8)
    z = acting.make_embed(POLICY)(params, batch.demo_image[:, 1], batch.demo_pose[:, 1])
    seen = batch.image[:, 0], batch.pose[:, 0]
    mode = np.asarray(acting.make_act(POLICY)(params, z)(*seen))
    sample = acting.make_act(POLICY, temperature=0.1)
    a, again, b = (np.asarray(sample(params, z, seed)(*seen)) for seed in (0, 0, 1))
    assert (a == again).all() and (a != b).any()
    assert np.median(np.linalg.norm(a[:, :2] - mode[:, :2], axis=1)) < 0.03


def test_acting_remembers_where_the_places_lie(learned) -> None:
    params, batch = learned[0].average, squares(5, b=8, p=1)
    z = acting.make_embed(POLICY)(params, batch.demo_image[:, 1], batch.demo_pose[:, 1])
    empty, wanted = np.full_like(batch.image[:, 0], 128), batch.action[:, 0, :2]
    above = np.where(np.arange(7) == 2, 0.15, batch.pose[:, 0])

    def error(*memory: float) -> float:
        """After five pictures of the scene, of one in which all squares are hidden."""
        act = acting.make_act(POLICY, memory=memory)(params, z)
        for _ in range(5):
            act(batch.image[:, 0], above)
        return float(np.median(np.linalg.norm(act(empty, above)[:, :2] - wanted, axis=1)))

    assert error(0.9, 0.9) < 0.05
    assert error(0.0, 0.0) > 0.15


def test_the_first_place_is_remembered_until_the_tool_was_down() -> None:
    @flax.struct.dataclass
    class Shares:
        """Acts by saying what share of the earlier pictures it was told to remember."""

        focus: jax.Array

        def mode(self) -> jax.Array:
            return self.focus

    def respond(context: None, image: jax.Array, pose: jax.Array, memory: tuple) -> Shares:
        return Shares(jnp.zeros((2, 2, 1)) if memory is None else memory[1])

    act = acting.make_player(respond, 0.0, (0.8, 0.5))(None, 0)
    heights = [(0.15, 0.15), (0.15, 0.15), (DOWN_Z - 0.01, 0.15), (0.15, 0.15)]
    told = [act(np.zeros(2), np.outer(h, np.arange(7) == 2))[:, :, 0] for h in heights]
    remembers = [[[0, 0]] * 2, [[0.8, 0.5]] * 2, [[0, 0.5], [0.8, 0.5]], [[0, 0.5], [0.8, 0.5]]]
    np.testing.assert_allclose(told, remembers, atol=1e-6)


@pytest.mark.parametrize(
    "field, value",
    [
        ("contrastive", "none"),
        ("demo_dropout", 1.5),
        ("ema", 1.0),
        ("learning_rate", 0.0),
        ("shift", -1),
        ("policy_to_embedding_scale", -0.1),
        ("steps", 0),
    ],
)
def test_hyper_refuses(field: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=f"Hyper.{field}"):
        Hyper(**{field: value})
