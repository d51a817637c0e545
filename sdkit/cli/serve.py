"""``sdkit serve ROOM``: one server in this process, until a signal ends it.

SIGTERM and Ctrl-C end it cleanly: it stops accepting, finishes or cancels what
is in flight within its grace time, syncs and closes. A second signal does not
wait for the grace time. Either way nothing acknowledged is lost; SIGKILL is
allowed, too.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, ClassVar, Final

import typer

from sdkit.cli.lazy import LazyGroup, show_help
from sdkit.cli.options import chosen_secret, command, config_from
from sdkit.cli.streams import ReaderGone
from sdkit.host import Host, running_on
from sdkit.rooms import ROOMS, Room, find
from sdkit.rpc.server import ServerConfig
from sdkit.storage.local_host import LocalHost
from sdkit.trace import Record, listening

_DATA = typer.Option("--data", help="Data directory; made if missing, locked while it runs.")
_NAME = typer.Option("--name", help="What this host is called in logs and traces.")
_FILE = typer.Option("--config", help="TOML file with a table named like the room.")
_SECRET_FILE = typer.Option(
    "--secret-file", help="File whose first line is the secret; not for other eyes (chmod 600)."
)
_EOF = typer.Option(
    "--stop-at-eof",
    help="End when standard input is closed: when the parent process is gone. For a pipe; "
    "a file or /dev/null is at its end at once.",
)
_JSON = typer.Option("--json", help="Print one JSON object a line instead of text.")


def _command_of(room: Room) -> Callable[..., None]:
    extra = [
        _parameter("data", Annotated[Path, _DATA], Path(f"{room.name}-data")),
        _parameter("name", Annotated[str, _NAME], room.name),
        _parameter("file", Annotated[Path | None, _FILE], None),
        _parameter("secret_file", Annotated[Path | None, _SECRET_FILE], None),
        _parameter("stop_at_eof", Annotated[bool, _EOF], False),
        _parameter("as_json", Annotated[bool, _JSON], False),
    ]

    def run(
        data: Path,
        name: str,
        file: Path | None,
        secret_file: Path | None,
        stop_at_eof: bool,
        as_json: bool,
        secret: str | None = None,
        **options: object,
    ) -> None:
        options["secret"] = chosen_secret(secret, secret_file)
        config = config_from(room.config, options, file, room.name)
        _quiet_start_of_logging()
        with LocalHost(name, data) as host, running_on(host):
            announcer = _Announcer(room.name, as_json)
            with listening(announcer, *_SAID):
                try:
                    asyncio.run(_serve(room, host, data, config, announcer, stop_at_eof))
                except asyncio.CancelledError:
                    announcer.say("cut", "a second signal: ended without waiting any longer")
                    raise typer.Exit(1) from None

    run.__doc__ = f"Serve {room.summary}. SIGTERM or Ctrl-C ends it."
    return command(room.config, run, extra)


class _Rooms(LazyGroup):
    summaries: ClassVar[dict[str, str]] = {room.name: f"Serve {room.summary}." for room in ROOMS}

    def load(self, name: str) -> Callable[..., None]:
        return _command_of(find(name))


serve = typer.Typer(
    cls=_Rooms, help="Start one room's server.", rich_markup_mode=None, add_completion=False
)
serve.callback(invoke_without_command=True)(show_help)


def _parameter(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


# What a server says of its own accord while it runs, and how.
_SAID: Final = {
    "store.recovering": "recovering: {done:,} of {total:,} {of}",
    "server.refuse": "refused a connection of {peer}: there are {limit} already",
    "server.exhausted": "no file descriptor is left for new connections; those that are open go "
    "on (ulimit -n): {reason}",
    "server.cut": "the grace time is over: {calls} calls are cut off",
    "rpc.break": "ended the connection of {peer}: {reason}",
    "rpc.overloaded": "refused {method} to {peer}: {limit} of its calls are under way",
    "journal.refused": "the disk refused a write, nothing of it happened: {reason}",
    "journal.failed": "the log takes no more: {reason}",
    "store.failed": "takes no writes until it is started again ({code})",
    "store.snapshot_failed": "could not write a snapshot ({code}); tries again later",
}
AT_EOF: Final = "end of standard input"
QUIET_S: Final = 1.0  # between two lines about the same: whoever is refused may come back at once


class _Announcer:
    """One line per start, repair, refusal and stop: for people, or as JSON for programs.

    It listens to the names in `_SAID` while the server runs.
    """

    def __init__(self, room: str, as_json: bool) -> None:
        self._room = room
        self._as_json = as_json
        self._said_at = {"store.recovering": time.monotonic()}  # a short recovery says nothing

    def __call__(self, record: Record) -> None:
        now = time.monotonic()
        if now - self._said_at.get(record.name, -QUIET_S) >= QUIET_S:
            self._said_at[record.name] = now
            self.say(record.name, _SAID[record.name].format(**record.fields))

    def say(self, event: str, text: str, **facts: object) -> None:
        line = f"{self._room}: {text}"
        if self._as_json:
            line = json.dumps({"event": event, "room": self._room, "text": text, **facts})
        with suppress(ReaderGone):  # no reason to stop serving
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


class _Stop:
    """Told to end by SIGTERM, Ctrl-C or the end of standard input; told twice, at once."""

    def __init__(self, *, at_eof: bool) -> None:
        self.reason = ""
        self._told = asyncio.Event()
        serving = asyncio.current_task()
        assert serving is not None
        self._serving = serving
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._tell, signal.Signals(number).name)
        if at_eof:
            try:
                loop.add_reader(sys.stdin, self._read)
            except PermissionError:  # epoll refuses what never waits: a file, or /dev/null
                self._tell(AT_EOF)

    async def wait(self) -> None:
        await self._told.wait()

    def _read(self) -> None:
        try:
            read = os.read(sys.stdin.fileno(), 4096)
        except OSError:  # the terminal is gone
            read = b""
        if not read:
            asyncio.get_running_loop().remove_reader(sys.stdin)
            self._tell(AT_EOF)

    def _tell(self, reason: str) -> None:
        if self._told.is_set():
            self._serving.cancel()
        self.reason = reason
        self._told.set()


async def _serve(
    room: Room,
    host: Host,
    data: Path,
    config: ServerConfig,
    announcer: _Announcer,
    stop_at_eof: bool,
) -> None:
    stop = _Stop(at_eof=stop_at_eof)
    began = time.perf_counter()
    async with room.server(host, config) as server:
        recovery_ms = (time.perf_counter() - began) * 1e3
        for line in server.repairs():
            announcer.say("repair", line)
        address = f"{server.address[0]}:{server.address[1]}"
        facts = {"data": str(data), "durability": getattr(config, "durability", None)}
        announcer.say(
            "listening",
            f"listening on {address}, data in {data}, durability {facts['durability']}, "
            f"recovered in {recovery_ms:.0f} ms",
            address=address,
            **facts,
            recovery_ms=round(recovery_ms, 3),
        )
        await stop.wait()
        announcer.say(
            "stopping",
            f"{stop.reason}: finishing what is in flight, for {config.grace_s:g} s at most; "
            "a second signal does not wait",
        )
    announcer.say("stopped", "stopped; everything acknowledged is on the disk")


def _quiet_start_of_logging() -> None:
    warnings.showwarning = _show_warning
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    # Without the line of source that raised it, and as one line, whatever it quotes.
    sys.stderr.write(f"warning: {' '.join(str(message).splitlines())}\n")
