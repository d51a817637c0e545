"""Prove that a specification bites: it must fail a wrong implementation."""

from __future__ import annotations

import unittest

from hypothesis import HealthCheck, Phase, settings


def assert_caught(
    spec: type[unittest.TestCase], by: str = "runTest", examples: int = 1_000
) -> None:
    """Run one test of ``spec``, the one that ought to notice, and fail if it passes.

    Naming the test keeps a mutant from being "caught" by an accident somewhere
    else. The search is repeatable, and stops at the first failure unshrunk.
    """
    search = settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    if by == "runTest":  # a state machine keeps its settings on the class
        spec.settings = search  # type: ignore[attr-defined]
    elif hasattr(getattr(spec, by), "hypothesis"):
        setattr(spec, by, search(getattr(spec, by)))
    result = unittest.TestResult()
    spec(by).run(result)
    assert result.testsRun == 1
    assert not result.wasSuccessful(), f"{by} let a mutant through"


def fewer(spec: type[unittest.TestCase], examples: int) -> type[unittest.TestCase]:
    """The same specification, tried with fewer examples, for a subject that is slow."""
    for name in unittest.TestLoader().getTestCaseNames(spec):
        if hasattr(getattr(spec, name), "hypothesis"):
            setattr(spec, name, settings(max_examples=examples)(getattr(spec, name)))
    return spec
