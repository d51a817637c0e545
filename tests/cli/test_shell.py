"""``sdkit shell``: what is typed, what is answered, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.cli.addresses import parse_address
from sdkit.cli.conversation import HELP
from sdkit.cli.shell import Talk, Typed
from sdkit.cli.store_sessions import USAGE
from sdkit.cli.store_words import meant, shown
from sdkit.errors import InvalidArgument
from sdkit.script import Refused, parse
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Store, StoreClient, StoreConfig, StoreEngine, StoreServer, StoreServerConfig
from tests.cli.typed import answers, conversation, typed

SCRIPTS = Path(__file__).parent.parent / "store" / "scripts"


# ── the language ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SCRIPTS.glob("*.txt")) if "disk:" not in path.read_text()],
    ids=lambda path: path.stem,
)
def test_a_golden_script_typed_at_the_shell_is_answered_as_it_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(parse(text, path.name)) > 3
    locking = StoreServerConfig(serializable="locking")
    typed = answers(text, locking if path.stem.startswith("locking") else None)
    shown = re.sub(r"(?m)^    waits for .*$", "    waits", typed)
    assert shown == text


def test_who_was_named_last_speaks_on_and_a_wait_says_for_whom() -> None:
    text = """
alice: begin
    ok
put x 1
    ok
bob: begin read committed
    ok
put x 2
    waits for alice
carol: begin read committed
    ok
put x 3
    waits for alice, bob
locks
"""
    assert answers(text).endswith(
        "put x 3\n    waits for alice, bob\nlocks\n    alice: exclusive x\n"
        "    bob: waits for x behind alice\n    carol: waits for x behind alice, bob\n"
    )
    with pytest.raises(Refused, match=r"^carol still waits for alice, bob and cannot be asked"):
        answers(text + "rollback\n")


@pytest.mark.parametrize(("serializable", "kind"), [("locking", "shared"), ("optimistic", "marks")])
def test_locks_shows_what_a_serializable_transaction_has_read(serializable: str, kind: str) -> None:
    text = "begin serializable\nget k\nscan m p\nscan\nput z 1\nlocks\n"
    config = StoreServerConfig(serializable=serializable)  # type: ignore[arg-type]
    assert answers(text, config).endswith(
        f"locks\n    alice: exclusive z; {kind} k, the beginning to the end\n"
    )


def test_a_transaction_that_nobody_here_began_is_named_by_its_number() -> None:
    async def main() -> list[str]:
        async with StoreEngine(SimulatedHost("db"), StoreConfig()) as store:
            elsewhere = store.begin()
            await elsewhere.put(b"x", b"1")
            lines = await typed(conversation(store), "begin\nput x 2\nbob: locks\ntransactions")
            await elsewhere.rollback()
            return lines[-9:]

    assert run(main()) == [
        "    ok",
        "put x 2",
        "    waits for transaction 1",
        "bob: locks",
        "    transaction 1: exclusive x",
        "    alice: waits for x behind transaction 1",
        "transactions",
        "    1 (another): active; holds x; reads at 0",
        "    2 (alice): waiting for x behind 1; reads at 0",
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("comit", "no command 'comit'; did you mean commit?"),
        ("qiut", "no command 'qiut'; did you mean quit?"),
        ("fly away", "no command 'fly'; there are: begin, get, "),
        ("get x", "alice has no transaction for 'get'; expected begin"),
        ("begin serialisable", "no level 'serialisable'; did you mean serializable?"),
        ("begin chaos", "no level 'chaos'; expected read uncommitted or read committed or "),
        ("begin\nput x", "expected 'put KEY VALUE'"),
        ("begin\ncommit now", "expected 'commit'"),
        ("begin\nundo", "alice has no savepoint to undo; expected savepoint"),
        ("begin\nbegin", "alice has a transaction open; expected commit or rollback"),
        ("versions", "expected 'versions KEY'"),
        ("passes soon", "expected 'passes 10s'"),
        (f"passes {'9' * 400}", "expected 'passes 10s'"),
        ("quit now", "expected 'quit'"),
        ("help me", "expected 'help'"),
        ("put: x 1", "put is a command and no name; write NAME: put ..."),
        ("get 'x", 'no closing quotation in "get \'x"'),
    ],
)
def test_what_is_not_understood_is_refused_with_what_would_be(line: str, why: str) -> None:
    with pytest.raises(Refused) as raised:
        answers(line)
    assert str(raised.value).startswith(why)


def test_a_refused_line_changes_nothing() -> None:
    async def main() -> list[str]:
        async with StoreEngine(SimulatedHost("db"), StoreConfig()) as store:
            talk = conversation(store)
            await typed(talk, "begin\nput x 1")
            for line in ("bob: get x", "carol: fly", "put x"):
                with pytest.raises(Refused):
                    await talk.take(line)
            assert talk.speaker == "alice"
            return await typed(talk, "get x\nlocks\ncommit")

    assert run(main()) == [
        "get x", "    1", "locks", "    alice: exclusive x", "commit", "    commit 1",
    ]  # fmt: skip


def test_help_names_every_command() -> None:
    assert [command for command in (*USAGE, "help", "quit") if command not in HELP] == []
    assert answers("help") == f"help\n{HELP}\n"


@given(st.binary(max_size=20))
def test_what_is_shown_can_be_typed_again(value: bytes) -> None:
    (step,) = parse(f"sessions a\na: {shown(value)}\n", "shown")
    assert meant(step.command) == value


def test_quoted_words_and_bytes_are_keys_and_values() -> None:
    text = r"""
