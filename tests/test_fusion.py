"""Several views as one map: a calibrated second view says how high something is, any other what it
shows."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from specs import ABOVE, NOWHERE, pictures, table, view_of

from mili_jax.policy.features import rms_norm
from mili_jax.policy.fusion import HEIGHTS, Fuse
from mili_jax.policy.policy import Policy, init_params
from mili_jax.policy.view import views_of
from mili_jax.spec import Camera

# From the side of +x, 1 m away and 45 degrees above the table, which fills its picture.
S = math.sqrt(0.5)
SIDE = Camera.calibrated(
    "side",
    [[60.0, 0, 16], [0, 60.0, 16], [0, 0, 1]],
    [[0, 1, 0], [S, 0, -S], [-S, 0, -S]],
    (0, 0, 1.0),
    32,
    32,
)
KNOWN, UNKNOWN = table(128, (ABOVE, SIDE)), table(128, (ABOVE, NOWHERE))
H = W = 32  # cells of a map


def blob(uv: np.ndarray, radius: float = 0.08) -> np.ndarray:
    """A map [H,W] with a spot at uv."""
    u = (np.arange(W) + 0.5) / W * 2 - 1
    v = 1 - (np.arange(H) + 0.5) / H * 2
    apart = (u[None] - uv[0]) ** 2 + (v[:, None] - uv[1]) ** 2
    return np.exp(-0.5 * apart / radius**2)


def maps_of(spec, point) -> jax.Array:
    """Maps [1,V,H,W,2] of a world that holds one point (m): nothing in channel 0, it in 1."""
    views = [view_of(table(128, (camera,))) for camera in (ABOVE, SIDE)]
    spots = [blob(np.asarray(view.project(jnp.asarray(point, jnp.float32)))) for view in views]
    return jnp.asarray(np.stack([np.stack([1 - s, s], -1) for s in spots])[None], jnp.float32)


@functools.cache
def fused(spec):
    """(what Fuse makes of maps, what it adds to the first of them), with weights of noise."""
    module, views = Fuse(), views_of(spec)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2, H, W, 2)), views)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
    apply = jax.jit(module.apply)
    return lambda maps: (found := np.asarray(apply(params, maps, views)), found - maps[:, 0])


CELL = 10 * W + 20
PLACE = np.asarray(view_of(KNOWN).cells(H, W))[CELL]


def over(height: float) -> np.ndarray:
    """The point at a height (m) that the first view sees in CELL."""
    xy = view_of(KNOWN).at_height(PLACE[None], jnp.array([height]))[0]
    return np.array([*np.asarray(xy), height])


def test_a_cell_looks_along_its_own_ray_in_the_other_view() -> None:
    # Of what is swept, the part of a height shows a point of that height in the cell that the first
    # view sees it in, and what there is of it elsewhere is less.
    for i, height in enumerate(HEIGHTS):
        maps = maps_of(KNOWN, over(height))
        first, second = views_of(KNOWN)
        swept = np.asarray(Fuse._swept(maps[:, 1], first, second)).reshape(H * W, len(HEIGHTS), 2)
        seen = swept[:, :, 1]
        assert seen[CELL].argmax() == i and seen[CELL, i] > 0.7
        if height == HEIGHTS[-1]:  # the other heights' rays pass it by
            assert seen[CELL, 0] < 0.4


@pytest.mark.parametrize("spec", [KNOWN, UNKNOWN], ids=["calibrated", "uncalibrated"])
def test_the_same_cell_with_something_of_another_height_is_another(spec) -> None:
    low, high = maps_of(spec, over(0.0)), maps_of(spec, over(0.08))
    np.testing.assert_allclose(low[:, 0], high[:, 0], atol=1e-4)  # the first view cannot tell
    (a, _), (b, _) = fused(spec)(low), fused(spec)(high)
    change = np.abs(a - b).reshape(H * W, 2).max(-1)
    assert change[CELL] > 0.05
    if spec is KNOWN:  # of which it is the cells on the way that change, not all
        assert np.median(change) < 0.1 * change.max()
    else:  # it is said to all cells alike
        np.testing.assert_allclose(change, change[CELL], rtol=1e-2)


def test_features_of_the_first_view_stay_and_the_other_is_added() -> None:
    maps = maps_of(KNOWN, over(0.04))
    nothing = maps.at[:, 1].set(0.0)
    _, added = fused(KNOWN)(maps)
    _, alone = fused(KNOWN)(nothing)
    assert np.abs(added - alone).max() > 0.05
    np.testing.assert_allclose(alone, np.broadcast_to(alone[:, :1, :1], alone.shape), atol=1e-5)


def test_it_begins_near_the_first_view() -> None:
    maps = jax.random.normal(jax.random.key(0), (3, 2, H, W, 8))
    module, views = Fuse(), views_of(KNOWN)
    params = jax.jit(module.init)(jax.random.key(0), maps, views)
    found = jax.jit(module.apply)(params, maps, views)
    assert float(jnp.abs(found - maps[:, 0]).mean()) < 0.3 * float(jnp.abs(maps).mean())


def test_every_further_view_has_parameters_of_its_own_and_is_looked_at() -> None:
    spec = table(32, (ABOVE, SIDE, NOWHERE, Camera("hand", ABOVE.matrix, mount="tool")))
    policy = Policy(spec, embedding_size=12, channels=8, blocks=1)
    params = init_params(policy, jax.random.key(0))
    names = {f"{part}{i}" for part in ("hidden", "fuse") for i in (1, 2, 3)}
    assert set(params["fuse"]) == names | {"attend2", "attend3"}
    image = pictures(spec, 0, 1)
    encode = jax.jit(lambda image: policy.apply({"params": params}, image, method="encode"))
    maps = np.asarray(encode(image))
    for i in range(4):
        other = image.copy()
        other[:, i] = 255 - other[:, i]
        assert np.abs(np.asarray(encode(other)) - maps).max() > 1e-5, i
    # The second view reaches what lies on its rays, whatever is added to all cells.
    assert rms_norm(jnp.asarray(maps)).shape == (1, 8, 8, 8)
