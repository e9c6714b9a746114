"""Training: state, augmentation, one jitted step for demonstrations and pairs, embed and act.

A batch is a NamedTuple of arrays with these fields (`mili_jax.data.Batch`):
  demo_image uint8 [B,2,M,H,W,3], demo_pose float32 [B,2,K,7]: two episodes of one task per row
  image uint8 [B,P,H,W,3], pose float32 [B,P,7], action float32 [B,P,7]: steps of member 0
  focus float32 [B,P,2,K,2], focus_seen bool [B,P,2]: what member 0 is about, in hindsight
  task int32 [B]: equal for rows of one task
  truncated_image uint8 [B,max(1,M-1),H,W,3], truncated_pose float32 [B,K,7], or None: member 0
    broken off before its task was done; its first frame is that of the whole
The policy acts on member 0's steps given the embedding of member 1 (eq. 2).

Several devices, of one host or of many, share the rows of a batch (`make_mesh`, `place`) and have
the state each in full. Networks see the rows of their device, losses those of all: a batch has the
same loss whatever the number of devices.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mili_jax import losses, nets
from mili_jax.types import ConfigError

Array = jax.Array
Params = Any

ROWS, WHOLE = P("rows"), P()  # how a batch and a state lie on a mesh of devices

# Share of earlier pictures in where the two places are believed to lie when acting: the tool hides
# what it is above. What is acted on moves once the tool has been down, and from then on it is
# looked for anew. Where it is brought to stays.
MEMORY = (0.8, 0.95)
DOWN_Z = 0.09  # m
GROUP = 12  # rows of demonstrations in a colour group, at least

CONTRASTIVE = ("hinge", "supervised")


@dataclasses.dataclass(frozen=True)
class Hyper:
    """Hyper-parameters of training. Raises ConfigError on a value out of range.

    condition: False trains behaviour cloning (eq. 1: every embedding is zero, no contrastive loss).
    compared: how many rows of a batch the contrastive loss compares, from the first on; the others
      are pairs of trials, whose tasks nobody knows. None: all.
    """

    steps: int = 3000
    learning_rate: float = 3e-3
    warmup: int = 100  # steps of linear warm-up, before a cosine decay to a hundredth
    weight_decay: float = 1e-4
    clip: float = 5.0  # global gradient norm
    ema: float = 0.99  # decay of the averaged parameters that act and embed; 0: no averaging
    condition: bool = True
    contrastive: str = "supervised"  # one of CONTRASTIVE; "hinge" is the paper's
    contrastive_weight: float = 1.0  # 1 in eq. 3
    compared: int | None = None
    beta: float = 1.0  # margin of the hinge, squared distance
    temperature: float = 0.1  # of the supervised loss
    focus_weight: float = 1.0  # of the likelihood of the places known in hindsight
    recall_weight: float = 1.0  # of finding again whatever lies in the demonstration's picture
    auxiliary_weight: float = 1.0  # of the embedding's own loss (reading the gripper's pose)
    demo_dropout: float = 0.05  # share of rows whose policy gets no demonstration
    policy_to_embedding_scale: float = 1.0  # of the policy's gradient through z; 0 stops it
    dihedral: bool = True  # random flips and quarter turns
    shift: int = 2  # pixels, at most, to each side
    colours: int = 4  # groups of rows, each with its own turn of the colour circle; 0: no turns
    brightness: float = 0.1  # largest change, as a share of the range
    contrast: float = 0.1  # largest relative change

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, wanted: str) -> None:
            if not ok:
                raise ConfigError(f"Hyper.{field}: {getattr(self, field)!r} is not {wanted}")

        need(self.contrastive in CONTRASTIVE, "contrastive", f"one of {CONTRASTIVE}")
        for field in ("steps", "learning_rate", "clip", "temperature"):
            need(getattr(self, field) > 0, field, "positive")
        for field in ("warmup", "weight_decay", "contrastive_weight", "beta"):
            need(getattr(self, field) >= 0, field, "at least 0")
        for field in ("focus_weight", "recall_weight", "auxiliary_weight"):
            need(getattr(self, field) >= 0, field, "at least 0")
        for field in ("shift", "colours", "brightness", "contrast"):
            need(getattr(self, field) >= 0, field, "at least 0")
        for field in ("demo_dropout", "policy_to_embedding_scale"):
            need(0 <= getattr(self, field) <= 1, field, "between 0 and 1")
        need(0 <= self.ema < 1, "ema", "at least 0 and below 1")
        need(self.compared is None or self.compared > 0, "compared", "positive, or None")


@flax.struct.dataclass
class TrainState:
    """Data only: what a checkpoint holds. `average` is what acts, embeds and is evaluated."""

    step: Array
    params: Params
    average: Params
    opt_state: optax.OptState


def _optimizer(hyper: Hyper) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if hyper.warmup else hyper.learning_rate,
        peak_value=hyper.learning_rate,
        warmup_steps=hyper.warmup,
        decay_steps=max(hyper.steps, hyper.warmup + 1),
        end_value=hyper.learning_rate / 100,
    )
    return optax.chain(
        optax.clip_by_global_norm(hyper.clip), optax.adamw(rate, weight_decay=hyper.weight_decay)
    )


def init_state(
    policy: nets.Policy, hyper: Hyper, seed: int, frames: int = 2, params: Params | None = None
) -> TrainState:
    """A fresh state for demonstrations of M = `frames` frames.

    `params` starts from given parameters (warm start) instead of random ones.
    """
    if params is None:
        params = nets.init(policy, jax.random.key(seed), frames=frames)
    return new_state(params, hyper)


def new_state(params: Params, hyper: Hyper) -> TrainState:
    """A state at step 0 of whatever parameters."""
    # Copies: the train step donates its state, and two leaves must not share a buffer.
    params, average = jax.tree.map(jnp.array, (params, params))
    return TrainState(jnp.zeros((), jnp.int32), params, average, _optimizer(hyper).init(params))


# Mirror y, then k quarter turns to the left: the eight symmetries of the square.
_TURN = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])
_MIRROR = np.array([[1, 0], [0, -1]])
DIHEDRAL = np.concatenate([_TURN, _TURN @ _MIRROR])  # [8,2,2]


def transform_pose(pose: Array, element: Array, shift: Array) -> Array:
    """Applies DIHEDRAL[element] about the table's centre, then a shift in metres.

    pose (or action) [...,7], element int [...], shift [...,2] m; leading axes broadcast. Yaw is not
    wrapped. A mirror turns roll round and leaves pitch, whatever the quarter turn after it.
    """
    mirrored = element >= 4
    sign = jnp.where(mirrored, -1, 1)
    xy = jnp.einsum("...ij,...j->...i", jnp.asarray(DIHEDRAL)[element], pose[..., :2]) + shift
    yaw = sign * pose[..., 5] + (element % 4) * (jnp.pi / 2)
    roll = sign * pose[..., 3]
    return jnp.concatenate(
        [xy, pose[..., 2:3], roll[..., None], pose[..., 4:5], yaw[..., None], pose[..., 6:]], -1
    )


def transform_image(image: Array, element: Array, shift: Array) -> Array:
    """The same for pictures: uint8 [E,F,S,S,3], element int [E], shift int [E,2] pixels (x, y).

    The picture is moved over its own repeated border. Raises ConfigError unless it is square.
    """
    e, f, size = image.shape[:3]
    if image.shape[3] != size:
        raise ConfigError(f"augmentation needs square pictures, got {size}x{image.shape[3]}")
    # Twice the distance from the centre, so that all is integer: right and up are positive.
    axis = 2 * jnp.arange(size) - (size - 1)
    place = jnp.stack(jnp.meshgrid(axis, -axis), -1).reshape(-1, 2)
    moved = place - 2 * shift[:, None]
    source = jnp.einsum("eji,epj->epi", jnp.asarray(DIHEDRAL)[element], moved)
    source = jnp.clip(source, 1 - size, size - 1)
    column = (source[..., 0] + size - 1) // 2
    row = (size - 1 - source[..., 1]) // 2
    pixels = image.reshape(e, f, size * size, 3)
    take = jax.vmap(lambda a, i: jnp.take(a, i, axis=1, mode="clip"))
    return take(pixels, row * size + column).reshape(image.shape)


def augment(batch: Any, key: Array, view: float, hyper: Hyper) -> tuple[Any, Array]:
    """A batch as another arrangement of the same tasks, seen in another light -> (batch, spots).

    Every demonstration and every row of policy steps gets its own symmetry of the square and its
    own shift; pictures, poses and actions move together (a shift in pixels by its length at table
    height). So member 0 as a demonstration and its policy steps show one scene in two ways; spots
    [B,2,2,2] m are two places that stand out in its first frame as a demonstration, and the same
    two in its first policy step. The colour circle is turned by one angle per group of rows
    (`colour_groups`), brightness and contrast change for the whole batch: changed per row, they
    would tell the contrastive loss which two episodes belong together.
    """
    b, size = len(batch.pose), batch.image.shape[2]
    turn, move, swap, light, seek = jax.random.split(key, 5)
    # Of the two demonstrations, and of the policy steps.
    elements = jax.random.randint(turn, (b, 3), 0, 8 if hyper.dihedral else 1)
    pixels = jax.random.randint(move, (b, 3, 2), -hyper.shift, hyper.shift + 1)
    metres = pixels * (2 * view / size)
    pictures = batch.demo_image[:, 0], batch.demo_image[:, 1], batch.image
    moved = [transform_image(x, elements[:, k], pixels[:, k]) for k, x in enumerate(pictures)]
    if batch.truncated_image is not None:
        moved.append(transform_image(batch.truncated_image, elements[:, 0], pixels[:, 0]))
    spots = salient(moved[0][:, 0], seek, view)
    way = jnp.asarray(DIHEDRAL, jnp.float32)[elements]
    found = jnp.einsum("bji,bkj->bki", way[:, 0], spots - metres[:, None, 0])
    found = jnp.einsum("bij,bkj->bki", way[:, 2], found) + metres[:, None, 2]

    gain, offset = jax.random.uniform(light, (2,), minval=-1.0)
    gain, offset = 1 + hyper.contrast * gain, 255 * hyper.brightness * offset
    turns = jnp.eye(3)[None]
    if hyper.colours:
        turns = turn_colours(swap, hyper.colours)
    turns = turns[colour_groups(b, hyper)]

    def relight(image: Array) -> Array:
        x = image.astype(jnp.float32) - 127.5
        # Written out: the compiler is slow at products of 3 x 3 matrices with many pixels.
        rows = [
            sum(turns[:, None, None, None, i, j] * x[..., j] for j in range(3)) for i in range(3)
        ]
        x = jnp.stack(rows, -1) * gain + 127.5 + offset
        return jnp.clip(jnp.round(x), 0, 255).astype(jnp.uint8)

    if hyper.colours or hyper.brightness or hyper.contrast:
        moved = [relight(x) for x in moved]
    shown, mine = (elements[:, :2, None], metres[:, :2, None]), (elements[:, 2:], metres[:, 2:])
    if batch.truncated_image is not None:
        poses = transform_pose(batch.truncated_pose, elements[:, :1], metres[:, :1])
        batch = batch._replace(truncated_image=moved[3], truncated_pose=poses)
    batch = batch._replace(
        demo_image=jnp.stack(moved[:2], 1),
        demo_pose=transform_pose(batch.demo_pose, *shown),
        image=moved[2],
        pose=transform_pose(batch.pose, *mine),
        action=transform_pose(batch.action, *mine),
        focus=jnp.einsum("bij,bpakj->bpaki", way[:, 2], batch.focus) + metres[:, None, None, 2:],
    )
    return batch, jnp.stack([spots, found], 1)


def salient(image: Array, key: Array, view: float) -> Array:
    """Two random spots of every picture, uint8 [n,S,S,3] -> [n,2,2] m on the table: centres of
    different cells, each the likelier the more its surroundings vary."""
    n, size = image.shape[:2]
    h, cell = size // nets.STRIDE, nets.STRIDE
    varies = image.astype(jnp.float32).reshape(n, h, cell, h, cell, 3).std((2, 4)).mean(-1)
    around = jax.lax.reduce_window(varies, 0.0, jax.lax.add, (1, 3, 3), (1, 1, 1), "SAME") / 9
    logits = 3 * jnp.log(around + 2).reshape(n, h * h)
    _, chosen = jax.lax.top_k(logits + jax.random.gumbel(key, logits.shape), 2)
    return jnp.asarray(nets.Camera(view).cells(h, h))[chosen]


def most_colours(rows: int, most: int = Hyper.colours) -> int:
    """How many colour groups, at most `most`, a batch with so many rows of demonstrations has room
    for. Only rows of one group are compared, and a group of fewer than `GROUP` holds hardly two
    tasks of a family: its contrastive loss would tell families apart and nothing else."""
    return max(n for n in range(1, max(1, min(most, rows // GROUP)) + 1) if rows % n == 0)


def colour_groups(rows: int, hyper: Hyper) -> np.ndarray:
    """The colour group of every row of a batch, int [rows]: dealt out in turn, so that families,
    which come one after another, spread over all groups. Tasks of different groups are not compared
    (`loss_fn`)."""
    if rows % max(1, hyper.colours):
        raise ConfigError(f"{rows} rows do not make {hyper.colours} equal colour groups")
    return np.arange(rows) % max(1, hyper.colours)


def turn_colours(key: Array, count: int) -> Array:
    """`count` random rotations about the grey axis of the colour cube, half of them with two
    channels swapped: [count,3,3]. Greys stay; permutations of the channels are among them."""
    turn, swap = jax.random.split(key)
    angle = jax.random.uniform(turn, (count, 1, 1), maxval=2 * jnp.pi)
    grey = jnp.full((3, 3), 1 / 3)
    cross = jnp.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation = jnp.cos(angle) * (jnp.eye(3) - grey) + jnp.sin(angle) * cross + grey
    swapped = jax.random.bernoulli(swap, 0.5, (count, 1, 1))
    return jnp.where(swapped, rotation[:, jnp.array([1, 0, 2])], rotation)


def make_mesh() -> Mesh:
    """All devices of all hosts, in one axis over the rows of a batch."""
    return jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(AxisType.Auto,))


def place(batch: Any, mesh: Mesh) -> Any:
    """A batch on the mesh: each host gives its part of the rows, in the order of the hosts.

    Raises ConfigError if the rows do not divide by the devices.
    """
    rows = len(batch.task) * jax.process_count()
    if rows % mesh.size:
        raise ConfigError(
            f"a batch of {rows} rows does not divide by {mesh.size} devices; change "
            "config.train.batch, config.improve.batch or config.baselines.mil_tasks"
        )
    sharding = NamedSharding(mesh, ROWS)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A state that every host has, on every device of the mesh, as the train step leaves it."""
    sharding = NamedSharding(mesh, WHOLE)

    def put(x: Any) -> Array:
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def loss_fn(
    policy: nets.Policy,
    hyper: Hyper,
    params: Params,
    batch: Any,
    key: Array,
    spots: Array | None = None,
    mesh: Mesh | None = None,
) -> tuple[Array, losses.Metrics]:
    """Eq. 3 (eq. 1 if not `hyper.condition`) on one batch -> (loss, metrics).

    With `spots` (of `augment`) finding them again is learned as well. With a mesh the rows of the
    batch lie on its devices.
    """

    def apply(method: str, *args: Any) -> Any:
        def rowwise(params: Params, *args: Any) -> Any:
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

    def gather(x: Array) -> Array:
        return (
            x if mesh is None else jax.lax.with_sharding_constraint(x, NamedSharding(mesh, WHOLE))
        )

    b, p = batch.pose.shape[:2]
    m = batch.demo_image.shape[2]
    compared = b if hyper.compared is None else hyper.compared
    if mesh is not None and compared % mesh.size:
        raise ConfigError(
            f"{compared} compared rows do not divide by {mesh.size} devices; change "
            "config.train.batch or config.improve.batch"
        )
    drop, _ = jax.random.split(key)
    image, pose, action, focus, seen = (
        x.reshape(b * p, *x.shape[2:])
        for x in (batch.image, batch.pose, batch.action, batch.focus, batch.focus_seen)
    )
    if not hyper.condition:
        z = jnp.zeros((b * p, policy.embedding_size))
        density = apply("act_maps", apply("encode", image), pose, z, (focus, seen))
        loss, metrics = losses.behaviour_cloning(density.log_prob(action))
    else:
        maps = apply("encode", jnp.concatenate([batch.demo_image[:, 1], batch.image], 1))
        shown, auxiliary = apply("embed_maps", maps[:, :m], batch.demo_pose[:, 1])
        # Member 0 as a demonstration: only the contrastive loss asks for it.
        pictures, truncated = batch.demo_image[:compared, 0], None
        if batch.truncated_image is not None:
            pictures = jnp.concatenate([pictures, batch.truncated_image[:compared]], 1)
        own = apply("encode", pictures)
        first = own[:, 0]
        if batch.truncated_image is not None:
            truncated = jnp.concatenate([own[:, : min(1, m - 1)], own[:, m:]], 1)
            truncated, _ = apply("embed_maps", truncated, batch.truncated_pose[:compared])
            truncated = gather(truncated)
        own, more = apply("embed_maps", own[:, :m], batch.demo_pose[:compared, 0])
        embedding = jnp.stack([own, shown[:compared]], 1)
        contrastive, details = _compare(
            hyper, gather(embedding), gather(batch.task[:compared]), truncated
        )
        auxiliary = jnp.concatenate([auxiliary, more])

        scale = hyper.policy_to_embedding_scale
        z = scale * shown + (1 - scale) * jax.lax.stop_gradient(shown)
        z = z * jax.random.bernoulli(drop, 1 - hyper.demo_dropout, (b, 1))
        z = jnp.repeat(z, p, 0)
        steps = maps[:, m:].reshape(b * p, *maps.shape[2:])
        density = apply("act_maps", steps, pose, z, (focus, seen))
        loss, metrics = losses.complete(
            density.log_prob(action), contrastive, hyper.contrastive_weight
        )
        loss = loss + hyper.auxiliary_weight * auxiliary.mean()
        metrics = {**details, **metrics, "auxiliary": auxiliary.mean()}
        if policy.recalls and hyper.recall_weight and spots is not None:
            if compared < b:
                rest = apply("encode", batch.demo_image[compared:, 0, 0])
                first = jnp.concatenate([first, rest])
            asked = apply("portray", first, spots[:, 0])
            recall, details = _recall(policy, apply("find", maps[:, m], asked), spots[:, 1])
            loss = loss + hyper.recall_weight * recall
            metrics |= details
    if isinstance(density, nets.Mixture) and density.focus is not None:
        pointing = losses.pointing(density.focus.log_prob(focus), seen)
        loss = loss + hyper.focus_weight * pointing
        apart = jnp.linalg.norm(density.focus.mode()[:, :, None] - focus, axis=-1).min(-1)
        found = jnp.sum((apart < 0.03) & seen, 0) / jnp.maximum(seen.sum(0), 1)
        metrics |= {"pointing": pointing, "found_first": found[0], "found_second": found[1]}
    # One step of each row: seeking the mode of all would take a tenth of the train step.
    some: nets.Density = jax.tree.map(lambda a: a.reshape(b, p, *a.shape[1:])[:, 0], density)
    distance = jnp.linalg.norm((some.mode() - batch.action[:, 0])[:, :2], axis=-1)
    metrics |= {"loss": loss, "xy_error_cm": 100 * distance.mean()}
    return loss, metrics


