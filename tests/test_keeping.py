"""Nobody's file is lost: only what is declared is dropped, people's answers never, and what is not
ours is called by its name."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from test_episodes import SPEC, assert_same, episode

from mili_jax.storage import doctor, ledger
from mili_jax.storage.dataset import Dataset, write_shard
from mili_jax.storage.files import append_lines, atomic_write, read_lines
from mili_jax.storage.labels import Kind, Label
from mili_jax.storage.made import declare, declared
from mili_jax.storage.workdir import Workdir
from mili_jax.types import DataError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MACHINE = Label("t0", True, "simulator", Kind.SIMULATOR)
PERSON = Label("t1", False, "ana", time="2026-01-02T03:04:05Z", seconds=2.5)

CHILD = """
import os, resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_keeping import *
root = Path(sys.argv[1])
"""


def child(code: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    source = CHILD.format(tests=str(Path(__file__).parent)) + code
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def content(folder: Path) -> dict[str, bytes]:
    """Every file but locks, by its path below the folder."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != ".commit.lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


TRIALS = [episode(f"t{i}", seed=i) for i in range(3)]


def collect(root: Path, *labels: Label, made: bool = True, commit: bool = True) -> Dataset:
    """A dataset with demonstrations and three trials in two shards, declared in root/made."""
    dataset = Dataset(root / "dataset", SPEC)
    dataset.write_shard("demos_train", 0, [episode("d0")])
    dataset.commit("demos_train", 1)
    file = root / "made" / "round_1.jsonl" if made else None
    for shard, some in enumerate((TRIALS[:2], TRIALS[2:])):
        write_shard(root / "dataset", SPEC, "round_1", shard, some, made=file)
    if commit:
        dataset.commit("round_1", 2)
    if labels:
        dataset.write_labels("round_1", labels)
    return dataset


def made(root: Path) -> set[str]:
    return declared(root / "made" / "round_1.jsonl")


def assert_kept(root: Path, *labels: Label) -> None:
    kept = Dataset(root)
    assert kept.splits() == {"round_1": 3}
    for back, written in zip(kept.read("round_1"), TRIALS, strict=True):
        assert_same(back, written)
    assert kept.read_labels("round_1") == list(labels)
    assert list(kept.path.parent.parent.rglob(".*.tmp")) == []


# What may be dropped


@pytest.mark.parametrize("commit", [True, False])
def test_what_nobody_declared_is_not_dropped(commit, tmp_path):
    dataset = collect(tmp_path, PERSON, made=False, commit=commit)
    before = content(tmp_path)
    some = sorted(dataset.shard_digests("round_1").values())[:1]
    for given in ((), some, ["0" * 64]):
        with pytest.raises(DataError, match=r"record-0000\d was not made by this run"):
            dataset.drop("round_1", given)
    assert content(tmp_path) == before


@pytest.mark.parametrize("commit", [True, False])
def test_what_was_declared_is_dropped_and_the_rest_stays(commit, tmp_path):
    dataset = collect(tmp_path, MACHINE, commit=commit)
    others = {"dataset_info.json", "checksums.json", "labels_round_1.jsonl", ".commit.lock"}
    others |= set(dataset.shard_digests("round_1"))
    stay = {p.name: p.read_bytes() for p in dataset.path.iterdir() if p.name not in others}
    assert len(stay) == 3 and len(made(tmp_path)) == 2
    assert dataset.drop("round_1", made(tmp_path)) is None
    assert dataset.splits() == {"demos_train": 1} and dataset.shard_digests("round_1") == {}
    assert dataset.read_labels("round_1") == [] and not (tmp_path / "dataset" / "kept").exists()
    assert {p.name: p.read_bytes() for p in dataset.path.iterdir() if p.name in stay} == stay
    assert dataset.drop("round_1", ()) is None, "there is nothing left to drop"


