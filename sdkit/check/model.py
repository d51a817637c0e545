"""A model: what a thing would do if its calls came one at a time, as a function.

Linearizability compares a system with something plainly right: the same thing,
used by one client at a time. Given a state and a call with its answer, `Model.step`
says which state follows, or `IMPOSSIBLE` if the call could not be answered so:

    Register().step(5, read that answered 5)    5
    Register().step(5, read that answered 3)    IMPOSSIBLE
    Register().step(5, write 7)                 7

Things to notice
    1. A state is an immutable value, since the search keeps thousands of them.
    2. A call whose outcome is unknown (`Operation.outcome` is info) has no answer:
       `step` gives the state in which it has had its effect. That it may also have
       had none is the search's business.
    3. What does not touch each other can be judged apart (`Model.parts`): registers
       by key, a set by element. A history is linearizable if each part of it is
       (Herlihy and Wing 1990, theorem 1), and small parts are far cheaper.

A model of your own is a subclass of `Model` with ``calls`` and `Model.step`;
`sdkit.check.models` has eight. `sdkit check --model package.module:Class` takes it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import Enum
from typing import ClassVar, Final

from sdkit.arguments import check_function
from sdkit.arguments import shown as shown_object
from sdkit.check.history import Operation
from sdkit.check.lines import Flag, MalformedHistory, shown
from sdkit.errors import InvalidArgument


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
    """What a verdict calls it; the name of the class, if a subclass gives none."""
    calls: ClassVar[Mapping[str, bool]]
    """The names of its calls, and whether they may change the state."""
    takes: ClassVar[frozenset[str]] = frozenset()
    """The calls that say nothing without the value they were made with."""
    answers: ClassVar[frozenset[str]] = frozenset()
    """The calls that say nothing without what they answered."""
    initial: State = None

    def __init_subclass__(cls) -> None:
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

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
        if operation.op in self.takes and not operation.argument_given:
            raise MalformedHistory(
                f"{operation.op} has no value; write what it was called with, null too",
                line=operation.line,
            )
        if (
            operation.op in self.answers
            and operation.outcome == "ok"
            and not operation.result_given
        ):
            raise MalformedHistory(
                f"the ok of this {operation.op} has no value; write what it answered on the line "
                "of the ok, null too",
                line=operation.line,
            )

    def parts(self, operations: Sequence[Operation]) -> dict[Hashable, list[Operation]]:
        """The operations, in their order, by what they touch; the parts are judged apart."""
        return grouped(operations, [operation.key for operation in operations])

    def changes(self, operation: Operation) -> bool:
        """May it change any state? One that answered "no" has not."""
        return self.calls[operation.op] and operation.result is not Flag.FALSE

    def step(self, state: State, operation: Operation) -> State:
        """The state after ``operation``, or `IMPOSSIBLE`."""
        raise NotImplementedError

    def describe(self, state: State) -> str:
        """The state in a few words."""
        try:
            return shown(state)
        except TypeError:  # a state may be what JSON does not know
            return shown_object(state)

    def groups(self, operations: Sequence[Operation]) -> Iterable[Sequence[int]]:
        """Numbers of calls that can be struck together out of any order that works.

        It must still work then, so that an explanation without them is a true one. Calls that
        change nothing need not be listed. A model that overrides nothing has no groups.
        """
        return ()

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


def grouped(
    operations: Sequence[Operation], names: Sequence[Hashable]
) -> dict[Hashable, list[Operation]]:
    """The operations by their names, each in the order they had."""
    parts: dict[Hashable, list[Operation]] = {}
    for operation, name in zip(operations, names, strict=True):
        parts.setdefault(name, []).append(operation)
    return parts


def check_model(model: object) -> None:
    """Refuse what is no model, or one without calls or steps.

    Raises:
        InvalidArgument: naming what is missing.
    """
    if isinstance(model, type):
        raise InvalidArgument(
            f"model is the class {model.__name__}; give an instance, as in {model.__name__}()"
        )
    if not isinstance(model, Model):
        raise InvalidArgument(f"model is {shown_object(model)}; it must be a sdkit.check.Model")
    calls = getattr(model, "calls", None)
    if not isinstance(calls, Mapping) or not calls:
        raise InvalidArgument(
            f"the model {model.name} has no calls; give it the names of its calls and whether each "
            'may change the state, as in calls = {"read": False, "write": True}'
        )
    check_state(model, model.initial)
    if type(model).step is Model.step:
        raise InvalidArgument(
            f"the model {model.name} has no step(self, state, operation), which returns the state "
            "after the operation, or IMPOSSIBLE"
        )
    check_function(f"step of the model {model.name}", model.step, asynchronous=False)


def check_state(model: Model, state: object) -> None:
    """Refuse a state that cannot be remembered.

    Raises:
        InvalidArgument: it is not hashable.
    """
    try:
        hash(state)
    except TypeError:
        raise InvalidArgument(
            f"a state of the model {model.name} is {shown_object(state)}, of type "
            f"{type(state).__name__}; a state is a value that does not change: a text, a number, "
            "a tuple"
        ) from None


def alike(names: Sequence[Hashable]) -> list[list[int]]:
    """The numbers of equal names, for `Model.groups`; `NOTHING` is no name."""
    found: dict[Hashable, list[int]] = {}
    for number, name in enumerate(names):
        if name is not NOTHING:
            found.setdefault(name, []).append(number)
    return list(found.values())


def items(state: State) -> tuple[Hashable, ...]:
    """The state of a model that keeps a tuple."""
    assert isinstance(state, tuple)
    return state


def check_answer(operation: Operation) -> None:
    """Whether it did what it says; it may as well say nothing."""
    if operation.result is not None and not isinstance(operation.result, Flag):
        raise MalformedHistory(
            f"{operation.op} answered {shown(operation.result)}; expected true or false",
            line=operation.line,
        )
