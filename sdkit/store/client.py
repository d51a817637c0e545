"""Client: a store behind a socket, with the interface of one in your own process.

    async with StoreClient("127.0.0.1", 7000) as store:
        async with store.begin() as transaction:
            await transaction.put(b"alice", b"100")

Only the line that makes the store differs from the embedded one. This file is about the
connection; what a network means for a transaction is told in `sdkit.store.remote`.

    * One connection carries all transactions. When it is lost, what is open on it is
      lost too, and the next transaction makes a new one. Many may find it lost at
      once; one of them connects, and the others wait for that one.
    * Nothing is repeated behind the user's back but what `StoreClient.run` repeats:
      whole transactions of which nothing has happened.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl as tls
import warnings
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

from sdkit import host as hosts
from sdkit.arguments import check_between, shown
from sdkit.errors import (
    Closed,
    InvalidArgument,
)
from sdkit.net.addresses import check_address, check_tls
from sdkit.net.limits import TIMEOUT_S_MAX
from sdkit.rpc import Connection, Limits, connect
from sdkit.rpc.hello import check_secret
from sdkit.store import interface
from sdkit.store.home import Home
from sdkit.store.interface import Isolation, Level, TransactionInfo, VersionInfo
from sdkit.store.isolation import level_of
from sdkit.store.limits import check_flag, check_key_type
from sdkit.store.remote import ClientTransaction
from sdkit.store.retry import run_transaction

T = TypeVar("T")


class StoreClient:
    """A store at another address. Contracts: `sdkit.store.interface.Store`.

    One connection carries all its transactions. When it is lost, their
    statements fail and the next transaction makes a new one.

    Args:
        host, port: where the server listens; `StoreClient.from_url` takes both as one text.
        secret: what the server asks for, if it does.
        ssl, server_hostname: TLS, and the name that the certificate must have.
        timeout_s: how long a statement or a commit may take, and each wait for rows
            of a scan; None for as long as the server allows. A statement that is late
            ends its transaction.
        connect_timeout_s: for making a connection, handshakes included.
        limits: what the server is allowed.

    It belongs to the event loop on which it connects first. One that is dropped
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
        self._closed = False
        self._numbers = itertools.count(1)
        self.home: Final = Home("a StoreClient")

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """A client of ``store://HOST:PORT``; ``options`` are the other arguments of the class.

        Raises:
            InvalidArgument: it is no such address.
        """
        host, port = parse_url(url)
        return cls(host, port, **options)

    def __repr__(self) -> str:
        is_open = self._connection is not None and self._connection.is_open
        life = "closed" if self._closed else "connected" if is_open else "not connected"
        return f"<StoreClient of {self._host}:{self._port}, {life}>"

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)  # None if its arguments were refused
        if connection is not None and connection.is_open and not self._closed:
            text = f"{self!r} was dropped while it was connected; close it, or use `async with`"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            connection.drop()

    async def connect(self) -> Connection:
        """The present connection, or a new one.

        Raises:
            NotConnected, AuthenticationFailed, VersionMismatch, Overloaded: see `rpc.connect`.
            Closed: this client has been closed.
            InvalidState: it belongs to another event loop; nothing was done.
        """
        self.home.settle()
        connection = self._connection
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
        if self.home.is_settled:
            self.home.check()
        self._closed = True
        async with self._connecting:
            if self._connection is not None:
                await self._connection.close()

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
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> ClientTransaction:
        """See `interface.Store.begin`. Nothing is sent before the first statement."""
        if self._closed:
            raise Closed("this client has been closed; nothing was begun")
        level = level_of(isolation)
        check_flag("read_only", read_only)
        return ClientTransaction(self, next(self._numbers), level, read_only)

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        return self._host, self._port

    @property
    def is_closed(self) -> bool:
        """Has it been closed?"""
        return self._closed

    async def run(
        self,
        function: Callable[[interface.Transaction], Awaitable[T]],
        *,
        isolation: Level = Isolation.REPEATABLE_READ,
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


def parse_url(url: str) -> tuple[str, int]:
    """Host and port of ``store://HOST:PORT``.

    Raises:
        InvalidArgument: it is no such address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        extra = parts.username or parts.password or parts.path.strip("/") or parts.query
        extra = extra or parts.fragment or "".join(filter(str.isspace, url))  # dropped by urlsplit
    except (ValueError, AttributeError, TypeError):
        host = port = extra = None
    if not host or not port or extra or parts.scheme != "store":
        raise InvalidArgument(
            f"{shown(url)} is not the address of a store; write store://HOST:PORT, "
            "as in store://127.0.0.1:7000"
        )
    return host, port
