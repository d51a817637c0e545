"""Retry: repeat a transaction that was aborted, after a pause that nobody shares.

An aborted transaction left nothing behind, so the cure is to run it again from
its start: read again, decide again, write again. Two rules keep that from
making things worse:

    * Wait a random time before each repetition, up to a bound that doubles
      ("full jitter"). Losers that all come back after the same pause meet
      again at the same key.
    * Only `Aborted` is repeated. An indeterminate commit may have happened;
      running it again would do it twice, unless the transaction itself looks
      whether it has (``examples/store_payment.py`` does).

Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeVar

from sdkit.arguments import (
    check_between,
    check_function,
    is_awaitable,
    is_generator,
    shown,
)
from sdkit.errors import Aborted, InvalidArgument
from sdkit.store.interface import Level, Store, Transaction
from sdkit.trace import event

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.001
PAUSE_MAX_S: Final = 0.25


async def run_transaction(
    store: Store,
    function: Callable[[Transaction], Awaitable[T]],
    *,
    isolation: Level,
    read_only: bool,
    attempts: int,
    random: Random,
) -> T:
    """What `Store.run` promises, for any store.

    Raises:
        InvalidArgument: ``attempts`` is not between 1 and 1000; or ``function`` cannot be
            called, is a generator, or has not returned anything to be awaited. The last
            is seen only when it is called; then nothing of its transaction happened.
        Aborted: the last attempt was aborted, too.
    """
    _check(function)
    check_between("attempts", attempts, 1, 1000)
    for attempt in range(1, attempts):
        try:
            return await _once(store, function, isolation, read_only)
        except Aborted as error:
            event("store.retry", attempt=attempt, code=error.code)
            await asyncio.sleep(pause_s(attempt, random))
    return await _once(store, function, isolation, read_only)


def pause_s(attempt: int, random: Random) -> float:
    """How long to wait after the failure of attempt 1, 2, ..."""
    return random.uniform(0, min(PAUSE_MAX_S, FIRST_PAUSE_S * 2 ** min(attempt, 20)))


async def _once(
    store: Store,
    function: Callable[[Transaction], Awaitable[T]],
    isolation: Level,
    read_only: bool,
) -> T:
    async with store.begin(isolation=isolation, read_only=read_only) as transaction:
        answer = function(transaction)
        if not is_awaitable(answer):
            raise InvalidArgument(
                f"{shown(function)} has returned {shown(answer)} at once; "
                "a function for `run` is an `async def`, and nothing of it was committed",
                name="function",
            )
        return await answer


def _check(function: object) -> None:
    check_function("function", function)
    if is_generator(function):
        raise InvalidArgument(
            f"function is {shown(function)}, a generator; it must be an `async def` without yield",
            name="function",
        )
