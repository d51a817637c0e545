"""Two transactions on one balance: what the second reading shows depends on the level.

The first one reads the balance, 100. The second one sets it to 200 and commits. Then the
first one reads again: at repeatable read still 100, because it keeps to the state in which
it began; at read committed 200, because each statement reads what is committed by then.

    python examples/store_isolation.py
"""

import asyncio
import tempfile

from sdkit.storage import LocalHost
from sdkit.store import Isolation, StoreConfig, StoreEngine


async def read_twice(store: StoreEngine, isolation: Isolation) -> list[int]:
    async with store.begin() as setup:
        await setup.put(b"balance", b"100")

    readings = []
    async with store.begin(isolation=isolation) as first:
        readings.append(int(await first.get(b"balance") or b"0"))

        async with store.begin() as second:  # begins, writes and commits in between
            await second.put(b"balance", b"200")

        readings.append(int(await first.get(b"balance") or b"0"))
    return readings


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, LocalHost("db", directory) as host:
        async with StoreEngine(host, StoreConfig()) as store:
            for isolation in (Isolation.REPEATABLE_READ, Isolation.READ_COMMITTED):
                readings = await read_twice(store, isolation)
                print(f"{isolation.value:16}", *readings)


asyncio.run(main())
