"""Two doctors go off duty at once: what does the store's repeatable read let through?

Each transaction reads that both are on duty, and takes itself off. A snapshot shows each
of them the state before the other; in the end nobody is on duty. The history of reads,
writes and positions of commits is all that the checker needs to name it.
"""

from __future__ import annotations

import asyncio
import tempfile

from sdkit.check import Transaction, isolation
from sdkit.host import Host
from sdkit.storage import LocalHost
from sdkit.store import StoreEngine


async def record(host: Host) -> list[Transaction]:
    """What each transaction read and wrote, and the position of its commit."""
    async with StoreEngine(host) as store:
        setup = store.begin()
        writes = [(b"ann", b"on 1"), (b"ben", b"on 1")]
        for key, value in writes:
            await setup.put(key, value)
        history = [Transaction("setup", writes=writes, position=await setup.commit())]
        running = {"ann": store.begin(), "ben": store.begin()}
        seen = {
            name: [(key, await transaction.get(key)) for key in (b"ann", b"ben")]
            for name, transaction in running.items()
        }
        for name, transaction in running.items():
            write = (name.encode(), b"off 2")  # written once, so that it names its writer
            await transaction.put(*write)
            position = await transaction.commit()
            history.append(Transaction(name, seen[name], [write], position=position))
    return history


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory, LocalHost("db", directory) as host:
        verdict = isolation.check(await record(host))
    print(verdict.explain())
    print("satisfied:", ", ".join(verdict.levels))


if __name__ == "__main__":
    asyncio.run(main())
