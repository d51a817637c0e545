"""A real server without a descriptor to spare goes on serving those who are there."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sdkit.errors import Overloaded
from sdkit.store import StoreClient

DESCRIPTORS = 40  # of which the server keeps half back; a turn of the loop may accept 64
STRANGERS = 200
PUTS = 8


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_without_a_descriptor_for_strangers_its_clients_are_served_and_no_core_spins(
    tmp_path: Path,
) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "serve", "store", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit_descriptors,  # noqa: PLW1509  before any thread of ours
    )
    assert server.stdout is not None
    port = int(server.stdout.readline().split("127.0.0.1:")[1].split(",")[0])

    async def put(store: StoreClient, value: int) -> None:
        async with store.begin() as transaction:
            await transaction.put(b"a", b"%d" % value)

    async def asked_by_a_newcomer() -> bytes | None:
        """The value, as soon as the server has noticed that the strangers are gone."""
        while True:
            try:
                async with StoreClient("127.0.0.1", port) as store, store.begin() as look:
                    return await look.get(b"a")
            except Overloaded:
                await asyncio.sleep(0.05)

    async def main() -> None:
        async with StoreClient("127.0.0.1", port) as store:
            await put(store, 0)
            with ExitStack() as strangers:
                for _ in range(STRANGERS):
                    stranger = strangers.enter_context(socket.socket())
                    stranger.setblocking(False)
                    stranger.connect_ex(("127.0.0.1", port))
                began, used = time.monotonic(), processor_seconds(server.pid)
                for number in range(PUTS):
                    await put(store, number)
                    await asyncio.sleep(0.1)
                share = (processor_seconds(server.pid) - used) / (time.monotonic() - began)
            assert share < 0.5
            assert await asked_by_a_newcomer() == b"%d" % (PUTS - 1)

    try:
        asyncio.run(main())
    finally:
        server.terminate()
        said, errors = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "no file descriptor is left for new connections" in said
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 1, "the warning of the start"
