"""Thresholds in one document on a server, followed by a service, with the store going down.

python examples/breaker_settings.py
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import cast

from sdkit.breaker import Breaker, CircuitOpen, Following
from sdkit.rpc import Connection, Server, connect

DOCUMENT = {
    "profile-service": {
        "status": "open",
        "failure_threshold": 50,
        "timeout": 60,
        "half_open_requests": 5,
    },
    "post-service": {"status": "closed", "failure_threshold": 50, "timeout": 60},
}


class SettingsServer(Server):
    """Holds the document, and pushes it to everybody who watches, whenever it changes."""

    def __init__(self, document: object) -> None:
        super().__init__({"watch": self.watch})
        self.document = json.dumps(document).encode()
        self.changed = asyncio.Event()

    async def watch(self, _connection: Connection) -> AsyncIterator[bytes]:
        while True:
            changed = self.changed
            yield self.document
            await changed.wait()

    def set(self, document: bytes) -> None:
        self.document = document
        self.changed.set()
        self.changed = asyncio.Event()


class OverRpc:
    """Where a service finds the document: a `sdkit.breaker.Source`."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def documents(self) -> AsyncIterator[bytes]:
        async with await connect(*self._address) as connection:
            async for document in connection.stream("watch"):
                yield cast(bytes, document)


def show(when: str, breaker: Breaker) -> None:
    print(f"{when}: {breaker.name} is {breaker.state.value}, open_s {breaker.config.open_s:g}")


async def main() -> None:
    profiles, posts = Breaker("profile-service"), Breaker("post-service")
    async with AsyncExitStack() as running:
        store = await running.enter_async_context(SettingsServer(DOCUMENT))
        async with Following(OverRpc(store.address), [profiles, posts]) as following:
            show("as the document says", profiles)
            show("as the document says", posts)
            try:
                profiles.check()
            except CircuitOpen as error:
                print(error)

            store.set(json.dumps({"profile-service": {"consecutive_failures": 10}}).encode())
            await asyncio.sleep(0.1)
            show("taken back", profiles)

            store.set(b'{"profile-service": {"open_s": 5')
            await asyncio.sleep(0.1)
            show("after nonsense", profiles)
            print(f"  because {(following.problem or '').split(':')[0]}")

            await running.aclose()  # the store is gone
            await asyncio.sleep(0.1)
            show("without the store", profiles)
            await profiles.call(asyncio.sleep, 0)
            print("and calls go on")


asyncio.run(main())
