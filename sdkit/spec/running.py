"""Running: run a specification in virtual time, with simulated clocks for its subject.

A subject is code that was written for the real world. It reads ``time.monotonic``. While
a specification runs, that has to be the virtual clock, however the subject got it:

    import time; time.monotonic()              answered by the simulation, as it is
    from time import monotonic                 replaced in the subject's module meanwhile
    def __init__(self, clock=time.monotonic)   replaced in the defaults of its functions

`run` does all three, for all modules that are neither Python's nor installed. It does not
see into a closure, a ``functools.partial`` or an object that was made before. It cannot
replace ``datetime.now``, which is written in C. Random numbers come from a seed.

Two things more are shared. A subject need not make every promise: name the tests that do
not apply, and they are skipped (`finished`). And a failure lists what the subject was asked
last, and what it did (`tell`).
"""

from __future__ import annotations

import asyncio
import sys
import unittest
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from types import FunctionType
from typing import Any, Final, TypeVar

from sdkit.arguments import check_function, shown
from sdkit.errors import InvalidArgument
from sdkit.sim import interception, loop
from sdkit.sim.callers import is_ours, is_sdkit

T = TypeVar("T")

TOLD_MAX: Final = 20  # lines of what happened last

_clockless: Final[dict[str, int]] = {}  # modules that hold no clock, and how many names they had
_told: Final[ContextVar[deque[str] | None]] = ContextVar("sdkit_spec_told", default=None)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on the simulated loop; the subject's clocks and random numbers are simulated.

    Raises (besides what ``main`` raises, with a note of what was told):
        Deadlock, Livelock: as in `sdkit.sim.loop.run`.
    """
    told: deque[str] = deque(maxlen=TOLD_MAX)
    before = _told.set(told)
    try:
        with _names_replaced():
            return loop.run(main, answers_all=True)
    except BaseException as error:
        if told:
            error.add_note("What was asked last, and what happened:\n    " + "\n    ".join(told))
        raise
    finally:
        _told.reset(before)


def tell(what: str) -> None:
    """Record what has happened, for the note on a failure. For use within `run`."""
    told = _told.get()
    if told is not None:
        told.append(f"{asyncio.get_running_loop().time():10.3f} s  {what}")


def finished(
    specification: type[unittest.TestCase],
    without: Collection[str] = (),
    **factories: Callable[..., object],
) -> type[unittest.TestCase]:
    """Return the test case; tests of promises that the subject does not make are skipped.

    Args:
        without: names of its tests; ``test_`` may be left out.
        factories: what makes the subject, by the name of its argument.

    Raises:
        InvalidArgument: there is no such promise, ``without`` is no list of names, or what should
            make the subject is no function.
    """
    for argument, function in factories.items():
        check_function(argument, function)
    if isinstance(without, str) or not isinstance(without, Collection):
        raise InvalidArgument(f"without is {shown(without)}; it must be a list or tuple of names")
    promises = unittest.TestLoader().getTestCaseNames(specification)
    for given in without:
        if not isinstance(given, str):
            raise InvalidArgument(f"{shown(given)} in without is no name of a promise")
        name = given if given.startswith("test_") else f"test_{given}"
        if name not in promises:
            near = get_close_matches(name, promises, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(promises)}"
            raise InvalidArgument(f"no promise is called {given!r}; {hint}")
        setattr(specification, name, unittest.skip("declined")(getattr(specification, name)))
    return specification


# ── names that were imported before ──────────────────────────────────────────


@contextmanager
def _names_replaced() -> Iterator[None]:
    """Replace real clocks by simulated ones in modules of the user's, and undo it."""
    undo: list[Callable[[], None]] = []
    try:
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or is_sdkit(file) or not is_ours(file):
                continue
            names, before = len(vars(module)), len(undo)
            if _clockless.get(module.__name__) != names:
                _replace_in(module, module.__name__, undo)
            if len(undo) == before:
                _clockless[module.__name__] = names
        yield
    finally:
        for step in reversed(undo):
            step()


def _replace_in(owner: Any, module: str, undo: list[Callable[[], None]]) -> None:
    """Replace them in the names of a module or class, and in the defaults of its functions."""
    for name, value in list(vars(owner).items()):
        function = getattr(value, "__func__", value)  # of a static or class method
        simulated = interception.simulated(function)
        if simulated is not None:
            setattr(owner, name, simulated if function is value else type(value)(simulated))
            undo.append(_Undo(owner, name, value))
        elif isinstance(value, type) and value.__module__ == module and value is not owner:
            _replace_in(value, module, undo)
        elif isinstance(function, FunctionType):
            _replace_defaults(function, undo)


def _replace_defaults(function: FunctionType, undo: list[Callable[[], None]]) -> None:
    plain, named = function.__defaults__, function.__kwdefaults__
    if plain and any(interception.simulated(value) for value in plain):
        function.__defaults__ = tuple(interception.simulated(value) or value for value in plain)
        undo.append(_Undo(function, "__defaults__", plain))
    if named and any(interception.simulated(value) for value in named.values()):
        function.__kwdefaults__ = {
            name: interception.simulated(value) or value for name, value in named.items()
        }
        undo.append(_Undo(function, "__kwdefaults__", named))


class _Undo:
    """Sets an attribute back to its old value."""

    def __init__(self, owner: Any, name: str, value: object) -> None:
        self._owner, self._name, self._value = owner, name, value

    def __call__(self) -> None:
        setattr(self._owner, self._name, self._value)
