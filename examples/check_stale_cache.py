"""A cache in front of a store, filled by a reader that was slow: is it still one register?

The writer changes the store and then deletes the key from the cache, as one should. But a
reader that had read the old value from the store puts it into the cache afterwards, and
there it stays. Every client writes down what it did; the checker finds the read that no
register could have answered.
"""

from __future__ import annotations

import asyncio

from sdkit.check import History, Recorder, Register, linearizability


class CachedStore:
    """Read through the cache, write to the store and invalidate."""

    def __init__(self) -> None:
        self.store: dict[str, int] = {"x": 1}
        self.cache: dict[str, int] = {}

    async def read(self, key: str, *, slow: bool = False) -> int:
        if key not in self.cache:
            value = self.store[key]
            await asyncio.sleep(0.02 if slow else 0)
            self.cache[key] = value
        return self.cache[key]

    async def write(self, key: str, value: int) -> None:
        self.store[key] = value
        self.cache.pop(key, None)


async def record() -> History:
    """Three clients, and what each of them did and saw."""
    things, recorder = CachedStore(), Recorder()
    recorder.invoke("setup", "write", "x", 1)
    recorder.ok("setup")

    async def reads(client: str, *, slow: bool = False) -> None:
        recorder.invoke(client, "read", "x")
        recorder.ok(client, await things.read("x", slow=slow))

    async def writes(client: str, value: int) -> None:
        recorder.invoke(client, "write", "x", value)
        await things.write("x", value)
        recorder.ok(client)

    slow = asyncio.create_task(reads("alice", slow=True))
    await asyncio.sleep(0)
    await writes("bob", 2)
    await slow
    await reads("carol")
    return recorder.history()


if __name__ == "__main__":
    print(linearizability.check(asyncio.run(record()), Register()).explain())
