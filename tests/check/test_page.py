"""The pages: whole, safe, and with everything on them that the verdict knows."""

from __future__ import annotations

from html.parser import HTMLParser
from random import Random

import pytest

from sdkit.check import Recorder, Register, Transaction, isolation, linearizability
from sdkit.check import page as page_of
from tests.check.generate import register_calls, store_transactions

HOSTILE = "<script>alert(1)</script>&\"'@body@"


class Outline(HTMLParser):
    """The tags, the words, and whatever is fetched from elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_calls_are_bars_in_the_rows_of_their_processes() -> None:
    calls = register_calls(Random(3), clients=30, operations=100, stale=True)
    verdict = linearizability.check(calls, Register())
    page = Outline(page_of(verdict, "a.jsonl"))
    assert verdict.counterexample is not None
    for each in verdict.counterexample.operations:
        assert f"process {each.process}" in page.text
    assert "✗ read: " in page.text
    assert "cannot be next" in page.text
    assert "script" not in page.tags
    assert page.fetched == []


def test_every_point_of_the_order_lies_within_the_time_of_its_call() -> None:
    from sdkit.check.page_of_calls import _Bars

    for seed in range(5):
        calls = register_calls(Random(seed), clients=10, operations=60, stale=True)
        found = linearizability.check(calls, Register()).counterexample
        assert found is not None
        bars = _Bars(found)
        points = [part for part in bars._points() if part.startswith("<circle")]
        last = 0.0
        for placed, point in zip(found.order, points, strict=True):
            x = float(point.split('cx="')[1].split('"')[0])
            each = placed.operation
            assert bars._x(each.start) <= x <= bars._x(each.end) + 1
            assert x >= last
            last = x


def test_a_verdict_without_a_counterexample_is_one_sentence() -> None:
    page = Outline(page_of(linearizability.check([], Register()), "empty"))
    assert "linearizable" in page.text
    assert "svg" not in page.tags


def test_circles_have_a_sentence_for_each_arrow() -> None:
    verdict = isolation.check(store_transactions(Random(1), "read committed", count=300))
    page = Outline(page_of(verdict, "t.jsonl"))
    for name, anomaly in verdict.anomalies.items():
        assert name in page.text
        assert len(anomaly.edges) >= 2
    arrows = sum(len(anomaly.edges) for anomaly in verdict.anomalies.values())
    assert page.tags.count("polygon") == arrows
    assert page.tags.count("li") == arrows
    assert "would have to come before itself" in page.text


@pytest.mark.parametrize("complete", [True, False])
def test_the_ladder_says_holds_only_where_that_is_known(complete: bool) -> None:
    position = 1 if complete else None
    history = [
        Transaction(1, writes=[("x", 1)], position=position),
        Transaction(2, writes=[("x", 2)], position=position and 2),
    ]
    text = page_of(isolation.check(history)).replace("\n", " ")
    assert ("✓ holds" in text) == complete
    assert ("? no anomaly found" in text) == (not complete)


def test_what_a_history_says_is_never_markup() -> None:
    recorder = Recorder()
    recorder.invoke(HOSTILE, "read", HOSTILE)
    recorder.ok(HOSTILE, HOSTILE)
    order = page_of(linearizability.check(recorder.history(), Register()), HOSTILE)
    history = [
        Transaction(HOSTILE, [(HOSTILE, None), ("y", None)], [("y", 1)], position=1),
        Transaction(2, [(HOSTILE, None), ("y", None)], [(HOSTILE, HOSTILE)], position=2),
    ]
    circle = page_of(isolation.check(history), HOSTILE)
    for page in (order, circle):
        assert "<script" not in page
        assert Outline(page).tags.count("svg") >= 1


def test_a_name_that_is_no_text_of_unicode_is_shown_as_an_escape() -> None:
    recorder = Recorder()
    recorder.invoke("\ud800", "read")
    recorder.ok("\ud800", 1)
    verdict = linearizability.check(recorder.history(), Register())
    aborted = Transaction("\ud801", writes=[("x", 1)], status="aborted")
    seen = isolation.check([aborted, Transaction("\ud802", reads=[("x", 1)])])
    for found, names in ((verdict, ["\\ud800"]), (seen, ["\\ud801", "\\ud802"])):
        for text in (found.explain(), page_of(found, "\udcff")):
            assert text.encode()
            assert all(name in text for name in names)
