"""Our breaker, budget and bulkhead meet their specifications, and the specifications bite."""

from __future__ import annotations

import pytest

from sdkit.breaker import Bulkhead, BulkheadFull, CircuitOpen, RetryBudget
from sdkit.spec.breaker import breaker
from sdkit.spec.breaker_places import bulkhead, retry_budget
from tests.breaker.subjects import make_breaker
from tests.spec.bite import assert_caught, fewer
from tests.spec.mutants import breaker as mutants

TestBreaker = fewer(breaker(make_breaker(), refused=CircuitOpen), 40)
TestRetryBudget = retry_budget(lambda percent, saved: RetryBudget(percent=percent, saved_max=saved))
TestBulkhead = fewer(
    bulkhead(
        lambda calls, waiting, wait_s: Bulkhead(
            calls_max=calls, waiting_max=waiting, wait_max_s=wait_s
        ),
        refused=BulkheadFull,
    ),
    40,
)


@pytest.mark.parametrize(("mutant", "by"), mutants.BREAKERS.items())
def test_the_specification_of_a_breaker_catches(mutant: type, by: str) -> None:
    assert_caught(breaker(make_breaker(mutant), refused=CircuitOpen), by, examples=100)


@pytest.mark.parametrize("mutant", mutants.BUDGETS)
def test_the_specification_of_a_budget_catches(mutant: type[RetryBudget]) -> None:
    spec = retry_budget(lambda percent, saved: mutant(percent=percent, saved_max=saved))
    (by,) = [name for name in dir(spec) if name.startswith("test_")]
    assert_caught(spec, by)


@pytest.mark.parametrize(("mutant", "by"), mutants.BULKHEADS.items())
def test_the_specification_of_a_bulkhead_catches(mutant: type[Bulkhead], by: str) -> None:
    spec = bulkhead(
        lambda calls, waiting, wait_s: mutant(
            calls_max=calls, waiting_max=waiting, wait_max_s=wait_s
        ),
        refused=BulkheadFull,
    )
    assert_caught(spec, by, examples=100)
