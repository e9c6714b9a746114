"""What result rows say, in words and tables."""

import re
from pathlib import Path

import numpy as np
import pytest
from report_rows import (
    GROUPS,
    NASTY,
    RATES,
    mean_rate,
    other_domain,
    pairing_rows,
    result_rows,
    rows_of_groups,
    with_variants,
)
from scipy import stats

from mili_jax.report.attribution import attribution_lines
from mili_jax.report.figures.sweeps import sweeps_figure
from mili_jax.report.gain import gains
from mili_jax.report.groups import groups_of
from mili_jax.report.methods import Policy
from mili_jax.report.rounds import series
from mili_jax.report.rowfiles import read_files
from mili_jax.report.statistics import group_table, headline, paired_difference, select
from mili_jax.report.summary import summary
from mili_jax.report.sweeps import sweeps
from mili_jax.types import ConfigError


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
    first = text[text.index("| test tasks") :].split("\n\n")[0]
    table = [line for line in first.splitlines() if line.startswith("|")]
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


def test_groups_come_in_the_order_of_their_domain():
    assert groups_of([{"family": name} for name in GROUPS[::-1]]) == GROUPS
    assert groups_of([{"family": name} for name in ("lift", "place", "press")]) == (
        *("press", "place"),
        "lift",
    )
    elsewhere = [{"family": name, "domain": "d"} for name in ("push", "open", "push", "grasp")]
    assert groups_of(elsewhere) == ("push", "open", "grasp")
    with pytest.raises(ConfigError, match=r"'d', 'kitchen'.*select"):
        groups_of([*elsewhere, {"family": "push"}])


def test_unlike_domains_are_never_averaged():
    kitchen, cabinet = result_rows(tasks=3), other_domain(tasks=3)
    for rows in (kitchen, cabinet):
        rows[:] = [row for row in rows if row["method"] in ("mili", "meta_imitation")]
    alone = [summary(rows) for rows in (kitchen, cabinet)]
    both = summary([*kitchen, *cabinet])
    for text, domain in zip(alone, ("kitchen", "cabinet"), strict=True):
        for line in text.splitlines():
            if line.startswith("| ") and "test tasks" not in line:
                name, rest = line[2:].split(" | ", 1)
                assert f"| {_named(name, domain)} | {rest}" in both
            if line.startswith("- "):
                assert line.partition(": ")[2].partition("%")[0] in both
    numbers = [len(re.findall(r"points \(95%", text)) for text in (*alone, both)]
    assert numbers[2] == numbers[0] + numbers[1] > 4
    condition = {"method": "mili", "round": 1, "demo": "right"}
    mixed = select([*kitchen, *cabinet], **condition)
    with pytest.raises(ConfigError, match="several domains, 'kitchen', 'cabinet'"):
        headline(mixed)
    same = [dict(row, domain="other") for row in kitchen]
    with pytest.raises(ConfigError, match=r"'kitchen'.*'other'.*not compared"):
        paired_difference(select(kitchen, **condition), select(same, **condition))


def _named(name, domain):
    name, comma, demo = name.partition(", wrong")
    if not comma:
        name, comma, demo = name.partition(", no ")
    return f"{name} ({domain}){comma}{demo}"


def test_an_interval_does_not_depend_on_the_order_of_rows_in_any_domain():
    rows = select(other_domain(tasks=4), method="mili", round=1, demo="right")
    back = rows[::-1]
    assert [r.group for r in group_table(back)] == [r.group for r in group_table(rows)][::-1]
    one, other = headline(rows), headline(back)
    assert (one.rate, one.low, one.high) == (other.rate, other.low, other.high)
    assert (one.groups, other.groups) == (("open drawer", "turn lever"), other.groups[:2])
    assert other.groups == one.groups[::-1]


@pytest.mark.parametrize("count", [1, 2, 12, 15])
def test_a_domain_may_have_any_number_of_groups(count):
    names = [f"kind {k}" for k in range(count)]
    rows = rows_of_groups(names, domain="many")
    assert [(r.group, r.successes) for r in group_table(rows)] == [
        (name, 2 * (k + 1)) for k, name in enumerate(names)
    ]
    assert headline(rows).rate == pytest.approx((count + 1) / 2 / 20)


