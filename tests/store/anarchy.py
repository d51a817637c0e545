"""A store without any isolation: every write is everybody's at once, and nobody waits.

Rolling back puts back what was there before, over whatever has come since. Every
anomaly script must be fulfilled here: one that is not could not have found anything
anywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self, TypeVar

from sdkit.store.interface import Isolation, Level, Transaction, TransactionInfo, VersionInfo

T = TypeVar("T")


class Anarchy:
    """A `sdkit.store.interface.Store`, by its methods alone."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> Transaction:
        return Unruly(self.data, Isolation(isolation))

    async def run(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Level = Isolation.REPEATABLE_READ,
        read_only: bool = False,
        attempts: int = 10,
    ) -> T:
        return await function(Unruly(self.data, Isolation(isolation)))

    async def versions(self, key: bytes) -> list[VersionInfo]:
        return []

    async def transactions(self) -> list[TransactionInfo]:
        return []  # nobody ever waits


class Unruly:
    """Remembers nothing but what to put back."""

    id = 0

    def __init__(self, data: dict[bytes, bytes], isolation: Isolation) -> None:
        self.isolation = isolation
        self._data = data
        self._before: list[tuple[bytes, bytes | None]] = []

    async def get(self, key: bytes) -> bytes | None:
        return self._data.get(key)

    async def get_for_update(self, key: bytes) -> bytes | None:
        return self._data.get(key)

    async def put(self, key: bytes, value: bytes) -> None:
        self._before.append((key, self._data.get(key)))
        self._data[key] = value

    async def delete(self, key: bytes) -> None:
        self._before.append((key, self._data.pop(key, None)))

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        for key, value in sorted(self._data.items()):
            if start <= key and (end is None or key < end):
                yield key, value

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError("no script asks for it")

    async def commit(self) -> int:
        self._before.clear()
        return 0

    async def rollback(self) -> None:
        for key, value in reversed(self._before):
            if value is None:
                self._data.pop(key, None)
            else:
                self._data[key] = value
        self._before.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await (self.commit() if kind is None else self.rollback())
