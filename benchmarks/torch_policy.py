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
from mili_jax.policy.camera import Camera
from torch import Tensor
from torch.nn import functional

from mili_jax.policy.encoder import STRIDE
from mili_jax.policy.features import FINGERS, HEIGHTS, UNIT
from mili_jax.policy.heads.spatial_softmax import MSEHead
from mili_jax.policy.policy import Policy

Weights = Mapping[str, Any]


def weights_of(params: Any) -> dict[str, Tensor]:
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
    """What `policy` (embedding images_only, head mse) does with pictures of side x side pixels.

    Weights are those of `weights_of`, or the part that a function needs.
    """

    policy: Policy
    side: int
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
            x = functional.relu(_dense(weights, f"embedder/_Temporal_0/Dense_{k}", window))
        pooled = torch.cat([x.mean(1), x.amax(1), x[:, 0], x[:, -1]], -1)
        x = functional.relu(_dense(weights, "embedder/_Temporal_0/Dense_3", rms_norm(pooled)))
        z = _dense(weights, "embedder/_Temporal_0/Dense_2", x)
        return z * torch.rsqrt(z.square().sum(-1, keepdim=True) + 1e-6)

    def loss(
        self, weights: Weights, maps: Tensor, pose: Tensor, z: Tensor, action: Tensor
    ) -> Tensor:
        """-log pi(action | maps [n,h,w,C], pose [n,7], z [n,Z]), averaged."""
        where = self._places(weights, "actor/_Summary_0/Dense_0", rms_norm(maps)).flatten(1) * 2
        x = torch.cat(
            [where, _pose_features(self.policy.camera, pose), z * math.sqrt(z.shape[-1])], -1
        )
        for k in (1, 2):
            x = functional.relu(_dense(weights, f"actor/_Summary_0/Dense_{k}", x))
        raw = _dense(weights, "actor/Dense_0", x)
        yaw = 0.5 * torch.atan2(raw[:, 5], raw[:, 6] + 1.0)
        view, sigmas = self.policy.camera.view, MSEHead(self.policy.camera).sigma
        mean = [raw[:, :2] * view, 0.1 + UNIT * raw[:, 2:3], 0.05 * raw[:, 3:5]]
        apart = action - torch.cat([*mean, yaw[:, None], 0.5 + 0.5 * raw[:, 7:]], -1)
        turn = torch.remainder(apart[:, 5:6] + math.pi / 2, math.pi) - math.pi / 2
        apart = torch.cat([apart[:, :5], turn, apart[:, 6:]], -1)
        sigma = torch.tensor(sigmas)
        normal = -0.5 * (apart / sigma).square() - torch.log(sigma) - 0.5 * math.log(2 * math.pi)
        inside = math.log(math.erf(math.pi / 2 / (sigmas[5] * math.sqrt(2))))
        return inside - normal.sum(-1).mean()

    def _places(self, weights: Weights, name: str, maps: Tensor) -> Tensor:
        return self._attention(weights, name, maps).mT @ self._cells()

    def _attention(self, weights: Weights, name: str, maps: Tensor) -> Tensor:
        """[n,h,w,c] -> [n,g,attentions], of the cells g of a picture."""
        return torch.softmax((_dense(weights, name, maps) * 4).flatten(1, 2), 1)

    def _cells(self) -> Tensor:
        """[g,2]"""
        h = self.side // STRIDE
        return torch.tensor(Camera(view=1.0).cells(h, h))


def _dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def _pose_features(camera: Camera, pose: Tensor) -> Tensor:
    view, height = camera.view, camera.height
    on_table = pose[:, :2] * (height / (height - pose[:, 2:3]))
    yaw = torch.stack([torch.sin(2 * pose[:, 5]), torch.cos(2 * pose[:, 5])], -1)
    rest = [(pose[:, 2:3] - 0.1) / UNIT, pose[:, 3:5], pose[:, 6:7] * 2 - 1, yaw]
    tiles = [
        torch.exp(-0.5 * ((value[:, None] - torch.tensor(centres).float()) / width).square())
        for value, centres, width in (
            (pose[:, 2], HEIGHTS, 0.01),
            (pose[:, 6], FINGERS, 0.07),
        )
    ]
    return torch.cat([torch.cat([pose[:, :2], on_table], -1) / view, *rest, *tiles], -1)
