"""Server: the engine on the network, one method per statement.

    async with StoreServer(host, StoreServerConfig(port=7000)) as server:
        print("listening on", *server.address)

The server adds to `sdkit.store.engine` what a network makes necessary, and no
more: it knows whose transaction is whose, and what happens to the transactions
of a client that goes away.

    method            arguments                                         answer
    begin             number, isolation, read_only                      the transaction's id
    get               number, key                                       value or nil
    get_for_update    number, key                                       value or nil
    put               number, key, value                                nil
    delete            number, key                                       nil
    scan (a stream)   number, start, end, prefix, reverse, limit        [[key, value], ...] an item
    savepoint         number                                            its depth
    keep_savepoint    number, depth                                     nil
    undo_savepoint    number, depth                                     nil
    commit            number                                            position in the log
    rollback          number                                            nil
    versions          key                                               a list of `VersionInfo`
    transactions      -                                                 a list of `TransactionInfo`

Things to notice
    * A transaction is named by a number that its *client* chooses, and that means
      something on its own connection only. So "begin" and the first statement can
      leave together, without waiting for an id; and nobody can touch the
      transaction of another connection, whatever number is tried.
    * When a connection ends, its open transactions are aborted and their locks
      go to the next in line, at once. A transaction that is committing is beyond
      that: its record is in the log, so it completes (`StoreServer._abandon`).
    * What need not wait is answered without a task (`sdkit.rpc.handlers`): `get`
      nearly always, and a write whose lock is free. Only what has to wait for a
      lock or for the disk is handed over as a coroutine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from sdkit.errors import Closed, InvalidArgument, InvalidState, Overloaded
from sdkit.host import Host, check_host
from sdkit.rpc import Connection, Handler, Server, ServerConfig
from sdkit.store.config import StoreConfig, check_config
from sdkit.store.engine import StoreEngine
from sdkit.store.isolation import level_of
from sdkit.store.report import MEANINGS
from sdkit.store.statements import Answer, OpenTransaction, rest
from sdkit.store.transaction import State

T = TypeVar("T")

SCAN_ITEM_BYTES: Final = 32 * 1024  # of keys and values in one item of a scan's stream
FRAME_OVERHEAD_BYTES: Final = 4096  # what a frame needs besides one key and one value


@dataclass(frozen=True, kw_only=True)
class StoreServerConfig(ServerConfig, StoreConfig):
    """The settings of a store (`StoreConfig`) and of its server (`ServerConfig`) together.

    Raises:
        InvalidArgument: a value is out of range, or the largest key and value do
            not fit into one frame.
    """

    def __post_init__(self) -> None:
        ServerConfig.__post_init__(self)
        StoreConfig.__post_init__(self)
        needed = self.key_bytes_max + self.value_bytes_max + FRAME_OVERHEAD_BYTES
        if self.frame_bytes_max < needed:
            raise InvalidArgument(
                f"frame_bytes_max is {self.frame_bytes_max}; the largest key and value "
                f"(key_bytes_max, value_bytes_max) need {needed}"
            )


class StoreServer(Server):
    """Serves a store over TCP while its ``async with`` block runs.

    Args:
        host: the machine; the data is in the directory ``store`` of its disk.
        config: settings of the store and of the server.
        engine: the store to serve; one with ``config`` unless a test passes its own.

    Raises (on entering): what `StoreEngine` and `Server` do.
    """

    engine_type: type[StoreEngine] = StoreEngine  # a variant names its own
    meanings: Mapping[str, str] = {**Server.meanings, **MEANINGS}

    def __init__(
        self,
        host: Host,
        config: StoreServerConfig | None = None,
        *,
        engine: StoreEngine | None = None,
    ) -> None:
        check_host(host)
        check_config(config, StoreServerConfig)
        config = config or StoreServerConfig()
        super().__init__(config=config, host=host)
        self.engine: Final = engine or self.engine_type(host, config)
        self._transactions_max = config.transactions_max
        # Of each connection: its own numbers to the engine's transactions.
        self._transactions: Final[dict[int, dict[int, OpenTransaction]]] = {}

    def handlers(self) -> Mapping[str, Handler]:
        """The table above."""
        return {
            "begin": self._begin,
            "get": self._get,
            "get_for_update": self._get_for_update,
            "put": self._put,
            "delete": self._delete,
            "scan": self._scan,
            "savepoint": self._savepoint,
            "keep_savepoint": self._keep_savepoint,
            "undo_savepoint": self._undo_savepoint,
            "commit": self._commit,
            "rollback": self._rollback,
            "versions": self._versions,
            "transactions": self._list_transactions,
        }

    async def starting(self) -> None:
        """Recover the store."""
        await self.engine.__aenter__()

    async def stopping(self) -> None:
        """Abort what is open, make everything durable, and close the log."""
        await self.engine.close()

    def gauges(self) -> Mapping[str, float]:
        """What ``docs/store.md`` lists."""
        return self.engine.gauges()

    def repairs(self) -> list[str]:
        """What recovery left behind: a torn tail, files it could not read and did not need."""
        recovered = self.engine.journal.recovered
        said = [f"damaged and not needed: {name}" for name in recovered.damaged]
        if recovered.cut is not None:
            said.append(str(recovered.cut))
        return said

    # ------------------------------------------------------------- whose transaction is whose

    def _begin(self, connection: Connection, number: int, isolation: str, read_only: bool) -> int:
        mine = self._transactions.get(connection.id)
        if mine is None:
            mine = self._transactions[connection.id] = {}
            connection.on_close(lambda: self._abandon(connection))
        if number in mine:
            raise InvalidState(f"transaction number {number} is open on this connection already")
        if len(mine) >= self._transactions_max:
            raise Overloaded(
                f"this connection has {len(mine)} transactions; transactions_max is "
                f"{self._transactions_max}",
                limit=self._transactions_max,
            )
        transaction = self.engine.open_transaction(level_of(isolation), read_only)
        mine[number] = transaction
        return transaction.id

    def _find(self, connection: Connection, number: int) -> OpenTransaction:
        try:
            return self._transactions[connection.id][number]
        except KeyError:
            raise InvalidState(
                f"there is no open transaction number {number} on this connection", number=number
            ) from None

    def _forget(self, connection: Connection, number: int) -> None:
        mine = self._transactions.get(connection.id)
        if mine is not None:
            mine.pop(number, None)

    def _abandon(self, connection: Connection) -> None:
        """The client has gone: so has what it had open. What is committing completes."""
        gone = Closed("the client has gone; nothing of the transaction happened")
        for transaction in self._transactions.pop(connection.id, {}).values():
            if transaction.state in (State.ACTIVE, State.WAITING):
                self.engine.database.abort(transaction, gone)

    # ------------------------------------------------------------- statements

    def _get(self, connection: Connection, number: int, key: bytes) -> Answer[bytes | None]:
        transaction = self._find(connection, number)
        return self._make(transaction, lambda: transaction.get_now(key))

    def _get_for_update(
        self, connection: Connection, number: int, key: bytes
    ) -> Answer[bytes | None]:
        transaction = self._find(connection, number)
        return self._make(transaction, lambda: transaction.get_for_update_now(key))

    def _put(self, connection: Connection, number: int, key: bytes, value: bytes) -> Answer[None]:
        transaction = self._find(connection, number)
        return self._make(transaction, lambda: transaction.put_now(key, value))

    def _delete(self, connection: Connection, number: int, key: bytes) -> Answer[None]:
        transaction = self._find(connection, number)
        return self._make(transaction, lambda: transaction.delete_now(key))

    def _make(self, transaction: OpenTransaction, statement: Callable[[], Answer[T]]) -> Answer[T]:
        """Make a statement, after the one before it if that was cancelled just now."""
        if transaction.state is State.WAITING:
            return rest(transaction.after_cancelled(statement))
        return statement()

    async def _scan(
        self,
        connection: Connection,
        number: int,
        start: bytes,
        end: bytes | None,
        prefix: bytes | None,
        reverse: bool,
        limit: int | None,
    ) -> AsyncIterator[list[tuple[bytes, bytes]]]:
        rows: list[tuple[bytes, bytes]] = []
        size = 0
        transaction = self._find(connection, number)
        pieces = transaction.pieces(start, end, prefix, reverse, limit)
        try:
            async for piece in pieces:
                for key, value in piece:
                    rows.append((key, value))
                    size += len(key) + len(value)
                    if size >= SCAN_ITEM_BYTES:
                        yield rows
                        rows, size = [], 0
            if rows:
                yield rows
        finally:
            await pieces.aclose()

    def _savepoint(self, connection: Connection, number: int) -> int:
        transaction = self._find(connection, number)
        transaction.check_usable()
        return transaction.open_savepoint()

    def _keep_savepoint(self, connection: Connection, number: int, depth: int) -> None:
        transaction = self._find(connection, number)
        transaction.check_usable()
        _check_depth(depth)
        self.engine.database.keep_savepoint(transaction, depth)

    def _undo_savepoint(self, connection: Connection, number: int, depth: int) -> None:
        transaction = self._find(connection, number)
        transaction.check_usable()
        _check_depth(depth)
        self.engine.database.undo_savepoint(transaction, depth)

    # ------------------------------------------------------------- the end of a transaction

    async def _commit(self, connection: Connection, number: int) -> int:
        transaction = self._find(connection, number)
        try:
            return await transaction.after_cancelled(lambda: rest(transaction.commit()))
        finally:
            if transaction.state not in (State.ACTIVE, State.WAITING):  # else it was refused
                self._forget(connection, number)

    def _rollback(self, connection: Connection, number: int) -> None:
        transaction = self._find(connection, number)
        self._forget(connection, number)
        if transaction.state is State.WAITING:  # a statement that its client has given up
            self.engine.database.abort(transaction, Closed("the client rolled it back"))
        else:
            self.engine.database.rollback(transaction)

    # ------------------------------------------------------------- looking in

    async def _versions(self, _connection: Connection, key: bytes) -> list[object]:
        return [
            [version.position, version.value, version.transaction]
            for version in await self.engine.versions(key)
        ]

    async def _list_transactions(self, _connection: Connection) -> list[object]:
        return [
            [
                each.id,
                each.isolation.value,
                each.read_only,
                each.state,
                each.snapshot,
                each.age_s,
                each.locks,
                each.waits_for_key,
                each.waits_for,
                each.reads,
            ]
            for each in await self.engine.transactions()
        ]


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise InvalidArgument(f"depth is {depth}; the outermost savepoint has depth 1")
