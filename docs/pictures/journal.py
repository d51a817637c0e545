"""The picture on ``docs/journal.md``: three clients, two groups, two syncs, one mark."""

from __future__ import annotations

import asyncio
from random import Random

from sdkit.sim.disk import SimulatedDisk, Step
from sdkit.sim.loop import run
from sdkit.storage import Journal
from sdkit.trace import Record, SequenceDiagram, event, listening


def draw() -> str:
    """Every append, every step of the disk, and who is told when."""
    picture = SequenceDiagram(_label)
    with listening(picture):
        run(_commits())
    return picture.text()


def _label(record: Record) -> str | None:
    return str(record.fields["label"]) if record.name == "picture.arrow" else None


def _arrow(source: str, target: str, label: str) -> None:
    event("picture.arrow", source=source, target=target, label=label)


async def _commits() -> None:
    disk = SimulatedDisk()
    journal = await Journal.open(disk, room="picture", random=Random(0))

    def on_step(step: Step) -> None:
        if step.operation in ("append", "sync"):
            what = "a mark" if step.operation == "append" and journal.synced == journal.end else ""
            count = journal.end - journal.synced
            group = what or f"{count} record{'' if count == 1 else 's'}"
            label = f"write {group}" if step.operation == "append" else "sync"
            _arrow("journal", "disk", label)

    disk.on_step = on_step

    async def client(name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        lsn = journal.append(b"a record")
        _arrow(name, "journal", f"append: LSN {lsn}")
        await journal.wait(lsn)
        _arrow("journal", name, f"{lsn} is durable")

    async with asyncio.TaskGroup() as group:
        for name, after_s in (("client a", 0.0), ("client b", 20e-6), ("client c", 50e-6)):
            group.create_task(client(name, after_s))
    await asyncio.sleep(0.001)
    disk.on_step = None
    await journal.close()