NEAR = 0.012  # m between a spot and others that count as the same


def _recall(policy: nets.Policy, found: Any, spots: Array) -> tuple[Array, losses.Metrics]:
    """The loss of finding spots [n,2,2] m again, and the share that was found.

    Every object in every picture takes part, and nobody has to say where any is: that is how the
    policy learns to tell apart objects that no demonstration is about.
    """
    beside = jnp.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) * NEAR
    inside = jnp.all(jnp.abs(spots) < policy.camera.view, -1)
    loss = losses.pointing(found.log_prob(spots[:, :, None] + beside), inside)
    apart = jnp.linalg.norm(found.mode() - spots, axis=-1)
    share = jnp.sum((apart < 0.04) & inside) / jnp.maximum(inside.sum(), 1)
    return loss, {"recall": loss, "recalled": share}


def _compare(
    hyper: Hyper, embedding: Array, task: Array, truncated: Array | None = None
) -> tuple[Array, losses.Metrics]:
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

    def compare(z: Array, task: Array) -> tuple[Array, losses.Metrics]:
        mask = jnp.ones(len(task), bool)
        if hyper.contrastive == "hinge":
            loss, metrics = losses.contrastive(z, task, mask, hyper.beta)
        else:
            loss, metrics = losses.supervised_contrastive(z, task, mask, hyper.temperature)
        return loss, metrics | losses.neighbours(jax.lax.stop_gradient(z), task, mask)

    per_group = jax.vmap(compare)(grouped(embedding), grouped(task))
    loss, metrics = jax.tree.map(jnp.mean, per_group)
    return loss, metrics


