"""Worker: the one thread in which a disk's blocking calls are made.

A sync takes a millisecond or ten, and an event loop that made it would serve
nobody meanwhile. So the calls go to a thread, one at a time and in the order in
which they were given: a disk has one head, and an order that can be reasoned
about.

    the loop  ── jobs, and a byte ─────>  the thread  ── os.fdatasync(7) ──> disk
              <── answers, and a byte ──

Things to notice
    1. The two wait for each other in the kernel, at the two ends of a socket
       pair. A `SimpleQueue` there and ``call_soon_threadsafe`` back do the same,
       and a journal with eight writers is a fifth slower: threads that wake each
       other through locks of Python meet once more at the interpreter's own.
       ``run_in_executor`` costs another tenth.
    2. A byte says only "look": jobs and answers lie in deques, which threads may
       share. So a byte too many does no harm, and where there is no room for
       another one is there already.
    3. The thread lives while a file is open or a call is under way. Closing the
       loop's end of the pair ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

LOOKS: Final = 4096  # bytes taken at once; all of them say no more than one


class Worker:
    """One thread that runs calls in the order in which they were given."""

    def __init__(self) -> None:
        self.files_open = 0
        self._under_way = 0
        self._thread: _Thread | None = None

    def run(self, function: Callable[..., T], /, *arguments: object) -> asyncio.Future[T]:
        """Call ``function(*arguments)`` in the thread; it runs even if the caller is cancelled.

        Raises:
            OSError: there is no thread yet, and no file handle for its pair.
        """
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = _Thread(self._deliver)
        self._thread.answer_in(loop)
        future: asyncio.Future[T] = loop.create_future()
        self._under_way += 1
        self._thread.give(_Job(future, function, arguments))
        return future

    def _deliver(self, job: _Job) -> None:
        self._under_way -= 1
        if self._under_way == 0 and self.files_open == 0 and self._thread is not None:
            self._thread.end()
            self._thread = None
        if job.future.done() or job.future.get_loop().is_closed():
            return  # its caller was cancelled, or is gone with its loop
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


class _Job:
    """A call, who waits for it, and how it has ended."""

    __slots__ = ("arguments", "error", "function", "future", "result")

    def __init__(
        self,
        future: asyncio.Future[Any],
        function: Callable[..., object],
        arguments: tuple[object, ...],
    ) -> None:
        self.future, self.function, self.arguments = future, function, arguments
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.function(*self.arguments)
        except BaseException as error:
            self.error = error


class _Thread:
    """The thread, and the pair of sockets at which it and the loop wait for each other."""

    def __init__(self, deliver: Callable[[_Job], None]) -> None:
        self._deliver: Final = deliver
        self._jobs: Final = deque[_Job]()
        self._done: Final = deque[_Job]()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._thread: Final = threading.Thread(target=self._work, name="disk", daemon=True)
        self._thread.start()

    def answer_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on it is ``loop`` that waits; an earlier one is closed."""
        if loop is not self._loop:
            self._loop = loop
            loop.add_reader(self._here, self._take_answers)

    def give(self, job: _Job) -> None:
        self._jobs.append(job)
        _look(self._here)

    def end(self) -> None:
        """End the thread; nothing may be under way, so it ends at once."""
        assert self._loop is not None
        self._loop.remove_reader(self._here)
        self._here.close()
        self._thread.join()

    def _take_answers(self) -> None:
        self._here.recv(LOOKS)
        while self._done:
            self._deliver(self._done.popleft())

    def _work(self) -> None:
        # A reset: the loop has closed its end, and left a byte there unread.
        with self._there, contextlib.suppress(ConnectionResetError):
            while self._there.recv(LOOKS):
                while self._jobs:
                    job = self._jobs.popleft()
                    job.run()
                    self._done.append(job)
                    _look(self._there)
                    del job  # or it would live until the next one comes


def _look(end: socket.socket) -> None:
    """Wake whoever waits at the other end."""
    # No room: enough bytes are there. Nobody: the answer was seen before its byte was sent.
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        end.send(b".")
