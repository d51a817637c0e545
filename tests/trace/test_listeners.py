"""What each listener makes of the same small run, to the letter."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sdkit import host as hosts
from sdkit.errors import InvalidArgument
from sdkit.host import Host
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.trace import (
    JsonLines,
    Listener,
    Logs,
    Metrics,
    Record,
    SequenceDiagram,
    event,
    listening,
    span,
)
from sdkit.trace.record import active


def small_run(listener: Listener) -> None:
    """Two commits, one scan that takes a second and one that fails, on two hosts."""

    async def main() -> None:
        with listening(listener):
            with hosts.running_on(SimulatedHost("db", seed=1)):
                event("store.commit", transaction=1, key=b"\xffa", total=1.5, note=None)
                with span("store.scan", rows=3):
                    await asyncio.sleep(1)
                with pytest.raises(KeyError), span("store.scan", rows=0):
                    await asyncio.sleep(0.25)
                    raise KeyError
            with hosts.running_on(SimulatedHost("replica", seed=1)):
                event("store.commit", transaction=2)
                event("net.send", source="replica", target="db", label="a;b #1")

    run(main())


def test_metrics_read_as_prometheus_expects() -> None:
    metrics = Metrics()
    small_run(metrics)
    values = {"store.keys": 12, "journal.free_bytes": 1.5e9, "store.removed_total": 3}
    assert metrics.text(values, {"store.keys": "Keys\\values\nby name."}) == (
        "# HELP sdkit_net_send_total Events net.send.\n"
        "# TYPE sdkit_net_send_total counter\n"
        "sdkit_net_send_total 1\n"
        "# HELP sdkit_store_commit_total Events store.commit.\n"
        "# TYPE sdkit_store_commit_total counter\n"
        "sdkit_store_commit_total 2\n"
        "# HELP sdkit_store_scan_seconds How long store.scan took, and how often it was done.\n"
        "# TYPE sdkit_store_scan_seconds summary\n"
        "sdkit_store_scan_seconds_sum 1.25\n"
        "sdkit_store_scan_seconds_count 2\n"
        "# HELP sdkit_store_scan_failed_total How often store.scan failed.\n"
        "# TYPE sdkit_store_scan_failed_total counter\n"
        "sdkit_store_scan_failed_total 1\n"
        "# HELP sdkit_journal_free_bytes journal.free_bytes\n"
        "# TYPE sdkit_journal_free_bytes gauge\n"
        "sdkit_journal_free_bytes 1500000000\n"
        "# HELP sdkit_store_keys Keys\\\\values\\nby name.\n"
        "# TYPE sdkit_store_keys gauge\n"
        "sdkit_store_keys 12\n"
        "# HELP sdkit_store_removed_total store.removed_total\n"
        "# TYPE sdkit_store_removed_total counter\n"
        "sdkit_store_removed_total 3\n"
    )


def test_metrics_of_one_host_leave_the_others_out() -> None:
    metrics = Metrics(host="replica")
    small_run(metrics)
    assert metrics.count("store.commit") == 1
    assert metrics.count("store.scan") == 0
    assert metrics.count("net.send") == 1


def test_metrics_with_nothing_counted_are_empty() -> None:
    assert Metrics().text() == ""


def test_json_lines_are_one_object_each_with_every_fact() -> None:
    file = io.StringIO()
    small_run(JsonLines(file))
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert lines[0] == {
        "name": "store.commit",
        "host": "db",
        "at_ns": 946_684_800_000_000_000,
        "fields": {"transaction": 1, "key": "\\xffa", "total": 1.5, "note": None},
    }
    scan, failed = lines[1], lines[2]
    assert (scan["duration_ns"], scan["fields"]) == (1_000_000_000, {"rows": 3})
    assert scan["trace_id"] == scan["span_id"]
    assert "failed" not in scan
    assert "parent_id" not in scan
    assert failed["failed"] is True
    assert [line["name"] for line in lines] == [
        "store.commit",
        "store.scan",
        "store.scan",
        "store.commit",
        "net.send",
    ]


def test_json_lines_stay_valid_whatever_a_field_holds() -> None:
    file = io.StringIO()
    with listening(JsonLines(file)):
        event("a.b", text='"\n\\', huge=2**70, pair=(1, b"x"), odd={1, 2}, far=float("inf"))

    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is not JSON")

    (line,) = file.getvalue().splitlines()
    fields = json.loads(line, parse_constant=refuse)["fields"]
    assert fields["text"] == '"\n\\'
    assert fields["pair"] == [1, "x"]
    assert fields["far"] == "inf"


def test_logs_go_to_the_logger_of_the_room(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sdkit"):
        small_run(Logs())
    assert [(it.name, it.levelname, it.getMessage()) for it in caplog.records] == [
        (
            "sdkit.store",
            "INFO",
            "store.commit transaction=1 key=b'\\xffa' total=1.5 note=None [db]",
        ),
        ("sdkit.store", "INFO", "store.scan rows=3 took=1000.000ms [db]"),
        ("sdkit.store", "WARNING", "store.scan rows=0 took=250.000ms [db]"),
        ("sdkit.store", "INFO", "store.commit transaction=2 [replica]"),
        ("sdkit.net", "INFO", "net.send source='replica' target='db' label='a;b #1' [replica]"),
    ]


def test_logs_below_the_level_asked_for_are_not_made(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "sdkit"):
        small_run(Logs())
    assert [it.levelname for it in caplog.records] == ["WARNING"]


def label(record: Record) -> str | None:
    return str(record.fields.get("label", record.name)) if record.duration_ns is None else None


def test_a_sequence_diagram_has_arrows_and_notes_in_order() -> None:
    diagram = SequenceDiagram(label)
    small_run(diagram)
    assert diagram.text() == (
        "sequenceDiagram\n"
        "    participant db\n"
        "    participant replica\n"
        "    Note over db: store.commit\n"
        "    Note over replica: store.commit\n"
        "    replica->>db: a#59;b #35;1\n"
    )


def test_a_sequence_diagram_says_what_it_left_out() -> None:
    diagram = SequenceDiagram(label, arrows_max=1)
    small_run(diagram)
    assert diagram.text() == (
        "sequenceDiagram\n"
        "    participant db\n"
        "    Note over db: store.commit\n"
        "    Note over db: 2 more left out\n"
    )


def test_participants_whose_names_mermaid_cannot_read_get_readable_ones() -> None:
    diagram = SequenceDiagram(label)
    with listening(diagram), hosts.running_on(Host("client 1:a")):
        event("net.send", source="client 1:a", target="end", label="hello")
    assert diagram.text() == (
        "sequenceDiagram\n"
        "    participant p0 as client 1:a\n"
        "    participant p1 as end\n"
        "    p0->>p1: hello\n"
    )


def test_a_listener_may_choose_names_and_the_others_stay_free() -> None:
    heard: list[str] = []
    with listening(lambda record: heard.append(record.name), "room.rare", "room.long"):
        event("room.often")
        event("room.rare", number=1)
        with span("room.long"):
            event("room.often")
        assert not active(), "who hears chosen names only must not make every call dear"
    event("room.rare")
    assert heard == ["room.rare", "room.long"]


# ── what they are given ──────────────────────────────────────────────────────


async def asynchronous(_: Record) -> None:
    return


@pytest.mark.parametrize("listener", [asynchronous, None, 7, "print", [print]])
def test_what_is_no_plain_function_is_no_listener(listener: Any) -> None:
    with pytest.raises(InvalidArgument, match="listener"), listening(listener):
        pass
    event("nobody.listens")


def test_the_wrong_kind_is_refused_when_it_is_given() -> None:
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: listening(print, 5).__enter__(), "name to listen to is 5"),  # type: ignore[arg-type]
        (lambda: JsonLines("file.jsonl"), "file is 'file.jsonl'"),  # type: ignore[arg-type]
        (lambda: Logs("INFO"), "level is 'INFO'"),  # type: ignore[arg-type]
        (lambda: Metrics(7), "host is 7"),  # type: ignore[arg-type]
        (lambda: Metrics().text({"a": "1"}), "a is '1'"),  # type: ignore[dict-item]
        (lambda: Metrics().text({"a": True}), "a is True"),
    ]
    for make, match in wrong:
        with pytest.raises(InvalidArgument, match=match):
            make()


def test_a_strange_name_of_an_event_spoils_no_scrape() -> None:
    metrics = Metrics()
    with listening(metrics):
        event("shop.GET /users größe\n")
    lines = [line for line in metrics.text().splitlines() if not line.startswith("#")]
    assert lines == ["sdkit_shop_GET__users_gr__e__total 1"]


def test_listeners_that_threads_share_count_and_write_each_record_once_and_whole() -> None:
    def work() -> None:
        for number in range(1_000):
            event("shop.paid", number=number)
            with span("shop.pack"):
                pass

    file = io.StringIO()
    metrics, diagram = Metrics(), SequenceDiagram(lambda each: each.name, arrows_max=10_000)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with listening(metrics), listening(JsonLines(file)), listening(diagram):
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert (metrics.count("shop.paid"), metrics.count("shop.pack")) == (4_000, 4_000)
    assert (len(lines), diagram.text().count("Note over")) == (8_000, 8_000)


def drawn(source: str, target: str, text: str = "hi") -> list[str]:
    diagram = SequenceDiagram(lambda _: text)
    with listening(diagram):
        event("net.send", source=source, target=target)
    return diagram.text().splitlines()[1:]


@pytest.mark.parametrize(
    "name",
    ["a-", "a-x", "a--", "a ", "end", "Note", "loop", "title", "a as b", "right of", "p1", "!", ""],
)
def test_a_name_that_is_a_word_of_mermaids_is_only_ever_an_alias(name: str) -> None:
    alias, other, arrow = drawn(name, "db")
    assert alias == f"    participant p0 as {name}"
    assert other == "    participant db"
    assert arrow == "    p0->>db: hi"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x85", "\x0b"])
def test_a_label_of_two_lines_is_one_statement(end: str) -> None:
    assert drawn("a", "b", f"one{end}two")[-1] == "    a->>b: one<br/>two"


@pytest.mark.parametrize(
    ("label", "arrows_max"),
    [(None, 1), (5, 1), (asyncio.sleep, 1), (str, 0), (str, -1), (str, "x"), (str, True)],
)
def test_what_nothing_can_be_drawn_with_is_refused(label: Any, arrows_max: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"label is|arrows_max is"):
        SequenceDiagram(label, arrows_max=arrows_max)


def test_a_label_that_is_no_text_is_named() -> None:
    wrong: Any = lambda _: 5  # noqa: E731
    with (
        pytest.raises(InvalidArgument, match="label returned 5"),
        listening(SequenceDiagram(wrong)),
    ):
        event("net.send")


@pytest.mark.parametrize("fact", [{"a": float("nan")}, {(1, 2): 3}, {b"a": [float("inf")]}])
def test_a_dictionary_among_the_facts_is_valid_json_too(fact: Any) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    lines = io.StringIO()
    with listening(JsonLines(lines)):
        event("net.send", fact=fact)
    json.loads(lines.getvalue(), parse_constant=refuse)


@pytest.mark.parametrize("name", [None, 5, b"net.send", ["net.send"]])
def test_an_event_or_a_span_without_a_name_is_refused_and_spoils_no_scrape(name: Any) -> None:
    metrics = Metrics()
    with listening(metrics):
        with pytest.raises(InvalidArgument, match="name is"):
            event(name)
        with pytest.raises(InvalidArgument, match="name is"), span(name):
            pytest.fail("it began")
    assert metrics.text() == ""


def test_what_has_no_utf8_form_can_be_scraped_all_the_same() -> None:
    metrics = Metrics()
    with listening(metrics):
        event("\udcff")
    metrics.text({"a": 1}, {"a": "\udcff"}).encode()


@pytest.mark.parametrize(
    "series", [1, "", "a{", 'a{x="', 'a{x="1"}b', 'a{x="1"} 5\nevil', 'a{x="\n"}', 'a{1x="y"}']
)
def test_a_value_with_labels_made_by_hand_spoils_no_scrape(series: Any) -> None:
    with pytest.raises(InvalidArgument, match="labelled"):
        Metrics().text({series: 1})
