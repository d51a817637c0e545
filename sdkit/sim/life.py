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
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final


class Life:
    """One boot of one machine.

    Args:
        machine: the machine's name.
        address: the machine's address in the simulated network.
        number: how many times the machine has been booted, this one included.
    """

    __slots__ = ("address", "dead", "machine", "number", "paused")

    def __init__(self, machine: str, address: str, number: int) -> None:
        self.machine: Final = machine
        self.address: Final = address
        self.number: Final = number
        self.dead = False
        self.paused = False

    def __str__(self) -> str:
        return self.machine if self.number == 1 else f"{self.machine}, boot {self.number}"


current_life: Final[ContextVar[Life | None]] = ContextVar("sdkit_life", default=None)
"""The life that the running code belongs to; None for the world's own code."""
