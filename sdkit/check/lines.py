"""Lines: histories as text, one JSON object a line, and errors that say which line and why.

Histories come from other people's systems, written by other people's scripts, so
the first thing a checker meets is a file that is not quite what it expects. A
checker that guesses gives a verdict about a history that nobody had. This one
stops, at the first line that is wrong, and says what was expected there.

Values are whatever JSON can hold. Models compare and remember them, so lists
become tuples and objects become `Frozen`; `thawed` is the way back.

Two things to notice
    * In Python ``True == 1`` and ``1 == 1.0``. A store that answers ``true`` where 1
      was written has changed the value, so true and false become `Flag`, which is
      equal to no number. 1 and 1.0 are one number in JSON, and stay equal.
    * NaN is refused: it is not equal to itself, so no read of it could be right.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn, TypeVar

from sdkit.arguments import shown as shown_object
from sdkit.errors import InvalidArgument

T = TypeVar("T")

LINE_CHARACTERS_MAX: Final = 16 * 2**20
DEPTH_MAX: Final = 100  # of a value: each level costs a call wherever it is walked, or compared
LINE_DEPTH_MAX: Final = DEPTH_MAX + 3  # values are in a pair in a list in the object
DIGITS_MAX: Final = 300  # of a whole number: a float still holds it, and Python prints it
WHOLE_BELOW: Final = 10**DIGITS_MAX


class MalformedHistory(InvalidArgument):
    """A history that cannot be checked: the message says which line, and what is wrong with it."""

    code = "malformed_history"

    def __init__(self, problem: str, *, line: int = 0) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem, line=line)


class Flag(Enum):
    """True and false of JSON, equal to no number."""

    TRUE = "true"
    FALSE = "false"

    def __bool__(self) -> bool:
        return self is Flag.TRUE


@dataclass(frozen=True, slots=True)
class Frozen:
    """An object of JSON, its members in the order of their names. Equal to no list of pairs."""

    members: tuple[tuple[str, Hashable], ...]


def frozen(value: object, depth_max: int = DEPTH_MAX) -> Hashable:
    """The value as models keep it: hashable, and equal only to what JSON calls equal.

    Bytes become text, different bytes different text.

    Raises:
        ValueError: it is not made of null, booleans, numbers, texts, lists and objects, or has
            more than ``depth_max`` lists and objects within each other, or a whole number of
            more than `DIGITS_MAX` digits.
    """
    match value:
        case bool():
            return Flag.TRUE if value else Flag.FALSE
        case int() if not -WHOLE_BELOW < value < WHOLE_BELOW:
            raise ValueError(f"{shown_object(value)}; it may have {DIGITS_MAX} digits")
        case None | int() | str() | Flag():
            return value
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                raise ValueError(f"{value} is no number of JSON")
            return value
        case Frozen():
            return value
        case list() | tuple() | dict() if depth_max <= 0:
            raise ValueError(f"lists within lists, more than {DEPTH_MAX} deep; make them flatter")
        case list() | tuple():
            return tuple(frozen(item, depth_max - 1) for item in value)
        case dict():
            items = {str(name): frozen(item, depth_max - 1) for name, item in value.items()}
            if len(items) < len(value):
                raise ValueError(f"{shown_object(value)} has names that are alike as text")
            return Frozen(tuple((name, items[name]) for name in sorted(items)))
        case _:
            kind = type(value).__name__
            raise ValueError(f"{shown_object(value)} is of type {kind}, which JSON does not know")


def thawed(value: Hashable) -> object:
    """The value as `json.dumps` takes it."""
    match value:
        case Flag():
            return bool(value)
        case Frozen():
            return {name: thawed(item) for name, item in value.members}
        case tuple():
            return [thawed(item) for item in value]
        case _:
            return value


def shown(value: Hashable) -> str:
    """The value as people read it: JSON."""
    return printable(json.dumps(thawed(value), ensure_ascii=False))


def printable(text: str) -> str:
    """The text with escapes for what UTF-8 does not know, and for what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() or it == "\n" else ascii(it)[1:-1] for it in text)


def named(label: int | str) -> str:
    """A process or a transaction as people read it, on one line."""
    return printable(str(label)).replace("\n", "\\n")


def kept(value: object, name: str, line: int = 0) -> Hashable:
    """The value of the field ``name`` as models keep it.

    Raises:
        MalformedHistory: `frozen` refuses it.
    """
    try:
        return frozen(value)
    except ValueError as error:
        raise MalformedHistory(f"{name}: {error}", line=line) from None


def each_of(kind: type[T], name: str, values: object) -> list[T]:
    """The values of an iterable, each of them of one kind.

    Raises:
        InvalidArgument: it is none, or one of them is of another kind.
    """
    if not isinstance(values, Iterable):
        raise InvalidArgument(
            f"{name} is {shown_object(values)}; it must be an iterable of {kind.__name__}"
        )
    found = list(values)
    for each in found:
        if not isinstance(each, kind):
            raise InvalidArgument(
                f"{shown_object(each)} in {name}; each must be of type {kind.__name__}"
            )
    return found


