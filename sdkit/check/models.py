"""Models: what a thing would do if its calls came one at a time.

Linearizability compares a system with something plainly right: the same thing,
used by one client at a time. A model is that thing, as a function. Given a state
and a call with its answer, `Model.step` says which state follows, or
`IMPOSSIBLE` if the call could not have been answered so.

    Register().step(5, read that answered 5)    5
    Register().step(5, read that answered 3)    IMPOSSIBLE
    Register().step(5, write 7)                 7

Things to notice
    1. A state is an immutable value, since the search keeps thousands of them.
    2. A call whose outcome is unknown (`Operation.outcome` is info) has no answer:
       `step` gives the state in which it has had its effect. That it may also have
       had none is the search's business.
    3. A call that was asked for and refused by the model's own rules, such as a
       compare-and-set that found another value, has *happened*: record it as ok with
       the answer false. Recorded as fail it says nothing, which is safe, and blind.
    4. What does not touch each other can be judged apart (`Model.parts`): registers
       by key, a set by element. A history is linearizable if each part of it is
       (Herlihy and Wing 1990, theorem 1), and small parts are far cheaper.

`MODELS` has them by name; the docstring of each lists its calls. A model of your
own is a subclass of `Model`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from enum import Enum
from typing import ClassVar, Final

from sdkit.check.history import Operation
from sdkit.check.lines import Flag, MalformedHistory, shown


class Impossible(Enum):
    """The call could not have been answered like this."""

    IMPOSSIBLE = "impossible"


IMPOSSIBLE: Final = Impossible.IMPOSSIBLE


class Nothing(Enum):
    """No value, not even null."""

    NOTHING = "nothing"


NOTHING: Final = Nothing.NOTHING

State = Hashable  # a state, or IMPOSSIBLE


class Model:
    """What every model is. The docstring of a subclass lists its calls."""

    name: ClassVar[str]
    calls: ClassVar[Mapping[str, bool]]
    """The names of its calls, and whether they may change the state."""
    initial: State = None

    def check(self, operation: Operation) -> None:
        """Refuse what is no call of this model.

        Raises:
            MalformedHistory: naming the line and what the model knows.
        """
        if operation.op not in self.calls:
            raise MalformedHistory(
                f"{self.name} has no operation {operation.op!r}; it has {', '.join(self.calls)}",
                line=operation.line,
            )

    def parts(self, operations: Sequence[Operation]) -> dict[Hashable, list[Operation]]:
        """The operations, in their order, by what they touch; the parts are judged apart."""
        return _grouped(operations, [operation.key for operation in operations])

    def changes(self, operation: Operation) -> bool:
        """May it change any state? One that answered "no" has not."""
        return self.calls[operation.op] and operation.result is not Flag.FALSE

    def step(self, state: State, operation: Operation) -> State:
        """The state after ``operation``, or `IMPOSSIBLE`."""
        raise NotImplementedError

    def describe(self, state: State) -> str:
        """The state in a few words."""
        return shown(state)

    # For what holds one value there are hints that save the search from most wrong turns
    # (`sdkit.check.hints`). A model that does not override these gives none.

    def asks(self, operation: Operation) -> Hashable:
        """The one value that it must find, to be answered or to have an effect."""
        return NOTHING

    def makes(self, operation: Operation) -> Hashable:
        """The one value that it leaves behind, if it has an effect."""
        return NOTHING

    def looks(self, operation: Operation) -> bool:
        """Does its answer say what value was *not* there?"""
        return False


class Register(Model):
    """One value for each key, null at first.

    read → the value; write VALUE; cas [EXPECTED, NEW] → true, or false if it held another value.
    No answer to cas, or its argument repeated, means true.
    """

    name = "register"
    calls: ClassVar[Mapping[str, bool]] = {"read": False, "write": True, "cas": True}

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "cas":
            if not isinstance(operation.argument, tuple) or len(operation.argument) != 2:
                raise MalformedHistory(
                    f"value of cas is {shown(operation.argument)}; it must be [EXPECTED, NEW]",
                    line=operation.line,
                )
            if operation.result != operation.argument:
                _check_answer(operation)

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

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "delete":
            _check_answer(operation)
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
    initial: State = ()

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op == "enqueue" and operation.argument is None:
            raise MalformedHistory("enqueue of null; null stands for empty", line=operation.line)

    def changes(self, operation: Operation) -> bool:
        return (
            operation.op == "enqueue" or operation.outcome == "info" or operation.result is not None
        )

    def step(self, state: State, operation: Operation) -> State:
        waiting = _items(state)
        if operation.op == "enqueue":
            return (*waiting, operation.argument)
        if operation.outcome == "info":
            return waiting[1:]
        if operation.result is None:
            return IMPOSSIBLE if waiting else waiting
        return waiting[1:] if waiting[:1] == (operation.result,) else IMPOSSIBLE


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
                _check_answer(operation)

    def step(self, state: State, operation: Operation) -> State:
        held, greatest = _items(state)
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

    def describe(self, state: State) -> str:
        held, greatest = _items(state)
        if held is None:
            return f"free, after token {shown(greatest)}" if greatest else "free"
        return f"held, token {'unknown' if held is UNSEEN else shown(held)}"


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

    def __init__(self) -> None:
        # Thousands of states share their beginnings. As tuples each would be a copy.
        self._entries: dict[tuple[Entry | None, Hashable], Entry] = {}

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
    initial: State = frozenset()

    def check(self, operation: Operation) -> None:
        super().check(operation)
        if operation.op != "read":
            _check_answer(operation)
        elif operation.outcome == "ok" and not isinstance(operation.result, tuple):
            raise MalformedHistory(
                f"read answered {shown(operation.result)}; expected a list", line=operation.line
            )

    def parts(self, operations: Sequence[Operation]) -> dict[Hashable, list[Operation]]:
        """By element too, unless somebody reads the whole set."""
        whole = {each.key for each in operations if each.op == "read"}
        return _grouped(
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


class Unseen(Enum):
    """A token that nobody who could tell has seen."""

    UNSEEN = "unseen"


UNSEEN: Final = Unseen.UNSEEN

MODELS: Final[Mapping[str, type[Model]]] = {
    model.name: model for model in (Register, Map, Queue, Mutex, FencedLock, Log, Counter, Set)
}


def _grouped(
    operations: Sequence[Operation], names: Sequence[Hashable]
) -> dict[Hashable, list[Operation]]:
    parts: dict[Hashable, list[Operation]] = {}
    for operation, name in zip(operations, names, strict=True):
        parts.setdefault(name, []).append(operation)
    return parts


def _if(could: bool, operation: Operation, done: State, state: State) -> State:
    """``done`` if it could be done and that is what was answered; an answer may be missing."""
    if operation.result is None:
        return done if could else state
    if could != bool(operation.result):
        return IMPOSSIBLE
    return done if could else state


def _items(state: State) -> tuple[Hashable, ...]:
    assert isinstance(state, tuple)
    return state


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
    expected, new = _items(operation.argument)
    return expected, new


def _check_answer(operation: Operation) -> None:
    """Whether it did what it says; it may as well say nothing."""
    if operation.result is not None and not isinstance(operation.result, Flag):
        raise MalformedHistory(
            f"{operation.op} answered {shown(operation.result)}; expected true or false",
            line=operation.line,
        )
