"""Waiting: the records that wait for a write, and the callers who wait for the records.

    Backlog     what was appended and is not yet written: the next group
    Waiters     who waits for which LSN

Things to notice
    1. Each caller gets a future of its own. Cancelling a task cancels the
       future that it awaits, and one shared by a group would take the others
       along.
    2. A backlog has a limit. A log that is slower than its writers has to say
       so (`Overloaded`) before the memory does.
    3. A group has a limit, too: it is encoded and written in one turn of the
       loop, and a turn must stay short.
"""

from __future__ import annotations

import asyncio
from typing import Final

from sdkit.errors import Overloaded, SdkitError

GROUP_BYTES_MAX: Final = 2**20


class Backlog:
    """Records in the order in which they were appended.

    Args:
        bytes_max: how much they may take together.
    """

    def __init__(self, bytes_max: int) -> None:
        self._records: list[bytes] = []
        self._bytes = 0
        self._bytes_max = bytes_max

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: bytes) -> None:
        """Append. O(1).

        Raises:
            Overloaded: it is full.
        """
        if self._bytes + len(record) > self._bytes_max:
            raise Overloaded(
                f"{self._bytes} bytes wait to be written; the limit is {self._bytes_max}: "
                "wait for some of them"
            )
        self._records.append(record)
        self._bytes += len(record)

    def next_group(self) -> list[bytes]:
        """Take the first records, at least one, up to `GROUP_BYTES_MAX`."""
        if self._bytes <= GROUP_BYTES_MAX:
            group, self._records, self._bytes = self._records, [], 0
            return group
        taken, count = len(self._records[0]), 1
        while count < len(self._records):
            taken_then = taken + len(self._records[count])
            if taken_then > GROUP_BYTES_MAX:
                break
            taken, count = taken_then, count + 1
        group, self._records = self._records[:count], self._records[count:]
        self._bytes -= taken
        return group

    def clear(self) -> None:
        """Drop everything."""
        self._records, self._bytes = [], 0


class Waiters:
    """Futures, each with its LSN. Made in the event loop that they are for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def add(self, lsn: int) -> asyncio.Future[None]:
        """A future that `settle` or `refuse` will end."""
        future = self._loop.create_future()
        self._waiting.append((lsn, future))
        return future

    def done(self, error: SdkitError | None = None) -> asyncio.Future[None]:
        """A future that need not be waited for."""
        future = self._loop.create_future()
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(own_copy(error))
        return future

    def settle(self, lsn: int) -> None:
        """Everybody who waits for ``lsn`` or less is done. O(all who wait)."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each[0] > lsn:
                self._waiting.append(each)
            elif not each[1].done():
                each[1].set_result(None)

    def refuse(self, first: int, error: SdkitError) -> None:
        """Everybody who waits for ``first`` or more gets the error. O(all who wait)."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each[0] < first:
                self._waiting.append(each)
            elif not each[1].done():
                each[1].set_exception(own_copy(error))


def own_copy(error: SdkitError) -> SdkitError:
    """An exception for each who waits: raising one adds to its traceback."""
    copy = type(error)(error.message, **error.fields)
    copy.__cause__ = error.__cause__
    return copy
