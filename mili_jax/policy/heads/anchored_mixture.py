"""First where, then what: the default head."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mili_jax.policy.camera import Camera
from mili_jax.policy.densities import RAW, Mixture, mixture_of
from mili_jax.policy.embeddings.pose_anchored import SIZE_SCALE, SIZES
from mili_jax.policy.features import UNIT, pose_features, rms_norm, tiles, yaw_features
from mili_jax.policy.focus import FOCUS_FLOOR, Focus, in_hindsight
from mili_jax.policy.kernels import bilinear_weights, in_chunks

Array = jax.Array
REACH = 0.08  # m; how far a component's mean may lie from its anchor, about two cells at 64 px
DISTANCES = np.array([0.0, 0.01, 0.02, 0.03, 0.045, 0.065, 0.09])  # m
ABOVE = np.array([-0.01, 0.0, 0.01, 0.02, 0.03, 0.05, 0.08])  # m above a demonstrated height
CLOSED = np.arange(-0.1, 0.31, 0.05)  # of the opening, beyond the narrowest demonstrated
OPENED = np.arange(-0.6, 0.61, 0.2)  # and beyond the last one
HOVER_Z = 0.13  # m
LENGTHS = np.arange(0.0, 0.41, 0.08)  # m between the two places
OFFSETS = np.arange(-0.16, 0.17, 0.04)  # m along the way from a place
LIFTED_Z = 0.17  # m, height of a label that stays where the gripper is
BESIDE = 0.07  # m between an attended place and the tool that pushes it


class AnchoredMixture(nn.Module):
    """First where, then what: a density over two places, and one over actions given the places.

    The demonstration asks for each place with a query that is compared with every cell; every cell
    proposes a point near itself (`Focus`). The action's mixture has its components anchored at the
    two places, where a tool stands that moves the one towards the other, where that ends, and
    where the gripper is. So log g(action) + log g(places) is the log likelihood of the
    action and of two latent places. Training knows the places in hindsight; acting takes the mode.

    Where a component lies follows from the picture and the demonstration alone. Told where the
    gripper is, a policy would propose that place: on the way down it is always nearly right, and
    it never brings the gripper there.
    """

    camera: Camera
    width: int = 64

    def setup(self) -> None:
        self.finder = _Finder(self.camera, self.width)
        self.mover = _Mover(self.camera, self.width)

    def __call__(
        self,
        maps: Array,
        pose: Array,
        z: Array,
        hindsight: tuple[Array, Array] | None = None,
        memory: tuple[Focus, Array] | None = None,
    ) -> Mixture:
        found = self.find(maps, z)
        if memory is not None:
            found = found.after(*memory)
        place = jax.lax.stop_gradient(found.mode())
        if hindsight is not None:
            place = in_hindsight(found, place, *hindsight)
        density = self.mover(rms_norm(maps), pose, z * math.sqrt(z.shape[-1]), place)
        return density.replace(focus=found)  # type: ignore[attr-defined]

    def find(self, maps: Array, z: Array) -> Focus:
        """See `Policy.find`."""
        return self.finder(rms_norm(maps), z * math.sqrt(z.shape[-1]))


class _Finder(nn.Module):
    """Where the two places lie: normalised maps [n,h,w,C], z [n,Z] -> Focus."""

    camera: Camera
    width: int

    @nn.compact
    def __call__(self, maps: Array, z: Array) -> Focus:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        anchors = jnp.asarray(self.camera.cells(h, w))
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        asked = nn.relu(nn.Dense(2 * self.width, name="ask")(z))
        query = nn.Dense(2 * c, name="query")(asked) + nn.Dense(2 * c, name="portraits")(z)
        query = query.reshape(n, 2, c)
        scale = self.param("sharpness", nn.initializers.constant(math.log(8)), (2,))
        query = rms_norm(query) * (jnp.exp(scale) / c)[:, None]
        shift = nn.Dense(self.width, name="find_shift")(asked)
        position = nn.Dense(self.width, name="find_position")(anchors / self.camera.view)
        look = self.param("find_look", lecun, (c, self.width))
        out = self.param("find", nn.initializers.normal(0.02), (self.width, 6))
        bias = self.param("find_bias", zeros, (6,))

        def propose(cells: Array, query: Array, shift: Array) -> Array:
            similarity = jnp.einsum("ngc,npc->ngp", cells, query)
            x = (cells.reshape(-1, c) @ look).reshape(-1, h * w, self.width)
            x = nn.relu(x + position + shift[:, None]).reshape(-1, self.width) @ out + bias
            return jnp.concatenate([similarity, x.reshape(-1, h * w, 6)], -1)

        raw = in_chunks(propose, h * w, cells, query, shift).swapaxes(1, 2)
        x, y = (anchors[:, i] + REACH * jnp.tanh(raw[:, 2 + 2 * i : 4 + 2 * i]) for i in (0, 1))
        sigma = FOCUS_FLOOR + (0.02 - FOCUS_FLOOR) / math.log(2) * nn.softplus(raw[:, 6:])
        return Focus(raw[:, :2], x, y, sigma)


class _Mover(nn.Module):
    """What to do with two places: normalised maps [n,h,w,C], pose [n,7], z [n,Z], place [n,2,2] m
    -> Mixture."""

    camera: Camera
    width: int

    @nn.compact
    def __call__(self, maps: Array, pose: Array, z: Array, place: Array) -> Mixture:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        around = bilinear_weights(place / self.camera.view, h, w, offsets=True)
        looks = jnp.einsum("npsg,ngc->npsc", around, cells).reshape(n, 2, -1)
        looks = nn.relu(nn.Dense(self.width, name="look")(looks))
        under = bilinear_weights(self.camera.project(pose), h, w, offsets=True)
        under = jnp.einsum("nsg,ngc->nsc", under, cells).reshape(n, -1)
        under = nn.relu(nn.Dense(self.width, name="under")(under))

        way = place[:, 1] - place[:, 0]
        length = jnp.sqrt(jnp.sum(jnp.square(way), -1, keepdims=True) + 1e-4)
        way = way / length
        x, y = way[:, 0], way[:, 1]
        across = jnp.stack([-y, x], -1)
        heading = jnp.stack([2 * x * y, jnp.square(x) - jnp.square(y)], -1)  # of twice the angle
        yaw = yaw_features(pose[:, 5])
        turned = yaw_features(pose[:, 5] - jnp.arctan2(y, x + 1e-6))

        aim = jnp.concatenate([looks.reshape(n, -1), z, tiles(length[:, 0], LENGTHS, 0.04)], -1)
        aim = nn.relu(nn.Dense(2 * self.width, name="aim")(aim))

        # The demonstrated lengths, and what the gripper is short of them. An embedding that knows
        # none is free to learn what it says there.
        sizes = z[:, -SIZES:] / (SIZE_SCALE * math.sqrt(z.shape[-1]))
        shown = 0.1 + UNIT * sizes[:, :2]
        above = pose[:, 2:3] - shown
        closed, opened = (pose[:, 6] - (0.5 + 0.5 * sizes[:, i]) for i in (2, 3))
        known = [pose_features(self.camera, pose), turned, under, aim]
        known += [above / UNIT, tiles(above, ABOVE, 0.01).reshape(n, -1)]
        known += [closed[:, None], tiles(closed, CLOSED, 0.04)]
        known += [opened[:, None], tiles(opened, OPENED, 0.1)]
        for gripper in (pose[:, :2], self.camera.on_table(pose)):
            apart = gripper[:, None] - place
            distance = jnp.sqrt(jnp.sum(jnp.square(apart), -1) + 1e-8)
            along, aside = (jnp.einsum("npc,nc->np", apart, v) for v in (way, across))
            known += [apart.reshape(n, -1) / UNIT, along / UNIT, aside / UNIT]
            known += [tiles(v, DISTANCES, 0.01).reshape(n, -1) for v in (distance, jnp.abs(aside))]
            known += [tiles(along, OFFSETS, 0.02).reshape(n, -1)]
        context = nn.relu(nn.Dense(4 * self.width, name="context0")(jnp.concatenate(known, -1)))
        context = nn.relu(nn.Dense(2 * self.width, name="context1")(context))

        small = nn.initializers.normal(0.02)
        count = 16  # four per anchor
        raw = nn.Dense((count + 1) * RAW, kernel_init=small, name="component")(context)
        raw = raw.reshape(n, count + 1, RAW)
        # Every other component starts with open fingers, the rest with closed ones: what lies
        # between them holds nothing.
        raw = raw.at[:, :count, 6].add(jnp.tile(jnp.array([1.0, -1.0]), 8))
        # Half of them start where the tool hovers, half as high as the demonstration shows.
        low = jnp.tile(sizes[:, :2], 2)[..., None, None]
        high = jnp.full_like(low, (HOVER_Z - 0.1) / UNIT)
        start = jnp.broadcast_to(jnp.concatenate([high, low], 2), (n, 4, 2, 2))
        raw = raw.at[:, :count, 3].add(start.reshape(n, count))
        offset = nn.Dense(2 * count, kernel_init=small, name="aim_offset")(aim)
        offset = REACH * jnp.tanh(offset.reshape(n, 4, 4, 2))
        beside = place - BESIDE * way[:, None]
        # Offsets from the places are those of the picture, offsets beside them turn with the way.
        frame = jnp.stack([way, across], 1)
        along = jnp.einsum("npkd,ndc->npkc", offset[:, 2:], frame)
        means = [place[:, :, None] + offset[:, :2], beside[:, :, None] + along]
        xy = jnp.concatenate(means, 1).reshape(n, count, 2)
        # The object's own direction, the present one where any will do, or across the way.
        angles = nn.Dense(4 * count, kernel_init=small, name="aim_yaw")(aim).reshape(n, count, 4)
        natural = 5 * angles[..., :2] + 5 * angles[..., 2:3] * yaw[:, None]
        natural = natural - 5 * angles[..., 3:] * heading[:, None]

        # The way up leads from wherever the gripper is. This component is sharp at the height that
        # labels of going up have, or it would explain the way down as well. Its fingers start as
        # they are when the demonstration ends, or it would leave an object that it has to take.
        stay = raw[:, count:].at[..., 3].set((LIFTED_Z - 0.1) / UNIT).at[..., 7:9].set(-20.0)
        stay = stay.at[..., 6].add(sizes[:, 3:])
        stay = stay.at[..., 4:6].set(3 * yaw[:, None])
        raw = jnp.concatenate([raw[:, :count].at[..., 4:6].set(natural / 5), stay], 1)
        still = pose[:, None, :2]
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros, name="tilt")(context)
        return mixture_of(raw, jnp.concatenate([xy, still], 1), tilt)
