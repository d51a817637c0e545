"""The table of events on ``docs/rpc.md`` is what the code says."""

from __future__ import annotations

import asyncio
import errno
import re
from pathlib import Path

import pytest

from sdkit.errors import NotConnected, SdkitError
from sdkit.host import running_on
from sdkit.net import FewDescriptors, InsecureListener
from sdkit.rpc import Connection, connect, server
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.sim.sockets import SimulatedSocket
from sdkit.trace import Record, listening
from tests.rpc.services import connected, raw_peer, serving

PAGE = Path(__file__).parent.parent.parent / "docs" / "rpc.md"
ROW = re.compile(r"^\| `((?:rpc|server)\.\w+)`( \(span\))? \| ([^|]*) \|", re.MULTILINE)


def table() -> dict[tuple[str, bool], set[str]]:
    text = PAGE.read_text(encoding="utf-8")
    rows = ROW.findall(text[: text.index("Every server answers the method")])
    return {(name, bool(span)): set(fields.split(", ")) for name, span, fields in rows}


def _exhausted(_listening: SimulatedSocket) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


async def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(_c: Connection) -> None:
        await asyncio.sleep(1000)

    async with serving({"slow": slow}, calls_in_flight_max=2, grace_s=0.1) as running:
        connection = await connect(*running.address)
        await connection.call("sleep", 0.1)
        calls = [connection.start("slow") for _ in range(3)]
        async with raw_peer(running) as stranger:
            stranger.writer.write(b"nonsense")
            await stranger.hear_the_end()
    assert len(await asyncio.gather(*calls, return_exceptions=True)) == 3
    await connection.close()
    async with connected(connections_max=1) as (full, _):
        with pytest.raises(SdkitError):
            await connect(*full.address)
    with pytest.warns(InsecureListener):
        async with serving(host="0.0.0.0"):
            pass
    monkeypatch.setattr(SimulatedSocket, "accept", _exhausted)
    async with serving() as busy:
        with pytest.raises(NotConnected):
            await connect(*busy.address, timeout_s=0.1)
    monkeypatch.undo()
    with pytest.warns(FewDescriptors), running_on(SimulatedHost("small", descriptors_max=64)):
        async with serving(connections_max=1001):
            pass


def test_the_page_names_every_metric_of_a_server() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in server.MEANINGS)

    async def main() -> set[str]:
        async with serving() as running:
            return set(running._own_gauges())

    assert run(main()) == set(server.MEANINGS)


def test_the_page_names_every_event_and_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[tuple[str, bool], set[str]] = {}

    def note(record: Record) -> None:
        if record.name.startswith(("rpc.", "server.")):
            key = record.name, record.duration_ns is not None
            seen.setdefault(key, set()).update(record.fields)

    with listening(note):
        run(everything(monkeypatch))
    assert seen == table()
