"""Callers and callees for the specification of a breaker, and the thresholds it asks for.

The callee does as it is told and remembers who came in; the caller makes calls through
the subject and says how they ended. Between them they see all that can be seen of a
breaker from outside: whether a call was made, and what became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from sdkit.spec.running import tell

OPEN_S = 10.0
SOON_S = 0.001
MANY = 100


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Thresholds, as any breaker may have them. One of ``failures`` and ``percent`` is given."""

    failures: int | None = None  # in a row
    percent: float | None = None  # of the window
    window_calls: int | None = None
    window_s: float | None = None
    calls_min: int = 1
    slow_call_s: float | None = None
    open_s: float = OPEN_S  # always exactly: no jitter, no growth
    half_open_calls: int = 1  # at once
    half_open_successes: int = 1
    half_open_s: float | None = None
    counts: type[Exception] = Exception  # errors of other types do not speak against the callee
    bad_result: object = None  # a result that does


class Subject(Protocol):
    """A breaker for coroutines."""

    def call(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]: ...


Make = Callable[[Wanted], Subject]


class Trouble(Exception):
    """What a callee that fails raises."""


class Callee:
    """Does as it is told, and remembers who came in."""

    def __init__(self) -> None:
        self.calls = 0
        self.inside = 0
        self.inside_max = 0
        self._ends: list[asyncio.Future[None]] = []

    async def well(self) -> str:
        self.calls += 1
        return "well"

    async def fail(self) -> str:
        self.calls += 1
        raise Trouble

    async def hang(self) -> str:
        """Stay inside until somebody calls `let_end`, in order of coming."""
        self.calls += 1
        self.inside += 1
        self.inside_max = max(self.inside_max, self.inside)
        end = asyncio.get_running_loop().create_future()
        self._ends.append(end)
        try:
            await end
        finally:
            self.inside -= 1
        return "well"

    def let_go(self, count: int = 1) -> None:
        self.let_end(count, fails=False)

    def let_end(self, count: int, *, fails: bool) -> None:
        for _ in range(count):
            self._ends = [end for end in self._ends if not end.done()]  # others were cancelled
            end = self._ends.pop(0)
            if fails:
                end.set_exception(Trouble())
            else:
                end.set_result(None)


class Caller:
    """Makes calls through a subject, and tells how they ended."""

    def __init__(self, subject: Subject, refused: type[Exception]) -> None:
        self.subject, self.refused = subject, refused
        self.callee = Callee()

    async def ask(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> str:
        """``ok``, ``failed`` or ``refused``."""
        name, ended = function.__name__, "cancelled"
        try:
            ended = await self._ask(function)
        except Exception as error:
            ended = f"raised {error!r}"
            raise
        finally:
            tell(f"a call of {name}: {ended}")
        return ended

    async def _ask(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> str:
        calls = self.callee.calls
        try:
            await self.subject.call(function)
        except self.refused:
            assert self.callee.calls == calls, "a call that was refused was made"
            return "refused"
        except Trouble:
            return "failed"
        return "ok"

    async def begin(self, count: int = 1) -> list[asyncio.Task[str]]:
        """So many callers at once, whose calls stay inside."""
        tasks = [asyncio.create_task(self.ask(self.callee.hang)) for _ in range(count)]
        await turns()
        return tasks

    async def is_closed(self) -> bool:
        """Are many let through at once? In the end nobody is inside."""
        before = self.callee.inside
        tasks = await self.begin(MANY)
        entered = self.callee.inside - before
        self.callee.let_go(before + entered)
        await asyncio.gather(*tasks)
        return entered == MANY

    async def opened_after(
        self, calls: list[bool], pauses_s: list[float] | None = None
    ) -> int | None:
        """Make ``calls`` (True: it fails): after how many was the next one refused?"""
        for number, fails in enumerate(calls):
            if pauses_s:
                await asyncio.sleep(pauses_s[number])
            if await self.ask(self.callee.fail if fails else self.callee.well) == "refused":
                return number
        return len(calls) if await self.ask(self.callee.well) == "refused" else None

    async def open(self, failures: int) -> None:
        for _ in range(failures):
            assert await self.ask(self.callee.fail) == "failed"
        assert await self.ask(self.callee.well) == "refused", f"closed after {failures} failures"

    async def half_open(self, failures: int) -> None:
        await self.open(failures)
        await asyncio.sleep(OPEN_S + SOON_S)


async def cancelled(it: Caller, count: int) -> None:
    """So many calls, one after the other, each cancelled while it is inside."""
    for _ in range(count):
        (task,) = await it.begin()
        assert not task.done(), "no permit is left"
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def turns() -> None:
    """Let everything happen that is ready to."""
    for _ in range(10):
        await asyncio.sleep(0)
