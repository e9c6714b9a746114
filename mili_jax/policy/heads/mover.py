"""What to do with two places."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mili_jax.policy.embedding import Embedding
from mili_jax.policy.features import UNIT, tiles, tool_features, yaw_features
from mili_jax.policy.kernels import bilinear_weights
from mili_jax.policy.tool_mixture import COLUMNS, Columns, ToolMixture
from mili_jax.policy.view import View
from mili_jax.spec import Tool

OFFSET = 0.08  # m; how far a component's mean may lie from its anchor
DISTANCES = np.array([0.0, 0.01, 0.02, 0.03, 0.045, 0.065, 0.09])  # m
ABOVE = np.array([-0.01, 0.0, 0.01, 0.02, 0.03, 0.05, 0.08])  # m above a demonstrated height
CLOSED = np.arange(-0.1, 0.31, 0.05)  # of the opening, beyond the narrowest demonstrated
OPENED = np.arange(-0.6, 0.61, 0.2)  # and beyond the last one
FELT = np.arange(-0.6, 0.61, 0.2)  # of the opening
LENGTHS = np.arange(0.0, 0.41, 0.08)  # m between the two places
OFFSETS = np.arange(-0.16, 0.17, 0.04)  # m along the way from a place
ANCHORS, EACH = 4, 4  # where components begin, and how many of them there


class Mover(nn.Module):
    """The mixture over actions, given normalised maps, poses, with or without what the fingers feel
    in two more columns, what the demonstration shows, z scaled to entries of order one, and the two
    places (m)."""

    tool: Tool
    width: int

    @nn.compact
    def __call__(
        self,
        maps: Float[Array, "n h w c"],
        pose: Float[Array, "n d"],
        shown: Embedding,
        z: Float[Array, "n z"],
        place: Float[Array, "n 2 2"],
        view: View,
    ) -> ToolMixture:
        n, h, w, c = maps.shape
        cells = maps.reshape(n, h * w, c)
        around = bilinear_weights(view.seen_at(place), h, w, offsets=True)
        looks = jnp.einsum("npsg,ngc->npsc", around, cells).reshape(n, 2, -1)
        looks = nn.relu(nn.Dense(self.width, name="look")(looks))
        under = bilinear_weights(view.project(pose[:, :3]), h, w, offsets=True)
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

        # What the gripper is short of the demonstrated lengths.
        above = pose[:, 2:3] - shown.heights
        closed, opened = pose[:, 6] - shown.closed, pose[:, 6] - shown.opened
        known = [tool_features(view, pose), turned, under, aim]
        known += [above / UNIT, tiles(above, ABOVE, 0.01).reshape(n, -1)]
        known += [closed[:, None], tiles(closed, CLOSED, 0.04)]
        known += [opened[:, None], tiles(opened, OPENED, 0.1)]
        felt = pose[:, 7:9] if pose.shape[1] > 7 else jnp.zeros((n, 2))
        known += [felt, tiles(felt, FELT, 0.1).reshape(n, -1)]
        for gripper in (pose[:, :2], view.on_table(pose[:, :3])):
            apart = gripper[:, None] - place
            distance = jnp.sqrt(jnp.sum(jnp.square(apart), -1) + 1e-8)
            along, aside = (jnp.einsum("npc,nc->np", apart, v) for v in (way, across))
            known += [apart.reshape(n, -1) / UNIT, along / UNIT, aside / UNIT]
            known += [tiles(v, DISTANCES, 0.01).reshape(n, -1) for v in (distance, jnp.abs(aside))]
            known += [tiles(along, OFFSETS, 0.02).reshape(n, -1)]
        context = nn.relu(nn.Dense(4 * self.width, name="context0")(jnp.concatenate(known, -1)))
        context = nn.relu(nn.Dense(2 * self.width, name="context1")(context))

        small = nn.initializers.normal(0.02)
        count = ANCHORS * EACH
        raw = nn.Dense((count + 1) * COLUMNS, kernel_init=small, name="component")(context)
        raw = raw.reshape(n, count + 1, COLUMNS)
        columns, stay = Columns.of(raw[:, :count]), Columns.of(raw[:, count:])

        offset = nn.Dense(2 * count, kernel_init=small, name="aim_offset")(aim)
        offset = OFFSET * jnp.tanh(offset.reshape(n, ANCHORS, EACH, 2))
        beside = place - self.tool.beside * way[:, None]
        # Offsets from the places are those of the picture, offsets beside them turn with the way.
        frame = jnp.stack([way, across], 1)
        along = jnp.einsum("npkd,ndc->npkc", offset[:, 2:], frame)
        means = [place[:, :, None] + offset[:, :2], beside[:, :, None] + along]
        xy = jnp.concatenate(means, 1).reshape(n, count, 2)
        # Every other component starts with open fingers, the rest with closed ones: what lies
        # between them holds nothing.
        open_closed = jnp.tile(jnp.array([1.0, -1.0]), count // 2)
        # Half of them start where the tool hovers, half as high as the demonstration shows.
        low = jnp.tile(shown.sizes[:, :2], 2)[..., None, None]
        high = jnp.full_like(low, self._height(self.tool.hover))
        start = jnp.broadcast_to(jnp.concatenate([high, low], 2), (n, ANCHORS, 2, 2))
        # The object's own direction, the present one where any will do, or across the way.
        angles = nn.Dense(4 * count, kernel_init=small, name="aim_yaw")(aim).reshape(n, count, 4)
        natural = angles[..., :2] + angles[..., 2:3] * yaw[:, None]
        natural = natural - angles[..., 3:] * heading[:, None]
        columns = columns.replace(  # type: ignore[attr-defined]
            finger=columns.finger + open_closed,
            z=columns.z + start.reshape(n, count),
            yaw=natural,
        )
        # The way up leads from wherever the gripper is. This component is sharp at the height that
        # labels of going up have, or it would explain the way down as well. Its fingers start as
        # they are when the demonstration ends, or it would leave an object that it has to take.
        sharp = jnp.full_like(stay.z, -20.0)
        stay = stay.replace(  # type: ignore[attr-defined]
            z=jnp.full_like(stay.z, self._height(self.tool.lifted)),
            xy_sigma=sharp,
            z_sigma=sharp,
            finger=stay.finger + shown.sizes[:, 3:],
            yaw=3 * yaw[:, None],
        )
        tilt = nn.Dense(2, kernel_init=nn.initializers.zeros, name="tilt")(context)
        here = pose[:, None, :2]
        return columns.join(stay).mixture(jnp.concatenate([xy, here], 1), tilt)

    @staticmethod
    def _height(z: float) -> float:
        """A height (m) as `Columns.z` has it."""
        return (z - 0.1) / UNIT
