"""Errors: the type answers "did it happen?".

Whoever calls over a network needs one answer before any other: did it happen?
The four branches of this tree are the four possible answers, so that a caller
decides about a retry from the type alone:

    Rejected        no, and asking the same way again will not help
    Unavailable     no, and asking again later may help
    Aborted         nothing of the whole transaction happened: repeat it from
                    its start, never this one call
    Indeterminate   nobody knows (an answer that never came)

Things to notice
    1. ``code`` is the name on the wire: stable, lower case, never translated.
       The message is for people: it names the thing, the value, the limit and
       the remedy. ``fields`` holds the same facts for programs.
    2. An error crosses a connection as `SdkitError.to_wire` and becomes itself
       again in `from_wire`. A peer that does not know the code still gets the
       right branch of the tree, because the branch travels too.
    3. Errors that several rooms raise are here; one that belongs to a single
       idea stands beside it (`sdkit.store.deadlock.Deadlock`) and registers its
       code by being defined.
    4. Many also inherit a built-in kind (``ValueError``, ``TimeoutError``), so
       that code which has never heard of this file can catch them.

``docs/errors.md`` lists every code; a command writes it from this tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

_by_code: Final[dict[str, type[SdkitError]]] = {}


class SdkitError(Exception):
    """Base of every error that crosses a room's public interface.

    Args:
        message: one line for people.
        fields: the facts in it, for programs: whatever msgpack can carry.
    """

    kind: ClassVar[str] = "rejected"
    code: ClassVar[str] = "error"

    def __init__(self, message: str, /, **fields: object) -> None:
        super().__init__(message)
        self.message: Final = message
        self.fields: Final[dict[str, object]] = fields

    def __init_subclass__(cls) -> None:
        known = _by_code.setdefault(cls.code, cls)
        assert known is cls or known.__qualname__ == cls.__qualname__, (
            f"two errors named {cls.code}"
        )

    def __str__(self) -> str:
        return self.message  # KeyError would print the repr

    def to_wire(self) -> tuple[str, str, str, dict[str, object]]:
        """Kind, code, message and fields: what `from_wire` takes."""
        return self.kind, self.code, self.message, self.fields


class Rejected(SdkitError):
    """Nothing happened; the same request will be refused again."""

    kind = code = "rejected"


class Unavailable(SdkitError):
    """Nothing happened; the same request may succeed later."""

    kind = code = "unavailable"


class Aborted(SdkitError):
    """Nothing of the whole transaction happened; repeat it from its start."""

    kind = code = "aborted"


class Indeterminate(SdkitError):
    """It is unknown whether the request took effect."""

    kind = code = "indeterminate"


class InvalidArgument(Rejected, ValueError):
    """An argument is outside the range that its docstring gives."""

    code = "invalid_argument"


class LimitExceeded(Rejected, ValueError):
    """Something is larger than a limit that the configuration sets."""

    code = "limit_exceeded"


class InvalidState(Rejected, RuntimeError):
    """The object is not in a state that allows this (used after its end, twice at once)."""

    code = "invalid_state"


class CorruptData(Rejected):
    """Stored or received bytes fail their checksum or break their format."""

    code = "corrupt_data"


class UnsupportedFormat(Rejected):
    """Written by a newer version, or by another program: not damaged, only unknown."""

    code = "unsupported_format"


class ProtocolError(Rejected):
    """The peer sent bytes that the protocol does not allow; the connection is closed."""

    code = "protocol_error"


class UnknownMethod(Rejected, LookupError):
    """The server has no method of that name."""

    code = "unknown_method"


class AuthenticationFailed(Rejected, PermissionError):
    """The peer does not know the shared secret, or has none where one is asked for."""

    code = "authentication_failed"


class VersionMismatch(Rejected):
    """No protocol version is understood by both sides."""

    code = "version_mismatch"


class DirectoryInUse(Unavailable, OSError):
    """Another process holds the lock on this data directory."""

    code = "directory_in_use"


class DirectoryUnusable(Unavailable, OSError):
    """The data directory cannot be made, read or written."""

    code = "directory_unusable"


class AddressInUse(Unavailable, OSError):
    """Something else listens on this address and port."""

    code = "address_in_use"


class Overloaded(Unavailable):
    """A limit on connections, calls, transactions or memory is reached at the moment."""

    code = "overloaded"


class Closed(Unavailable):
    """The server or connection is shutting down or has been closed; nothing was sent or begun."""

    code = "closed"


class DiskUnavailable(Unavailable, OSError):
    """The disk refused a write (full, failed); what was refused did not happen."""

    code = "disk_unavailable"


class NotConnected(Unavailable, ConnectionError):
    """No connection could be made, or it was gone before the request was sent."""

    code = "not_connected"


class DeadlineExceeded(Indeterminate, TimeoutError):
    """The time given for a call is over and its answer has not come."""

    code = "deadline_exceeded"


class ConnectionLost(Indeterminate, ConnectionError):
    """The connection ended between a request and its answer."""

    code = "connection_lost"


class DiskFailed(Indeterminate, OSError):
    """A sync failed: what was being written may or may not survive a power cut."""

    code = "disk_failed"


class InternalError(Indeterminate):
    """A handler failed in a way it should not; the server's log has the traceback."""

    code = "internal_error"


_KINDS: Final[dict[str, type[SdkitError]]] = {
    cls.kind: cls for cls in (Rejected, Unavailable, Aborted, Indeterminate)
}


# Raised in a coroutine, these do not fail it but steer it.
_STEERING: Final = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, KeyboardInterrupt)


def codes() -> Mapping[str, type[SdkitError]]:
    """Every code that an imported module defines, with its class."""
    return _by_code


def from_wire(kind: str, code: str, message: str, fields: Mapping[str, object]) -> SdkitError:
    """The error that a peer's `SdkitError.to_wire` described.

    An unknown ``code`` becomes the plain class of its ``kind``; an unknown
    kind becomes `Indeterminate`, the answer that assumes least.
    """
    cls = _by_code.get(code)
    if cls is None or cls.kind != kind or issubclass(cls, _STEERING):
        cls = _KINDS.get(kind, Indeterminate)
    facts = {str(name): value for name, value in fields.items()}
    try:
        error = cls.__new__(cls)
        # A subclass may take other arguments than a message; on the wire all look alike.
        SdkitError.__init__(error, message, **facts)
    except Exception:  # somebody's subclass cannot be made like that; what it means is known
        return _KINDS.get(kind, Indeterminate)(message, **facts)
    return error
