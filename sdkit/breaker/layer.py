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
    all is refused when it does. `Layer.call` is the other way round: what it is given has
    to return something to be awaited, which of a lambda is known only then. None of these
    mistakes is the callee's, so a breaker counts none (`WrongKind`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, NoReturn, ParamSpec, TypeVar, cast

from sdkit.errors import InvalidArgument

P = ParamSpec("P")
T = TypeVar("T")


class WrongKind(InvalidArgument):
    """A plain function where an awaited one belongs, or the reverse; no answer of the callee."""

    code = "wrong_kind"


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
        """One call of ``function``, which returns something to be awaited; await this, too.

        Raises:
            InvalidArgument: it is no function (but the coroutine that one has returned, say), or,
                as soon as that can be told, it returns nothing to be awaited. Neither counts.
        """
        check_function(function, self.kind)
        code = getattr(function, "__code__", None)
        if code is None or not code.co_flags & inspect.CO_COROUTINE:
            function = _awaited(function, self.kind)
        return self.around(function)(*args, **kwargs)

    def call_sync(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One call of a plain function.

        Raises:
            InvalidArgument: it is no function, or it returned a coroutine. Neither counts.
        """
        check_function(function, self.kind)
        return self.around_sync(function)(*args, **kwargs)

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """A coroutine function that does a little more than ``function``."""
        raise NotImplementedError

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function."""
        raise NotImplementedError


def check_function(function: object, kind: str) -> None:
    """Refuse what cannot be called.

    Raises:
        InvalidArgument: it is no function.
    """
    if callable(function):
        return
    if inspect.iscoroutine(function):
        function.close()  # it never runs, and does not complain of it
        raise InvalidArgument(
            f"{kind} goes around functions, and {function.__qualname__}(...) has been called "
            f"already: pass the function and its arguments, {function.__name__}, ..."
        )
    raise InvalidArgument(
        f"{kind} goes around functions; {function!r} is of type {type(function).__name__}"
    )


def check_name(name: object, kind: str, number: str | None = None) -> None:
    """Refuse what cannot be the name of a layer.

    Args:
        number: the argument that was meant, perhaps, if it is a number.

    Raises:
        InvalidArgument: it is no text, or empty.
    """
    if not isinstance(name, str) or not name:
        is_number = number is not None and isinstance(name, int)
        hint = f"; did you mean {number}={name!r}?" if is_number else ""
        raise InvalidArgument(
            f"name is {name!r}; {kind} is called by a text, not empty{hint}", name="name"
        )


def check_part(name: str, part: object, expected: type) -> None:
    """Refuse a part of a layer that is neither left out nor what it should be.

    Raises:
        InvalidArgument: naming the part and its type.
    """
    if part is not None and not isinstance(part, expected):
        raise InvalidArgument(
            f"{name} is {part!r}; it must be a {expected.__name__}(...)", name=name
        )


def is_async(function: Callable[..., Any], kind: str) -> bool:
    """Does calling ``function`` give something to be awaited?

    Raises:
        InvalidArgument: it is no function, or a generator.
    """
    check_function(function, kind)
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
    raise WrongKind(
        f"{name_of(function)} returned a coroutine, and {kind} cannot see how that ends before it "
        "is awaited: make it an `async def`, or use `await ...call(function)`"
    )


def _awaited(function: Callable[P, Awaitable[T]], kind: str) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(function)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        answer = function(*args, **kwargs)
        if not inspect.isawaitable(answer):
            raise WrongKind(
                f"{name_of(function)} returned {type(answer).__name__}, which cannot be awaited: "
                f"for a plain function use `call_sync`, without await, of {kind}"
            )
        return await answer

    return checked
