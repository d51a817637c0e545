"""Models: registers, maps, queues, logs, counters and sets, one call at a time.

The docstring of each lists its calls, as in ``write VALUE`` and ``read → the value``.
Each says in a few lines what the thing *is*; no lock, no network, no copies.

Two things to notice
    * A call that the thing itself refuses, such as a compare-and-set that found another
      value, has *happened*: record it as ok with the answer false. Recorded as fail it
      says nothing, which is safe, and blind.
    * A value that was asked for and is null says something too: the queue was empty,
      the key absent. So null cannot be put in.

`MODELS` has them by name, with those of `locks`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import ClassVar, Final

from sdkit.check.history import Operation
from sdkit.check.lines import Flag, MalformedHistory, shown
from sdkit.check.locks import FencedLock, Mutex
from sdkit.check.model import IMPOSSIBLE, NOTHING, Model, State, alike, check_answer, grouped, items


class Register(Model):
    """One value for each key, null at first.

    read → the value; write VALUE; cas [EXPECTED, NEW] → true, or false if it held another value.
    No answer to cas, or its argument repeated, means true.
    """

    name = "register"
    calls: ClassVar[Mapping[str, bool]] = {"read": False, "write": True, "cas": True}
    takes: ClassVar[frozenset[str]] = frozenset({"write", "cas"})
    answers: ClassVar[frozenset[str]] = frozenset({"read"})

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "cas":
            if not isinstance(operation.argument, tuple) or len(operation.argument) != 2:
                raise MalformedHistory(
                    f"value of cas is {shown(operation.argument)}; it must be [EXPECTED, NEW]",
                    line=operation.line,
                )
            if operation.result != operation.argument:
                check_answer(operation)

    def step(self, state: State, operation: Operation) -> State:
        match operation.op:
            case "read":
                return state if operation.result == state else IMPOSSIBLE
            case "write":
                return operation.argument
            case _:
                expected, new = _pair(operation)
                if operation.outcome == "info":
                    return new if state == expected else state
                if (state == expected) != (operation.result is not Flag.FALSE):
                    return IMPOSSIBLE
                return new if state == expected else state

    def asks(self, operation: Operation) -> Hashable:
        match operation.op:
            case "read":
                return operation.result
            case "cas" if operation.result is not Flag.FALSE:
                return _pair(operation)[0]
            case _:
                return NOTHING

    def makes(self, operation: Operation) -> Hashable:
        if operation.op == "write":
            return operation.argument
        if operation.op == "read" or self.looks(operation):
            return NOTHING
        return _pair(operation)[1]

    def looks(self, operation: Operation) -> bool:
        return operation.result is Flag.FALSE and operation.op == "cas"


class Map(Model):
    """Keys and their values.

    put VALUE; get → the value, or null if it is absent; delete → true or false, whether it was
    there, or nothing.
    """

    name = "map"
    calls: ClassVar[Mapping[str, bool]] = {"get": False, "put": True, "delete": True}
    takes: ClassVar[frozenset[str]] = frozenset({"put"})
    answers: ClassVar[frozenset[str]] = frozenset({"get"})

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "delete":
            check_answer(operation)
        if operation.op == "put" and operation.argument is None:
            raise MalformedHistory("put of null; null stands for absent", line=operation.line)

    def step(self, state: State, operation: Operation) -> State:
        match operation.op:
            case "get":
                return state if operation.result == state else IMPOSSIBLE
            case "put":
                return operation.argument
            case _:
                return _if(state is not None, operation, None, state)

    def describe(self, state: State) -> str:
        return "absent" if state is None else shown(state)

    def asks(self, operation: Operation) -> Hashable:
        if operation.op == "get":
            return operation.result
        if operation.op == "delete" and operation.result is Flag.FALSE:
            return None
        return NOTHING

    def makes(self, operation: Operation) -> Hashable:
        if operation.op == "put":
            return operation.argument
        if operation.op == "delete" and operation.result is not Flag.FALSE:
            return None
        return NOTHING

    def looks(self, operation: Operation) -> bool:
        return operation.result is Flag.TRUE and operation.op == "delete"


class Queue(Model):
    """First in, first out; one queue for each key.

    enqueue VALUE; dequeue → the oldest value, or null if it was empty.
    """

    name = "queue"
    calls: ClassVar[Mapping[str, bool]] = {"enqueue": True, "dequeue": True}
    takes: ClassVar[frozenset[str]] = frozenset({"enqueue"})
    answers: ClassVar[frozenset[str]] = frozenset({"dequeue"})
    initial: State = ()

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "enqueue" and operation.argument is None:
            raise MalformedHistory("enqueue of null; null stands for empty", line=operation.line)

    def changes(self, operation: Operation) -> bool:
        return (
            operation.op == "enqueue" or operation.outcome == "info" or operation.result is not None
        )

    def groups(self, operations: Sequence[Operation]) -> Iterable[Sequence[int]]:
        """All calls about one value."""
        return alike([_waiting(each) for each in operations])

    def step(self, state: State, operation: Operation) -> State:
        waiting = items(state)
        if operation.op == "enqueue":
            return (*waiting, operation.argument)
        if operation.outcome == "info":
            return waiting[1:]
        if operation.result is None:
            return IMPOSSIBLE if waiting else waiting
        return waiting[1:] if waiting[:1] == (operation.result,) else IMPOSSIBLE


def _waiting(operation: Operation) -> Hashable:
    if operation.op == "enqueue":
        return operation.argument
    return NOTHING if operation.result is None else operation.result


class Entry:
    """A log's newest entry, and through it all before; equal logs are one object (`Log`)."""

    __slots__ = ("before", "length", "value")

    def __init__(self, before: Entry | None, value: Hashable) -> None:
        self.before = before
        self.value = value
        self.length: int = 1 + (before.length if before is not None else 0)


