"""The demo, as a newcomer runs it, and as a torturer does."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdkit.host import Host
from tests.cli.command import sdkit

WANTED = {
    "transfers_acknowledged",
    "transfers_per_second",
    "kills",
    "indeterminate",
    "lost_acknowledged",
    "applied_twice",
    "half_applied",
    "wrong_audits",
    "audits",
    "total_before",
    "total_after",
    "recovery_ms",
}


def test_the_demo_prints_one_object_with_everything_in_it() -> None:
    done = sdkit("demo", "--json", "--seconds", "3", "--kills", "1", "--clients", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= WANTED
    assert found["kills"] == len(found["recovery_ms"]) == 1
    assert found["transfers_acknowledged"] > 0
    assert found["audits"] > 0
    assert set(found["indeterminate"]) == {"committed", "not_committed"}


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing() -> None:
    done = sdkit("demo", "--json", "--seconds", "20", "--kills", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 20
    assert done.stderr == ""
    broken = ("lost_acknowledged", "applied_twice", "half_applied", "wrong_audits")
    assert {name: found[name] for name in broken} == dict.fromkeys(broken, 0)
    assert found["total_before"] == found["total_after"] == 10_000


def test_the_demo_for_people_ends_with_its_verdict(tmp_path: Path) -> None:
    done = sdkit("demo", "--seconds", "1", "--kills", "0", "--data", str(tmp_path / "new"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Held: every acknowledged transfer is there, once and whole." in done.stdout
    assert "0:00:0" not in done.stdout, "a progress bar is for a terminal"
    assert "SIGKILL proves" not in done.stdout, "nothing was killed"
    assert (tmp_path / "new").is_dir(), "a directory that was named is kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_server_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.main", "demo", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    while "the store listens, process" not in (line := demo.stdout.readline()):
        assert line
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=60)
    if number is not signal.SIGKILL:
        assert "the books were not checked" in errors
        assert demo.returncode == 130
    with waiting_for(tmp_path / "data"):
        pass  # the server has let go of its directory


@contextmanager
def waiting_for(directory: Path) -> Iterator[Host]:
    """The directory, as soon as the process that has it is gone."""
    descriptor = os.open(directory / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits
    finally:
        os.close(descriptor)
    with Host.local("test", directory) as host:
        yield host
