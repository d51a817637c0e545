"""The smallest remote call fails its specification exactly where its lesson says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sdkit.rpc import smallest
from sdkit.spec.rpc import Handlers, Pair, rpc
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG = {
    "test_an_error_is_itself_on_the_other_side",  # 1
    "test_a_deadline_ends_the_call_and_its_handler",  # 2
    "test_a_nested_call_has_only_what_is_left",  # 2
    "test_giving_up_stops_the_handler",  # 3
    "test_a_stream_is_its_items_in_order",  # 4
    "test_a_producer_is_a_window_ahead_at_most",  # 4
    "test_what_is_said_not_to_have_happened_did_not",  # 5
    "test_no_more_handlers_run_than_the_limit_allows",  # 6
    "test_what_cannot_be_sent_is_refused_before_it_reaches_another_call",  # 7
    "test_every_call_gets_exactly_one_answer_whatever_its_handler_does",  # 7
}


class Caller:
    """The smallest client behind the interface of ours: time-outs go nowhere."""

    def __init__(self, client: smallest.SmallestClient) -> None:
        self._client = client

    async def call(self, method: str, *arguments: object, timeout_s: float | None = None) -> object:
        return await self._client.call(method, *arguments)

    def start(
        self, method: str, *arguments: object, timeout_s: float | None = None
    ) -> asyncio.Future[object]:
        return asyncio.ensure_future(self._client.call(method, *arguments))

    async def stream(self, method: str, *arguments: object) -> AsyncIterator[object]:
        yield await self._client.call(method, *arguments)


@asynccontextmanager
async def make(
    handlers: Handlers, *, calls_in_flight_max: int, stream_window_bytes: int
) -> AsyncIterator[Pair]:
    named: dict[str, Callable[..., Any]] = {
        name: partial(handler, None) for name, handler in handlers.items()
    }
    server = await smallest.serve(named)
    client = await smallest.connect(server.sockets[0].getsockname()[1])
    try:
        yield Pair(Caller(client), client.writer.transport.abort)
    finally:
        await client.close()
        server.close()


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(rpc(make)) == WRONG


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
