"""Whatever the standard streams are: no traceback, and an exit status that tells the truth."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.test_check import calls

HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
SDKIT = f"{sys.executable} -m sdkit.cli.start"
# One of each command that ends by itself.
COMMANDS = [
    "--version",
    "--help",
    "serve store --help",
    "serve store --data d --stop-at-eof < /dev/null",
    "check right.jsonl --model register",
    "journal written",
    "sim --list",
    "sim rpc --seconds 0.1",
    "sim rpc --seconds 0.1 --runs 2",
    "shell < lines",
]


def typed(command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """What a person types at bash, redirections and all."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {SDKIT} {command}"],
        cwd=directory,
        env=os.environ | {"COLUMNS": "100", "TERM": "dumb"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )


def said(done: subprocess.CompletedProcess[bytes]) -> tuple[int, bytes | None, bytes]:
    """The status, the output and the complaints: what says how far it is, is none."""
    return done.returncode, done.stdout, done.stderr.replace(b"searching 2 seeds from 0 on\n", b"")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("streams")
    calls(made / "right.jsonl", 1)
    calls(made / "wrong.jsonl", 2)
    (made / "lines").write_text("begin\nput ü 1\nget ü\n", encoding="utf-8")
    assert typed("serve store --data written --stop-at-eof", made).returncode == 0
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_with_its_output_closed_a_command_does_its_work(command: str, directory: Path) -> None:
    done = typed(f"{command} >&-", directory)
    assert said(done) == (0, b"", b"")
    done = typed(f"{command} >&- 2>&-", directory)
    assert said(done) == (0, b"", b"")


def test_a_verdict_is_told_by_the_status_when_nothing_can_be_printed(directory: Path) -> None:
    assert typed("check wrong.jsonl --model register >&-", directory).returncode == 1
    assert typed("check nothing.jsonl --model register >&- 2>&-", directory).returncode == 2


def test_with_its_input_closed_a_command_reads_nothing(directory: Path) -> None:
    done = typed("shell <&-", directory)
    assert said(done) == (0, b"", b"")
    done = typed("serve store --data d <&-  --stop-at-eof", directory)
    assert done.returncode == 0
    assert b"end of standard input" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_takes_ascii_only_gets_ascii(command: str, directory: Path) -> None:
    for environment in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ):
        done = typed(command, directory, **environment)
        assert said(done) == (0, done.stdout, b"")
        assert done.stdout.isascii()
        assert done.stdout


def test_the_bars_of_a_plot_become_figures(directory: Path) -> None:
    bars = typed("sim hashing", directory, PYTHONIOENCODING="utf-8").stdout.decode()
    figures = typed("sim hashing", directory, PYTHONIOENCODING="ascii").stdout.decode()
    row = next(line for line in bars.splitlines() if line.startswith("modulo") and "max" in line)
    likeness = str.maketrans("▁▂▃▄▅▆▇█", "12345678")
    assert row.translate(likeness) in figures


@pytest.mark.parametrize("command", COMMANDS)
def test_when_nobody_reads_it_ends_quietly_and_not_with_a_verdict(
    command: str, directory: Path
) -> None:
    """A pipe whose other end is closed before the command begins to write."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            ["bash", "-c", f"{SDKIT} {command}"],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    finally:
        os.close(write)
    # A server goes on serving, until what ends it is there.
    assert said(done) == (0 if "--data" in command else 141, None, b"")


def test_a_demo_that_nobody_watches_ends_its_servers_and_has_lost_nothing(directory: Path) -> None:
    done = typed("demo --data shown --seconds 5 | head -n 1; echo ${PIPESTATUS[0]}", directory)
    assert done.stdout.splitlines()[-1] == b"141"
    assert done.stderr == b""
    # Its servers are gone: nobody holds the directory.
    assert typed("serve store --data shown --stop-at-eof", directory).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["--version", "--help", "sim hashing", "journal written"])
def test_a_full_disk_is_an_error_in_a_line(command: str, directory: Path) -> None:
    done = typed(f"{command} > /dev/full", directory)
    assert (done.returncode, done.stderr) == (2, b"error: No space left on device\n")


def test_a_command_that_is_killed_gives_the_terminal_its_cursor_back(directory: Path) -> None:
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "sim", "journal", "--runs", "100000"],
        cwd=directory,
        env=os.environ | {"TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while HIDE_CURSOR not in shown:
        shown += os.read(ours, 1 << 16)
    process.terminate()
    with suppress(OSError):  # Linux says so when nobody has the other end any more
        while more := os.read(ours, 1 << 16):
            shown += more
    os.close(ours)
    assert process.wait(60) == -signal.SIGTERM
    assert shown.rfind(SHOW_CURSOR) > shown.rfind(HIDE_CURSOR)
