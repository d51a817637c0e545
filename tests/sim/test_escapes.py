"""What would leave a simulation is refused by name, or answered virtually."""

from __future__ import annotations

import _thread
import asyncio
import importlib.metadata
import inspect
import io
import linecache
import multiprocessing
import os
import random
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from sdkit import host as hosts
from sdkit.sim import interception
from sdkit.sim.callers import is_ours
from sdkit.sim.clocks import EPOCH_NS, Clock
from sdkit.sim.loop import run
from sdkit.sim.machine import Machine
from sdkit.sim.sockets import NotSimulated
from sdkit.sim.world import World, simulate

HERE = re.escape(__file__)
LIBRARY = """
import os, random, secrets, time, uuid

class Generator(random.Random):
    pass

def ask(call):
    return eval(compile(call, "/usr/lib/python3/site-packages/library.py", "eval"))
"""


def library() -> Any:
    """A module of other people's, as if it had been installed."""
    names: dict[str, Any] = {"__name__": "library"}
    exec(compile(LIBRARY, "/usr/lib/python3/site-packages/library.py", "exec"), names)
    return SimpleNamespace(**names)


ask: Callable[[str], Any] = library().ask


def in_simulation(call: Callable[[], Any], *, seed: int = 0, after_s: float = 0.0) -> Any:
    async def main() -> Any:
        await asyncio.sleep(after_s)
        result = call()
        return await result if isinstance(result, Awaitable) else result

    return run(main(), seed=seed)


# ── errors, whoever asks ─────────────────────────────────────────────────────


async def in_a_thread_of_asyncio() -> None:
    await asyncio.to_thread(str)


async def in_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, str)


async def as_a_subprocess_of_asyncio() -> None:
    await asyncio.create_subprocess_exec("true")


async def on_a_signal() -> None:
    asyncio.get_running_loop().add_signal_handler(10, print)


async def over_udp() -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("Thread.start()", lambda: threading.Thread(target=str).start()),
        ("ThreadPoolExecutor.submit(<class 'str'>)", lambda: ThreadPoolExecutor(1).submit(str)),
        ("run_in_executor(str)", in_an_executor),
        ("run_in_executor(", in_a_thread_of_asyncio),
        ("Popen(['true'])", lambda: subprocess.run(["true"], check=True)),
        ("system('true')", lambda: os.system("true")),
        ("posix_spawn(", lambda: os.posix_spawn("/bin/true", ["true"], {})),
        ("fork()", lambda: os.fork()),
        ("subprocess_exec('true',)", as_a_subprocess_of_asyncio),
        ("add_signal_handler(10)", on_a_signal),
        ("open('/etc/hostname')", lambda: open("/etc/hostname").close()),
        ("open('/etc/hostname'", lambda: io.open("/etc/hostname").close()),  # noqa: UP020
        ("open(", lambda: Path("/etc/hostname").read_text()),
        ("open('/etc/hostname', 0)", lambda: os.close(os.open("/etc/hostname", os.O_RDONLY))),
        ("open(", lambda: tempfile.TemporaryFile().close()),
        ("sleep(1)", lambda: time.sleep(1)),
        ("getaddrinfo('localhost', 80)", lambda: socket.getaddrinfo("localhost", 80)),
        ("forkpty()", lambda: os.forkpty()),
        ("execv('/bin/true', ['true'])", lambda: os.execv("/bin/true", ["true"])),
        ("start_new_thread(", lambda: _thread.start_new_thread(str, ())),
        ("fork()", lambda: multiprocessing.get_context("fork").Process(target=str).start()),
        ("fork_exec(", lambda: multiprocessing.get_context("spawn").Process(target=str).start()),
        ("signal(<Signals.SIGUSR1", lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL)),
        ("alarm(1)", lambda: signal.alarm(1)),
        ("connect('shop.db')", lambda: sqlite3.connect("shop.db")),
        ("input('?')", lambda: input("?")),
        ("time.clock_gettime(1)", lambda: time.clock_gettime(1)),
        ("time.process_time()", lambda: time.process_time()),
        ("time.thread_time_ns()", lambda: time.thread_time_ns()),
        ("socketpair()", lambda: socket.socketpair()),
        ("socket(family=1", lambda: socket.socket(socket.AF_UNIX)),
        ("socket(family=2", lambda: socket.socket(type=socket.SOCK_DGRAM)),
        ("socket(family=2", over_udp),
    ],
)
def test_it_is_refused_with_the_call_and_the_line(named: str, call: Callable[[], Any]) -> None:
    line = inspect.getsourcelines(call)[1]
    last = line + len(inspect.getsource(call).splitlines())
    with pytest.raises(NotSimulated) as refused:
        in_simulation(call)
    message = str(refused.value)
    assert message.startswith(named), message
    place = re.search(rf"{HERE}:(\d+)", message)
    assert place, message
    assert line <= int(place[1]) <= last


