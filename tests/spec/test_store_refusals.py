"""The served store refuses what the embedded one refuses; and the specification bites."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sdkit.sim.host import SimulatedHost
from sdkit.spec.store_refusals import MakeBoth, same_refusals
from sdkit.store import Store, StoreClient, StoreEngine, StoreServer, StoreServerConfig
from sdkit.store.handle import EngineTransaction
from sdkit.store.interface import Isolation, Level
from sdkit.store.remote import ClientTransaction
from tests.spec.bite import assert_caught, fewer


def pair(
    engine: type[StoreEngine] = StoreEngine, client: type[StoreClient] = StoreClient
) -> MakeBoth:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[Store, Store]]:
        async with (
            engine(SimulatedHost("here")) as embedded,
            StoreServer(SimulatedHost("db"), StoreServerConfig()) as server,
            client(*server.address) as served,
        ):
            yield embedded, served

    return make


TestSameRefusals = fewer(same_refusals(pair()), 150)


class _Counts(EngineTransaction):
    """Takes True for a number of rows."""

    __slots__ = ()

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        whole = int(limit) if isinstance(limit, bool) else limit
        async for row in super().scan(start, end, prefix=prefix, reverse=reverse, limit=whole):
            yield row


class TakesTrueForOne(StoreEngine):
    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> EngineTransaction:
        transaction = super().begin(isolation=isolation, read_only=read_only)
        transaction.__class__ = _Counts
        return transaction


class _Trusts(ClientTransaction):
    """Sends a key without a look at it."""

    async def get(self, key: bytes) -> bytes | None:
        return await self._statement("get", key)  # type: ignore[return-value]


class SendsAnything(StoreClient):
    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> ClientTransaction:
        transaction = super().begin(isolation=isolation, read_only=read_only)
        transaction.__class__ = _Trusts
        return transaction


class TakesAnythingForTrue(StoreEngine):
    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> EngineTransaction:
        return super().begin(isolation=isolation, read_only=bool(read_only))


@pytest.mark.parametrize(
    ("wrong", "by"),
    [
        (pair(engine=TakesTrueForOne), "test_a_scan_with_any_limit"),
        (pair(client=SendsAnything), "test_a_key_of_any_type"),
        (pair(engine=TakesAnythingForTrue), "test_a_beginning_at_any_level"),
    ],
    ids=["TakesTrueForOne", "SendsAnything", "TakesAnythingForTrue"],
)
def test_the_specification_catches_a_store_that(wrong: MakeBoth, by: str) -> None:
    assert_caught(same_refusals(wrong), by)
