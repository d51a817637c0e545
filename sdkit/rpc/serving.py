"""Serving: the requests of the peer, until each is finished here.

A request is *wanted* until it is answered; the peer may withdraw it (a CANCEL),
or its time may run out. Then its handler is asked to stop, which may take a
while, so the entry stays and counts against the limit: otherwise a peer could
start any number of handlers by calling and cancelling.

A stream that we produce spends credit, which the peer grants (see
`sdkit.rpc.asking`). Without credit its producer waits, and not for ever:
after the stall time-out the stream fails with `Stalled`, since what it reads
from (a snapshot, a cursor) should not be held by somebody who went home.
"""

from __future__ import annotations

from typing import Final

from sdkit.errors import (
    DeadlineExceeded,
    Indeterminate,
    InvalidArgument,
    LimitExceeded,
    Overloaded,
    ProtocolError,
    SdkitError,
)
from sdkit.net.deadlines import NEVER_NS, Deadlines
from sdkit.net.limits import Stalled, nanoseconds
from sdkit.rpc.frames import SIMPLE
from sdkit.rpc.limits import Limits
from sdkit.rpc.messages import (
    CALL,
    CANCEL,
    END,
    ERROR,
    ITEM,
    RESULT,
    STREAM,
    Credited,
    Event,
    Request,
    W,
    Withdrawn,
    shown,
)
from sdkit.rpc.outbox import Outbox
from sdkit.trace import SpanContext, event

CREDIT_MAX: Final = 1 << 31


class AnswerTooLarge(Indeterminate):
    """The handler ran, but its answer is longer than the caller accepts."""

    code = "answer_too_large"


