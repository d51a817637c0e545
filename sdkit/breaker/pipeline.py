"""Pipeline: all of them around one call, in the order that makes sense.

    fallback ( retry ( bulkhead ( breaker ( time-out ( the call )))))

Why this order, from the outside in:

    fallback   outermost: it answers for every way of failing, that of the others too.
    retry      around the rest, so that each attempt is judged, bounded and timed by
               itself. Inside the breaker, three failures in a row would look like one,
               and the retries would go on after the breaker had opened.
    bulkhead   around the breaker: who waits for a place must not hold one of three
               permits of a half-open breaker meanwhile, and the time in line is not the
               callee's slowness. A full bulkhead speaks of us, not of the callee; from out
               here the breaker never hears of it.
    breaker    around the time-out: a call that takes too long has to look to it like a
               failure. Outside of the breaker the time-out would cancel it, and a
               cancelled call is nobody's failure.
    time-out   innermost: each attempt's own.

One corner remains. With the bulkhead outside, callers would stand in line for a callee
that the breaker knows to be down. So the pipeline asks the breaker at the door, too
(`Breaker.check`, which takes no permit), before the line.

Which results are failures all the same is said once, ``failure_if``, here or where the breaker
was made, and holds for all parts (`sdkit.breaker.results`).

Each part is optional, and can be shared: one budget and one breaker for all calls to a
callee, a time-out and a fallback of their own for each.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from sdkit.breaker.breaker import Breaker
from sdkit.breaker.bulkhead import Bulkhead
from sdkit.breaker.fallback import Fallback
from sdkit.breaker.judging import ResultJudge, result_judge
from sdkit.breaker.layer import Layer, check_part
from sdkit.breaker.results import Judging, Unwrapping
from sdkit.breaker.retry import Retry
from sdkit.breaker.timeout import Timeout
from sdkit.errors import InvalidArgument

P = ParamSpec("P")
T = TypeVar("T")


class Door(Layer):
    """Refuses at once what the breaker would refuse later."""

    kind = "a door"

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        async def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            self._breaker.check()
            return await function(*args, **kwargs)

        return asked

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            self._breaker.check()
            return function(*args, **kwargs)

        return asked


class Guard(Layer):
    """A breaker that leaves a bad result to the layers outside of it."""

    kind = "a breaker"

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        return self._breaker.guarding(function)

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        return self._breaker.guarding_sync(function)


class Pipeline(Layer):
    """The given layers around a function, in the order above.

    Decorate once, where the function is defined: `call` builds all the layers for each call.

    Args:
        fallback, retry, bulkhead, breaker, timeout: the layers.
        failure_if: a plain function that says which results are failures, for all of them; that
            of the breaker unless given. A caller who can be given nothing better gets the result.

    Raises:
        InvalidArgument: no layer is given, or one is something else (a number, say); or both
            the pipeline and its breaker have a ``failure_if``.
    """

    kind = "a pipeline"

    def __init__(
        self,
        *,
        fallback: Fallback | None = None,
        retry: Retry | None = None,
        bulkhead: Bulkhead | None = None,
        breaker: Breaker | None = None,
        timeout: Timeout | None = None,
        failure_if: ResultJudge | None = None,
    ) -> None:
        check_part("fallback", fallback, Fallback)
        check_part("retry", retry, Retry)
        check_part("bulkhead", bulkhead, Bulkhead)
        check_part("breaker", breaker, Breaker)
        check_part("timeout", timeout, Timeout)
        self._shown = [
            part for part in (fallback, retry, bulkhead, breaker, timeout) if part is not None
        ]
        if not self._shown:
            raise InvalidArgument(
                "a pipeline needs at least one of fallback, retry, bulkhead, breaker and timeout"
            )
        is_bad = None if failure_if is None else result_judge(failure_if)
        guard: Layer | None = breaker
        if breaker is not None and breaker.is_bad is not None:
            if is_bad is not None:
                raise InvalidArgument(
                    f"failure_if is given, and breaker {breaker.name} has one of its own; say once "
                    "what a bad result is",
                    name="failure_if",
                )
            is_bad, guard = breaker.is_bad, Guard(breaker)
        judging = None if is_bad is None else Judging(is_bad)
        unwrapping = None if is_bad is None else Unwrapping()
        door = Door(breaker) if breaker is not None and bulkhead is not None else None
        inside_out = (timeout, judging, guard, bulkhead, door, retry, fallback, unwrapping)
        self._inside_out = [layer for layer in inside_out if layer is not None]

    def __repr__(self) -> str:
        return f"<Pipeline: {', '.join(map(repr, self._shown))}>"

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """``function`` inside all of them."""
        innermost, *others = self._inside_out
        wrapped = functools.update_wrapper(innermost.around(function), function)
        for layer in others:
            wrapped = functools.update_wrapper(layer.around(wrapped), function)
        return wrapped

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function; refused if one of them is a time-out."""
        wrapped = function
        for layer in self._inside_out:
            wrapped = functools.update_wrapper(layer.around_sync(wrapped), function)
        return wrapped
