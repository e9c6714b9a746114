"""Run folders: resumable, guarded against another config or run, and never silently damaged."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from mili_jax.storage.values import plain, without
from mili_jax.storage.workdir import Workdir
from mili_jax.types import ConfigError, DataError

CONFIG = {"seed": 1, "train": {"steps": 10, "rate": 1e-3}, "families": ("press", "grasp")}

CHILD = """
import os, resource, signal, sys
import numpy as np
import jax.numpy as jnp
from mili_jax.types import ConfigError, DataError
from mili_jax.storage.workdir import Workdir
path = sys.argv[1]
CONFIG = {"seed": 1}
"""


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    optimiser: optax.OptState


def state(seed: int = 0, width: int = 4) -> State:
    """Like a training's state: float32, bfloat16, integers, nested tuples."""
    key = jax.random.key(seed)
    params = {
        "stem": {"kernel": jax.random.normal(key, (64, width)), "bias": jnp.ones(width)},
        "head": jax.random.normal(key, (3, width)).astype(jnp.bfloat16),
    }
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return State(jnp.asarray(seed, jnp.int32), params, optimiser.init(params))


def assert_equal_trees(left, right) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def child(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", CHILD + code, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def workdir(tmp_path):
    with Workdir(tmp_path / "run", CONFIG) as opened:
        yield opened


def test_the_same_config_resumes_and_the_manifest_tells_what_ran(tmp_path):
    with Workdir(tmp_path / "run", CONFIG) as workdir:
        workdir.finish("demos", {"seed": 1}, episodes=8)
    with Workdir(tmp_path / "run", ml_collections.ConfigDict(CONFIG)) as workdir:
        assert workdir.is_done("demos", {"seed": 1})
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"] == CONFIG | {"families": ["press", "grasp"]}
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["versions"]["numpy"] == np.__version__
    assert {"python", "pybullet"} <= manifest["versions"].keys()
    assert manifest["stages"] == ["demos"]
    head = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
    )
    if head.returncode == 0:
        assert manifest["commit"] is None or manifest["commit"].startswith(head.stdout.strip())
    reader = Workdir(tmp_path / "run")
    assert reader.config["train"]["steps"] == 10
    assert reader.read_manifest("demos")["episodes"] == 8


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (
            CONFIG | {"train": {"steps": 11, "rate": 1e-3}},
            r"config\.train\.steps = 10, now it is 11",
        ),
        (CONFIG | {"extra": 1}, r"config\.extra"),
        ({"seed": 1, "train": CONFIG["train"]}, r"config\.families"),
    ],
)
def test_another_config_is_refused_and_the_field_named(tmp_path, other, field):
    with Workdir(tmp_path / "run", CONFIG) as workdir:
        workdir.finish("demos", {"seed": 1}, episodes=8)
    before = (tmp_path / "run" / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match=field):
        Workdir(tmp_path / "run", other)
    assert (tmp_path / "run" / "manifest.json").read_bytes() == before
    Workdir(tmp_path / "run", CONFIG).close()


@pytest.mark.parametrize("made", ["", "made/demos.jsonl", "checkpoints/pretrain/1", "rows/a.jsonl"])
def test_a_command_that_was_refused_does_not_bind_the_folder(tmp_path, made):
    """Only what was made of a configuration does."""
    folder, other = tmp_path / "run", CONFIG | {"seed": 2}
    Workdir(folder, CONFIG).close()
    if made:
        (folder / made).parent.mkdir(parents=True)
        (folder / made).write_text("x")
        with pytest.raises(ConfigError, match=r"config\.seed = 1, now it is 2"):
            Workdir(folder, other)
        return
    Workdir(folder, other).close()
    assert Workdir(folder).config["seed"] == 2


def test_folders_that_are_no_workdirs(tmp_path):
    with pytest.raises(DataError, match=r"manifest\.json is missing"):
        Workdir(tmp_path / "nowhere")
    (tmp_path / "thesis").write_text("not to be mixed with")
    with pytest.raises(ConfigError, match="not empty"):
        Workdir(tmp_path, CONFIG)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"config": ')
    with pytest.raises(DataError, match=r"run/manifest\.json is damaged"):
        Workdir(tmp_path / "run", CONFIG)


