"""Timeout: a call takes so long, and then it is over, for the caller.

A call without a time limit is a promise to wait for ever, and some day somebody
keeps it. The limit is also what makes a slow callee visible at all: a breaker counts
calls that end, and one that hangs does not end by itself.

Three things to notice
    1. The limit ends the *waiting*. What was asked for may still happen, so the error is
       `DeadlineExceeded`: nobody knows (``docs/errors.md``), and a retry has to be safe.
    2. Only our own limit becomes `DeadlineExceeded`. A cancellation from outside stays
       one, and a ``TimeoutError`` that the function raised itself goes through as it is.
    3. Threads cannot be interrupted in Python, so there is no time-out around a plain
       function. One that pretends (and leaves the thread behind) hides the very thing
       that runs out. Give the limit to what waits: ``socket.settimeout``, a client's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, ParamSpec, TypeVar

from sdkit.arguments import check_between
from sdkit.breaker.layer import Layer, name_of
from sdkit.errors import DeadlineExceeded, InvalidArgument
from sdkit.trace import event

P = ParamSpec("P")
T = TypeVar("T")


class Timeout(Layer):
    """Cancels a call that takes longer than ``seconds``.

    Args:
        seconds: 0.001 to 86,400.

    Raises:
        InvalidArgument: it is not.
    """

    kind = "a time-out"

    def __init__(self, seconds: float) -> None:
        check_between("seconds", seconds, 0.001, 86_400.0)
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<Timeout: {self._seconds:g} s>"

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Calls ``function``; raises `DeadlineExceeded` if it has not ended in time."""

        async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            limit = asyncio.timeout(self._seconds)
            try:
                async with limit:
                    return await function(*args, **kwargs)
            except TimeoutError as error:
                if not limit.expired() or not isinstance(error.__cause__, asyncio.CancelledError):
                    raise
            event("breaker.timeout", function=name_of(function), limit_s=self._seconds)
            raise DeadlineExceeded(
                f"no answer from {name_of(function)} within {self._seconds:g} s; "
                "what was asked for may still happen",
                limit_s=self._seconds,
            )

        return limited

    def around_sync(self, function: Callable[P, T]) -> NoReturn:
        """Refused: a thread cannot be interrupted.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument(
            f"a time-out cannot end {name_of(function)}, which is a plain function: its thread "
            "cannot be interrupted; make it an `async def`, or give the limit to what it waits for"
        )
