"""Checks: refuse a wrong clock, random generator or switch when a layer is made.

``clock=time.monotonic`` counts seconds instead of nanoseconds: a breaker would stay open a
thousand million times as long. ``random=random`` is the module. If such a mistake is found only
in the middle of a call, its error hides the callee's own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from sdkit.arguments import check_function, close_unawaited, shown
from sdkit.errors import InvalidArgument


def check_clock(clock: Callable[[], int] | None) -> None:
    """Refuse a clock that gives no whole number of nanoseconds; it is read once. None: the host's.

    Raises:
        InvalidArgument: it does not; or it raised an error, which is then the cause.
    """
    if clock is None:
        return
    check_function("clock", clock, asynchronous=False)
    try:
        reading: object = clock()
    except Exception as error:
        raise InvalidArgument(
            f"clock is {shown(clock)}, and reading it failed: {type(error).__name__}: {error}",
            name="clock",
        ) from error
    if not isinstance(reading, int) or isinstance(reading, bool):
        close_unawaited(reading)
        raise InvalidArgument(
            f"clock gives {shown(reading)}; it must give a whole number of nanoseconds that never "
            "goes back, as time.monotonic_ns does",
            name="clock",
        )


def check_random(random: Random | None) -> None:
    """Refuse what is no `random.Random`. None is the host's.

    Raises:
        InvalidArgument: it is not.
    """
    if random is not None and not isinstance(random, Random):
        raise InvalidArgument(
            f"random is {shown(random)}; it must be a random.Random(...), seeded as you like",
            name="random",
        )


def check_bool(name: str, value: object) -> None:
    """Refuse what is neither True nor False: a text such as "no" would be taken for True.

    Raises:
        InvalidArgument: it is not.
    """
    if not isinstance(value, bool):
        raise InvalidArgument(f"{name} is {shown(value)}; it must be True or False", name=name)
