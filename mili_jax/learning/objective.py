"""Eq. 3 on a batch, and what the default policy adds to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from mili_jax.learning import losses
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.losses import Metrics
from mili_jax.learning.mesh import ROWS, WHOLE, Tree
from mili_jax.policy.angles import wrap
from mili_jax.policy.focus import Focus
from mili_jax.policy.policy import Policy, view_with
from mili_jax.policy.protocols import Density, FocusDensity
from mili_jax.policy.ranges import half_ranges, turns
from mili_jax.policy.view import View
from mili_jax.spec import Spec
from mili_jax.types import Batch, ConfigError, Params

Apply = Callable[..., Any]  # of `_by_rows`


def loss_fn(
    policy: Policy,
    hyper: Hyper,
    params: Params,
    batch: Batch,
    key: Array,
    spots: Float[Array, "b 2 2 2"] | None = None,
    mesh: Mesh | None = None,
) -> tuple[Array, Metrics]:
    """Eq. 3 (eq. 1 if not `hyper.condition`) on one batch -> (loss, metrics).

    With `spots` (of `augment`) finding them again is learned as well. With a mesh the rows of the
    batch lie on its devices.
    """
    apply = _by_rows(policy, params, mesh)

    b, p = batch.pose.shape[:2]
    compared = b if hyper.compared is None else hyper.compared
    imitated = None if hyper.imitated is None else hyper.imitated * p
    if mesh is not None and compared % mesh.size:
        raise ConfigError(
            f"{compared} compared rows do not divide by {mesh.size} devices; change "
            "config.train.batch or config.improve.batch"
        )
    image, pose, action, focus, seen = (
        x.reshape(b * p, *x.shape[2:])
        for x in (batch.image, batch.pose, batch.action, batch.focus, batch.focus_seen)
    )
    if not hyper.condition:
        z = jnp.zeros((b * p, policy.embedding_size))
        density = apply("act_maps", apply("encode", image), pose, z, (focus, seen))
        loss, metrics = losses.behaviour_cloning(density.log_prob(action))
    else:
        recalls = policy.recalls and hyper.recall_weight > 0 and spots is not None
        maps = _encoded(apply, batch, compared, recalls)
        embedded, auxiliary = _embedded(apply, batch, maps, compared)
        shown = embedded.shown
        embedding = jnp.stack([embedded.own, shown[:compared]], 1)
        parts = _gathered((embedding, batch.task[:compared], embedded.truncated), mesh)
        contrastive, details = _compare(hyper, *parts)

        scale = hyper.embedding_gradient
        z = scale * shown + (1 - scale) * jax.lax.stop_gradient(shown)
        drop, _ = jax.random.split(key)
        z = z * jax.random.bernoulli(drop, 1 - hyper.demo_dropout, (b, 1))
        z = jnp.repeat(z, p, 0)
        steps = maps.steps.reshape(b * p, *maps.steps.shape[2:])
        density = apply("act_maps", steps, pose, z, (focus, seen))
        loss, metrics = losses.complete(
            density.log_prob(action)[:imitated], contrastive, hyper.contrastive_weight
        )
        auxiliary = auxiliary.mean()
        loss = loss + hyper.auxiliary_weight * auxiliary
        metrics = {**details, **metrics, "auxiliary": auxiliary}
        if recalls and spots is not None:
            first = jnp.concatenate([maps.own[:, 0], *maps.rest])
            found = apply("find", maps.steps[:, 0], apply("portray", first, spots[:, 0]))
            recall, details = _recall(view_with(policy, params), found, spots[:, 1])
            loss = loss + hyper.recall_weight * recall
            metrics |= details
    if policy.acts_on_places:
        found = cast(FocusDensity, density).focus
        pointing = losses.pointing(found.log_prob(focus)[:imitated], seen[:imitated])
        loss = loss + hyper.focus_weight * pointing
        apart = jnp.linalg.norm(found.mode()[:, :, None] - focus, axis=-1).min(-1)
        share = jnp.sum((apart < 0.03) & seen, 0) / jnp.maximum(seen.sum(0), 1)
        metrics |= {"pointing": pointing, "found_first": share[0], "found_second": share[1]}
    # One step of each row: seeking the mode of all would take a tenth of the train step.
    some: Density = jax.tree.map(lambda a: a.reshape(b, p, *a.shape[1:])[:, 0], density)
    metrics |= {"loss": loss, **_errors(policy.spec, some.mode(), batch.action[:, 0])}
    return loss, metrics


def _by_rows(policy: Policy, params: Params, mesh: Mesh | None) -> Apply:
    """(method of the policy, or a function of it, arguments) -> what it gives; every device works
    on its own rows."""

    def apply(method: str | Callable[..., Any], *args: Array | tuple[Array, ...]) -> Any:
        def rowwise(params: Params, *args: Array | tuple[Array, ...]) -> Any:
            return policy.apply({"params": params}, *args, method=method)

        if mesh is not None:
            # Left to the partitioner, a loop over chunks of rows would run on every device for all.
            rowwise = jax.shard_map(
                rowwise,
                mesh=mesh,
                in_specs=(WHOLE, *([ROWS] * len(args))),
                out_specs=ROWS,
                check_vma=False,
            )
        return rowwise(params, *args)

    return apply


def _gathered(rows: Tree, mesh: Mesh | None) -> Tree:
    """The rows of all devices, on each of them."""
    if mesh is None:
        return rows
    return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, WHOLE))


class _Maps(NamedTuple):
    """The feature maps of a batch: of the demonstration that each row is given, of its policy
    steps, of member 0 of each compared row as a demonstration, of what that shows broken off, and
    of the first picture of the rows that are not compared, [n,h,w,C] in a list."""

    shown: Float[Array, "b m h w c"]
    steps: Float[Array, "b p h w c"]
    own: Float[Array, "r m h w c"]
    truncated: Float[Array, "r t h w c"] | None
    rest: list[Float[Array, "n h w c"]]


class _Embedded(NamedTuple):
    """The demonstrations of `_Maps` in the latent space."""

    shown: Float[Array, "b z"]
    own: Float[Array, "r z"]
    truncated: Float[Array, "r z"] | None


def _encoded(apply: Apply, batch: Batch, compared: int, recalls: bool) -> _Maps:
    """Every picture that the losses ask for, through one encoder: a program of several is compiled
    as often."""
    pictures = [batch.demo_image[:, 1], batch.image, batch.demo_image[:compared, 0]]
    if batch.truncated_image is not None:
        pictures.append(batch.truncated_image[:compared])
    if recalls and compared < len(batch.pose):
        pictures.append(batch.demo_image[compared:, 0, :1])

    def encode(policy: Policy, *pictures: Array) -> tuple[Array, ...]:
        flat = jnp.concatenate([x.reshape(-1, *x.shape[2:]) for x in pictures])
        maps, counts = policy.encode(flat), np.cumsum([x.shape[0] * x.shape[1] for x in pictures])
        parts = jnp.split(maps, counts[:-1])
        return tuple(
            m.reshape(*x.shape[:2], *m.shape[1:]) for m, x in zip(parts, pictures, strict=True)
        )

    shown, steps, own, *more = apply(encode, *pictures)
    truncated = more.pop(0) if batch.truncated_image is not None else None
    return _Maps(shown, steps, own, truncated, [x[:, 0] for x in more])


def _embedded(
    apply: Apply, batch: Batch, maps: _Maps, compared: int
) -> tuple[_Embedded, Float[Array, " n"]]:
    """Every demonstration of a batch through one embedding, and its own loss of those that are not
    broken off."""
    m = maps.shown.shape[1]
    shown = [(maps.shown, batch.demo_pose[:, 1]), (maps.own, batch.demo_pose[:compared, 0])]
    if maps.truncated is not None:
        broken = jnp.concatenate([maps.own[:, : min(1, m - 1)], maps.truncated], 1)
        shown.append((broken, batch.truncated_pose[:compared]))

    def embed(policy: Policy, *shown: tuple[Array, Array]) -> tuple[tuple[Array, ...], ...]:
        together = [jnp.concatenate(field) for field in zip(*shown, strict=True)]
        counts = np.cumsum([len(pose) for _, pose in shown])[:-1]
        return tuple(tuple(jnp.split(x, counts)) for x in policy.embed_maps(*together))

    z, auxiliary = apply(embed, *shown)
    truncated = z[2] if maps.truncated is not None else None
    return _Embedded(z[0], z[1], truncated), jnp.concatenate(auxiliary[:2])


def _errors(spec: Spec, mode: Float[Array, "n a"], action: Float[Array, "n a"]) -> Metrics:
    """How far the mode lies from an action: in the plane (cm) of a tool; else over all numbers, as
    a share of their range."""
    if spec.tool is not None:
        return {"xy_error_cm": 100 * jnp.linalg.norm((mode - action)[:, :2], axis=-1).mean()}
    apart = mode - action
    for i, period in turns(spec.action):
        apart = apart.at[:, i].set(wrap(apart[:, i], period))
    return {"action_error": jnp.mean(jnp.abs(apart) / (2 * half_ranges(spec.action)))}


NEAR = 0.012  # m between a spot and others that count as the same


def _recall(
    view: View, found: Focus, spots: Float[Array, "n 2 2"]
) -> tuple[Float[Array, ""], Metrics]:
    """The loss of finding spots (m) again, and the share that was found.

    Every object in every picture takes part, and nobody has to say where any is: that is how the
    policy learns to tell apart objects that no demonstration is about.
    """
    beside = jnp.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) * NEAR
    inside = jnp.all(jnp.abs(view.seen_at(spots)) < 1, -1)
    loss = losses.pointing(found.log_prob(spots[:, :, None] + beside), inside)
    apart = jnp.linalg.norm(found.mode() - spots, axis=-1)
    share = jnp.sum((apart < 0.04) & inside) / jnp.maximum(inside.sum(), 1)
    return loss, {"recall": loss, "recalled": share}


def _compare(
    hyper: Hyper, embedding: Array, task: Array, truncated: Array | None = None
) -> tuple[Array, Metrics]:
    """The contrastive loss of embeddings [B,2,Z], averaged over the colour groups, and metrics.

    A demonstration that was broken off does not show the task: `truncated` [B,Z] count as one more
    task each. Otherwise a trial that only begins like a task would lie as close to it as one that
    does it.
    """
    groups = max(1, hyper.colours)
    task = jnp.repeat(task[:, None], 2, 1)
    if truncated is not None:
        alone = jnp.iinfo(jnp.int32).min + jnp.arange(len(task), dtype=jnp.int32)
        embedding = jnp.concatenate([embedding, truncated[:, None]], 1)
        task = jnp.concatenate([task, alone[:, None]], 1)

    def grouped(x: Array) -> Array:
        """[B,n,...] -> [groups,nB/groups,...]."""
        x = x.reshape(len(x) // groups, groups, *x.shape[1:]).swapaxes(0, 1)
        return x.reshape(groups, -1, *x.shape[3:])

    def compare(z: Array, task: Array) -> tuple[Array, Metrics]:
        mask = jnp.ones(len(task), bool)
        if hyper.contrastive == "hinge":
            loss, metrics = losses.contrastive(z, task, mask, hyper.beta)
        else:
            loss, metrics = losses.supervised_contrastive(z, task, mask, hyper.temperature)
        return loss, metrics | losses.neighbours(jax.lax.stop_gradient(z), task, mask)

    per_group = jax.vmap(compare)(grouped(embedding), grouped(task))
    loss, metrics = jax.tree.map(jnp.mean, per_group)
    return loss, metrics
