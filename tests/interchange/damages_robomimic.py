# ruff: noqa: E501 - tables, a case a line
"""Damaged and wild robomimic files."""

from __future__ import annotations

import random

import h5py
import numpy as np
from damage_tools import (
    STEPS,
    content,
    cut,
    emptied,
    named,
)


def hdf5(change, *said):
    def damage(folder):
        with h5py.File(folder / "d.hdf5", "a") as file:
            change(file)
        return named("d.hdf5", *said)

    return damage


def replaced(name, make_new):
    def change(file):
        old = file[name][()]
        del file[name]
        new = make_new(old)
        if new is not None:
            file[name] = new

    return change


def valued(name, place, value):
    return lambda file: file[name].__setitem__(place, value)


def attribute(name, key, value):
    def change(file):
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return change


DEMO = "data/demo_1"
VIEW = "obs/agentview_image"

ROBOMIMIC = {
    **{
        f"file cut to {k}%": ("robomimic", lambda f, k=k: cut(f / "d.hdf5", k / 100) or named("d.hdf5"))
        for k in (0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
    },
    "noise": ("robomimic", content("d.hdf5", random.Random(4).randbytes(20000))),
    "text": ("robomimic", content("d.hdf5", b"data/demo_0")),
    "a damaged head": ("robomimic", lambda f: content(
        "d.hdf5", bytes(8) + (f / "d.hdf5").read_bytes()[8:])(f)),
    "two files": ("robomimic", lambda f: content("e.hdf5", b"")(f)),
    "an empty folder": ("robomimic", emptied),
    "no data": ("robomimic", hdf5(lambda f: f.move("data", "episodes"), "data")),
    "data is numbers": ("robomimic", hdf5(lambda f: f.move("data", "x") or f.create_dataset("data", data=[1]), "data")),
    "no demonstrations": ("robomimic", hdf5(lambda f: [f["data"].move(f"demo_{k}", f"d{k}") for k in range(3)], "demo_0")),
    "a demonstration that is numbers": ("robomimic", hdf5(
        lambda f: f.move(DEMO, "x") or f.create_dataset(DEMO, data=[1.0]), DEMO)),
    "no actions": ("robomimic", hdf5(lambda f: f[DEMO].move("actions", "action"), DEMO, "actions")),
    "no actions in the first": ("robomimic", hdf5(lambda f: f["data/demo_0"].move("actions", "a"), "data/demo_0", "actions")),
    "actions are a group": ("robomimic", hdf5(
        lambda f: f[DEMO].move("actions", "a") or f.create_group(f"{DEMO}/actions"), DEMO, "actions")),
    "actions are one number": ("robomimic", hdf5(replaced(f"{DEMO}/actions", lambda old: 3.0), DEMO, "actions")),
    **{
        f"num_samples {k}": ("robomimic", hdf5(attribute(DEMO, "num_samples", k), DEMO, "num_samples"))
        for k in (0, 5, 7, 600)
    },
    "total lies": ("robomimic", hdf5(attribute("data", "total", 19), "total")),
    **{
        f"{name} without its last step": ("robomimic", hdf5(replaced(f"{DEMO}/{name}", lambda old: old[:-1]), DEMO, name))
        for name in ("obs/state", VIEW, "obs/robot0_eye_in_hand_image", "rewards")
    },
    **{
        f"{name} missing": ("robomimic", hdf5(replaced(f"{DEMO}/{name}", lambda old: None), DEMO, name))
        for name in ("obs/state", VIEW, "rewards")
    },
    **{
        f"{name} renamed everywhere": ("robomimic", hdf5(
            lambda f, n=name: [g.move(n, f"{n}_new") for g in f["data"].values()], name))
        for name in ("obs/state", VIEW, "rewards", "actions")
    },
    "fewer numbers": ("robomimic", hdf5(replaced(f"{DEMO}/obs/state", lambda old: old[:, :6]), DEMO, "obs/state")),
    "fewer actions": ("robomimic", hdf5(replaced(f"{DEMO}/actions", lambda old: old[:, :6]), DEMO, "actions")),
    "a larger picture": ("robomimic", hdf5(
        replaced(f"{DEMO}/{VIEW}", lambda old: np.zeros((STEPS, 48, 64, 3), np.uint8)), DEMO, VIEW)),
    "a grey picture": ("robomimic", hdf5(replaced(f"{DEMO}/{VIEW}", lambda old: old[..., :1]), DEMO, VIEW)),
    "pictures of fractions": ("robomimic", hdf5(replaced(f"{DEMO}/{VIEW}", lambda old: old / 255), DEMO, VIEW)),
    "pictures with colours first": ("robomimic", hdf5(
        lambda f: [replaced(f"{n}/{VIEW}", lambda old: old.transpose(0, 3, 1, 2))(f)
                   for n in ("data/demo_0", "data/demo_1", "data/demo_2")], VIEW)),
    "text as state": ("robomimic", hdf5(
        replaced(f"{DEMO}/obs/state", lambda old: np.full(old.shape, b"x")), DEMO, "obs/state")),
    **{
        f"{value} in {name}": ("robomimic", hdf5(
            valued(f"{DEMO}/{name}", (2, 1), value), DEMO, f"{name}[1]", "step 2"))
        for name in ("actions", "obs/state")
        for value in (np.nan, np.inf, -np.inf, 1e20)
    },
    "no number as reward": ("robomimic", hdf5(valued(f"{DEMO}/rewards", 3, np.nan), DEMO, "rewards")),
    "one step": ("robomimic", hdf5(
        lambda f: [replaced(f"{DEMO}/{n}", lambda old: old[:1])(f) for n in (
            "actions", "rewards", "dones", "states", "obs/state", VIEW, "obs/robot0_eye_in_hand_image",
            "next_obs/state")]
        + [attribute(DEMO, "num_samples", 1)(f), attribute("data", "total", 13)(f)], DEMO, "1 step")),
    "no steps": ("robomimic", hdf5(
        lambda f: [replaced(f"{DEMO}/actions", lambda old: old[:0])(f), attribute(DEMO, "num_samples", 0)(f)],
        DEMO, "no steps")),
    "a mask of a demonstration that is not there": ("robomimic", hdf5(
        replaced("mask/train", lambda old: np.array([b"demo_0", b"demo_9"])), "mask/train", "demo_9")),
    "a mask of numbers": ("robomimic", hdf5(replaced("mask/train", lambda old: np.arange(2)), "mask/train")),
    "a mask of one name": ("robomimic", hdf5(replaced("mask/valid", lambda old: np.bytes_(b"demo_1")), "mask/valid")),
    "masks are numbers": ("robomimic", hdf5(lambda f: f.move("mask", "m") or f.create_dataset("mask", data=[1]), "mask")),
    "an environment that is no JSON": ("robomimic", hdf5(attribute("data", "env_args", "Lift"), "env_args")),
    "an environment without name": ("robomimic", hdf5(attribute("data", "env_args", "{}"), "env_args")),
    "words that are no JSON": ("robomimic", hdf5(attribute(DEMO, "ep_meta", "{lang"), DEMO, "attributes")),
    "a mapping that is none": ("robomimic", hdf5(
        lambda f: f.create_dataset("mili_mapping.yaml", data="format: nothing"), "mapping that came with")),
    "a link to nowhere": ("robomimic", hdf5(
        lambda f: f.move(DEMO, "x") or f.__setitem__(DEMO, h5py.SoftLink("/nowhere")), DEMO)),
    "a link to another file": ("robomimic", hdf5(
        lambda f: f.move(DEMO, "x") or f.__setitem__(DEMO, h5py.ExternalLink("other.hdf5", "/d")), DEMO)),
}  # fmt: skip
