"""Handlers: annotations are held against what strangers send, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest

from sdkit.errors import InvalidArgument
from sdkit.rpc.handlers import Method


def plain(_c: object, a: int, b: str = "") -> None: ...
def many(_c: object, *keys: bytes) -> None: ...
def rich(
    _c: object,
    a: int | None,
    b: list[bytes],
    c: dict[str, int],
    d: float,
    e: Literal["x", "y"],
    f: Any,
) -> None: ...


GOOD: list[tuple[Callable[..., object], list[object]]] = [
    (plain, [1]),
    (plain, [1, "b"]),
    (many, []),
    (many, [b"a", b"b"]),
    (rich, [None, [], {}, 1, "x", object()]),
    (rich, [7, [b"k"], {"a": 1}, 1.5, "y", None]),
]
BAD: list[tuple[Callable[..., object], list[object], str]] = [
    (plain, [], r"takes 1 to 2 arguments, 0 were given"),
    (plain, [1, "b", 3], r"takes 1 to 2 arguments, 3 were given"),
    (plain, ["1"], r"takes int as a, not str"),
    (plain, [True], r"takes int as a, not bool"),
    (plain, [1, b"b"], r"takes str as b, not bytes"),
    (many, [b"a", "b"], r"takes bytes as keys, not str"),
    (rich, [1.0, [], {}, 1, "x", 0], r"as a, not float"),
    (rich, [1, ["k"], {}, 1, "x", 0], r"takes list\[bytes\] as b, not list of these"),
    (rich, [1, [], {"a": "b"}, 1, "x", 0], r"takes dict\[str, int\] as c, not dict of these"),
    (rich, [1, [], {1: 1}, 1, "x", 0], r"as c"),
    (rich, [1, [], {}, "1", "x", 0], r"takes float as d, not str"),
    (rich, [1, [], {}, 1, "z", 0], r"as e"),
]


@pytest.mark.parametrize(("function", "arguments"), GOOD)
def test_arguments_that_fit_pass(function: Callable[..., object], arguments: list[object]) -> None:
    Method("m", function).check(arguments)


@pytest.mark.parametrize(("function", "arguments", "text"), BAD)
def test_arguments_that_do_not_fit_are_named(
    function: Callable[..., object], arguments: list[object], text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        Method("m", function).check(arguments)


def test_what_cannot_be_a_handler_is_refused_when_the_table_is_made() -> None:
    def nothing() -> None: ...
    def by_keyword(_c: object, *, a: int) -> None: ...
    def takes_a_set(_c: object, a: set[int]) -> None: ...

    for function, text in (
        (nothing, "must take the connection"),
        (by_keyword, "a can be given by keyword only"),
        (takes_a_set, r"a is annotated set\[int\], which cannot travel"),
    ):
        with pytest.raises(InvalidArgument, match=text):
            Method("m", function)
