"""Arguments: the checks of what comes from outside, made before anything changes.

A wrong argument is found in one of two places: where it is given, or much later
and far away, as ``TypeError: '<=' not supported`` in a timer. Every public call
and every configuration of the kit asks the questions in this file, so that
the same mistake gets the same error everywhere, embedded and over TCP.

    check_between    refuses what is no number in a range (bools and text are none)
    check_one_of     refuses what is none of some words
    check_function   refuses what is no function, or of the wrong kind (plain, async)
    is_async         whether a call returns an awaitable
    is_generator     whether a call runs nothing yet
    is_awaitable     whether a returned value is to be awaited

Two things to notice
    1. ``True`` is an ``int`` in Python, and every comparison with ``nan`` is
       False. A check written by hand often lets both pass.
    2. A wrong value may be huge. `shown` cuts what a message repeats, so that a
       wrong argument of a gigabyte does not make an error message of a gigabyte.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection
from types import CoroutineType, GeneratorType, NoneType
from typing import Any, Final, cast

from sdkit.errors import InvalidArgument

SHOWN_MAX: Final = 60
# Most results are of these types, none of which is awaited. To look here is ten times as fast.
AT_HAND: Final = frozenset({NoneType, bool, int, float, str, bytes, tuple, list, dict, set})


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside ``low`` to ``high``, both allowed.

    If both are of type int, so must be the value.

    Raises:
        InvalidArgument: naming the value and the limits.
    """
    is_whole = isinstance(low, int) and isinstance(high, int)
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float):
        unit = " of bytes" if "_bytes" in name else " of seconds" if name.endswith("_s") else ""
        raise InvalidArgument(
            f"{name} is {shown(value)}; it must be a {'whole ' if is_whole else ''}number{unit} "
            f"between {low} and {high}",
            name=name,
            value=shown(value),
        )
    if not low <= value <= high:
        raise InvalidArgument(
            f"{name} is {shown(value)}; it must lie between {low} and {high}",
            name=name,
            value=shown(value),
        )


def check_one_of(name: str, value: object, words: Collection[str]) -> None:
    """Refuse what is none of ``words``.

    Raises:
        InvalidArgument: naming the value and all the words.
    """
    if not isinstance(value, str) or value not in words:
        raise InvalidArgument(
            f"{name} is {shown(value)}; it must be one of {', '.join(words)}",
            name=name,
            value=shown(value),
        )


def check_function(name: str, function: object, *, asynchronous: bool | None = None) -> None:
    """Refuse what is no function, or a function of the other kind.

    Args:
        asynchronous: True if a call must return something to be awaited, False if it must
            not; None if both will do. With True or False a generator is refused too, since
            a call of it runs nothing yet.

    Raises:
        InvalidArgument: naming the argument, and what to pass instead.
    """
    wanted = {None: "a function", False: "a plain function", True: "an `async def`"}[asynchronous]
    if not callable(function):
        hint = ""
        if inspect.iscoroutine(function):
            close_unawaited(function)
            hint = (
                f": {function.__name__}(...) has been called already: pass the "
                "function itself, without calling it"
            )
        raise InvalidArgument(
            f"{name} is {shown(function)}, of type {type(function).__name__}; "
            f"it must be {wanted}{hint}",
            name=name,
        )
    if asynchronous is not None and is_async(function) != asynchronous:
        is_one = "a plain function" if asynchronous else "an `async def`"
        raise InvalidArgument(
            f"{name} is {shown(function)}, {is_one}; it must be {wanted}", name=name
        )
    if asynchronous is not None and is_generator(function):
        raise InvalidArgument(
            f"{name} is {shown(function)}, a generator: calling it runs nothing yet; it must be "
            f"{wanted}",
            name=name,
        )


def is_async(function: object) -> bool:
    """Whether a call of ``function`` returns something to be awaited, as far as can be told.

    It looks through partial objects, at bound methods, at objects with an async
    ``__call__`` and at `unittest.mock.AsyncMock`. A plain function that returns a
    coroutine (a lambda can) looks plain: only the call shows it.
    """
    inner = innermost(function)
    if inspect.iscoroutinefunction(inner):
        return True
    if "_is_coroutine" in getattr(inner, "__dict__", {}):  # AsyncMock, and other marked objects
        return True
    if inspect.isroutine(inner) or inspect.isclass(inner):
        return False
    return inspect.iscoroutinefunction(getattr(type(inner), "__call__", None))  # noqa: B004


def is_generator(function: object) -> bool:
    """Whether ``function`` is a generator, plain or async: calling it runs nothing yet."""
    inner = innermost(function)
    if not inspect.isroutine(inner) and not inspect.isclass(inner):
        inner = getattr(type(inner), "__call__", None)  # noqa: B004
    return inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)


def is_awaitable(value: object) -> bool:
    """Whether ``value`` is to be awaited: a coroutine, a future, anything with ``__await__``.

    A generator is not: it is a value, to be read later. Only the type is looked at, since
    ``isinstance`` would ask the value itself, and a proxy may fail at that.
    """
    kind = type(value)
    if kind in AT_HAND:
        return False
    if kind is GeneratorType:  # one made by `types.coroutine` is to be awaited all the same
        generator = cast("GeneratorType[object, object, object]", value)
        return bool(generator.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return hasattr(kind, "__await__")


def close_unawaited(value: object) -> None:
    """Close a coroutine that is refused, so that Python does not warn that it was never awaited."""
    if type(value) is CoroutineType:
        cast("CoroutineType[object, object, object]", value).close()


def innermost(function: object) -> Any:
    """The function inside any number of ``functools.partial`` and ``staticmethod``."""
    while isinstance(function, functools.partial | staticmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def shown(value: object) -> str:
    """``value`` for an error message: its repr, of text and of a repr `SHOWN_MAX` characters."""
    if isinstance(value, str | bytes | bytearray) and len(value) > SHOWN_MAX:
        return f"{value[:SHOWN_MAX]!r}... ({len(value)} long)"
    if isinstance(value, int) and value.bit_length() > 256:  # beyond 4,300 digits repr() refuses
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception as error:  # a user's repr must not replace our error
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
