"""History: who called what, when, and what came back. Plain data, from any system.

A concurrent program cannot be judged by its last state alone: what matters is
which call saw what, and which calls were over before others began. So clients
write down two lines for each call, one when they make it, one when it ends:

    {"process": 1, "type": "invoke", "op": "write", "key": "x", "value": 5, "time_ns": 100}
    {"process": 1, "type": "ok",     "op": "write", "key": "x", "value": 5, "time_ns": 900}

How a call ended is one of three, and the difference is the whole craft:

    ok      it happened, and this is what it answered
    fail    it did not happen, for certain
    info    nobody knows: a time-out, a lost connection. It may have happened, may
            happen at any later time, or never. So may a call whose end is missing

Write down "fail" only for what cannot have happened. A call that timed out is
"info"; calling it a failure makes a correct system look wrong, and calling it a
success makes a wrong one look right.

Things to notice
    1. Time decides, not the order of lines, so the files of several clients can
       be put one behind the other. Two calls overlap unless one ended at an
       *earlier* time than the other began: equal times prove nothing, because a
       clock is coarse. Times must come from one clock. Without ``time_ns`` on any
       line, the order of the lines is the order of the events.
    2. A process makes one call at a time; its calls are in order even where the
       clock stands still. After "info" it may go on: the lost call stays open.
    3. `Recorder` writes histories from inside one program. There the order of its
       calls is certain, so it never records two events at one time.

Jepsen's histories (https://github.com/jepsen-io/jepsen) gave the four words.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from sdkit.arguments import shown
from sdkit.check.lines import (
    MalformedHistory,
    check_label,
    check_whole,
    dumped,
    kept,
    label,
    objects,
    one_of,
    only_known,
    thawed,
    whole,
)
from sdkit.forks import renew_in_child

Process = int | str
Outcome = Literal["ok", "fail", "info"]

TYPES: Final = ("invoke", "ok", "fail", "info")
FIELDS: Final = ("process", "type", "op", "key", "value", "time_ns")


@dataclass(slots=True)
class Operation:
    """One call.

    Args:
        process: who made it.
        op: its name, as a model knows it.
        key: what it was about; None if there is only one thing.
        argument: the value it was called with.
        result: what it answered, if its outcome is ok.
        outcome: how it ended.
        start: when it was called, in nanoseconds from any origin.
        end: when it ended; None with the outcome info, whatever its client saw.
        line: the line of its call in a file, or 0.
        argument_given, result_given: false where a line of a file has no ``value`` at all, which
            is not the same as null. What a model needs and nobody wrote down, it refuses.
    """

    process: Process
    op: str
    key: Hashable
    argument: Hashable
    result: Hashable
    outcome: Outcome
    start: int
    end: int | None
    line: int = 0
    argument_given: bool = True
    result_given: bool = True

    def checked(self) -> Operation:
        """It as models take it: its values frozen (`sdkit.check.lines.frozen`), the rest refused
        if it is of a wrong kind. Itself, if there is nothing to change.

        Raises:
            MalformedHistory: naming the field.
        """
        check_call(self.process, self.op, self.line)
        for name, time_ns in (("start", self.start), ("end", self.end)):
            check_whole(time_ns, name, self.line)
        if self.start is None:
            raise MalformedHistory(f"{self.op} has no start; it must be a whole number")
        values = (
            kept(self.key, "key", self.line),
            kept(self.argument, "argument", self.line),
            kept(self.result, "result", self.line),
        )
        end = None if self.outcome == "info" else self.end
        if values == (self.key, self.argument, self.result) and end == self.end:
            return self
        key, argument, result = values
        return replace(self, key=key, argument=argument, result=result, end=end)


def check_call(process: object, op: object, line: int = 0) -> None:
    """Refuse what cannot make a call, and what is no name of one.

    Raises:
        MalformedHistory: naming the field and its value.
    """
    check_label(process, "process", line)
    if not isinstance(op, str):
        raise MalformedHistory(
            f"op is {shown(op)}; an invoke names its operation, as in 'read'", line=line
        )


@dataclass(slots=True)
class History:
    """Operations in the order of their calls."""

    operations: list[Operation]

    @classmethod
    def parse(cls, lines: Iterable[str | bytes]) -> History:
        """The history in ``lines``, which may be an open file.

        Raises:
            MalformedHistory: the first line that is wrong, and why.
        """
        reader = _Reader()
        for number, fields in objects(lines):
            reader.take(number, fields)
        return reader.history()

    def lines(self) -> Iterator[str]:
        """One line for each event, in the order of time, without line ends; `parse` reads them."""
        # A process's end comes before its next call, even at one and the same time. A call
        # without an end is lost at the latest when its process makes another.
        following: dict[Process, int] = {}
        events: list[tuple[int, int, bool, Operation]] = []
        for number, each in reversed(list(enumerate(self.operations))):
            end = each.end
            if end is None and each.process in following:
                end = self.operations[following[each.process]].start
            events.append((each.start, 2 * number + 1, False, each))
            if end is not None:
                last = following.get(each.process, len(self.operations))
                events.append((end, 2 * last if each.end is None else 2 * number + 2, True, each))
            following[each.process] = number
        for time_ns, _, ends, each in sorted(events, key=lambda event: event[:2]):
            given, value = each.argument_given, each.argument
            if ends:
                given, value = each.outcome == "ok" and each.result_given, each.result
            yield dumped(
                {
                    "process": each.process,
                    "type": each.outcome if ends else "invoke",
                    "op": each.op,
                    "key": thawed(each.key),
                    "time_ns": time_ns,
                },
                {"value": thawed(value)} if given else {},
            )


class Recorder:
    """Writes down what the clients of one program do, in the order in which it is told.

        recorder.invoke("client-1", "write", "x", 5)
        ...
        recorder.ok("client-1")

    Args:
        (each method) time_ns: when; it is moved on by a nanosecond where the clock
            stands still, since one program knows the order. Leave it out to count 1, 2, 3.

    A process that is told to end and has nothing open, or to begin a second call,
    raises `MalformedHistory`: that is a bug of the test, and no verdict could be right. So
    does a key or a value that JSON does not know, or a time that is no whole number.

    Any number of threads may tell it of their calls. A forked child goes on with a copy.
    """

    def __init__(self) -> None:
        self._reader = _Reader()
        self._last = 0
        self._renew_lock()
        renew_in_child(self, Recorder._renew_lock)

    def invoke(
        self,
        process: Process,
        op: str,
        key: object = None,
        value: object = None,
        *,
        time_ns: int | None = None,
    ) -> None:
        """A call begins."""
        check_call(process, op)
        key, value = kept(key, "key"), kept(value, "value")
        with self._lock:
            self._reader.begin(process, op, key, value, self._time(time_ns))

    def ok(self, process: Process, value: object = None, *, time_ns: int | None = None) -> None:
        """It has happened and answered ``value``."""
        self._end(process, "ok", kept(value, "value"), time_ns)

    def fail(self, process: Process, *, time_ns: int | None = None) -> None:
        """It has not happened, for certain."""
        self._end(process, "fail", None, time_ns)

    def info(self, process: Process, *, time_ns: int | None = None) -> None:
        """Nobody knows whether it has happened, or will."""
        self._end(process, "info", None, time_ns)

    def history(self) -> History:
        """What has been recorded; calls that are still open have an unknown outcome.

        It does not change when the recorder is told more.
        """
        with self._lock:
            return self._reader.history()

    def _end(
        self, process: Process, outcome: Outcome, value: Hashable, time_ns: int | None
    ) -> None:
        check_label(process, "process")
        with self._lock:
            self._reader.end(process, outcome, value, self._time(time_ns))

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def _time(self, time_ns: int | None) -> int:
        check_whole(time_ns, "time_ns")
        self._last = self._last + 1 if time_ns is None else max(time_ns, self._last + 1)
        return self._last


class _Reader:
    """Puts the ends of calls to their beginnings."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._open: dict[Process, Operation] = {}
        self._last: dict[Process, int] = {}
        self._timed: bool | None = None

    def take(self, line: int, fields: dict[str, object]) -> None:
        """One line of a file."""
        only_known(fields, FIELDS, line)
        process = label(fields, "process", line)
        kind = one_of(fields, "type", TYPES, line)
        time_ns = self._time(whole(fields, "time_ns", line), line)
        if time_ns < self._last.get(process, time_ns):
            raise MalformedHistory(
                f"time_ns of process {process} goes back from {self._last[process]} to {time_ns}; "
                "the lines of one process must be in order",
                line=line,
            )
        key = kept(fields.get("key"), "key", line)
        value = kept(fields.get("value"), "value", line)
        if kind == "invoke":
            op = fields.get("op")
            check_call(process, op, line)
            self.begin(process, op, key, value, time_ns, line)  # type: ignore[arg-type]
            self._open[process].argument_given = "value" in fields
            return
        self._check_same(process, fields, key, line)
        if process in self._open:
            self._open[process].result_given = kind != "ok" or "value" in fields
        self.end(process, kind, value, time_ns, line)  # type: ignore[arg-type]

    def begin(
        self,
        process: Process,
        op: str,
        key: Hashable,
        value: Hashable,
        time_ns: int,
        line: int = 0,
    ) -> None:
        if process in self._open:
            raise MalformedHistory(
                f"process {process} calls {op!r} while its {self._open[process].op!r} is open; "
                "a process makes one call at a time, so give concurrent clients names of their own",
                line=line,
            )
        # Until its end is known it may happen at any later time.
        operation = Operation(process, op, key, value, None, "info", time_ns, None, line)
        self._operations.append(operation)
        self._open[process] = operation
        self._last[process] = time_ns

    def end(
        self, process: Process, outcome: Outcome, value: Hashable, time_ns: int, line: int = 0
    ) -> None:
        operation = self._open.pop(process, None)
        if operation is None:
            raise MalformedHistory(
                f"{outcome} of process {process}, which has no call open; an invoke is missing",
                line=line,
            )
        self._last[process] = time_ns
        operation.outcome = outcome
        if outcome == "ok":
            operation.result = value
        if outcome != "info":
            operation.end = time_ns

    def history(self) -> History:
        open_ones = {id(each) for each in self._open.values()}  # they may change
        found = [replace(each) if id(each) in open_ones else each for each in self._operations]
        return History(sorted(found, key=lambda operation: operation.start))

    def _time(self, time_ns: int | None, line: int) -> int:
        if self._timed is None:
            self._timed = time_ns is not None
        if self._timed != (time_ns is not None):
            raise MalformedHistory("time_ns must be on every line or on none", line=line)
        return line if time_ns is None else time_ns

    def _check_same(
        self, process: Process, fields: dict[str, object], key: Hashable, line: int
    ) -> None:
        """The end may repeat what was called, and then must say the same."""
        operation = self._open.get(process)
        if operation is None:
            return
        for name, said, called in (
            ("op", fields.get("op"), operation.op),
            ("key", key, operation.key),
        ):
            if fields.get(name) is not None and said != called:
                raise MalformedHistory(
                    f"{name} is {thawed(said)!r}, but process {process} called with "
                    f"{thawed(called)!r} in line {operation.line}",
                    line=line,
                )
