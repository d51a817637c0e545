"""Messages: everything that may be said on a connection, and what the session makes of it.

A message is a MessagePack list whose first element says what it is; the rest
stands in a fixed order. A receiver ignores elements that it does not know at
the end of a list, so that a later version can add some.

    HELLO    0   "sdkit-rpc", version_min, version_max, nonce, proves, frame_bytes_max, name
    PROOF    1   hmac
    CALL     2   id, method, arguments, time_left_ns or nil, [trace_id, span_id] or nil
    NOTIFY   3   as CALL; never answered
    STREAM   4   as CALL, then credit in bytes; answered by any number of ITEMs and END
    RESULT   5   id, value
    ERROR    6   id, kind, code, message, fields
    ITEM     7   id, value
    END      8   id
    CREDIT   9   id, bytes
    CANCEL  10   id
    GOODBYE 11   last id that was or will be looked at, [kind, code, message, fields] or nil
    PING    12
    PONG    13

Ids are given out by the side that asks, 1, 2, 3, ...; the two directions count
separately. CALL, NOTIFY, STREAM, CREDIT and CANCEL carry an id of their sender,
RESULT, ERROR, ITEM and END one of their receiver.

Below stand the events: what `sdkit.rpc.session.Session` tells its shell
after it has read a message or a clock. ``W`` is whatever the shell wants to be
told by: a future, usually.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, TypeVar

from sdkit.errors import SdkitError
from sdkit.trace import SpanContext

PROTOCOL: Final = "sdkit-rpc"
VERSION_MIN: Final = 1
VERSION_MAX: Final = 1


class Kind(IntEnum):
    """The first element of a message."""

    HELLO = 0
    PROOF = 1
    CALL = 2
    NOTIFY = 3
    STREAM = 4
    RESULT = 5
    ERROR = 6
    ITEM = 7
    END = 8
    CREDIT = 9
    CANCEL = 10
    GOODBYE = 11
    PING = 12
    PONG = 13


# Plain ints: packing and looking up an IntEnum member takes three times as long.
HELLO: Final = 0
PROOF: Final = 1
CALL: Final = 2
NOTIFY: Final = 3
STREAM: Final = 4
RESULT: Final = 5
ERROR: Final = 6
ITEM: Final = 7
END: Final = 8
CREDIT: Final = 9
CANCEL: Final = 10
GOODBYE: Final = 11
PING: Final = 12
PONG: Final = 13

W = TypeVar("W")


def shown(value: object) -> str:
    """What a peer has sent where a number belongs, for a message about that.

    Only its type, unless it is one: ``repr`` of a list nested a thousand deep fails.
    """
    return str(value) if type(value) is int else f"of type {type(value).__name__}"


@dataclass(slots=True)
class Opened:
    """The handshake is over; calls may be made."""


@dataclass(slots=True)
class Request:
    """The peer wants ``method`` done: `Session.answer` or `Session.fail` it, exactly once."""

    id: int
    method: str
    arguments: list[object]
    deadline_ns: int | None
    trace: SpanContext | None
    streams: bool  # answer with `Session.item` and `Session.end`


@dataclass(slots=True)
class Answered(Generic[W]):
    """A call of ours has its result."""

    waiter: W
    value: object


@dataclass(slots=True)
class Failed(Generic[W]):
    """A call or stream of ours has ended with an error."""

    waiter: W
    error: SdkitError


@dataclass(slots=True)
class Item(Generic[W]):
    """A stream of ours has an item; once it is used up, say `Session.consumed` with its size."""

    waiter: W
    value: object
    size_bytes: int


@dataclass(slots=True)
class Ended(Generic[W]):
    """A stream of ours is complete."""

    waiter: W


@dataclass(slots=True)
class Withdrawn:
    """Nobody waits for the peer's request any more: stop it, then answer or `Session.drop` it."""

    id: int


@dataclass(slots=True)
class Credited:
    """A stream that we produce may go on."""

    id: int


@dataclass(slots=True)
class Leaving:
    """The peer takes no new calls; it still answers those that it has."""


@dataclass(slots=True)
class Broken:
    """The connection is over. Send what is left to send and close it."""

    error: SdkitError


Event = (
    Opened
    | Request
    | Answered[W]
    | Failed[W]
    | Item[W]
    | Ended[W]
    | Withdrawn
    | Credited
    | Leaving
    | Broken
)
