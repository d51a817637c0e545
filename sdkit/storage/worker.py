"""Worker: the one thread in which a disk's blocking calls are made.

A sync takes a millisecond or ten, and an event loop that made it would serve
nobody meanwhile. So the calls go to a thread, one at a time and in the order in
which they were given: a disk has one head, and an order that can be reasoned
about.

    run(os.fdatasync, 7)  ->  queue  ->  the thread  ->  pipe  ->  the loop wakes the caller

The hand-over costs half as much as the sync itself (80 to 110 us), most of it for
waking what sleeps, on either side. A plain thread with a `SimpleQueue` beats the
loop's executor by a tenth of it, and a byte through a pipe of our own beats
`call_soon_threadsafe` by a quarter: the loop's own wake-up goes through a socket,
and reads it twice.

The thread and the pipe live while a file is open or a call is under way, and end
by themselves.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")
Job: TypeAlias = tuple["asyncio.Future[Any]", Callable[[], Any]]


class Worker:
    """One thread that runs calls in the order in which they were given."""

    def __init__(self) -> None:
        self.files_open = 0
        self._under_way = 0
        self._thread: _Thread | None = None

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Call ``function(*args)`` in the thread; it runs even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        if self._thread is not None and self._thread.loop is not loop:
            self._thread.jobs.put(None)  # its loop was left before its calls were done
            self._thread = None
        if self._thread is None:
            self._thread = _Thread(loop, self._finished)
            self._under_way = 0
        self._under_way += 1
        future: asyncio.Future[T] = loop.create_future()
        self._thread.jobs.put((future, partial(function, *args)))
        return await future

    def _finished(self) -> None:
        self._under_way -= 1
        if self._under_way == 0 and self.files_open == 0 and self._thread is not None:
            self._thread.end()
            self._thread = None


class _Thread:
    """The thread, and its two ways to and from the event loop ``loop``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, finished: Callable[[], None]) -> None:
        self.loop: Final = loop
        self.jobs: Final[SimpleQueue[Job | None]] = SimpleQueue()
        self._finished: Final = finished
        self._results: Final[deque[tuple[asyncio.Future[Any], Callable[[], None]]]] = deque()
        self._pipe: Final = os.pipe()
        loop.add_reader(self._pipe[0], self._deliver)
        Thread(target=self._work, name="disk", daemon=True).start()

    def end(self) -> None:
        """Nothing is under way, and nothing will be."""
        self.jobs.put(None)
        self.loop.remove_reader(self._pipe[0])
        for descriptor in self._pipe:
            os.close(descriptor)

    def _work(self) -> None:
        """In the thread."""
        while (job := self.jobs.get()) is not None:
            future, call = job
            try:
                deliver = partial(future.set_result, call())
            except BaseException as error:
                deliver = partial(future.set_exception, error)
            self._results.append((future, deliver))
            os.write(self._pipe[1], b"\0")

    def _deliver(self) -> None:
        """In the loop, when there is anything in the pipe."""
        for _ in os.read(self._pipe[0], 4096):
            future, deliver = self._results.popleft()
            if not future.done():  # else its caller was cancelled
                deliver()
            self._finished()
