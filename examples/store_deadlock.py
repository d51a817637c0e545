"""Two transactions wait for each other; the younger one is told at once, with the circle.

python examples/store_deadlock.py
"""

import asyncio
import tempfile

from sdkit.storage import LocalHost
from sdkit.store import Deadlock, StoreConfig, StoreEngine


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, LocalHost("db", directory) as host:
        async with StoreEngine(host, StoreConfig()) as store:
            first, second = store.begin(), store.begin()
            await first.put(b"a", b"1")
            await second.put(b"b", b"2")

            waiting = asyncio.create_task(second.put(b"a", b"2"))
            await asyncio.sleep(0)
            for info in await store.transactions():
                print(f"transaction {info.id} is {info.state}, behind {info.waits_for}")

            await first.put(b"b", b"1")  # closes the circle, and gets the lock
            try:
                await waiting
            except Deadlock as error:
                print(error)
            await first.commit()


asyncio.run(main())
