"""The configuration of the paper's parts (shared encoder, images-only embedding, squared-error
head) once more in PyTorch, as functions of its weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mili_jax.policy.encoder import STRIDE
from mili_jax.policy.features import SHARES
from mili_jax.policy.heads.spatial_softmax import MSEHead
from mili_jax.policy.policy import Policy
from mili_jax.policy.ranges import goes_round, half_ranges, middles, turns
from mili_jax.policy.view import grid
from mili_jax.spec import Layout
from mili_jax.types import Params

Weights = Mapping[str, Any]


def weights_of(params: Params) -> dict[str, Tensor]:
    """The leaves of our parameters by their path, kernels in PyTorch's order, so that they need
    not be turned in every step."""
    weights = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        value = torch.tensor(np.asarray(leaf))
        if name.startswith("encoder/conv") and value.ndim == 4:
            value = value.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        if name == "encoder/stem":
            # Ours takes quarters of the 8x8 pixels one after another.
            value = value.reshape(2, 2, 4, 4, 3, -1).permute(5, 4, 0, 2, 1, 3).reshape(-1, 3, 8, 8)
            value = value.contiguous(memory_format=torch.channels_last)
        if name.startswith("encoder/mix") and value.ndim == 2:
            value = value.T[:, :, None, None].contiguous()
        weights[name] = value
    return weights


def rms_norm(x: Tensor, axis: int = -1) -> Tensor:
    return x * torch.rsqrt(x.square().mean(axis, keepdim=True) + 1e-4)


@dataclasses.dataclass(frozen=True)
class TorchPolicy:
    """What `policy` (embedding images_only, head mse) does.

    Weights are those of `weights_of`, or the part that a function needs.
    """

    policy: Policy
    channels_last: bool = True  # which vmap does not know

    def encode(self, weights: Weights, image: Tensor) -> Tensor:
        """uint8 [n,H,W,3] -> feature maps [n,h,w,C]."""
        x = image.permute(0, 3, 1, 2).float() * (4 / 255) - 2
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = functional.pad(x, (2, 2, 2, 2), mode="replicate")
        x = functional.conv2d(x, weights["encoder/stem"], weights["encoder/stem_bias"], stride=4)
        for k in range(self.policy.blocks):
            hidden = functional.conv2d(
                rms_norm(x, 1),
                weights[f"encoder/conv{k}"],
                weights[f"encoder/conv{k}_bias"],
                padding=1,
            )
            x = x + functional.conv2d(
                functional.relu(hidden), weights[f"encoder/mix{k}"], weights[f"encoder/mix{k}_bias"]
            )
        return x.permute(0, 2, 3, 1)

    def embed(self, weights: Weights, maps: Tensor) -> Tensor:
        """[N,M,h,w,C] -> unit vectors [N,Z]."""
        n, m, _, _, c = maps.shape
        now = rms_norm(maps)
        first = now[:, :1].expand_as(now)
        hidden = functional.relu(
            _dense(weights, "embedder/look", torch.cat([now, now - first], -1))
        )
        attention = self._attention(weights, "embedder/where", hidden.flatten(0, 1))
        places = (attention.mT @ self._cells()).reshape(n, m, -1)
        seen = [
            (attention.mT @ frames.reshape(n * m, -1, c)).reshape(n, m, -1)
            for frames in (now, first)
        ]
        x = torch.cat([2 * (places - places[:, -1:]), *seen], -1)
        x = functional.relu(_dense(weights, "embedder/Dense_0", x))
        for k in range(2):
            padded = torch.cat([x[:, :1], x, x[:, -1:]], 1)
            window = torch.cat([padded[:, :-2], x, padded[:, 2:]], -1)
            x = functional.relu(_dense(weights, f"embedder/Temporal_0/Dense_{k}", window))
        pooled = torch.cat([x.mean(1), x.amax(1), x[:, 0], x[:, -1]], -1)
        x = functional.relu(_dense(weights, "embedder/Temporal_0/Dense_3", rms_norm(pooled)))
        z = _dense(weights, "embedder/Temporal_0/Dense_2", x)
        return z * torch.rsqrt(z.square().sum(-1, keepdim=True) + 1e-6)

    def loss(
        self, weights: Weights, maps: Tensor, pose: Tensor, z: Tensor, action: Tensor
    ) -> Tensor:
        """-log pi(action | maps [n,h,w,C], pose [n,7], z [n,Z]), averaged."""
        layout = self.policy.spec.action
        where = self._places(weights, "actor/_Trunk_0/Dense_0", rms_norm(maps)).flatten(1) * 2
        features = _layout_features(self.policy.spec.pose, pose)
        x = torch.cat([where, features, z * math.sqrt(z.shape[-1])], -1)
        for k in (1, 2):
            x = functional.relu(_dense(weights, f"actor/_Trunk_0/Dense_{k}", x))
        raw = _dense(weights, "actor/Dense_0", x)
        half, middle = torch.tensor(half_ranges(layout)), torch.tensor(middles(layout))
        columns = list((middle + half * raw[:, : len(layout)]).unbind(-1))
        sigma, inside = MSEHead(self.policy.spec).sigma * half, 0.0
        for r, (i, period) in enumerate(turns(layout)):
            turn = torch.atan2(raw[:, i], raw[:, len(layout) + r] + 1.0)
            columns[i] = turn * (period / (2 * math.pi))
            inside += math.log(math.erf(period / 2 / (float(sigma[i]) * math.sqrt(2))))
        apart = list((action - torch.stack(columns, -1)).unbind(-1))
        for i, period in turns(layout):
            apart[i] = torch.remainder(apart[i] + period / 2, period) - period / 2
        away = torch.stack(apart, -1) / sigma
        normal = -0.5 * away.square() - torch.log(sigma) - 0.5 * math.log(2 * math.pi)
        return inside - normal.sum(-1).mean()

    def _places(self, weights: Weights, name: str, maps: Tensor) -> Tensor:
        return self._attention(weights, name, maps).mT @ self._cells()

    def _attention(self, weights: Weights, name: str, maps: Tensor) -> Tensor:
        """[n,h,w,c] -> [n,g,attentions], of the cells g of a picture."""
        return torch.softmax((_dense(weights, name, maps) * 4).flatten(1, 2), 1)

    def _cells(self) -> Tensor:
        """[g,2]"""
        spec = self.policy.spec
        return torch.tensor(grid(spec.height // STRIDE, spec.width // STRIDE))


def _dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def _layout_features(layout: Layout, x: Tensor) -> Tensor:
    """[n,D] -> [n,k]"""
    parts = []
    for i, field in enumerate(layout.fields):
        if field.period is not None and goes_round(field):
            turn = x[:, i] * (2 * math.pi / field.period)
            parts += [torch.sin(turn)[:, None], torch.cos(turn)[:, None]]
            continue
        share = (2 * (x[:, i] - field.low) / (field.high - field.low) - 1).clamp(-2, 2)[:, None]
        parts += [share, torch.exp(-0.5 * ((share - torch.tensor(SHARES).float()) / 0.15).square())]
    return torch.cat(parts, -1)
