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
from sdkit.breaker.layer import Layer, check_part
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


class Pipeline(Layer):
    """The given layers around a function, in the order above.

    Decorate once, where the function is defined: `call` builds all the layers for each call.

    Raises:
        InvalidArgument: none is given, or one is something else (a number, say).
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
    ) -> None:
        check_part("fallback", fallback, Fallback)
        check_part("retry", retry, Retry)
        check_part("bulkhead", bulkhead, Bulkhead)
        check_part("breaker", breaker, Breaker)
        check_part("timeout", timeout, Timeout)
        door = Door(breaker) if breaker is not None and bulkhead is not None else None
        outside_in = (fallback, retry, door, bulkhead, breaker, timeout)
        self._inside_out = [layer for layer in reversed(outside_in) if layer is not None]
        if not self._inside_out:
            raise InvalidArgument(
                "a pipeline needs at least one of fallback, retry, bulkhead, breaker and timeout"
            )

    def __repr__(self) -> str:
        outside_in = [layer for layer in reversed(self._inside_out) if not isinstance(layer, Door)]
        return f"<Pipeline: {', '.join(map(repr, outside_in))}>"

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
