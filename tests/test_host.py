"""A host: whose directory it is, what time it has, and which one the code runs on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from sdkit import host as hosts
from sdkit.errors import DirectoryInUse, DirectoryUnusable, InvalidArgument, InvalidState
from sdkit.host import Host, current, running_on
from sdkit.sim.host import EPOCH_NS, SimulatedHost
from sdkit.sim.loop import run
from sdkit.storage import LocalHost

HOLD = """
import sys
from sdkit.storage import LocalHost
with LocalHost("holder", sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns ``directory`` until it is told to end, or dies."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


# ── the directory ────────────────────────────────────────────────────────────


def test_a_directory_in_use_is_refused_by_the_name_of_its_holder(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as holder:
        with pytest.raises(DirectoryInUse) as refused:
            LocalHost("second", tmp_path)
        assert f"process {holder.pid}" in str(refused.value)
        assert str(tmp_path) in str(refused.value)
        assert refused.value.fields["holder"] == f"process {holder.pid}"
        assert refused.value.kind == "unavailable"


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        LocalHost("second", tmp_path).close()


def test_a_holder_that_ends_cleanly_gives_the_directory_up(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as holder:
        holder.communicate("")
        assert holder.returncode == 0
        LocalHost("second", tmp_path).close()


def test_the_same_process_cannot_own_a_directory_twice(tmp_path: Path) -> None:
    with (
        LocalHost("first", tmp_path),
        pytest.raises(DirectoryInUse, match=f"process {os.getpid()}"),
    ):
        LocalHost("second", tmp_path)
    LocalHost("third", tmp_path).close()


def test_closing_twice_is_harmless_even_if_another_holds_the_directory_by_then(
    tmp_path: Path,
) -> None:
    first = LocalHost("first", tmp_path)
    first.close()
    with LocalHost("second", tmp_path):
        first.close()
        with pytest.raises(DirectoryInUse):
            LocalHost("third", tmp_path)


def test_a_missing_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    with LocalHost("first", tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("below", ["file", "file/below"])
def test_a_directory_that_cannot_be_one_is_refused_by_name(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DirectoryUnusable) as refused:
        LocalHost("first", tmp_path / below)
    assert str(tmp_path / below) in str(refused.value)
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_directory_without_the_right_to_write_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:  # not in pytest's, which is its user's alone
        directory = Path(name)
        directory.chmod(0o555)
        with as_nobody(), pytest.raises(DirectoryUnusable, match="Permission denied"):
            LocalHost("first", directory)
        directory.chmod(0o700)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: be somebody else for the block."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_host_without_a_disk_says_so() -> None:
    with pytest.raises(InvalidState, match="host thin has no disk"):
        _ = Host("thin").disk


# ── the clocks ───────────────────────────────────────────────────────────────


def test_the_real_clocks_are_those_of_the_machine() -> None:
    host = Host("here")
    before = time.time_ns(), time.monotonic_ns()
    read = host.now_ns(), host.monotonic_ns()
    after = time.time_ns(), time.monotonic_ns()
    assert before[0] <= read[0] <= after[0]
    assert before[1] <= read[1] <= after[1]


def test_the_simulated_clocks_are_those_of_the_simulation() -> None:
    async def main() -> list[int]:
        host = SimulatedHost("there")
        await asyncio.sleep(0.1)
        return [host.now_ns() - EPOCH_NS, host.monotonic_ns()]

    assert run(main()) == [100_000_000, 100_000_000]


def test_a_simulated_host_draws_by_its_seed_and_its_name() -> None:
    def draw(name: str, seed: int) -> float:
        return SimulatedHost(name, seed=seed).random.random()

    assert draw("a", 1) == draw("a", 1)
    assert len({draw("a", 1), draw("b", 1), draw("a", 2)}) == 3


def test_randomness_can_be_handed_in() -> None:
    assert (
        Host("a", random=Random(5)).random.random() == Host("b", random=Random(5)).random.random()
    )


# ── which host the code runs on ──────────────────────────────────────────────


def test_code_runs_on_the_host_it_was_started_on_and_outside_on_a_default_one() -> None:
    default = current()
    with running_on(Host("outer")) as outer:
        assert current() is outer
        with running_on(Host("inner")) as inner:
            assert current() is inner
        assert current() is outer
    assert current() is default
    assert default.name == "local"


def test_the_host_is_put_back_even_if_the_block_fails() -> None:
    default = current()
    with pytest.raises(KeyError), running_on(Host("a")):
        raise KeyError
    assert current() is default


def test_a_task_keeps_the_host_of_whoever_started_it() -> None:
    async def main() -> list[str]:
        async def name_later() -> str:
            await asyncio.sleep(1)
            return current().name

        with running_on(SimulatedHost("a")):
            first = asyncio.create_task(name_later())
        with running_on(SimulatedHost("b")):
            second = asyncio.create_task(name_later())
        return [await first, await second, current().name]

    assert run(main()) == ["a", "b", "local"]


def test_another_thread_runs_on_the_default_host() -> None:
    seen: list[Host] = []
    with running_on(Host("a")):
        thread = threading.Thread(target=lambda: seen.append(hosts.current()))
        thread.start()
        thread.join()
    assert seen[0].name == "local"


# ── secrets ──────────────────────────────────────────────────────────────────


def test_a_secret_is_not_drawn_from_the_generator_of_jitter() -> None:
    host = Host("a", random=Random(1))
    assert host.secret(32) != Host("a", random=Random(1)).secret(32)
    before = host.random.getstate()
    host.secret(32)
    assert host.random.getstate() == before


def test_secrets_of_a_simulated_host_repeat_with_its_seed_and_change_no_jitter() -> None:
    one, same = SimulatedHost("a", seed=1), SimulatedHost("a", seed=1)
    assert [one.secret(8), one.secret(8)] == [same.secret(8), same.secret(8)]
    assert one.secret(8) != one.secret(8) != SimulatedHost("b", seed=1).secret(8)
    assert one.random.random() == SimulatedHost("a", seed=1).random.random()


@pytest.mark.parametrize("count", [0, -1, True, "3", 1.5, 1 << 30])
def test_a_secret_has_a_sensible_length(count: int) -> None:
    for host in (Host("a"), SimulatedHost("a")):
        with pytest.raises(InvalidArgument, match="count"):
            host.secret(count)
