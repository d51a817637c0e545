"""Settings of every test run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import settings

from sdkit.script import check

# The same examples in every run: a test that fails now and then teaches people to
# press the button again. `HYPOTHESIS_PROFILE=explore` draws new ones, many of them.
# No deadline: real time per example would fail on a busy machine, and only there.
settings.register_profile("same", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# A shell starts what it runs in the background with Ctrl-C ignored, and children inherit
# that: the tests of Ctrl-C would then wait for what cannot come.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--record``: golden scripts write down what is answered now. Read the change they make."""
    parser.addoption(
        "--record", action="store_true", help="record golden scripts instead of comparing them"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`sdkit.script.check`, which records if the run was started with ``--record``."""
    return partial(check, record=request.config.getoption("--record"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """In CI everything is installed, so that a test which is skipped there hides something."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
