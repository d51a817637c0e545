"""Walks: record which functions of the package a request calls, in order.

A reader who follows a request has to read these functions. The figures of a walk are printed by
``python -m tests.walk``:

    calls     functions of sdkit that were entered (a coroutine counts again each time it goes on)
    files     in how many files they are
    returns   how often the walk came back to a file that it had left

Client and server run in one process over real TCP, so that both halves are seen.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import sdkit
from sdkit.rpc import Server, connect
from sdkit.storage import LocalHost
from sdkit.store import StoreClient, StoreServer

PACKAGE = str(Path(sdkit.__file__).parent)


@dataclass
class Walk:
    """The functions entered, in order: file and name."""

    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def files(self) -> int:
        return len({file for file, _ in self.steps})

    @property
    def returns(self) -> int:
        """How often the walk came back to a file that it had left."""
        seen: set[str] = set()
        count, before = 0, ""
        for file, _ in self.steps:
            count += file != before and file in seen
            seen.add(file)
            before = file
        return count

    def __str__(self) -> str:
        return f"{len(self.steps)} calls in {self.files} files, {self.returns} returns"


async def walk(action: Callable[[], Awaitable[object]]) -> Walk:
    """Record the walk of one ``action``. A first run, not recorded, does what happens only once."""
    await action()
    found = Walk()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE):
            found.steps.append((Path(file).relative_to(PACKAGE).as_posix(), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        await action()
    finally:
        sys.setprofile(None)
    return found


async def walks() -> dict[str, Walk]:
    """Record a remote call, and over TCP the first put of a transaction and its commit."""
    found: dict[str, Walk] = {}
    handlers = {"echo": lambda _connection, value: value}
    async with Server(handlers) as server, await connect(*server.address) as connection:
        found["a remote call"] = await walk(lambda: connection.call("echo", 1))
    with tempfile.TemporaryDirectory() as directory, LocalHost("db", directory) as host:
        async with StoreServer(host) as server, StoreClient(*server.address) as store:
            begun = []

            async def put() -> None:
                begun.append(store.begin())
                await begun[-1].put(b"%d" % len(begun), b"1")

            found["a put"] = await walk(put)
            found["a commit"] = await walk(lambda: begun.pop().commit())
    return found


if __name__ == "__main__":
    for name, steps in asyncio.run(walks()).items():
        print(f"{name}: {steps}")
        if "--steps" in sys.argv:
            for file, function in steps.steps:
                print(f"    {file:32} {function}")
