"""Locks: a mutex, and one whose holder can be told from somebody who has lost it.

A lock over a network cannot promise what a lock in a process does: its holder may stand
still for a minute, the lease runs out, another gets it, and the first goes on as if
nothing had happened. What it can do is hand out a *fencing token* with each lease,
greater than all before, so that whatever the lock protects refuses the older one
(Kleppmann, "How to do distributed locking", 2016). Here is what both promise.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import Enum
from typing import ClassVar, Final

from sdkit.check.history import Operation, Process
from sdkit.check.lines import Flag, MalformedHistory, shown
from sdkit.check.model import IMPOSSIBLE, NOTHING, Model, State, alike, check_answer, items


class Mutex(Model):
    """A lock for each key: one process holds it at a time, and only its holder gives it up.

    acquire; release. An attempt that did not get the lock is recorded as fail.
    """

    name = "mutex"
    calls: ClassVar[Mapping[str, bool]] = {"acquire": True, "release": True}

    def step(self, state: State, operation: Operation) -> State:
        if operation.op == "acquire":
            return operation.process if state is None else IMPOSSIBLE
        return None if state == operation.process else IMPOSSIBLE

    def groups(self, operations: Sequence[Operation]) -> Iterable[Sequence[int]]:
        """An acquire and its process's next call, a release; and all calls of a process.

        Both of the two must have happened: a lost one may belong to another call.
        """
        pairs, of_process = list[list[int]](), dict[Process, list[int]]()
        for number, each in enumerate(operations):
            calls = of_process.setdefault(each.process, [])
            if calls and each.op == "release" and each.outcome == "ok":
                before = operations[calls[-1]]
                if before.op == "acquire" and before.outcome == "ok":
                    pairs.append([calls[-1], number])
            calls.append(number)
        return [*of_process.values(), *pairs]

    def describe(self, state: State) -> str:
        return "free" if state is None else f"held by process {state}"


class FencedLock(Model):
    """A lock that hands out tokens, each greater than all before, so that resources can tell
    a holder from one that lost its lease.

    acquire → TOKEN (a whole number); release TOKEN → true, or false if the lease was over;
    expire TOKEN: the lease is over, whoever saw it.
    """

    name = "fenced-lock"
    calls: ClassVar[Mapping[str, bool]] = {"acquire": True, "release": True, "expire": True}
    initial: State = (None, 0)  # the token that is held, and the greatest one so far

    def check(self, operation: Operation) -> None:
        super().check(operation)
        is_acquire = operation.op == "acquire"
        token = operation.result if is_acquire else operation.argument
        if operation.outcome == "ok" or not is_acquire:
            if not isinstance(token, int) or token < 1:
                raise MalformedHistory(
                    f"token of {operation.op} is {shown(token)}; it must be a whole number from 1",
                    line=operation.line,
                )
            if operation.op == "release":
                check_answer(operation)

    def step(self, state: State, operation: Operation) -> State:
        held, greatest = items(state)
        assert isinstance(greatest, int)
        token = operation.argument
        if operation.op == "acquire":
            if operation.outcome == "info":  # it got some token, at least one more than the last
                return (UNSEEN, greatest + 1) if held is None else state
            token = operation.result
            assert isinstance(token, int)
            return (token, token) if held is None and token > greatest else IMPOSSIBLE
        assert isinstance(token, int)
        is_held = held == token or (held is UNSEEN and token >= greatest)
        freed = (None, max(token, greatest))
        if operation.op == "expire" or operation.outcome == "info":
            return freed if is_held else state
        if operation.result is Flag.FALSE:
            return IMPOSSIBLE if held == token else state
        return freed if is_held else IMPOSSIBLE

    def changes(self, operation: Operation) -> bool:
        return operation.result is not Flag.FALSE

    def groups(self, operations: Sequence[Operation]) -> Iterable[Sequence[int]]:
        """All calls about one token."""
        return alike([_token(each) for each in operations])

    def describe(self, state: State) -> str:
        held, greatest = items(state)
        if held is None:
            return f"free, after token {shown(greatest)}" if greatest else "free"
        return f"held, token {'unknown' if held is UNSEEN else shown(held)}"


def _token(operation: Operation) -> Hashable:
    if operation.op != "acquire":
        return operation.argument
    return NOTHING if operation.result is None else operation.result


class Unseen(Enum):
    """A token that nobody who could tell has seen."""

    UNSEEN = "unseen"


UNSEEN: Final = Unseen.UNSEEN
