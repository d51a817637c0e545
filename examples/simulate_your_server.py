"""Your own asyncio server in a simulated world: where does it break its promise?

A counter: each line that a client sends is added, the answer is the new total.
Its promise: what was answered is still there after a power cut. Three versions
of one method are tried under many seeds, until one of them breaks it.

python examples/simulate_your_server.py
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from random import Random

from sdkit.host import current
from sdkit.sim.world import World, simulate
from sdkit.storage.disk import File

SEEDS = 50

# ── the server: plain asyncio, which also runs on a real host ────────────────


class Counter:
    log: File
    total = 0

    async def serve(self) -> None:
        await self.start()
        async with await asyncio.start_server(self.answer, "counter", 7000) as server:
            await server.serve_forever()

    async def start(self) -> None:
        """Open the log, and add up what is there."""
        disk = current().disk
        exists = "log" in await disk.list()
        self.log = await disk.open("log", create=not exists)
        lines = (await self.log.read_at(0, self.log.size)).split(b"\n")[:-1]
        self.total = sum(int(line) for line in lines if line.isdigit())

    async def answer(self, reader: StreamReader, writer: StreamWriter) -> None:
        while line := await reader.readline():
            self.log.append(line)
            await self.make_durable()
            self.total += int(line)
            writer.write(b"%d\n" % self.total)
            await writer.drain()
        writer.close()

    async def make_durable(self) -> None:
        """Nothing: it is written, is it not?"""


class SyncedCounter(Counter):
    async def make_durable(self) -> None:
        await self.log.sync()


class CarefulCounter(SyncedCounter):
    async def start(self) -> None:
        await super().start()
        await current().disk.sync_directory()  # the name of a new file is not in the file


# ── the scenario ─────────────────────────────────────────────────────────────


def counting(kind: type[Counter], seed: int) -> Callable[[World], Coroutine[None, None, str]]:
    async def play(world: World) -> str:
        random, answered = Random(seed), [0]

        async def client() -> None:
            reader, writer = await asyncio.open_connection("counter", 7000)
            while True:
                writer.write(b"1\n")
                answered.append(int(await reader.readline()))
                await asyncio.sleep(0.01)

        async def count_again() -> int:
            recovered = kind()
            await recovered.start()
            await recovered.log.close()
            return recovered.total

        server = world.machine("counter")
        server.boot(lambda: kind().serve())
        await asyncio.sleep(0.1)
        world.machine("client").boot(client, may_fail=True)  # when the connection breaks
        await asyncio.sleep(random.uniform(0, 1))
        server.power_cut(random)
        server.boot(count_again)
        total = await server.ended
        return "" if total >= answered[-1] else f"answered {answered[-1]}, and kept {total}"

    return play


for kind in (Counter, SyncedCounter, CarefulCounter):
    for seed in range(SEEDS):
        if broken := simulate(counting(kind, seed), seed=seed).value:
            print(f"{kind.__name__}: seed {seed} breaks it: {broken}")
            break
    else:
        print(f"{kind.__name__}: held in {SEEDS} runs")
