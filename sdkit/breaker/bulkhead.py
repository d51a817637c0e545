"""Bulkhead: so many calls at once, and no more, for coroutines and for threads.

    reports = Bulkhead("reports", calls_max=10, waiting_max=20, wait_max_s=0.5)

    @reports
    async def report(user): ...

    async with reports: ...                   `with` where nothing is awaited

Who has a place and who waits is decided in `sdkit.breaker.places`. The shell lets
a task wait for a future and a thread for a lock, and wakes them.

The one thing to notice
    A task that is cancelled while it waits may have been handed a place a moment
    before, and not have woken yet. Whoever stops waiting therefore asks first whether
    the place is already theirs, and if so, hands it on (`_stop_waiting`). Without that,
    each such coincidence would cost a place for ever.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from sdkit.arguments import check_between
from sdkit.breaker.layer import Layer, check_name, refuse_awaitable
from sdkit.breaker.places import BulkheadFull, Places
from sdkit.breaker.steps import LOCK, Steps
from sdkit.errors import InvalidState

__all__ = ["Bulkhead", "BulkheadFull"]

P = ParamSpec("P")
T = TypeVar("T")
Wake = Callable[[], None]


class Bulkhead(Layer):
    """Bounds how many calls are under way at a time, and how many wait to be.

    Args:
        name: how errors and events call it.
        calls_max: so many may be under way, 1 to 1,000,000.
        waiting_max: so many may wait for a place; one more is refused at once.
        wait_max_s: nobody waits longer, 0 to 86,400.

    Raises:
        InvalidArgument: a value is out of range, or ``name`` is no text.
    """

    kind = "a bulkhead"
    places_type: type[Places[Wake]] = Places[Wake]

    def __init__(
        self,
        name: str = "bulkhead",
        *,
        calls_max: int = 10,
        waiting_max: int = 10,
        wait_max_s: float = 1.0,
    ) -> None:
        check_name(name, self.kind, "calls_max")
        check_between("wait_max_s", wait_max_s, 0.0, 86_400.0)
        self.name: Final = name
        self._steps: Final = Steps()
        self._places: Final = self.places_type(name, calls_max, waiting_max, self._steps.say)
        self._wait_max_s = wait_max_s
        self._forks = LOCK.forks  # of the process whose calls are counted

    def __repr__(self) -> str:
        places = self._places
        return (
            f"<{type(self).__name__} {self.name}: {places.taken} of {places.calls_max} under way, "
            f"{places.waiting} of {places.waiting_max} waiting>"
        )

    @property
    def calls(self) -> int:
        """How many are under way."""
        return self._places.taken

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return self._places.waiting

    @property
    def shed(self) -> int:
        """How many were refused, since it was made."""
        return self._places.shed

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Calls ``function`` as soon as there is a place, and raises `BulkheadFull` otherwise."""

        async def bounded(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self:
                return await function(*args, **kwargs)

        return bounded

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function; the thread waits."""

        def bounded(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                result = function(*args, **kwargs)
                refuse_awaitable(result, function, self.kind)
                return result

        return bounded

    # ── tasks ────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        with self._steps:
            if self._here().enter():
                return self
            loop = asyncio.get_running_loop()
            place = loop.create_future()
            number = self._places.wait(functools.partial(_wake_task, loop, place))
        try:
            async with asyncio.timeout(self._wait_max_s):
                await place
        except TimeoutError:
            self._stop_waiting(number)
            raise self._waited_too_long() from None
        except BaseException:
            self._stop_waiting(number)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    # ── threads ──────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        with self._steps:
            if self._here().enter():
                return self
            place = threading.Event()
            number = self._places.wait(place.set)
        try:
            has_place = place.wait(self._wait_max_s)
        except BaseException:
            self._stop_waiting(number)
            raise
        if not has_place:
            self._stop_waiting(number)
            raise self._waited_too_long()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    # ── both ─────────────────────────────────────────────────────────────────

    def _here(self) -> Places[Wake]:
        """The places, as far as this process has filled them.

        In a forked child those who were inside or in line are not there to leave.
        """
        if self._forks != LOCK.forks:
            self._forks = LOCK.forks
            self._places.empty()
        return self._places

    def _leave(self) -> None:
        with self._steps:
            places = self._here()
            # None is taken where a block that was entered before a fork is left after it.
            if not places.taken and not LOCK.forks:
                raise InvalidState(f"bulkhead {self.name} was left more often than it was entered")
            wake = places.leave() if places.taken else None
        while wake is not None:
            try:
                wake()
            except RuntimeError:  # the event loop of whoever waited is closed: hand it on
                with self._steps:
                    wake = self._places.leave()
            else:
                return

    def _stop_waiting(self, number: int) -> None:
        with self._steps:
            has_left = self._places.give_up(number)
        if not has_left:
            self._leave()

    def _waited_too_long(self) -> BulkheadFull:
        with self._steps:
            return self._places.send_away(f"and no place came free in {self._wait_max_s:g} s")


def _wake_task(loop: asyncio.AbstractEventLoop, place: asyncio.Future[None]) -> None:
    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    if is_here:
        _hand_over(place)
    else:
        loop.call_soon_threadsafe(_hand_over, place)


def _hand_over(place: asyncio.Future[None]) -> None:
    if not place.done():  # who was cancelled hands it on, in `Bulkhead._stop_waiting`
        place.set_result(None)