@pytest.mark.parametrize(
    "method, number, label",
    [
        ("pictures_only", 1, "Pictures of trials alone, round 1"),
        ("mili_pictures_only", 1, "Pictures of trials alone, round 1"),
        ("useless_only", 1, "Useless trials alone, round 1"),
        ("mili_useless_only", 2, "Useless trials alone, round 2"),
        ("early_stopped", 1, "Equal steps, demos only, stopped early, round 1"),
        ("mili_two_views", 3, "MILI, two views, round 3"),
        ("mili_self_only", 1, "MILI, each trial with itself alone, round 1"),
        ("mili_alpha_900", 1, "MILI, round 1, alpha (least cosine of a pair): 0.9"),
        ("mili_", 1, "mili_, round 1"),
        ("my own arm!", 0, "my own arm!"),
    ],
)
def test_methods_have_readable_names_and_unknown_ones_their_own(method, number, label):
    assert Policy("c", method, number).label == label


def test_an_unknown_method_is_listed_and_compared():
    rows = result_rows(tasks=2)
    rows += [
        dict(row, method="my_arm") for row in rows if row["method"] == "mili" and row["round"] == 1
    ]
    text = summary(rows)
    assert "| my_arm, round 1 |" in text
    assert "- my_arm, round 1, against MILI, round 1: " in text
    assert "- my_arm, round 1, against Equal steps, demos only, round 1: " in text


def test_tables_hold_whatever_names_there_are():
    for name in NASTY:
        rows = rows_of_groups([name, "b"], method=name, config=name, domain="d")
        text = summary(rows)
        line = next(line for line in text.splitlines() if line[0:1] == "|" and "**" in line)
        assert len(re.split(r"(?<!\\)\|", line)) == 6  # ends, name, two groups, mean
        text.encode("utf-8")


def changed(rows, method, number, by, new):
    """The rows of a method and round under another name, with `by` successes more in each task."""
    return [
        {k: v for k, v in row.items() if k != "outcomes"}
        | {"method": new[0], "round": new[1]}
        | {"successes": min(max(row["successes"] + by, 0), row["n"])}
        for row in select(rows, method=method, round=number, demo="right")
    ]


def plain(rate=(3, 4, 5, 6), config="c", seeds=(0,), **fields):
    """Before the trials, every task of a group in the same number of ten episodes."""
    return [
        {
            **{"config": config, "split": "test", "demo": "right", "seed": seed, "n": 10},
            **{"method": "meta_imitation", "round": 0, "family": group, "task": f"{group} {t}"},
            **{"successes": successes, **fields},
        }
        for seed in seeds
        for group, successes in zip(GROUPS, rate, strict=True)
        for t in range(4)
    ]


def after(rows, by, method="mili", number=1):
    return changed(rows, "meta_imitation", 0, by, (method, number))


def said(rows):
    return [[str(claim) for claim in gain.claims] for gain in gains(rows)]


def test_the_first_sentence_says_how_much_better_the_robot_became():
    before = plain()
    rows = [*before, *after(before, 2), *after(before, 3, number=2)]
    rows += after(before, 1, "more_demonstrations")
    assert said(rows) == [
        [
            "One-shot success on test tasks rose by 30.0 points after 2 rounds of its own trials, "
            "from 45.0% to 75.0% (95% interval of the difference +30.0 to +30.0).",
            "After round 1 it is 10.0 points above what as many steps on as many rows of "
            "demonstrations alone give, 65.0% against 55.0% (95% interval +10.0 to +10.0).",
        ]
    ]
    assert gains(rows)[0].basis.startswith("16 tasks, one training seed")
    worse = [*before, *after(before, -1)]
    assert said(worse)[0][0].startswith("One-shot success on test tasks fell by 10.0 points after")
    rows += after(before, 1, "meta_imitation", 2)
    assert said(rows)[0][2].startswith(
        "After round 2 it is 20.0 points above what as many steps on"
    )


def test_what_is_not_shown_is_said_to_be_not_shown():
    before = plain()
    mixed = after(before, 0)
    for row in mixed:
        row["successes"] += {"0": 3, "1": -2, "2": 2, "3": -1}[row["task"][-1]]
    (gain,) = gains([*before, *mixed, *after(before, 0, "meta_imitation")])
    assert not any(claim.shown for claim in gain.claims)
    first, second = map(str, gain.claims)
    assert re.fullmatch(
        r"One-shot success on test tasks went from 45\.0% to 50\.0% after 1 round of its own "
        r"trials, \+5\.0 points: an improvement is not shown, the 95% interval \u2212[\d.]+ to "
        r"\+[\d.]+ includes 0\.",
        first,
    )
    assert second.startswith(
        "It is 50.0% against 45.0% with as many steps on demonstrations alone,"
    )
    assert "an improvement is not shown" in second
    alone = [row for row in [*before, *mixed] if row["task"].endswith("0")]
    assert (
        "too few tasks per group for an interval, so nothing can be concluded." in said(alone)[0][0]
    )
    assert not any(" rose " in text or " fell " in text for text in said(alone)[0])