def test_a_database_in_memory_is_not_refused() -> None:
    def count() -> object:
        with closing(sqlite3.connect(":memory:")) as database:
            return database.execute("select 1 + 1").fetchone()

    assert in_simulation(count) == (2,)


def test_who_reads_a_clock_is_told_of_the_clock_of_the_loop() -> None:
    with pytest.raises(NotSimulated, match=r"the loop: asyncio\.get_running_loop\(\)\.time\(\)"):
        in_simulation(lambda: time.monotonic())


@pytest.mark.parametrize(
    "call",
    ["time.clock_gettime(time.CLOCK_MONOTONIC)", "time.process_time()", "time.thread_time()"],
)
def test_a_library_gets_virtual_time_from_the_other_clocks_too(call: str) -> None:
    assert in_simulation(lambda: ask(call), after_s=7.0) == 7.0
    wall = in_simulation(lambda: ask("time.clock_gettime_ns(time.CLOCK_REALTIME)"), after_s=7.0)
    assert wall == EPOCH_NS + 7_000_000_000


def test_a_machine_sees_its_own_tasks_only_and_in_one_order() -> None:
    """The usual way to shut down, cancel all tasks, ends this machine's and nobody else's."""
    seen: list[list[str]] = []

    async def serve() -> None:
        others = [asyncio.create_task(asyncio.sleep(100)) for _ in range(20)]
        await asyncio.sleep(1)
        mine = asyncio.all_tasks() - {asyncio.current_task()}
        seen.append([task.get_name() for task in asyncio.all_tasks()])
        for task in mine:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def play(world: World) -> set[str]:
        waits = asyncio.create_task(asyncio.sleep(5), name="of the play")
        for name in ("db", "shop"):
            world.machine(name).boot(serve)
            await asyncio.sleep(0.1)
        await asyncio.gather(*(machine.ended for machine in world.machines.values()))
        names = {task.get_name() for task in asyncio.all_tasks()}
        await waits
        return names

    names = simulate(play).value
    assert "of the play" in names
    assert not any(name.startswith(("db", "shop")) for name in names)
    assert [name.removeprefix("db") for name in seen[0]] == [
        name.removeprefix("shop") for name in seen[1]
    ]
    assert len(seen[0]) == 21
    first = list(seen)
    seen.clear()
    assert simulate(play).value == names
    assert seen == first


def test_a_library_may_not_open_a_file_either_and_the_line_that_led_there_is_named() -> None:
    with pytest.raises(NotSimulated, match=rf"library\.py:1, called from {HERE}:\d+: files are on"):
        in_simulation(lambda: ask("open('/etc/hostname')"))


