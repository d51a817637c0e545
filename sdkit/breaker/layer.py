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
    learns how the call ended. So the kind is found out when a function is given
    (`sdkit.arguments.is_async`); generators are refused there (calling one runs nothing
    yet), and a plain function that returns something to be awaited after all is refused
    when it does. `Layer.call` is the other way round: what it is given has to return
    something to be awaited, which of a lambda is known only then. None of these mistakes
    is the callee's, so a breaker counts none (`WrongKind`).

Decision: a generator that a plain function *returns* is a result like any other. The function
has run, and a layer cannot know whether it has asked somebody before.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from types import FunctionType
from typing import Any, ClassVar, Final, NoReturn, ParamSpec, TypeVar, cast

from sdkit.arguments import (
    check_function,
    close_unawaited,
    innermost,
    is_async,
    is_awaitable,
    is_generator,
    shown,
)
from sdkit.errors import InvalidArgument, InvalidState

P = ParamSpec("P")
T = TypeVar("T")

NAME_MAX: Final = 200
GENERATORS: Final = CO_GENERATOR | CO_ASYNC_GENERATOR


class WrongKind(InvalidArgument):
    """A plain function where an awaited one belongs, or the reverse; no answer of the callee."""

    code = "wrong_kind"


class Unique:
    """What is not copied or pickled, since it counts the calls of this process."""

    kind: ClassVar[str] = "this object"  # in errors

    def __reduce__(self) -> NoReturn:
        """Refused: a copy, in this process or another, would not know of the calls of this one.

        Raises:
            InvalidState: always.
        """
        raise InvalidState(
            f"{self.kind} is not copied or pickled, since its state is that of the calls here: "
            "make another one where it is needed, with the same arguments"
        )


class Layer(Unique):
    """Goes around functions. A subclass says how, in `around` and `around_sync`."""

    kind: ClassVar[str] = "a layer"  # in errors

    def __call__(self, function: Callable[P, T], /) -> Callable[P, T]:
        """Decorate ``function``; what comes back is of the same kind.

        Raises:
            InvalidArgument: it is no function, or a generator.
        """
        check_callee(function, self.kind)
        wrapped: Callable[..., Any]
        if is_async(function):
            wrapped = self.around(cast("Callable[P, Awaitable[Any]]", function))
        else:
            wrapped = self.around_sync(function)
        return functools.update_wrapper(wrapped, function)

    def call(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """One call of ``function``, which returns something to be awaited; await this, too.

        Raises:
            InvalidArgument: it is no function (but the coroutine that one has returned, say) or
                a generator, or, as soon as that can be told, it returns nothing to be awaited.
                None of these counts.
        """
        check_callee(function, self.kind)
        code = getattr(function, "__code__", None)
        if code is None or not code.co_flags & CO_COROUTINE:
            function = _awaited(function, self.kind)
        return self.around(function)(*args, **kwargs)

    def call_sync(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """One call of a plain function.

        Raises:
            InvalidArgument: it is no function, a generator or an ``async def``, or it returned
                something to be awaited. None of these counts.
        """
        check_callee(function, self.kind)
        return self.around_sync(function)(*args, **kwargs)

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """A coroutine function that does a little more than ``function``."""
        raise NotImplementedError

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function."""
        raise NotImplementedError


def check_callee(function: object, kind: str) -> None:
    """Refuse what no layer can go around.

    Raises:
        InvalidArgument: it is no function, or a generator.
    """
    if isinstance(function, FunctionType) and not function.__code__.co_flags & GENERATORS:
        return  # nearly always, and `Layer.call` asks with each call
    check_function(f"{kind} goes around functions, and this", function)
    if is_generator(function):
        raise InvalidArgument(
            f"{name_of(function)} is a generator: calling it runs nothing yet, so {kind} would "
            "see it end before it has begun; put the block that reads it inside instead"
        )


def check_name(name: object, kind: str, number: str | None = None) -> None:
    """Refuse what cannot be the name of a layer.

    Args:
        number: the argument that was meant, perhaps, if it is a number.

    Raises:
        InvalidArgument: it is no text, empty, longer than `NAME_MAX`, or without a UTF-8 form.
    """
    if not isinstance(name, str) or not name:
        is_number = number is not None and isinstance(name, int)
        hint = f"; did you mean {number}={shown(name)}?" if is_number else ""
        raise InvalidArgument(
            f"name is {shown(name)}; {kind} is called by a text, not empty{hint}", name="name"
        )
    if len(name) > NAME_MAX or (not name.isascii() and _has_surrogates(name)):
        raise InvalidArgument(
            f"name is {shown(name)}; it labels errors and metrics, so it has at most {NAME_MAX} "
            "characters and a UTF-8 form",
            name="name",
        )


def check_part(name: str, part: object, expected: type) -> None:
    """Refuse a part of a layer that is neither left out nor what it should be.

    Raises:
        InvalidArgument: naming the part and its type.
    """
    if part is not None and not isinstance(part, expected):
        raise InvalidArgument(
            f"{name} is {shown(part)}; it must be a {expected.__name__}(...)", name=name
        )


def name_of(function: object) -> str:
    """How errors and events call it: the same in every run, so never an address."""
    inner = innermost(function)
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


def refuse_awaitable(result: object, function: Callable[..., Any], kind: str) -> None:
    """Refuse what a plain function has returned if it is to be awaited (a lambda can).

    Raises:
        WrongKind: it is.
    """
    if is_awaitable(result):
        close_unawaited(result)
        raise WrongKind(
            f"{name_of(function)} returned a {type(result).__name__}, and {kind} cannot see how "
            "that ends before it is awaited: make it an `async def`, or use "
            "`await ...call(function)`"
        )


def _awaited(function: Callable[P, Awaitable[T]], kind: str) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(function)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        answer = function(*args, **kwargs)
        if not is_awaitable(answer):
            raise WrongKind(
                f"{name_of(function)} returned {type(answer).__name__}, which cannot be awaited: "
                f"for a plain function use `call_sync`, without await, of {kind}"
            )
        return await answer

    return checked


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)
