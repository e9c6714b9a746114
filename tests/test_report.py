"""The page of a run: its parts, its words, its folder."""

import math
import re
import shutil

import numpy as np
import pytest
from report_rows import (
    GROUPS,
    NASTY,
    RATES,
    Page,
    everything,
    films,
    mean_rate,
    other_domain,
    pairing_rows,
    result_rows,
    rows_of_groups,
    small,
    with_variants,
)
from scipy import stats

from mili_jax.report.gain import gains
from mili_jax.report.page import write_report
from mili_jax.types import DataError


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    inputs = everything()
    index = write_report(tmp_path_factory.mktemp("run") / "report", **inputs)
    return index, Page(index), inputs


def test_page_holds_every_part_in_order(full):
    _, page, _ = full
    assert page.headings == [
        "Films",
        "At a glance",
        "Success by group",
        "Differences",
        "Trials",
        "Pairing",
        "Latent space of tasks",
        "Training",
        "Provenance",
    ]
    anchors = {attrs["id"] for tag, attrs in page.tags if tag == "h2"}
    assert {ref[1:] for ref in page.references if ref.startswith("#")} == anchors


def test_the_page_says_first_how_much_better_the_robot_became(full):
    _, page, inputs = full
    (gain,) = gains(inputs["rows"])
    assert [claim.shown for claim in gain.claims] == [True, True]
    first = [str(claim) for claim in gain.claims]
    assert " rose by 12." in first[0] and "as many steps on demonstrations alone" in first[1]
    words = page.words.replace(" ,", ",")
    start = words.index(inputs["title"], words.index(inputs["title"]) + 1) + len(inputs["title"])
    said = re.sub(r"\s+", "", "".join(first))
    assert re.sub(r"\s+", "", words[start:]).startswith(said)
    assert page.source.index('class="claim"') < page.source.index("<nav")


def test_what_is_not_shown_is_not_set_off(tmp_path):
    rows = [row for row in result_rows(tasks=3) if row["method"] == "meta_imitation"]
    rows += [dict(row, method="mili", round=1) for row in rows if row["round"] == 0]
    page = Page(write_report(tmp_path / "r", **small(rows=rows)))
    claims = [a["class"] for tag, a in page.tags if tag == "p" and "claim" in a.get("class", "")]
    assert claims[0] == "claim open" and "an improvement is" not in page.words
    assert (
        "0.0 points : a change is not shown, the 95% interval 0.0 to 0.0 includes 0" in page.words
    )


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
            [[row["successes"] for row in rows if row["family"] == family] for family in GROUPS]
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
        "by group 97.0%",
        "round 1 3,200 3,200 941 29.4% 489 250 162 47",
        "310 39%",
        "train.learning_rate 0.0003",
        "policy.image 64, 64",
        "pretrain 412",
        "jax 0.10.0",
        "commit 0123abc",
        "4 of these 8 succeed",
        "equivalent",
    ):
        assert words in page.words
    chosen = [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "chosen"]
    assert len(chosen) == 2


def test_who_answered_and_what_went_wrong_is_said(tmp_path):
    trials = {"round": 1, "trials": 48, "answered": 27, "by_people": 20, "useful": 12}
    warnings = ["mili_1: all demonstrations have nearly the same embedding"]
    page = Page(write_report(tmp_path / "r", **small(collection=[trials], warnings=warnings)))
    assert "round 1 48 27 20 by people 12 44.4%" in page.words
    assert page.source.index(warnings[0]) < page.source.index("<nav")


def test_errors_of_actions_are_means_with_intervals_over_episodes(tmp_path):
    """By hand: the mean of 0.1, 0.2, 0.3 has Student's half width 4.303 * 0.1 / sqrt(3)."""
    about = {"error_of": "mili", "round": 1, "config": "logs", "domain": "logs", "seed": 0}
    right = {"demo": "right", "about": "a", "episodes": ["x", "y", "z"], "errors": [0.1, 0.2, 0.3]}
    wrong = {"demo": "wrong", "about": "a", "episodes": ["x", "y"], "errors": [0.2, 0.3]}
    page = Page(
        write_report(tmp_path / "r", **small(rows=[], errors=[about | right, about | wrong]))
    )
    assert "On 3 held-out episodes actions are off by 20.0 %" in page.words.replace(
        "20.0%", "20.0 %"
    )
    assert "95% interval \u22124.84 to +44.84" in page.words
    assert "+10.00" in page.words  # each of the two is off by 0.1 more
    with pytest.raises(DataError, match="3 errors of 2 episodes"):
        broken = about | right | {"episodes": ["x", "y"]}
        write_report(tmp_path / "q", **small(rows=[], errors=[broken]))


def test_what_is_long_in_the_provenance_is_folded_and_still_there(tmp_path):
    many = {f"stage_{k}": {"seconds": k, "commit": "c" * 40} for k in range(30)}
    page = Page(
        write_report(tmp_path / "r", **small(manifest={"versions": {"a": 1}, "stages": many}))
    )
    source = page.source[page.source.index('id="provenance"') :]
    open_, _, folded = source.partition("<details>")
    assert "Versions" in open_ and "stage_7.seconds" not in open_
    assert "Stages (60 values)" in folded and "stage_29.seconds" in folded


