import html.parser
import math
import re

import av
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from mili_jax.report.figures.alpha import alpha_figure
from mili_jax.report.figures.bars import bars_figure
from mili_jax.report.figures.canvas import save_figure
from mili_jax.report.figures.curves import curves_figure
from mili_jax.report.figures.latent import latent_figure
from mili_jax.report.figures.sweeps import sweeps_figure
from mili_jax.report.films import write_video
from mili_jax.report.page import write_report
from mili_jax.report.summary import summary
from mili_jax.report.sweeps import sweeps
from mili_jax.types import FAMILIES, ConfigError, DataError

# Chance of success by family, in the order of FAMILIES, per (method, round, demo).
RATES = {
    ("meta_imitation", 0, "right"): (0.79, 0.34, 0.02, 0.16),
    ("meta_imitation", 0, "wrong"): (0.10, 0.05, 0.01, 0.02),
    ("meta_imitation", 0, "none"): (0.22, 0.08, 0.01, 0.03),
    ("meta_imitation", 1, "right"): (0.88, 0.38, 0.02, 0.28),
    ("random_pairs", 1, "right"): (0.70, 0.30, 0.03, 0.12),
    ("mili", 1, "right"): (0.91, 0.48, 0.14, 0.33),
    ("mili", 1, "wrong"): (0.12, 0.06, 0.02, 0.04),
    ("mili", 1, "none"): (0.25, 0.10, 0.01, 0.02),
    ("oracle", 1, "right"): (0.92, 0.47, 0.15, 0.35),
}


# MILI's first round with one thing changed, as chances of success.
VARIANTS = {
    "mili_trials_375": (0.88, 0.40, 0.05, 0.28),
    "mili_trials_1500": (0.90, 0.44, 0.08, 0.30),
    "mili_noise_20": (0.85, 0.40, 0.05, 0.30),
    "mili_alpha_950": (0.90, 0.46, 0.12, 0.30),
}


