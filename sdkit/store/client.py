"""Client: a store behind a socket, with the interface of one in your own process.

    async with StoreClient("127.0.0.1", 7000) as store:
        async with store.begin() as transaction:
            await transaction.put(b"alice", b"100")

Only the line that makes the store differs from the embedded one. What cannot be
hidden is that a network lies between, and this is the file about it:

What an answer that never came means
    before commit   The server aborts the transactions of a client that goes
                    away, and nobody has said "commit". So we know how it ended:
                    nothing of it happened (`TransactionLost`, an `Aborted`), and
                    `StoreClient.run` begins it anew, on a new connection.
    at commit       Nobody can know. The error is indeterminate, and it is not
                    repeated here: whoever repeats it must look first whether it
                    has happened (`sdkit.scenarios.bank_workload` shows how).

Two more things to notice
    * Beginning costs no round trip. The number of a transaction is ours, so
      "begin" leaves in the same packet as the first statement.
    * A statement that is given up half-way (a cancelled task, a deadline) may or
      may not have been carried out. A transaction of which one does not know what
      is in it must not go on: it is rolled back, and says so.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl as tls
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from sdkit import host as hosts
from sdkit.arguments import check_between
from sdkit.errors import (
    Aborted,
    Closed,
    Indeterminate,
    InvalidState,
    NotConnected,
    Rejected,
    SdkitError,
    Unavailable,
)
from sdkit.net import Connection, Limits, connect
from sdkit.net.addresses import check_address, check_tls
from sdkit.net.hello import check_secret
from sdkit.net.limits import TIMEOUT_S_MAX
from sdkit.store import interface
from sdkit.store.interface import Isolation, TransactionInfo, VersionInfo
from sdkit.store.isolation import level_of
from sdkit.store.limits import check_key_type, check_range, check_value_type
from sdkit.store.retry import run_transaction

T = TypeVar("T")


class TransactionLost(Aborted, ConnectionError):
    """The connection or a statement was lost before commit: nothing of the transaction happened."""

    code = "transaction_lost"


class StoreClient:
    """A store at another address. Contracts: `sdkit.store.interface.Store`.

    One connection carries all its transactions. When it is lost, their
    statements fail and the next transaction makes a new one.

    Args:
        host, port: where the server listens.
        secret: what the server asks for, if it does.
        ssl, server_hostname: TLS, and the name that the certificate must have.
        timeout_s: how long a statement or a commit may take; None for as long
            as the server allows. A statement that is late ends its transaction.
        connect_timeout_s: for making a connection, handshakes included.
        limits: what the server is allowed.

    It belongs to the event loop in which it is used first. One that is dropped
    while it is connected warns (`ResourceWarning`) and ends its connection.

    Raises:
        InvalidArgument: an argument is of the wrong kind or out of range; it is named.
    """

    connection_type: type[Connection] = Connection

    def __init__(
        self,
        host: str,
        port: int,
        *,
        secret: str | bytes | None = None,
        ssl: tls.SSLContext | None = None,
        server_hostname: str | None = None,
        timeout_s: float | None = 30.0,
        connect_timeout_s: float = 10.0,
        limits: Limits | None = None,
    ) -> None:
        check_address(host, port)
        check_secret(secret)
        check_tls(ssl, server_hostname, "client")
        if timeout_s is not None:
            check_between("timeout_s", timeout_s, 0.001, TIMEOUT_S_MAX)
        check_between("connect_timeout_s", connect_timeout_s, 0.001, TIMEOUT_S_MAX)
        self.timeout_s: Final = timeout_s
        self._host, self._port = host, port
        self._secret, self._ssl, self._server_hostname = secret, ssl, server_hostname
        self._connect_timeout_s, self._limits = connect_timeout_s, limits
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # of the first use
        self._closed = False
        self._numbers = itertools.count(1)

    async def connect(self) -> Connection:
        """The present connection, or a new one.

        Raises:
            NotConnected, AuthenticationFailed, VersionMismatch, Overloaded: see `rpc.connect`.
            Closed: this client has been closed.
            InvalidState: this client belongs to another event loop.
        """
        connection = self._connection
        self._check_loop()
        if connection is not None and connection.is_open:
            return connection
        async with self._connecting:  # many may miss it at once; one makes the next
            if self._closed:
                raise Closed("this client has been closed")
            if self._connection is None or not self._connection.is_open:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = await connect(
                    self._host,
                    self._port,
                    secret=self._secret,
                    ssl=self._ssl,
                    server_hostname=self._server_hostname,
                    limits=self._limits,
                    timeout_s=self._connect_timeout_s,
                    connection_type=self.connection_type,
                )
            return self._connection

    async def close(self) -> None:
        """End the connection; the server aborts what is open on it. Safe to call twice."""
        self._check_loop()
        self._closed = True
        async with self._connecting:
            if self._connection is not None:
                await self._connection.close()

    def _check_loop(self) -> None:
        """Refuse another event loop, where no answer of the first would arrive."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise InvalidState(
                "this StoreClient was first used in another event loop; make one in each "
                "asyncio.run, and close it there"
            )

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)  # None also if __init__ refused
        if connection is None or not connection.is_open:
            return
        warnings.warn(
            f"a StoreClient of {self._host}:{self._port} was dropped while it was connected; "
            "close it, or use `async with`",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        connection.drop()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def begin(
        self, *, isolation: Isolation = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> ClientTransaction:
        """See `interface.Store.begin`. Nothing is sent before the first statement."""
        if self._closed:
            raise Closed("this client has been closed; nothing was begun")
        return ClientTransaction(self, next(self._numbers), level_of(isolation), read_only)

    async def run(
        self,
        function: Callable[[interface.Transaction], Awaitable[T]],
        *,
        isolation: Isolation = Isolation.REPEATABLE_READ,
        read_only: bool = False,
        attempts: int = 10,
    ) -> T:
        """See `interface.Store.run`. A commit that is indeterminate is not repeated."""
        return await run_transaction(
            self,
            function,
            isolation=isolation,
            read_only=read_only,
            attempts=attempts,
            random=hosts.current().random,
        )

    async def versions(self, key: bytes) -> list[VersionInfo]:
        """See `interface.Store.versions`."""
        check_key_type(key)
        found = cast("list[list[Any]]", await self._ask("versions", key))
        return [VersionInfo(*each) for each in found]

    async def transactions(self) -> list[TransactionInfo]:
        """See `interface.Store.transactions`: those of every connection."""
        found = cast("list[list[Any]]", await self._ask("transactions"))
        return [TransactionInfo(id_, Isolation(level), *rest) for id_, level, *rest in found]

    async def metrics(self) -> str:
        """What the server counts, as Prometheus text."""
        return str(await self._ask("metrics"))

    async def _ask(self, method: str, *arguments: object) -> object:
        connection = await self.connect()
        return await connection.call(method, *arguments, timeout_s=self.timeout_s)


class ClientTransaction:
    """A transaction of a `StoreClient`. Contracts: `interface.Transaction`."""

    def __init__(
        self, client: StoreClient, number: int, isolation: Isolation, read_only: bool
    ) -> None:
        self.isolation: Final = isolation
        self.read_only: Final = read_only
        self._client = client
        self._number = number
        self._connection: Connection | None = None  # from the first statement on
        self._begun: asyncio.Future[object] | None = None
        self._busy = False
        self._ended: str | None = None  # how, for the error of whoever goes on using it
        self._aborted: Aborted | None = None

    @property
    def id(self) -> int:
        """The server's name for it; 0 before the first statement has reached the server."""
        begun = self._begun
        if begun is None or not begun.done() or begun.cancelled() or begun.exception():
            return 0
        return cast(int, begun.result())

    async def get(self, key: bytes) -> bytes | None:
        check_key_type(key)
        return cast(bytes | None, await self._statement("get", key, changes=False))

    async def get_for_update(self, key: bytes) -> bytes | None:
        check_key_type(key)
        return cast(bytes | None, await self._statement("get_for_update", key))

    async def put(self, key: bytes, value: bytes) -> None:
        check_key_type(key)
        check_value_type(key, value)
        await self._statement("put", key, value)

    async def delete(self, key: bytes) -> None:
        check_key_type(key)
        await self._statement("delete", key)

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        check_range(start, end, prefix, limit)
        connection = await self._begin()
        try:
            items = connection.stream("scan", self._number, start, end, prefix, reverse, limit)
            async with items:
                async for rows in items:
                    for key, value in cast(list[tuple[bytes, bytes]], rows):
                        yield key, value
        except SdkitError as error:
            raise self._explained(error, "scan") from error

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        depth = await self._statement("savepoint")
        try:
            yield
        except BaseException:
            if self._ended is None:
                await self._statement("undo_savepoint", depth)
            raise
        if self._ended is None:
            await self._statement("keep_savepoint", depth)

    async def commit(self) -> int:
        self._check_usable()
        if self._connection is None:
            self._ended = "committed"
            return 0
        try:
            position = await self._connection.call(
                "commit", self._number, timeout_s=self._client.timeout_s
            )
        except (NotConnected, Closed) as error:
            self._ended = "lost"
            raise self._lost("commit", error) from error
        except Aborted as error:
            self._end_aborted(error)
            raise
        except (Rejected, Unavailable):
            self._give_up("ended: its commit was refused")
            raise
        except BaseException:
            # If the server has not begun it yet, it need not; if it has, this has no effect.
            self._give_up("committing or committed: its answer was lost")
            raise
        self._ended = "committed"
        return cast(int, position)

    async def rollback(self) -> None:
        if self._ended is not None and self._aborted is None:
            self._check_usable()
        self._ended, self._aborted = "rolled back", None
        if self._connection is not None and self._connection.is_open:
            # Any of these: the server has ended it, or will, since the connection has ended.
            with suppress(NotConnected, Closed, Indeterminate, InvalidState):
                await self._connection.call(
                    "rollback", self._number, timeout_s=self._client.timeout_s
                )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            if self._ended not in ("committed", "rolled back"):
                await self.commit()
        elif self._ended is None:
            await self.rollback()

    # ------------------------------------------------------------- one statement

    async def _statement(self, method: str, *arguments: object, changes: bool = True) -> object:
        connection = await self._begin()
        self._busy = True
        try:
            return await connection.call(
                method, self._number, *arguments, timeout_s=self._client.timeout_s
            )
        except SdkitError as error:
            raise self._explained(error, method) from error
        except asyncio.CancelledError:
            if changes:
                self._give_up(f"rolled back, since its {method} was cancelled on the way")
            raise
        finally:
            self._busy = False

    async def _begin(self) -> Connection:
        """The connection of this transaction; before the first statement, "begin" is sent on it."""
        self._check_usable()
        if self._connection is None:
            connection = await self._client.connect()
            self._begun = connection.start(
                "begin", self._number, self.isolation.value, self.read_only
            )
            self._begun.add_done_callback(_look_at)
            self._connection = connection
        return self._connection

    def _check_usable(self) -> None:
        if self._aborted is not None:
            raise type(self._aborted)(self._aborted.message, **self._aborted.fields)
        if self._ended is not None:
            raise InvalidState(f"this transaction is {self._ended}; begin another one")
        if self._busy:
            raise InvalidState("a statement of this transaction is under way; one task at a time")

    def _explained(self, error: SdkitError, method: str) -> SdkitError:
        """What a failed statement means for its transaction."""
        refused = self._begun and self._begun.done() and self._begun.exception()
        if isinstance(refused, SdkitError) and not isinstance(refused, Indeterminate):
            self._ended = "not begun"
            return refused
        if isinstance(error, Aborted):
            self._end_aborted(error)
        elif isinstance(error, Indeterminate | NotConnected | Closed):
            lost = self._lost(method, error)
            self._give_up("lost")
            self._aborted = lost
            return lost
        return error

    def _lost(self, method: str, error: SdkitError) -> TransactionLost:
        return TransactionLost(
            f"{method} was not answered ({error}); nothing of the transaction happened"
        )

    def _end_aborted(self, error: Aborted) -> None:
        self._give_up("aborted")
        self._aborted = error

    def _give_up(self, ended: str) -> None:
        """End it here, and let the server forget it."""
        self._ended = ended
        if self._connection is not None and self._connection.is_open:
            with suppress(SdkitError):  # not even that can be sent: the connection is at its end
                self._connection.notify("rollback", self._number)


def _look_at(begun: asyncio.Future[object]) -> None:
    """Its error, if it has one, is told by the first statement."""
    if not begun.cancelled():
        begun.exception()
