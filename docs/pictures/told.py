"""A script of an anomaly, drawn: who says what to the store, and what it answers when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from sdkit.cli.anomalies import parts_of, run, scripts
from sdkit.cli.store_sessions import StoreSubject
from sdkit.host import running_on
from sdkit.script import Answer
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run as simulate
from sdkit.store import Isolation, Store, StoreConfig, StoreEngine
from sdkit.trace import Record, SequenceDiagram, event, listening

NOT_DRAWN: Final = ("setup", "after")


class Drawn(StoreSubject):
    """Says every step and every answer, so that they can be drawn."""

    def __init__(
        self,
        watched: Store,
        open_store: Callable[[], Awaitable[Store]],
        known: dict[int, str],
        *,
        default: Isolation,
    ) -> None:
        super().__init__(watched, open_store, default=default)
        self._known = known

    async def start(self, session: str, command: str, arguments: Sequence[str]) -> None:
        if session not in NOT_DRAWN and command != "begin":
            words = " ".join([command, *arguments])
            event("picture.call", source=session, target="store", label=words)
        self._known.update(self.names())
        await super().start(session, command, arguments)

    def answers(self) -> list[Answer]:
        answers = super().answers()
        for answer in answers:
            if answer.session not in NOT_DRAWN and answer.text != "ok":
                text = answer.text.partition(":")[0]  # of an error, its code
                event("picture.answer", source="store", target=answer.session, label=text)
        return answers


def draw(anomaly: str, level: str) -> str:
    """The script of an anomaly at a level (the names are those of `sdkit.store.isolation`)."""
    script = next(script for script in scripts() if script.anomaly == anomaly)
    isolation, serializable = parts_of(level)
    names: dict[int, str] = {}
    diagram = SequenceDiagram(partial(_label, names))

    async def tell() -> None:
        host = SimulatedHost("store")
        config = StoreConfig(serializable=serializable or "optimistic")
        with running_on(host):
            async with StoreEngine(host, config) as store:

                async def given() -> Store:
                    return store

                subject = Drawn(store, given, names, default=isolation)
                try:
                    with listening(diagram):
                        await run(script, subject)
                finally:
                    await subject.close()

    simulate(tell())
    return diagram.text()


def _label(names: dict[int, str], record: Record) -> str | None:
    fields = record.fields
    match record.name:
        case "picture.call" | "picture.answer":
            return str(fields["label"])
        case "store.wait":
            key = str(fields["key"], "ascii")
            who, holder = names[fields["transaction"]], names[fields["holder"]]
            return f"{who} waits for the key {key}, which {holder} has locked"
        case "store.deadlock":
            return f"a circle: {names[fields['victim']]} gives way"
    return None