def result_rows(seeds=(0,), tasks=10, n=10, split="test", rates=RATES):
    """Rows as a run writes them; tasks differ in difficulty and outcomes are paired."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.08, size=(len(FAMILIES), tasks))
    luck = rng.uniform(size=(len(seeds), len(FAMILIES), tasks, n))
    rows = []
    for (method, number, demo), chances in rates.items():
        for s, seed in enumerate(seeds):
            for f, family in enumerate(FAMILIES):
                for t in range(tasks):
                    chance = np.clip(chances[f] + difficulty[f, t], 0, 1)
                    outcomes = (luck[s, f, t] < chance).astype(int).tolist()
                    rows.append(
                        {
                            "config": "quick",
                            "commit": "0123abc",
                            "method": method,
                            "round": number,
                            "seed": seed,
                            "split": split,
                            "family": family,
                            "task": f"{family}:object_{t:02d}",
                            "demo": demo,
                            "n": n,
                            "successes": sum(outcomes),
                            "any_task": min(n, sum(outcomes) + 1),
                            "outcomes": outcomes,
                        }
                    )
    return rows


def pairing_rows():
    return [
        {
            "config": "quick",
            "round": 1,
            "seed": seed,
            "alpha": alpha,
            "chosen": alpha == 0.9,
            "pairs": int(200_000 * (1 - alpha) ** 1.2) + 50,
            "precision": 0.02 + 0.25 * alpha**12 + 0.01 * seed,
            "recall": 1 - alpha**9,
            "family_precision": 0.6 + 0.37 * alpha**4,
        }
        for seed in (0, 1)
        for alpha in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
    ]


def training_metrics():
    rng = np.random.default_rng(1)
    rows = []
    for stage, steps, start in (("pretrain", 2500, 3.0), ("retrain_1", 900, -2.2)):
        for step in range(0, steps, 10):
            gone = np.exp(-step / 600)
            rows.append(
                {
                    "stage": stage,
                    "step": step,
                    "nll": -4 + (start + 4) * gone + rng.normal(0, 0.25),
                    "contrastive": 0.05 + 0.4 * gone + abs(rng.normal(0, 0.03)),
                    "grad_norm": float(rng.uniform()),
                }
            )
            if step % 250 == 0:
                rows.append({"stage": stage, "step": step, "accuracy_task": 0.66 - 0.5 * gone})
                rows.append({"stage": stage, "step": step, "accuracy_family": 0.97 - 0.4 * gone})
    return rows


def embedding(n=360, trials=400):
    rng = np.random.default_rng(2)
    family = [FAMILIES[i % 4] for i in range(n + trials)]
    centres = rng.normal(size=(4, 32))
    tasks = rng.normal(size=(40, 32))
    z = np.stack([centres[i % 4] + 0.5 * tasks[i % 40] for i in range(n + trials)])
    z += 0.12 * rng.normal(size=z.shape)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return {
        "z": z.astype(np.float32),
        "family": family,
        "task": [f"{FAMILIES[i % 4]}:{i % 40}" for i in range(n + trials)],
        "split": [("train", "train", "train", "validation", "test")[i % 5] for i in range(n)]
        + ["train"] * trials,
        "kind": ["demo"] * n + ["trial"] * trials,
    }


def collection():
    counts = {"press": 489, "grasp": 250, "push": 162, "place": 47}
    return [
        {
            "round": 1,
            "trials": 3200,
            "useful": 941,
            "achieved": counts,
            "confusion": {
                "press": {"press": 310, "grasp": 30, "push": 40, "place": 5, "none": 415},
                "grasp": {"press": 80, "grasp": 150, "push": 32, "place": 8, "none": 530},
                "push": {"press": 60, "grasp": 40, "push": 60, "place": 6, "none": 634},
                "place": {"press": 39, "grasp": 30, "push": 30, "place": 28, "none": 673},
            },
        }
    ]


def clip(frames, size=64, shift=0):
    """A table, a button and a gripper that travels to it."""
    y, x = np.mgrid[:size, :size]
    images = []
    for t in range(frames):
        image = np.full((size, size, 3), (196, 188, 176), np.uint8)
        image[: size // 5] = (120, 132, 148)
        image[(y - 46) ** 2 + (x - 44 - shift) ** 2 < 40] = (190, 40, 50)
        image[(abs(y - 38) < 7) & (abs(x - 15) < 6)] = (60, 110, 180)
        at = 12 + (32 + shift) * t / max(frames - 1, 1)
        image[(abs(y - 12 - 26 * t / max(frames - 1, 1)) < 8) & (abs(x - at) < 3)] = (50, 54, 60)
        images.append(image)
    return np.stack(images)


def films():
    return [
        {
            "title": f"{family} {'bottle_03' if success else 'mug_11'}",
            "family": family,
            "success": success,
            "demo": clip(12 + 3 * index),
            "attempt": clip(15, shift=6 if success else -9),
            "caption": "test task, arrangement 4",
        }
        for index, family in enumerate(FAMILIES)
        for success in (False, True)
    ]


def everything():
    return {
        "title": "MILI on kitchenware, quick configuration",
        "config": {
            "seed": 0,
            "train": {"batch": 32, "learning_rate": 3e-4, "steps": 2500},
            "policy": {"head": "anchored", "image": (64, 64)},
        },
        "manifest": {
            "commit": "0123abc",
            "seconds": {"demos": 61.2, "pretrain": 412.0, "collect": 388.4},
            "versions": {"python": "3.11.2", "jax": "0.10.0", "pybullet": "3.2.7"},
        },
        "rows": result_rows(),
        "pairing_rows": pairing_rows(),
        "metrics": training_metrics(),
        "embedding": embedding(),
        "neighbours": {"task": 0.66, "family": 0.97},
        "collection": collection(),
        "videos": films(),
    }


class Page(html.parser.HTMLParser):
    """Collects references, text by heading and attributes; fails on tags that do not nest."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.open, self.references, self.headings, self.text = [], [], [], ""
        self.tags = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)
        self.references += [attrs[k] for k in ("src", "srcset", "href", "poster") if k in attrs]

    def handle_endtag(self, tag):
        if self.get_starttag_text() and self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            raise AssertionError(f"</{tag}> closes {self.open[-1:]}")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if "style" not in self.open:
            self.text += data + " "

    @property
    def words(self):
        return re.sub(r"\s+", " ", self.text)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    inputs = everything()
    index = write_report(tmp_path_factory.mktemp("run") / "report", **inputs)
    return index, Page(index), inputs


