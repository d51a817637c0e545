"""Run queue: when the handler of a request begins, and when its result is said.

Requests arrive in an order, and their handlers begin in it, whatever their kind: a
client may send "begin" and the first statement without waiting between them. Two
things can stand in the way. A coroutine is a task, which takes its first step in the
loop's next turn; a plain handler behind it in the same read would overtake it. And
while the peer leaves unread what we say, nothing further is begun, and results are
held as they are, not packed: requests of a few bytes cannot make us copy gigabytes.

So there is one queue and one rule, `RunQueue.next`:

    results that are held                     if there is room
    then the first of the requests            if there is room, and either it begins
                                              later (a task), or no new task is before it

A task is new from when it is put into `RunQueue.new` to its first step (`RunQueue.stepped`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from sdkit.rpc.handlers import Method
from sdkit.rpc.messages import Request

Held = tuple[Request, object]


class RunQueue:
    """What waits on one connection, in order.

    Args:
        methods: what there is to call.
        has_room: whether the peer has read enough.

    Attributes:
        requests: whose handlers have not begun.
        results: of handlers that have ended, and that wait to be said.
        new: ids of requests whose tasks have not taken their first step.
    """

    def __init__(self, methods: Mapping[str, Method], has_room: Callable[[], bool]) -> None:
        self.requests: Final[deque[Request]] = deque()
        self.results: Final[deque[Held]] = deque()
        self.new: Final[set[int]] = set()
        self._methods, self._has_room = methods, has_room

    def begins_later(self, request: Request) -> bool:
        """Whether its handler is a task, which begins in a later turn."""
        method = self._methods.get(request.method)
        return method is not None and method.begins_later

    def enter(self, request: Request) -> bool:
        """Put ``request`` behind what came before it; True if there is nothing: begin it now."""
        if self.requests or (self.new and not self.begins_later(request)) or not self._has_room():
            self.requests.append(request)
            return False
        return True

    def next(self) -> Request | Held | None:
        """What may go on now, taken out: a request to begin, a result to say, or nothing."""
        if not self._has_room():
            return None
        if self.results:
            return self.results.popleft()
        if self.requests and (not self.new or self.begins_later(self.requests[0])):
            return self.requests.popleft()
        return None

    def waits_for_room(self) -> bool:
        """Whether something is left that room would let go on."""
        return bool(self.requests or self.results) and not self._has_room()

    def stepped(self, id_: int) -> bool:
        """The task of this request took its first step; whether what waited may go on now."""
        self.new.discard(id_)
        return bool(self.requests) and not self.new

    def clear(self) -> None:
        """The connection has ended: nothing that waits begins or is said."""
        self.requests.clear()
        self.results.clear()