def test_a_second_run_is_kept_out_while_the_first_lives(workdir):
    code = """
try:
    Workdir(path, {"seed": 1})
except ConfigError as error:
    print(error)
"""
    said = child(code, workdir.path).stdout
    assert "in use by process " + str(os.getpid()) in said and str(workdir.path) in said
    with pytest.raises(ConfigError, match="in use"):
        Workdir(workdir.path, CONFIG)
    assert Workdir(workdir.path).config["seed"] == 1, "reading needs no lock"
    workdir.close()
    Workdir(workdir.path, CONFIG).close()


def test_a_killed_run_frees_the_lock(tmp_path):
    code = "workdir = Workdir(path, CONFIG); os.kill(os.getpid(), signal.SIGKILL)"
    assert child(code, tmp_path / "run").returncode == -signal.SIGKILL
    Workdir(tmp_path / "run", {"seed": 1}).close()


def test_a_stage_is_done_for_its_own_config_inputs_and_outputs(workdir):
    made, source = workdir.path / "made", {"source": "one"}
    made.mkdir()
    (made / "table.csv").write_text("a,b")
    stage_config = {"alpha": 0.9, "caps": (1, 2)}
    assert not workdir.is_done("pair", stage_config)
    workdir.finish("pair", stage_config, inputs=source, outputs=[made], pairs=np.int64(7))
    assert workdir.is_done("pair", {"alpha": 0.9, "caps": [1, 2]}, source)
    assert not workdir.is_done("pair", {"alpha": 0.8, "caps": [1, 2]}, source)
    assert workdir.read_manifest("pair")["pairs"] == 7
    for other in (None, {"source": "two"}, {"another": "one"}, {**source, "more": "one"}):
        assert not workdir.is_done("pair", stage_config, other)
    (made / "table.csv").write_text("a,c")
    with pytest.raises(DataError, match=r"made/table\.csv.*'pair'.*damaged"):
        workdir.is_done("pair", stage_config, source)
    (made / "table.csv").unlink()
    with pytest.raises(DataError, match=r"made/table\.csv.*missing"):
        workdir.is_done("pair", stage_config, source)


def test_what_is_made_again_does_not_count_from_its_beginning(workdir):
    assert workdir.begins("pair", {"alpha": 0.9})
    workdir.write_rows("pair", [{"alpha": 0.9}])
    workdir.finish("pair", {"alpha": 0.9})
    assert not workdir.begins("pair", {"alpha": 0.9})
    assert workdir.begins("pair", {"alpha": 0.8})
    workdir.write_rows("pair", [{"alpha": 0.8}])  # and it is killed before it finishes
    assert not workdir.is_done("pair", {"alpha": 0.9}) and workdir.begins("pair", {"alpha": 0.9})
    assert workdir.read_rows() == [{"alpha": 0.8}], "no damage is seen where there is none"


def test_a_moved_workdir_still_knows_its_files(tmp_path):
    with Workdir(tmp_path / "run", CONFIG) as workdir:
        (workdir.path / "made").write_text("x")
        workdir.finish("pair", {}, outputs=[workdir.path / "made"])
    (tmp_path / "run").rename(tmp_path / "moved")
    assert Workdir(tmp_path / "moved").is_done("pair", {})


def test_damaged_stage_manifests_and_bad_names(workdir):
    workdir.finish("pair", {})
    (workdir.path / "stages" / "pair.json").write_text("{}")
    with pytest.raises(DataError, match=r"stages/pair\.json is damaged"):
        workdir.is_done("pair", {})
    with pytest.raises(DataError, match=r"stages/other\.json is missing"):
        workdir.read_manifest("other")
    with pytest.raises(ConfigError, match="cannot name"):
        workdir.finish("../pair", {})