# ── the time and randomness: errors for ours ─────────────────────────────────


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (time.time, "now_ns"),
        (time.time_ns, "now_ns"),
        (time.monotonic, "monotonic_ns"),
        (time.monotonic_ns, "monotonic_ns"),
        (time.perf_counter, "monotonic_ns"),
        (time.perf_counter_ns, "monotonic_ns"),
        (time.gmtime, "now_ns"),
        (time.localtime, "now_ns"),
        (time.ctime, "now_ns"),
    ],
)
def test_our_code_asks_its_host_for_the_time(call: Callable[[], Any], remedy: str) -> None:
    name = call.__name__
    with pytest.raises(NotSimulated) as refused:
        in_simulation(lambda: getattr(time, name)())
    assert re.match(rf"time\.{name}\(\) at {HERE}:\d+: ask the host", str(refused.value))
    assert f"sdkit.host.current().{remedy}()" in str(refused.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: random.random(),
        lambda: random.randint(1, 6),
        lambda: random.shuffle([1, 2]),
        lambda: random.choice("ab"),
        lambda: random.seed(7),
        lambda: Random(),
        lambda: Random(None),
        lambda: random.SystemRandom().random(),
        lambda: os.urandom(8),
        lambda: secrets.token_hex(),
        lambda: secrets.choice("ab"),
        lambda: uuid.uuid1(),
        lambda: uuid.uuid4(),
    ],
)
def test_our_code_asks_its_host_for_randomness(call: Callable[[], Any]) -> None:
    with pytest.raises(NotSimulated, match=rf" at {HERE}:\d+: it would differ from run to run"):
        in_simulation(call)


def test_the_host_outside_any_simulation_is_not_a_way_around() -> None:
    outside = hosts.Host("real")
    for read in (outside.now_ns, outside.monotonic_ns):
        with pytest.raises(NotSimulated, match=r"sdkit/host\.py:\d+, called from|sdkit/host\.py"):
            in_simulation(read)


def test_a_seeded_generator_is_nobodys_escape() -> None:
    assert in_simulation(lambda: Random("x").random()) == Random("x").random()


# ── the time and randomness: virtual for libraries ───────────────────────────


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("time.time()", EPOCH_NS / 1e9 + 2.5),
        ("time.time_ns()", EPOCH_NS + 2_500_000_000),
        ("time.monotonic()", 2.5),
        ("time.monotonic_ns()", 2_500_000_000),
        ("time.perf_counter()", 2.5),
        ("time.perf_counter_ns()", 2_500_000_000),
        ("time.gmtime()", time.gmtime(EPOCH_NS / 1e9 + 2)),
        ("time.localtime()", time.localtime(EPOCH_NS / 1e9 + 2)),
        ("time.ctime()", time.ctime(EPOCH_NS / 1e9 + 2)),
    ],
)
def test_a_library_reads_virtual_time(call: str, answer: object) -> None:
    assert in_simulation(lambda: ask(call), after_s=2.5) == answer


def test_a_given_instant_is_told_to_anybody() -> None:
    assert in_simulation(lambda: time.gmtime(0.0)) == time.gmtime(0.0)


def test_a_library_reads_the_clocks_of_the_machine_it_runs_on() -> None:
    async def read() -> tuple[float, float]:
        await asyncio.sleep(101.0)
        return ask("time.monotonic()"), ask("time.time()")

    async def play(world: World) -> tuple[float, float]:
        machine = world.machine("db", clock=Clock(offset_s=7.0, drift=0.01))
        machine.boot(read)
        result: tuple[float, float] = await machine.ended
        return result

    monotonic, wall = simulate(play, lateness_s=0.0).value
    assert monotonic == pytest.approx(101.0)
    assert wall == pytest.approx(EPOCH_NS / 1e9 + 108.0)