begin
    ok
put 'a b' '\xff\x00 c'
    ok
put "it's" ''
    ok
put é '\x5c'
    ok
scan
    'a b' '\xff\x00 c'
    'it\x27s' ''
    é '\x5c'
"""
    assert answers(text) == text.lstrip("\n")


# ── the server goes away ─────────────────────────────────────────────────────


def test_when_the_server_is_gone_each_step_says_so_and_when_it_is_back_all_goes_on() -> None:
    async def main() -> list[str]:
        host = SimulatedHost("db", SimulatedDisk())
        async with StoreServer(host, StoreServerConfig()) as server:
            address = server.address
            store = await StoreClient(*address).__aenter__()
            talk = conversation(store)
            lines = await typed(talk, "begin\nput x 1\nbob: begin\nput x 2\nalice: commit\nbegin")
            lines += await typed(talk, "put x 3\nbob: rollback\nbegin\nput x 4")
        lines += talk.news()
        lines += await typed(talk, "alice: get x\nrollback\nbegin\nget x\nlocks")
        async with StoreServer(host, StoreServerConfig(port=address[1])):
            lines += await typed(talk, "rollback\nbegin\nget x\ncommit")
            await store.close()
        return lines

    said = "\n".join(run(main()))
    assert "put x 4\n    waits for alice\n" in said
    assert said.count("\n    bob: transaction_lost: ") == 1
    assert re.search(
        r"alice: get x\n    transaction_lost: .*\n(    bob: .*\n)?rollback\n    ok\n", said
    )
    assert re.search(r"get x\n    not_connected: .*\nlocks\n    not_connected: ", said)
    assert said.endswith(
        "rollback\n    ok\nbegin\n    ok\nget x\n    1\ncommit\n    ok, nothing written"
    )


# ── the terminal ─────────────────────────────────────────────────────────────


class Listener:
    """A terminal that is read by a test."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.between = threading.Event()

    def greet(self, text: str) -> None: ...
    def read(self, speaker: str) -> str:
        raise EOFError

    def complain(self, refusal: Refused) -> None: ...
    def interrupt(self) -> None: ...
    def say(self, lines: list[str]) -> None:
        self.said += lines

    def say_between(self, lines: list[str]) -> None:
        self.said += lines
        self.between.set()