def test_running_a_stage_again_replaces_its_rows_alone(workdir):
    workdir.write_rows("evaluate_0", [{"task": "press:a", "successes": np.int64(3)}])
    workdir.write_rows("evaluate_1", [{"task": "press:a", "successes": 4}, {"task": "x"}])
    workdir.write_rows("evaluate_0", [{"task": "press:a", "successes": 5}])
    expected = [{"task": "press:a", "successes": 5}, {"task": "press:a", "successes": 4}]
    expected.append({"task": "x"})
    assert workdir.read_rows() == expected
    lines = (workdir.path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == expected
    with pytest.raises(ConfigError, match=r"row 1 of evaluate_0\.rate is nan"):
        workdir.write_rows("evaluate_0", [{"rate": 1.0}, {"rate": float("nan")}])
    assert workdir.read_rows() == expected


def test_rows_of_a_finished_stage_are_verified_before_they_are_used(workdir):
    workdir.write_rows("evaluate_0", [{"task": "press:a", "successes": 3}])
    workdir.finish("evaluate_0", {})
    rows = workdir.path / "rows" / "evaluate_0.jsonl"
    content = rows.read_bytes()
    rows.write_bytes(content.replace(b"3", b"7"))
    with pytest.raises(DataError, match=r"evaluate_0\.jsonl is damaged; .*doctor"):
        workdir.read_rows()
    rows.unlink()
    with pytest.raises(DataError, match=r"evaluate_0\.jsonl is missing"):
        workdir.read_rows()
    rows.write_bytes(content)
    assert workdir.read_rows() == [{"task": "press:a", "successes": 3}]


def test_a_row_of_metrics_that_says_no_step_is_left_out(workdir):
    workdir.write_metrics("pretrain", 1, {"loss": 0.5})
    rows = [{}, {"stage": "pretrain"}, {"stage": "pretrain", "step": [2]}, {"step": 3}]
    with (workdir.path / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert workdir.read_metrics("pretrain") == {1: {"loss": 0.5}}


def test_metrics_reach_the_file_and_tensorboard_and_a_restart_counts_once(workdir):
    workdir.write_metrics("pretrain", 0, {"loss": jnp.float32(1.5), "rate": 0.1})
    workdir.write_metrics("pretrain", 10, {"loss": 0.5})
    workdir.write_metrics("retrain", 10, {"loss": float("nan")})
    workdir.write_metrics("pretrain", 10, {"loss": 0.25})
    assert workdir.read_metrics("pretrain") == {0: {"loss": 1.5, "rate": 0.1}, 10: {"loss": 0.25}}
    assert workdir.read_metrics("retrain") == {10: {"loss": "nan"}}
    workdir.close()
    from tensorboardX.proto import event_pb2

    scalars = []
    for file in (workdir.path / "tensorboard").iterdir():
        content = file.read_bytes()
        while content:  # records: length, its checksum, event, its checksum
            size = int.from_bytes(content[:8], "little")
            event = event_pb2.Event.FromString(content[12 : 12 + size])
            scalars += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            content = content[16 + size :]
    assert ("pretrain/loss", 0, 1.5) in scalars and ("pretrain/loss", 10, 0.25) in scalars


def test_a_checkpoint_brings_the_state_back_exactly(workdir):
    saved = state(7)
    workdir.save_checkpoint("pretrain", saved, 7)
    for abstract in (state(0), jax.eval_shape(lambda: state(0))):
        loaded = workdir.load_checkpoint("pretrain", abstract)
        assert_equal_trees(loaded, saved)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded))
    mixed = {"mean": np.arange(3.0), "count": 5, "on": True, "w": jnp.ones(2)}
    workdir.save_checkpoint("mixed", mixed, 0)
    abstract = {"mean": np.zeros(3), "count": 0, "on": False, "w": jnp.zeros(2)}
    loaded = workdir.load_checkpoint("mixed", abstract)
    assert type(loaded["mean"]) is np.ndarray and loaded["mean"].dtype == np.float64
    assert (loaded["count"], loaded["on"]) == (5, True) and type(loaded["count"]) is int