def objects(lines: Iterable[str | bytes]) -> Iterator[tuple[int, dict[str, object]]]:
    """Each line's number, from 1, and its object. Empty lines are skipped.

    Raises:
        MalformedHistory: a line is not one JSON object.
        InvalidArgument: ``lines`` are no lines, but one text, or nothing of the kind.
    """
    if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
        raise InvalidArgument(
            f"lines is {shown_object(lines)}; give an open file, or text.splitlines()"
        )
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, str | bytes):
            raise MalformedHistory(f"{shown_object(line)} is no text", line=number)
        if len(line) > LINE_CHARACTERS_MAX:
            raise MalformedHistory(f"longer than {LINE_CHARACTERS_MAX} characters", line=number)
        try:
            text = line.decode() if isinstance(line, bytes) else line
            if not text.strip():
                continue
            found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
        except UnicodeDecodeError as error:
            raise MalformedHistory(f"not UTF-8 text: {error}", line=number) from None
        except RecursionError:
            raise MalformedHistory(
                f"lists within lists, too deep to read; at most {DEPTH_MAX}", line=number
            ) from None
        except json.JSONDecodeError as error:
            # Its own words count lines as well, and a line's end begins a second one.
            why = f"{error.msg} at character {error.pos + 1}"
            raise MalformedHistory(f"not JSON: {why}", line=number) from None
        except MalformedHistory as error:
            raise MalformedHistory(error.message, line=number) from None
        except ValueError as error:
            raise MalformedHistory(f"not JSON: {error}", line=number) from None
        if not isinstance(found, dict):
            raise MalformedHistory("expected one JSON object, {...}", line=number)
        if text.count("[") + text.count("{") > LINE_DEPTH_MAX:  # else it cannot be too deep
            try:
                frozen(found, LINE_DEPTH_MAX)
            except ValueError as error:
                raise MalformedHistory(str(error), line=number) from None
        yield number, found


def dumped(fields: dict[str, object], also: dict[str, object] | None = None) -> str:
    """One line, without its end: of ``fields`` those that are not None, and all of ``also``."""
    found = {name: value for name, value in fields.items() if value is not None}
    return json.dumps({**found, **(also or {})})


def only_known(fields: dict[str, object], known: Sequence[str], line: int) -> None:
    """Refuse a field that nobody would read: misspelt, it would be a claim that is not checked."""
    for name in fields:
        if name not in known:
            from difflib import get_close_matches  # nobody loads it for a file that is right

            near = [each for each in known if name and each.startswith(name)]
            near = near or get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise MalformedHistory(f"no field is called {name!r}; {hint}", line=line)


def whole(fields: dict[str, object], name: str, line: int) -> int | None:
    """The whole number under ``name``; None if there is none."""
    value = fields.get(name)
    check_whole(value, name, line)
    return value  # type: ignore[return-value]  # just checked


def check_whole(value: object, name: str, line: int = 0) -> None:
    """Refuse what is neither None nor a whole number of at most `DIGITS_MAX` digits."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        problem = f"{name} is {shown_object(value)}; it must be a whole number"
        raise MalformedHistory(problem, line=line)
    if not -WHOLE_BELOW < value < WHOLE_BELOW:
        problem = f"{name} is {shown_object(value)}; it may have {DIGITS_MAX} digits"
        raise MalformedHistory(problem, line=line)


def one_of(fields: dict[str, object], name: str, allowed: tuple[str, ...], line: int) -> str:
    """The text under ``name``, which must be one of ``allowed``."""
    value = fields.get(name)
    if value not in allowed:
        what = f"{name} is {value!r}" if name in fields else f"{name} is missing"
        raise MalformedHistory(f"{what}; it must be one of {', '.join(allowed)}", line=line)
    return str(value)


def label(fields: dict[str, object], name: str, line: int) -> int | str:
    """The number or text under ``name`` that identifies somebody."""
    if name not in fields:
        raise MalformedHistory(f"{name} is missing; it must be a number or a text", line=line)
    check_label(fields[name], name, line)
    return fields[name]  # type: ignore[return-value]  # just checked


def check_label(value: object, name: str, line: int = 0) -> None:
    """Refuse what is neither a whole number nor a text."""
    if isinstance(value, int) and not isinstance(value, bool):
        check_whole(value, name, line)
    elif not isinstance(value, str):
        problem = f"{name} is {shown_object(value)}; it must be a number or a text"
        raise MalformedHistory(problem, line=line)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of which each name is there once: JSON takes the last, and forgets the others."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise MalformedHistory(f"the name {shown(twice)} is there twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
