"""Handlers: which function serves which method, and what it may be given.

A handler is an ordinary function whose first parameter is the connection. Its
annotations are its contract with strangers:

    def put(connection: Connection, key: bytes, value: bytes) -> None: ...

    {"put": put}    "put" called with ("k", 7)  ->  InvalidArgument:
                    put() takes bytes as key, not str

They are read once, when the table is made, and turned into one small test per
parameter, so that a call pays one comparison for each argument and a handler
never sees a value of another type than it says.

What a handler may return
    a value                 the answer, at once: no task is made, which makes
                            this twice as fast as the next but one
    an asyncio future       the answer is its result; if nobody waits for it any
                            more it is cancelled, unless wrapped in `Detached`
    a coroutine             (``async def``) run in a task of its own, and
                            cancelled when nobody waits for it any more
    an async iterator       a stream (``async def`` with ``yield``)

What can travel: None, bool, int, float, str, bytes, list, dict, unions of
these, ``Literal``; ``object`` stands for any of them. An int is taken where a
float is asked for, a bool where an int is asked for is refused.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, get_args, get_origin

from sdkit.arguments import check_function, shown
from sdkit.errors import InvalidArgument

Handler = Callable[..., object]
Test = Callable[[object], bool]

_EXACT: Final[dict[object, frozenset[type]]] = {
    None: frozenset([type(None)]),
    type(None): frozenset([type(None)]),
    bool: frozenset([bool]),
    int: frozenset([int]),
    float: frozenset([float, int]),
    str: frozenset([str]),
    bytes: frozenset([bytes]),
    list: frozenset([list]),
    dict: frozenset([dict]),
}


class Detached:
    """What a handler returns to say: the answer is this future's, and it goes on in any case.

    For work that must not stop half-way because its caller left, such as a
    commit whose record is already in the log.
    """

    __slots__ = ("future",)

    def __init__(self, future: Awaitable[object]) -> None:
        self.future = future


@dataclass(slots=True)
class Parameter:
    """One argument of a method. ``test`` is None where anything will do."""

    name: str
    annotation: object
    test: Test | None


class Method:
    """A handler, with the tests made from its annotations.

    Raises:
        InvalidArgument: the function cannot be a handler; the message says why.
    """

    def __init__(self, name: str, function: Handler) -> None:
        self.name: Final = name
        self.function: Final = function
        # Calling it runs nothing yet: that takes a task, and its first step.
        self.begins_later: Final = inspect.iscoroutinefunction(
            function
        ) or inspect.isasyncgenfunction(function)
        self._parameters: list[Parameter] = []
        self._rest: Parameter | None = None
        self._usual: list[object] = []  # annotations: equal to the types given, or not usual
        self._required = 0
        check_function(f"handler {name}", function)
        try:
            signature = inspect.signature(function, eval_str=True)
        except Exception as error:  # a name in an annotation may be anybody's
            raise InvalidArgument(
                f"handler {name}: its parameters cannot be read: {error}; a handler is a function "
                "whose annotations can be evaluated where it was made"
            ) from error
        parameters = list(signature.parameters.values())
        if not parameters or parameters[0].kind not in _POSITIONAL:
            raise InvalidArgument(f"handler {name} must take the connection as its first parameter")
        for parameter in parameters[1:]:
            self._add(parameter)

    def check(self, arguments: list[object]) -> None:
        """Refuse arguments that the handler does not take.

        Raises:
            InvalidArgument: naming the parameter, its type, and what came instead.
        """
        # The usual case, in one comparison: two thirds of what the tests below would cost.
        if list(map(type, arguments)) == self._usual:
            return
        count = len(arguments)
        if count != len(self._parameters) or self._rest is not None:
            self._check_count(count)
        for parameter, value in zip(self._parameters, arguments, strict=False):
            if parameter.test is not None and not parameter.test(value):
                raise self._wrong(parameter, value)
        if self._rest is not None and self._rest.test is not None:
            for value in arguments[len(self._parameters) :]:
                if not self._rest.test(value):
                    raise self._wrong(self._rest, value)

    def _add(self, parameter: inspect.Parameter) -> None:
        annotation = parameter.annotation
        known = object if annotation is inspect.Parameter.empty else annotation
        made = Parameter(parameter.name, known, self._test(parameter.name, known))
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            self._rest = made
        elif parameter.kind in _POSITIONAL:
            self._parameters.append(made)
            self._usual.append(known)
            self._required += parameter.default is inspect.Parameter.empty
        elif parameter.default is inspect.Parameter.empty:
            raise InvalidArgument(
                f"handler {self.name}: {parameter.name} can be given by keyword only; "
                "arguments travel by position"
            )

    def _test(self, name: str, annotation: object) -> Test | None:
        try:
            return _test_for(annotation)
        except (LookupError, TypeError):  # TypeError: an annotation that cannot be hashed
            raise InvalidArgument(
                f"handler {self.name}: {name} is annotated {_show(annotation)}, which cannot travel"
            ) from None

    def _check_count(self, count: int) -> None:
        most = len(self._parameters)
        if count < self._required or (count > most and self._rest is None):
            takes = str(most) if self._required == most else f"{self._required} to {most}"
            if self._rest is not None:
                takes = f"at least {self._required}"
            raise InvalidArgument(f"{self.name}() takes {takes} arguments, {count} were given")

    def _wrong(self, parameter: Parameter, value: object) -> InvalidArgument:
        wanted, given = _show(parameter.annotation), type(value).__name__
        where = " of these elements" if isinstance(value, list | dict) else ""
        return InvalidArgument(
            f"{self.name}() takes {wanted} as {parameter.name}, not {given}{where}",
            method=self.name,
            parameter=parameter.name,
        )


def table(handlers: Mapping[str, Handler]) -> dict[str, Method]:
    """Read every handler's annotations, once.

    Raises:
        InvalidArgument: one of them cannot be a handler; it is named.
    """
    if not isinstance(handlers, Mapping):
        raise InvalidArgument(
            f"handlers is {shown(handlers)}; it must be a dict of functions by the methods' names"
        )
    for name in handlers:
        if not isinstance(name, str):
            raise InvalidArgument(f"handlers holds {shown(name)}; a method's name must be text")
    return {name: Method(name, function) for name, function in handlers.items()}


_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _test_for(annotation: object) -> Test | None:
    """A test for one annotation; None if every value passes.

    Raises:
        LookupError: no value of this type can travel.
    """
    if annotation is object or annotation is Any:
        return None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _one_of([_test_for(each) for each in arguments])
    if origin is Literal:
        return lambda value: any(type(value) is type(one) and value == one for one in arguments)
    if origin is list:
        return _list_of(_test_for(arguments[0]))
    if origin is dict:
        return _dict_of(_test_for(arguments[0]), _test_for(arguments[1]))
    exact = _EXACT[annotation]
    return lambda value: type(value) in exact


def _one_of(tests: list[Test | None]) -> Test | None:
    real = [test for test in tests if test is not None]
    if len(real) < len(tests):
        return None
    return lambda value: any(test(value) for test in real)


def _list_of(test: Test | None) -> Test:
    if test is None:
        return lambda value: type(value) is list
    return lambda value: type(value) is list and all(map(test, value))


def _dict_of(key: Test | None, element: Test | None) -> Test:
    def passes(value: object) -> bool:
        if type(value) is not dict:
            return False
        keys_pass = key is None or all(map(key, value))
        return keys_pass and (element is None or all(map(element, value.values())))

    return passes


def _show(annotation: object) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)
