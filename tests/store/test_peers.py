"""The specification of a store, on SQLite and PostgreSQL: if they fail it, it is wrong."""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from sdkit.spec.store import Promises, one_session, sessions
from sdkit.store.interface import Isolation, Store
from tests.store.adapters import postgresql
from tests.store.adapters.sqlite import SqliteStore

pytestmark = pytest.mark.slow

# Each example opens a database or talks to a server: fewer of them than for ours.
FEW = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def with_few_examples(case: type[unittest.TestCase]) -> type[unittest.TestCase]:
    for name in dir(case):
        test: Any = getattr(case, name)
        if name.startswith("test_") and hasattr(test, "hypothesis"):
            setattr(case, name, FEW(test))
    return case


@asynccontextmanager
async def sqlite() -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "data.db")
        try:
            yield store
        finally:
            store.close()


ALONE = Promises(
    in_order=False,
    absent_keys=False,
    positions=False,
    writers_wait=False,
    conflicts_by_key=False,
    isolations=(Isolation.REPEATABLE_READ,),
)
TestSqliteOneSession = with_few_examples(one_session(sqlite, loop="real"))
TestSqliteSessions = with_few_examples(sessions(sqlite, promises=ALONE, loop="real"))

WHERE = ""


@asynccontextmanager
async def postgres() -> AsyncIterator[Store]:
    async with postgresql.PostgresqlStore(WHERE) as store:
        yield store


@pytest.fixture(scope="module")
def running() -> Iterator[None]:
    global WHERE
    reason = postgresql.why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgresql.server() as WHERE:
        yield


TestPostgresqlOneSession = pytest.mark.usefixtures("running")(
    with_few_examples(one_session(postgres, loop="real"))
)
TestPostgresqlSessions = pytest.mark.usefixtures("running")(
    with_few_examples(sessions(postgres, promises=postgresql.PROMISES, loop="real"))
)
