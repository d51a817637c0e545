"""Home: the event loop that a store belongs to; calls from elsewhere are refused.

A store does everything on one event loop, so it needs no lock of Python's. The price:
a task of another loop or thread that waits for the store is never woken. It would
hang without an error. So such a call is refused by name: at each beginning, each wait
and each end of a transaction. Other statements are not checked: most of them do not
wait, and they are many.

A forked child is elsewhere too: it has a copy of the memory, but no running loop.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVarTuple

from sdkit.errors import InvalidState

Given = TypeVarTuple("Given")


class Home:
    """The event loop of a store.

    Args:
        of: names the store in errors, as in "a StoreEngine".
    """

    __slots__ = ("_loop", "_of")

    def __init__(self, of: str) -> None:
        self._of: Final = of
        self._loop: asyncio.AbstractEventLoop | None = None

    def settle(self) -> None:
        """Belong to the running loop from now on. No change if it does already.

        Raises:
            InvalidState: it belongs to another one.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self.check()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it belongs to."""
        assert self._loop is not None
        return self._loop

    @property
    def is_settled(self) -> bool:
        """Whether it belongs to a loop yet."""
        return self._loop is not None

    def check(self) -> None:
        """Refuse a call that does not come from the loop at home.

        Raises:
            InvalidState: it comes from another loop, thread or process; nothing was done.
        """
        here = _get_running_loop()  # raises nothing, so it is quick: each begin comes here
        if here is not self._loop:
            where = "no event loop" if here is None else "another event loop"
            raise InvalidState(
                f"{self._of} belongs to the event loop that it was opened on, and this call comes "
                f"from {where}: another thread, process or asyncio.run; nothing was done. Open "
                "one for each loop, or hand the call over with asyncio.run_coroutine_threadsafe"
            )

    def call_soon(self, function: Callable[[*Given], object], *given: *Given) -> None:
        """Call ``function`` on the home loop, from any thread; not if that loop is closed."""
        with suppress(RuntimeError):
            if _get_running_loop() is self._loop:
                self.loop.call_soon(function, *given)
            else:
                self.loop.call_soon_threadsafe(function, *given)