@pytest.mark.parametrize("commit", [True, False])
def test_answers_of_people_are_kept_with_their_trials(commit, tmp_path):
    dataset = collect(tmp_path, MACHINE, PERSON, commit=commit)
    kept = dataset.drop("round_1", made(tmp_path))
    assert kept == tmp_path / "dataset" / "kept" / "round_1_1"
    assert dataset.splits() == {"demos_train": 1} and dataset.read_labels("round_1") == []
    assert_kept(kept, MACHINE, PERSON)
    # Made again, answered again, dropped again: both are there.
    collect(tmp_path, PERSON)
    assert dataset.drop("round_1", made(tmp_path)) == tmp_path / "dataset" / "kept" / "round_1_2"
    assert_kept(tmp_path / "dataset" / "kept" / "round_1_2", PERSON)
    assert_kept(kept, MACHINE, PERSON)


def test_a_line_of_labels_that_cannot_be_read_may_be_a_persons(tmp_path):
    dataset = collect(tmp_path, MACHINE)
    path = dataset.path / "labels_round_1.jsonl"
    ledger.replace(dataset.path, {path.name: path.read_bytes() + b'{"answer": "of old"}\n'})
    labels = path.read_bytes()
    kept = dataset.drop("round_1", made(tmp_path))
    assert kept and (Dataset(kept).path / path.name).read_bytes() == labels


def test_a_split_that_was_half_dropped_is_dropped_again_and_made_anew(tmp_path, monkeypatch):
    dataset = collect(tmp_path, MACHINE)
    unlink = Path.unlink

    def refuse(path, missing_ok=False):
        if "array_record" in path.name:
            raise OSError(5, "no")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(DataError, match="record-00000 cannot be removed"):
        dataset.drop("round_1", made(tmp_path))
    monkeypatch.undo()
    assert "round_1" not in dataset.splits() and dataset.has_shard("round_1", 0)
    dataset.drop("round_1", made(tmp_path))
    assert not dataset.has_shard("round_1", 0) and not dataset.has_shard("round_1", 1)
    dataset.write_shard("round_1", 0, [episode("b-0")])
    dataset.commit("round_1", 1)
    assert dataset.read_labels("round_1") == []
    assert dataset.splits() == {"demos_train": 1, "round_1": 1}


def test_foreign_files_with_like_names_are_no_part_of_a_split(tmp_path):
    dataset = collect(tmp_path)
    for name in ("mili-round_1.array_record-00000-of-00002", "mili-round_1.array_record-old"):
        (dataset.path / name).write_text("mine")
    dataset.drop("round_1", made(tmp_path))
    assert len(list(dataset.path.glob("mili-round_1*"))) == 2


def test_a_declaration_comes_before_its_shard_and_a_torn_one_declares_nothing(tmp_path):
    """The kill is real; its moment, between the declaration and the shard's rename, is chosen."""
    code = """
rename = os.replace
def replace(source, target):
    if "round_1.array_record-00001" in str(target):
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)
os.replace = replace
collect(root)
"""
    assert child(code, tmp_path).returncode == -signal.SIGKILL
    dataset = Dataset(tmp_path / "dataset", SPEC)
    (first,) = dataset.shard_digests("round_1").values()
    assert first in made(tmp_path) and len(made(tmp_path)) == 2
    collect(tmp_path)
    assert set(dataset.shard_digests("round_1").values()) == made(tmp_path)
    file = tmp_path / "made" / "round_1.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:-20])
    assert not set(dataset.shard_digests("round_1").values()) <= made(tmp_path)
    declare(file, "mili-round_1.array_record-00001", "x")
    assert "x" in made(tmp_path) and declared(tmp_path / "nothing") == set()


# Set aside


def test_what_is_set_aside_is_a_dataset_of_its_own(tmp_path):
    dataset = collect(tmp_path, PERSON, made=False)
    other = content(dataset.path)
    kept = dataset.set_aside("round_1")
    assert_kept(kept, PERSON)
    assert Dataset(kept).spec == SPEC and dataset.splits() == {"demos_train": 1}
    shard = "mili-demos_train.array_record-00000"
    assert content(dataset.path)[shard] == other[shard]
    for nothing in ("round_1", "round_2"):
        with pytest.raises(DataError, match=f"no split '{nothing}' that could be set aside"):
            dataset.set_aside(nothing)
    assert_kept(kept, PERSON)