def make_train_step(
    policy: nets.Policy, hyper: Hyper, mesh: Mesh | None = None
) -> Callable[[TrainState, Any, int], tuple[TrainState, losses.Metrics]]:
    """The train step: (state, batch, seed) -> (state, metrics), jitted; the old state is consumed.

    Its randomness is fold_in(key(seed), state.step), so a resumed run repeats an unbroken one. With
    a mesh state and batch come from `replicate` and `place`; state and metrics are whole on every
    device, and the same but for the order of sums as without.
    """
    several = mesh if mesh is not None and mesh.size > 1 else None

    def loss(params: Params, batch: Any, spots: Array, key: Array) -> tuple[Array, losses.Metrics]:
        return loss_fn(policy, hyper, params, batch, key, spots, several)

    return make_step(loss, policy, hyper, mesh)


def make_step(
    loss: Callable[[Params, Any, Array, Array], tuple[Array, losses.Metrics]],
    policy: nets.Policy,
    hyper: Hyper,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Any, int], tuple[TrainState, losses.Metrics]]:
    """`make_train_step` for any loss: (params, what `augment` gives, key) -> (loss, metrics)."""
    optimizer = _optimizer(hyper)

    def train_step(state: TrainState, batch: Any, seed: int) -> tuple[TrainState, losses.Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        move, inside = jax.random.split(key)
        batch, spots = augment(batch, move, policy.camera.view, hyper)
        gradient = jax.grad(lambda params: loss(params, batch, spots, inside), has_aux=True)
        grads, metrics = gradient(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # A young average follows closely; otherwise it would remember the random start.
        decay = jnp.minimum(hyper.ema, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, state.average, 1 - decay)
        metrics = {**metrics, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, average, opt_state), metrics

    if mesh is None:
        return jax.jit(train_step, donate_argnums=0)
    rows, whole = NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(whole, rows, None),
        out_shardings=(whole, whole),
    )


def make_embed(policy: nets.Policy) -> Callable[[Params, Any, Any], Array]:
    """f: (params, demo_image uint8 [N,M,H,W,3], demo_pose [N,K,7]) -> unit z [N,Z], jitted."""
    return jax.jit(lambda params, *demo: policy.apply({"params": params}, *demo, method="embed"))


def make_act(
    policy: nets.Policy, temperature: float = 0.0, memory: tuple[float, float] = MEMORY
) -> Callable[..., Callable[[Any, Any], Array]]:
    """Acting: (params, z [n,Z], seed) -> a function of one trial each of n robots.

    That function takes their next observations, image uint8 [n,H,W,3] and pose [n,7], and returns
    the mode of g, or a sample of it at `temperature`: actions [n,7]. It remembers: `memory` is the
    share of earlier pictures in where it believes each of the two places to lie that the trial is
    about; of the first, which is moved then, only until the tool has been below DOWN_Z. Its
    randomness is fold_in(key(seed), number of the call).
    """

    def respond(context: Any, image: Array, pose: Array, memory: Any) -> nets.Density:
        params, z = context
        density: Any = policy.apply({"params": params}, image, pose, z, memory, method="act")
        return density

    play = make_player(respond, temperature, memory)
    return lambda params, z, seed=0: play((params, z), seed)


def make_player(
    respond: Callable[[Any, Array, Array, Any], nets.Density],
    temperature: float,
    memory: tuple[float, float],
) -> Callable[[Any, int], Callable[[Any, Any], Array]]:
    """`make_act` for any policy: (context, seed) -> a function of one trial each of n robots.

    respond: (context, image, pose, what is remembered or None) -> density over actions.
    """

    @jax.jit
    def step(
        context: Any, image: Array, pose: Array, past: Any, seed: int, t: int
    ) -> tuple[Array, Any]:
        focus, lowest = past
        lowest = jnp.where(t > 0, jnp.minimum(lowest, pose[:, 2]), pose[:, 2])
        share = jnp.stack(
            [jnp.where(lowest > DOWN_Z, memory[0], 0.0), jnp.full_like(lowest, memory[1])], 1
        )
        weight = jnp.where(t > 0, share, 0.0)[:, :, None]
        kept = None if focus is None else (focus, weight)
        density: Any = respond(context, image, pose, kept)
        past = getattr(density, "focus", None), lowest
        if temperature:
            key = jax.random.fold_in(jax.random.key(seed), t)
            return density.sample(key, temperature), past
        return density.mode(), past

    def start(context: Any, seed: int) -> Callable[[Any, Any], Array]:
        past, t = None, 0

        def act(image: Array, pose: Array) -> Array:
            nonlocal past, t
            if t == 0:
                nothing = None, pose[:, 2]
                shapes = jax.eval_shape(step, context, image, pose, nothing, seed, t)[1]
                past = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
            action, past = step(context, image, pose, past, seed, t)
            t += 1
            return action

        return act

    return start


def embed_all(
    embed: Callable[[Params, Any, Any], Array],
    params: Params,
    demo_image: np.ndarray,
    demo_pose: np.ndarray,
    chunk: int = 64,
) -> np.ndarray:
    """Embeds any number of episodes in calls of one fixed shape: [N,M,H,W,3], [N,K,7] -> [N,Z].

    The inputs may be memory-mapped or lazy: only `chunk` episodes are read at a time.
    """
    parts = []
    for start in range(0, len(demo_pose), chunk):
        image, pose = demo_image[start : start + chunk], demo_pose[start : start + chunk]
        missing = chunk - len(pose)
        if missing:
            image = np.concatenate([image, np.repeat(image[-1:], missing, 0)])
            pose = np.concatenate([pose, np.repeat(pose[-1:], missing, 0)])
        parts.append(np.asarray(embed(params, image, pose))[: chunk - missing])
    if not parts:
        raise ConfigError("embed_all: there is no episode to embed")
    return np.concatenate(parts)
