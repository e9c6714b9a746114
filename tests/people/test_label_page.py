"""The label page in a real browser, on trials whose pictures say what is right."""

from __future__ import annotations

import collections
import signal
import time

import pytest
from made import run_of, useful

from mili_jax.storage.dataset import Dataset
from mili_jax.storage.labels import Answer, resolve

SIZE = 9


def until(page, script, arg=None):
    """Waits until a script, of the argument if it takes one, gives true: by asking again, since the
    page's own policy forbids to evaluate texts in it."""
    deadline = time.monotonic() + 30
    while not page.evaluate(script, arg):
        assert time.monotonic() < deadline, (script, page.inner_text("body"), page.faults)
        page.wait_for_timeout(30)


def labels_of(folder):
    return Dataset(folder / "dataset").read_labels("round_1")


def number_of(label):
    return int(label.episode_id.rpartition("-")[2])


def tiles(page):
    """(trial, answer) of each tile of the page that is shown."""
    return page.evaluate(
        "[...document.querySelectorAll('#grid .tile')].map(t => [+t.dataset.trial, "
        "t.dataset.answer])"
    )


def shows_clips(page):
    """Waits until every tile plays: its canvas has the clip's size, and pixels."""
    until(
        page,
        "() => { const c = [...document.querySelectorAll('#grid canvas')];"
        " return c.length && c.every(x => x.width === 32 && x.height === 24); }",
    )


def waits_for_page(page, before=()):
    """The next page of questions, or None once there is none left."""
    until(
        page,
        "(before) => !document.querySelector('#message').hidden && "
        "document.querySelector('#message').textContent.includes('are answered') || "
        "document.querySelector('#grid .tile') && !document.querySelector('#grid').hidden && "
        "[...document.querySelectorAll('#grid .tile')].map(t => t.dataset.trial).join() !== before",
        arg=",".join(str(trial) for trial, _ in before),
    )
    return tiles(page) if page.is_visible("#grid") else None


def answer_by_keys(page, shown):
    """Turns round with the keys 1-9 what is wrong, and saves with Enter."""
    for i, (trial, answer) in enumerate(shown):
        if answer != ("yes" if useful(trial) else "no"):
            page.keyboard.press(str(i + 1))
    assert tiles(page) == [[t, "yes" if useful(t) else "no"] for t, _ in shown]
    page.keyboard.press("Enter")


def saved(page):
    until(page, "document.querySelector('#saved').textContent === 'all saved'")


def answers_all(page, most=1000):
    """Answers pages until none is left, or so many; how many it was."""
    before, count = [], 0
    while count < most and (shown := waits_for_page(page, before)):
        answer_by_keys(page, shown)
        before, count = shown, count + 1
    saved(page)
    return count


def check_all_right(folder, trials, by=("ana",)):
    """Every trial has the right answer, none is lost, and nobody answered an asking twice."""
    labels = labels_of(folder)
    assert resolve(labels) == {f"round_1-{k:06d}": useful(k) for k in range(trials)}
    askings = collections.Counter((x.episode_id, x.annotator, x.asked) for x in labels)
    assert max(askings.values()) == 1 and {x.annotator for x in labels} <= set(by)
    return labels


def test_two_hundred_trials_by_keys_with_undo_reload_and_a_killed_server(tmp_path, label, person):
    run_of(tmp_path, 200)
    server = label(tmp_path)
    page = person(server)
    shown = waits_for_page(page)
    assert len(shown) == SIZE and "token" not in page.url
    shows_clips(page)
    # One page, then back: the answers are there, a correction is written, nothing twice.
    answer_by_keys(page, shown)
    waits_for_page(page, shown)
    saved(page)
    assert len(labels_of(tmp_path)) == SIZE
    page.keyboard.press("z")
    until(page, f"document.querySelector('.tile').dataset.trial === '{shown[0][0]}'")
    assert tiles(page) == [[t, "yes" if useful(t) else "no"] for t, _ in shown]
    page.keyboard.press("Shift+Digit2")
    page.keyboard.press("Enter")
    second = waits_for_page(page, shown)
    saved(page)
    found = labels_of(tmp_path)
    assert len(found) == SIZE + 1 and found[-1].answer is Answer.UNSURE
    assert number_of(found[-1]) == shown[1][0]
    page.keyboard.press("z")
    until(page, f"document.querySelector('.tile').dataset.trial === '{shown[0][0]}'")
    page.keyboard.press("2")  # from unsure to yes
    if not useful(shown[1][0]):
        page.keyboard.press("2")
    page.keyboard.press("Enter")
    waits_for_page(page, shown)
    # Reloaded in the middle of a page: the same page with what was turned round.
    page.keyboard.press("5")
    turned = tiles(page)
    assert [t for t, _ in turned] == [t for t, _ in second]
    page.reload()
    waits_for_page(page)
    assert tiles(page) == turned
    assert answers_all(page, 5) == 5
    # Killed: what is answered meanwhile waits in the browser, through a reload as well.
    port, before = server.port, len(labels_of(tmp_path))
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(20)
    shown = waits_for_page(page)
    answer_by_keys(page, shown)
    until(page, "document.querySelector('#trouble').textContent.includes('kept')")
    assert page.inner_text("#saved") == f"{len(shown)} not saved yet"
    assert len(labels_of(tmp_path)) == before
    server = label(tmp_path, port=port)
    page.reload()
    saved(page)
    assert len(labels_of(tmp_path)) == before + len(shown)
    until(page, "document.querySelector('#trouble').hidden")
    answers_all(page)
    assert "All 200 trials are answered" in page.inner_text("#message")
    labels = labels_of(tmp_path)
    assert resolve(labels) == {f"round_1-{k:06d}": useful(k) for k in range(200)}
    twice = [x for x in labels if x.asked == 2]
    assert 10 <= len(twice) <= 35 and len(labels) == 200 + len(twice) + 2  # two corrections
    assert all(0 < x.seconds < 60 and x.time and x.kind == "person" for x in labels)
    assert not page.faults
    said, code = server.end(signal.SIGTERM)
    assert code == 143 and "with 200 of 200 trials answered" in said