def test_shards_with_gaps_and_labels_alone_are_set_aside_too(tmp_path):
    dataset = Dataset(tmp_path, SPEC)
    for shard in (0, 2, 3):
        dataset.write_shard(
            "round_1", shard, [TRIALS[min(shard, 2)]] if shard < 3 else [episode("z")]
        )
    kept = dataset.set_aside("round_1")
    assert [m.episode_id for m in Dataset(kept).read_metadata("round_1")] == ["t0", "t2", "z"]
    dataset.write_labels("round_2", [PERSON])
    kept = dataset.set_aside("round_2")
    assert Dataset(kept).read_labels("round_2") == [PERSON] and Dataset(kept).splits() == {}
    assert dataset.read_labels("round_2") == []


def test_an_old_split_is_set_aside_in_its_own_format(tmp_path):
    with tarfile.open(Path(__file__).with_name("old_dataset.tar.gz")) as archive:
        archive.extractall(tmp_path, filter="data")
    dataset = Dataset(tmp_path)
    before, labels = list(dataset.read("round_1")), dataset.read_labels("round_1")
    kept = Dataset(dataset.set_aside("round_1"))
    for back, written in zip(kept.read("round_1"), before, strict=True):
        assert_same(back, written)
    assert kept.read_labels("round_1") == labels and dataset.splits() == {"demos_train": 5}
    assert not (kept.path / "spec.json").exists()


def test_a_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    dataset = collect(tmp_path, PERSON)

    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert_kept(dataset.set_aside("round_1"), PERSON)


@pytest.mark.parametrize("name", ["mili-round_1.array_record-00001", "labels_round_1.jsonl"])
def test_what_is_damaged_is_not_set_aside(name, tmp_path):
    dataset = collect(tmp_path, PERSON)
    path = dataset.path / name
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    before = content(tmp_path)
    with pytest.raises(DataError, match=f"{name} is damaged"):
        dataset.set_aside("round_1")
    assert {k: v for k, v in content(tmp_path).items() if "/kept/" not in k} == before
    assert list((tmp_path / "dataset" / "kept").iterdir()) == []


FORKED = """
def forked(action):
    # A process of its own for each action, of one that has done nothing yet.
    pid = os.fork()
    if not pid:
        try:
            action()
        except DataError as error:
            sys.stdout.write(f"{error}\\n")
        else:
            sys.stdout.write("done\\n")
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def test_killed_anywhere_while_a_split_is_set_aside_nothing_is_lost(tmp_path):
    """Every rename, link and removal is a moment at which the process is killed."""
    code = """
def set_aside(root, left):
    def wrapped(real):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    for name in ("replace", "rename", "link", "unlink"):
        setattr(os, name, wrapped(getattr(os, name)))
    Dataset(root / "dataset", SPEC).set_aside("round_1")
import itertools
for moment in itertools.count(1):
    copy = shutil.copytree(root / "whole", root / f"at_{moment}")
    if forked(lambda: set_aside(copy, moment)) == 0:
        break