class Serving:
    """What the peer has asked us for.

    Args:
        outbox: where messages go.
        limits: what the peer is allowed.
    """

    def __init__(self, outbox: Outbox, limits: Limits) -> None:
        self.requests: Final[dict[int, int]] = {}  # id -> CALL, NOTIFY, STREAM; CANCEL: withdrawn
        self.deadlines: Final = Deadlines(self.requests)
        self.stalls: Final[dict[int, int]] = {}  # streams without credit -> when that is too long
        self.last_id = 0  # the last one that we have looked at
        self.now_ns = 0  # set by the session before it hands messages in
        self.wake_ns = NEVER_NS  # when to call `expire` next, at the latest
        self.accepts = True
        self._outbox = outbox
        self.requests_max = limits.calls_in_flight_max  # `Handling` sees to it
        self._stall_ns = nanoseconds(limits.stall_timeout_s)
        self._credit: dict[int, int] = {}

    @property
    def peer(self) -> str:
        """What the other side calls itself."""
        return self._outbox.peer

    def is_withdrawn(self, id_: int) -> bool:
        """Whether the peer, or the clock, has taken this request back."""
        return self.requests.get(id_, CANCEL) == CANCEL

    def may_send(self, id_: int) -> bool:
        """Whether the stream has credit for an item."""
        return self._credit.get(id_, 0) > 0

    # ------------------------------------------------------------- what handlers say

    def answer(self, id_: int, value: object) -> None:
        """The request is done.

        Raises:
            AnswerTooLarge, TypeError: the value cannot be sent; say `fail` instead.
        """
        if self.requests[id_] == CALL:
            try:
                self._outbox.put((RESULT, id_, value), is_simple=type(value) in SIMPLE)
            except (LimitExceeded, InvalidArgument) as error:
                raise _unsendable(error) from error
            del self.requests[id_]
        else:
            self._finish(id_)

    def fail(self, id_: int, error: SdkitError) -> None:
        """The request has failed; the peer gets the error, if it still wants to know."""
        if self.requests[id_] in (CALL, STREAM):
            kind, code, message, fields = wire_form(error)
            try:
                self._outbox.put((ERROR, id_, kind, code, message, fields), is_simple=not fields)
            except (InvalidArgument, LimitExceeded):  # the facts, or a whole value in the text
                self._outbox.put((ERROR, id_, kind, code, _cut(message, 1000), {}))
        self._finish(id_)

    def refuse(self, id_: int, method: str) -> None:
        """The request is one too many, and its handler is not begun."""
        event("rpc.overloaded", peer=self._outbox.peer, method=method, limit=self.requests_max)
        self.fail(
            id_,
            Overloaded(
                f"{self.requests_max} requests of this connection are being served; "
                f"{method[:80]} was not begun, wait for some to end",
                limit=self.requests_max,
            ),
        )

    def drop(self, id_: int) -> None:
        """The handler of a withdrawn request has come to its end."""
        self._finish(id_)

    def item(self, id_: int, value: object) -> None:
        """The next item of a stream; only while `may_send`.

        Raises:
            AnswerTooLarge, TypeError: it cannot be sent; the stream is open still.
        """
        if self.requests[id_] == STREAM:
            try:
                size = self._outbox.put((ITEM, id_, value), is_simple=type(value) in SIMPLE)
            except (LimitExceeded, InvalidArgument) as error:
                raise _unsendable(error) from error
            self._credit[id_] -= size

    def end(self, id_: int) -> None:
        """The stream is complete."""
        if self.requests[id_] == STREAM:
            self._outbox.put((END, id_))
        self._finish(id_)

    def starved(self, id_: int, now_ns: int) -> None:
        """The producer of the stream waits for credit from now on."""
        if self.is_withdrawn(id_):
            return  # it was cancelled before its first step; nobody will read it
        until_ns = self.stalls.setdefault(id_, now_ns + self._stall_ns)
        self.wake_ns = min(self.wake_ns, until_ns)

    def expire(self, now_ns: int, events: list[Event[W]]) -> None:
        """End the requests whose time is over and the streams that nobody reads."""
        for id_ in self.deadlines.expire(now_ns):
            if not self.is_withdrawn(id_):
                over = DeadlineExceeded("the time given is over; the handler is stopped")
                self._withdraw(id_, over, events)
        for id_, until_ns in list(self.stalls.items()):
            if until_ns <= now_ns:
                stalled = Stalled(f"nothing was read for {self._stall_ns / 1e9:g} s")
                self._withdraw(id_, stalled, events)
        self.wake_ns = min(self.deadlines.wake_ns, min(self.stalls.values(), default=NEVER_NS))

    # ------------------------------------------------------------- what the peer says

    def on_request(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        if not self.accepts:
            return  # our goodbye named the last one that we look at
        kind, id_, method, arguments, left_ns, trace = message if len(message) == 6 else message[:6]
        if (
            type(id_) is not int
            or type(method) is not str
            or type(arguments) is not list
            or not (left_ns is None or (type(left_ns) is int and left_ns >= 0))
        ):
            raise ProtocolError("a malformed request")
        if id_ <= self.last_id:
            raise ProtocolError(f"request {id_} comes after request {self.last_id}")
        self.last_id = id_
        self.requests[id_] = kind  # type: ignore[assignment]  # the table of messages let it in
        if kind == STREAM:
            self._credit[id_] = _credit_in(message, 6)
        deadline_ns = None
        if left_ns is not None:
            deadline_ns = self.now_ns + left_ns
            self.deadlines.add(id_, deadline_ns)
            if self.deadlines.wake_ns < self.wake_ns:
                self.wake_ns = self.deadlines.wake_ns
        origin = None if trace is None else _trace_in(trace)
        events.append(Request(id_, method, arguments, deadline_ns, origin, kind == STREAM))

    def on_cancel(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        id_ = self._known(message)
        if not self.is_withdrawn(id_):
            self._withdraw(id_, None, events)

    def on_credit(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        id_, more = self._known(message), _credit_in(message, 2)
        credit = self._credit.get(id_)
        if credit is None:
            return
        if credit + more > CREDIT_MAX:
            raise ProtocolError(f"stream {id_} was given more credit than {CREDIT_MAX} bytes")
        self._credit[id_] = credit + more
        if credit <= 0 < credit + more:
            self.stalls.pop(id_, None)
            events.append(Credited(id_))

    def _known(self, message: list[object]) -> int:
        id_ = message[1]
        if type(id_) is not int or not 1 <= id_ <= self.last_id:
            if not self.accepts:  # it speaks of a request that we did not look at
                return 0
            raise ProtocolError(f"a message about request {shown(id_)}, which was never made")
        return id_

    def _withdraw(self, id_: int, error: SdkitError | None, events: list[Event[W]]) -> None:
        if error is not None and self.requests[id_] in (CALL, STREAM):
            self._outbox.put((ERROR, id_, *error.to_wire()))
        self._finish(id_)
        self.requests[id_] = CANCEL
        events.append(Withdrawn(id_))

    def _finish(self, id_: int) -> None:
        del self.requests[id_]
        self._credit.pop(id_, None)
        self.stalls.pop(id_, None)


def wire_form(error: SdkitError) -> tuple[str, str, str, dict[str, object]]:
    """Kind, code, message and fields of an error, of whatever a subclass has made of them.

    A subclass may forget to call our ``__init__``, or raise something that is no
    text; its caller is owed an answer all the same.
    """
    try:
        kind, code, message, fields = error.to_wire()
        told = message if type(message) is str else str(message)
    except Exception:
        told = f"{type(error).__name__}, which cannot say what it means"
        kind, code, fields = type(error).kind, type(error).code, {}
    return (
        _cut(kind, 100) if isinstance(kind, str) else Indeterminate.kind,
        _cut(code, 100) if isinstance(code, str) else SdkitError.code,
        str(told),
        fields if type(fields) is dict else {},
    )


def _cut(text: str, size_bytes: int) -> str:
    """The beginning of a text, without what no encoding has."""
    return text.encode("utf-8", "replace")[:size_bytes].decode("utf-8", "replace")


def _unsendable(error: LimitExceeded | InvalidArgument) -> Exception:
    """That an answer cannot travel is the handler's doing, and not the caller's."""
    if isinstance(error, LimitExceeded):
        return AnswerTooLarge(f"the answer is {error.message}", **error.fields)
    return TypeError(f"the answer cannot be sent: {error.message}")


def _credit_in(message: list[object], at: int) -> int:
    credit = message[at] if len(message) > at else None
    if type(credit) is not int or not 1 <= credit <= CREDIT_MAX:
        raise ProtocolError(f"credit is {shown(credit)}; it must be 1 to {CREDIT_MAX} bytes")
    return credit


def _trace_in(trace: object) -> SpanContext:
    match trace:
        case [int(trace_id), int(span_id), *_]:
            return SpanContext(trace_id, span_id)
    raise ProtocolError("a malformed trace")
