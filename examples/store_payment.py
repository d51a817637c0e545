"""A payment: one transaction that a check can stop, and that may be sent twice.

Money goes from one account to another, or it does not; there is no moment at
which anybody sees half of it. The payment's id is written in the same
transaction, so that a caller who does not know how the first try ended can try
again under the same id without paying twice.

    python examples/store_payment.py
"""

import asyncio
import tempfile

from sdkit.storage import LocalHost
from sdkit.store import Store, StoreConfig, StoreEngine, Transaction


class NotEnough(Exception):
    """The account does not hold what it is to pay."""


async def pay(store: Store, payment: bytes, source: bytes, target: bytes, amount: int) -> str:
    async def transfer(transaction: Transaction) -> str:
        # Locked, so that two tries of one payment wait for each other.
        if await transaction.get_for_update(b"payment/" + payment) is not None:
            return "was paid before"
        await transaction.put(b"payment/" + payment, b"%d" % amount)
        held = int(await transaction.get(b"account/" + source) or b"0")
        if held < amount:
            raise NotEnough(f"{source.decode()} holds {held} and cannot pay {amount}")
        gets = int(await transaction.get(b"account/" + target) or b"0")
        await transaction.put(b"account/" + source, b"%d" % (held - amount))
        await transaction.put(b"account/" + target, b"%d" % (gets + amount))
        return "paid"

    return await store.run(transfer)  # repeated from its start if it loses to another one


async def show(store: Store) -> None:
    async with store.begin(read_only=True) as transaction:
        async for key, value in transaction.scan(prefix=b"account/"):
            print("   ", key.decode(), value.decode())


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, LocalHost("bank", directory) as host:
        async with StoreEngine(host, StoreConfig()) as store:
            async with store.begin() as setup:
                await setup.put(b"account/alice", b"100")
                await setup.put(b"account/bob", b"0")

            print("alice pays bob 70:", await pay(store, b"no-1", b"alice", b"bob", 70))
            print("the same payment again:", await pay(store, b"no-1", b"alice", b"bob", 70))
            try:
                await pay(store, b"no-2", b"alice", b"bob", 70)
            except NotEnough as error:
                print("another 70:", error)
            await show(store)


asyncio.run(main())
