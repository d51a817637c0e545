"""Append records to a journal, each durable before the next; stop cleanly, or not.

python examples/journal_write.py log 3           writes 3 records and closes
python examples/journal_write.py log 3 --crash   writes 3 records and dies
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys

from sdkit.errors import SdkitError
from sdkit.storage import Journal, LocalDisk


async def write(directory: str, count: int, crash: bool) -> None:
    journal = await Journal.open(LocalDisk(directory), room="example", random=random.Random())
    for _ in range(count):
        lsn = journal.append(b"record %d" % (journal.end + 1))
        await journal.wait(lsn)
        print(f"record {lsn} is durable")
    if crash:
        sys.stdout.flush()
        os._exit(0)  # no end record, no cleaning up: what kill -9 does
    await journal.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", nargs="?", default="log")
    parser.add_argument("count", nargs="?", type=int, default=3)
    parser.add_argument("--crash", action="store_true")
    arguments = parser.parse_args()
    try:
        asyncio.run(write(arguments.directory, arguments.count, arguments.crash))
    except SdkitError as error:
        sys.exit(f"refused: {error}")
