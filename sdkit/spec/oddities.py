"""Oddities: strategies for odd values and errors, of every kind.

Users' functions return values that cannot be sent, and raise errors that cannot be
printed. A specification draws from here if its subject has to survive that. `ANYTHING`
draws a value, `ERRORS` a function that makes an error, and `DEEDS` a function that
returns a value or raises an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import strategies as st

from sdkit.errors import InvalidArgument, Unavailable


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not today")


class _OfTheProgram(BaseException):
    """A `BaseException`, as test frameworks and servers define one."""


_SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text("a\ud800ä")
)
KEYS = _SIMPLE | st.tuples(st.integers(), st.text("a", max_size=1)) | st.frozensets(st.integers())
_ODD = st.builds(object) | st.just(1 << 80) | st.just(1j) | st.sets(st.integers(), max_size=2)
ANYTHING: st.SearchStrategy[object] = st.recursive(
    _SIMPLE | _ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=6,
)
# Not SystemExit and KeyboardInterrupt: those two are meant for the process.
ERRORS: st.SearchStrategy[Callable[[], BaseException]] = st.sampled_from(
    [
        lambda: RuntimeError("swordfish"),
        TimeoutError,
        lambda: StopIteration(7),
        StopAsyncIteration,
        GeneratorExit,
        asyncio.CancelledError,
        _Unprintable,
        _OfTheProgram,
        lambda: BaseExceptionGroup("some", [_OfTheProgram()]),
        lambda: InvalidArgument(ValueError()),  # type: ignore[arg-type]
        lambda: Unavailable(7),  # type: ignore[arg-type]
        lambda: Unavailable(OSError("down")),  # type: ignore[arg-type]
        lambda: Unavailable("half \ud800", a_character="\udfff"),
        lambda: Unavailable("no", because=object()),
        lambda: Unavailable("no", because={(1, 2): 3}),
    ]
)


def raising(make: Callable[[], BaseException]) -> Callable[[], object]:
    def fail() -> object:
        raise make()

    return fail


DEEDS = ANYTHING.map(lambda value: lambda: value) | ERRORS.map(raising)
