"""Specification: what calls over a connection promise, whatever carries them.

    TestMine = rpc(make)

``make(handlers, limits)`` is an async context manager that yields a `Pair`: the
calling end of a connection whose other end serves ``handlers``, and a way to cut
it. The oracle is never a second implementation but what the handlers themselves
have seen: who was called, in which order, with how much time, and how far a
producer got.

Each sentence below is one property, and each has a wrong variant in
``tests/spec/mutants/rpc.py`` that it alone has to catch.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import Indeterminate, SdkitError, codes, from_wire
from sdkit.spec.oddities import ANYTHING, DEEDS
from sdkit.spec.running import finished
from sdkit.spec.running import run as run_simulated

LATE_S = 0.1  # a tick of 50 ms, and the network
WINDOW_BYTES = 20_000


class Caller(Protocol):
    """The calling end of a connection, as in `sdkit.rpc.Connection`."""

    async def call(
        self, method: str, *arguments: object, timeout_s: float | None = None
    ) -> object: ...
    def start(
        self, method: str, *arguments: object, timeout_s: float | None = None
    ) -> asyncio.Future[object]: ...
    def stream(self, method: str, *arguments: object) -> Any: ...


@dataclass
class Pair:
    """A caller, and a way to make its connection break at once."""

    caller: Caller
    cut: Callable[[], None]


Handlers = Mapping[str, Callable[..., object]]


class Make(Protocol):
    def __call__(
        self, handlers: Handlers, *, calls_in_flight_max: int, stream_window_bytes: int
    ) -> AbstractAsyncContextManager[Pair]: ...


class Service:
    """Handlers that remember what was asked of them."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[tuple[int, float]] = []  # which, and when
        self.produced_bytes = 0
        self.running = self.running_max = 0
        self.odd: dict[int, Callable[[], object]] = {}  # what becomes of which odd call

    def odd_plain(self, _connection: object, number: int) -> object:
        return self.odd[number]()

    async def odd_async(self, _connection: object, number: int) -> object:
        await asyncio.sleep(0.01)
        return self.odd[number]()

    async def odd_stream(self, _connection: object, number: int) -> AsyncIterator[object]:
        yield 0
        yield self.odd[number]()

    def plain(self, _connection: object, number: int) -> int:
        self.begun.append(number)
        return number

    async def slow(self, _connection: object, number: int, seconds: float) -> int:
        self.begun.append(number)
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.running -= 1
            self.ended.append((number, asyncio.get_running_loop().time()))
        return number

    async def stubborn(self, connection: object, number: int) -> None:
        """Takes a second to clean up after it was cancelled."""
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        self.running -= 1

    async def items(self, _connection: object, sizes: list[int]) -> AsyncIterator[object]:
        for number, size in enumerate(sizes):
            self.produced_bytes += size
            yield [number, b"x" * size]

    def fail(self, _connection: object, kind: str, code: str, message: str) -> None:
        raise from_wire(kind, code, message, {"fact": 7})

    @property
    def handlers(self) -> Handlers:
        names = ("plain", "slow", "stubborn", "items", "fail")
        odd = ("odd_plain", "odd_async", "odd_stream")
        return {name: getattr(self, name) for name in (*names, *odd)}


# Not those that a program has defined besides: they may be as odd as they like.
OUR_CODES = sorted(code for code, error in codes().items() if error.__module__.startswith("sdkit."))
DELAYS = st.sampled_from([0.0, 0.0, 0.1, 0.5, 2.0])


ODD_METHODS = st.sampled_from(["odd_plain", "odd_async", "odd_stream"])


