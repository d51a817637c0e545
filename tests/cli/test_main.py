"""What a person sees who types ``sdkit``: help, one-line errors, exit status."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sdkit import __version__
from sdkit.storage import LocalHost
from sdkit.store import StoreClient, TransactionLost
from tests.cli.command import sdkit


def test_help_names_every_command() -> None:
    done = sdkit("--help")
    assert done.returncode == 0
    for command in ("demo", "serve", "journal", "metrics"):
        assert command in done.stdout


def test_version_is_printed() -> None:
    assert sdkit("--version").stdout == f"sdkit {__version__}\n"


def test_help_of_serve_explains_every_option() -> None:
    done = sdkit("serve", "store", "--help")
    assert done.returncode == 0
    for word in ("--durability", "--max-bytes", "--port", "--secret", "--data", "--config"):
        assert word in done.stdout, done.stdout
    text = " ".join(done.stdout.split())
    assert "(default: sync)" in text
    assert "(default: 1GiB)" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stor"], "no command 'stor'; there are: check, demo, serve, "),
        (["sevre"], "no command 'sevre'; did you mean serve? (sdkit --help)"),
        (["serve", "stor"], "no command 'stor'; did you mean store? (sdkit serve --help)"),
        ([""], "behind sdkit stands an empty word; is a variable not set?"),
        (["serve", "store", "--data", ""], "behind --data stands an empty word"),
        (["serve", "store", "--data="], "behind --data stands an empty word"),
        (["check", "", "--model", "register"], "behind check stands an empty word"),
        (["demo", "--seed", "-1"], "--seed"),
        (["serve", "store", "--config", "nothing"], "as TOML: No such file or directory"),
        (["serve", "store", "--host", "a\nb"], "is not known"),
        (["--verson"], "no such option: --verson"),
        (["demo", "now"], "unexpected extra argument(s) (now) (sdkit demo --help)"),
        (["demo", "--seed"], "'--seed' requires an argument"),
        (["demo", "--seed", "x\ny"], "--seed"),
        (["metrics"], "missing argument"),
        (["serve", "store", "--durability", "maybe"], "durability"),
        (["serve", "store", "--max-bytes", "many"], "'many' is not a size"),
        (["serve", "store", "--transactions-max", "0"], "transactions_max is 0"),
        (["demo", "--seconds", "0"], "--seconds is 0"),
        (["demo", "--seconds", "inf"], "'inf' is not a duration"),
        (["demo", "--seconds", "-1s"], "'-1s' is not a duration"),
        (["metrics", "--timeout", "nan", "localhost:1"], "'nan' is not a duration"),
        (["metrics", "--timeout", "0s", "localhost:1"], "--timeout is 0"),
        (["serve", "store", "--secret-file", "nothing"], "the secret cannot be read"),
        (["serve", "store", "--prot", "3"], "--port"),
        (["serve", "store", "--host", "no.such.name.invalid"], "is not known"),
        (["serve", "store", "--host", "192.0.2.1"], "this machine has no such address"),
        (["journal", ".", "--from", "-1"], "--from"),
        (["journal", "nothing"], "there is no directory nothing"),
        (["journal", "."], ". is empty"),
        (["demo", "--clients", "0"], "clients"),
        (["demo", "--kills", "-1"], "kills"),
        (["metrics", "nowhere"], "'nowhere' is not an address"),
        (["metrics", "http://localhost:1"], "is not an address; write HOST:PORT"),
        (["metrics", "store://localhost:70000"], "'store://localhost:70000' is not an address"),
        (["demo", "--seconds", "1", "--kills", "50"], "1 s have room for 4 at most"),
        (["metrics", "[/]"], "'[/]' is not an address"),
    ],
)
def test_a_wrong_word_is_answered_in_a_line_and_status_2(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = sdkit(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert done.stdout == ""


def test_without_a_command_the_help_is_shown_and_it_is_no_success() -> None:
    for words in ((), ("serve",)):
        done = sdkit(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Commands:" in done.stderr


@pytest.mark.parametrize("words", ["< /dev/null", "< file", "<&-"])
def test_a_server_whose_standard_input_is_at_its_end_says_so_and_ends_cleanly(
    words: str, tmp_path: Path
) -> None:
    """As a service manager or a script starts it."""
    (tmp_path / "file").write_text("a line\n")
    command = f"{sys.executable} -m sdkit.cli.start serve store --data d {words}"
    done = subprocess.run(
        ["bash", "-c", f"{command} --stop-at-eof"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "store: listening on " in done.stdout
    assert "store: end of standard input: finishing" in done.stdout
    assert done.stdout.endswith("stopped; everything acknowledged is on the disk\n")


def test_debug_shows_the_traceback() -> None:
    done = sdkit("--debug", "metrics", "nowhere")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "Traceback" in sdkit("--debug", "demo", "--clients", "0").stderr


def test_a_directory_in_use_is_named_with_its_holder(tmp_path: Path) -> None:
    with LocalHost("db", tmp_path):
        done = sdkit("serve", "store", "--data", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path} is in use by process" in done.stderr


def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = sdkit("serve", "store", "--data", str(file))
    assert done.returncode == 2
    assert f"cannot use {file} as a data directory: it is a file" in done.stderr
    assert f"{file} is a file; name the directory" in sdkit("journal", str(file)).stderr
    beside = sdkit("journal", str(tmp_path))
    assert (beside.returncode, "holds no journal" in beside.stderr) == (2, True)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = sdkit("serve", "store", "--data", str(tmp_path), "--port", str(port))
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "in use" in done.stderr


def test_the_demo_refuses_a_directory_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    done = sdkit("demo", "--data", str(tmp_path))
    assert done.returncode == 2
    assert "not an empty directory" in done.stderr


def test_metrics_of_a_server_that_is_not_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = sdkit("metrics", f"127.0.0.1:{port}")
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_metrics_of_what_is_no_sdkit_server_says_so() -> None:
    def answer(stranger: socket.socket) -> None:
        with stranger.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as stranger:
        answering = threading.Thread(target=answer, args=(stranger,))
        answering.start()
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        done = sdkit("metrics", address)
        answering.join()
    assert done.returncode == 2
    assert f"{address} does not speak sdkit's protocol; is it an sdkit server?" in done.stderr


def test_importing_a_room_loads_neither_typer_nor_rich_nor_hypothesis() -> None:
    code = (
        "import sys, sdkit.store, sdkit.rpc, sdkit.net, sdkit.storage, sdkit.trace;"
        "print([name for name in ('typer', 'rich', 'hypothesis', 'click') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_server_says_where_it_listens_where_its_data_is_and_how_durable_and_hides_its_secret(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "serve", "store", "--data", "here"]
        + ["--durability", "os", "--secret-file", str(secret)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    said = server.stdout.readline()
    found = re.fullmatch(
        r"store: listening on (127\.0\.0\.1:\d+), data in here, durability os, "
        r"recovered in \d+ ms\n",
        said,
    )
    assert found, said
    command_line = Path(f"/proc/{server.pid}/cmdline")
    if command_line.exists():
        assert b"correct horse" not in command_line.read_bytes()
    without = sdkit("metrics", found[1])
    assert "secret" in without.stderr
    done = sdkit("metrics", "--timeout", "5S", "--secret-file", str(secret), found[1])
    assert "# TYPE sdkit_server_connections_accepted_total counter\n" in done.stdout, done.stderr
    server.terminate()
    server.stdout.close()
    assert server.wait() == 0


def test_a_server_says_its_refusals_and_its_stop_a_line_each(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "serve", "store", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    port = int(server.stdout.readline().split("127.0.0.1:")[1].split(",")[0])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.recv(1000)
    assert "store: ended the connection of" in server.stdout.readline()
    server.terminate()
    rest = server.stdout.read()
    server.stdout.close()
    assert server.wait() == 0
    assert "SIGTERM: finishing what is in flight" in rest
    assert rest.endswith("store: stopped; everything acknowledged is on the disk\n")


def test_a_second_signal_ends_it_at_once_and_without_a_traceback(tmp_path: Path) -> None:
    """The first one waits for a commit that a slow call holds up; here, for a lock."""
    server = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "serve", "store", "--data", str(tmp_path)]
        + ["--grace-s", "1h"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    port = int(server.stdout.readline().split("127.0.0.1:")[1].split(",")[0])

    async def hold_up() -> None:
        async with StoreClient("127.0.0.1", port) as store:
            holder = store.begin()
            await holder.put(b"a", b"1")
            waiting = asyncio.create_task(store.begin().put(b"a", b"2"))
            await asyncio.sleep(0.1)
            server.send_signal(signal.SIGINT)
            assert server.stdout is not None
            assert "SIGINT: finishing" in await asyncio.to_thread(server.stdout.readline)
            server.send_signal(signal.SIGINT)
            with pytest.raises(TransactionLost):
                await waiting

    asyncio.run(hold_up())
    said, errors = server.communicate(timeout=30)
    assert "a second signal" in said
    assert "Traceback" not in errors
    assert server.returncode == 1


def test_ctrl_c_while_it_is_still_loading_ends_it_without_a_traceback() -> None:
    program = """
import os, signal, sys

class Impatient:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
from sdkit.cli.start import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "{}", "--model", "register"], "error: {}: Is a directory"),
        (["sim", "bank", "--schedule", "{}/none"], "error: {}/none: No such file or directory"),
        (
            ["serve", "store", "--data", "{}/d", "--secret-file", "{}/none"],
            "error: the secret cannot be read from {}/none: No such file or directory",
        ),
    ],
)
def test_what_the_system_refuses_is_said_in_words_and_with_the_name(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    done = sdkit(*(each.replace("{}", str(tmp_path)) for each in arguments))
    assert done.returncode == 2
    assert done.stderr.strip() == says.replace("{}", str(tmp_path))


def test_the_package_is_run_as_the_command_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sdkit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == sdkit("--version").stdout
