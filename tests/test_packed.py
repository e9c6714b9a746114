"""Policies as folders: what comes back acts as the run's own did; what is damaged is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from specs import arm

from mili_jax.domains import rollout
from mili_jax.domains.kitchen.domain import KITCHEN
from mili_jax.domains.kitchen.world import Scene
from mili_jax.improve import arms
from mili_jax.learning import actors, mil
from mili_jax.learning.hyper import Hyper
from mili_jax.learning.mil import MilHyper
from mili_jax.pipeline import demo, oneshot, pack, train
from mili_jax.pipeline.oneshot import OneShotPolicy, load_policy
from mili_jax.pipeline.run import open_stored
from mili_jax.policy.policy import Policy, init_params
from mili_jax.report import card
from mili_jax.storage import packed
from mili_jax.storage.packed import Packed
from mili_jax.types import ConfigError, DataError, Episode, Params

SMALL = {"embedding_size": 12, "channels": 8, "blocks": 1}


def kitchen_policy(mil_options: MilHyper | None = None) -> Packed:
    """A small policy of the kitchen that has learned nothing."""
    spec = KITCHEN.spec(32, ())
    policy = Policy(spec, **SMALL)
    key, adapts = jax.random.key(3), None
    params: Params = init_params(policy, key)
    if mil_options is not None:
        params = mil.init(policy, mil_options, key)
        adapts = {
            "hyper": dataclasses.asdict(Hyper()),
            "options": dataclasses.asdict(mil_options),
        }
    facts = {
        "name": "small",
        "domain": "kitchen",
        "spec": json.loads(spec.to_json()),
        "networks": {"embedding": "pose_anchored", "head": "anchored_mixture", **SMALL},
        "shown": {"frames": 2, "places": 6, "steps": 4},
        "mil": adapts,
        "made": {
            "policy": "pretrain",
            "method": "meta_imitation",
            "round": 0,
            "seed": 0,
            "steps": 0,
            "trials": 0,
            "commit": None,
            "versions": {"jax": jax.__version__},
            "simulator": True,
            "config": {"name": "none", "data": {"tasks": 1, "demonstrations": 2, "noise": 0.0}},
        },
        "parameters": {"count": 1, "sha256": "0" * 64},
    }
    return Packed(facts, jax.tree.map(np.asarray, params), [], "# small\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "small"
    packed.write(out, kitchen_policy())
    return out


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def sum_up(folder):
    """Lists what the folder holds now, as somebody would who changed it on purpose."""
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in packed.FILES
    ]
    (folder / packed.SUMS).write_text("".join(lines))


def change(folder, **facts):
    """Other facts, listed properly."""
    file = folder / packed.FACTS
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))
    sum_up(folder)


def repack(folder, params):
    arrays = {path: np.asarray(leaf) for path, leaf in packed.flat(params).items()}
    np.savez(folder / packed.PARAMETERS, **arrays)
    sum_up(folder)


def recording(seed=0, steps=7, spec=None):
    """A demonstration of noise."""
    spec = spec or KITCHEN.spec(32, ())
    rng = np.random.default_rng(seed)
    pose = rng.uniform(0.05, 0.2, (steps, len(spec.pose))).astype(np.float32)
    image = rng.integers(0, 256, (steps, *spec.picture), np.uint8)
    action = rng.uniform(0.05, 0.2, (steps, len(spec.action))).astype(np.float32)
    return Episode(image, pose, action, oneshot._NOBODY)


def observation(seed=0):
    episode = recording(seed)
    return {"image": episode.image[0], "pose": episode.pose[0]}


# What comes back


def test_what_is_written_comes_back_and_other_programs_can_verify_it(folder):
    made, found = kitchen_policy(), packed.read(folder)
    jax.tree.map(np.testing.assert_array_equal, made.params, found.params)
    assert found.facts == {"format": packed.FORMAT, **made.facts} and found.card == made.card
    assert sorted(file.name for file in folder.iterdir()) == sorted([*packed.FILES, packed.SUMS])
    done = subprocess.run(["sha256sum", "-c", packed.SUMS], cwd=folder, capture_output=True)
    assert done.returncode == 0 and done.stdout.count(b": OK\n") == len(packed.FILES)
    again = folder.parent / "again"
    packed.write(again, made)
    for name in (*packed.FILES, packed.SUMS):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.slow
def test_a_packed_policy_repeats_the_trials_of_the_run_that_trained_it(finished, tmp_path):
    out = tmp_path / "mine"
    made = pack.pack(finished, out, note="It is of a test.")
    run = open_stored(finished)
    last = arms.last_policy(run.config)
    for name in (out, finished):
        policy = load_policy(name)
        jax.tree.map(np.testing.assert_array_equal, policy.params, train.load_params(run, last))
    demos = {e.meta.episode_id: e for e in run.dataset.read("demos_test")}
    stored = [
        e
        for e in run.dataset.read(f"evaluation_{last}")
        if e.meta.episode_id.startswith(f"{last}-right-")
    ]
    fields = [field.name for field in dataclasses.fields(rollout.Trial)]
    trials = [rollout.Trial(**{f: getattr(e.meta, f) for f in fields}) for e in stored]
    simulator, policy = policy.domain.simulator, load_policy(out)
    envs = [simulator.make_env(policy.spec) for _ in range(rollout.LOCKSTEP)]
    again = rollout.run_job(simulator, envs, trials, policy.actor(demos))
    assert [len(e) for e in again] == [len(e) for e in stored]
    for one, other in zip(again, stored, strict=True):
        np.testing.assert_allclose(one.action, other.action, atol=3e-3)
        assert one.meta.success == other.meta.success
    # And its card says what the run's rows say.
    rows = [r for r in run.workdir.read_rows() if r.get("method") == "mili" and r["round"] == 1]
    assert made.rows == rows and {"right", "wrong"} <= {row["demo"] for row in rows}
    seen = [row for row in rows if row["demo"] == "right"]
    assert f"{sum(row['n'] for row in seen)} episodes of each kind" in made.card
    assert "- It is of a test." in made.card and made.facts["name"] == "mine"
    assert "It could learn from 20 trials of its own." in made.card
    # Nothing was written to the run.
    assert not (finished / "policy.json").exists()


def test_one_robot_acts_as_a_row_of_many(folder):
    policy = load_policy(folder)
    shown = {"a": recording(1), "b": recording(2)}
    trials = [
        rollout.Trial(name, "", "", 0, demonstration=name if name != "none" else "")
        for name in ("a", "b", "none")
    ]
    play = policy.actor(shown)(trials)
    alone = [policy.after(demo) for demo in (recording(1), recording(2), None)]
    for t in range(3):
        seen = observation(t)
        many = play(np.stack([seen["image"]] * 3), np.stack([seen["pose"]] * 3))
        for row, robot in zip(many, alone, strict=True):
            np.testing.assert_allclose(robot.act(seen), row, atol=1e-5)
    assert np.abs(many[0] - many[1]).max() > 1e-4, "the demonstration matters"
    z = policy.embed([recording(1), recording(2)])
    assert z.shape == (2, 12)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)


def test_a_robot_without_a_simulator_acts_and_cannot_be_filmed(tmp_path):
    spec = arm()
    policy = Policy(spec, "images_only", "spatial_softmax_mdn", **SMALL)
    held = kitchen_policy()
    changed = {
        "domain": "logs",
        "spec": json.loads(spec.to_json()),
        "networks": {"embedding": "images_only", "head": "spatial_softmax_mdn", **SMALL},
    }
    params = jax.tree.map(np.asarray, init_params(policy, jax.random.key(0)))
    packed.write(tmp_path / "arm", Packed({**held.facts, **changed}, params, [], "# arm\n"))
    found = load_policy(tmp_path / "arm")
    shown = recording(spec=spec)
    action = found.after(shown).act({"image": shown.image[0], "pose": shown.pose[0]})
    assert action.shape == (len(spec.action),) and found.spec == spec
    with pytest.raises(ConfigError, match="a demo needs a simulator, and the domain 'logs' has"):
        demo.takes(found, [], 1, 0)


def test_it_says_what_robot_and_world_it_is_of(folder):
    policy = load_policy(folder)
    assert policy.spec == KITCHEN.spec(32, ()) and policy.domain is KITCHEN
    assert policy.card == "# small\n" and policy.facts["made"]["seed"] == 0
    assert repr(policy) == f"OneShotPolicy({str(folder)!r}: kitchen, top, 32 x 32)"


@pytest.mark.slow
def test_mil_adapts_as_the_runs_actor_does(tmp_path):
    options, hyper = MilHyper(), Hyper()
    held = kitchen_policy(options)
    packed.write(tmp_path / "mil", held)
    policy = load_policy(tmp_path / "mil")
    shown = {"a": recording(1), "b": recording(2)}
    pool = oneshot.build_pool(
        KITCHEN,
        [dataclasses.replace(e, meta=dataclasses.replace(e.meta, episode_id=n)) for n, e in
         shown.items()],
        demonstrations=False,
    )  # fmt: skip
    support = mil.Shown(*oneshot.sampling.steps_along(pool, np.arange(2), 4, felt=True))
    table = {n: jax.tree.map(lambda a, k=k: a[k], support) for k, n in enumerate(shown)}
    whole = Policy(policy.spec, **SMALL)
    expected = actors.MakeAdaptingActor(whole, hyper, options, held.params, table)()
    trials = [rollout.Trial(n, "", "", 0, demonstration=n) for n in ("a", "b", "")]
    seen = observation()
    many = np.stack([seen["image"]] * 3), np.stack([seen["pose"]] * 3)
    np.testing.assert_allclose(
        policy.actor(shown)(trials)(*many), expected(trials)(*many), atol=1e-5
    )
    assert policy.after(None).act(seen).shape == (7,), "it acts without a demonstration, too"
    with pytest.raises(ConfigError, match="is MIL, which has no latent space"):
        policy.embed([recording(1)])


def test_half_precision_is_for_files(copy):
    params = packed.read(copy).params
    repack(copy, jax.tree.map(lambda a: a.astype(np.float16), params))
    found = load_policy(copy).params
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), found, params)


# What is refused


def refused(folder, kind=DataError):
    with pytest.raises(kind) as error:
        load_policy(folder)
    said = str(error.value)
    assert "\n" not in said and len(said.replace(str(folder), "")) < 300, said
    return said


@pytest.mark.parametrize("name", [*packed.FILES, packed.SUMS])
def test_a_damaged_file_is_named(copy, name):
    file = copy / name
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    spoilt = [whole + b"x", b""]
    for at in rng.integers(0, max(1, len(whole)), 8 if whole else 0):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        spoilt.append(bytes(flipped))
    for content in spoilt:
        if content == whole:
            continue  # rows.jsonl of a policy that nobody has measured is empty
        file.write_bytes(content)
        said = refused(copy)
        # A digest that was changed is that of another file, which does not fit then.
        assert "damaged" in said and (str(file) in said or name == packed.SUMS), said
    file.unlink()
    assert ("neither" if name == packed.SUMS else f"{file} is missing") in refused(copy)


@pytest.mark.parametrize(
    "facts, message",
    [
        ({"format": 2}, r"policy\.json is of format 2, and this version reads 1; install"),
        ({"domain": "moon"}, "does not describe a policy of this version: .*'moon'"),
        ({"domain": 3}, "does not describe a policy of this version"),
        ({"spec": {"pose": 1}}, "does not describe a policy of this version: not a description"),
        ({"spec": json.loads(arm().to_json())}, "needs a robot with a tool above one"),
        ({"networks": {"embedding": "none"}}, "'none'"),
        ({"networks": {"layers": 3}}, "layers"),
        ({"shown": {"frames": 2}}, "places"),
        ({"mil": {"hyper": {}}}, "lacks 'options'"),
        ({"networks": {**SMALL, "channels": 16}}, r"'\w[\w/]+' is float32 .*networks want floats"),
        ({"networks": {**SMALL, "blocks": 2}}, r"lacks the array 'encoder/"),
        ({"networks": {**SMALL, "blocks": 0}}, r"has an array 'encoder/.*, which its networks"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(copy, facts, message):
    change(copy, **facts)
    assert re.search(message, refused(copy))


def test_another_robot_of_the_same_domain_is_refused(copy):
    spec = json.loads(KITCHEN.spec(32, ()).to_json())
    spec["tool"]["down"] = 0.05
    change(copy, spec=spec)
    assert "of another robot than the domain 'kitchen' has here: unlike tool" in refused(copy)


def test_a_description_that_is_none_is_refused(copy):
    for text in ("{", "[]", "{}"):
        (copy / packed.FACTS).write_text(text)
        sum_up(copy)
        assert "policy.json describes no policy" in refused(copy)


def test_parameters_that_cannot_be_are_refused(copy):
    whole = packed.read(copy).params
    path, leaf = next(iter(sorted(packed.flat(whole).items())))

    def with_leaf(value):
        return unflatten_dict({**packed.flat(whole), path: value}, sep="/")

    repack(copy, with_leaf(np.full_like(leaf, np.nan)))
    assert f"{path!r} is not finite" in refused(copy)
    repack(copy, with_leaf(leaf[..., None]))
    assert f"{path!r} is float32" in refused(copy)
    repack(copy, with_leaf(np.zeros(leaf.shape, np.int32)))
    assert f"{path!r} is int32" in refused(copy)
    # A pickle is never opened: the object would say so if it were.
    bomb = np.array([Opened()], object)
    np.savez(copy / packed.PARAMETERS, allow_pickle=True, **{path: bomb})
    sum_up(copy)
    assert "parameters.npz holds no parameters (Object arrays cannot be loaded" in refused(copy)
    assert not Opened.opened
    for content in (b"", b"PK\x03\x04", b"no archive"):
        (copy / packed.PARAMETERS).write_bytes(content)
        sum_up(copy)
        assert "parameters.npz holds no parameters" in refused(copy)
    np.save(copy / "array.npy", np.zeros(3))
    (copy / "array.npy").rename(copy / packed.PARAMETERS)
    sum_up(copy)
    assert "parameters.npz holds no parameters" in refused(copy)


class Opened:
    opened = False

    def __reduce__(self):
        return (setattr, (Opened, "opened", True))


def test_what_is_not_there_is_refused_with_what_is(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no policy 'kitchn': .* comes with the packag"):
        load_policy("kitchn")
    (tmp_path / "letters").mkdir()
    assert "holds neither a packed policy (SHA256SUMS) nor a run" in refused(tmp_path / "letters")


def test_nothing_but_a_packed_policy_is_replaced(tmp_path, copy):
    made = kitchen_policy()
    out = tmp_path / "mine"
    out.mkdir()
    packed.write(out, made)  # an empty folder may be filled
    packed.write(out, dataclasses.replace(made, card="# another\n"))
    assert packed.read(out).card == "# another\n"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    (out / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match=r"mine holds something else than a packed policy"):
        packed.write(out, made)
    assert (out / "letter.txt").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        packed.write(tmp_path / "file", made)
    with pytest.raises(DataError, match=r"could not be written .*what was there stays"):
        packed.write(tmp_path / "file" / "below", made)


@pytest.mark.slow
def test_a_run_says_which_of_its_policies_can_be_packed(finished, tmp_path):
    with pytest.raises(
        ConfigError, match=r"trains no policy 'mili_2'; it trains pretrain, .*mili_"
    ):
        pack.pack(finished, tmp_path / "out", "mili_2")
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "stages" / "mili_1.json").unlink()
    with pytest.raises(DataError, match=r"has not trained mili_1 yet; it has .*say --policy="):
        pack.pack(run, tmp_path / "out")
    with pytest.raises(DataError, match="holds no run"):
        pack.pack(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # Rows of other parameters than those that are packed do not count.
    stage = run / "stages" / "evaluate_pretrain.json"
    assert pack.pack(run, tmp_path / "out", "pretrain").rows
    stage.unlink()
    assert "Nobody has measured it." in pack.pack(run, tmp_path / "out", "pretrain").card


def test_demonstrations_and_observations_of_other_robots_are_refused(folder):
    policy = load_policy(folder)
    whole = recording()
    for field, value, message in (
        ("image", whole.image[:, :16], r"field image is uint8 \(7, 16, 32, 3\); .*\(steps, 32, 32"),
        ("image", whole.image / 255, "field image is float64"),
        ("pose", whole.pose[:, :4], r"field image|field pose is float32 \(7, 4\)"),
        ("action", np.full_like(whole.action, np.nan), "field action is not finite"),
    ):
        with pytest.raises(DataError, match=message):
            policy.after(dataclasses.replace(whole, **{field: value}))
    none = recording(steps=1)
    none = dataclasses.replace(none, image=none.image[:0], pose=none.pose[:0])
    with pytest.raises(DataError, match="field image is"):
        policy.after(none)
    with pytest.raises(DataError, match="acting: the pictures are"):
        policy.after(whole).act({"image": whole.image[0, :16], "pose": whole.pose[0]})


# The card


def rows(demo, rates):
    """Two tasks of 10 episodes a family."""
    return [
        {
            "config": "none", "commit": "x", "method": "meta_imitation", "round": 0, "seed": 0,
            "split": "test", "family": family, "task": f"{family}:{k}", "demo": demo, "n": 10,
            "successes": count, "any_task": count,
        }
        for family, counts in rates.items() for k, count in enumerate(counts)
    ]  # fmt: skip


def test_the_card_says_what_the_rows_say():
    facts = {"name": "small", **kitchen_policy().facts}
    found = rows("right", {"press": (10, 10), "grasp": (5, 3), "push": (0, 1), "place": (7, 7)})
    text = card.model_card(facts, found)
    # 20 of 20: Wilson's interval begins at 20 / (20 + 1.96^2) = 0.839.
    assert "| right demonstration | 100% (84-100) | 40% (22-61) | 5% (1-24) | 70% (48-85) |" in text
    assert "**53.8%**" in text and "8 tasks of the split `test`" in text
    assert "wrong demonstration, or none, was not measured" in text
    wrong = rows("wrong", {"press": (1, 0), "grasp": (0, 0), "push": (0, 0), "place": (0, 0)})
    both = card.model_card(facts, found + wrong)
    assert "| wrong demonstration | 5% (1-24) |" in both and "was not measured" not in both
    assert "Nobody has measured it." in card.model_card(facts, [])
    noted = {**facts, "made": {**facts["made"], "note": "It is small."}}
    assert "- It is small.\n" in card.model_card(noted, [])
    assert "trained at commit unknown and measured at x, with JAX" in text
    with pytest.raises(DataError, match="result row 1"):
        card.model_card(facts, [{"task": "x"}])


# Playing


def test_attempts_are_the_first_of_the_list_and_none_is_arranged_like_its_demonstration(folder):
    policy = load_policy(folder)
    simulator = KITCHEN.simulator
    asked = demo.takes(policy, [], 8, 0)
    assert [take.task for take in asked] == list(simulator.tasks("test"))[:8]
    for seed in (0, 1):
        for take in demo.takes(policy, [], 8, seed):
            rng = np.random.default_rng((take.request.seed, 0))
            lesson = simulator.sample_scene(take.split, rng, [take.task])
            attempt = take.trial(simulator)
            at = [Scene.from_json(scene).placements for scene in (lesson, attempt.scene)]
            assert at[0] != at[1], "the same arrangement"
            assert attempt == take.trial(simulator) and attempt.demonstration in (
                take.request.episode_id
            )
    one = demo.takes(policy, ["press:button_75"], 3, 0)
    scenes = {take.trial(simulator).scene for take in one}
    assert len(scenes) == 3 and {take.task.name for take in one} == {"press:button_75"}
    train_task = simulator.tasks("train")[0]
    assert demo.takes(policy, [train_task.name], 1, 0)[0].split == "train"
    with pytest.raises(ConfigError, match=r"no task 'press:buton_75'; did you mean press:button"):
        demo.takes(policy, ["press:buton_75"], 1, 0)


def test_seeds_of_a_demo_are_those_of_no_stage():
    stages = demo.SEED_STRIDE * 110
    policy = OneShotPolicy("small", kitchen_policy(), "small")
    for seed in (0, 10**4):
        for take in demo.takes(policy, [], 64, seed):
            lesson, attempt = take.request.seed, take.trial(KITCHEN.simulator).seed
            assert stages < lesson < demo._SECOND <= attempt < 2**31
