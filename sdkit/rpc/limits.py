"""Limits: how much one side of a connection puts up with: what calls add to `sdkit.net.limits`.

Every queue, buffer and wait in this room has a bound, and here is each of them
with what happens there. They are checked when the object is made, so that a
bad value is refused by name at the start and not found at three in the morning.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument
from sdkit.net.limits import TIMEOUT_S_MAX, ConnectionLimits
from sdkit.rpc.hello import HELLO_BYTES_MAX


@dataclass(frozen=True, kw_only=True)
class Limits(ConnectionLimits):
    """What a connection allows its peer.

    Args:
        frame_bytes_max: the longest message accepted. A longer one is a
            protocol error; a peer that keeps to our hello never sends one.
        calls_in_flight_max: requests of the peer that are being served at once.
            One more is refused as `Overloaded`, unless its handler is a plain
            function: that waits for nothing, and what it ends (a rollback) may be
            what all the others wait for. At twice as many it is refused too.
        stream_window_bytes: how much of a stream may be under way, unread.
            At the bound its producer waits.
        write_buffer_bytes: bytes waiting to be sent, above which producers of
            streams wait, answers are held back, and requests are neither read
            nor begun.
        write_buffer_bytes_max: bytes waiting to be sent, above which our own
            calls are refused as `Overloaded`. A peer that makes us say as much
            again, and reads none of it, is cut off. It should exceed the
            longest message sent.
        handshake_timeout_s: how long a new connection may take to say hello.
        idle_timeout_s: a connection without a call for so long is closed; None
            keeps it for ever.
        stall_timeout_s: how long a peer may leave what we send unread. After
            that a stream is ended, or the connection, whichever is stuck.
        keepalive_s: while we wait for answers and hear nothing for so long, we
            ask whether the peer is there; after twice as long it is lost.

    Raises:
        InvalidArgument: a value is out of range; the message names it.
    """

    frame_bytes_max: int = 16 * 1024 * 1024
    calls_in_flight_max: int = 1024
    stream_window_bytes: int = 256 * 1024
    write_buffer_bytes_max: int = 64 * 1024 * 1024
    keepalive_s: float = 15.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("frame_bytes_max", self.frame_bytes_max, HELLO_BYTES_MAX, 2**31)
        check_between("calls_in_flight_max", self.calls_in_flight_max, 1, 1_000_000)
        check_between("stream_window_bytes", self.stream_window_bytes, 1024, 2**30)
        check_between("write_buffer_bytes_max", self.write_buffer_bytes_max, 1024, 2**40)
        if self.write_buffer_bytes_max < self.write_buffer_bytes:
            raise InvalidArgument(
                f"write_buffer_bytes_max is {self.write_buffer_bytes_max}; it must be at least "
                f"write_buffer_bytes, which is {self.write_buffer_bytes}"
            )
        check_between("keepalive_s", self.keepalive_s, 0.001, TIMEOUT_S_MAX)