def rpc(
    make: Make, *, loop: str = "simulated", without: Collection[str] = ()
) -> type[unittest.TestCase]:
    """Build the test case for one implementation.

    Args:
        loop: "simulated", or "real" for a subject that needs real sockets.
    """

    def run(main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(main) if loop == "real" else run_simulated(main)

    def pair(service: Service, more: Handlers | None = None) -> AbstractAsyncContextManager[Pair]:
        handlers = {**service.handlers, **(more or {})}
        return make(handlers, calls_in_flight_max=20, stream_window_bytes=WINDOW_BYTES)

    class RpcSpec(unittest.TestCase):
        @given(st.lists(DELAYS, max_size=15))
        def test_every_call_gets_its_own_answer(self, delays: list[float]) -> None:
            async def main() -> None:
                async with pair(Service()) as ends:
                    calls = (ends.caller.call("slow", n, s) for n, s in enumerate(delays))
                    assert await asyncio.gather(*calls) == list(range(len(delays)))

            run(main())

        @given(st.lists(st.sampled_from(["plain", "slow"]), max_size=15))
        def test_handlers_begin_in_the_order_of_the_calls(self, methods: list[str]) -> None:
            async def main() -> None:
                service = Service()
                async with pair(service) as ends:
                    further = {"plain": (), "slow": (0.1,)}
                    calls = [
                        ends.caller.start(method, number, *further[method])
                        for number, method in enumerate(methods)
                    ]
                    await asyncio.gather(*calls)
                assert service.begun == list(range(len(methods)))

            run(main())

        @given(st.sampled_from(OUR_CODES), st.text("aä ", max_size=5))
        def test_an_error_is_itself_on_the_other_side(self, code: str, text: str) -> None:
            error = codes()[code]

            async def main() -> None:
                async with pair(Service()) as ends:
                    caught = await _outcome(ends.caller.call("fail", error.kind, code, text))
                assert isinstance(caught, SdkitError)
                assert type(caught) is error
                assert (caught.message, caught.fields) == (text, {"fact": 7})

            run(main())

        @given(st.lists(st.tuples(ODD_METHODS, DEEDS), min_size=1, max_size=4))
        def test_every_call_gets_exactly_one_answer_whatever_its_handler_does(
            self, calls: list[tuple[str, Callable[[], object]]]
        ) -> None:
            async def main() -> None:
                service = Service()
                service.odd = dict(enumerate(deed for _, deed in calls))
                async with pair(service) as ends, _innocent(ends.caller):
                    asked = [
                        _items(ends.caller.stream(method, number))
                        if method == "odd_stream"
                        else ends.caller.call(method, number)
                        for number, (method, _) in enumerate(calls)
                    ]
                    async with asyncio.timeout(WHILE_S / 2):
                        await asyncio.gather(*map(_outcome, asked))

            run(main())

        @given(st.lists(st.tuples(st.just("plain") | ANYTHING, ANYTHING), min_size=1, max_size=4))
        def test_what_cannot_be_sent_is_refused_before_it_reaches_another_call(
            self, calls: list[tuple[Any, object]]
        ) -> None:
            async def main() -> None:
                async with pair(Service()) as ends, _innocent(ends.caller):
                    for method, argument in calls:
                        async with asyncio.timeout(WHILE_S / 2):
                            await _outcome(ends.caller.call(method, argument))

            run(main())

        @given(st.sampled_from([0.2, 1.0, 3.3]), st.sampled_from([0.1, 0.9, 5.0]))
        def test_a_deadline_ends_the_call_and_its_handler(
            self, left_s: float, takes_s: float
        ) -> None:
            async def main() -> None:
                service = Service()
                async with pair(service) as ends:
                    began = asyncio.get_running_loop().time()
                    answer = await _outcome(ends.caller.call("slow", 1, takes_s, timeout_s=left_s))
                    took = asyncio.get_running_loop().time() - began
                    await asyncio.sleep(LATE_S)
                    ((_, ended),) = service.ended
                if takes_s < left_s:
                    assert answer == 1
                else:
                    assert isinstance(answer, TimeoutError)
                    assert left_s <= took <= left_s + LATE_S
                    assert left_s <= ended - began <= left_s + LATE_S

            run(main())

        @given(st.sampled_from([0.0, 0.3, 0.8]), st.sampled_from([None, 0.4, 60.0]))
        def test_a_nested_call_has_only_what_is_left(
            self, spent_s: float, own_s: float | None
        ) -> None:
            async def main() -> None:
                service, outer_service = Service(), Service()
                async with pair(service) as further:

                    async def outer(_connection: object) -> None:
                        await asyncio.sleep(spent_s)
                        await further.caller.call("slow", 1, 100.0, timeout_s=own_s)

                    async with pair(outer_service, {"outer": outer}) as ends:
                        began = asyncio.get_running_loop().time()
                        await _outcome(ends.caller.call("outer", timeout_s=1.0))
                        # Not the outer call's end (that cancels it too), but its own deadline.
                        await asyncio.sleep(LATE_S)
                        ((_, ended),) = service.ended
                limit_s = 1.0 if own_s is None else min(1.0, spent_s + own_s)
                assert limit_s - LATE_S <= ended - began <= limit_s + LATE_S

            run(main())

        @given(st.floats(0.1, 5.0))
        def test_giving_up_stops_the_handler(self, after_s: float) -> None:
            async def main() -> None:
                service = Service()
                async with pair(service) as ends:
                    waiting = asyncio.ensure_future(ends.caller.call("slow", 1, 1000.0))
                    started = ends.caller.start("slow", 2, 1000.0)
                    await asyncio.sleep(after_s)
                    waiting.cancel()
                    started.cancel()
                    await asyncio.sleep(LATE_S)
                    assert sorted(number for number, _ in service.ended) == [1, 2]

            run(main())

        @given(st.lists(st.sampled_from([0, 1, 5000, 8000]), max_size=30), st.integers(0, 30))
        def test_a_stream_is_its_items_in_order(self, sizes: list[int], pause_at: int) -> None:
            async def main() -> None:
                seen = []
                async with pair(Service()) as ends:
                    async for item in ends.caller.stream("items", sizes):
                        number, content = item
                        seen.append((number, len(content)))
                        if number == pause_at:
                            await asyncio.sleep(1)
                assert seen == list(enumerate(sizes))

            run(main())

        @given(st.integers(1, 8000), st.integers(0, 40))
        def test_a_producer_is_a_window_ahead_at_most(self, size: int, read: int) -> None:
            async def main() -> None:
                service = Service()
                async with pair(service) as ends:
                    stream = ends.caller.stream("items", [size] * 200)
                    for _ in range(read):
                        await anext(stream)
                    await asyncio.sleep(1)
                    ahead = service.produced_bytes - read * size
                    await stream.aclose()
                # Two items: one that overdraws the credit, one that is made and waits.
                assert ahead <= WINDOW_BYTES + 2 * size

            run(main())

        @given(st.lists(st.tuples(DELAYS, st.booleans()), max_size=12), st.integers(0, 12))
        def test_what_is_said_not_to_have_happened_did_not(
            self, calls: list[tuple[float, bool]], cut_at: int
        ) -> None:
            async def main() -> None:
                service = Service()
                outcomes: dict[int, asyncio.Future[object]] = {}
                async with pair(service) as ends:
                    for number, (delay_s, turn) in enumerate(calls):
                        if number == cut_at:
                            ends.cut()
                        call = ends.caller.call("slow", number, delay_s)
                        outcomes[number] = asyncio.ensure_future(_outcome(call))
                        if turn:
                            await asyncio.sleep(0.01)
                    ends.cut()
                    await asyncio.sleep(0.1)
                    await asyncio.wait(outcomes.values()) if outcomes else None
                for number, future in outcomes.items():
                    outcome = future.result()
                    if isinstance(outcome, SdkitError) and not isinstance(outcome, Indeterminate):
                        assert number not in service.begun, f"{number} happened: {outcome}"
                    if number >= cut_at:
                        assert isinstance(outcome, SdkitError)
                        assert outcome.kind == "unavailable", "nothing can have been sent"

            run(main())

        @given(st.integers(1, 60), st.sampled_from([0.0, 0.001]))
        def test_no_more_handlers_run_than_the_limit_allows(self, calls: int, gap_s: float) -> None:
            async def main() -> None:
                service = Service()
                async with pair(service) as ends:
                    for number in range(calls):
                        call = ends.caller.start("stubborn", number)
                        await asyncio.sleep(gap_s + 0.01)
                        call.cancel()
                    await asyncio.sleep(5)
                assert service.running_max <= 20
                assert service.running_max >= min(calls, 20), "the limit itself can be used"

            run(main())

    return finished(RpcSpec, without, make=make)


WHILE_S = 10.0


@asynccontextmanager
async def _innocent(caller: Caller) -> AsyncIterator[None]:
    """A slow call on the same connection, which must not notice what else happens there."""
    slow = asyncio.ensure_future(_outcome(caller.call("slow", 1, WHILE_S)))
    await asyncio.sleep(LATE_S)
    try:
        yield
    finally:
        noticed = await slow
    assert noticed == 1
    assert await caller.call("plain", 2) == 2, "the connection serves on"


async def _items(stream: Any) -> object:
    return [item async for item in stream]


async def _outcome(call: Coroutine[Any, Any, object]) -> object:
    """What a call returned, or the error that it raised."""
    try:
        return await call
    except SdkitError as error:
        return error
