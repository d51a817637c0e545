"""How ``tests/formats/journal-1`` was made. Run once per format; the result is kept for ever.

It holds a snapshot at LSN 2, records 3 to 6 in two segments, a torn tail left
behind by a recovery, marks and an end record: one of everything that format 1 has.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator

from sdkit.storage import Journal, LocalDisk


async def chunks() -> AsyncIterator[bytes]:
    yield b"one,"
    yield b"two"


async def main(directory: str) -> None:
    disk = LocalDisk(directory)
    journal = await Journal.open(disk, room="format", random=random.Random(1))
    for record in (b"one", b"two", b"three"):
        await journal.wait(journal.append(record))
    await journal.snapshot(2, chunks())
    await journal.wait(journal.append(b"four"))
    await asyncio.sleep(0.05)  # until the mark is written
    names = await disk.list()
    file = await disk.open(names[-2])
    file.append(b"\x5c\xd1 torn")
    await file.sync()
    await file.close()
    journal = await Journal.open(disk, room="format", random=random.Random(1))
    for record in (b"", b"six\x00"):
        await journal.wait(journal.append(record))
    await journal.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