def test_a_loaded_checkpoint_has_the_sharding_asked_for(workdir):
    workdir.save_checkpoint("pretrain", {"w": jnp.arange(4.0)}, 0)
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.NamedSharding(mesh, jax.P("data"))
    abstract = {"w": jax.ShapeDtypeStruct((4,), jnp.float32, sharding=sharding)}
    assert workdir.load_checkpoint("pretrain", abstract)["w"].sharding == sharding


def test_the_latest_two_of_a_name_stay(workdir):
    assert workdir.latest_step("pretrain") is None
    for step in (5, 10, 100):
        workdir.save_checkpoint("pretrain", {"w": jnp.full(2, step)}, step)
    workdir.save_checkpoint("retrain", {"w": jnp.zeros(2)}, 1)
    assert workdir.latest_step("pretrain") == 100
    folder = workdir.path / "checkpoints" / "pretrain"
    assert sorted(os.listdir(folder)) == ["10", "10.json", "100", "100.json"]
    abstract = {"w": jnp.zeros(2, jnp.int32)}
    assert workdir.load_checkpoint("pretrain", abstract)["w"][0] == 100
    assert workdir.load_checkpoint("pretrain", abstract, step=10)["w"][0] == 10
    with pytest.raises(DataError, match="no complete checkpoint 5"):
        workdir.load_checkpoint("pretrain", abstract, step=5)
    workdir.save_checkpoint("pretrain", {"w": jnp.full(2, 101)}, 100)
    assert workdir.load_checkpoint("pretrain", abstract)["w"][0] == 101
    shutil.rmtree(folder / "100")
    assert workdir.latest_step("pretrain") == 10


def test_a_flipped_bit_in_any_file_of_a_checkpoint_is_found_and_named(workdir):
    saved = state(1)
    workdir.save_checkpoint("pretrain", saved, 3)
    folder = workdir.path / "checkpoints" / "pretrain" / "3"
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 3
    rng = np.random.default_rng(0)
    for file in files:
        whole = file.read_bytes()
        if whole:
            damaged = bytearray(whole)
            damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            with pytest.raises(DataError, match=f"{file.name} is damaged"):
                workdir.load_checkpoint("pretrain", saved)
        file.unlink()
        with pytest.raises(DataError, match=f"{file.name} is missing"):
            workdir.load_checkpoint("pretrain", saved)
        file.write_bytes(whole)
    assert_equal_trees(workdir.load_checkpoint("pretrain", saved), saved)


def test_a_checkpoint_of_another_network_is_refused_and_the_leaf_named(workdir):
    workdir.save_checkpoint("pretrain", state(1, width=4), 3)
    with pytest.raises(DataError, match=r"does not fit at .*3.*4.*wanted is .*3.*5"):
        workdir.load_checkpoint("pretrain", state(1, width=5))
    fewer = state(1).replace(params={"stem": state(1).params["stem"]})
    with pytest.raises(DataError, match=r"does not fit at .*head.*wanted is None"):
        workdir.load_checkpoint("pretrain", fewer)
    with pytest.raises(DataError, match="retrain holds no complete checkpoint"):
        workdir.load_checkpoint("retrain", state(1))


def test_a_training_killed_while_saving_resumes_from_the_checkpoint_before(tmp_path):
    """The kill is real; its moment, just before the manifest's rename, is chosen."""
    code = """
workdir = Workdir(path, CONFIG)
workdir.save_checkpoint("pretrain", {"w": jnp.full(1000, 10.0)}, 10)
rename = os.replace
def replace(source, target):
    if os.path.basename(target) == "20.json":
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
workdir.save_checkpoint("pretrain", {"w": jnp.full(1000, 20.0)}, 20)
"""
    assert child(code, tmp_path / "run").returncode == -signal.SIGKILL
    folder = tmp_path / "run" / "checkpoints" / "pretrain"
    assert (folder / "20").exists(), "the kill came too early to prove anything"
    with Workdir(tmp_path / "run", {"seed": 1}) as workdir:
        assert list(workdir.path.rglob(".*.tmp")) == []
        assert workdir.latest_step("pretrain") == 10
        loaded = workdir.load_checkpoint("pretrain", {"w": jnp.zeros(1000)})
        assert (loaded["w"] == 10.0).all()
        workdir.save_checkpoint("pretrain", {"w": jnp.full(1000, 21.0)}, 21)
        assert sorted(os.listdir(folder)) == ["10", "10.json", "21", "21.json"]


