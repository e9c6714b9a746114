"""Figures and films, measured in what was drawn."""

import functools
import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import av
import matplotlib
import numpy as np
import pytest
from PIL import Image
from report_rows import (
    GROUPS,
    NASTY,
    RATES,
    clip,
    embedding,
    full_disk,
    other_domain,
    pairing_rows,
    result_rows,
    rows_of_groups,
)

from mili_jax.report.embedding import Embedded
from mili_jax.report.figures.alpha import alpha_figure
from mili_jax.report.figures.bars import bars_figure
from mili_jax.report.figures.canvas import render, save_figure
from mili_jax.report.figures.curves import curves_figure
from mili_jax.report.figures.improvement import improvement_figure
from mili_jax.report.figures.latent import latent_figure
from mili_jax.report.figures.rounds import rounds_figure
from mili_jax.report.figures.style import DARK, LIGHT
from mili_jax.report.films import write_video
from mili_jax.report.improvement import arms_of_a_round
from mili_jax.report.statistics import group_table, headline, select
from mili_jax.types import ConfigError, DataError


@pytest.mark.parametrize("size, success", [((64, 64), True), ((100, 100), False), ((37, 45), True)])
def test_video_decodes_to_the_right_frames(tmp_path, size, success):
    rng = np.random.default_rng(0)
    demo = np.repeat(rng.integers(0, 256, size=(5, 1, 1, 3)), size[0], 1).repeat(size[1], 2)
    attempt = 255 - np.concatenate([demo, demo[:4]])
    demo, attempt = demo.astype(np.uint8), attempt.astype(np.uint8)
    path = tmp_path / "film.mp4"
    width, height = write_video(path, demo, attempt, success=success, fps=6)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 6)
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 9 + 6  # the longer clip and one second
    assert frames[0].shape == (height, width, 3)
    assert width % 2 == 0 and height % 2 == 0
    assert height >= 256 and width >= 2 * 256
    assert height < 2 * max(256, size[0])  # no larger than it must be
    middle, left, right = height // 2, width // 4, 3 * width // 4
    for t, frame in enumerate(frames):
        np.testing.assert_allclose(frame[middle, left], demo[min(t, 4), 0, 0], atol=12)
        np.testing.assert_allclose(frame[middle, right], attempt[min(t, 8), 0, 0], atol=12)
    poster = np.asarray(Image.open(path.with_suffix(".png")))
    assert poster.shape == (height, width, 3)
    np.testing.assert_array_equal(poster[middle, right], attempt[-1, 0, 0])
    red, green, _ = poster[1, width // 2].astype(int)
    assert bool(green > red) is success


@pytest.mark.parametrize(
    "demo, attempt, match",
    [
        (clip(3).astype(np.float32), clip(3), "demo must be uint8"),
        (clip(3), clip(3)[:0], "attempt must be uint8"),
        (clip(3), clip(3, size=32), "alike"),
    ],
)
def test_video_refuses_what_is_not_a_clip(tmp_path, demo, attempt, match):
    with pytest.raises(DataError, match=match):
        write_video(tmp_path / "film.mp4", demo, attempt, success=True)


@pytest.mark.parametrize("narrow", [False, True])
def test_bars_have_the_length_of_the_rates(narrow):
    rows = [row for row in result_rows() if row["method"] in ("mili", "meta_imitation")]
    figure = bars_figure(rows, narrow=narrow)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [*GROUPS, "mean of 4 groups"]
    order = [key for key in RATES if key[0] in ("mili", "meta_imitation")]
    for axis, family in zip(figure.axes, GROUPS, strict=False):
        for bar, (method, number, demo) in zip(axis.patches, order, strict=True):
            counts = [
                row["successes"]
                for row in rows
                if (row["method"], row["round"], row["demo"], row["family"])
                == (method, number, demo, family)
            ]
            assert bar.get_width() == pytest.approx(np.mean(counts) / 10)
    with pytest.raises(ConfigError, match="validation"):
        bars_figure(rows, split="validation")


def test_alpha_figure_draws_means_over_seeds():
    rows = pairing_rows()
    (axis,) = alpha_figure(rows).axes
    lines = {line.get_label(): line for line in axis.lines}
    precision = lines["precision (exact task)"]
    wanted = [
        np.mean([row["precision"] for row in rows if row["alpha"] == alpha])
        for alpha in precision.get_xdata()
    ]
    np.testing.assert_allclose(precision.get_ydata(), wanted)
    assert any(list(line.get_xdata()) == [0.9, 0.9] for line in axis.lines)
    gone = alpha_figure([dict(row, recall=None) for row in rows])
    assert "recall" not in {line.get_label() for line in gone.axes[0].lines}
    with pytest.raises(DataError, match="alpha"):
        alpha_figure([{"precision": 0.1}])


def test_latent_figure_shows_the_groups_as_far_apart_as_two_axes_can():
    data = embedding()
    (axis,) = latent_figure(Embedded.parse(data)).axes
    drawn: dict[tuple, list[np.ndarray]] = {}
    for part in axis.collections:
        drawn.setdefault(tuple(part.get_facecolor()[0][:3]), []).append(part.get_offsets())
    means = np.stack([np.concatenate(points).mean(axis=0) for points in drawn.values()])
    assert sum(len(p) for points in drawn.values() for p in points) == 760 and len(means) == 4
    z, family = data["z"].astype(float), np.array(data["family"])
    between = np.stack([z[family == name].mean(axis=0) for name in set(family)]) - z.mean(axis=0)
    values = np.linalg.eigvalsh(between.T @ between)[::-1]
    np.testing.assert_allclose((means**2).sum(axis=0), values[:2], rtol=1e-5)
    with pytest.raises(DataError, match="finite"):
        Embedded.parse(dict(data, z=np.full_like(data["z"], np.nan)))


@pytest.mark.parametrize("z", [np.ones((5, 8)), np.ones((1, 8)), np.arange(4.0)[:, None]])
def test_latent_figure_of_degenerate_embeddings(z, tmp_path):
    data = {"z": z, "family": ["press"] * len(z), "split": ["test"] * len(z)}
    figure = latent_figure(Embedded.parse(data))
    assert save_figure(figure, tmp_path / "a.png").stat().st_size > 1000


def test_curves_have_a_panel_per_quantity_and_skip_what_is_not_finite():
    rows = [
        {"stage": "pretrain", "step": step, "train/nll": value, "accuracy": 0.5, "lr": 1e-3}
        for step, value in enumerate([3.0, math.nan, 1.0])
    ]
    figure = curves_figure(rows[::-1])
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["nll", "accuracy"]
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [0, 2] and list(line.get_ydata()) == [3, 1]
    with pytest.raises(ConfigError, match="nll"):
        curves_figure([{"stage": "a", "step": 0, "annulled": 1.0}])


def test_same_figure_gives_the_same_bytes(tmp_path):
    for suffix in ("svg", "png"):
        first = save_figure(alpha_figure(pairing_rows()), tmp_path / f"a.{suffix}").read_bytes()
        second = save_figure(alpha_figure(pairing_rows()), tmp_path / f"b.{suffix}").read_bytes()
        assert first == second


# How people without one kind of cone see linear RGB (Machado, Oliveira and Fernandes 2009).
SIGHT = {
    "all cones": np.eye(3),
    "no red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(colours):
    srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_lab(rgb):
    xyz = np.clip(rgb, 0, 1) @ TO_XYZ.T / [0.95047, 1, 1.08883]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def test_lab_is_that_of_known_colours():
    wanted = [[100, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    np.testing.assert_allclose(to_lab(linear(["#ffffff", "#ff0000", "#0000ff"])), wanted, atol=0.02)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_twelve_groups_can_be_told_apart(theme, sight):
    colours = [*theme.groups, theme.mean, theme.grey]
    assert len(theme.groups) == 12
    seen = linear(colours) @ np.array(SIGHT[sight]).T
    lab = to_lab(seen)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e9 * np.eye(len(lab))
    assert apart.min() > 16  # of two groups, of a group and the mean or grey
    luminance = linear([*colours, theme.paper]) @ TO_XYZ[1]
    for value in luminance[:-1]:
        low, high = sorted((value, luminance[-1]))
        assert (high + 0.05) / (low + 0.05) > 1.65, "seen on its paper"


@pytest.mark.parametrize("dark", [False, True])
def test_a_group_beyond_the_twelfth_is_grey_and_none_share_a_colour(dark):
    names = [f"kind {k}" for k in range(14)]
    figure = bars_figure(rows_of_groups(names, domain="many"), dark=dark)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == [*names, "mean of 14 groups"]
    colours = [axis.patches[0].get_facecolor() for axis in figure.axes]
    widths = [axis.patches[0].get_width() for axis in figure.axes[:-1]]
    np.testing.assert_allclose(widths, np.arange(1, 15) / 20)
    assert len(set(colours[:12])) == 12 and colours[12] == colours[13]
    assert colours[12] not in colours[:12]


@pytest.mark.parametrize("narrow", [False, True])
def test_figures_show_any_name_within_their_frame(tmp_path, narrow, recwarn):
    rows = rows_of_groups(NASTY, domain="d", method="mili_" + "x" * 200)
    figure = bars_figure(rows, narrow=narrow)
    save_figure(figure, tmp_path / "a.svg")
    save_figure(figure, tmp_path / "a.png")
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    titles = []
    for axis in figure.axes:
        titles.append(axis.get_title(loc="left"))
        texts = [axis._left_title, *axis.get_yticklabels()]
        for text in [text for text in texts if text.get_visible() and text.get_text()]:
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text
    assert all(title.strip() for title in titles) and len(set(titles)) == len(titles)
    assert titles[3] == "group 4" and titles[9] == "mean"  # what the font cannot write; a name
    assert not [w for w in recwarn if "lyph" in str(w.message) or "label" in str(w.message)]


def test_alpha_curves_of_unlike_domains_and_configurations_have_panels_of_their_own():
    rows = pairing_rows()
    rows += [dict(row, domain="cabinet", precision=0.5) for row in rows]
    figure = alpha_figure(rows)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "round 1, cabinet",
        "round 1, kitchen",
    ]
    for axis, wanted in zip(figure.axes, (0.5, None), strict=True):
        (line,) = [line for line in axis.lines if line.get_label() == "precision (exact task)"]
        if wanted is not None:
            np.testing.assert_allclose(line.get_ydata(), wanted)
        else:
            assert max(line.get_ydata()) < 0.4


DRAW = """
import hashlib, os, sys
sys.path[:0] = sys.argv[1:3]
before = dict(os.environ)
from report_rows import pairing_rows
from mili_jax.report.figures.alpha import alpha_figure
from mili_jax.report.figures.canvas import render
figure = alpha_figure(pairing_rows())
print(*(hashlib.sha256(render(figure, kind)).hexdigest() for kind in ("svg", "png")))
assert "matplotlib.pyplot" not in sys.modules and dict(os.environ) == before
"""
HOSTILE = "backend: qtagg\nfigure.facecolor: red\nfont.size: 30\ntext.usetex: True\nnonsense: 7\n"


def drawn_in(folder, **environment):
    """The digests of a figure drawn by a process of its own, and what it said."""
    root = Path(__file__).resolve().parents[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "MATPLOTLIB"))}
    done = subprocess.run(
        [sys.executable, "-c", DRAW, str(root), str(root / "tests")],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("what", ["module://matplotlib_inline.backend_inline", "no such thing"])
def test_a_notebooks_backend_changes_no_figure(tmp_path, what):
    assert drawn_in(tmp_path, MPLBACKEND=what) == (own_digests(), "")


@pytest.mark.parametrize(
    "place, content",
    [
        ("here", HOSTILE.encode()),
        ("here", b"\xff\xfe not text"),
        ("named", HOSTILE.encode()),
        ("at home", b"\xff\xfe not text"),
    ],
)
def test_nobodys_matplotlibrc_changes_a_figure(tmp_path, place, content):
    (tmp_path / "matplotlibrc").write_bytes(content)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path if place == "here" else elsewhere
    name = {"named": "MATPLOTLIBRC", "at home": "MPLCONFIGDIR"}.get(place)
    assert drawn_in(folder, **({name: str(tmp_path)} if name else {})) == (own_digests(), "")


@functools.cache
def own_digests():
    kinds = (render(alpha_figure(pairing_rows()), kind) for kind in ("svg", "png"))
    return " ".join(hashlib.sha256(data).hexdigest() for data in kinds) + "\n"


def test_settings_of_the_caller_stay_and_change_no_figure():
    own_digests()
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red", "svg.hashsalt": "x"}):
        before = dict(matplotlib.rcParams)
        own_digests.cache_clear()
        changed = own_digests()
        assert dict(matplotlib.rcParams) == before
    own_digests.cache_clear()
    assert changed == own_digests()


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text("old")
    with pytest.raises(ConfigError, match="'gif'"):
        save_figure(alpha_figure(pairing_rows()), tmp_path / "a.gif")
    figure = alpha_figure(pairing_rows())
    with full_disk(5000), pytest.raises(DataError, match=r"a\.svg could not be written"):
        save_figure(figure, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def rounds_of(rows):
    """Rows with a second round of MILI and its control, and a control with as many rows."""
    found = [row for row in rows if row["demo"] == "right"]
    found += [dict(row, round=2) for row in found if row["round"] == 1]
    found += [
        dict(row, method="more_demonstrations")
        for row in found
        if (row["method"], row["round"]) == ("random_pairs", 1)
    ]
    return found


@pytest.mark.parametrize("narrow", [False, True])
def test_rounds_are_drawn_with_their_means_and_intervals(narrow):
    rows = rounds_of(result_rows(tasks=4))
    (axis,) = rounds_figure(rows, "test", narrow=narrow).axes
    curves = [line for line in axis.lines if line.get_marker() not in ("None", None)]
    whiskers = [line for line in axis.lines if line not in curves]
    for line, method in zip(curves[:2], ("mili", "meta_imitation"), strict=True):
        for x, y in line.get_xydata():
            at = round(x)
            name = method if at else "meta_imitation"
            mean = headline(select(rows, method=name, round=at))
            assert y == pytest.approx(mean.rate) and abs(x - at) < 0.2
            if at or method == "mili":
                near = [w for w in whiskers if w.get_xdata()[0] == x]
                assert [list(w.get_ydata()) for w in near] == [[mean.low, mean.high]]
    low, high = axis.get_ylim()
    assert low <= min(w.get_ydata()[0] for w in whiskers)
    assert high >= max(w.get_ydata()[1] for w in whiskers)
    names = [text.get_text() for text in axis.figure.legends[0].get_texts()]
    assert names[:3] == [
        *("MILI", "Equal steps, demos only"),
        "Equal steps and rows, demos only",
    ]
    with pytest.raises(ConfigError, match="fewer than two rounds"):
        rounds_figure(result_rows(tasks=2), "test")


@pytest.mark.parametrize("dark", [False, True])
def test_the_improvement_is_drawn_before_with_equal_rows_and_after(dark):
    rows = rounds_of(result_rows(tasks=4))
    figure = improvement_figure(rows, dark=dark)
    (axis,) = figure.axes
    keys = (("meta_imitation", 0), ("more_demonstrations", 1), ("mili", 1))
    wanted = []
    for method, number in keys:
        part = select(rows, method=method, round=number)
        groups = [(r.rate, r.low, r.high) for r in group_table(part)]
        mean = headline(part)
        wanted.append([(mean.rate, mean.low, mean.high), *groups])
    bars, lines = axis.patches, axis.lines
    assert len(bars) == len(lines) == 15
    for i, (bar, line) in enumerate(zip(bars, lines, strict=True)):
        rate, low, high = wanted[i % 3][i // 3]
        assert bar.get_width() == pytest.approx(rate)
        assert list(line.get_xdata()) == pytest.approx([low, high])
    assert len({bar.get_facecolor() for bar in bars}) == 3
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [
        "before the trials",
        "equal steps and rows, demonstrations alone",
        "MILI, 1 round of its own trials",
    ]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["mean of\n4 groups", *GROUPS]
    # On a phone: 358 pixels wide, where no letter may be lower than 9 pixels.
    scale = 358 / (72 * figure.get_size_inches()[0])
    texts = [*axis.texts, *axis.get_yticklabels(), *axis.get_xticklabels()]
    assert min(text.get_fontsize() for text in [*texts, *figure.legends[0].get_texts()]) * scale > 9


def test_without_rows_of_as_many_rows_the_control_has_as_many_steps():
    rows = [row for row in result_rows(tasks=3) if row["demo"] == "right"]
    names = [arm.name for arm in arms_of_a_round(rows)]
    assert names[1] == "equal steps, demonstrations alone"
    rows = [row for row in rows if (row["method"], row["round"]) != ("meta_imitation", 1)]
    assert arms_of_a_round(rows) == []
    with pytest.raises(ConfigError, match="no round of MILI"):
        improvement_figure(rows)
    two = [*result_rows(tasks=3), *other_domain(tasks=3)]
    assert arms_of_a_round(two) == []