def small(**changes):
    """The least that makes a page, for tests of one part."""
    return {"title": "t", "config": {}, "manifest": {}, "rows": []} | changes


def test_page_holds_every_part_in_order(full):
    _, page, _ = full
    assert page.headings == [
        "Headline",
        "Success by family",
        "Differences",
        "Trials",
        "Pairing",
        "Latent space of tasks",
        "Training",
        "Films",
        "Provenance",
    ]
    anchors = {attrs["id"] for tag, attrs in page.tags if tag == "h2"}
    assert {ref[1:] for ref in page.references if ref.startswith("#")} == anchors


def test_page_needs_only_the_files_beside_it(full):
    index, page, _ = full
    assert "http:" not in page.source and "https:" not in page.source
    assert "<script" not in page.source and "url(" not in page.source
    files = {ref for ref in page.references if not ref.startswith("#")}
    assert files and all(re.fullmatch(r"(figures|videos)/[a-z0-9.-]+", ref) for ref in files)
    written = {
        path.relative_to(index.parent).as_posix()
        for path in index.parent.rglob("*")
        if path.is_file()
    }
    assert written == files | {"index.html"}
    assert [path.name for path in index.parent.parent.iterdir()] == ["report"]


def test_pictures_films_and_tables_are_described(full):
    _, page, _ = full
    assert all(attrs["alt"] for tag, attrs in page.tags if tag == "img")
    assert all(attrs["aria-label"] for tag, attrs in page.tags if tag in ("video", "table"))
    assert page.tags[0] == ("html", {"lang": "en"})


def test_numbers_equal_an_independent_computation(full):
    _, page, inputs = full

    def successes(method, number, demo):
        rows = [
            row
            for row in inputs["rows"]
            if (row["method"], row["round"], row["demo"]) == (method, number, demo)
        ]
        return np.array(
            [[row["successes"] for row in rows if row["family"] == family] for family in FAMILIES]
        )

    for key in RATES:
        counts = successes(*key)
        assert f"{counts.mean() * 10:.1f}%" in page.words
        for total in counts.sum(axis=1):
            interval = stats.binomtest(int(total), 100).proportion_ci(0.95, method="wilson")
            low, high = (f"{100 * value:.1f}" for value in (interval.low, interval.high))
            assert f"{total:.1f}% {low}\u2013{high} {total} of 100" in page.words
    after, before = successes("mili", 1, "right"), successes("meta_imitation", 0, "right")
    gain, relative = (after - before).mean() * 10, after.sum() / before.sum() - 1
    found = re.search(
        r"MILI, round 1, against Meta-imitation ([\d.]+)% against ([\d.]+)%: \+([\d.]+) points "
        r"\(95% interval \+([\d.]+) to \+([\d.]+)\), \+(\d+)% relative \(\+(\d+) to \+(\d+)\)\. "
        "The interval excludes 0",
        page.words,
    )
    a, b, difference, low, high, share, least, most = map(float, found.groups())
    assert (a, b) == pytest.approx((after.mean() * 10, before.mean() * 10), abs=0.051)
    assert difference == pytest.approx(gain, abs=0.051)
    assert share == pytest.approx(100 * relative, abs=0.51)
    assert least < share < most
    # The bootstrap's standard error: tasks within families, families weigh the same.
    error = math.sqrt(sum(np.var(d) / len(d) for d in (after - before) * 10) / 16)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_other_sections_show_what_they_were_given(full):
    _, page, _ = full
    for words in (
        "by task 66.0%",
        "by family 97.0%",
        "round 1 3,200 941 29.4% 489 250 162 47",
        "310 39%",
        "train.learning_rate 0.0003",
        "policy.image 64, 64",
        "pretrain 412",
        "jax 0.10.0",
        "commit 0123abc",
        "1 of 2 shown succeed",
        "equivalent",
    ):
        assert words in page.words
    chosen = [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "chosen"]
    assert len(chosen) == 2


