"""Outbox: messages become bytes, and those of one turn of the event loop leave together.

What gathers, and why, is `sdkit.net.outbox`; here a message is packed, measured and
checked before it is put there, so that nothing leaves that its receiver must refuse.
"""

from __future__ import annotations

from sdkit.errors import LimitExceeded
from sdkit.net import outbox
from sdkit.rpc.frames import (
    ELEMENTS_MAX,
    HEADER,
    TOO_MANY,
    check_readable,
    has_too_many_elements,
    packer,
    packer_of_any,
    unsendable,
)
from sdkit.rpc.hello import HELLO_BYTES_MAX
from sdkit.rpc.messages import CALL, ERROR, NOTIFY, STREAM, Kind
from sdkit.trace import event
from sdkit.trace.record import active

_pack = packer.pack
_pack_any = packer_of_any.pack


class Outbox(outbox.Outbox):
    """What one side of a connection is about to send.

    Args:
        name, peer: how the two sides are called in traces.
    """

    def __init__(self, name: str, peer: str) -> None:
        super().__init__()
        self.name, self.peer = name, peer
        self.frame_bytes_max = HELLO_BYTES_MAX  # what the peer accepts

    def put(self, message: tuple[object, ...], *, is_simple: bool = True) -> int:
        """Add a message; the length of its frame.

        Args:
            is_simple: False if it may hold, of somebody else, what is not in `SIMPLE`. Then it
                is read back before it leaves: one that the peer cannot read would
                end the connection, and with it every other call. That costs a
                quarter of a microsecond and as much as packing it.

        Raises:
            InvalidArgument: it holds what cannot be carried.
            LimitExceeded: it is longer, or has more elements, than the peer accepts.
                In both cases nothing was added.
        """
        try:
            frame: bytes
            if is_simple:
                frame = _pack(message)
            else:
                frame = _pack_any(message)
                check_readable(frame)
        except Exception as error:  # of any kind: a value may be of a class that raises its own
            raise unsendable(error) from error
        length = len(frame)
        if length > self.frame_bytes_max:
            raise LimitExceeded(
                f"a message of {length} bytes; {self.peer} accepts at most "
                f"{self.frame_bytes_max} in one frame",
                length=length,
                limit=self.frame_bytes_max,
            )
        if length > ELEMENTS_MAX and has_too_many_elements(frame):
            raise LimitExceeded(TOO_MANY, limit=ELEMENTS_MAX)
        self.parts.append(HEADER.pack(length))
        self.parts.append(frame)
        self.bytes += length
        if active():
            self._trace(message, length)
        return length

    def _trace(self, message: tuple[object, ...], length: int) -> None:
        kind = Kind(message[0])  # type: ignore[arg-type]  # ours, so it is one
        facts: dict[str, object] = {}
        if len(message) > 1 and kind not in (Kind.HELLO, Kind.PROOF):
            facts["id"] = message[1]
        if kind in (CALL, NOTIFY, STREAM):
            facts["method"] = message[2]
        elif kind == ERROR:
            facts["code"] = message[3]
        event("rpc.send", source=self.name, target=self.peer, kind=kind.name, bytes=length, **facts)
