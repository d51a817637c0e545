"""Callbacks: call a user's function, and report its error without ending the log.

The task that writes and syncs calls the callbacks. If one raises, the log must not end:
the waiters of other records have no part in it, and the disk works. So the error goes to
the event loop's exception handler, as the errors of tasks do that nothing waits for. The
handler logs it, unless the program has set another. The log goes on.

Only ``SystemExit`` and ``KeyboardInterrupt`` are raised again: they are meant for the program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sdkit import trace
from sdkit.arguments import check_function, close_unawaited, is_awaitable, shown
from sdkit.errors import InvalidArgument, SdkitError


def call_back(function: Callable[..., object], /, *args: object, **named: object) -> None:
    """Call ``function``; give its error to the event loop's exception handler."""
    try:
        returned = function(*args, **named)
        if returned is not None and is_awaitable(returned):
            close_unawaited(returned)
            raise InvalidArgument(
                f"{shown(function)} returned something to be awaited; a journal calls plain "
                "functions"
            )
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{function!r} raised, called by a journal", "exception": error}
        )


def check_callbacks(**functions: object) -> None:
    """Refuse what cannot be called, or would have to be awaited. None is left out."""
    for name, function in functions.items():
        if function is not None:
            check_function(name, function, asynchronous=False)


def event(name: str, /, **fields: object) -> None:
    """As `sdkit.trace.event`, for the task that writes: a listener is a callback too."""
    call_back(trace.event, name, **fields)


def ignore_durable(lsn: int) -> None:
    """For a journal whose owner looks at `Journal.durable` or waits."""


def ignore_loss(first: int, error: SdkitError) -> None:
    """For a journal whose owner waits for each record."""
