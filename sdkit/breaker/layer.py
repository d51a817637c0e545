"""Layer: what can be put around a function, and stays out of sight.

A breaker, a retry, a bulkhead, a time-out and a fallback have one thing in common:
they take a function and give one back that is called in the same way and does a
little more. So all of them are a `Layer`, used in the same three ways:

    @layer                             as decorator, of `async def` or `def`
    await layer.call(function, 1, 2)   for one call; the function may be a lambda
    layer.call_sync(function, 1, 2)    the same for a plain function

and a layer around a layer is a layer (`sdkit.breaker.pipeline`). A breaker and a bulkhead
can go around a block as well (``async with``); the others cannot: a block can be neither
repeated nor answered for.

The one thing that goes wrong
    A wrapper has to be of the kind of what it wraps. A plain wrapper around an
    ``async def`` sees a coroutine come back at once, calls that a success, and never
    learns how the call ended. So the kind is found out when a function is decorated, of
    partial objects and of objects with ``__call__`` too; generators are refused there
    (calling one runs nothing yet), and a plain function that returns a coroutine after
    all is refused when it does.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, NoReturn, ParamSpec, TypeVar, cast

from sdkit.errors import InvalidArgument

P = ParamSpec("P")
T = TypeVar("T")


class Layer:
    """Goes around functions. A subclass says how, in `around` and `around_sync`."""

    kind: ClassVar[str] = "a layer"  # in errors

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate ``function``; what comes back is of the same kind.

        Raises:
            InvalidArgument: it is no function, or a generator.
        """
        wrapped: Callable[..., Any]
        if is_async(function, self.kind):
            wrapped = self.around(cast("Callable[P, Awaitable[Any]]", function))
        else:
            wrapped = self.around_sync(function)
        return functools.update_wrapper(wrapped, function)

    def call(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """One call of ``function``, which returns something to be awaited; await this, too."""
        return self.around(function)(*args, **kwargs)

    def call_sync(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One call of a plain function."""
        return self.around_sync(function)(*args, **kwargs)

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """A coroutine function that does a little more than ``function``."""
        raise NotImplementedError

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function."""
        raise NotImplementedError


def is_async(function: Callable[..., Any], kind: str) -> bool:
    """Does calling ``function`` give something to be awaited?

    Raises:
        InvalidArgument: it is no function, or a generator.
    """
    if not callable(function):
        raise InvalidArgument(
            f"{kind} goes around functions; {function!r} is of type {type(function).__name__}"
        )
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        inner = type(inner).__call__
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise InvalidArgument(
            f"{name_of(function)} is a generator: calling it runs nothing yet, so {kind} would "
            "see it end before it has begun; put the block that reads it inside instead"
        )
    return inspect.iscoroutinefunction(inner)


def name_of(function: Callable[..., Any]) -> str:
    """How errors and events call it: the same in every run, so never an address."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


def refuse_coroutine(result: object, function: Callable[..., Any], kind: str) -> NoReturn:
    """A plain function returned a coroutine after all (a lambda can).

    Raises:
        InvalidArgument: always.
    """
    assert inspect.iscoroutine(result)
    result.close()  # it never runs, and does not complain of it
    raise InvalidArgument(
        f"{name_of(function)} returned a coroutine, and {kind} cannot see how that ends before it "
        "is awaited: make it an `async def`, or use `await ...call(function)`"
    )
