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
and reads it twice. That way is still there for whoever cannot have a pipe: a process
without file handles, and a second loop beside the first.

The thread and the pipe live while a file is open or a call is under way, and end
by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

from sdkit.forks import renew_in_child

T = TypeVar("T")
Future = asyncio.Future[Any]
Deliver = Callable[[], None]


class Worker:
    """One thread that runs calls in the order in which they were given."""

    def __init__(self) -> None:
        self.files_open = 0
        self._thread: _Thread | None = None
        renew_in_child(self, Worker._forget)

    async def run(self, function: Callable[..., T], /, *args: object) -> T:
        """Call ``function(*args)`` in the thread; it runs even if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        if self._thread is not None and self._thread.loop.is_closed():
            self._thread.leave()  # its program ended without waiting for us
            self._thread = None
        if self._thread is None:
            self._thread = _Thread(loop, self._idle)
        future: asyncio.Future[T] = loop.create_future()
        self._thread.call(future, partial(function, *args))
        try:
            return await future
        finally:
            del future  # or an error of it would hold itself, by its traceback and this frame

    def close_dropped(self, close: Callable[[], None]) -> None:
        """A file was dropped, not closed: have ``close`` called in the thread, which then may end.

        May be called by any thread, as the collector does; nothing is waited for.
        """
        thread = self._thread
        if thread is not None and not thread.loop.is_closed():
            thread.loop.call_soon_threadsafe(self._close_soon, close)
        else:
            self._close_soon(close)

    def _close_soon(self, close: Callable[[], None]) -> None:
        self.files_open -= 1
        thread = self._thread
        if thread is None:
            close()
            return
        thread.call(thread.loop.create_future(), close)
        if thread.loop.is_closed():
            thread.leave()
            self._thread = None

    def _forget(self) -> None:
        """In a forked child, which has no other thread and no open files."""
        if self._thread is not None:
            self._thread.forget()
        self._thread, self.files_open = None, 0

    def _idle(self, thread: _Thread) -> None:
        if thread is self._thread and self.files_open == 0:
            thread.end()
            self._thread = None


class _Thread:
    """The thread, and its way back to the event loop ``loop``; told when it has nothing to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: Callable[[_Thread], None]) -> None:
        self.loop: Final = loop
        self._idle: Final = idle
        self._under_way = 0
        self._left = False
        self._jobs: Final[SimpleQueue[tuple[Future, Callable[[], Any]] | None]] = SimpleQueue()
        self._results: Final[deque[tuple[Future, Deliver]]] = deque()
        self._pipe: tuple[int, ...] = ()
        with contextlib.suppress(OSError):  # no handles: it goes without
            self._pipe = os.pipe()
        try:
            if self._pipe:
                loop.add_reader(self._pipe[0], self._deliver)
            Thread(target=self._work, name="disk", daemon=True).start()
        except BaseException:
            self._close_pipe()
            raise

    def call(self, future: Future, function: Callable[[], Any]) -> None:
        """Have ``function`` called, and ``future`` told what came of it."""
        self._under_way += 1
        self._jobs.put((future, function))

    def end(self) -> None:
        """Nothing is under way, and nothing will be."""
        self._jobs.put(None)
        self._close_pipe()

    def forget(self) -> None:
        """In a forked child: close the pipe, and leave the parent's event loop alone."""
        for descriptor in self._pipe:
            os.close(descriptor)
        self._pipe = ()

    def leave(self) -> None:
        """The loop is closed: let the thread come to its end, and clean up itself."""
        self._left = True
        self._jobs.put(None)

    def _close_pipe(self) -> None:
        if self._pipe and not self.loop.is_closed():
            self.loop.remove_reader(self._pipe[0])
        for descriptor in self._pipe:
            os.close(descriptor)
        self._pipe = ()

    def _work(self) -> None:
        """In the thread."""
        while (job := self._jobs.get()) is not None:
            self._do(*job)
            del job  # the frame would keep it while it waits for the next
        if self._left:
            self._close_pipe()

    def _do(self, future: Future, function: Callable[[], Any]) -> None:
        try:
            deliver = partial(future.set_result, function())
        except BaseException as error:
            deliver = partial(future.set_exception, error)
        loop = future.get_loop()
        if self._pipe and loop is self.loop:
            self._results.append((future, deliver))
            os.write(self._pipe[1], b"\0")
        else:
            with contextlib.suppress(RuntimeError):  # it was closed
                loop.call_soon_threadsafe(self._finish, future, deliver)
        del future, deliver  # an error's traceback keeps this frame

    def _deliver(self) -> None:
        """In the loop, when there is anything in the pipe."""
        for _ in os.read(self._pipe[0], 4096):
            self._finish(*self._results.popleft())

    def _finish(self, future: Future, deliver: Deliver) -> None:
        if not future.done():  # else its caller was cancelled
            deliver()
        self._under_way -= 1
        if self._under_way == 0:
            self._idle(self)