def test_films_of_the_page_come_successes_first(full):
    _, page, _ = full
    films = [ref for ref in page.references if ref.endswith(".mp4")]
    assert len(films) == 8
    assert films[:2] == ["videos/00-press-success.mp4", "videos/01-press-failure.mp4"]
    assert page.words.count("success press bottle_03") == 1


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


def test_text_is_escaped(tmp_path):
    nasty = "<script>alert('x')</script> & \"q\""
    rows = [dict(row, config=nasty) for row in result_rows(tasks=2) if row["round"] == 0]
    index = write_report(
        tmp_path / "r",
        **small(
            title=nasty,
            config={nasty: nasty},
            manifest={"note": nasty, nasty: {nasty: nasty}},
            rows=rows,
            collection=[{"round": nasty, "trials": 2, "useful": 1, "achieved": {"press": 1}}],
            videos=[dict(films()[0], title=nasty, caption=nasty)],
        ),
    )
    page = Page(index)
    assert "<script" not in page.source and "'x'" not in page.source
    assert page.words.count("alert('x')") >= 8
    assert not any(tag == "script" for tag, _ in page.tags)


def test_missing_parts_are_left_out(tmp_path):
    index = write_report(tmp_path / "a" / "r", **small(title="empty"))
    assert Page(index).headings == []
    assert [path.name for path in index.parent.iterdir()] == ["index.html"]
    index = write_report(
        tmp_path / "b",
        **small(neighbours={"task": 0.5}, metrics=[{"stage": "pretrain", "step": 0, "lr": 0.1}]),
    )
    assert Page(index).headings == ["Headline"]


def test_doubtful_comparisons_are_said_plainly(tmp_path):
    wanted = [row for row in result_rows() if row["demo"] == "right" and row["method"] != "oracle"]
    rows = []
    for row in wanted:
        row.pop("outcomes")
        if row["method"] == "mili":  # as good as before, task by task
            row["successes"] = 5 + (-1) ** int(row["task"][-1])
        elif row["method"] == "meta_imitation" and row["round"] == 0:
            row["successes"] = 5
        if row["method"] != "random_pairs" or row["task"] != "push:object_03":
            rows.append(row)
    words = Page(write_report(tmp_path / "r", **small(rows=rows))).words
    assert re.search(
        r"against Meta-imitation 50.0% .*?: 0.0 points .*? includes 0: no effect", words
    )
    assert "'push:object_03' (seed 0) is missing from the second condition" in words
    assert "Not compared." in words
    single = [row for row in rows if row["task"].endswith("00")]
    words = Page(write_report(tmp_path / "r", **small(rows=single))).words
    assert "too few tasks for an interval" in words and "nothing can be concluded" in words
    assert not re.search(r"\bnan\b", words)


def test_seeds_splits_and_configs_are_kept_apart(tmp_path):
    rows = result_rows(seeds=(0, 1), tasks=2)
    rows = [row for row in rows if row["method"] in ("mili", "meta_imitation")]
    rows += [dict(row, split="train", successes=row["n"], outcomes=None) for row in rows]
    words = Page(write_report(tmp_path / "r", **small(rows=rows))).words
    assert "One-shot success on test tasks" in words and "2 training seeds" in words
    assert "Success on train tasks" in words and "100.0%" in words
    both = rows + [dict(row, config="paper") for row in rows]
    words = Page(write_report(tmp_path / "r", **small(rows=both))).words
    assert "MILI, round 1 (paper)" in words and "MILI, round 1 (quick)" in words


