"""Handle: the user's reference to a transaction, with the public calls alone.

`sdkit.store.statements` does the work, on an object that the store keeps while the
transaction is open. The user gets a handle to it instead, for two reasons:

    * The handle has only what `interface.Transaction` promises. Write sets, locks
      and states are private, so a user does not go past the locks by mistake.
    * If the user drops the handle, nothing else can end the transaction. So the handle
      tells the store when it is freed. It warns (`ResourceWarning`), and the store ends
      the transaction at once. Its locks do not stay until the idle time-out.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncGenerator
from types import CoroutineType, TracebackType
from typing import Self

from sdkit.errors import InvalidState
from sdkit.store.interface import Isolation
from sdkit.store.statements import WORK_PER_TURN, WRITES_PER_TURN, OpenTransaction
from sdkit.store.transaction import State


class EngineTransaction:
    """A transaction of a `StoreEngine`. Contracts: `sdkit.store.interface.Transaction`."""

    __slots__ = ("__weakref__", "_open")

    def __init__(self, transaction: OpenTransaction) -> None:
        self._open = transaction

    def __repr__(self) -> str:
        it = self._open
        only = ", read-only" if it.read_only else ""
        return f"<transaction {it.id}, {it.isolation}{only}, {it.state.value}>"

    @property
    def id(self) -> int:
        """See `interface.Transaction.id`."""
        return self._open.id

    @property
    def isolation(self) -> Isolation:
        """Its level of isolation."""
        return self._open.isolation

    @property
    def read_only(self) -> bool:
        """Whether it was begun read-only."""
        return self._open.read_only

    async def get(self, key: bytes) -> bytes | None:
        transaction = self._open
        value = transaction.get_now(key)
        if isinstance(value, CoroutineType):
            value = await value
        engine = transaction.engine
        engine.work_this_turn += 1
        if engine.work_this_turn >= WORK_PER_TURN:
            await transaction.give_turn()
        return value

    async def get_for_update(self, key: bytes) -> bytes | None:
        value = self._open.get_for_update_now(key)
        return await value if isinstance(value, CoroutineType) else value

    async def put(self, key: bytes, value: bytes) -> None:
        transaction = self._open
        rest = transaction.put_now(key, value)
        if rest is not None:
            await rest
        elif len(transaction.writes) % WRITES_PER_TURN == 0:
            await asyncio.sleep(0)

    async def delete(self, key: bytes) -> None:
        rest = self._open.delete_now(key)
        if rest is not None:
            await rest

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        pieces = self._open.pieces(start, end, prefix, reverse, limit)
        try:
            async for rows in pieces:
                for row in rows:
                    yield row
        finally:
            await pieces.aclose()

    def savepoint(self) -> EngineSavepoint:
        return EngineSavepoint(self, self._open)

    async def commit(self) -> int:
        return await self._open.commit()

    async def rollback(self) -> None:
        self._open.rollback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        transaction = self._open
        if kind is None:
            if transaction.state not in (State.COMMITTED, State.ROLLED_BACK):
                await transaction.commit()
        elif transaction.state is State.ACTIVE:
            transaction.rollback()
        elif transaction.state is State.WAITING:  # another task is in the middle of a statement
            why = f"the block of transaction {transaction.id} has ended with an exception"
            transaction.engine.abandon(transaction, InvalidState(why))

    def __del__(self) -> None:
        transaction = self._open
        if transaction.state is State.ACTIVE:
            transaction.engine.dropped(transaction)
            warnings.warn(
                f"transaction {transaction.id} was dropped while it was open, and is rolled back; "
                "commit it, roll it back, or use `async with`",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


class EngineSavepoint:
    """The block of `Transaction.savepoint`."""

    def __init__(self, handle: EngineTransaction, transaction: OpenTransaction) -> None:
        self._handle = handle  # so that it is not freed within the block
        self._transaction = transaction
        self._depth = 0  # before it is entered

    async def __aenter__(self) -> None:
        transaction = self._transaction
        if self._depth:
            raise InvalidState("a savepoint is entered twice; make another one")
        transaction.check_usable()
        self._depth = transaction.open_savepoint()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        transaction = self._transaction
        if transaction.state is not State.ACTIVE:
            return  # it has ended within the block, and its caller knows how
        if kind is None:
            transaction.database.keep_savepoint(transaction, self._depth)
        else:
            transaction.database.undo_savepoint(transaction, self._depth)
