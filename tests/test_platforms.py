"""Where a platform lacks what real disks need, everything else imports and works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_ownership import in_another_process

# What Windows lacks; the standard library's own modules have it already.
AS_ON_WINDOWS = """
import asyncio, importlib, os, signal, socket, subprocess, sys, tempfile, unittest, random
import hypothesis, pytest, msgpack, sortedcontainers
for module in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog"):
    sys.modules[module] = None
for holder, names in (
    (os, "preadv pwritev pread pwrite fdatasync posix_fallocate posix_fadvise register_at_fork "
         "fork forkpty getuid geteuid setsid killpg getpgid wait3 wait4 sched_getaffinity "
         "O_CLOEXEC O_DIRECTORY O_NONBLOCK openpty uname getloadavg sysconf sendfile"),
    (signal, "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGPIPE SIGCHLD SIGQUIT SIGWINCH "
             "pthread_sigmask setitimer"),
    (socket, "sethostname SO_REUSEPORT"),
):
    for name in names.split():
        if hasattr(holder, name):
            delattr(holder, name)
"""

IMPORTS = """
import pkgutil
del socket.AF_UNIX
import sdkit
rooms = ("host", "errors", "trace", "arguments", "forks", "ownership", "storage", "sim", "breaker",
         "hashing", "check", "spec", "store", "net", "rpc", "script", "scenarios", "without",
         "rooms")
for info in pkgutil.walk_packages(sdkit.__path__, "sdkit."):
    if info.name.split(".")[1] in rooms:
        importlib.import_module(info.name)
        print(info.name)
"""

WORKS = """
from random import Random
from sdkit.breaker import Breaker
from sdkit.errors import DirectoryUnusable
from sdkit.host import Host, current
from sdkit.ownership import DirectoryLock
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal, LocalDisk, LocalHost

async def main():
    journal = await Journal.open(SimulatedDisk(), room="room", random=Random(1))
    await journal.wait(journal.append(b"simulated"))
    await journal.close()
    return journal.synced

print(run(main()), Host("a").descriptors(100), current().name)
for make in (LocalDisk, DirectoryLock, lambda path: LocalHost("db", path)):
    try:
        make(sys.argv[1])
    except DirectoryUnusable as error:
        print(error)
"""


def test_cores_specifications_and_simulator_import_without_what_windows_lacks() -> None:
    said = in_another_process(AS_ON_WINDOWS + IMPORTS).split()
    wanted = "host storage.local_disk storage.inspect sim.world breaker.breaker hashing.ring"
    wanted += " check.linearizability spec.journal_damage spec.disk"
    assert {f"sdkit.{name}" for name in wanted.split()} <= set(said)


def test_a_simulation_runs_there_and_a_real_disk_says_what_to_use_instead(tmp_path: Path) -> None:
    first, *refusals = in_another_process(AS_ON_WINDOWS + WORKS, tmp_path).splitlines()
    assert first == "1 100 local"
    assert len(refusals) == 3
    for refusal in refusals:
        assert "no fcntl, which locks directories; use Linux, macOS or WSL" in refusal
        assert str(tmp_path) in refusal
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["fcntl", "resource"])
def test_a_platform_may_lack_one_of_them(module: str) -> None:
    script = f"import sys\nsys.modules[{module!r}] = None\nfrom sdkit.host import Host\nprint(Host)"
    assert "sdkit.host.Host" in in_another_process(script)
