"""The picture of ``docs/store.md``: two transactions on one key, from begin to commit."""

from __future__ import annotations

import asyncio
from typing import Final

from sdkit.host import running_on
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import SerializationFailure, StoreConfig, StoreEngine, Transaction
from sdkit.trace import Record, SequenceDiagram, event, listening

NAMES: Final = {2: "T2", 3: "T3"}  # transaction 1 sets the stage


def draw() -> str:
    diagram = SequenceDiagram(_label)
    with listening(diagram):
        run(_story())
    return diagram.text()


async def _story() -> None:
    host = SimulatedHost("store")
    with running_on(host):
        async with StoreEngine(host, StoreConfig()) as store:
            async with store.begin() as setup:
                await setup.put(b"balance", b"100")
            first, second = store.begin(), store.begin()
            await _get(first)
            await _get(second)
            await _put(first, b"70")
            waiting = asyncio.ensure_future(_put(second, b"200"))
            await asyncio.sleep(0)
            _say(first, "commit")
            await first.commit()
            _answer(first, "committed")
            try:
                await waiting
            except SerializationFailure as error:
                _answer(second, error.code)


async def _get(transaction: Transaction) -> None:
    _say(transaction, "get balance")
    _answer(transaction, (await transaction.get(b"balance") or b"nothing").decode())


async def _put(transaction: Transaction, value: bytes) -> None:
    _say(transaction, f"put balance {value.decode()}")
    await transaction.put(b"balance", value)


def _say(transaction: Transaction, what: str) -> None:
    event("picture.call", source=NAMES[transaction.id], target="store", label=what)


def _answer(transaction: Transaction, what: str) -> None:
    event("picture.answer", source="store", target=NAMES[transaction.id], label=what)


def _label(record: Record) -> str | None:
    fields = record.fields
    number = fields.get("transaction")
    match record.name:
        case "picture.call" | "picture.answer":
            return str(fields["label"])
        case "store.wait":
            return f"T{number} waits for the lock that T{fields['holder']} holds"
        case "store.commit" if number in NAMES:
            return f"durable at position {fields['position']}: now T{number} is visible"
        case "store.abort" if number in NAMES:
            return f"T{number} has read an older state, so it has lost"
    return None