def test_a_refused_checkpoint_write_keeps_the_one_before(tmp_path):
    """A file size limit is the disk-full error that a test can really provoke."""
    code = """
workdir = Workdir(path, CONFIG)
noise = np.random.default_rng(0).normal(size=300_000).astype(np.float32)
workdir.save_checkpoint("pretrain", {"w": noise}, 10)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    workdir.save_checkpoint("pretrain", {"w": noise + 1}, 20)
except DataError as error:
    print(error)
"""
    said = child(code, tmp_path / "run").stdout
    assert str(tmp_path / "run" / "checkpoints" / "pretrain" / "20") in said
    noise = np.random.default_rng(0).normal(size=300_000).astype(np.float32)
    with Workdir(tmp_path / "run", {"seed": 1}) as workdir:
        assert workdir.latest_step("pretrain") == 10
        loaded = workdir.load_checkpoint("pretrain", {"w": np.zeros_like(noise)})
        np.testing.assert_array_equal(loaded["w"], noise)
        assert not (workdir.path / "checkpoints" / "pretrain" / "20").exists()


def test_all_processes_of_a_distributed_run_share_one_folder(tmp_path):
    code = """
import faulthandler
import jax
faulthandler.dump_traceback_later(240, exit=True)
process = int(sys.argv[2])
jax.distributed.initialize(sys.argv[3], 2, process)
with Workdir(path, CONFIG) as workdir:
    for step in (1, 2, 3):
        workdir.save_checkpoint("pretrain", {"w": jnp.arange(4.0) + step}, step)
    workdir.write_rows("evaluate", [{"process": process}])
    workdir.write_metrics("pretrain", 3, {"process": process})
    workdir.finish("pretrain", CONFIG)
    if process == 1:
        print(workdir.load_checkpoint("pretrain", {"w": jnp.zeros(4)}, step=2)["w"].tolist())
    jax.experimental.multihost_utils.sync_global_devices("end")
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    run = tmp_path / "run"
    command = [sys.executable, "-c", CHILD + code, str(run)]
    processes = [
        subprocess.Popen([*command, str(i), address], stdout=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "[2.0, 3.0, 4.0, 5.0]" in said[1]
    reader = Workdir(run)
    assert reader.latest_step("pretrain") == 3
    assert reader.read_rows() == [{"process": 0}]
    assert reader.read_metrics("pretrain") == {3: {"process": 0.0}}
    assert reader.is_done("pretrain", {"seed": 1})


def test_plain_names_the_field_that_cannot_be_kept():
    config = ml_collections.ConfigDict({"a": (1, np.float32(0.5)), "b": {"c": Path("x")}})
    assert plain(config) == {"a": [1, 0.5], "b": {"c": "x"}}
    with pytest.raises(ConfigError, match=r"config\.a\[1\] is of type object"):
        plain({"a": [1, object()]})
    with pytest.raises(ConfigError, match=r"config\.b\.c is inf"):
        plain({"b": {"c": float("inf")}})


# A run that goes on for longer than it was meant to

ROUNDS = "improve.rounds"


def of_rounds(rounds, **changes) -> dict:
    return {"seed": 1, "improve": {"rounds": rounds, "alpha": 0.9} | changes}


def test_a_run_may_get_more_rounds_than_it_began_with_and_never_fewer(tmp_path):
    with Workdir(tmp_path / "run", of_rounds(1), grows=(ROUNDS,)) as workdir:
        workdir.finish("pair_1", of_rounds(1), inputs={"a": "1"})
    with Workdir(tmp_path / "run", of_rounds(3), grows=(ROUNDS,)) as workdir:
        assert workdir.is_done("pair_1", of_rounds(3), {"a": "1"}), "it is what it was"
        assert not workdir.is_done("pair_1", of_rounds(3, alpha=0.8), {"a": "1"})
        assert not workdir.is_done("pair_1", of_rounds(3), {"a": "2"})
        assert workdir.agrees(of_rounds(1), of_rounds(np.int64(3)))
        assert not workdir.agrees(of_rounds(1), of_rounds(3, alpha=0.8))
        assert not workdir.agrees({"seed": 1}, of_rounds(3))
    assert Workdir(tmp_path / "run").config == of_rounds(3)
    with pytest.raises(ConfigError, match=r"improve\.rounds = 3, now it is 2; it may only grow"):
        Workdir(tmp_path / "run", of_rounds(2), grows=(ROUNDS,))
    with pytest.raises(ConfigError, match=r"improve\.alpha = 0\.9, now it is 0\.8; choose"):
        Workdir(tmp_path / "run", of_rounds(4, alpha=0.8), grows=(ROUNDS,))
    with pytest.raises(ConfigError, match=r"improve\.rounds = 3, now it is 4; choose another"):
        Workdir(tmp_path / "run", of_rounds(4))
    for odd in (None, True, "4"):
        with pytest.raises(ConfigError, match=r"config\.improve\.rounds = 3, now it is"):
            Workdir(tmp_path / "run", of_rounds(odd), grows=(ROUNDS,))
    assert Workdir(tmp_path / "run").config == of_rounds(3), "a refusal changes nothing"


def test_a_lost_manifest_is_made_for_as_many_rounds_or_more(tmp_path):
    with Workdir(tmp_path / "run", of_rounds(2), grows=(ROUNDS,)) as workdir:
        workdir.finish("pair_1", of_rounds(2))
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="it may only grow"):
        Workdir(tmp_path / "run", of_rounds(1), grows=(ROUNDS,))
    Workdir(tmp_path / "run", of_rounds(3), grows=(ROUNDS,)).close()
    assert Workdir(tmp_path / "run").config == of_rounds(3)


def test_without_leaves_out_what_is_named_and_nothing_else():
    config = {"a": 1, "b": {"c": 2, "d": {"e": 3, "f": 4}}, "g": 5}
    kept = {"a": 1, "b": {"d": {"f": 4}}, "g": 5}
    assert without(config, ("b.c", "b.d.e", "b.x", "g.y")) == kept
    assert without(config, ("b",)) == {"a": 1, "g": 5}
    assert without(config, ()) == config


# Curves on a disk that refuses


def test_curves_that_cannot_be_written_are_one_plain_line(workdir):
    (workdir.path / "tensorboard").write_text("a file in the way")
    with pytest.raises(DataError, match=r"tensorboard could not be made \(File exists\)") as error:
        workdir.write_metrics("pretrain", 1, {"loss": 1.0})
    assert "\n" not in str(error.value)
    assert workdir.read_metrics("pretrain") == {1: {"loss": 1.0}}, "the rows are there"


def test_a_disk_that_fills_while_curves_are_written_ends_the_run_in_one_line(tmp_path):
    code = """
try:
    with Workdir(path, CONFIG) as workdir:
        workdir.write_metrics("pretrain", 0, {"loss": 1.0})
        workdir.write_metrics("pretrain", 1, {f"m{i}": 1.0 for i in range(200)})
        os.truncate(workdir.path / "metrics.jsonl", 0)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        workdir.write_metrics("pretrain", 2, {"loss": 1.0})
except DataError as error:
    print(error)
"""
    command = [sys.executable, "-c", CHILD + code, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (said,) = ended.stdout.splitlines()
    assert "tensorboard could not be written (File too large); free space" in said
    assert ended.returncode == 0 and "Traceback" not in ended.stderr
