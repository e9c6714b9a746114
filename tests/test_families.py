"""Families of the kitchen from outside: what they bring, and that the others stay as they are."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest

from mili_jax.domains import rollout
from mili_jax.domains.kitchen import motions, objects, tasks
from mili_jax.domains.kitchen.domain import KITCHEN, Kitchen
from mili_jax.domains.kitchen.families import FAMILIES, OWN
from mili_jax.domains.kitchen.family import Family, by_name, container, graspable, movable
from mili_jax.domains.rollout import Trial
from mili_jax.types import ConfigError, SimulationError

CATALOGUE = objects.load_catalogue()


def nudged(world, history, name):
    return history.moved(name) > 0.03


def nudge(world, name):
    """Comes down on the object's edge and goes on through it."""

    def motion(pose):
        at = world.position(name)[:2]
        return motions.descend(pose, at, 0.02, pose[5], 0.0)

    return motion


NUDGE = Family("nudge", (movable,), nudged, nudge)
NEAR = Family("near", (graspable, container), nudged, nudge, room=lambda *a: False)
LARGER = Kitchen("larger", families=by_name(*OWN.values(), NUDGE))


@pytest.mark.parametrize("split", tasks.SPLITS)
def test_the_kitchens_own_tasks_are_those_of_the_file(split):
    assert tasks.listed(split) == tasks.load_tasks()[split]
    assert [task.name for task in KITCHEN.simulator.tasks(split)] == [
        task.id for task in tasks.load_tasks()[split]
    ]


@pytest.mark.parametrize("split", tasks.SPLITS)
def test_a_further_family_is_mixed_in_with_the_objects_of_the_split(split):
    listed = LARGER.simulator.tasks(split)
    own = [task for task in listed if task.group in FAMILIES]
    assert own == list(KITCHEN.simulator.tasks(split)), "in their order"
    added = [task.name.split(":") for task in listed if task.group == "nudge"]
    fitting = {s.id for s in CATALOGUE.values() if s.split == split and not s.button}
    assert {name for _, name in added} == fitting and len(added) == len(fitting)
    for length in (5, 20, 25):
        counts = collections.Counter(task.group for task in listed[:length])
        assert set(counts.values()) == {length // 5}


def test_a_kitchen_may_have_other_families_alone():
    alone = Kitchen("alone", families=by_name(NUDGE))
    assert alone.groups == ("nudge",)
    assert {task.group for task in alone.simulator.tasks("test")} == {"nudge"}
    with pytest.raises(ConfigError, match="no family 'grasp'"):
        alone.group("grasp:can_04")


def test_pairs_of_objects_are_never_one_object():
    found = NEAR.tasks(list(CATALOGUE.values())[:60])
    specs = list(CATALOGUE.values())[:60]
    wanted = {
        (a.id, b.id) for a, b in itertools.permutations(specs, 2) if a.graspable and b.container
    }
    assert {task.objects for task in found} == wanted and len(found) == len(wanted)


@pytest.mark.parametrize("name", ["", "Nudge", "nu:dge", "9nudge", "n" * 41, "nu dge"])
def test_names_of_families_that_cannot_be(name):
    with pytest.raises(ConfigError, match="family '"):
        Family(name, (movable,), nudged, nudge)


def test_families_need_roles_and_names_of_their_own():
    with pytest.raises(ConfigError, match="family 'nudge' needs a role"):
        Family("nudge", (), nudged, nudge)
    with pytest.raises(ConfigError, match="each needs a name of its own"):
        by_name(NUDGE, *OWN.values(), NUDGE)
    with pytest.raises(ConfigError, match="each needs a name of its own"):
        by_name()


@pytest.mark.parametrize("name", ["nudge:can_04", "nudge", "grasp", "grasp:can_04:mug_01", "", ":"])
def test_what_is_no_task_of_the_kitchen(name):
    with pytest.raises(ConfigError, match="is no task of the kitchen"):
        KITCHEN.group(name)


def test_a_scene_without_room_for_the_task_is_not_made():
    crowded = Kitchen("crowded", families=by_name(*OWN.values(), NEAR))
    task = next(t for t in crowded.simulator.tasks("train") if t.group == "near")
    rng = np.random.default_rng(0)
    with pytest.raises(SimulationError, match="no room on the table"):
        crowded.simulator.sample_scene("train", rng, [task])
    assert crowded.simulator.sample_scene("train", rng, foil=task)


def test_an_episode_is_the_same_in_a_larger_kitchen_but_for_what_is_said_of_it():
    spec = KITCHEN.spec(32, ())
    task = next(t for t in KITCHEN.simulator.tasks("train") if t.group == "place")
    scene = KITCHEN.simulator.sample_scene("train", np.random.default_rng(3), [task])
    assert scene == LARGER.simulator.sample_scene("train", np.random.default_rng(3), [task])
    found = []
    for kitchen in (KITCHEN, LARGER):
        env = kitchen.simulator.make_env(spec)
        trial = Trial("a", task.name, scene, 3)
        found.append(rollout.demonstrate(kitchen.simulator, env, trial, spec=spec))
        env.close()
    small, large = found
    for field in ("image", "pose", "action"):
        np.testing.assert_array_equal(getattr(small, field), getattr(large, field))
    assert small.meta.success and large.meta.success
    more = set(large.meta.achieved_tasks) - set(small.meta.achieved_tasks)
    assert set(small.meta.achieved_tasks) < set(large.meta.achieved_tasks)
    assert f"nudge:{task.name.split(':')[1]}" in more
    assert all(name.startswith("nudge:") for name in more)