class Log(Model):
    """Append only; one log for each key.

    append VALUE → its offset, from 0, or nothing; read OFFSET → the value there, or null if the
    log ends before; read (of null) → all of it, a list; length → how many there are.
    """

    name = "log"
    calls: ClassVar[Mapping[str, bool]] = {"append": True, "read": False, "length": False}
    takes: ClassVar[frozenset[str]] = frozenset({"append"})
    answers: ClassVar[frozenset[str]] = frozenset({"read", "length"})

    def __init__(self) -> None:
        # Thousands of states share their beginnings. As tuples each would be a copy.
        self._entries: dict[tuple[Entry | None, Hashable], Entry] = {}

    def check(self, operation: Operation) -> None:
        super().check(operation)
        offset = operation.argument
        if operation.op != "read" or offset is None:
            return
        if not isinstance(offset, int) or offset < 0:
            raise MalformedHistory(
                f"read at offset {shown(offset)}; it must be a whole number from 0, or null for "
                "the whole log",
                line=operation.line,
            )

    def step(self, state: State, operation: Operation) -> State:
        assert state is None or isinstance(state, Entry)
        length = 0 if state is None else state.length
        if operation.op == "append":
            if operation.result is not None and operation.result != length:
                return IMPOSSIBLE
            entry = self._entries.get((state, operation.argument))
            if entry is None:
                entry = self._entries[state, operation.argument] = Entry(state, operation.argument)
            return entry
        if operation.op == "length":
            answer: Hashable = length
        elif operation.argument is None:
            # The length first: it is cheap, and mostly enough.
            same = isinstance(operation.result, tuple) and len(operation.result) == length
            answer = _all(state) if same else None
            return state if same and answer == operation.result else IMPOSSIBLE
        else:
            answer = _at(state, operation.argument)
        return state if operation.result == answer else IMPOSSIBLE

    def describe(self, state: State) -> str:
        assert state is None or isinstance(state, Entry)
        if state is None:
            return "empty"
        return f"{state.length} long, the last is {shown(state.value)}"


