"""Either side may call: a chat whose server calls its clients.

Each client serves the method ``hear``, and the server calls it. A slow client
holds up nobody: the others are called at the same time.

    python examples/rpc_chat.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sdkit.rpc import Connection, Server, ServerConfig, connect

SECRET = "only members have this"


class Room:
    """Who is here, by connection; whoever loses the connection has left."""

    def __init__(self) -> None:
        self.members: dict[str, Connection] = {}

    async def join(self, connection: Connection, name: str) -> int:
        self.members[name] = connection
        connection.on_close(lambda: self.members.pop(name))
        await self.tell(f"{name} has joined")
        return len(self.members)

    async def say(self, connection: Connection, text: str) -> None:
        (name,) = (name for name, known in self.members.items() if known is connection)
        await self.tell(f"{name}: {text}")

    async def tell(self, line: str) -> None:
        await asyncio.gather(*(each.call("hear", line) for each in self.members.values()))


def hear_as(name: str, heard: list[str]) -> Callable[[Connection, str], None]:
    def hear(_connection: Connection, line: str) -> None:
        heard.append(f"[{name}] {line}")

    return hear


async def main() -> None:
    room, heard = Room(), list[str]()
    async with Server({"join": room.join, "say": room.say}, ServerConfig(secret=SECRET)) as server:
        people = {}
        for name in ("ada", "grace"):
            people[name] = await connect(
                *server.address, secret=SECRET, handlers={"hear": hear_as(name, heard)}
            )
            await people[name].call("join", name)
        await people["ada"].call("say", "is anybody there?")
        await people["ada"].close()
        await people["grace"].call("say", "she has gone")
        await people["grace"].close()
    print("\n".join(heard))


if __name__ == "__main__":
    asyncio.run(main())