def test_films_of_the_page_come_successes_first(full):
    _, page, _ = full
    films = [ref for ref in page.references if ref.endswith(".mp4")]
    assert len(films) == 8
    assert films[:2] == ["videos/00-success.mp4", "videos/01-success.mp4"]
    assert page.words.count("success press bottle_03") == 1


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
    assert Page(index).headings == ["At a glance"]


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


def test_any_name_is_shown_and_none_becomes_a_file(tmp_path):
    rows = rows_of_groups(NASTY, domain=NASTY[1])
    for row, name in zip(rows, NASTY * 2, strict=True):
        row["task"] = f"{name} {row['task']}"
    collection = [
        {
            "round": 1,
            "trials": 9,
            "useful": 3,
            "achieved": dict.fromkeys(NASTY, 1),
            "confusion": {name: {name: 1, "none": 2} for name in NASTY},
        }
    ]
    clips = [
        dict(films()[0], title=name, family=name, caption=f"achieved: {name}") for name in NASTY
    ]
    data = {"z": np.eye(len(NASTY)), "family": NASTY, "split": NASTY}
    index = write_report(
        tmp_path / "r",
        **small(
            title=NASTY[5],
            rows=[*rows, *[dict(row, method=NASTY[2]) for row in rows]],
            collection=collection,
            videos=clips[:6],
            embedding=data,
            metrics=[{"stage": name, "step": 0, "nll": 1.0} for name in NASTY],
            config={name: name for name in NASTY},
        ),
    )
    page = Page(index)
    assert not any(tag == "script" for tag, _ in page.tags)
    for name in NASTY[:9]:
        assert page.words.count(" ".join(name.split())) >= 5, name
    assert "\ud800" not in page.source and "\u202e" not in page.source and "\x00" not in page.source
    for path in index.parent.rglob("*"):
        assert re.fullmatch(r"[a-z0-9.-]+", path.name) and len(path.name) < 40


def test_groups_have_the_colour_of_their_place_everywhere(tmp_path):
    rows = other_domain(groups=("open drawer", "turn lever", "wipe"), tasks=2)
    page = Page(
        write_report(
            tmp_path / "r",
            **small(
                rows=rows,
                groups=["wipe", "open drawer"],
                collection=[{"round": 1, "trials": 2, "useful": 1, "achieved": {"wipe": 1}}],
                videos=[dict(films()[0], family="wipe")],
            ),
        )
    )
    classes = [attrs.get("class", "") for tag, attrs in page.tags if tag == "i"]
    heads = [name for name in re.findall(r'swatch (g-\d+)"[^>]*></i><bdi>([^<]+)', page.source)]
    assert len(classes) == len(heads)
    assert set(heads) == {("g-0", "wipe"), ("g-1", "open drawer"), ("g-2", "turn lever")}


def test_two_domains_stand_side_by_side(tmp_path):
    rows = [*result_rows(tasks=2), *other_domain(tasks=2)]
    index = write_report(tmp_path / "r", **small(rows=rows))
    page = Page(index)
    assert "Success on test tasks of kitchen with" in page.words
    assert "Success on test tasks of cabinet with" in page.words
    assert "MILI, round 1 (cabinet)" in page.words
    names = {path.name for path in (index.parent / "figures").iterdir()}
    assert {"success.svg", "success-2.svg"} <= names


CHROMIUM = shutil.which("chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_pages_in_a_browser_fit_a_phone_and_a_desk_by_light_and_dark(full, tmp_path):
    from playwright.sync_api import sync_playwright

    names = rows_of_groups(NASTY, domain="d", method="mili_" + "x" * 200, config="y" * 200)
    nasty = write_report(
        tmp_path / "nasty",
        **small(
            title="z" * 200,
            rows=names,
            videos=[dict(films()[0], title="word" * 50, family="w" * 200, caption="c" * 300)],
            config={"k" * 200: "v" * 300},
        ),
    )
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        for index in (full[0], nasty):
            for width in (390, 1280):
                papers = set()
                for scheme in ("light", "dark"):
                    view = browser.new_page(
                        viewport={"width": width, "height": 800}, color_scheme=scheme
                    )
                    view.goto(index.as_uri())
                    for details in view.locator("details").all():
                        details.evaluate("d => { d.open = true }")
                    assert view.evaluate("document.documentElement.scrollWidth") == width
                    papers.add(view.evaluate("getComputedStyle(document.body).backgroundColor"))
                    for image in view.locator("picture img").all():
                        image.scroll_into_view_if_needed()
                        source = image.evaluate(
                            "async i => { await i.decode(); return i.currentSrc }"
                        )
                        assert ("-narrow" in source) == (width == 390)
                        assert ("-dark" in source) == (scheme == "dark")
                    # A table wider than its card scrolls there, by keyboard too.
                    for table in view.locator(".scroll").all():
                        assert table.evaluate("t => getComputedStyle(t).overflowX") == "auto"
                        assert table.get_attribute("tabindex") == "0"
                        assert table.evaluate("t => t.getBoundingClientRect().right") <= width
                    view.close()
                assert len(papers) == 2
        film = browser.new_page()
        film.goto(full[0].as_uri())
        first = film.locator("video").first
        first.evaluate("v => v.play()")
        film.wait_for_function("document.querySelector('video').currentTime > 0", timeout=20_000)
        assert first.evaluate("v => v.error") is None
        browser.close()