def test_an_answer_that_comes_between_two_lines_is_shown_at_once() -> None:
    opened = StoreEngine(SimulatedHost("db"), StoreConfig(lock_wait_timeout_s=0.01))
    listener = Listener()
    with Talk(opened, listener) as talk:
        for line in ("begin", "put x 1", "bob: begin", "bob: put x 2"):
            listener.say(talk.take(line))
        assert listener.between.wait(10)
        assert listener.said[-2:] == ["    waits for alice", listener.said[-1]]
        assert listener.said[-1].startswith("    bob: lock_timeout: transaction 2 waited 0.01 s")
        assert talk.take("begin") == ["    ok"]
    assert listener.said[-1] == "# rolled back: alice, bob"


def test_a_talk_that_cannot_begin_says_why_and_leaves_no_thread() -> None:
    @asynccontextmanager
    async def refuses() -> AsyncIterator[Store]:
        if threading.active_count():
            raise InvalidArgument("no store today")
        yield StoreEngine(SimulatedHost("db"))

    before = threading.active_count()
    with pytest.raises(InvalidArgument, match="no store today"), Talk(refuses(), Listener()):
        pass
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "text", ["store://127.0.0.1:7000", "127.0.0.1:7000", "store://127.0.0.1:7000/", "7000", ":7000"]
)
def test_an_address_may_be_short(text: str) -> None:
    assert parse_address(text) == ("127.0.0.1", 7000)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("stroe://db:7000", "'stroe://db:7000' is not an address; write HOST:PORT, store://"),
        ("store://db", "'store://db' is not an address; write HOST:PORT"),
        ("store://db:70000", "'store://db:70000' is not an address"),
        ("99999", "'99999' is not an address"),
        ("", "'' is not an address"),
        ("::1:7000", "'::1:7000' is not an address"),
        ("db:\u0667\u0660", "'db:\u0667\u0660' is not an address"),
        ("a b:7000", "'a b:7000' is not an address"),
    ],
)
def test_a_wrong_address_is_refused_with_a_right_one(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse_address(text)
    assert str(raised.value).startswith(why)


def shell(*arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdkit.cli.start", "shell", *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb"},
    )


def test_lines_from_a_pipe_come_out_as_a_transcript_and_a_mistake_ends_it() -> None:
    done = shell("--serializable", "locking", lines="begin\n    ok\nput x 1\n\ncomit\nget x\n")
    assert done.stdout == "begin\n    ok\nput x 1\n    ok\n\ncomit\n# rolled back: alice\n"
    assert done.stderr == "error: line 5: no command 'comit'; did you mean commit?\n"
    assert done.returncode == 2


def test_a_script_of_an_anomaly_can_be_told_to_the_shell_at_a_level() -> None:
    text = (files("sdkit.store") / "anomalies" / "non_repeatable_read.txt").read_text()
    repeatable = shell(lines=text).stdout
    committed = shell("--isolation", "read committed", lines=text).stdout
    assert committed.count("alice: get balance\n    200\n") == 1
    assert repeatable == committed.replace("balance\n    200\n", "balance\n    100\n")


