"""Holders: who still needs the log, and from which record on.

A snapshot lets the log before it go, and a replica that was away for a night
comes back to nothing. So it holds its position under a name (`Holders.set`), and
the log from there on stays until the name has moved on or was released.

    log    |  4 |  5 |  6 |  7 |  8 |  9 |      snapshot at 8
                ^ "replica-2" holds 5:          5 to 9 stay, 4 may go

Things to notice
    1. A holder is of use only if it survives a restart: whoever it belongs to is
       elsewhere, and cannot be asked in time. So all of them stand in one small
       file, ``holders``, in the format of a snapshot with a chunk for each, and
       it is written anew at each change (`sdkit.storage.snapshotting`).
    2. While that file is written nobody knows which of the two is there after a
       power cut. So the lower position holds until it is done (`Holders.set`).
    3. The file was whole before it had its name. Damage in it is corruption: to
       go on without it would drop what was promised to be kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import CorruptData, DiskUnavailable, InvalidArgument, LimitExceeded
from sdkit.storage.snapshot import SnapshotHeader
from sdkit.storage.snapshotting import SnapshotStore

HOLDERS_NAME: Final = "holders"
HOLDERS_MAX: Final = 1_000
NAME_BYTES_MAX: Final = 200
_LSN_BYTES: Final = 8


class Holders:
    """The holders of one journal, in memory and on its disk. One change at a time.

    Args:
        header: of the journal: its room and its id.
        kept: what the file says.
    """

    def __init__(
        self, store: SnapshotStore, header: SnapshotHeader, kept: Mapping[str, int]
    ) -> None:
        self._store, self._header = store, header
        self.lsns: dict[str, int] = dict(kept)

    async def set(self, name: str, lsn: int | None) -> None:
        """Let ``name`` hold the log from ``lsn`` on; with None, nothing. Durable when it returns.

        Raises:
            LimitExceeded: there are `HOLDERS_MAX` already.
            DiskUnavailable: nothing has changed.
            DiskFailed: the old position or the new one is on the disk; the lower one holds.
        """
        before = dict(self.lsns)
        if lsn is not None and name not in before and len(before) >= HOLDERS_MAX:
            raise LimitExceeded(f"{len(before)} names hold the log; the limit is {HOLDERS_MAX}")
        wanted = {each: at for each, at in before.items() if each != name}
        if lsn is not None:
            wanted[name] = lsn
        self.lsns = self.meanwhile(before, wanted)
        try:
            await self._store.write(self._header, _chunks(wanted))
        except DiskUnavailable:
            self.lsns = before
            raise
        self.lsns = wanted

    def meanwhile(self, before: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
        """What holds while either of the two may be what is on the disk."""
        names = [*before, *(name for name in wanted if name not in before)]
        return {name: min(of[name] for of in (before, wanted) if name in of) for name in names}


def check_name(name: object) -> str:
    """Refuse what is no holder's name: text, not empty, at most `NAME_BYTES_MAX` as UTF-8."""
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= NAME_BYTES_MAX:
        raise InvalidArgument(
            f"name is {shown(name)}; a holder's name is text of 1 to {NAME_BYTES_MAX} bytes"
        )
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"name is {shown(name)}, which is no Unicode text") from None
    return name


async def _chunks(holders: Mapping[str, int]) -> AsyncIterator[bytes]:
    for name, lsn in holders.items():
        yield lsn.to_bytes(_LSN_BYTES, "little") + name.encode()


def read_holder(chunk: bytes) -> tuple[str, int]:
    """A holder's name and position.

    Raises:
        CorruptData: it is none, though its checksum is right.
    """
    try:
        return chunk[_LSN_BYTES:].decode(), int.from_bytes(chunk[:_LSN_BYTES], "little")
    except UnicodeDecodeError:
        raise CorruptData(
            f"{HOLDERS_NAME} names a holder {shown(chunk)}, which is no text", file=HOLDERS_NAME
        ) from None
