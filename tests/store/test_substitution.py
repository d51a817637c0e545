"""Variants: a class within a class within a server is exchanged by naming another."""

from __future__ import annotations

from sdkit import host as hosts
from sdkit.sim.loop import run
from sdkit.storage import Journal
from sdkit.store import StoreEngine, StoreServer


class OtherJournal(Journal):
    """Like any other."""


class OtherEngine(StoreEngine):
    """Logs to it."""

    journal_type = OtherJournal


class OtherServer(StoreServer):
    """Serves it."""

    engine_type = OtherEngine


def test_an_engine_opens_the_journal_that_it_names() -> None:
    async def main() -> None:
        async with OtherEngine(hosts.current()) as store:
            assert isinstance(store.journal, OtherJournal)

    run(main())


def test_a_server_makes_the_engine_that_it_names() -> None:
    async def main() -> None:
        async with OtherServer(hosts.current()) as server:
            assert isinstance(server.engine, OtherEngine)
            assert isinstance(server.engine.journal, OtherJournal)

    run(main())