print(moment)
"""
    collect(tmp_path / "whole", PERSON)
    ended = child(FORKED + code, tmp_path)
    assert ended.returncode == 0, ended.stderr
    done, moments = ended.stdout.splitlines()
    assert done == "done" and int(moments) > 10
    for moment in range(1, int(moments) + 1):
        root = tmp_path / f"at_{moment}"
        dataset = Dataset(root / "dataset", SPEC)
        left = sorted((root / "dataset" / "kept").glob("[!.]*"))
        here = dataset.splits().get("round_1") == 3
        assert here or left, f"lost at moment {moment}"
        for kept in left:
            assert_kept(kept, PERSON)
        if here:
            assert dataset.read_labels("round_1") == [PERSON]
            assert_same(next(dataset.read("round_1")), TRIALS[0])
        if dataset.shard_digests("round_1") or dataset.read_labels("round_1"):
            dataset.set_aside("round_1")
        assert not dataset.shard_digests("round_1") and dataset.splits() == {"demos_train": 1}
        assert_kept(root / "dataset" / "kept" / "round_1_1", PERSON)
        dataset.write_shard("round_1", 0, [episode("new")])
        dataset.commit("round_1", 1)
        assert dataset.read_labels("round_1") == []


def test_a_full_disk_while_a_split_is_set_aside_costs_nothing(tmp_path):
    collect(tmp_path, PERSON)
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
dataset = Dataset(root / "dataset", SPEC)
def refuse(*_):
    raise OSError(1, "no links here")
os.link = refuse
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    dataset.set_aside("round_1")
except DataError as error:
    print(error)
"""
    before = content(tmp_path)
    (said,) = child(code, tmp_path).stdout.splitlines()
    assert "kept/round_1_1 could not be written (File too large); nothing was dropped" in said
    assert content(tmp_path) == before
    assert list((tmp_path / "dataset" / "kept").iterdir()) == []


# Somebody else's files


def tfds_of_somebody(folder: Path, file_format: str = "array_record") -> None:
    """A TFDS dataset that is called as ours and has other features."""
    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="mili", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    info.set_file_format(file_format)
    split = tfds.core.SplitInfo(name="train", shard_lengths=[3, 4], num_bytes=7)
    info.set_splits(tfds.core.splits.SplitDict([split]))
    folder.mkdir(parents=True)
    info.write_to_directory(folder)
    for i in range(2):
        (folder / f"mili-train.{file_format}-0000{i}-of-00002").write_bytes(b"theirs")


def lerobot(folder: Path) -> None:
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text('{"codebase_version": "v3.0", "total_episodes": 9}')
    (folder / "data").mkdir()