@pytest.mark.parametrize(
    "call",
    [
        "random.random()",
        "random.randint(1, 10**9)",
        "random.Random().random()",
        "Generator().random()",
        "random.SystemRandom().random()",
        "os.urandom(8)",
        "secrets.token_hex()",
        "secrets.randbelow(10**9)",
        "uuid.uuid1()",
        "uuid.uuid4()",
    ],
)
def test_what_a_library_draws_follows_the_seed(call: str) -> None:
    first, again, other = (in_simulation(lambda: ask(call), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_library_draws_on_one_machine_what_it_draws_whatever_others_do() -> None:
    def drawn(*, busy: bool) -> list[float]:
        async def draw() -> list[float]:
            await asyncio.sleep(1.0)
            return [ask("random.random()"), ask("random.Random().random()")]

        async def draw_much() -> None:
            for _ in range(100):
                ask("random.random()")

        async def play(world: World) -> list[float]:
            machine: Machine = world.machine("db")
            if busy:
                world.machine("other").boot(draw_much)
            machine.boot(draw)
            result: list[float] = await machine.ended
            return result

        return simulate(play, seed=3).value

    assert drawn(busy=True) == drawn(busy=False)


def test_a_time_based_uuid_tells_virtual_time() -> None:
    made: uuid.UUID = in_simulation(lambda: ask("uuid.uuid1()"), after_s=3600)
    assert made.version == 1
    since_1582 = datetime(1582, 10, 15, tzinfo=UTC)
    seconds = (datetime(2000, 1, 1, 1, tzinfo=UTC) - since_1582).total_seconds()
    assert made.time / 1e7 == pytest.approx(seconds, abs=1e-3)


# ── what must go on working ──────────────────────────────────────────────────


def test_a_module_is_imported_inside_a_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.txt"
    data.write_text("read at import")
    module = tmp_path / "imported_in_a_simulation.py"
    module.write_text(
        "from pathlib import Path\n"
        f"def read(): return Path({str(data)!r}).read_text()\n"
        "text = read()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def load() -> Any:
        import imported_in_a_simulation  # type: ignore[import-not-found]  # made just now

        return imported_in_a_simulation

    loaded = in_simulation(load)
    monkeypatch.delitem(sys.modules, "imported_in_a_simulation")
    assert loaded.text == "read at import"
    with pytest.raises(NotSimulated):
        in_simulation(loaded.read)


def test_a_library_reads_the_data_that_was_installed_with_it() -> None:
    assert in_simulation(lambda: importlib.metadata.version("pytest")) == pytest.__version__


def test_generated_code_counts_as_its_modules() -> None:
    """As a dataclass's ``__init__`` does, of which Python knows no file."""
    names = {"time": time, "__file__": "/usr/lib/python3/site-packages/library.py"}
    exec("def generated(): return time.monotonic()", names)
    assert in_simulation(names["generated"], after_s=2.5) == 2.5  # type: ignore[arg-type]


def test_a_traceback_shows_its_source() -> None:
    def fail() -> str:
        linecache.clearcache()
        try:
            raise ValueError("shown")  # this very line
        except ValueError:
            return traceback.format_exc()

    assert "# this very line" in in_simulation(fail)


def test_a_warning_is_shown() -> None:
    def warn() -> None:
        warnings.warn("careful", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="careful"):
        in_simulation(warn)


# ── nothing remains ──────────────────────────────────────────────────────────


def replaced() -> list[object]:
    return [getattr(owner, name) for owner, name, *_ in interception._REPLACEMENTS]


def test_everything_is_put_back_whatever_happens() -> None:
    before, state = replaced(), random.getstate()

    def fail() -> None:
        assert [now is not then for now, then in zip(replaced(), before, strict=True)]
        ask("random.random()")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_simulation(fail)
    assert replaced() == before
    assert random.getstate() == state


def test_another_thread_sees_the_real_world_meanwhile() -> None:
    inside, go_on, seen = threading.Event(), threading.Event(), list[object]()

    def look() -> None:
        inside.wait(10)
        with open("/etc/hostname", "rb") as file:
            seen.extend([time.time() > 1.5e9, random.random() < 1, len(os.urandom(4)), file.name])
        go_on.set()

    thread = threading.Thread(target=look)
    thread.start()

    def meanwhile() -> None:
        inside.set()
        assert go_on.wait(10)

    in_simulation(meanwhile)
    thread.join()
    assert seen == [True, True, 4, "/etc/hostname"]


def test_whose_code_it_is_follows_from_where_its_file_is() -> None:
    assert is_ours(__file__)
    assert is_ours(hosts.__file__)
    assert is_ours("<stdin>")
    assert not is_ours(asyncio.__file__)
    assert not is_ours(pytest.__file__)
    assert not is_ours("<frozen importlib._bootstrap>")
