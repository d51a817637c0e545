"""Worker: the one thread in which a disk's blocking calls are made.

A sync takes a millisecond or ten, and an event loop that made it would serve
nobody meanwhile. So the calls go to a thread, one at a time and in the order in
which they were given: a disk has one head, and an order that can be reasoned
about.

    run(os.fdatasync, 7)  ->  queue  ->  the thread  ->  the loop wakes the caller

One plain thread with a `SimpleQueue` beats the loop's executor by a tenth, and
its hand-over still costs half as much as the sync itself (80 to 90 us). The
thread lives while a file is open or a call is under way, and ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """One thread that runs calls in the order in which they were given."""

    def __init__(self) -> None:
        self.files_open = 0
        self._under_way = 0
        self._jobs: SimpleQueue[Callable[[], None] | None] | None = None

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Call ``function(*args)`` in the thread; it runs even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            deliver: Callable[[], None]
            try:
                deliver = partial(future.set_result, function(*args))
            except BaseException as error:
                deliver = partial(future.set_exception, error)
            # The loop is closed when its program ended without waiting for us.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver, future, deliver)

        self._under_way += 1
        if self._jobs is None:
            self._jobs = SimpleQueue()
            threading.Thread(target=_work, args=(self._jobs,), name="disk", daemon=True).start()
        self._jobs.put(job)
        return await future

    def _deliver(self, future: asyncio.Future[T], deliver: Callable[[], None]) -> None:
        self._under_way -= 1
        if self._under_way == 0 and self.files_open == 0 and self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None
        if not future.done():  # else its caller was cancelled
            deliver()


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
