"""What is loaded, and what has to be installed, before there is a command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sdkit import host
from sdkit.cli.start import INSTALL
from tests.cli.command import sdkit

OTHERS = {"typer", "rich", "click", "pydantic", "hypothesis", "pytest", "asyncio"}
OTHERS |= {"msgpack", "sortedcontainers"}
BESIDES = {"sdkit", "sdkit.errors", "sdkit.arguments"}  # of every room
HOST = {"sdkit.host", "sdkit.trace", "sdkit.forks", "sdkit.disk"}
NET = {"sdkit.net", "sdkit.rpc"}
FLOOR_1 = HOST | NET | {"sdkit.storage", "sdkit.ownership", "msgpack"}


def loaded(program: str) -> set[str]:
    """What a program has loaded at its end: packages of ours, and the `OTHERS`."""
    ask = f"""
import json, sys
{program}
ours = {{".".join(name.split(".")[:2]) for name in sys.modules if name.split(".")[0] == "sdkit"}}
print(json.dumps([*ours, *({OTHERS} & sys.modules.keys())]))
"""
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("room", "more"),
    [
        ("errors", set[str]()),
        ("arguments", set[str]()),
        ("trace", HOST),
        ("hashing", {"sdkit.hashing"}),
        ("check", {"sdkit.check"} | HOST - {"sdkit.trace"}),
        ("script", {"sdkit.script"}),
        ("breaker", {"sdkit.breaker", "asyncio"} | HOST),
        ("storage", {"sdkit.storage", "sdkit.ownership", "asyncio"} | HOST),
        ("net", {"sdkit.net", "asyncio"} | HOST),
        ("rpc", {"asyncio", "msgpack"} | NET | HOST),
        ("store", {"sdkit.store", "sortedcontainers", "asyncio"} | FLOOR_1),
    ],
)
def test_a_room_loads_what_is_below_it_and_nothing_more(room: str, more: set[str]) -> None:
    found = loaded(f"import sdkit.{room}")
    assert found - BESIDES == more - BESIDES - ({f"sdkit.{room}"} & BESIDES)


def run_command(*words: str) -> str:
    return f"""
sys.argv = {["sdkit", *words]}
from sdkit.cli.start import main
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("stor",), ()])
def test_without_a_command_no_room_is_loaded_nor_rich_nor_asyncio(words: tuple[str, ...]) -> None:
    assert loaded(run_command(*words)) - {"typer", "click", "pydantic"} == {
        "sdkit",
        "sdkit.cli",
        "sdkit.errors",
    }


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (
            "check",
            {"sdkit.store", "sdkit.net", "sdkit.rpc", "sdkit.sim", "sdkit.scenarios", "sdkit.spec"},
        ),
        (
            "journal",
            {
                "sdkit.store",
                "sdkit.net",
                "sdkit.rpc",
                "sdkit.sim",
                "sdkit.scenarios",
                "sdkit.check",
            },
        ),
        ("metrics", {"sdkit.store", "sdkit.sim", "sdkit.scenarios", "sdkit.check", "rich"}),
        ("serve", {"sdkit.store", "sdkit.sim", "sdkit.scenarios", "sdkit.check", "rich"}),
        ("shell", {"sdkit.sim", "sdkit.scenarios", "sdkit.check", "sdkit.breaker", "rich"}),
        ("demo", {"sdkit.sim", "sdkit.check", "sdkit.breaker", "sdkit.spec"}),
        ("sim", {"sdkit.spec", "hypothesis", "pytest"}),
    ],
)
def test_a_command_loads_what_it_needs(command: str, unneeded: set[str]) -> None:
    found = loaded(run_command(command, "--help"))
    assert "sdkit.cli" in found
    assert found & unneeded == set()


def test_the_table_of_commands_says_what_each_command_says_of_itself() -> None:
    rows = sdkit("--help").stdout.partition("Commands:\n")[2].split("\n\n")[0].splitlines()
    assert len(rows) == 7
    for row in rows:
        command, summary = row.split(maxsplit=1)
        of_itself = sdkit(command, "--help").stdout.split("\n\n")[1].split()
        assert of_itself[:3] == summary.split()[:3]


def test_without_the_extra_the_command_says_in_one_line_what_to_install() -> None:
    for missing in ("typer", "rich"):
        program = f"""
import sys
sys.modules[{missing!r}] = None
sys.argv = ["sdkit", "sim", "--list"]
from sdkit.cli.start import main
main()
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        line = f"error: the command line needs {missing}: {INSTALL}\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


# `DirectoryLock` is to import it when it is used.
@pytest.mark.skipif(hasattr(host, "fcntl"), reason="the host's lock is loaded with the host")
def test_on_a_system_without_posix_the_cores_the_specs_and_the_simulator_are_imported() -> None:
    """As on Windows: what only POSIX has is not there."""
    program = """
import importlib, pkgutil, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp", "readline", "pty", "tty"):
    sys.modules[name] = None
import os
for name in ("register_at_fork", "fork", "getuid", "geteuid"):
    delattr(os, name)
import sdkit
for info in pkgutil.walk_packages(sdkit.__path__, "sdkit."):
    if not info.name.startswith("sdkit.cli"):
        importlib.import_module(info.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
