"""Open a journal, say what recovery found, and print the records."""

from __future__ import annotations

import asyncio
import random
import sys

from sdkit.errors import SdkitError
from sdkit.storage import Journal, LocalDisk


async def read(directory: str) -> None:
    journal = await Journal.open(LocalDisk(directory), room="example", random=random.Random())
    found = journal.recovered
    if found.cut is not None:
        print(
            f"cut {found.bytes_cut} bytes, {found.records_cut} whole records, after LSN "
            f"{found.last_lsn}; synced is proven up to {found.proven_lsn}"
        )
    await journal.replay(on_record=lambda lsn, record: print(lsn, record.decode()))
    await journal.close()


if __name__ == "__main__":
    try:
        asyncio.run(read(sys.argv[1] if len(sys.argv) > 1 else "log"))
    except SdkitError as error:
        sys.exit(f"refused: {error}")
