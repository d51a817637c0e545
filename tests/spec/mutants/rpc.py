"""Connections that break one promise each; the specification must catch each by its sentence."""

from __future__ import annotations

import asyncio
from typing import Any

from sdkit.errors import ConnectionLost, InternalError, InvalidArgument, SdkitError
from sdkit.rpc.asking import Asking
from sdkit.rpc.calling import Waiter
from sdkit.rpc.connection import Connection
from sdkit.rpc.handling import Handling
from sdkit.rpc.messages import CALL, ERROR, Event, Failed, Request, Withdrawn
from sdkit.rpc.serving import Serving
from sdkit.rpc.session import Session
from sdkit.without import rpc as without


class AnswersTheOldestCall(Connection):
    """Trusts that answers come in the order of the calls."""

    class session_type(Session[Waiter]):  # noqa: N801
        asking_type = without.AnswersTheOldestCall


class PlainOvertakesTasks(Connection):
    """Begins a plain handler at once, also behind a task that has not begun."""

    class handling_type(Handling):  # noqa: N801
        def on_request(self, request: Request) -> None:
            self._begin(request)


class ForgetsTheKindOfErrors(Connection):
    """Every error is an internal one."""

    class session_type(Session[Waiter]):  # noqa: N801
        class serving_type(Serving):  # noqa: N801
            def fail(self, id_: int, error: SdkitError) -> None:
                super().fail(id_, InternalError(error.message, **error.fields))


class LeavesHandlersRunning(Connection):
    """Nobody waits any more, and the handler is not told."""

    handling_type = without.LeavesHandlersRunning


class WaitsForEver(Connection):
    """Looks at no clock, on either side."""

    session_type = without.LooksAtNoClock


class GivesNestedCallsAllTheTime(Connection):
    """A handler's calls know nothing of the handler's deadline."""

    class handling_type(Handling):  # noqa: N801
        def _begin(self, request: Request) -> None:
            deadline_ns, request.deadline_ns = request.deadline_ns, None
            super()._begin(request)
            request.deadline_ns = deadline_ns

        def on_withdrawn(self, withdrawn: Withdrawn) -> None:
            """And it is not cancelled either, which would hide that."""


class KeepsItToItself(Connection):
    """Gives a call up without telling the other side."""

    class session_type(Session[Waiter]):  # noqa: N801
        class asking_type(Asking[Waiter]):  # noqa: N801
            def cancel(self, id_: int) -> None:
                self._take(id_)


class EndsAStreamWithItsCredit(Connection):
    """Takes the end of the credit for the end of the stream."""

    class session_type(Session[Waiter]):  # noqa: N801
        class serving_type(Serving):  # noqa: N801
            def item(self, id_: int, value: object) -> None:
                if self.may_send(id_):
                    super().item(id_, value)

            def starved(self, id_: int, now_ns: int) -> None:
                self._credit[id_] = 1 << 30
                self._outbox.put((8, id_))


class SendsWithoutCredit(Connection):
    """A producer that does not wait for its reader, and a reader that does not mind."""

    class session_type(Session[Waiter]):  # noqa: N801
        class serving_type(Serving):  # noqa: N801
            def may_send(self, id_: int) -> bool:
                return True

        class asking_type(Asking[Waiter]):  # noqa: N801
            def on_item(
                self, message: list[object], size: int, events: list[Event[Waiter]]
            ) -> None:
                for reading in self._reading.values():
                    reading.credit = 1 << 40
                super().on_item(message, size, events)


class SaysThatLostCallsDidNotHappen(Connection):
    """A lost connection is a failure, and a failure means that nothing happened."""

    session_type = without.SaysThatLostCallsDidNotHappen


class LeavesEverythingInDoubt(Connection):
    """Not even a call that was never sent is known not to have happened."""

    class session_type(Session[Waiter]):  # noqa: N801
        def _not_open(self) -> SdkitError:
            return ConnectionLost("who knows")

        def lost(self, reason: str) -> list[Failed[Waiter]]:
            self.asking.sent_id = self.asking.last_id
            return super().lost(reason)


class FreesThePlaceOfWithdrawnCalls(Connection):
    """Counts the calls that somebody waits for, and not the handlers that run."""

    class handling_type(Handling):  # noqa: N801
        def on_request(self, request: Request) -> None:
            wanted = sum(kind == CALL for kind in self._serving.requests.values())
            self._serving.requests_max = 20 + len(self._serving.requests) - wanted
            super().on_request(request)


class SendsWhatCannotBeRead(Connection):
    """Believes that what can be packed can be read."""

    class session_type(Session[Waiter]):  # noqa: N801
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            put = self.outbox.put
            self.outbox.put = lambda message, **_: put(message)  # type: ignore[method-assign]


class TellsErrorsAsTheyAre(Connection):
    """Believes that an error's message is text, and that its facts can travel."""

    class session_type(Session[Waiter]):  # noqa: N801
        class serving_type(Serving):  # noqa: N801
            def fail(self, id_: int, error: SdkitError) -> None:
                self._outbox.put((ERROR, id_, *error.to_wire()))
                self._finish(id_)


class LetsCancellationsThrough(Connection):
    """Takes a handler's CancelledError for one of its own."""

    class handling_type(Handling):  # noqa: N801
        def _fail(self, request: Request, error: BaseException) -> None:
            if isinstance(error, asyncio.CancelledError):
                raise error
            super()._fail(request, error)


class IsSilentAboutFailures(Connection):
    """Logs what should not have happened, and leaves the caller waiting."""

    class handling_type(Handling):  # noqa: N801
        def _fail(self, request: Request, error: BaseException) -> None:
            if isinstance(error, SdkitError):
                super()._fail(request, error)


class SendsAnyMethod(Connection):
    """Believes that a method's name is text."""

    class session_type(Session[Waiter]):  # noqa: N801
        class asking_type(Asking[Waiter]):  # noqa: N801
            def call(self, kind: int, method: str, *more: Any, **others: Any) -> int:
                try:
                    return super().call(kind, method, *more, **others)
                except InvalidArgument as error:
                    if "method is" not in error.message:
                        raise
                self.last_id += 1
                self._outbox.put((kind, self.last_id, method, more[0], None, None))
                return self.last_id
