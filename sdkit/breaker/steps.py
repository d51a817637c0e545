"""Steps: change a core under a lock, and deliver its events after the lock is free.

The cores of this room are not safe for threads. So a shell makes each step of a core under
a lock. Two things can go wrong with a lock, and this file prevents both.

*A user's function is called under the lock.* A listener that looks at another breaker may
need that breaker's lock. With two breakers, two such listeners and two threads, each thread
waits for the other for ever. So a step only notes its events (`Steps.say`). They are
delivered when the lock is free again. (Clocks and judges are asked before it is taken.)

    thread 1    lock  change  refuse  unlock   tell change   tell refuse   tell change
    thread 2                                   lock  change  unlock

Between the lock and the listener one thread could overtake another. So at most one thread
delivers, in the order in which the events happened. It also delivers what others note
meanwhile: thread 2 goes on, and thread 1 tells its event, in the context (host, span) of
thread 2.

*A fork.* The child gets a copy of the lock. If another thread held it, it stays taken for
ever, since the child does not have that thread. So a fork waits for the lock, and then it is
free in parent and child, with no step half done (`os.register_at_fork`).

Decisions
    * One lock serves the whole room. A step takes a microsecond, so this costs little; with
      a lock for each object, a fork would need a list of all objects.
    * It is reentrant: a signal handler or a finalizer may make a step within a step.
    * A listener that hangs stops one thread. The last `NOTES_MAX` notes of the core wait.
    * A thread delivers at most `TOLD_MAX` notes in a row, and leaves the rest to the next
      step. So the traffic of others does not hold a call for ever.
    * If its own listeners cause `TOLD_MAX` notes meanwhile, one of them answers each event
      with another. That is an error, as endless recursion is.
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
        self.depth = 0  # how many steps of one thread are nested
        self.forks = 0  # how many forks lie between this process and the first
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
    """An event that is not delivered yet."""

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
        self._teller_forks = -1  # of the process in which a thread delivers; -1: no thread does
        self._teller = 0  # that thread
        self._echoes = 0  # how many notes its own listeners have caused

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
