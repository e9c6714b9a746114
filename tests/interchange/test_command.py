"""The commands of the page about other robots, as somebody types them."""

from __future__ import annotations

import pytest
from makers import write_lerobot_v21

from mili_jax import cli
from mili_jax.storage.dataset import Dataset
from mili_jax.types import ConfigError, DataError

MAP = """
format: lerobot
splits: {train: demos_train}
picture: {height: 32, width: 43, fit: stretch}
cameras:
  - {name: front, field: observation.images.front}
pose:
  unit: deg
  numbers:
    - {name: shoulder, field: observation.state, index: 0, low: -110, high: 110}
    - {name: gripper, field: observation.state, index: 6, closed: 0, open: 100}
action:
  unit: deg
  delta: false
  numbers:
    - {name: shoulder, field: action, index: 0, low: -110, high: 110}
    - {name: gripper, field: action, index: 6, closed: 0, open: 100}
deltas: keep
outside: clip
task: {field: task}
success: {assume: true}
fps: 10
"""


def test_in_looked_at_and_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_lerobot_v21(tmp_path / "logs of an arm", 3, steps=12)
    (tmp_path / "arm.yaml").write_text(MAP)
    given = ["--format=lerobot", "--map=arm.yaml", "--processes=1"]
    assert cli.execute(["import", "logs of an arm", *given, "--out=runs/arm"]) == 0
    assert "mili look runs/arm" in capsys.readouterr().out
    came = list(Dataset(tmp_path / "runs" / "arm").read("demos_train"))
    assert len(came) == 3 and came[0].pose.shape[1] == 2
    assert cli.execute(["look", "runs/arm", "--splits=demos_train"]) == 0
    assert (tmp_path / "runs" / "arm" / "look" / "index.html").is_file()
    assert cli.execute(["export", "runs/arm", "--format=robomimic", "--out=arm.hdf5"]) == 0
    assert "the same to the bit" in capsys.readouterr().out
    back = ["import", "arm.hdf5", "--format=robomimic", "--out=again", "--processes=1"]
    assert cli.execute(back) == 0
    again = list(Dataset(tmp_path / "again").read("demos_train"))
    assert [e.action.tobytes() for e in again] == [e.action.tobytes() for e in came]


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("import", ConfigError, "mili import needs FILE"),
        ("import logs", ConfigError, "mili import needs --format=NAME"),
        ("import logs --format=rlds", ConfigError, "mili import needs --out"),
        ("import logs --format=rlds --out=o", DataError, "logs"),
        ("import logs --format=rlds --out=o --processes=0", ConfigError, "0 is not 1 or more"),
        ("look", ConfigError, "mili look needs DATASET"),
        ("look logs", DataError, "logs holds no dataset"),
        ("look logs more", ConfigError, "what is 'more'"),
        ("export logs --format=rlds", ConfigError, "mili export needs --out"),
        ("export logs --format=rlds --out=o --fps=no", ConfigError, "'no' is not a number of"),
        ("export logs --format=xyzzy --out=o", ConfigError, "xyzzy"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_left(
    tmp_path, monkeypatch, line, error, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    with pytest.raises(error, match=said.replace("(", r"\(")):
        cli.execute(line.split())
    assert [p.name for p in tmp_path.iterdir()] == ["logs"]
