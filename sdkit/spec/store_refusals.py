"""Specification: an embedded and a served store refuse the same calls, with the same codes.

A program moves from one to the other by a change of one line. So this specification
calls every public method on both stores, with the same arguments, of any type. Both
must give the same answer, or raise errors with the same code. Each error must be one of
the kit's, with a code: a raw ``TypeError`` means that an argument was not checked.

    alike     same answer, or same code
    by name   every refusal has a code

It does not know which of the two stores is wrong.
"""

from __future__ import annotations

import math
import unittest
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import SdkitError
from sdkit.sim.loop import run
from sdkit.spec.store_oracle import Breach
from sdkit.store.interface import Isolation, Store, Transaction

MakeBoth: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Store, Store]]]


class Bytes(bytes):
    """A kind of bytes."""


class Text(str):
    """A kind of text."""

    __slots__ = ()


class Number(IntEnum):
    """A kind of number."""

    ONE = 1


anything = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 7, 2**63 - 1, 2**63, 2**70, -(2**70), 1.0, 0.5, -0.0),
        *(math.nan, math.inf, "", "k", "1", "größe", "\ud800", "k" * 5000, b"", b"k", b"\xff"),
        *(b"k" * 1024, b"k" * 1025, b"k" * 1026, b"k" * 2_000_000, bytearray(b"k")),
        *(memoryview(b"k"), Bytes(b"k"), Text("k"), Number.ONE, [], [b"k"], (), (b"k",), {}),
        *(
            {b"k": 1},
            {(1, 2): 3},
            set(),
            object(),
            object,
            len,
            lambda _: None,
            NotImplemented,
            ...,
        ),
        *(Decimal(1), 1j, Isolation.SERIALIZABLE, "serializable", "Serializable", ValueError("k")),
    ]
)
keys = st.just(b"k") | anything
flags = st.booleans() | anything
levels = st.sampled_from([*Isolation, *map(str, Isolation)]) | anything
bounds = st.sampled_from([b"", b"a", None]) | anything
situations = st.sampled_from(["new", "in the middle", "read-only", "commit", "rollback"])
Outcome: TypeAlias = tuple[str, object]


async def outcome(call: Callable[[], Awaitable[object]]) -> Outcome:
    """Await a call. Returns its answer, or the code of its error."""
    try:
        return "answered", await call()
    except SdkitError as error:
        return "refused", error.code
    except Exception as error:
        return "raw", type(error).__name__


def statements(
    situation: str, method: str, *arguments: object, **named: object
) -> Callable[[Store], Awaitable[list[Outcome]]]:
    """Call one method of a transaction in a situation; look whether the transaction goes on."""

    async def call(transaction: Transaction) -> object:
        made = getattr(transaction, method)(*arguments, **named)
        return [row async for row in made] if method == "scan" else await made

    async def both(store: Store) -> list[Outcome]:
        transaction = store.begin(read_only=situation == "read-only")
        if situation == "in the middle":
            await transaction.put(b"k", b"v")
        elif situation in ("commit", "rollback"):
            await getattr(transaction, situation)()
        made = await outcome(lambda: call(transaction))
        after = await outcome(lambda: transaction.get(b"a"))
        return [made, after, await outcome(transaction.rollback)]

    return both


def same_refusals(make: MakeBoth) -> type[unittest.TestCase]:
    """Build the test case.

    Args:
        make: opens two empty stores, one embedded and one over a network.
    """

    def check(calls: Callable[[Store], Awaitable[list[Outcome]]]) -> None:
        async def main() -> None:
            async with make() as (one, other):
                embedded, served = await calls(one), await calls(other)
                if any(kind == "raw" for kind, _ in (*embedded, *served)):
                    raise Breach("by name", f"embedded {embedded}, served {served}")
                if embedded != served:
                    raise Breach("alike", f"embedded {embedded}, served {served}")

        run(main())

    class SameRefusals(unittest.TestCase):
        @given(situations, st.sampled_from(["get", "get_for_update", "delete"]), keys)
        def test_a_key_of_any_type(self, situation: str, method: str, key: object) -> None:
            check(statements(situation, method, key))

        @given(situations, keys, keys)
        def test_a_put_of_any_type(self, situation: str, key: object, value: object) -> None:
            check(statements(situation, "put", key, value))

        @given(situations, bounds, bounds, bounds, flags, st.none() | st.integers(0, 3) | anything)
        def test_a_scan_of_anything(
            self, now: str, start: object, end: object, prefix: object, reverse: object, limit: Any
        ) -> None:
            check(statements(now, "scan", start, end, prefix=prefix, reverse=reverse, limit=limit))

        @given(flags, st.none() | st.integers(0, 3) | anything)
        def test_a_scan_with_any_limit(self, reverse: object, limit: object) -> None:
            check(statements("new", "scan", reverse=reverse, limit=limit))

        @given(levels, flags)
        def test_a_beginning_at_any_level(self, isolation: Any, read_only: Any) -> None:
            async def begin(store: Store) -> object:
                async with store.begin(isolation=isolation, read_only=read_only) as transaction:
                    return transaction.isolation, await transaction.get(b"k")

            async def calls(store: Store) -> list[Outcome]:
                return [await outcome(lambda: begin(store))]

            check(calls)

        @given(anything | st.just(_gets), levels, flags, st.integers(1, 3) | anything)
        def test_a_run_of_anything(
            self, function: Any, isolation: Any, read_only: Any, attempts: Any
        ) -> None:
            async def calls(store: Store) -> list[Outcome]:
                arguments = {"isolation": isolation, "read_only": read_only, "attempts": attempts}
                return [await outcome(lambda: store.run(function, **arguments))]

            check(calls)

        @given(keys)
        def test_the_versions_of_anything(self, key: Any) -> None:
            async def calls(store: Store) -> list[Outcome]:
                return [await outcome(lambda: store.versions(key))]

            check(calls)

        def test_calls_after_the_end(self) -> None:
            ends = [("commit", "commit"), ("commit", "rollback"), ("rollback", "rollback")]

            async def calls(store: Store) -> list[Outcome]:
                found: list[Outcome] = []
                for each in ends:
                    transaction = store.begin()
                    await transaction.put(b"k", b"v")
                    calls = [getattr(transaction, method) for method in each]
                    found += [await outcome(call) for call in calls]
                    found.append(await outcome(partial(transaction.get, b"k")))
                return found

            check(calls)

    return SameRefusals


async def _gets(transaction: Transaction) -> object:
    return await transaction.get(b"k")