def test_two_people_at_once_share_the_trials(tmp_path, label, person):
    run_of(tmp_path, 60)
    server = label(tmp_path)
    people = [person(server, "ana"), person(server, "bo")]
    last = [waits_for_page(page) for page in people]
    assert not {t for t, _ in last[0]} & {t for t, _ in last[1]}
    while any(last):
        for k, page in enumerate(people):
            if last[k]:
                answer_by_keys(page, last[k])
                last[k] = waits_for_page(page, last[k])
    for page in people:
        saved(page)
    labels = check_all_right(tmp_path, 60, ("ana", "bo"))
    by = collections.Counter(x.annotator for x in labels)
    assert min(by["ana"], by["bo"]) >= 15
    # What is asked twice went to the other one, where they were there in time.
    twice = [n for n, k in collections.Counter(x.episode_id for x in labels).items() if k == 2]
    both = {(x.episode_id, x.annotator) for x in labels if x.episode_id in twice}
    assert twice and len(both) > len(twice)
    page = people[0]
    page.keyboard.press("?")
    facts = page.inner_text("#facts")
    assert "100% of" in facts and "kappa" in facts


def test_one_at_a_time_with_y_n_and_u(tmp_path, label, person):
    run_of(tmp_path, 12)
    page = person(label(tmp_path))
    waits_for_page(page)
    page.keyboard.press("s")
    said = {}
    while page.is_visible("#single"):
        trial = int(page.locator("#single .clip").first.get_attribute("data-trial"))
        key = "u" if len(said) == 3 else ("y" if useful(trial) else "n")
        again = trial in said
        page.keyboard.press(key)
        said.setdefault(trial, key)
        until(
            page,
            "(t) => document.querySelector('#single').hidden ||"
            " document.querySelector('#single .clip').dataset.trial !== t",
            arg=str(trial),
        )
        assert not again or len(said) <= 12
    saved(page)
    words = {"y": Answer.YES, "n": Answer.NO, "u": Answer.UNSURE}
    first = {number_of(x): x.answer for x in labels_of(tmp_path) if x.asked == 1}
    assert first == {trial: words[key] for trial, key in said.items()} and len(said) == 12
    page.keyboard.press("z")
    page.wait_for_selector("#single .clip[data-answer]")
    assert not page.faults


def test_touch_on_a_narrow_screen(tmp_path, label, person):
    run_of(tmp_path, 20)
    page = person(label(tmp_path), width=390, height=844, has_touch=True, is_mobile=True)
    shown = waits_for_page(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    before = dict(map(tuple, shown))
    page.locator("#grid .tile").nth(2).tap()
    after = dict(map(tuple, tiles(page)))
    turned = shown[2][0]
    assert after == {**before, turned: "no" if before[turned] == "yes" else "yes"}
    for name in ("commit", "undo", "speed", "view", "flip"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["height"] >= 36 and box["x"] >= 0 and box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844
    page.locator("#commit").tap()
    waits_for_page(page, shown)
    saved(page)
    assert len(labels_of(tmp_path)) == SIZE and not page.faults


@pytest.mark.parametrize("speed", [1, 2, 3, 4])
def test_speeds_and_a_stop(tmp_path, label, person, speed):
    run_of(tmp_path, 9)
    page = person(label(tmp_path))
    waits_for_page(page)
    shows_clips(page)
    while page.inner_text("#speed span")[0] != str(speed):
        page.keyboard.press("f")
    page.keyboard.press(" ")
    page.wait_for_timeout(100)
    run = page.locator("#grid .run").first
    still = run.evaluate("x => x.style.width")
    page.wait_for_timeout(300)
    assert run.evaluate("x => x.style.width") == still
    page.keyboard.press(" ")
    until(page, "w => document.querySelector('#grid .run').style.width !== w", arg=still)
