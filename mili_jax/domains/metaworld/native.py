"""What is used of Meta-World and MuJoCo themselves: environments by name, and fast pictures."""

from __future__ import annotations

import collections
import ctypes.util
import dataclasses
import importlib
import os
import warnings
from typing import Any

import numpy as np

from mili_jax.domains.metaworld.spec import VIEWPOINTS, Viewpoint
from mili_jax.types import ConfigError

# MuJoCo looks at it when it is imported. Without it pictures want a screen.
os.environ.setdefault("MUJOCO_GL", "egl" if ctypes.util.find_library("EGL") else "osmesa")
HELP = "pip install 'mili-jax[metaworld]'"
KEPT = 20  # names of which a process keeps what is drawn; more than environments in lockstep
STEPS = 500  # of an environment's own, after which it refuses more


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"the domain 'metaworld' needs Meta-World ({error}); {HELP}") from error


def make(name: str) -> Any:
    """An environment of Meta-World, whose observation has the goal, and whose arrangements are
    drawn by its own seed. Raises ConfigError where Meta-World is not installed."""
    known = _load("metaworld.env_dict").ALL_V3_ENVIRONMENTS
    made = known[name]()
    made._partially_observable = False
    del made.sawyer_observation_space  # it is computed again, with the goal
    made._freeze_rand_vec, made.seeded_rand_vec, made._set_task_called = False, True, True
    quality = made.model.vis.quality
    # Multisampling and the shadow map are most of what a picture takes without a GPU.
    quality.offsamples, quality.shadowsize = 0, 0
    return made


def policy(name: str) -> Any:
    """Meta-World's scripted policy of an environment."""
    return _load("metaworld.policies").ENV_POLICY_MAP[name]()


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """MuJoCo's objects that draw the environments of one name."""

    model: Any
    scene: Any
    context: Any
    options: Any


class Pictures:
    """Pictures of environments. What is drawn of one name (meshes and textures on the renderer's
    side) serves all environments of that name in a process, for these are the same: it takes 0.3 s
    and 50 MB to make. All share one OpenGL context."""

    def __init__(self) -> None:
        self._context: Any = None
        self._made: collections.OrderedDict[str, _Drawn] = collections.OrderedDict()

    def take(self, name: str, env: Any, camera: str, height: int, width: int = 0) -> np.ndarray:
        """What one of `VIEWPOINTS` sees of an environment now, uint8 [height,width,3]; square
        without a width."""
        mujoco, drawn = _load("mujoco"), self._drawn(name, env)
        viewpoint, width = VIEWPOINTS[camera], width or height
        # A camera that is none of the model's takes the model's own angle.
        drawn.model.vis.global_.fovy = viewpoint.fovy
        mujoco.mjv_updateScene(
            drawn.model,
            env.data,
            drawn.options,
            None,
            _aimed(viewpoint),
            mujoco.mjtCatBit.mjCAT_ALL,
            drawn.scene,
        )
        here = drawn.context
        # A larger one takes several times as long: all of it is cleared and copied.
        if (here.offHeight, here.offWidth) != (height, width):
            mujoco.mjr_resizeOffscreen(width, height, here)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, here)
        frame, picture = mujoco.MjrRect(0, 0, width, height), np.empty((height, width, 3), np.uint8)
        mujoco.mjr_render(frame, drawn.scene, here)
        mujoco.mjr_readPixels(picture, None, frame, here)
        return picture[::-1].copy()

    def _drawn(self, name: str, env: Any) -> _Drawn:
        mujoco = _load("mujoco")
        if self._context is None:
            self._context = mujoco.GLContext(16, 16)
        self._context.make_current()
        if name not in self._made:
            while len(self._made) >= KEPT:
                self._made.popitem(last=False)[1].context.free()
            scene = mujoco.MjvScene(env.model, maxgeom=2000)
            for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE"):
                scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
            context = mujoco.MjrContext(env.model, mujoco.mjtFontScale.mjFONTSCALE_100)
            self._made[name] = _Drawn(env.model, scene, context, mujoco.MjvOption())
        self._made.move_to_end(name)
        return self._made[name]


def _aimed(viewpoint: Viewpoint) -> Any:
    mujoco = _load("mujoco")
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = viewpoint.looks_at
    camera.distance, camera.azimuth = viewpoint.distance, viewpoint.azimuth
    camera.elevation = viewpoint.elevation
    return camera


def quiet() -> warnings.catch_warnings[Any]:
    """Experts warn of commands that Meta-World clips, at every step."""
    return warnings.catch_warnings(action="ignore")


PICTURES = Pictures()