def hdf5(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("low_dim.hdf5", "image.hdf5"):
        (folder / name).write_bytes(b"\x89HDF")


def bridge(folder: Path) -> None:
    # A genuine file of others, which is not ours to ship. Beside it stand two of our own making, so
    # what is refused is tested everywhere.
    if not (SHARED / "bridge_rlds" / "1.0.0").is_dir():
        pytest.skip("the BridgeData sample is not here")
    shutil.copytree(SHARED / "bridge_rlds" / "1.0.0", folder)


def without_features(folder: Path) -> None:
    tfds_of_somebody(folder, "tfrecord")
    (folder / "features.json").unlink()


def without_splits(folder: Path) -> None:
    folder.mkdir(parents=True)
    info = {"name": "theirs", "version": "1.0.0", "splits": 2}
    (folder / "dataset_info.json").write_text(json.dumps(info))


FOREIGN = [
    (
        tfds_of_somebody,
        r"a TFDS dataset of somebody else \(mili 1\.0\.0, array_record, train: 7 ep",
    ),
    (without_features, r"a TFDS dataset of somebody else \(mili 1\.0\.0, tfrecord, train: 7 ep"),
    (without_splits, r"a TFDS dataset of somebody else \(theirs 1\.0\.0\)"),
    (lerobot, r"a LeRobot dataset \(v3\.0, 9 episodes\)"),
    (hdf5, r"data of another format \(image\.hdf5 and 1 files more\)"),
    (bridge, r"a TFDS dataset of somebody else \(bridge_dataset 1\.0\.0, tfrecord, train"),
]


@pytest.mark.parametrize(
    ("make", "said"), FOREIGN, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_dataset_of_somebody_else_is_called_what_it_is(make, said, tmp_path):
    path = tmp_path / "dataset" / "mili" / "1.0.0"
    make(path)
    before = content(tmp_path)
    (tmp_path / "lock").touch()
    attempts = [
        lambda: Dataset(tmp_path / "dataset", SPEC),
        lambda: Dataset(tmp_path / "dataset"),
        lambda: write_shard(tmp_path / "dataset", SPEC, "round_1", 0, [episode("t0")]),
        lambda: doctor.examine(tmp_path),
        lambda: doctor.repair(tmp_path),
    ]
    for attempt in attempts:
        with pytest.raises(DataError, match=rf"mili/1\.0\.0 holds {said}.*`mili import`") as error:
            attempt()
        assert "damage" not in str(error.value) and "doctor" not in str(error.value)
        assert "\n" not in str(error.value)
    (tmp_path / "lock").unlink()
    assert content(tmp_path) == before


@pytest.mark.parametrize("where", ["", "bridge_dataset/1.0.0"])
def test_a_dataset_of_somebody_else_beside_ours_is_pointed_at(where, tmp_path):
    tfds_of_somebody(tmp_path / "dataset" / where)
    dataset = Dataset(tmp_path / "dataset", SPEC)
    with pytest.raises(
        DataError, match=r"'demos_train' .* missing .*; .*dataset.* of somebody else"
    ):
        dataset.read("demos_train")


def test_what_operating_systems_and_people_leave_in_folders_is_not_foreign(tmp_path):
    path = tmp_path / "dataset" / "mili" / "1.0.0"
    path.mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "README.md", "notes.txt", ".nfs0001"):
        (path / name).write_text("x")
    dataset = collect(tmp_path, MACHINE)
    (tmp_path / "lock").touch()
    assert doctor.examine(tmp_path) == [] and dataset.splits() == {"demos_train": 1, "round_1": 3}


def test_our_own_dataset_is_ours_however_damaged(tmp_path):
    """What was lost is damage, whatever is left."""
    collect(tmp_path / "whole", MACHINE)
    names = sorted(p.name for p in (tmp_path / "whole/dataset/mili/1.0.0").glob("[!.]*"))
    for name in names:
        for damage in (None, b"", b"{}"):
            if damage is None and ".array_record" in name:
                continue  # no stage says that it was there
            root = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
            file = root / "dataset/mili/1.0.0" / name
            file.unlink() if damage is None else file.write_bytes(damage)
            (root / "lock").touch()
            assert doctor.examine(root) != [], (name, damage)
            doctor.repair(root)
            shutil.rmtree(root)


# File systems that refuse


def attempts(root: Path) -> dict:
    """Everything that locks or writes, by name."""
    return {
        "shard": lambda: write_shard(root / "dataset", SPEC, "round_2", 0, [episode("u0")]),
        "commit": lambda: Dataset(root / "dataset", SPEC).commit("round_1", 2),
        "labels": lambda: Dataset(root / "dataset").write_labels("round_1", [MACHINE]),
        "pairs": lambda: Dataset(root / "dataset").write_pairs(
            "m_1", ["a"], ["b"], np.ones(1), 0.9
        ),
        "aside": lambda: Dataset(root / "dataset", SPEC).set_aside("round_1"),
        "drop": lambda: Dataset(root / "dataset", SPEC).drop("round_1", made(root)),
        "workdir": lambda: Workdir(root, {"seed": 1}),
        "append": lambda: append_lines(root / "metrics.jsonl", [{"n": 1}]),
        "write": lambda: atomic_write(root / "note", "x"),
        "declare": lambda: declare(root / "made" / "round_1.jsonl", "s", "x"),
    }


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_one_plain_line(code, tmp_path, monkeypatch):
    collect(tmp_path, MACHINE)
    before = content(tmp_path)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for name, attempt in attempts(tmp_path).items():
        with pytest.raises(DataError, match="the file system there has no file locks") as error:
            attempt()
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value), name
    monkeypatch.undo()
    after = content(tmp_path)
    after.pop("lock", None)
    assert {k: v for k, v in after.items() if v} == before, "nothing was written"


@pytest.fixture
def others(request):
    """A folder that everybody may enter; pytest's own are for one user alone."""
    folder = Path(tempfile.mkdtemp(prefix="mili-others-"))
    folder.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder


