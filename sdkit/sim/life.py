"""Life: one boot of one machine, from its start to its end.

Killing a process means that its code runs no more: not its ``except``, not its
``finally``, not the callback that was due in the next instant. In one Python
process nothing can be killed, so it has to be *frozen*: whatever belongs to the
dead is never run again, and whatever it still holds (a socket, a file, a timer)
has no effect.

So everything must know to whom it belongs. That is not the machine's name: the
same machine boots again, and the past must not reach into the present. It is
the machine's *life*.

Things to notice
    1. `current_life` is a ``ContextVar``: a task, a timer, a callback inherits
       the life of whoever started it. None is the world's own code, which
       directs the play and is never killed.
    2. A life that is over stays over. A restart makes another one.
    3. Python objects know nothing of this: a list that two machines share would
       take a line from the dead. `living_only` guards it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, Final, ParamSpec, TypeVar

from sdkit.sim.clocks import Clock

P = ParamSpec("P")
T = TypeVar("T")


class DeadLife(RuntimeError):
    """Code of a life that is over asked for something that others would see."""


class Life:
    """One boot of one machine.

    Args:
        machine: the machine's name.
        address: the machine's address in the simulated network.
        number: how many times the machine has been booted, this one included.
        clock: the machine's; one that is right unless given.
        lateness: draws how late its timers are.
    """

    __slots__ = (
        "address",
        "clock",
        "context",
        "dead",
        "grave",
        "lateness",
        "machine",
        "main",
        "number",
        "parked",
        "paused",
        "serials",
    )

    def __init__(
        self,
        machine: str,
        address: str,
        number: int,
        *,
        clock: Clock | None = None,
        lateness: Random | None = None,
    ) -> None:
        self.machine: Final = machine
        self.address: Final = address
        self.number: Final = number
        self.clock: Final = clock or Clock()
        self.lateness: Final = lateness
        self.serials: Final[Iterator[int]] = itertools.count(1)  # of its tasks
        self.context: Context = copy_context()  # in which its code runs
        self.main: object = None  # its first task, held: a task that waits for itself is garbage
        self.dead = False
        self.paused = False
        self.parked: Final[list[Any]] = []  # handles of the loop that wait for the pause to end
        self.grave: Final[list[Any]] = []  # what it held when it died: nothing of it is ever freed

    def __str__(self) -> str:
        return self.machine if self.number == 1 else f"{self.machine}, boot {self.number}"


current_life: Final[ContextVar[Life | None]] = ContextVar("sdkit_life", default=None)
"""The life that the running code belongs to; None for the world's own code."""


def living_only(function: Callable[P, T]) -> Callable[P, T]:
    """``function``, for an object that several machines share, such as ``history.append``.

    Raises (the result, when called):
        DeadLife: by code of a life that is over; nothing was called.
    """

    def guarded(*args: P.args, **options: P.kwargs) -> T:
        life = current_life.get()
        if life is not None and life.dead:
            raise DeadLife(f"{life} is dead; what it still says, nobody hears")
        return function(*args, **options)

    return guarded
