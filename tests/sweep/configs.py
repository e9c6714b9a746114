"""Fields of configurations, alone and together, from Python and as text."""

from __future__ import annotations

import math

import numpy as np
from ml_collections import ConfigDict

from mili_jax.configs import get_config
from mili_jax.improve import arms
from mili_jax.learning.hyper import Hyper
from mili_jax.pipeline import schema
from mili_jax.pipeline.overrides import override
from mili_jax.pipeline.run import open_run
from sweep.row import Row

AREA = "Configurations: fields from Python and as text, and fields together"


def whole(**changes):
    """A configuration with other values, as a file of somebody's own may make it."""
    made = ConfigDict(get_config("test").to_dict(), type_safe=False)
    for name, value in changes.items():
        section, _, field = name.partition("__")
        if field:
            made[section][field] = value
        else:
            made[section] = value
    return made


def checked(**changes):
    return schema.check(whole(**changes))


def texts(*changes):
    """Fields as on a command line, then all of them together."""
    made = get_config("test")
    override(made, [tuple(change.split("=", 1)) for change in changes])
    schema.check(made)
    return made


def without(section, field=None):
    made = whole()
    if field is None:
        del made[section]
    else:
        del made[section][field]
    return schema.check(made)


ROWS = [
    Row("no configuration", lambda here: open_run(None, here / "run"), "NoneType.*ConfigDict"),
    Row("its name instead", lambda here: open_run("test", here / "run"), "str.*ConfigDict"),
    Row(
        "a dictionary instead",
        lambda here: open_run(get_config("test").to_dict(), here / "run"),
        "dict.*ConfigDict",
    ),
    Row("no section `train`", lambda _: without("train"), r"missing \['train'\]"),
    Row("no field `steps`", lambda _: without("train", "steps"), "config.train.steps is missing"),
    Row("a number for a section", lambda _: checked(train=5), "config.train"),
    Row("a section too many", lambda _: checked(extra={}), r"unknown \['extra'\]"),
    Row("an empty name", lambda _: checked(name=""), "config.name = ''"),
    Row("a number for the name", lambda _: checked(name=5), "config.name = 5"),
    Row("a name of two lines", lambda _: checked(name="a\nb"), r"config.name = 'a\\nb'"),
    Row("no name", lambda _: checked(name=None), "config.name = None"),
    Row("a seed of numpy's", lambda _: checked(seed=np.int64(3)), "config.seed = .*3"),
    Row("a seed of 2 ** 31", lambda _: checked(seed=2**31), "config.seed = 2147483648"),
    Row("a seed of True", lambda _: checked(seed=True), "config.seed = True"),
    Row("steps as text", lambda _: checked(train__steps="60"), "train.steps = '60'"),
    Row("steps of 60.0", lambda _: checked(train__steps=60.0), "train.steps = 60.0"),
    Row("steps of None", lambda _: checked(train__steps=None), "train.steps = None"),
    Row("steps of True", lambda _: checked(train__steps=True), "train.steps = True"),
    Row("a rate of NaN", lambda _: checked(train__learning_rate=math.nan), "learning_rate = nan"),
    Row("an endless rate", lambda _: checked(train__learning_rate=math.inf), "learning_rate = inf"),
    Row("an endless noise", lambda _: checked(data__noise=math.inf), "data.noise = inf"),
    Row("endless memory", lambda _: checked(machine__pool_gb=math.inf), "pool_gb = inf"),
    Row(
        "a rate of numpy's", lambda _: checked(train__learning_rate=np.float32(1)), "learning_rate"
    ),
    Row("an alpha of -inf", lambda _: checked(improve__alpha=-math.inf), "alpha = -inf"),
    Row("an alpha in per cent", lambda _: checked(improve__alpha=95), "improve.alpha = 95"),
    Row("a share in per cent", lambda _: checked(improve__self_share=50), "self_share = 50"),
    Row("1 for a switch", lambda _: checked(improve__mutual=1), "improve.mutual = 1"),
    Row("a word for a switch", lambda _: checked(train__truncated="no"), "truncated = 'no'"),
    Row(
        "cameras in a list", lambda _: checked(data__cameras=["top"]), lambda result: result is None
    ),
    Row("cameras as text", lambda _: checked(data__cameras="top"), "data.cameras = 'top'"),
    Row("a camera of None", lambda _: checked(data__cameras=(None,)), "data.cameras = "),
    Row("a camera in Chinese", lambda _: texts("data.cameras=上"), "no camera '上'"),
    Row("a picture of 33 pixels", lambda _: texts("data.image_size=33"), "image_size = 33"),
    Row("a picture of 1e2 pixels", lambda _: texts("data.image_size=1e2"), "image_size = '1e2'"),
    Row("a picture with its unit", lambda _: texts("data.image_size=64px"), "image_size = '64px'"),
    Row("a decimal comma", lambda _: texts("improve.alpha=0,95"), "alpha = '0,95'"),
    Row("a fraction", lambda _: texts("improve.alpha=9/10"), "alpha = '9/10'"),
    Row(
        "full-width digits",
        lambda _: texts("train.steps=\uff16\uff10"),
        lambda c: c.train.steps == 60,
    ),
    Row("a number of 5,000 digits", lambda _: texts("train.steps=" + "9" * 5000), "train.steps = "),
    Row(
        "a rate that underflows", lambda _: texts("train.learning_rate=1e-999"), "learning_rate = 0"
    ),
    Row("a domain of two lines", lambda _: texts("domain.name=a\nb"), r"domain.name = 'a\\nb'"),
    Row("a head of a colon", lambda _: texts("policy.head=:"), "head.*':'"),
    Row("a head that is a function", lambda _: texts("policy.head=math:sin"), "no class of flax"),
    Row(
        "a head that is no module", lambda _: texts("policy.head=builtins:int"), "no class of flax"
    ),
    Row("a filter that is a module", lambda _: texts("improve.filter=os:path"), "filter"),
    Row(
        "a filter of a package that is not there",
        lambda _: texts("improve.filter=not_there:x"),
        "filter",
    ),
    Row("a batch below the colours", lambda _: texts("train.batch=2"), "batch = 2"),
    Row("a batch between colours", lambda _: texts("improve.batch=6"), "batch = 6"),
    Row("a batch of 0", lambda _: texts("train.batch=0"), "batch = 0"),
    Row("one demonstration of a task", lambda _: texts("data.demonstrations=1"), "= 1"),
    Row("41 tasks of 40", lambda _: texts("evaluate.tasks=41"), "evaluate.tasks = 41.*40 tasks"),
    Row(
        "41 tasks of validation",
        lambda _: texts("evaluate.split=validation", "evaluate.tasks=41"),
        "evaluate.tasks = 41.*40 tasks.*'validation'",
    ),
    Row(
        "the training split, evaluated", lambda _: texts("evaluate.split=train"), "split = 'train'"
    ),
    Row(
        "a wrist alone for places of a table",
        lambda _: texts("data.cameras=wrist"),
        "'wrist' moves with the tool",
    ),
    Row("conditions in another order", lambda _: texts("evaluate.conditions=none,right"), "right"),
    Row("arms of nothing", lambda _: texts("improve.arms="), "improve.arms"),
    Row("an arm of no trials", lambda _: texts("improve.arms=mili,trials_0"), "trials_0"),
    Row("an arm of more than 100%", lambda _: texts("improve.arms=mili,noise_101"), "noise_101"),
    Row("an arm of alpha 9.5", lambda _: texts("improve.arms=mili,alpha_9500"), "alpha_9500"),
    Row("an arm of more trials", lambda _: texts("improve.arms=mili,trials_9000"), "trials_9000"),
    Row(
        "one arm in two spellings",
        lambda _: texts("improve.arms=mili,alpha_900,alpha_0900"),
        "alpha_0900",
    ),
    Row("an arm that is a function", lambda _: texts("improve.arms=mili,math:sin"), "math:sin"),
    Row("an arm that goes on from no MIL", lambda _: texts("improve.arms=mili,mil_more"), "'mil'"),
    Row("a share of pairs of all", lambda _: texts("improve.pair_fraction=1"), "pair_fraction = 1"),
    Row(
        "a share of pairs too small for one row",
        lambda _: texts("improve.batch=4", "improve.pair_fraction=0.05"),
        "pair_fraction = 0.05 with config.improve.batch = 4 gives 0 rows",
    ),
    Row(
        "a share of pairs of millions of rows",
        lambda _: texts("improve.pair_fraction=0.999999"),
        "pair_fraction = 0.999999 with config.improve.batch",
    ),
    Row("80 rounds", lambda _: texts("improve.rounds=80"), "rounds = 80"),
    Row("more processes than none", lambda _: texts("machine.processes=-1"), "processes = -1"),
    Row("a backend in capitals", lambda _: texts("machine.backend=Ray"), "backend = 'Ray'"),
    Row("files of no episodes", lambda _: texts("machine.shard=0"), "shard = 0"),
    Row("a z of 4 numbers", lambda _: texts("policy.embedding_size=4"), "embedding_size = 4"),
    Row("one frame of a demonstration", lambda _: texts("policy.frames=1"), "frames = 1"),
    Row("no configuration's name", lambda _: get_config(None), "no configuration None"),
    Row("a configuration in a list", lambda _: get_config(["test"]), "no configuration"),
    Row("a section as a field", lambda _: texts("train=5"), "no field 'train'"),
    Row("a field of a field", lambda _: texts("train.steps.more=5"), "no field"),
    Row("an arm's name of None", lambda _: arms.parse(None), "arm None"),
    Row("an arm of Indian digits", lambda _: arms.parse("trials_७"), "arm 'trials_७'"),
    Row("a training of text steps", lambda _: Hyper(steps="3000"), "Hyper.steps"),
    Row("a training at a rate of NaN", lambda _: Hyper(learning_rate=math.nan), "learning_rate"),
    Row("a training at an endless rate", lambda _: Hyper(learning_rate=math.inf), "learning_rate"),
    Row("a training with no dropout", lambda _: Hyper(demo_dropout=None), "demo_dropout"),
    Row("a training of half steps", lambda _: Hyper(steps=0.5), "Hyper.steps"),
    Row("a training that compares half a row", lambda _: Hyper(compared=0.5), "Hyper.compared"),
    Row("a training with a switch of text", lambda _: Hyper(dihedral="no"), "Hyper.dihedral"),
]
