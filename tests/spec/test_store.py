"""The engine meets its specification, and the specification bites."""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.spec.store import instant_of_commit, one_session, serializable, sessions
from sdkit.store import StoreConfig, StoreEngine
from sdkit.store.database import Database
from sdkit.store.interface import Store
from sdkit.store.optimistic import Conflicts
from tests.spec.bite import assert_caught, fewer
from tests.spec.mutants import store_engine as engines
from tests.spec.mutants.store import MUTANTS, Mutant

COMMIT_S = 5.0
SMALL = 2**16  # bytes of a segment, and so of the reserve, which every new store writes
PATIENT = StoreConfig(idle_transaction_timeout_s=1e3, lock_wait_timeout_s=1e3, segment_bytes=SMALL)
LOCKING = dataclasses.replace(PATIENT, serializable="locking")
HASTY = dataclasses.replace(PATIENT, idle_transaction_timeout_s=1.0, lock_wait_timeout_s=1.0)


def engine(
    database: type[Database] = Database,
    *,
    sync_s: float = 100e-6,
    config: StoreConfig = PATIENT,
    engine_type: type[StoreEngine] = StoreEngine,
) -> Callable[[], AbstractAsyncContextManager[Store]]:
    """A factory of empty stores on a simulated disk."""

    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        host = SimulatedHost("db", SimulatedDisk(sync_s=sync_s))
        async with engine_type(host, config, database=database) as store:
            yield store

    return make


class RemembersLittle(Database):
    """What it remembers of the committed is coarse at once."""

    class Coarse(Conflicts):
        marks_max = 3
        coarse_ranges = 1

    conflicts_type = Coarse


def commits(database: type[Database] = Database) -> type[unittest.TestCase]:
    return instant_of_commit(
        engine(database, sync_s=COMMIT_S),
        engine(database, sync_s=COMMIT_S, config=HASTY),
        commit_s=COMMIT_S,
    )


TestOneSession = one_session(engine())
TestSessions = sessions(engine())
TestInstantOfCommit = commits()
TestOneSessionLocking = fewer(one_session(engine(config=LOCKING)), 30)
TestSessionsLocking = fewer(sessions(engine(config=LOCKING)), 20)
TestLocking = serializable(engine(config=LOCKING))
TestOptimistic = serializable(engine(), reads_wait=False)
TestOptimisticAndForgetful = pytest.mark.slow(
    serializable(engine(RemembersLittle), reads_wait=False)
)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=[f"{m.database.__name__}-{m.part}" for m in MUTANTS]
)
def test_the_specification_catches(mutant: Mutant) -> None:
    cases = {
        "one_session": lambda: one_session(engine(mutant.database)),
        "sessions": lambda: sessions(engine(mutant.database), each_alone=True),
        "instant_of_commit": lambda: commits(mutant.database),
        "locking": lambda: serializable(engine(mutant.database, config=LOCKING), each_alone=True),
        "optimistic": lambda: serializable(
            engine(mutant.database), reads_wait=False, each_alone=True
        ),
    }
    assert_caught(cases[mutant.part](), mutant.property)


def test_the_specification_catches_positions_that_do_not_rise() -> None:
    wrong = engine(engine_type=engines.NamesCommitsByTheirBeginning)
    assert_caught(sessions(wrong, each_alone=True), "test_commit_positions_rise")


def test_the_specification_catches_a_commit_that_ends_with_its_caller() -> None:
    wrong = engine(engine_type=engines.GivesUpWithItsCaller, sync_s=COMMIT_S)
    spec = instant_of_commit(wrong, wrong, commit_s=COMMIT_S)
    assert_caught(spec, "test_it_completes_although_its_caller_has_left")


def test_the_specification_catches_a_block_that_commits_in_spite_of_its_exception() -> None:
    wrong = engine(engine_type=engines.CommitsInSpiteOfAnException)
    assert_caught(one_session(wrong), "test_an_exception_rolls_back_and_goes_on_up")
