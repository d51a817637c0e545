"""Handling: run the handlers that the peer asks for, and answer with what becomes of them.

What a handler returns decides what it costs (see `sdkit.rpc.handlers`): a value
is answered on the spot, a future gets a callback, a coroutine or a stream a
task. A task costs more than all the rest of a call (``create_task`` and a
switch: 5 of 8 us), so nothing else gets one.

Three things to notice
    1. *When a handler begins is decided in one place*, `sdkit.rpc.run_queue`: in the
       order of the requests, and not while the peer leaves unread what we say.
       After ``write_buffer_bytes`` in one turn, too, the rest waits for the next:
       other connections want theirs.
    2. *Cancelling lets a task begin first.* A task that is cancelled before its
       first step never runs, so that it could not even say that it has ended.
    3. *Whatever a handler returns or raises, its request is finished exactly
       once*, by the ``finally`` of its task or by its callback, and no other
       request notices. That makes the limit on calls in flight true. Only
       ``SystemExit`` and ``KeyboardInterrupt`` go further, after the answer:
       they are meant for the process.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import CoroutineType
from typing import Any, Final

from sdkit.errors import Indeterminate, InternalError, InvalidArgument, SdkitError, UnknownMethod
from sdkit.net import deadlines
from sdkit.net.alarm import Alarm
from sdkit.net.flow import Flow
from sdkit.net.limits import SECOND_NS
from sdkit.rpc.handlers import Detached, Method
from sdkit.rpc.messages import Credited, Request, Withdrawn
from sdkit.rpc.run_queue import RunQueue
from sdkit.rpc.serving import Serving
from sdkit.trace import adopt, span
from sdkit.trace.record import active

log: Final = logging.getLogger("sdkit.rpc")

ITEMS_PER_TURN: Final = 64  # of one stream, before other tasks get their turn
_VALUES: Final = frozenset([type(None), bool, int, float, str, bytes, list, dict, tuple])

Work = asyncio.Future[Any] | Detached
FOR_THE_PROCESS: Final = (SystemExit, KeyboardInterrupt)


class Interrupted(Indeterminate):
    """The handler was cancelled before it ended, though its caller still waited."""

    code = "interrupted"


class Handling:
    """The handlers that run on behalf of one connection.

    Args:
        caller: what they are given as their first argument, the connection.
        serving: what the session knows of the same requests.
        methods: what there is to call.
        flow: how much may be answered now.
        alarm: has the session look at the clock.
        ended: called when one of them has come to its end.
    """

    def __init__(
        self,
        caller: object,
        serving: Serving,
        methods: Mapping[str, Method],
        flow: Flow,
        alarm: Alarm,
        ended: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.work: Final[dict[int, Work]] = {}  # what has not ended, by request
        self.begun = 0
        self._caller, self._serving, self._methods = caller, serving, methods
        self._flow, self._alarm, self._loop = flow, alarm, loop
        self._on_end = ended
        self._queue: Final = RunQueue(methods, flow.has_room)
        # The tasks made since the last turn, to see whether they took their first step.
        self._fresh: list[tuple[Request, asyncio.Task[None], object]] = []
        self.is_crowded = False  # something waits for room
        self._credits: dict[int, asyncio.Future[None]] = {}  # streams that wait for credit

    def on_request(self, request: Request) -> None:
        """Begin a handler, after those that came before."""
        queue = self._queue
        kept = len(self.work) + len(queue.requests) + len(queue.results)
        if kept >= self._serving.requests_max and self._is_too_many(request, kept):
            self._serving.refuse(request.id, request.method)
        elif queue.enter(request):
            self._begin(request)
        elif queue.waits_for_room():
            self._wait_for_room()

    def on_credited(self, credited: Credited) -> None:
        """A stream may go on."""
        waiting = self._credits.get(credited.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def on_withdrawn(self, withdrawn: Withdrawn) -> None:
        """Nobody waits for this one any more."""
        work = self.work.get(withdrawn.id)
        if isinstance(work, Detached):
            self._serving.drop(withdrawn.id)
            self._ended(withdrawn.id)
        elif work is not None:
            self._loop.call_soon(work.cancel)

    def stop(self) -> None:
        """Cancel everything that may be cancelled; `Connection.closed` says when it has ended."""
        self._queue.clear()
        for id_, work in list(self.work.items()):
            if isinstance(work, Detached):
                self._serving.drop(id_)
                self._ended(id_)
            else:
                self._loop.call_soon(work.cancel)

    # ------------------------------------------------------------- beginning

    def _started(self, id_: int) -> None:
        """A task takes its first step."""
        if self._queue.stepped(id_):
            self._loop.call_soon(self._work_off, context=self._flow.context)

    def _work_off(self) -> None:
        """Say and begin what has waited, while that may be."""
        self.is_crowded = False
        while (entry := self._queue.next()) is not None:
            if isinstance(entry, tuple):
                self._say(*entry)
            elif self._serving.is_withdrawn(entry.id):
                self._serving.drop(entry.id)
            else:
                self._begin(entry)
        if self._queue.waits_for_room():
            self._wait_for_room()
        self._flow.flush_soon()

    def _wait_for_room(self) -> None:
        """Go on with what waits when the peer reads again, or a turn is over."""
        if not self.is_crowded:
            self.is_crowded = True
            self._flow.call_when_room(self._work_off)

    def release(self) -> None:
        """Let go of the connection, once all has ended: the two would keep each other."""
        del self._caller, self._on_end

    def _is_too_many(self, request: Request, kept: int) -> bool:
        """Above the limit, what will stay is refused; a plain handler has usually ended at once."""
        return self._queue.begins_later(request) or kept >= 2 * self._serving.requests_max

    def _begin(self, request: Request) -> None:
        """Call the handler, and answer if that was all."""
        if request.deadline_ns is not None:
            deadlines.inherit(request.deadline_ns)
        self.begun += 1
        try:
            method = self._methods.get(request.method)
            if method is None:
                name = request.method[:80]
                raise UnknownMethod(f"there is no method {name!r}", method=name)
            method.check(request.arguments)
            if active():
                result = self._traced(method, request)
            else:
                result = method.function(self._caller, *request.arguments)
            if type(result) in _VALUES and not request.streams:
                self._serving.answer(request.id, result)
            else:
                self._go_on(request, result)
        except BaseException as error:  # a plain handler may raise CancelledError itself
            self._fail(request, error)
            if isinstance(error, FOR_THE_PROCESS):  # in a turn of its own: others came with it
                self._loop.call_soon(_raise, error)
        finally:
            if request.deadline_ns is not None:
                deadlines.inherit(None)  # as it is in a connection's context (`rpc.connect`)

    def _go_on(self, request: Request, result: object) -> None:
        """The handler has not ended: keep what it returned until that has."""
        if isinstance(result, AsyncIterator):
            if not request.streams:
                raise InvalidArgument(f"{request.method}() is a stream; ask for it with stream()")
            self._start_task(request, self._produce(request, result), result)
        elif request.streams:
            if isinstance(result, CoroutineType):
                result.close()
            raise InvalidArgument(f"{request.method}() is no stream; ask for it with call()")
        elif isinstance(result, CoroutineType):
            self._start_task(request, self._serve(request, result), result)
        elif isinstance(result, Detached):
            future = asyncio.ensure_future(result.future, loop=self._loop)
            self._follow(request, future, result)
        elif asyncio.isfuture(result):
            # It refuses one of another loop, whose callbacks would run in that one's thread.
            self._follow(request, asyncio.ensure_future(result, loop=self._loop), result)
        else:
            self._serving.answer(request.id, result)  # which refuses what cannot travel

    def _start_task(
        self, request: Request, coroutine: Coroutine[Any, Any, None], result: object
    ) -> None:
        self._queue.new.add(request.id)
        if active():
            coroutine = self._traced_task(request, coroutine)
        task = self._loop.create_task(coroutine, name=request.method)
        self.work[request.id] = task
        if not self._fresh:
            self._loop.call_soon(self._look_at_fresh)
        self._fresh.append((request, task, result))

    def _look_at_fresh(self) -> None:
        """End the requests whose tasks were cancelled before their first step.

        We never do that, but a program may cancel all tasks of its loop. Such a task runs
        nothing, not even a ``finally``.
        """
        fresh, self._fresh = self._fresh, []
        for each in fresh:
            request, task, result = each
            if request.id not in self._queue.new:
                continue  # it has begun
            if not task.done():
                self._fresh.append(each)  # made behind another, it steps behind this look
                continue
            if isinstance(result, CoroutineType):
                result.close()
            self._started(request.id)
            self._fail(request, asyncio.CancelledError())
            self._ended(request.id)
        if self._fresh:
            self._loop.call_soon(self._look_at_fresh)

    def _traced(self, method: Method, request: Request) -> object:
        peer = self._serving.peer
        with adopt(request.trace), span("rpc.begin", method=request.method, peer=peer):
            return method.function(self._caller, *request.arguments)

    async def _traced_task(self, request: Request, coroutine: Coroutine[Any, Any, None]) -> None:
        peer = self._serving.peer
        with adopt(request.trace), span("rpc.serve", method=request.method, peer=peer):
            await coroutine

    # ------------------------------------------------------------- going on

    async def _serve(self, request: Request, coroutine: CoroutineType[Any, Any, object]) -> None:
        self._started(request.id)
        try:
            self._answer(request, await coroutine)
        except BaseException as error:
            self._fail(request, error)
            if isinstance(error, FOR_THE_PROCESS):
                raise
        finally:
            self._ended(request.id)

    async def _produce(self, request: Request, items: AsyncIterator[object]) -> None:
        self._started(request.id)
        serving, flow, id_, sent = self._serving, self._flow, request.id, 0
        try:
            while True:
                while not (room := flow.has_room()) or not serving.may_send(id_):
                    if serving.is_withdrawn(id_):  # it was told, and yielded once more
                        raise asyncio.CancelledError
                    await (self._wait_for_credit(id_) if room else flow.wait_for_room())
                try:
                    value = await anext(items)
                except StopAsyncIteration:
                    break
                serving.item(id_, value)
                flow.flush_soon()
                sent += 1
                if sent % ITEMS_PER_TURN == 0:
                    await asyncio.sleep(0)
            serving.end(id_)
        except BaseException as error:
            self._fail(request, error)
            if isinstance(error, FOR_THE_PROCESS):
                raise
        finally:
            try:
                await _close(items)
            finally:
                self._ended(id_)

    async def _wait_for_credit(self, id_: int) -> None:
        waiting = self._credits[id_] = self._loop.create_future()
        self._serving.starved(id_, int(self._loop.time() * SECOND_NS))
        self._alarm.bring_forward(self._serving.wake_ns)
        try:
            await waiting
        finally:
            del self._credits[id_]

    def _follow(self, request: Request, future: asyncio.Future[Any], work: Work) -> None:
        """Answer with what becomes of a future that the handler has returned."""
        self.work[request.id] = work
        future.add_done_callback(functools.partial(self._on_done, request))

    def _on_done(self, request: Request, future: asyncio.Future[object]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if request.id not in self.work:
            return  # it was detached, and nobody waits
        try:
            if error is not None:
                self._fail(request, error)
            else:
                self._answer(request, future.result())
        except Exception as caught:
            self._fail(request, caught)
        finally:
            self._ended(request.id)
        if isinstance(error, FOR_THE_PROCESS):
            raise error

    # ------------------------------------------------------------- ending

    def _answer(self, request: Request, value: object) -> None:
        """The result of what went on: say it, or hold it until the peer has read enough."""
        if self._flow.has_room():
            self._serving.answer(request.id, value)
        else:
            self._queue.results.append((request, value))
            self._wait_for_room()

    def _say(self, request: Request, value: object) -> None:
        """Say a result that was held, if somebody still wants to know it."""
        if self._serving.is_withdrawn(request.id):
            self._serving.drop(request.id)
            return
        try:
            self._serving.answer(request.id, value)
        except Exception as error:
            self._fail(request, error)

    def _ended(self, id_: int) -> None:
        del self.work[id_]
        self._flow.flush_soon()
        self._on_end()

    def _fail(self, request: Request, error: BaseException) -> None:
        """Answer with an error that strangers may see; the rest goes to the log."""
        if self._serving.is_withdrawn(request.id):
            self._serving.drop(request.id)
        elif isinstance(error, SdkitError):
            self._serving.fail(request.id, error)
        elif isinstance(error, asyncio.CancelledError):
            text = f"{request.method} was stopped before it ended; it may have happened"
            self._serving.fail(request.id, Interrupted(text))
        else:
            text = f"{request.method} failed; the server's log has the traceback"
            self._serving.fail(request.id, InternalError(text))
        if not isinstance(error, SdkitError | asyncio.CancelledError):
            log.error("handler %s failed", request.method, exc_info=error)


def _raise(error: BaseException) -> None:
    raise error


async def _close(items: AsyncIterator[object]) -> None:
    """Let a stream that was perhaps left half-way clean up."""
    try:
        aclose = getattr(items, "aclose", None)
        if aclose is not None:
            await aclose()
    except asyncio.CancelledError:
        pass  # nobody waits for the end of it, and this is the end of its task
    except FOR_THE_PROCESS:
        raise
    except BaseException:
        log.exception("a stream failed while it was being closed")
