"""RPC: what each rule of calls over a connection is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sdkit.errors import NotConnected
from sdkit.rpc.asking import Asking
from sdkit.rpc.calling import Waiter
from sdkit.rpc.handling import Handling
from sdkit.rpc.messages import Answered, Event, Failed, Withdrawn
from sdkit.rpc.serving import Serving
from sdkit.rpc.session import Session
from sdkit.without.parts import Safeguard


class AnswersTheOldestCall(Asking[Waiter]):
    """Trusts that answers come in the order of the calls."""

    def on_result(self, message: list[object], _size: int, events: list[Event[Waiter]]) -> None:
        oldest = min(self.pending)
        events.append(Answered(self.pending.pop(oldest), message[2]))


class LooksAtNoClock(Session[Waiter]):
    """Waits for ever, on either side."""

    def expire(self, now_ns: int) -> list[Event[Waiter]]:
        self.asking.wake_ns = self.serving.wake_ns = self._wake_ns = 1 << 63
        return []


class LetsCallsWait(Session[Waiter]):
    """A connection is lost, and nobody tells those who wait for an answer."""

    def lost(self, reason: str) -> list[Failed[Waiter]]:
        super().lost(reason)
        return []


class SaysThatLostCallsDidNotHappen(Session[Waiter]):
    """A lost connection is a failure, and a failure means that nothing happened."""

    def lost(self, reason: str) -> list[Failed[Waiter]]:
        return [replace(failed, error=NotConnected(reason)) for failed in super().lost(reason)]


class TakesAnyLength(Session[Waiter]):
    """Believes whatever length a frame announces, and waits for the rest of it."""

    def receive(self, count: int, now_ns: int) -> list[Event[Waiter]]:
        self._frames.frame_bytes_max = 1 << 62
        return super().receive(count, now_ns)


class LeavesHandlersRunning(Handling):
    """Nobody waits any more, and the handler is not told."""

    def on_withdrawn(self, withdrawn: Withdrawn) -> None:
        pass


class SendsWithoutCredit(Serving):
    """A producer that does not wait for its reader."""

    def may_send(self, id_: int) -> bool:
        return True


SAFEGUARDS: Final = (
    Safeguard(
        "rpc.answers_by_id",
        "an answer names its call",
        "somebody gets the answer to another question",
        "connection.session_type.asking_type",
        AnswersTheOldestCall,
    ),
    Safeguard(
        "rpc.deadlines",
        "a call ends when its time is over",
        "a half-open connection is waited for, for ever",
        "connection.session_type",
        LooksAtNoClock,
    ),
    Safeguard(
        "rpc.lost_calls_fail",
        "a lost connection fails every call in flight",
        "callers wait until their deadline for an answer that cannot come",
        "connection.session_type",
        LetsCallsWait,
    ),
    Safeguard(
        "rpc.lost_is_indeterminate",
        "a call that was sent and not answered may have happened",
        "it is taken for a failure, repeated, and happens twice",
        "connection.session_type",
        SaysThatLostCallsDidNotHappen,
    ),
    Safeguard(
        "rpc.frame_limit",
        "a frame that announces too much is refused before it is read",
        "one damaged length, and the server waits for gigabytes",
        "connection.session_type",
        TakesAnyLength,
    ),
    Safeguard(
        "rpc.cancel_travels",
        "a caller who leaves takes the handler along",
        "handlers work for nobody, and pile up",
        "connection.handling_type",
        LeavesHandlersRunning,
    ),
    Safeguard(
        "rpc.stream_credit",
        "a stream waits for its reader",
        "a slow reader makes the server buffer without bound",
        "connection.session_type.serving_type",
        SendsWithoutCredit,
    ),
)
