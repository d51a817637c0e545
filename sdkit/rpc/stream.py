"""Stream: the reading end, an async iterator that lets the producer run ahead, but only a window.

    async with connection.stream("scan", b"a", b"z") as rows:
        async for row in rows:
            ...

Items that have arrived wait here until they are asked for. Taking one out says
so to the session, which grants the producer new credit. Who stops reading in
the middle says so with `Stream.aclose`, and the producer at the other end is
cancelled; leaving the ``async with`` does it. A stream that is simply dropped
is cancelled when Python collects it, as an async generator would be.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from sdkit.errors import InvalidState, SdkitError
from sdkit.rpc.messages import Item


class Inbox:
    """What has arrived of a stream. The connection holds it; the reader holds the `Stream`."""

    __slots__ = ("ended", "error", "items", "wakeup")

    def __init__(self) -> None:
        self.items: deque[Item[Inbox]] = deque()
        self.ended = False
        self.error: SdkitError | None = None
        self.wakeup: asyncio.Future[None] | None = None

    def put(self, item: Item[Inbox]) -> None:
        self.items.append(item)
        self._wake()

    def end(self, error: SdkitError | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            self._wake()

    def ending(self) -> Exception:
        """What to raise at the end: the error, the first time."""
        # Not in the reader's frame: the error's traceback would hold it, and it the error.
        error, self.error = self.error, None
        return error or StopAsyncIteration()

    def _wake(self) -> None:
        if self.wakeup is not None and not self.wakeup.done():
            self.wakeup.set_result(None)


class Stream:
    """The items of a remote stream, in order; then its error, if it ended with one.

    One reader at a time. Items that arrived before an error are given out first.
    """

    def __init__(
        self,
        inbox: Inbox,
        consumed: Callable[[int], None],
        cancel: Callable[[], None],
        check_loop: Callable[[], None],
    ) -> None:
        self._inbox: Final = inbox
        self._consumed = consumed
        self._cancel = cancel
        self._check_loop = check_loop

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        inbox = self._inbox
        self._check_loop()
        while not inbox.items:
            if inbox.ended:
                raise inbox.ending()
            if inbox.wakeup is not None:
                raise InvalidState("two tasks read the same stream; it has one reader at a time")
            inbox.wakeup = asyncio.get_running_loop().create_future()
            try:
                await inbox.wakeup
            finally:
                inbox.wakeup = None
        item = inbox.items.popleft()
        if not inbox.ended:
            self._consumed(item.size_bytes)
        return item.value

    async def aclose(self) -> None:
        """Stop reading; the producer is cancelled. Safe to call twice."""
        self._inbox.items.clear()
        self._inbox.error = None
        if not self._inbox.ended:
            self._inbox.end(None)
            self._cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._inbox.ended:
            self._inbox.end(None)
            self._cancel()
