"""A program that does what usually follows memory addresses; run by test_loop.py.

It prints everything that happens, in order: clients that time out, that are
raced against each other, and that are collected in sets.
"""

from __future__ import annotations

import asyncio
import sys

from sdkit.sim.loop import run


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        await asyncio.sleep(int(line) % 7 / 1000)
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def client(port: int, number: int) -> None:
    say = f"{number:3}"
    reader, writer = await asyncio.open_connection("localhost", port)
    try:
        for turn in range(4):
            writer.write(b"%d\n" % (number * 31 + turn))
            async with asyncio.timeout(0.006):
                say += f" {(await reader.readline()).decode().strip()}"
            print(f"{asyncio.get_running_loop().time():.9f} {say}")
    except TimeoutError:
        print(f"{asyncio.get_running_loop().time():.9f} {say} timed out")
    finally:
        writer.close()
        await writer.wait_closed()


async def main() -> None:
    ballast = [object() for _ in range(int(sys.argv[1]))]
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=300)
    async with server:
        port = server.sockets[0].getsockname()[1]
        waiting = {asyncio.create_task(client(port, number)) for number in range(200)}
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=0.002)
            print("done", *(task.get_name() for task in done))
        await asyncio.sleep(1)  # the server notices that its clients are gone
        print("left", *sorted(task.get_name() for task in asyncio.all_tasks()))
    del ballast


if __name__ == "__main__":
    run(main(), latency_s=(0.000_2, 0.003), seed=7)
