"""Frames: cut the byte stream of a connection into messages, and refuse what is not one.

TCP carries bytes, not messages: what was sent as two may arrive as one, or as
forty pieces. So every message says how long it is before it begins:

    0        4                          4 + length
    +--------+--------------------------+--------+-----
    | length | message, as MessagePack  | length | ...
    +--------+--------------------------+--------+-----
     4 bytes, big-endian

`sdkit.rpc.outbox` packs and sends them; `FrameBuffer` takes received bytes in
and gives messages out. Nothing here knows what a message means.

What an enemy, or a confused program, may send, and what stops it
    * *a length of four gigabytes*: refused above ``frame_bytes_max``, when
      only the four bytes have come.
    * *a large length, then silence, on a thousand connections*: the buffer
      begins small, and grows with what has really arrived and never with what
      was announced.
    * *a list that claims sixty-four thousand elements, whose first element is
      such a list, and so on*: 5 bytes per level, half a megabyte reserved for
      each by the decoder. A frame of more than ``CAREFUL_BYTES`` is
      first walked over (`_check_claims`) without building anything; a claim that no bytes stand
      behind ends there.
    * *sixteen million empty lists in a row*: one byte each, and seventy of our
      memory. A message holds at most ``ELEMENTS_MAX`` elements. A frame of fewer
      bytes cannot hold more, so only longer ones are counted, before anything
      is built (`has_too_many_elements`).
    * *nesting a million deep*: msgpack gives up at ``DEPTH_MAX``.
    * *types of its own* (MessagePack's extensions): refused; a message holds
      None, bool, int, float, str, bytes, lists and maps.

Decision
    The buffer belongs to us, and the transport receives into it
    (`asyncio.BufferedProtocol`). The stock way allocates a bytes object of up
    to 256 KiB for every read; whether malloc then asks the kernel for fresh
    pages each time is luck, and cost half the throughput on a bad day.

MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgpack

from sdkit.errors import InvalidArgument, ProtocolError

FIRST_BUFFER_BYTES: Final = 8 * 1024  # of a stranger: room for a hello
BUFFER_BYTES: Final = 256 * 1024  # of a connection that fills the smaller ones
CAREFUL_BYTES: Final = 1024
ELEMENTS_MAX: Final = 1 << 17  # of all lists and maps of one message, keys counted too
DEPTH_MAX: Final = 1024  # compiled into msgpack; frames nested deeper are refused
HEADER: Final = struct.Struct(">I")

# Two, because packing what is not simple may run other people's code (a dictionary of a
# class of their own), which may come back here half-way.
packer: Final = msgpack.Packer()
packer_of_any: Final = msgpack.Packer()
SIMPLE: Final = frozenset([type(None), bool, int, float, str, bytes])
TOO_MANY: Final = f"a message of more than {ELEMENTS_MAX} elements; send it in parts, as a stream"
_unpack: Final = msgpack.unpackb
_UNREADABLE: Final = (ValueError, TypeError, MemoryError, msgpack.exceptions.UnpackException)


def unsendable(error: Exception) -> InvalidArgument:
    """What to raise when packing a message has failed with ``error``."""
    return InvalidArgument(
        f"a value cannot be sent: {_reason(error)}; use None, bool, int (64 bits), float, str, "
        f"bytes, and lists and maps of them, nested at most {DEPTH_MAX - 2} deep, with no list or "
        "map as a key"
    )


def _reason(error: Exception) -> str:
    """The message of somebody else's error, cut; or its type, where that has none."""
    try:
        return str(error)[:200] or type(error).__name__
    except Exception:
        return type(error).__name__


def check_readable(frame: bytes) -> None:
    """Read a packed message as its receiver will.

    MessagePack can say what Python cannot hold: a map whose key is a list, a
    type of its own. Its packer says all that without a word.

    Raises:
        one of ``_UNREADABLE``: the receiver could not, and would end the connection.
    """
    message = _unpack(frame, strict_map_key=False, max_ext_len=0, ext_hook=_refuse_extension)
    if type(message) is not list or type(message[0]) is not int:
        raise ValueError("it changed while it was being packed")


def _refuse_extension(code: int, _data: bytes) -> object:
    raise ValueError(f"an extension type, {code}")


def _check_claims(frame: bytes | memoryview) -> None:
    """Walk over every value once, building none: each one claimed must be there."""
    walker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=len(frame))
    walker.feed(frame)
    walker.skip()


