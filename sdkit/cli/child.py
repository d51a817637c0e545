"""A room's server as a child process: started, killed without warning, started again.

The only honest way to show that a server survives ``kill -9`` is to give it a
process of its own and send it SIGKILL. `ServedRoom` does just that, and lets
clients wait for the address of its next life.

Every life listens on a new port that the system chooses. Returning to the old
one would invite a curious accident: a client that dials a port of 127.0.0.1 on
which nobody listens may be given that same port as its own, and TCP then
connects the socket to itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sdkit.errors import NotConnected

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0


class ServedRoom:
    """``sdkit serve ROOM`` on a directory, as a child process, through many lives.

    As a context manager it starts the first life and ends the last one.

    Args:
        room: what to serve.
        data: its data directory, the same for every life.
        options: further options of ``sdkit serve ROOM``.
    """

    def __init__(self, room: str, data: Path, options: list[str] | None = None) -> None:
        self._command = [sys.executable, "-m", "sdkit.cli.start", "serve", room]
        self._command += ["--json", "--stop-at-eof", "--data", str(data), *(options or [])]
        self._process: asyncio.subprocess.Process | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._address: tuple[str, int] | None = None
        self._changed = asyncio.Condition()
        self._told_to_end = False
        self._fallen: NotConnected | None = None  # the present life has ended by itself
        self.start_ms: Final[list[float]] = []  # of every life: process start to listening
        self.recovery_ms: Final[list[float]] = []  # of every life: its own measure of recovery
        self.notes: Final[list[str]] = []  # what the lives said of repairs

    @property
    def pid(self) -> int | None:
        """The process of the present life."""
        return None if self._process is None else self._process.pid

    async def address(self) -> tuple[str, int]:
        """Where the present life listens; waits for the next life if there is none.

        Raises:
            NotConnected: it ended, and nobody had told it to.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._address or self._fallen)
        if self._fallen is not None:
            raise NotConnected(self._fallen.message)
        assert self._address is not None
        return self._address

    async def start(self) -> None:
        """Begin a life and wait until it listens.

        Raises:
            NotConnected: it ended, or was not there in time; with what it printed.
        """
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,  # closed by our end, however that comes
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        listening: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        self._process, self._told_to_end, self._fallen = process, False, None
        self._hearing = asyncio.create_task(self._hear(process, listening))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                heard = await listening
        except TimeoutError:
            raise NotConnected(f"no server after {START_TIMEOUT_S:g} s") from None
        self.start_ms.append((time.monotonic() - began) * 1e3)
        self.recovery_ms.append(float(str(heard["recovery_ms"])))
        host, _, port = str(heard["address"]).rpartition(":")
        async with self._changed:
            self._address = host, int(port)
            self._changed.notify_all()

    async def kill(self, after_s: float = 0.0) -> None:
        """SIGKILL, ``after_s`` from now: not one more instruction of it runs.

        A thread sends it. The event loop could only do so between two of its own
        steps, when it has just read every answer there was, and hardly any commit
        would ever be caught on its way.
        """
        self._told_to_end = True
        if self._process is not None and self._process.returncode is None:
            await asyncio.to_thread(_kill_later, self._process.pid, after_s)
        # No second signal: `send_signal` first looks whether it has ended, which takes
        # the exit status away from asyncio, and asyncio says so on standard error.
        await self._end(None)

    async def stop(self) -> int:
        """SIGTERM, and wait for its clean end; returns its exit status."""
        return await self._end(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait for the end of a life that was told to end otherwise; returns its exit status."""
        return await self._end(None)

    async def _end(self, number: signal.Signals | None) -> int:
        self._told_to_end = True
        process, self._process, self._address = self._process, None, None
        if process is None:
            return 0
        if process.returncode is None and number is not None:
            with suppress(ProcessLookupError):  # it has ended by itself meanwhile
                process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        assert self._hearing is not None
        await self._hearing
        return process.returncode or 0

    async def _hear(
        self,
        process: asyncio.subprocess.Process,
        listening: asyncio.Future[dict[str, object]],
    ) -> None:
        """Read what a life says until its end, or it would one day wait for a full pipe."""
        assert process.stdout is not None
        assert process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        while line := await process.stdout.readline():
            said: dict[str, object] = json.loads(line)
            if said["event"] == "listening" and not listening.done():
                listening.set_result(said)
            elif said["event"] == "repair":
                self.notes.append(str(said["text"]))
        assert process.stdin is not None
        process.stdin.close()
        last_words = (await errors).decode(errors="replace").strip()
        status = await process.wait()
        ended = f"the server ended with status {status}: {last_words or 'it said nothing'}"
        if not listening.done():
            listening.set_exception(NotConnected(ended))
        elif not self._told_to_end:
            async with self._changed:
                self._fallen = NotConnected(f"process {process.pid}, {ended}")
                self._changed.notify_all()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self._end(signal.SIGKILL)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await (self.stop() if kind is None else self.kill())


@asynccontextmanager
async def serving(*rooms: ServedRoom) -> AsyncIterator[None]:
    """Several at once: started side by side, since each needs a while, and ended in turn."""
    async with AsyncExitStack() as stack:
        async with asyncio.TaskGroup() as group:
            for room in rooms:
                group.create_task(stack.enter_async_context(room))
        yield


def _kill_later(pid: int, after_s: float) -> None:
    time.sleep(after_s)
    with suppress(ProcessLookupError):  # it has ended by itself meanwhile
        os.kill(pid, signal.SIGKILL)
