"""A store in another process: start it, use it, and stop it.

python examples/store_client.py              serves and uses a store of its own
sdkit serve store --port 7000                ... or start one in another window
python examples/store_client.py 7000         and use that
"""

import asyncio
import sys
import tempfile

from sdkit.storage import LocalHost
from sdkit.store import Store, StoreClient, StoreServer, StoreServerConfig, Transaction


async def use(store: Store) -> None:
    async with store.begin() as transaction:
        for name in (b"alice", b"bob", b"carol"):
            await transaction.put(b"account/" + name, b"100")

    async def pay(transaction: Transaction) -> None:
        """Run again from its start if somebody else got there first."""
        for name, change in ((b"account/alice", -30), (b"account/bob", 30)):
            balance = int(await transaction.get_for_update(name) or b"0")
            await transaction.put(name, b"%d" % (balance + change))

    await store.run(pay)

    async with store.begin(read_only=True) as transaction:
        async for key, value in transaction.scan(prefix=b"account/", reverse=True):
            print(key.decode(), value.decode())


async def main() -> None:
    if len(sys.argv) > 1:
        async with StoreClient("127.0.0.1", int(sys.argv[1].rpartition(":")[2])) as store:
            await use(store)
        return
    with tempfile.TemporaryDirectory() as directory, LocalHost("db", directory) as host:
        async with (
            StoreServer(host, StoreServerConfig()) as server,
            StoreClient(*server.address) as store,
        ):
            await use(store)


asyncio.run(main())
