"""Engines that are wrong around a database that is right, for what only the shell promises."""

from __future__ import annotations

import asyncio
from types import TracebackType

from sdkit.errors import Closed
from sdkit.store import StoreEngine
from sdkit.store.handle import EngineTransaction
from sdkit.store.interface import Isolation, Level
from sdkit.store.transaction import Transaction


class NamesCommitsByTheirBeginning(StoreEngine):
    """A commit is said to stand where its transaction began, not where its record is."""

    def append(self, transaction: Transaction) -> int:
        super().append(transaction)
        return transaction.id


class GivesUpWithItsCaller(StoreEngine):
    """Whoever stops waiting for a commit takes it along."""

    async def durable(self, position: int) -> None:
        try:
            await super().durable(position)
        except asyncio.CancelledError:
            self.database.lose(position, Closed("its caller has left"))
            raise


class _Commits(EngineTransaction):
    __slots__ = ()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(None, None, None)


class CommitsInSpiteOfAnException(StoreEngine):
    """A block that fails is committed all the same."""

    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> EngineTransaction:
        transaction = super().begin(isolation=isolation, read_only=read_only)
        transaction.__class__ = _Commits
        return transaction
