"""A server in a process of its own: who ends it, and who is told."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sdkit.cli.child import ServedRoom
from sdkit.errors import NotConnected


def test_whoever_asks_for_a_server_that_has_ended_by_itself_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), ServedRoom("store", tmp_path) as served:
            pid = served.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(NotConnected, match=f"process {pid}, the server ended with status"):
                while True:  # until its end was noticed
                    await served.address()
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_after_a_planned_end_the_next_life_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), ServedRoom("store", tmp_path) as served:
            first = await served.address()
            await served.kill()
            asked = asyncio.ensure_future(served.address())
            await served.start()
            assert await asked != first

    asyncio.run(main())