AS_NOBODY = """
os.environ["HOME"] = "/nonexistent"
chosen = {
    **attempts(root),
    "open": lambda: Dataset(root / "dataset"),
    "read": lambda: list(Dataset(root / "dataset").read("round_1")),
    "look": lambda: Workdir(root),
    "doctor": lambda: doctor.examine(root),
}
import concurrent.futures.thread  # nobody may read the interpreter's own folder later on
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for name in sys.argv[2].split(","):
    forked(chosen[name])
"""


def said_to_nobody(root: Path, *names: str) -> dict[str, str]:
    """What a user without any rights there reads, in one line each."""
    ended = child(FORKED + AS_NOBODY, root, ",".join(names))
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
    return dict(zip(names, ended.stdout.splitlines(), strict=True))


def test_a_folder_that_may_only_be_read_is_one_plain_line(others):
    collect(others, MACHINE)
    append_lines(others / "metrics.jsonl", [{"n": 0}])
    if os.getuid() != 0:
        for folder in (others, *(p for p in others.rglob("*") if p.is_dir())):
            folder.chmod(0o555)
    before = content(others)
    for name, said in said_to_nobody(others, *attempts(others)).items():
        assert "Permission denied" in said and str(others) in said and ".tmp" not in said, name
    assert content(others) == before


@pytest.mark.parametrize("what", ["dataset/mili/1.0.0", "mili-round_1.array_record-00000", "."])
def test_what_may_not_be_read_is_not_called_damaged(what, others):
    dataset = collect(others, MACHINE)
    Workdir(others / "run", {"seed": 1}).close()
    (others / "run" / "manifest.json").rename(others / "manifest.json")
    closed = dataset.path / what if "mili-" in what else others / what
    closed.chmod(0)
    try:
        found = said_to_nobody(others, "open", "read", "look", "doctor")
    finally:
        closed.chmod(0o755)
    fine = {"look"} if what != "." else set()
    fine |= {"open"} if "mili-" in what else set()
    for name, said in found.items():
        if name in fine:
            assert said == "done"
        else:
            assert "cannot be read (Permission denied); give yourself permission" in said, name
            assert "damage" not in said and "doctor" not in said


# Rows that people hand in


def test_a_last_row_without_its_end_of_line_counts(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"n": 1}\n\n{"n": 2}')
    assert list(read_lines(path)) == [(1, {"n": 1}), (3, {"n": 2})]
    assert list(read_lines(path, appended=True)) == [(1, {"n": 1})]
    path.write_text('{"n": 1}\n{"n": ')
    with pytest.raises(DataError, match=r"results\.jsonl, line 2: "):
        list(read_lines(path))
    assert list(read_lines(path, appended=True)) == [(1, {"n": 1})]
    path.write_text("\ufeff" + '{"n": 1}\r\n{"n": 2}\r\n')
    assert list(read_lines(path)) == [(1, {"n": 1}), (2, {"n": 2})]
    path.write_text("")
    assert list(read_lines(path)) == [] == list(read_lines(tmp_path / "none"))


def test_an_editor_that_leaves_the_last_end_of_line_out_did_no_damage(tmp_path):
    with Workdir(tmp_path / "run", {"seed": 1}) as workdir:
        workdir.write_rows("evaluate_0", [{"n": 1}, {"n": 2}])
        rows, results = workdir.path / "rows" / "evaluate_0.jsonl", workdir.path / "results.jsonl"
        for path in (rows, results):
            path.write_bytes(path.read_bytes().rstrip(b"\n"))
        assert workdir.read_rows() == [{"n": 1}, {"n": 2}]
        assert [row for _, row in read_lines(results)] == [{"n": 1}, {"n": 2}]
        assert doctor.examine(workdir.path) == []
        workdir.write_rows("evaluate_1", [{"n": 3}])
        lines = (workdir.path / "results.jsonl").read_text().splitlines()
        assert [json.loads(line)["n"] for line in lines] == [1, 2, 3]
