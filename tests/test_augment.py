"""A batch as another arrangement in another light: its geometry stays true."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from specs import TOOL, arm, pictures, view_of
from squares import HYPER, SIZE, SPEC, squares
from test_policy import batch_of

from mili_jax.domains.kitchen import spec as kitchen
from mili_jax.learning import augment
from mili_jax.learning.symmetry import DIHEDRAL
from mili_jax.policy.encoder import STRIDE
from mili_jax.policy.view import views_of
from mili_jax.types import ConfigError

VIEW = view_of(SPEC)
_augment = jax.jit(
    lambda batch, key, hyper: augment.augment(batch, key, SPEC, views_of(SPEC), hyper),
    static_argnums=2,
)


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
    hyper = dataclasses.replace(HYPER, brightness=0.0, contrast=0.0)
    new, _ = _augment(batch, jax.random.key(3), hyper)
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
            u, v = np.asarray(VIEW.seen_at(np.asarray(place[:2])))
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
    same, spots = _augment(batch, jax.random.key(3), off)
    jax.tree.map(np.testing.assert_array_equal, same, batch)
    np.testing.assert_array_equal(spots[:, 0], spots[:, 1])
    with pytest.raises(ConfigError, match="colour groups"):
        _augment(squares(0, b=5), jax.random.key(0), hyper)


def around(image: np.ndarray, spot: np.ndarray) -> np.ndarray | None:
    """Mean colour of the four pixels that meet nearest to a spot; None beyond the border."""
    u, v = spot / TOOL.reach
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
    new, spots = _augment(batch, jax.random.key(1), dark)
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
    centre = np.array([(21 / SIZE * 2 - 1), 1 - 9 / SIZE * 2]) * TOOL.reach
    spots = np.asarray(augment.salient(image, jax.random.key(0), VIEW))
    assert (np.linalg.norm(spots[:, 0] - spots[:, 1], axis=1) > 0).all()
    distance = np.abs(spots - centre).max(-1) / TOOL.reach * SIZE / 2  # pixels
    # A quarter of the picture lies that near to the square.
    assert (distance <= 8).mean() > 0.8
    flat = np.asarray(augment.salient(0 * image, jax.random.key(0), VIEW))
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


def test_a_robot_without_a_table_keeps_its_pictures_but_for_their_light() -> None:
    spec = arm()
    batch = batch_of(spec, truncated=True)
    apply = jax.jit(
        lambda hyper: augment.augment(batch, jax.random.key(0), spec, (None,), hyper),
        static_argnums=0,
    )
    new, spots = apply(dataclasses.replace(HYPER, colours=0, brightness=0.0, contrast=0.0))
    assert spots is None
    jax.tree.map(np.testing.assert_array_equal, new, batch)
    lit, spots = apply(dataclasses.replace(HYPER, colours=2))
    assert spots is None
    for name, value in lit._asdict().items():
        same = np.array_equal(value, getattr(batch, name))
        assert same == ("image" not in name), name


def test_heights_are_as_they_are_in_any_light() -> None:
    deep = dataclasses.replace(SPEC.cameras[0], depth=0.2)
    spec = dataclasses.replace(SPEC, cameras=(deep,))
    batch = batch_of(spec)
    hyper = dataclasses.replace(HYPER, dihedral=False, shift=0, colours=2)
    new, _ = augment.augment(batch, jax.random.key(0), spec, views_of(spec), hyper)
    np.testing.assert_array_equal(new.image[..., 3], batch.image[..., 3])
    assert (np.asarray(new.image[..., :3]) != batch.image[..., :3]).mean() > 0.5


def test_light_by_hand() -> None:
    """Brightness and contrast alone are one line for all pictures of the batch."""
    batch = batch_of(SPEC)
    hyper = dataclasses.replace(HYPER, dihedral=False, shift=0, colours=0)
    new, _ = _augment(batch, jax.random.key(5), hyper)
    before = np.concatenate([batch.image.ravel(), batch.demo_image.ravel()]).astype(float)
    after = np.concatenate([np.ravel(new.image), np.ravel(new.demo_image)]).astype(float)
    inside = (after > 0) & (after < 255)
    slope, start = np.polyfit(before[inside], after[inside], 1)
    assert 0.9 <= slope <= 1.1 and abs(start + 127.5 * (slope - 1)) <= 25.5
    np.testing.assert_allclose(after, np.clip(start + slope * before, 0, 255), atol=0.6)
    assert (slope, start) != (1, 0)


def test_salient_spots_of_pictures_that_are_not_square() -> None:
    image = pictures(arm(), 0, 3)
    spots = np.asarray(augment.salient(image, jax.random.key(0), VIEW))
    cells = np.asarray(VIEW.cells(24 // STRIDE, 40 // STRIDE))
    for spot in spots.reshape(-1, 2):
        assert np.abs(cells - spot).max(1).min() < 1e-6


def test_spots_lie_within_reach_whatever_the_picture_shows_beyond_it() -> None:
    """Seen from the front the edge of the table stands out most, and nothing lies there."""
    view = view_of(kitchen.spec(64, ["oblique"]))
    cells = np.asarray(view.cells(16, 16))
    beyond = np.abs(cells).max(1) > view.reach
    assert 0.1 < beyond.mean() < 0.6
    image = np.full((64, 16, 16, 3), 128, np.uint8)
    image[:, beyond.reshape(16, 16)] = np.random.default_rng(0).integers(0, 256, 3)
    image = image.repeat(4, 1).repeat(4, 2)
    spots = np.asarray(augment.salient(image, jax.random.key(0), view))
    assert np.abs(spots).max() <= view.reach
    assert len(np.unique(spots.reshape(-1, 2), axis=0)) > 30
