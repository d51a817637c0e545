"""The matrix: every anomaly script at every level shows what the level allows, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from importlib.resources import files
from pathlib import Path

import pytest

from sdkit.cli.anomalies import AnomalyScript, Course, file_name, observe, parts_of, run, scripts
from sdkit.cli.store_sessions import StoreSubject
from sdkit.host import Host
from sdkit.script import ScriptError
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run as simulate
from sdkit.storage import LocalHost
from sdkit.store import (
    Store,
    StoreClient,
    StoreConfig,
    StoreEngine,
    StoreServer,
    StoreServerConfig,
)
from sdkit.store.database import Database
from sdkit.store.interface import Isolation
from sdkit.store.isolation import ANOMALIES, RULES
from sdkit.without.isolation import CommitsWithoutALook, LocksNoRanges, TrustsThoseWhoOnlyRead
from sdkit.without.store import LosesUpdates, ReadsTheNewestAtRepeatableRead
from tests.store.adapters import postgresql
from tests.store.anarchy import Anarchy

LEVELS = list(RULES)
SCRIPTS = scripts()


def allowed(level: str) -> list[str]:
    return [each for each in ANOMALIES if each not in RULES[level].forbids]


def test_the_table_is_the_one_that_was_promised() -> None:
    assert allowed("read uncommitted") == list(ANOMALIES[1:])
    assert allowed("read committed") == list(ANOMALIES[4:])
    assert allowed("repeatable read") == ["write skew", "predicate write skew", "read-only anomaly"]
    assert allowed("serializable (locking)") == allowed("serializable (optimistic)") == []


def test_each_anomaly_has_its_script_and_there_is_no_other() -> None:
    there = sorted(each.name for each in (files("sdkit.store") / "anomalies").iterdir())
    assert there == sorted(map(file_name, ANOMALIES))
    assert [each.anomaly for each in SCRIPTS] == list(ANOMALIES)


def test_the_script_on_the_page_is_the_one_that_is_run() -> None:
    shown = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
    script = files("sdkit.store") / "anomalies" / file_name("lost update")
    assert f"```text\n{script.read_text(encoding='utf-8')}```" in shown


async def observed(
    isolation: Isolation, store: Store, open_store: Callable[[], Awaitable[Store]] | None = None
) -> list[str]:
    """The anomalies that the scripts show."""

    async def the_same() -> Store:
        return store

    return [
        script.anomaly
        for script in SCRIPTS
        if (await observe(script, isolation, store, open_store or the_same)).observed
    ]


async def embedded(level: str, database: type[Database] = Database) -> list[str]:
    isolation, kind = parts_of(level)
    config = StoreConfig(serializable=kind or "optimistic")
    async with StoreEngine(SimulatedHost("db"), config, database=database) as store:
        return await observed(isolation, store)


async def over_tcp(host: Host | SimulatedHost, level: str) -> list[str]:
    isolation, kind = parts_of(level)
    config = StoreServerConfig(serializable=kind or "optimistic")
    async with StoreServer(host, config) as server, AsyncExitStack() as clients:

        async def open_store() -> Store:
            return await clients.enter_async_context(StoreClient(*server.address))

        return await observed(isolation, await open_store(), open_store)


@pytest.mark.parametrize("level", LEVELS)
def test_embedded_a_level_shows_what_it_allows(level: str) -> None:
    assert simulate(embedded(level)) == allowed(level)


@pytest.mark.parametrize("level", LEVELS)
def test_over_tcp_it_shows_the_same(level: str) -> None:
    assert simulate(over_tcp(SimulatedHost("db"), level)) == allowed(level)


@pytest.mark.parametrize("level", LEVELS)
def test_over_real_tcp_it_shows_the_same(level: str, tmp_path: Path) -> None:
    with LocalHost("db", tmp_path) as host:
        assert asyncio.run(over_tcp(host, level)) == allowed(level)


def test_without_any_isolation_every_script_shows_its_anomaly() -> None:
    assert simulate(observed(Isolation.READ_UNCOMMITTED, Anarchy())) == list(ANOMALIES)


@pytest.mark.parametrize(
    ("level", "without", "shown"),
    [
        ("repeatable read", LosesUpdates, "lost update"),
        ("repeatable read", ReadsTheNewestAtRepeatableRead, "non-repeatable read"),
        ("repeatable read", ReadsTheNewestAtRepeatableRead, "read skew"),
        ("serializable (locking)", LocksNoRanges, "phantom"),
        ("serializable (locking)", LocksNoRanges, "predicate write skew"),
        ("serializable (optimistic)", CommitsWithoutALook, "write skew"),
        ("serializable (optimistic)", CommitsWithoutALook, "predicate write skew"),
        ("serializable (optimistic)", TrustsThoseWhoOnlyRead, "read-only anomaly"),
    ],
)
def test_a_level_without_one_of_its_rules_shows_more(
    level: str, without: type[Database], shown: str
) -> None:
    assert shown in simulate(embedded(level, without))


# Where PostgreSQL differs from ours: it has no dirty reads, so that its read uncommitted is
# its read committed. Its serializable is optimistic.
POSTGRESQL = {
    Isolation.READ_UNCOMMITTED: "read committed",
    Isolation.READ_COMMITTED: "read committed",
    Isolation.REPEATABLE_READ: "repeatable read",
    Isolation.SERIALIZABLE: "serializable (optimistic)",
}


@pytest.fixture(scope="module")
def where() -> Iterator[str]:
    if reason := postgresql.why_not():
        pytest.skip(reason)
    with postgresql.server() as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("isolation", Isolation)
def test_postgresql_shows_the_same_but_for_dirty_reads(isolation: Isolation, where: str) -> None:
    async def measured() -> list[str]:
        async with postgresql.PostgresqlStore(where) as store:
            return await observed(isolation, store)

    assert asyncio.run(measured()) == allowed(POSTGRESQL[isolation])


# How a script is run


async def played(text: str) -> Course:
    async with StoreEngine(SimulatedHost("db")) as store:

        async def open_store() -> Store:
            return store

        subject = StoreSubject(store, open_store)
        try:
            return await run(AnomalyScript.parsed("bad", text), subject)
        finally:
            await subject.close()


def test_a_step_that_waits_holds_up_its_own_session_and_nobody_else() -> None:
    course = simulate(
        played("""sessions alice bob carol
