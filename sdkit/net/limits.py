"""Limits: how much a connection of any protocol puts up with.

Every queue, buffer and wait has a bound, and here are those that every protocol
has, with what happens at each. They are checked when the object is made, so that
a bad value is refused by name at the start and not found at three in the morning.
A protocol that has more derives its own from these, as `sdkit.rpc.limits` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sdkit.arguments import check_between
from sdkit.errors import Indeterminate

SECOND_NS: Final = 1_000_000_000
TIMEOUT_S_MAX: Final = 1_000_000.0  # eleven days; who waits longer means for ever


class Stalled(Indeterminate, TimeoutError):
    """The reader of a stream, or of a connection, took nothing for the stall time-out."""

    code = "stalled"


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """What a connection allows its peer.

    Args:
        write_buffer_bytes: bytes waiting to be sent, above which whoever makes more waits.
        handshake_timeout_s: how long a new connection may take until it is one.
        idle_timeout_s: a connection on which nothing is asked for so long is
            closed; None keeps it for ever.
        stall_timeout_s: how long a peer may leave what we send unread.

    Raises:
        InvalidArgument: a value is out of range; the message names it.
    """

    write_buffer_bytes: int = 256 * 1024
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float | None = None
    stall_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        check_between("write_buffer_bytes", self.write_buffer_bytes, 1024, 2**30)
        for name in ("handshake_timeout_s", "stall_timeout_s"):
            check_between(name, getattr(self, name), 0.001, TIMEOUT_S_MAX)
        if self.idle_timeout_s is not None:
            check_between("idle_timeout_s", self.idle_timeout_s, 0.001, TIMEOUT_S_MAX)


def nanoseconds(seconds: float) -> int:
    """The one conversion between what people write and what cores calculate with."""
    return round(seconds * SECOND_NS)
