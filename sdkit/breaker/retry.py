"""Retry: ask again, where that is safe, later, and not too often.

Most failures of a remote call are brief: a connection that was just cut, a server
that restarts. Asking again cures them. It also can do a thing twice, hit a callee
that is down, and multiply the load; so there are three questions before each retry,
and one "no" ends it with the error of the last attempt:

    may it be repeated?     the error's type says so (`may_be_repeated`)
    is there an attempt     ``attempts`` per call
      left?
    can it be paid for?     `RetryBudget`, shared by all callers

and then a pause with back-off and full jitter (`sdkit.breaker.backoff`).

What may be repeated (``docs/errors.md``)

    Unavailable      it did not happen, later it may: yes
    Indeterminate    it may have happened: only if doing it twice is the same as doing
                     it once, which only the caller knows: ``idempotent=True``
    Rejected         the same request will be refused again: no
    Aborted          nothing of a whole transaction happened: repeat that, not this call
    ConnectionRefusedError
                     Python's own; nobody listens, so nothing was sent: yes
    a bad result     the callee has answered, and ``failure_if`` calls it a failure: yes
                     (`sdkit.breaker.results`)
    any other        unknown, since a `TimeoutError` or another `OSError` may come after
                     the call did its work; ``retry_on`` can name it

Two things to notice
    1. What this process refused itself, a `CircuitOpen` or a `BulkheadFull`, is
       Unavailable, and is not retried: it would be refused again, and the refusal was
       there to spare somebody the load.
    2. The budget earns from every call, also from those that succeed, so a callee that
       is well is what pays for the retries when it is not.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Final, ParamSpec, TypeVar

from sdkit import host as hosts
from sdkit.arguments import check_between
from sdkit.breaker.backoff import SECOND_NS, Backoff
from sdkit.breaker.budget import RetryBudget
from sdkit.breaker.checks import check_bool, check_random
from sdkit.breaker.circuit import CircuitOpen
from sdkit.breaker.judging import Errors, judge
from sdkit.breaker.layer import Layer, check_part, name_of, refuse_awaitable
from sdkit.breaker.places import BulkheadFull
from sdkit.breaker.results import NOT_OF_THE_CALLEE, BadResult
from sdkit.breaker.steps import LOCK
from sdkit.errors import Indeterminate, Unavailable
from sdkit.trace import event

P = ParamSpec("P")
T = TypeVar("T")


def may_be_repeated(error: Exception, *, idempotent: bool) -> bool:
    """Does the type of ``error`` allow to make the same call again?"""
    match error:
        case CircuitOpen() | BulkheadFull():
            return False
        case Unavailable() | ConnectionRefusedError():
            return True
        case Indeterminate():
            return idempotent
    return False


class Retry(Layer):
    """Calls again what failed and may be repeated.

    Args:
        attempts: at most so many calls in all, 1 to 100.
        backoff: how long to pause before each further one.
        budget: shared by all that should not exceed it together; one of its own unless given.
        idempotent: doing it twice is the same as doing it once.
        retry_on: which errors are retried instead: types, or a function of the error. Unless
            given, those that `may_be_repeated`.
        random: draws the jitter; the current host's unless given.

    Raises:
        InvalidArgument: a value is out of range, or of another type.
    """

    kind = "a retry"

    def __init__(
        self,
        *,
        attempts: int = 3,
        backoff: Backoff | None = None,
        budget: RetryBudget | None = None,
        idempotent: bool = False,
        retry_on: Errors | None = None,
        random: Random | None = None,
    ) -> None:
        check_between("attempts", attempts, 1, 100)
        check_part("budget", budget, RetryBudget)
        check_part("backoff", backoff, Backoff)
        check_bool("idempotent", idempotent)
        check_random(random)
        self.budget: Final = budget if budget is not None else RetryBudget()
        self._attempts, self._backoff, self._random = attempts, backoff or Backoff(), random
        self._may = (
            functools.partial(may_be_repeated, idempotent=idempotent)
            if retry_on is None
            else judge("retry_on", retry_on)
        )

    def __repr__(self) -> str:
        return f"<Retry: {self._attempts} attempts, {self.budget!r}>"

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Calls ``function`` until it succeeds, or no retry is left: then its last error."""

        async def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
            self._earn()
            attempt = 1
            while True:
                try:
                    return await function(*args, **kwargs)
                except Exception as error:
                    if not self._may_go_on(attempt, error):
                        raise
                    pause_s = self._pause_s(attempt, function, error)
                await asyncio.sleep(pause_s)
                attempt += 1

        return repeated

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function; the thread sleeps in the pauses."""

        def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
            self._earn()
            attempt = 1
            while True:
                try:
                    result = function(*args, **kwargs)
                except Exception as error:
                    if not self._may_go_on(attempt, error):
                        raise
                    pause_s = self._pause_s(attempt, function, error)
                else:
                    refuse_awaitable(result, function, self.kind)
                    return result
                time.sleep(pause_s)
                attempt += 1

        return repeated

    def _earn(self) -> None:
        with LOCK:
            self.budget.earn()

    def _may_go_on(self, attempt: int, error: Exception) -> bool:
        if attempt >= self._attempts:
            return False
        if isinstance(error, NOT_OF_THE_CALLEE):
            return False
        if not isinstance(error, BadResult) and not self._may(error):
            return False
        with LOCK:
            is_paid = self.budget.spend()
        if not is_paid:
            event("breaker.no_budget", attempt=attempt, error=type(error).__name__)
        return is_paid

    def _pause_s(self, attempt: int, function: Callable[..., Any], error: Exception) -> float:
        randomness = hosts.current().random if self._random is None else self._random
        pause_s = self._backoff.wait_ns(attempt, randomness) / SECOND_NS
        event(
            "breaker.retry",
            function=name_of(function),
            attempt=attempt,
            error=type(error).__name__,
            pause_s=pause_s,
        )
        return pause_s
