"""Session: everything that one side of an RPC connection decides, without a socket.

Many calls share one connection, answers come in any order, either side may
call, streams must not drown their reader, peers lie and vanish. The rules for
all that are plain synchronous code: bytes and the time come in, events and
bytes come out. `sdkit.rpc.client` adds the socket, the tasks and the clock.

    received bytes ──> receive ──> events for the shell ──> handlers, futures
    asking.call, serving.answer, ... ──> bytes to send ──> take_output
    the clock ──> expire ──> events; call it again at wake_ns

A session has three parts: `Asking` keeps what we want from the peer, `Serving`
what the peer wants from us, and this file the connection under both: its
beginning, its end, and the times in which it must make progress.

Three things to notice
    1. *What is allowed is a dict.* Each state of the connection has its table
       of message kinds; what does not stand there is a protocol error. No
       other code checks in which order things may be said.

           hello ──> (proof) ──> open ──> leaving ──> ended

    2. *A goodbye says how far one has come*: the last request that was looked
       at. So a server can stop, and its clients know which of their calls have
       certainly not happened and may be sent elsewhere.
    3. *An idle connection owes nothing*; one on which somebody waits must show
       life: a PING is sent when nothing was heard for a while, and when that
       brings nothing either, the peer is given up. Machines that lose power
       send no goodbye.

The goodbye is HTTP/2's GOAWAY (RFC 9113, section 6.8), credit its flow control
(section 5.2); calls in both directions as in the original paper on RPC (Birrell
and Nelson, 1984) are harder to find today than one would think.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, Generic

from sdkit.errors import (
    AuthenticationFailed,
    Closed,
    ConnectionLost,
    NotConnected,
    ProtocolError,
    SdkitError,
    VersionMismatch,
    from_wire,
)
from sdkit.net.deadlines import NEVER_NS
from sdkit.net.limits import Stalled, nanoseconds
from sdkit.rpc.asking import Asking
from sdkit.rpc.frames import FrameBuffer
from sdkit.rpc.hello import HELLO_BYTES_MAX, Handshake, Hello, Side
from sdkit.rpc.limits import Limits
from sdkit.rpc.messages import (
    CALL,
    CANCEL,
    CREDIT,
    END,
    ERROR,
    GOODBYE,
    HELLO,
    ITEM,
    NOTIFY,
    PING,
    PONG,
    PROOF,
    RESULT,
    STREAM,
    VERSION_MAX,
    Broken,
    Event,
    Failed,
    Kind,
    Leaving,
    Opened,
    W,
)
from sdkit.rpc.outbox import Outbox
from sdkit.rpc.serving import Serving, wire_form
from sdkit.trace import event

# How many elements each kind of message has at least; more are ignored.
LENGTH_MIN: Final = {
    HELLO: 8,
    PROOF: 2,
    CALL: 6,
    NOTIFY: 6,
    STREAM: 7,
    RESULT: 3,
    ERROR: 6,
    ITEM: 3,
    END: 2,
    CREDIT: 3,
    CANCEL: 2,
    GOODBYE: 3,
    PING: 1,
    PONG: 1,
}


Handle = Callable[[list[object], int, list[Event[W]]], None]


def _table(handles: dict[int, Handle[W]]) -> dict[object, tuple[int, Handle[W]]]:
    """What is allowed in a state, and how long each message is at least."""
    return {kind: (LENGTH_MIN[kind], handle) for kind, handle in handles.items()}


class Session(Generic[W]):
    """One side of a connection.

    ``asking_type`` and ``serving_type`` are the cores that it builds.

    Args:
        side: who made the connection.
        limits: what the peer is allowed.
        name: what this side calls itself.
        nonce: 32 bytes that an attacker cannot foretell.
        secret: the shared secret, or None.
        now_ns: the time, monotonic.
    """

    asking_type: type[Asking[W]] = Asking
    serving_type: type[Serving] = Serving

    def __init__(
        self,
        side: Side,
        *,
        limits: Limits,
        name: str,
        nonce: bytes,
        secret: bytes | None,
        now_ns: int,
    ) -> None:
        self.limits: Final = limits
        self.side: Final = side
        self.version = 0  # agreed on in the hello
        self.leaving = False  # one of the two takes no new calls
        self.ended: SdkitError | None = None  # why nothing can be said any more
        self._wake_ns = now_ns + nanoseconds(limits.handshake_timeout_s)
        self.outbox: Final = Outbox(name, side.other.name.lower())
        self.asking: Final[Asking[W]] = self.asking_type(self.outbox, limits, self._not_open)
        self.serving: Final = self.serving_type(self.outbox, limits)
        ours = Hello(nonce, secret is not None, limits.frame_bytes_max, name)
        self._handshake = Handshake(side, ours, secret)
        self._frames = FrameBuffer(HELLO_BYTES_MAX)
        self._handshake_until_ns: int | None = self._wake_ns
        self._stalled_at_ns: int | None = None  # when what we send was unread for too long
        self._heard_ns = self._active_ns = now_ns
        self._spoke = False  # since the last look
        self._asked_for_life = False
        self._allowed = _table({HELLO: self._on_hello, GOODBYE: self._on_goodbye})
        if side is Side.CLIENT:
            self.outbox.put(ours.to_message())

    @property
    def peer(self) -> str:
        """What the other side calls itself."""
        return self.outbox.peer

    @property
    def wake_ns(self) -> int:
        """When to call `expire` next; never too late, perhaps too early."""
        if self.ended is not None:
            return NEVER_NS
        return min(self._wake_ns, self.asking.wake_ns, self.serving.wake_ns)

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self.asking.refusal is None

    # ------------------------------------------------------------- what the shell does

    def space(self) -> memoryview:
        """Where to put the bytes received next."""
        return self._frames.space()

    def receive(self, count: int, now_ns: int) -> list[Event[W]]:
        """``count`` bytes were put into `space`; what follows from them, in order."""
        events: list[Event[W]] = []
        self._heard_ns = self.serving.now_ns = now_ns
        self._asked_for_life = False
        try:
            for size, message in self._frames.cut(count):
                try:
                    length_min, handle = self._allowed[message[0]]
                except (KeyError, IndexError, TypeError):
                    if self.ended is not None:
                        break
                    raise self._not_allowed(message) from None
                if len(message) < length_min:
                    raise ProtocolError(f"a message of kind {message[0]} lacks elements")
                handle(message, size, events)
        except (ProtocolError, AuthenticationFailed, VersionMismatch) as error:
            events.append(self.break_off(error))
        return events

    def take_output(self) -> bytes:
        """Everything to be sent now. From here on it counts as sent."""
        self.asking.sent_id = self.asking.last_id
        self._spoke = True
        return self.outbox.take()

    def writing_paused(self, now_ns: int) -> None:
        """The peer does not take what we send."""
        self._stalled_at_ns = now_ns + nanoseconds(self.limits.stall_timeout_s)
        self._wake_at(self._stalled_at_ns)

    def writing_resumed(self) -> None:
        """It takes it again."""
        self._stalled_at_ns = None

    def goodbye(self) -> None:
        """Take no new requests; those that were looked at are still served."""
        if self.ended is None and self.serving.accepts:
            self.serving.accepts = False
            self._leave()
            if self.version:
                self.outbox.put((GOODBYE, self.serving.last_id, None))

    def break_off(self, error: SdkitError) -> Broken:
        """End the connection because of ``error``, and tell the peer so."""
        if self.ended is None:
            self._end(error)
            self.outbox.put((GOODBYE, self.serving.last_id, wire_form(error)))
            event("rpc.break", peer=self.peer, code=error.code, reason=error.message)
        return Broken(error)

    def lost(self, reason: str) -> list[Failed[W]]:
        """The connection is gone: every call that waits ends now."""
        if self.ended is None:
            self.ended = NotConnected(f"the connection to {self.peer} has ended: {reason}")
        self._leave()
        # As values and not as a method of this object, which would hold itself for ever.
        refusal = self._not_open()
        self.asking.refusal = functools.partial(type(refusal), refusal.message)
        self._allowed = {}
        unsent = f"the connection to {self.peer} ended before the call was sent: {reason}"
        failed = self.asking.abandon(self.asking.sent_id, NotConnected(unsent))
        lost = f"the connection to {self.peer} ended before the answer came: {reason}"
        return failed + self.asking.abandon(0, ConnectionLost(lost))

    def expire(self, now_ns: int) -> list[Event[W]]:
        """The clock says ``wake_ns`` or later: what follows from that."""
        events: list[Event[W]] = []
        if self.ended is None:
            self.asking.expire(now_ns, events)
            self.serving.expire(now_ns, events)
            self._check_progress(now_ns, events)
        self._wake_ns = NEVER_NS if self.ended is not None else self._next_wake_ns()
        return events

    # ------------------------------------------------------------- the clock

    def _wake_at(self, at_ns: int) -> None:
        self._wake_ns = min(self._wake_ns, at_ns)

    def _check_progress(self, now_ns: int, events: list[Event[W]]) -> None:
        """End a connection that is stuck; ask a silent peer for a sign of life."""
        limits = self.limits
        if self._handshake_until_ns is not None and now_ns >= self._handshake_until_ns:
            # Not a wrong hello, but a late one: another attempt may be in time.
            text = f"no complete hello within {limits.handshake_timeout_s:g} s"
            events.append(self.break_off(NotConnected(text)))
        elif self._stalled_at_ns is not None and now_ns >= self._stalled_at_ns:
            text = f"{self.peer} has read nothing for {limits.stall_timeout_s:g} s"
            events.append(self.break_off(Stalled(text)))
        elif self._is_idle(now_ns):
            text = f"idle for {limits.idle_timeout_s:g} s; connect again when there is work"
            events.append(self.break_off(Closed(text)))
        elif self.asking.pending:
            silent_ns = now_ns - max(self._heard_ns, self.asking.waiting_ns)
            keepalive_ns = nanoseconds(limits.keepalive_s)
            if silent_ns >= 2 * keepalive_ns and self._asked_for_life:
                text = f"nothing heard from {self.peer} for {silent_ns / 1e9:g} s"
                events.append(self.break_off(ConnectionLost(text)))
            elif silent_ns >= keepalive_ns and not self._asked_for_life:
                self._asked_for_life = True
                self.outbox.put((PING,))

    def _is_idle(self, now_ns: int) -> bool:
        """Whether nothing at all has happened for the idle time-out."""
        if self.limits.idle_timeout_s is None or not self.version:
            return False
        busy = self.asking.pending or self.serving.requests
        if busy or self._spoke:
            # When the last call ended is not known; counting from now is late, never early.
            self._spoke, self._active_ns = False, now_ns
            return False
        return now_ns >= self._idle_at_ns(self.limits.idle_timeout_s)

    def _idle_at_ns(self, idle_timeout_s: float) -> int:
        return max(self._heard_ns, self._active_ns) + nanoseconds(idle_timeout_s)

    def _next_wake_ns(self) -> int:
        times = [
            self._handshake_until_ns or NEVER_NS,
            self._stalled_at_ns or NEVER_NS,
        ]
        if self.limits.idle_timeout_s is not None and self.version:
            times.append(self._idle_at_ns(self.limits.idle_timeout_s))
        if self.asking.pending:
            keepalive_ns = nanoseconds(self.limits.keepalive_s) * (1 + self._asked_for_life)
            times.append(max(self._heard_ns, self.asking.waiting_ns) + keepalive_ns)
        return min(times)

    # ------------------------------------------------------------- the hello

    def _on_hello(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        self._shake_hands(self._handshake.on_hello(message), events)

    def _on_proof(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        self._shake_hands(self._handshake.on_proof(message), events)

    def _shake_hands(self, replies: list[tuple[object, ...]], events: list[Event[W]]) -> None:
        theirs = self._handshake.theirs
        assert theirs is not None
        self.outbox.peer = theirs.name
        for reply in replies:
            self.outbox.put(reply)
        if self._handshake.version:
            self._open(theirs, events)
        else:
            self._allowed = _table({PROOF: self._on_proof, GOODBYE: self._on_goodbye})

    def _open(self, theirs: Hello, events: list[Event[W]]) -> None:
        self.version = version = self._handshake.version
        self.asking.refusal = self._not_open if self.leaving else None
        self._handshake_until_ns = None
        self._frames.frame_bytes_max = self.limits.frame_bytes_max
        self.outbox.frame_bytes_max = theirs.frame_bytes_max
        asking, serving = self.asking, self.serving
        self._allowed = _table(
            {
                CALL: serving.on_request,
                NOTIFY: serving.on_request,
                STREAM: serving.on_request,
                CANCEL: serving.on_cancel,
                CREDIT: serving.on_credit,
                RESULT: asking.on_result,
                ERROR: asking.on_error,
                ITEM: asking.on_item,
                END: asking.on_end,
                GOODBYE: self._on_goodbye,
                PING: self._on_ping,
                PONG: self._on_pong,
            }
        )
        self._wake_at(self._next_wake_ns())
        event("rpc.open", peer=self.peer, side=self.side.name.lower(), version=version)
        events.append(Opened())

    # ------------------------------------------------------------- the end

    def _on_goodbye(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        match message:
            case [_, int(last_id), None, *_]:
                error = None
            case [_, int(last_id), [str(kind), str(code), str(text), dict(fields)], *_]:
                error = from_wire(kind, code, text, fields)
            case _:
                raise ProtocolError("a malformed GOODBYE")
        self._leave()
        if isinstance(error, ProtocolError):
            # The call that comes next is the one that could not be read, if it was a call:
            # elsewhere, it would end the next connection.
            events += self.asking.refuse_next(last_id, error)
        unseen = Closed(f"{self.peer} is leaving and did not look at this call; send it elsewhere")
        events += self.asking.abandon(last_id, unseen)
        if error is None:
            events.append(Leaving())
        else:
            self._end(error)
            events.append(Broken(error))

    def _end(self, error: SdkitError) -> None:
        # Its traceback would hold the frames that it passed, which hold this session.
        self.ended, self._allowed = error.with_traceback(None), {}
        self._leave()

    def _leave(self) -> None:
        self.leaving = True
        self.asking.refusal = self._not_open

    def _on_ping(self, _message: list[object], _size: int, _events: list[Event[W]]) -> None:
        self.outbox.put((PONG,))

    def _on_pong(self, _message: list[object], _size: int, _events: list[Event[W]]) -> None:
        """That it came is all that it says."""

    def _not_allowed(self, message: list[object]) -> ProtocolError:
        match message:
            case [int(kind), *_] if kind in LENGTH_MIN:
                return ProtocolError(f"{Kind(kind).name} is not allowed in this state")
            case [int(kind), *_]:
                return ProtocolError(f"message kind {kind} is unknown to version {VERSION_MAX}")
        return ProtocolError("a message begins with its kind, a number")

    def _not_open(self) -> SdkitError:
        if self.ended is not None:
            reason = self.ended.message
            return NotConnected(f"there is no connection to {self.peer} any more: {reason}")
        if self.leaving:
            return Closed(f"the connection to {self.peer} is closing and takes no new calls")
        return NotConnected(f"the connection to {self.peer} is not open yet")
