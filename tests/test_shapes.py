"""The shapes that annotations of networks and losses promise, checked in training and acting.

In processes of their own: what is imported there is checked at every call. Checked is what is
traced, so a train step is traced and no more.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

CHECKED = """
import sys
from jaxtyping import install_import_hook
sys.path.insert(0, sys.argv[1])
with install_import_hook(["mili_jax.policy", "mili_jax.learning"], "checked.functions"):
    import mili_jax.learning.actors
    import mili_jax.learning.calibration
import dataclasses, jax, jax.numpy as jnp, numpy as np
from specs import ABOVE, NOWHERE, arm, poses, table
from test_policy import SIDE, SMALL, batch_of
from mili_jax.learning import acting, adapting, mil
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.step import init_state, make_train_step
from mili_jax.policy.policy import Policy
HYPER = Hyper(steps=9, colours=1, warmup=1)


def same(one, other):
    sizes = [jax.tree.map(lambda a: (a.shape, str(a.dtype)), tree) for tree in (one, other)]
    return sizes[0] == sizes[1]


def train(policy, hyper=HYPER, frames=2, **options):
    batch = batch_of(policy.spec, **options)
    state = init_state(policy, hyper, 0, frames)
    shapes = jax.eval_shape(make_train_step(policy, hyper), state, batch, 0)
    assert same(shapes[0], state) and shapes[1]["loss"].shape == ()
    z = acting.embed_all(acting.make_embed(policy), state.average, batch.demo_image[:, 0],
                         batch.demo_pose[:, 0], 3)
    for temperature in (0.0, 0.5):
        act = acting.make_act(policy, temperature)(state.average, z)
        for _ in range(2):
            act(batch.image[:, 0], batch.pose[:, 0])


def learn_to_learn(policy, **options):
    options = mil.MilHyper(**options)
    hyper = dataclasses.replace(HYPER, colours=0)
    first = batch_of(policy.spec)
    batch = jax.tree.map(lambda a: np.concatenate([a, a]), first)
    state = mil.init_state(policy, hyper, options, 0)
    shapes = jax.eval_shape(mil.make_train_step(policy, hyper, options), state, batch, 0)
    assert same(shapes[0], state) and shapes[1]["loss"].shape == ()
    shown = mil.Shown(first.image, first.pose, first.action, first.focus, first.focus_seen)
    act = adapting.make_act(policy, hyper, options)(state.average, shown, np.ones(4, bool))
    for _ in range(2):
        act(first.image[:, 0], first.pose[:, 0])
    rows = np.arange(2)
    mil.improvement(policy, hyper, options, state.average, shown, rows, rows + 2)
"""

RUNS = {
    "default": "train(Policy(table(), **SMALL), truncated=True)",
    "read": 'train(Policy(table(), "images_only_predicted", **SMALL))',
    "hinge": 'train(Policy(table(), "images_only", **SMALL),'
    ' dataclasses.replace(HYPER, contrastive="hinge"))',
    "cloning": 'train(Policy(table(), "images_only", "mse", **SMALL),'
    " dataclasses.replace(HYPER, condition=False))",
    "cameras": "train(Policy(table(32, (NOWHERE, SIDE)), **SMALL))",
    "arm": 'train(Policy(arm(), "images_only", "spatial_softmax_mdn", **SMALL), truncated=True)',
    "bins": 'train(Policy(arm(), "images_only", "discretised", **SMALL))',
    "mil": "learn_to_learn(Policy(table(), **SMALL))",
    "video": 'learn_to_learn(Policy(table(32, (ABOVE, SIDE)), **SMALL), support="video_pose",'
    ' adapted="all")',
}


def run(code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", CHECKED + code, str(TESTS)]
    return subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [pytest.param(k, marks=pytest.mark.long) if k == "video" else k for k in RUNS]
)
def test_shapes_are_as_annotated(what: str) -> None:
    done = run(RUNS[what])
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_wrong_shape_would_be_noticed() -> None:
    """Of what is imported so every kind: a function, a method, a flax module."""
    done = run(
        """
from mili_jax.learning import losses
from mili_jax.policy.encoder import Encoder
from mili_jax.policy.view import views_of
flat = jnp.zeros(3)
wrong = {
    "losses": lambda: losses.contrastive(flat, flat, flat),
    "view": lambda: views_of(table())[0].project(jnp.zeros((4, 2))),
    "module": lambda: Encoder().init(jax.random.key(0), jnp.zeros((2, 16, 16, 3))),
}
for name, call in wrong.items():
    try:
        call()
    except Exception as error:
        print(name, "Error" in type(error).__name__ or "Violation" in type(error).__name__)
    else:
        print(name, "went unnoticed")
"""
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["losses", "True", "view", "True", "module", "True"]
