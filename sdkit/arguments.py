"""Arguments: the checks of what comes from outside, made before anything changes.

A wrong argument is found in one of two places: where it is given, or much later
and far away, as ``TypeError: '<=' not supported`` in a timer. Every public call
and every configuration of the kit asks the questions in this file, so that
the same mistake gets the same answer everywhere, embedded and over TCP alike.

    check_between    is it a finite number, in range, neither a bool nor text?
    check_one_of     is it one of these words?
    check_function   is it a function, and of the right kind (plain or async)?
    is_async         does calling it give something to be awaited?
    is_generator     does calling it run nothing yet?
    is_awaitable     is what came back something to be awaited?

Two things to notice
    1. ``True`` is an ``int`` in Python and ``nan`` compares as False with
       everything; both have passed many a hand-written check.
    2. A wrong value may be huge. `shown` cuts what a message repeats, so that a
       mistaken argument of a gigabyte does not become an error of a gigabyte.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection
from types import CoroutineType, GeneratorType, NoneType
from typing import Any, Final, cast

from sdkit.errors import InvalidArgument

SHOWN_MAX: Final = 60
# Types of most results, which nobody awaits: a look into this set costs a tenth of the question.
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
    """Refuse what cannot be called, or is of the other kind.

    Args:
        asynchronous: True if calling it has to give something to be awaited, False if it
            must not (nor may it be a generator, which runs nothing when it is called); None if
            both will do.

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
    """Whether calling ``function`` gives something to be awaited, as far as can be told.

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

    A generator is not: it is a value, to be read later. Only the type is looked at, since a
    proxy may fail when it is asked what it is.
    """
    kind = type(value)
    if kind in AT_HAND:
        return False
    if kind is GeneratorType:  # one made by `types.coroutine` is to be awaited all the same
        generator = cast("GeneratorType[object, object, object]", value)
        return bool(generator.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return hasattr(kind, "__await__")


def close_unawaited(value: object) -> None:
    """Let a coroutine that is refused go, without its complaint of never having been awaited."""
    if type(value) is CoroutineType:
        cast("CoroutineType[object, object, object]", value).close()


def innermost(function: object) -> Any:
    """The function inside any number of ``functools.partial`` and ``staticmethod``."""
    while isinstance(function, functools.partial | staticmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def shown(value: object) -> str:
    """How an error message repeats ``value``: its repr, at most `SHOWN_MAX` characters of it."""
    if isinstance(value, str | bytes | bytearray) and len(value) > SHOWN_MAX:
        return f"{value[:SHOWN_MAX]!r}... ({len(value)} long)"
    if isinstance(value, int) and value.bit_length() > 256:  # beyond 4,300 digits repr() refuses
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception as error:  # a repr of somebody else's, in the middle of a refusal
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."