def _first_bytes() -> list[tuple[int, int, int, int]]:
    """By its first byte, what a value takes: MessagePack's table of formats.

    Returns:
        bytes that follow, elements that follow, and, where a length comes first:
        its width, and whether it counts bytes (0) or elements (1, in a map 2).
    """
    table = [(0, 0, 0, 0)] * 256  # nil, bools, and the ints that are one byte
    for n in range(16):
        table[0x80 + n] = 0, 2 * n, 0, 0
        table[0x90 + n] = 0, n, 0, 0
    for n in range(32):
        table[0xA0 + n] = n, 0, 0, 0
    for first, size in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True):
        table[first] = size, 0, 0, 0
    for n in range(3):  # lengths of 1, 2, 4 bytes: of bytes, of text
        table[0xC4 + n] = table[0xD9 + n] = 0, 0, 1 << n, 0
    for n in range(2):  # lengths of 2, 4 bytes: of lists, of maps
        table[0xDC + n] = 0, 0, 2 << n, 1
        table[0xDE + n] = 0, 0, 2 << n, 2
    return table  # extensions are left out; they are refused when they are met


_FIRST_BYTES: Final = _first_bytes()


def has_too_many_elements(frame: bytes | memoryview) -> bool:
    """Whether the lists and maps of a message claim more than ``ELEMENTS_MAX`` elements.

    Only headers are looked at, and no more of them than that.
    """
    at, end, left, claimed = 0, len(frame), 1, 0
    while left and at < end:
        size, elements, width, per = _FIRST_BYTES[frame[at]]
        at += 1
        if width:
            length = int.from_bytes(frame[at : at + width], "big")
            at += width
            if per:
                elements = length * per
            else:
                size = length
        at += size
        left += elements - 1
        claimed += elements
        if claimed > ELEMENTS_MAX:
            return True
    return False


def _too_long(length: int, limit: int) -> ProtocolError:
    hint = ""
    if length >> 16 in (0x1603, 0x1503):  # how a handshake, or an alert, begins
        hint = "; it looks like TLS, which this side was not told to speak (ssl)"
    return ProtocolError(
        f"a frame of {length} bytes was announced; at most {limit} are allowed here{hint}",
        length=length,
        limit=limit,
    )


def _decode(frame: memoryview) -> object:
    """The value in a frame.

    Raises:
        one of ``_UNREADABLE``: it is not one that we accept.
    """
    if len(frame) > ELEMENTS_MAX:
        if has_too_many_elements(frame):
            raise ValueError(TOO_MANY)
    elif len(frame) > CAREFUL_BYTES:
        _check_claims(frame)
    message: object = _unpack(
        frame, strict_map_key=False, max_ext_len=0, ext_hook=_refuse_extension
    )
    return message


class FrameBuffer:
    """Where received bytes wait until they are whole messages.

    Args:
        frame_bytes_max: the longest message accepted. It may be set anew at any
            time, also while `cut` is being iterated, and holds from the next
            frame on.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._view = memoryview(bytearray(FIRST_BUFFER_BYTES))
        self._start = self._end = 0  # what was received and not yet cut

    @property
    def waiting_bytes(self) -> int:
        """Bytes received that are not yet part of a whole message."""
        return self._end - self._start

    def space(self) -> memoryview:
        """Where to put the bytes received next; at least one byte long."""
        if self._end == len(self._view):
            self._make_room()
        return self._view[self._end :]

    def cut(self, count: int) -> Iterator[tuple[int, list[object]]]:
        """Take note of ``count`` bytes put into `space`; the messages that are now whole.

        Must be iterated to its end, or until it raises; then the connection is over.

        Yields:
            the length of each message and the message.

        Raises:
            ProtocolError: a frame is too long, not MessagePack, no list, or has too
                many elements. What was
                yielded before stays good.
        """
        self._end += count
        view, start, end = self._view, self._start, self._end
        while end - start >= 4:
            (length,) = HEADER.unpack_from(view, start)
            if length > self.frame_bytes_max:
                raise _too_long(length, self.frame_bytes_max)
            stop = start + 4 + length
            if stop > end:
                break
            frame = view[start + 4 : stop]
            try:
                message = _decode(frame)
            except _UNREADABLE as error:
                reason = str(error) or type(error).__name__
                text = f"a frame of {length} bytes cannot be read: {reason}"
                raise ProtocolError(text) from error
            if type(message) is not list:
                raise ProtocolError(f"a frame holds no list but {type(message).__name__}")
            start = self._start = stop
            yield length, message
        if start == end:
            self._start = self._end = 0
            if len(view) > BUFFER_BYTES:  # grown for one large frame
                self._view = memoryview(bytearray(BUFFER_BYTES))
            elif end == len(view) < BUFFER_BYTES:  # there is more where this came from
                self._view = memoryview(bytearray(len(view) * 2))

    def _make_room(self) -> None:
        """Move the beginning of a frame to the front; double the buffer if that is not enough."""
        waiting = self._view[self._start : self._end]
        grow = len(waiting) > len(self._view) // 2 or len(self._view) < BUFFER_BYTES
        view = memoryview(bytearray(len(self._view) * 2)) if grow else self._view
        view[: len(waiting)] = waiting  # memoryview slices may overlap
        self._view, self._start, self._end = view, 0, len(waiting)
