"""Outbox: what was said in one turn of the event loop, leaving together.

A system call costs as much as everything else that a small message needs. So what
is said is only put here; `sdkit.net.flow` takes all that has gathered, once per
turn, and hands it to the socket in one piece: thirty-two answers, one ``send``.
"""

from __future__ import annotations


class Outbox:
    """Bytes that are about to be sent.

    Attributes:
        parts: the pieces, in order. They are joined once, when they leave.
        bytes: how many of them hold messages.
    """

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.bytes = 0

    def add(self, data: bytes) -> None:
        """Put ``data`` behind what is there."""
        self.parts.append(data)
        self.bytes += len(data)

    def take(self) -> bytes:
        """Everything put in since the last time, as one piece."""
        data = b"".join(self.parts)
        self.parts.clear()
        self.bytes = 0
        return data
