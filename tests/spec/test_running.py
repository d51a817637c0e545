"""What all specifications have in common: clocks, notes on failures, promises declined."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import textwrap
import time
import unittest
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdkit.errors import InvalidArgument, InvalidState
from sdkit.sim.loop import run as run_strictly
from sdkit.sim.sockets import NotSimulated
from sdkit.spec.breaker import Wanted, breaker
from sdkit.spec.breaker_places import bulkhead
from sdkit.spec.check import calls
from sdkit.spec.running import finished, run
from sdkit.spec.store import one_session
from tests.spec.bite import assert_caught

BREAKER = """
import datetime, random, time
from time import monotonic
from time import monotonic as clock_of_mine

class Open(Exception):
    pass

class ByModule:
    def now(self):
        return time.monotonic()

class ByName:
    def now(self):
        return monotonic()

class ByOtherName:
    def now(self):
        return clock_of_mine()

class ByDefault:
    def __init__(self, wanted, clock=time.monotonic):
        super().__init__(wanted)
        self.clock = clock
    def now(self):
        return self.clock()

class ByAttribute:
    clock = staticmethod(time.perf_counter)
    def now(self):
        return self.clock()

class ByKeyword:
    def now(self, *, clock=time.time):
        return clock()

class Breaker:
    def __init__(self, wanted):
        self.failures_max, self.open_s = wanted.failures, wanted.open_s
        self.failures, self.opened_at = 0, None
        random.random()  # some jitter, not used
    async def call(self, function):
        if self.opened_at is not None and self.now() < self.opened_at + self.open_s:
            raise Open
        try:
            result = await function()
        except Exception:
            self.failures += 1
            if self.failures >= self.failures_max:
                self.opened_at = self.now()
            raise
        self.failures, self.opened_at = 0, None
        return result

KINDS = {
    kind.__name__: type(kind.__name__, (kind, Breaker), {"__module__": __name__})
    for kind in (ByModule, ByName, ByOtherName, ByDefault, ByAttribute, ByKeyword)
}
"""


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A breaker as anybody would write it, in six ways to read a clock."""
    path = tmp_path_factory.mktemp("natural") / "natural_breaker.py"
    path.write_text(BREAKER)
    spec = importlib.util.spec_from_file_location("natural_breaker", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["natural_breaker"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["natural_breaker"]


OPENS = "test_it_opens_with_the_last_failure_of_a_run_and_not_before"
CALLS_NOBODY = "test_an_open_breaker_calls_nobody_before_its_time_is_over"


@pytest.mark.parametrize(
    "kind", ["ByModule", "ByName", "ByOtherName", "ByDefault", "ByAttribute", "ByKeyword"]
)
def test_the_clocks_of_the_subject_are_the_simulated_ones(natural: ModuleType, kind: str) -> None:
    real = natural.monotonic
    for name in (OPENS, CALLS_NOBODY):
        result = unittest.TestResult()
        breaker(natural.KINDS[kind], refused=natural.Open)(name).run(result)
        assert result.wasSuccessful(), result.errors + result.failures
    assert natural.monotonic is real, "it is given back"
    assert natural.ByDefault.__init__.__defaults__ == (real,)


def test_outside_of_a_specification_the_simulator_still_refuses_them(natural: ModuleType) -> None:
    async def main() -> object:
        return natural.ByModule().now()

    with pytest.raises(NotSimulated):
        run_strictly(main())


def test_a_breaker_that_stays_open_too_long_is_caught_whatever_clock_it_reads(
    natural: ModuleType,
) -> None:
    base: Any = natural.KINDS["ByName"]

    class Slow(base):  # type: ignore[misc]
        def __init__(self, wanted: Wanted) -> None:
            super().__init__(wanted)
            self.open_s *= 2

    assert_caught(breaker(Slow, refused=natural.Open), CALLS_NOBODY)


def test_a_failure_says_which_call_did_what(natural: ModuleType) -> None:
    base: Any = natural.Breaker

    class Never(base):  # type: ignore[misc]
        async def call(self, function: Callable[[], Awaitable[Any]]) -> Any:
            return await function()

    result = unittest.TestResult()
    test = "test_a_failed_probe_opens_it_for_the_whole_time_again"
    breaker(Never, refused=natural.Open)(test).run(result)
    ((_, text),) = result.failures
    assert "What was asked last, and what happened:" in text
    assert "0.000 s  a call of fail: failed" in text
    assert "a call of well: ok" in text


def test_assertions_of_specifications_show_the_values_they_compared(tmp_path: Path) -> None:
    """In a run of pytest of somebody else."""
    test = tmp_path / "test_mine.py"
    test.write_text(
        textwrap.dedent(
            """
            from sdkit.spec.breaker import breaker
            class Open(Exception): pass
            class Never:
                def __init__(self, wanted): pass
                async def call(self, function): return await function()
            TestMine = breaker(Never, refused=Open)
            """
        )
    )
    name = "test_probes_that_never_come_back_do_not_block_it_for_ever"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", name, str(test)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "AssertionError: closed after 1 failures" in ran.stdout, ran.stdout
    assert "assert 'ok' == 'refused'" in ran.stdout
    assert "What was asked last" in ran.stdout


# ── promises declined ────────────────────────────────────────────────────────


def some_spec() -> type[unittest.TestCase]:
    class Spec(unittest.TestCase):
        def test_it_is_quick(self) -> None:
            raise AssertionError

        def test_it_is_right(self) -> None:
            pass

    return Spec


@pytest.mark.parametrize("name", ["test_it_is_quick", "it_is_quick"])
def test_a_promise_is_declined_by_its_name(name: str) -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(finished(some_spec(), (name,))).run(result)
    assert result.wasSuccessful()
    assert [reason for _, reason in result.skipped] == ["declined"]
    # Python 3.12.1 does not count what is skipped among what was run; all others do.
    counts_skipped = sys.version_info[:3] != (3, 12, 1)
    assert result.testsRun == 1 + counts_skipped


@pytest.mark.parametrize(
    ("without", "what"),
    [
        (("it_is_quik",), "no promise is called 'it_is_quik'; did you mean test_it_is_quick?"),
        (("zzz",), "there are: test_it_is_quick, test_it_is_right"),
        ("it_is_quick", "must be a list or tuple"),
    ],
)
def test_a_promise_that_is_not_there_cannot_be_declined(without: Any, what: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        finished(some_spec(), without)
    assert what in str(caught.value)


def test_what_a_subject_draws_is_the_same_in_every_run() -> None:
    async def main() -> tuple[object, float]:
        await asyncio.sleep(1)
        import random

        return asyncio.get_running_loop().time(), random.random()

    assert run(main()) == run(main())


def test_a_specification_within_an_event_loop_says_so_and_puts_the_clocks_back() -> None:
    async def main() -> None:
        with pytest.raises(InvalidState, match="cannot begin in"):
            run(asyncio.sleep(1))

    clock = time.monotonic
    asyncio.run(main())
    assert time.monotonic is clock
    run(asyncio.sleep(1))
    assert time.monotonic is clock


@pytest.mark.parametrize("specification", [one_session, bulkhead, calls])
def test_what_makes_no_subject_is_refused_by_name(specification: Any) -> None:
    refused = {"refused": ValueError} if specification is bulkhead else {}
    with pytest.raises(InvalidArgument, match="is 5, of type int; it must be a function"):
        specification(5, **refused)


@pytest.mark.parametrize("without", [5, (5,)])
def test_names_of_promises_are_texts(without: Any) -> None:
    with pytest.raises(InvalidArgument, match="5"):
        finished(some_spec(), without)