def test_failure_leaves_the_old_page_and_no_other_folder(tmp_path):
    out = tmp_path / "report"
    before = write_report(out, **small(title="first")).read_text()
    with pytest.raises(DataError, match=r"'family'.*360"):
        write_report(
            out,
            **small(
                title="second",
                videos=films()[:1],
                embedding=dict(embedding(trials=0), family=["press"]),
            ),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (out / "index.html").read_text() == before
    (tmp_path / ".report.tmp").mkdir()  # as a killed run leaves it
    write_report(out, **small(title="third"))
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert "third" in (out / "index.html").read_text()


def test_other_files_are_never_replaced(tmp_path):
    (tmp_path / "figures").mkdir()
    with pytest.raises(ConfigError, match="figures"):
        write_report(tmp_path, **small())
    out = tmp_path / "report"
    write_report(out, **small())
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        write_report(out, **small())
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("narrow", [False, True])
def test_bars_have_the_length_of_the_rates(narrow):
    rows = [row for row in result_rows() if row["method"] in ("mili", "meta_imitation")]
    figure = bars_figure(rows, narrow=narrow)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [*FAMILIES, "mean of 4 families"]
    order = [key for key in RATES if key[0] in ("mili", "meta_imitation")]
    for axis, family in zip(figure.axes, FAMILIES, strict=False):
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


def test_latent_figure_shows_the_families_as_far_apart_as_two_axes_can():
    data = embedding()
    (axis,) = latent_figure(data).axes
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
        latent_figure(dict(data, z=np.full_like(data["z"], np.nan)))


@pytest.mark.parametrize("z", [np.ones((5, 8)), np.ones((1, 8)), np.arange(4.0)[:, None]])
def test_latent_figure_of_degenerate_embeddings(z, tmp_path):
    data = {"z": z, "family": ["press"] * len(z), "split": ["test"] * len(z)}
    assert save_figure(latent_figure(data), tmp_path / "a.png").stat().st_size > 1000


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


def with_variants():
    rates = {**RATES, **{(method, 1, "right"): chance for method, chance in VARIANTS.items()}}
    rows = result_rows(seeds=(0, 1), rates=rates)
    for row in rows:
        row["trials"] = 3000 if row["method"] == "mili" else 0
    return rows


def mean_rate(rows, method, number=1):
    members = [r for r in rows if (r["method"], r["round"], r["demo"]) == (method, number, "right")]
    return np.mean(
        [
            sum(r["successes"] for r in members if r["family"] == family)
            / sum(r["n"] for r in members if r["family"] == family)
            for family in FAMILIES
        ]
    )


def test_sweeps_hold_the_variants_and_what_they_vary():
    rows = [row for row in with_variants() if row["demo"] == "right"]
    found = sweeps(rows, pairing_rows())
    assert {kind: [point.value for point in points] for kind, points in found.items()} == {
        "trials": [0, 375, 1500, 3000],
        "noise": [0, 20],
        "alpha": [900, 950],
    }
    figure = sweeps_figure(rows, pairing_rows())
    drawn = figure.axes[0].lines[0].get_xydata()
    names = ["meta_imitation", "mili_trials_375", "mili_trials_1500", "mili"]
    np.testing.assert_allclose(drawn[:, 0], [0, 375, 1500, 3000])
    np.testing.assert_allclose(drawn[:, 1], [mean_rate(rows, name) for name in names])
    np.testing.assert_allclose(figure.axes[2].lines[0].get_xydata()[:, 0], [0.9, 0.95])
    with pytest.raises(ConfigError, match="no row of a variant"):
        sweeps_figure(result_rows())
    many, few = mean_rate(rows, "mili"), mean_rate(rows, "mili_trials_375")
    said = f"MILI, round 1, 3,000 trials, against 375 trials: {100 * many:.1f}% against "
    assert f"{said}{100 * few:.1f}%" in summary(rows, pairing_rows())


def test_the_summary_holds_every_condition_and_difference():
    rows = with_variants()
    text = summary(rows, pairing_rows())
    table = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(RATES)  # the variants stand elsewhere
    line = next(line for line in table if line.startswith("| MILI, round 1 |"))
    assert f"**{100 * mean_rate(rows, 'mili'):.1f}%**" in line
    press = [r for r in rows if (r["method"], r["family"]) == ("mili", "press")]
    press = [r for r in press if r["demo"] == "right"]
    k, n = (sum(r[key] for r in press) for key in ("successes", "n"))
    low, high = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert line.split(" | ")[1] == f"{100 * k / n:.0f}% ({100 * low:.0f}-{100 * high:.0f})"
    for a, b in (
        ("MILI, round 1", "Meta-imitation"),
        ("MILI, round 1", "Equal steps, demos only, round 1"),
        ("MILI, round 1", "Random pairs, round 1"),
        ("Oracle pairs, round 1", "Equal steps, demos only, round 1"),
    ):
        assert text.count(f"- {a}, against {b}: ") == 1
    ratio = mean_rate(rows, "mili") / mean_rate(rows, "oracle")
    found = re.search(r"as good as Oracle.*; ratio ([\d.]+) \(([\d.]+) to ([\d.]+)\)\.", text)
    value, low, high = map(float, found.groups())
    assert value == pytest.approx(ratio, abs=0.0051) and low < value < high
    noise = mean_rate(rows, "mili_noise_20")
    assert f"| answers of the filter turned round, % | 20 | {100 * noise:.1f}% |" in text
    with pytest.raises(ConfigError, match="no result rows"):
        summary([])


def test_what_training_took_and_how_well_it_adapts():
    costs = [
        {"cost_of": "mil", "round": 0, "seed": seed, "steps": 250, "seconds": 100.0 + 20 * seed}
        | {"adaptation": {"tasks": 80, "improved": 0.9 + 0.05 * seed, "before": -9, "after": -12}}
        for seed in (0, 1)
    ]
    costs.append({"cost_of": "bc", "round": 0, "seed": 0, "steps": 1400, "seconds": 99.0})
    costs += [
        {"cost_of": "mili", "round": 2, "seed": seed, "steps": 9, "seconds": 1.0}
        | {"neighbours": {"task": 0.8 + 0.1 * seed, "family": 1.0}}
        for seed in (0, 1)
    ]
    text = summary(result_rows(), costs=costs)
    assert "| MIL | 250 | 110 | 100\u2013120 |" in text
    assert "| Behaviour cloning | 1,400 | 99 | 99\u201399 |" in text
    lines = [line for line in text.splitlines() if line.startswith("| MIL | 80 |")]
    assert "| MILI, round 2 | 85.0% | 80.0\u201390.0% | 100.0% |" in text
    assert lines == ["| MIL | 80 | 92.5% | 90.0\u201395.0% | \u22129.0 to \u221212.0 |"]


def test_variants_have_a_section_of_their_own(tmp_path):
    rows = with_variants()
    page = write_report(
        tmp_path / "out", title="t", config={}, manifest={}, rows=rows, pairing_rows=pairing_rows()
    ).read_text()
    section = page.split('id="sweeps"')[1].split("</section>")[0]
    assert f"{100 * mean_rate(rows, 'mili_noise_20'):.1f}%" in section
    assert "answers of the filter turned round" in section and (tmp_path / "out/figures").is_dir()
    assert "mili_noise_20" not in page.split('id="success"')[1].split("</section>")[0]
    plain = write_report(tmp_path / "plain", title="t", config={}, manifest={}, rows=result_rows())
    assert 'id="sweeps"' not in plain.read_text()


def test_same_figure_gives_the_same_bytes(tmp_path):
    for suffix in ("svg", "png"):
        first = save_figure(alpha_figure(pairing_rows()), tmp_path / f"a.{suffix}").read_bytes()
        second = save_figure(alpha_figure(pairing_rows()), tmp_path / f"b.{suffix}").read_bytes()
        assert first == second
