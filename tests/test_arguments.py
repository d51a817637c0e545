"""Arguments: the same mistake gets the same answer, wherever it is made."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from unittest.mock import AsyncMock, MagicMock

import pytest

from sdkit.arguments import check_between, check_function, check_one_of, is_async, shown
from sdkit.errors import InvalidArgument


@pytest.mark.parametrize(
    "value",
    [True, "3", b"3", None, math.nan, math.inf, -math.inf, 10**400, -1.0, [1], timedelta(1)]
    + [Decimal(3), 3j, "3" * 10**6, 10**6000],
    ids=shown,
)
def test_what_is_no_finite_number_in_range_is_refused_by_name(value: float) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_between("timeout_s", value, 0.0, 1e6)
    assert "timeout_s is " in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 3, 1e6])
def test_numbers_in_range_pass(value: float) -> None:
    check_between("timeout_s", value, 0.0, 1e6)


def test_a_count_is_whole() -> None:
    check_between("clients", 3, 1, 10)
    with pytest.raises(InvalidArgument, match="whole"):
        check_between("clients", 3.0, 1, 10)


@pytest.mark.parametrize("value", ["never", "", None, ["sync"], 1])
def test_a_word_is_one_of_the_words(value: object) -> None:
    check_one_of("durability", "sync", ("sync", "none"))
    with pytest.raises(InvalidArgument, match="one of sync, none"):
        check_one_of("durability", value, ("sync", "none"))


async def asynchronous() -> None:
    """An ``async def``."""


def plain() -> None:
    """A plain function."""


class CallableAsync:
    async def __call__(self) -> None:
        """Called, it gives something to be awaited."""

    async def method(self) -> None:
        """A bound method."""


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (asynchronous, True),
        (functools.partial(functools.partial(asynchronous)), True),
        (CallableAsync(), True),
        (CallableAsync().method, True),
        (AsyncMock(), True),
        (functools.partial(AsyncMock()), True),
        (plain, False),
        (MagicMock(), False),
        (CallableAsync, False),
        (print, False),
        (lambda: asynchronous(), False),
    ],
)
def test_one_question_tells_async_from_plain(function: Callable[..., object], answer: bool) -> None:
    assert is_async(function) == answer
    check_function("judge", function)
    check_function("judge", function, asynchronous=answer)
    with pytest.raises(InvalidArgument, match=r"judge is .*; it must be"):
        check_function("judge", function, asynchronous=not answer)


def test_a_coroutine_in_place_of_its_function_is_refused_and_never_complains() -> None:
    with pytest.raises(InvalidArgument, match="without calling it"):
        check_function("judge", asynchronous())


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError


def test_what_a_message_repeats_is_short_and_never_fails() -> None:
    assert shown("abc") == "'abc'"
    assert len(shown("x" * 10**6)) < 100
    assert len(shown(list(range(10**4)))) < 100
    assert "bits" in shown(10**6000)
    assert "Hostile" in shown(Hostile())