alice: begin
bob: begin
alice: put x 1
bob: put x 2
bob: rollback
    ok
carol: begin
carol: get x
    nothing
alice: rollback
""")
    )
    assert list(course.answers.items())[-5:] == [
        (8, "ok"),
        (9, "nothing"),
        (11, "ok"),
        (5, "ok"),
        (6, "ok"),
    ]
    assert course.observed


def test_who_is_never_answered_has_shown_nothing() -> None:
    steps = "alice: begin\nbob: begin\nalice: put x 1\nbob: put x 2\n    ok\n"
    course = simulate(played("sessions alice bob\n" + steps))
    assert not course.observed
    assert str(course).endswith("bob: put x 2\n    waits, to the end")


def test_a_script_without_an_answer_would_always_be_fulfilled_and_is_refused() -> None:
    with pytest.raises(ScriptError, match="bad:2: expected an answer below some step"):
        AnomalyScript.parsed("bad", "sessions alice\nalice: begin\n")


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ("setup: put x 1", "bad:2: setup has no transaction for 'put'; expected begin"),
        ("setup: begin\nsetup: put '' 1", "bad:3: invalid_argument: "),
        ("alice: begin\nalice: put x 1\nsetup: begin\nsetup: put x 2", "bad:5: setup waits"),
        ("alice: fly", "bad:2: no command 'fly'; there are: "),
    ],
)
def test_a_script_that_cannot_be_run_is_an_error_and_no_verdict(steps: str, problem: str) -> None:
    with pytest.raises(ScriptError) as raised:
        simulate(played(f"sessions setup alice\n{steps}\n    ok\n"))
    assert str(raised.value).startswith(problem)