class Counter(Model):
    """A number for each key, 0 at first.

    add NUMBER → the new total, or nothing; read → the total.
    """

    name = "counter"
    calls: ClassVar[Mapping[str, bool]] = {"read": False, "add": True}
    takes: ClassVar[frozenset[str]] = frozenset({"add"})
    answers: ClassVar[frozenset[str]] = frozenset({"read"})
    initial: State = 0

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "add" and not isinstance(operation.argument, int):
            raise MalformedHistory(
                f"add of {shown(operation.argument)}; it must be a whole number",
                line=operation.line,
            )

    def step(self, state: State, operation: Operation) -> State:
        assert isinstance(state, int)
        if operation.op == "read":
            return state if operation.result == state else IMPOSSIBLE
        assert isinstance(operation.argument, int)
        total = state + operation.argument
        return IMPOSSIBLE if operation.result not in (None, total) else total


class Set(Model):
    """A set of values for each key.

    add VALUE, remove VALUE → true or false, whether it changed anything, or nothing;
    contains VALUE → true or false; read → a list of all, in any order.
    """

    name = "set"
    calls: ClassVar[Mapping[str, bool]] = {
        "contains": False,
        "read": False,
        "add": True,
        "remove": True,
    }
    takes: ClassVar[frozenset[str]] = frozenset({"add", "remove", "contains"})
    answers: ClassVar[frozenset[str]] = frozenset({"read", "contains"})
    initial: State = frozenset()

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "contains" and operation.outcome == "ok" and operation.result is None:
            raise MalformedHistory(
                "contains answered null; expected true or false", line=operation.line
            )
        if operation.op != "read":
            check_answer(operation)
        elif operation.outcome == "ok" and not isinstance(operation.result, tuple):
            raise MalformedHistory(
                f"read answered {shown(operation.result)}; expected a list", line=operation.line
            )

    def parts(self, operations: Sequence[Operation]) -> dict[Hashable, list[Operation]]:
        """By element too, unless somebody reads the whole set."""
        whole = {each.key for each in operations if each.op == "read"}
        return grouped(
            operations,
            [each.key if each.key in whole else (each.key, each.argument) for each in operations],
        )

    def step(self, state: State, operation: Operation) -> State:
        assert isinstance(state, frozenset)
        element = operation.argument
        match operation.op:
            case "read":
                found = operation.result
                assert isinstance(found, tuple)
                same = len(found) == len(state) and state == frozenset(found)
                return state if same else IMPOSSIBLE
            case "contains":
                return state if (element in state) == bool(operation.result) else IMPOSSIBLE
            case "add":
                return _if(element not in state, operation, state | {element}, state)
            case _:
                return _if(element in state, operation, state - {element}, state)

    def describe(self, state: State) -> str:
        assert isinstance(state, frozenset)
        return "{" + ", ".join(sorted(map(shown, state))) + "}"


MODELS: Final[Mapping[str, type[Model]]] = {
    model.name: model for model in (Register, Map, Queue, Mutex, FencedLock, Log, Counter, Set)
}


def _if(could: bool, operation: Operation, done: State, state: State) -> State:
    """``done`` if it could be done and that is what was answered; an answer may be missing."""
    if operation.result is None:
        return done if could else state
    if could != bool(operation.result):
        return IMPOSSIBLE
    return done if could else state


def _all(log: Entry | None) -> tuple[Hashable, ...]:
    values = []
    while log is not None:
        values.append(log.value)
        log = log.before
    return tuple(reversed(values))


def _at(log: Entry | None, offset: Hashable) -> Hashable:
    """From the end: those who read are mostly near it."""
    assert isinstance(offset, int)
    while log is not None and log.length > offset + 1:
        log = log.before
    return None if log is None or log.length <= offset else log.value


def _pair(operation: Operation) -> tuple[Hashable, Hashable]:
    expected, new = items(operation.argument)
    return expected, new