def test_the_claim_is_the_paired_difference_of_the_committed_rows():
    folder = Path(__file__).resolve().parents[1] / "experiments" / "results"
    rows = read_files([folder / f"{name}/results.jsonl" for name in ("compare", "more_seeds")])
    (gain,) = gains(rows.results)
    mili, before, control = (
        select(rows.results, method=method, round=number)
        for method, number in (*(("mili", 1), ("meta_imitation", 0), ("more_demonstrations", 1)),)
    )
    for claim, other in zip(gain.claims, (before, control), strict=True):
        result = paired_difference(mili, other)
        assert claim.shown is result.shown is True
        assert claim.number.startswith(f"{100 * result.difference:.1f} points")
        assert f"+{100 * result.low:.1f} to +{100 * result.high:.1f}" in claim.after


def test_without_trials_or_without_a_start_the_claim_is_what_there_is():
    before = plain()
    assert said(before) == [
        [
            "One-shot success on test tasks is 45.0% (Meta-imitation, 95% interval 45.0 to 45.0%). "
            "These rows hold no round of trials to compare it with."
        ]
    ]
    assert said(after(before, 2))[0][0].startswith(
        "One-shot success on test tasks is 65.0% after 1 round of its own trials"
    )
    assert said([]) == []
    missing = [*before[1:], *after(before, 2)]
    assert "not compared" in said(missing)[0][0] and "is missing from" in said(missing)[0][0]


def test_each_domain_and_configuration_makes_its_own_claim():
    rows = [*plain(), *after(plain(), 1)]
    other = plain(config="e", domain="cabinet")
    rows += [*other, *after(other, 2)]
    found = {gain.subject: str(gain.claims[0]) for gain in gains(rows)}
    assert set(found) == {"c, kitchen", "e, cabinet"}
    assert "rose by 10.0 points" in found["c, kitchen"]
    assert "rose by 20.0 points" in found["e, cabinet"]


def test_rounds_hold_what_was_measured_and_begin_before_the_trials():
    before = plain()
    rows = [*before, *after(before, 1), *after(before, 3, number=2)]
    rows += [*after(before, 0, "meta_imitation"), *after(before, 1, "meta_imitation", 2)]
    rows += after(before, -1, "more_demonstrations")
    found = series(rows, "test")
    rates = {one.method: {at: headline(r).rate for at, r in one.rows.items()} for one in found}
    assert {m: {at: round(r, 6) for at, r in v.items()} for m, v in rates.items()} == {
        "mili": {0: 0.45, 1: 0.55, 2: 0.75},
        "meta_imitation": {0: 0.45, 1: 0.45, 2: 0.55},
        "more_demonstrations": {0: 0.45, 1: 0.35},
    }
    text = summary(rows)
    assert (
        "| 2 | 75.0% (75.0\u201375.0) | 55.0% (55.0\u201355.0); MILI +20.0 (+20.0 to +20.0) |"
        in text
    )
    assert series([row for row in rows if row["round"] < 2], "test") == []


def test_the_table_of_what_the_gain_is_due_to():
    before = plain()
    rows = [*before, *after(before, 3), *after(before, 0, "meta_imitation")]
    assert attribution_lines(rows, "test") == []
    rows += after(before, 2, "mili_pictures_only")
    rows += after(before, -1, "useless_only")
    rows += after(before, 3, "mili_self_only")
    rows += after(before, 1, "more_demonstrations")
    ((run, lines),) = attribution_lines(rows, "test")
    assert run == "c, kitchen"
    table = {line[0]: line[2:] for line in lines}
    assert list(table) == [
        *("Before the trials", "Equal steps, demos only", "Equal steps and rows, demos only"),
        *("Pictures of trials alone", "Useless trials alone"),
        *("MILI, each trial with itself alone", "MILI"),
    ]
    pictures = ("65.0% (65.0\u201365.0)", "+20.0 (+20.0 to +20.0)", "+10.0 (+10.0 to +10.0)")
    assert table["Pictures of trials alone"] == pictures
    assert table["MILI, each trial with itself alone"][2] == "0.0 (0.0 to 0.0), not shown"
    assert table["Equal steps, demos only"][1] == table["MILI"][2] == "\u2013"
    assert table["Useless trials alone"][1] == "\u221210.0 (\u221210.0 to \u221210.0)"
    assert "| Useless trials alone: trials that came to nothing |" in summary(rows)
