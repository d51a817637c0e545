"""Remote: a transaction on a server, used over a connection.

A network can lose an answer, and an embedded store cannot. So this file says what a
lost answer means:

    before commit   The client has not sent "commit", and the server aborts the
                    transactions of a client that goes away. So nothing of it has
                    happened (`TransactionLost`, an `Aborted`), and `StoreClient.run`
                    begins it again, on a new connection.
    at commit       The client cannot know whether it has happened. The error is
                    indeterminate, and the commit is not repeated here. A caller that
                    repeats it must look first whether it has happened
                    (`sdkit.scenarios.bank_workload` shows how).

Three more things to notice
    * To begin costs no round trip. The client chooses the transaction's number, so
      "begin" leaves in the same packet as the first statement.
    * A statement that is given up half-way (a cancelled task, a deadline) may
      have been carried out. Then it is not known what the transaction has written,
      so it is rolled back, and says so. A cancelled `get` or `scan` writes nothing,
      and its transaction goes on.
    * A transaction that its user drops while it is open is rolled back, with a
      warning, as an embedded one is (`sdkit.store.handle`).
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self, cast

from sdkit.errors import (
    Aborted,
    Closed,
    DeadlineExceeded,
    Indeterminate,
    InvalidState,
    NotConnected,
    Rejected,
    SdkitError,
    Unavailable,
)
from sdkit.rpc import Connection, Stream
from sdkit.store.home import Home
from sdkit.store.interface import Isolation
from sdkit.store.limits import check_key_type, check_range, check_value_type
from sdkit.store.transaction import fresh


class TransactionLost(Aborted, ConnectionError):
    """The connection or a statement was lost before commit: nothing of the transaction happened."""

    code = "transaction_lost"


COMMITTED: Final = "committed"
ROLLED_BACK: Final = "rolled back"
UNKNOWN: Final = "committing or committed: its answer was lost"
ENDED_BY_ITS_USER: Final = (COMMITTED, ROLLED_BACK, UNKNOWN)


class Client(Protocol):
    """What a transaction needs of the client that has begun it."""

    @property
    def home(self) -> Home: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def is_closed(self) -> bool: ...
    async def connect(self) -> Connection: ...


class ClientTransaction:
    """A transaction of a `StoreClient`. Contracts: `interface.Transaction`."""

    def __init__(self, client: Client, number: int, isolation: Isolation, read_only: bool) -> None:
        self.isolation: Final = isolation
        self.read_only: Final = read_only
        self._client = client
        self._number = number
        self._connection: Connection | None = None  # from the first statement on
        self._begun: asyncio.Future[object] | None = None
        self._busy = False
        self._ended: str | None = None  # how, for the error of a later use
        self._aborted: Aborted | None = None

    def __repr__(self) -> str:
        only = ", read-only" if self.read_only else ""
        return f"<transaction {self.id}, {self.isolation}{only}, {self._ended or 'active'}>"

    @property
    def id(self) -> int:
        """The server's name for it; 0 before the first statement has reached the server."""
        begun = self._begun
        if begun is None or not begun.done() or begun.cancelled() or begun.exception():
            return 0
        return cast(int, begun.result())

    async def get(self, key: bytes) -> bytes | None:
        self._check_usable()
        check_key_type(key)
        return cast(bytes | None, await self._statement("get", key, changes=False))

    async def get_for_update(self, key: bytes) -> bytes | None:
        self._check_usable()
        check_key_type(key)
        return cast(bytes | None, await self._statement("get_for_update", key))

    async def put(self, key: bytes, value: bytes) -> None:
        self._check_usable()
        check_key_type(key)
        check_value_type(key, value)
        await self._statement("put", key, value)

    async def delete(self, key: bytes) -> None:
        self._check_usable()
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
        self._check_usable()
        check_range(start, end, prefix, reverse, limit)
        self._busy = True
        try:
            connection = await self._begin()
        finally:
            self._busy = False
        try:
            items = connection.stream("scan", self._number, start, end, prefix, reverse, limit)
            async with items:
                while (rows := await self._next_rows(items)) is not None:
                    for key, value in rows:
                        yield key, value
        except SdkitError as error:
            self._note(error, "scan")
            raise error.with_traceback(None) from error.__cause__

    def savepoint(self) -> ClientSavepoint:
        return ClientSavepoint(self)

    async def commit(self) -> int:
        self._check_usable()
        if self._connection is None:
            self._ended = COMMITTED
            return 0
        self._client.home.check()
        self._busy = True
        try:
            position = await self._connection.call(
                "commit", self._number, timeout_s=self._client.timeout_s
            )
        except (NotConnected, Closed) as error:
            self._ended = "lost"
            raise self._lost("commit", error) from error.with_traceback(None)
        except Aborted as error:
            self._end_aborted(error)
            raise error.with_traceback(None) from error.__cause__
        except (Rejected, Unavailable):
            self._give_up("ended: its commit was refused")
            raise
        except BaseException:
            # If the server has not begun the commit, it need not; if it has, this changes nothing.
            self._give_up(UNKNOWN)
            raise
        finally:
            self._busy = False
        self._ended = COMMITTED
        return cast(int, position)

    async def rollback(self) -> None:
        if self._ended is None:
            self._check_usable()
            await self._roll_back()
        elif self._ended in ENDED_BY_ITS_USER:
            self._check_usable()
        else:  # the server has been told
            self._ended, self._aborted = ROLLED_BACK, None

    async def _roll_back(self) -> None:
        if self._connection is not None:
            self._client.home.check()
        self._ended = ROLLED_BACK
        if self._connection is not None and self._connection.is_open:
            # Each of these: the server has ended it, or will when it sees the lost connection.
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
            if self._ended not in (COMMITTED, ROLLED_BACK):
                await self.commit()
        elif self._ended is None:
            await self._roll_back()  # even if another task is in the middle of a statement

    def __del__(self) -> None:
        connection = self._connection
        if self._ended is not None or self._client.is_closed:
            return
        if connection is not None and connection.is_open:
            self._client.home.call_soon(_roll_back, connection, self._number)
        warnings.warn(
            f"a transaction of {self._client} was dropped while it was open, and is rolled back; "
            "commit it, roll it back, or use `async with`",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )

    # ------------------------------------------------------------- one statement

    async def _statement(self, method: str, *arguments: object, changes: bool = True) -> object:
        self._check_usable()
        self._busy = True
        try:
            connection = await self._begin()
            return await connection.call(
                method, self._number, *arguments, timeout_s=self._client.timeout_s
            )
        except SdkitError as error:
            self._note(error, method)
            # Its frames would keep the error and this transaction alive.
            raise error.with_traceback(None) from error.__cause__
        except asyncio.CancelledError:
            if changes:
                self._give_up(f"rolled back, since its {method} was cancelled on the way")
            raise
        finally:
            self._busy = False

    async def _next_rows(self, items: Stream) -> list[tuple[bytes, bytes]] | None:
        """The next rows of a scan, None at its end.

        The time-out is for each wait, and not for the whole scan, since the user may take
        any time for a row.
        """
        try:
            async with asyncio.timeout(self._client.timeout_s) as limit:
                return cast("list[tuple[bytes, bytes]] | None", await anext(items, None))
        except TimeoutError:  # or one of ours, which is a TimeoutError, too
            if not limit.expired():
                raise
            text = f"no row came for {self._client.timeout_s} s (timeout_s)"
            raise DeadlineExceeded(text) from None

    async def _begin(self) -> Connection:
        """The connection of this transaction; before the first statement, "begin" is sent on it."""
        if self._connection is None:
            connection = await self._client.connect()
            self._begun = connection.start(
                "begin", self._number, self.isolation.value, self.read_only
            )
            self._begun.add_done_callback(_look_at)
            self._connection = connection
        self._client.home.check()
        return self._connection

    def _check_usable(self) -> None:
        if self._aborted is not None:
            raise fresh(self._aborted)
        if self._ended is not None:
            raise InvalidState(f"this transaction is {self._ended}; begin another one")
        if self._busy:
            raise InvalidState("a statement of this transaction is under way; one task at a time")

    def _note(self, error: SdkitError, method: str) -> None:
        """Note what a failed statement means for its transaction.

        Raises:
            TransactionLost: it was not answered.
            SdkitError: "begin" was refused; the first statement raises that error.
        """
        if self._connection is None:
            return  # it is not begun; a later statement may begin it
        refused = self._begun and self._begun.done() and self._begun.exception()
        if isinstance(refused, SdkitError) and not isinstance(refused, Indeterminate):
            self._ended = "not begun"
            raise fresh(refused) from error.with_traceback(None)
        if isinstance(error, Aborted):
            self._end_aborted(error)
        elif isinstance(error, Indeterminate | NotConnected | Closed):
            self._give_up("lost")
            self._aborted = self._lost(method, error)
            raise fresh(self._aborted) from error.with_traceback(None)

    def _lost(self, method: str, error: SdkitError) -> TransactionLost:
        return TransactionLost(
            f"{method} was not answered ({error}); nothing of the transaction happened"
        )

    def _end_aborted(self, error: Aborted) -> None:
        self._give_up("aborted")
        self._aborted = fresh(error)  # the traceback of ``error`` would keep this transaction alive

    def _give_up(self, ended: str) -> None:
        """End it here, and tell the server to roll it back."""
        self._ended = ended
        if self._connection is not None and self._connection.is_open:
            _roll_back(self._connection, self._number)


class ClientSavepoint:
    """The block of `Transaction.savepoint`."""

    def __init__(self, transaction: ClientTransaction) -> None:
        self._transaction = transaction
        self._depth: object = 0  # before it is entered

    async def __aenter__(self) -> None:
        if self._depth:
            raise InvalidState("a savepoint is entered twice; make another one")
        self._depth = await self._transaction._statement("savepoint")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._transaction._ended is None:  # if it has ended, its caller knows how
            method = "keep_savepoint" if kind is None else "undo_savepoint"
            await self._transaction._statement(method, self._depth)


def _roll_back(connection: Connection, number: int) -> None:
    with suppress(SdkitError):  # it cannot be sent: the connection has ended, and so has it
        connection.notify("rollback", number)


def _look_at(begun: asyncio.Future[object]) -> None:
    """Mark its error as seen, so that asyncio does not log it: the first statement raises it."""
    if not begun.cancelled():
        begun.exception()
