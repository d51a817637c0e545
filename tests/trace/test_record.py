"""Events and spans: what a record says, who hears it, and what it costs when nobody does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator

import pytest

from sdkit import host as hosts
from sdkit.host import Host
from sdkit.sim.host import EPOCH_NS, SimulatedHost
from sdkit.sim.loop import run
from sdkit.trace import Record, SpanContext, adopt, event, listening, span
from sdkit.trace.record import context


class NoClock(Host):
    """Fails whoever reads a clock or draws an id."""

    def __init__(self) -> None:
        super().__init__("sealed")
        self.span_serial = iter(())  # type: ignore[misc]

    def now_ns(self) -> int:
        raise AssertionError("the wall clock was read")

    def monotonic_ns(self) -> int:
        raise AssertionError("the monotonic clock was read")


def test_without_a_listener_no_clock_is_read_and_no_id_is_drawn() -> None:
    with hosts.running_on(NoClock()):
        event("store.commit", transaction=7)
        with span("store.scan") as here:
            assert here is None

    with hosts.running_on(NoClock()), listening(lambda _: None):
        with pytest.raises(AssertionError, match="wall clock"):
            event("store.commit")
        with pytest.raises(RuntimeError, match="StopIteration"), span("store.scan"):
            pass


def test_an_event_says_what_where_and_when() -> None:
    async def main() -> list[Record]:
        heard: list[Record] = []
        await asyncio.sleep(2)
        with hosts.running_on(SimulatedHost("db")), listening(heard.append):
            event("store.commit", transaction=7, key=b"k")
        return heard

    fields: dict[str, object] = {"transaction": 7, "key": b"k"}
    assert run(main()) == [
        Record("store.commit", fields, "db", EPOCH_NS + 2_000_000_000, None, None, None)
    ]


def test_a_span_says_how_long_it_took_and_when_it_began() -> None:
    async def main() -> Record:
        heard: list[Record] = []
        with listening(heard.append), span("store.scan", rows=3):
            await asyncio.sleep(1.5)
        return heard[0]

    record = run(main())
    assert (record.name, record.fields) == ("store.scan", {"rows": 3})
    assert (record.at_ns, record.duration_ns) == (EPOCH_NS, 1_500_000_000)
    assert record.failed is False


def test_a_span_that_an_exception_leaves_has_failed() -> None:
    heard: list[Record] = []
    with listening(heard.append), pytest.raises(KeyError), span("store.scan"):
        raise KeyError
    assert heard[0].failed is True


def test_spans_and_events_form_a_tree() -> None:
    heard: dict[str, Record] = {}

    def hear(record: Record) -> None:
        heard[record.name] = record

    with listening(hear):
        with span("outer"):
            event("in.outer")
            with span("inner"):
                event("in.inner")
            event("back.in.outer")
        with span("next"):
            pass
    outer, inner, following = (heard[name].context for name in ("outer", "inner", "next"))
    assert outer is not None
    assert inner is not None
    assert following is not None
    assert heard["outer"].parent_id is None
    assert heard["inner"].parent_id == outer.span_id
    assert inner.trace_id == outer.trace_id == outer.span_id
    assert heard["in.outer"].context == heard["back.in.outer"].context == outer
    assert heard["in.inner"].context == inner
    assert following.trace_id != outer.trace_id
    assert heard["next"].parent_id is None


def test_tasks_started_in_a_span_belong_to_it_and_run_beside_each_other() -> None:
    async def main() -> list[tuple[str, int | None]]:
        heard: list[Record] = []

        async def work(name: str) -> None:
            with span(name):
                await asyncio.sleep(1)

        with listening(heard.append), span("parent") as parent:
            await asyncio.gather(work("a"), work("b"))
        assert parent is not None
        return [(it.name, it.parent_id and it.parent_id - parent.span_id) for it in heard]

    assert run(main()) == [("a", 0), ("b", 0), ("parent", None)]


def test_a_remote_span_can_be_gone_on_in() -> None:
    heard: list[Record] = []
    with listening(heard.append), adopt(SpanContext(1, 2)):
        assert context() == SpanContext(1, 2)
        with span("rpc.handle"):
            pass
    assert context() is None
    assert heard[0].context is not None
    assert (heard[0].context.trace_id, heard[0].parent_id) == (1, 2)


def test_listeners_hear_in_the_order_in_which_they_came_and_no_more_after_they_left() -> None:
    heard: list[str] = []
    with listening(lambda it: heard.append(f"first {it.name}")):
        with listening(lambda it: heard.append(f"second {it.name}")):
            event("both")
        event("one")
    event("none")
    assert heard == ["first both", "second both", "first one"]


def test_a_method_is_removed_like_any_other_listener() -> None:
    class Heard(list[Record]):
        def hear(self, record: Record) -> None:
            self.append(record)

    heard = Heard()
    with listening(heard.hear), listening(heard.hear, "a.chosen"):
        event("a.chosen")
    event("a.chosen")
    assert len(heard) == 2


def test_a_listener_is_removed_even_if_the_block_fails() -> None:
    heard: list[Record] = []
    with pytest.raises(KeyError), listening(heard.append):
        raise KeyError
    event("after")
    assert heard == []


def test_a_listener_that_fails_fails_the_block_that_it_observes() -> None:
    def broken(_: Record) -> None:
        raise ZeroDivisionError

    with listening(broken), pytest.raises(ZeroDivisionError):
        event("store.commit")


def test_listening_does_not_change_what_a_host_draws_later() -> None:
    def drawn(*, listen: bool) -> float:
        host = SimulatedHost("db", seed=3)
        with hosts.running_on(host):
            if listen:
                with listening(lambda _: None):
                    run(spans())
        return host.random.random()

    async def spans() -> None:
        with span("a"), span("b"):
            pass

    assert drawn(listen=True) == drawn(listen=False)


def test_hosts_draw_different_span_ids() -> None:
    firsts = {next(SimulatedHost(f"n{number}").span_serial) for number in range(100)}
    assert len(firsts) == 100


def test_the_library_is_silent_by_itself() -> None:
    code = "from sdkit.trace import event, span\nevent('a.b')\nwith span('a.c'): pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


def test_a_span_that_is_left_in_another_context_is_told_all_the_same() -> None:
    async def main() -> None:
        async def spanned() -> AsyncGenerator[int, None]:
            with span("test.span"):
                yield 1

        generator = spanned()
        await anext(generator)
        await asyncio.create_task(generator.aclose())  # as an event loop does at its end

    heard: list[Record] = []
    with listening(heard.append):
        asyncio.run(main())
    assert [record.name for record in heard] == ["test.span"]
