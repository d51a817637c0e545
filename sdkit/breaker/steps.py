"""Steps: one at a time, and what they have to tell is told after them.

The cores of this room are not safe for threads, so a shell takes each step of one under
a lock. Two things go wrong with locks, and both are kept out here.

*A function of somebody else under the lock.* A listener that looks at another breaker
needs that one's lock. Two breakers, two such listeners, two threads, and each waits for the
other for ever. So a step only notes what it has to tell (`Steps.say`), and the notes are
delivered when the lock is free again (as clocks and judges are asked before it is taken):

    thread 1    lock  change  refuse  unlock   tell change   tell refuse   tell change
    thread 2                                   lock  change  unlock

Two threads could overtake each other on the way from the lock to the listener. So at most
one delivers, in the order in which it happened, and takes along what others note meanwhile:
thread 2 goes on, and thread 1 tells for it, in the context (host, span) that it came from.

*A fork.* The child gets the lock as it was in that instant: taken, if another thread was in a
step, and that thread is not in the child. So a fork waits for the lock, and both sides
have it free, with the step done (`os.register_at_fork`).

Decisions
    * One lock for the whole room and not one for each object: a step takes a microsecond,
      and nothing has to keep a list of all objects for the day of a fork.
    * It is reentrant: a signal handler or a finalizer may come between, in the same thread.
    * A listener that hangs holds up one thread. Of what is noted meanwhile the last
      `NOTES_MAX` are kept.
    * A thread tells at most `TOLD_MAX` notes in a row, and leaves the rest to the next step, so
      that no call is held up for ever by the traffic of others. As many that its own
      listeners have caused are taken for a circle: a listener that answers each event
      by another one. That is an error, as endless recursion would be.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from contextvars import Context, copy_context
from threading import RLock, get_ident
from types import TracebackType
from typing import Final, NamedTuple

from sdkit.errors import InvalidState
from sdkit.trace import event
from sdkit.trace.record import is_heard

NOTES_MAX: Final = 10_000
TOLD_MAX: Final = 1_000


class Lock:
    """The lock of this room, in this process."""

    def __init__(self) -> None:
        self.lock: Final = RLock()
        self.depth = 0  # so many steps of one thread lie in each other
        self.forks = 0  # so many forks ago this process was another one
        if hasattr(os, "register_at_fork"):  # where there is no fork there is no hook
            os.register_at_fork(
                before=self.lock.acquire,
                after_in_parent=self.lock.release,
                after_in_child=self._begin_anew,
            )

    def __enter__(self) -> None:
        self.lock.acquire()
        self.depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.depth -= 1
        self.lock.release()

    def _begin_anew(self) -> None:
        self.forks += 1
        self.lock.release()


LOCK: Final = Lock()


class Note(NamedTuple):
    """An event that has yet to be told."""

    context: Context
    name: str
    fields: dict[str, object]


class Steps:
    """The steps of one core: a block under the lock, and then the delivery of its notes.

    A listener that raises fails the block, after the other notes have been told.
    """

    __slots__ = ("_echoes", "_forks", "_notes", "_teller", "_teller_forks")

    def __init__(self) -> None:
        self._notes: Final[deque[Note]] = deque(maxlen=NOTES_MAX)
        self._forks = LOCK.forks  # of the process that the notes belong to
        self._teller_forks = -1  # of the process in which a thread delivers; -1: in none
        self._teller = 0  # that thread
        self._echoes = 0  # so many notes it has made itself meanwhile: its listeners have

    def say(self, name: str, /, **fields: object) -> None:
        """Note an event, within a step. As `sdkit.trace.event`."""
        if not is_heard(name):
            return
        if self._forks != LOCK.forks:  # the notes of the parent are the parent's to tell
            self._forks = LOCK.forks
            self._notes.clear()
        self._notes.append(Note(copy_context(), name, fields))
        self._echoes += self._teller_forks == LOCK.forks and self._teller == get_ident()

    def __enter__(self) -> None:
        LOCK.lock.acquire()
        LOCK.depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        may_tell = LOCK.depth == 1 and self._notes and self._teller_forks != LOCK.forks
        if may_tell:
            self._teller_forks, self._teller, self._echoes = LOCK.forks, get_ident(), 0
        LOCK.depth -= 1
        LOCK.lock.release()
        if may_tell:
            self._deliver()

    def _deliver(self) -> None:
        failure: Exception | None = None
        try:
            for told in itertools.count():
                note = self._next(told)
                if note is None:
                    break
                try:
                    note.context.run(event, note.name, **note.fields)
                except Exception as error:
                    failure = failure or error
                if self._echoes >= TOLD_MAX:
                    failure = failure or InvalidState(
                        f"listeners have answered events by events {TOLD_MAX:,} times in a row, "
                        f"the last of them {note.name}; let a listener note what it wants, and do "
                        "it later"
                    )
                    self._notes.clear()
        except BaseException:  # an interruption: what is left waits for the next step
            self._teller_forks = -1
            raise
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # or it would hold its own traceback

    def _next(self, told: int) -> Note | None:
        with LOCK:
            if told < TOLD_MAX and self._notes and self._forks == LOCK.forks:
                return self._notes.popleft()
            self._teller_forks = -1
            return None
