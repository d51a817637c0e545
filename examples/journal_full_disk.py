"""Write to a journal until the operating system refuses, then make room and go on.

The full disk is a real one as far as the program can tell: a limit on the size
of its files, at which ``write`` puts down a part and then fails.
"""

from __future__ import annotations

import asyncio
import random
import resource

from sdkit.errors import DiskUnavailable
from sdkit.storage import Journal, LocalDisk


async def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = await Journal.open(LocalDisk("full"), room="example", random=random.Random())
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        while True:
            await journal.wait(journal.append(bytes(1000)))
    except DiskUnavailable as error:
        print("unavailable:", error)
    print("the last durable record is", journal.durable)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    lsn = journal.append(b"there is room again")
    await journal.wait(lsn)
    print("record", lsn, "is durable")
    await journal.close()


if __name__ == "__main__":
    asyncio.run(main())