def test_several_shells_meet_at_one_server(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "sdkit.cli.start", "serve", "store", "--json", "--stop-at-eof"]
    with subprocess.Popen(
        [*serve, "--port", "0", "--data", str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        assert shell(f"store://{address}", lines="begin\nput x 1\ncommit\n").returncode == 0
        done = shell(address, lines="bob: begin\nput x 2\nlocks\nversions x\nquit\nfly\n")
        server.stdin.close()
    assert done.stdout == (
        "bob: begin\n    ok\nput x 2\n    ok\nlocks\n    bob: exclusive x\nversions x\n"
        "    transaction 2, not visible: 2\n    commit 1: 1\nquit\n# rolled back: bob\n"
    )


def test_what_comes_while_a_line_is_typed_stands_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Typed()
    monkeypatch.setattr("builtins.input", lambda prompt: f"{prompt}get x")
    assert terminal.read("alice") == "alice> get x"
    monkeypatch.setattr(terminal, "_typed", lambda: "get")
    terminal.say_between(["    bob: ok"])
    assert capsys.readouterr().out == "\r\033[K    bob: ok\nalice> get"


def test_where_nobody_listens_the_shell_says_so() -> None:
    done = shell("store://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def at_a_terminal() -> Iterator[tuple[subprocess.Popen[bytes], int, Callable[[str], str]]]:
    """The shell, as a person has it: the process, its terminal, and a way to wait for a text."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "shell"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"NO_COLOR": "1", "TERM": "dumb"},
    )
    os.close(theirs)
    seen = ""

    def until(text: str) -> str:
        nonlocal seen
        while text not in seen:
            assert select.select([ours], [], [], 30.0)[0], f"no {text!r} in {seen!r}"
            try:
                got = os.read(ours, 4096).decode(errors="replace")
            except OSError:  # the other end is closed
                got = ""
            assert got, f"no {text!r} in {seen!r}"
            seen += got
        before, _, seen = seen.partition(text)
        return before

    try:
        yield process, ours, until
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_ctrl_d_ends_the_shell_and_rolls_back_what_is_open() -> None:
    with at_a_terminal() as (process, terminal, until):
        until("alice> ")
        os.write(terminal, b"begin\nbob: begin\nput x 1\nfly\n")
        until("no command 'fly'")
        until("bob> ")
        os.write(terminal, b"\x04")
        until("# rolled back: alice, bob")
        assert process.wait(30) == 0


def press_ctrl_c(process: subprocess.Popen[bytes], terminal: int) -> None:
    """Until it is heard: a signal that comes just before readline waits is seen at the next key."""
    process.send_signal(signal.SIGINT)
    while not select.select([terminal], [], [], 2.0)[0]:
        process.send_signal(signal.SIGINT)


def test_ctrl_c_clears_the_line_and_twice_in_a_row_ends_the_shell() -> None:
    with at_a_terminal() as (process, terminal, until):
        until("alice> ")
        os.write(terminal, b"begin\nput x 1\n")
        until("ok")
        until("ok")
        until("alice> ")
        os.write(terminal, b"put x 2")
        until("put x 2")
        press_ctrl_c(process, terminal)
        until("once more ends the shell")
        until("alice> ")
        os.write(terminal, b"get x\n")
        until("    1")
        until("alice> ")
        press_ctrl_c(process, terminal)
        until("once more ends the shell")
        until("alice> ")
        press_ctrl_c(process, terminal)
        until("# rolled back: alice")
        assert process.wait(30) == 128 + signal.SIGINT


def test_ctrl_c_cuts_a_pause_short_and_the_sessions_go_on() -> None:
    with at_a_terminal() as (process, terminal, until):
        until("alice> ")
        os.write(terminal, b"begin\npasses 1000s\n")
        until("passes 1000s")
        press_ctrl_c(process, terminal)
        until("once more ends the shell")
        until("alice> ")
        os.write(terminal, b"put x 1\nlocks\npasses 0s\n")
        until("alice: exclusive x")
        until("ok")


def test_a_byte_that_is_no_utf_8_is_refused_with_the_way_to_type_it() -> None:
    why = r"byte 0xff is no text in UTF-8; a byte is typed as '\xff'"
    with at_a_terminal() as (process, terminal, until):
        until("alice> ")
        os.write(terminal, b"put x \xff\n")
        until(why)
        os.write(terminal, b"quit\n")
        assert process.wait(30) == 0
    done = subprocess.run(
        [sys.executable, "-m", "sdkit.cli.start", "shell"],
        input=b"begin\n\xff\nget x\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b"begin\n    ok\n# rolled back: alice\n"
    assert done.stderr.decode() == f"error: line 2: {why}\n"
    assert done.returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_shell_whose_window_is_closed_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "shell"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\ufeffbegin\n")  # with the mark that some editors write first
        process.stdin.flush()
        assert process.stdout.readline() == "begin\n"
        assert process.stdout.readline() == "    ok\n"
        assert list(tmp_path.iterdir()) != []
        process.send_signal(number)
        assert process.stdout.read() == "# rolled back: alice\n"
        assert process.wait(30) == 128 + number
    assert list(tmp_path.iterdir()) == []
