"""``sdkit shell store://HOST:PORT``: several sessions at one store, typed in one window.

    alice> begin
        ok
    alice> put x 1
        ok
    alice> bob: begin
        ok
    bob> put x 2
        waits for alice

`sdkit.cli.conversation` has the language and `sdkit.cli.store_sessions` the commands;
this is the terminal around them. Without an address there is a store of its own, in
this process and a directory that is removed at the end: enough to see every anomaly.

Three things to notice
    * Reading a line blocks, and only the main thread is told of Ctrl-C. So the main
      thread reads, and the event loop has a thread of its own. It goes on while
      somebody thinks: a step that waited is answered when its time has come, and the
      answer is shown above the line that is being typed.
    * Where the input is no terminal, each line is repeated before its answers, and one
      that cannot be understood ends the run. What comes out is a transcript that can be
      put in again.
    * Ctrl-C throws away what is being typed, as psql does; only twice in a row it is the
      end. Whichever way it ends, what is open is rolled back.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Protocol, Self

import typer

from sdkit.cli.addresses import FORMS, parse_address
from sdkit.cli.conversation import Conversation
from sdkit.cli.options import chosen_secret
from sdkit.cli.store_sessions import StoreSubject
from sdkit.cli.streams import ReaderGone
from sdkit.errors import InvalidArgument
from sdkit.host import running_on
from sdkit.script import Refused, is_answer
from sdkit.storage.local_host import LocalHost
from sdkit.store import Isolation, Store, StoreClient, StoreServer, StoreServerConfig
from sdkit.store.isolation import level_of

SCHEME: Final = "store"
HOUR_S: Final = 3600.0


def shell(
    address: Annotated[
        str | None,
        typer.Argument(
            help=f"{FORMS}; without it, a store of its own, which is gone at the end.",
            show_default=False,
        ),
    ] = None,
    isolation: Annotated[
        str, typer.Option(help="The level of a `begin` that names none.", metavar="LEVEL")
    ] = Isolation.REPEATABLE_READ,
    serializable: Annotated[
        str | None,
        typer.Option(
            help="How a store of its own keeps that level (default: optimistic).",
            metavar="optimistic|locking",
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Shared secret, if it asks for one; `ps` shows it: see --secret-file."),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the secret.")
    ] = None,
) -> None:
    """Type transactions of several sessions at a store, and see who waits for whom.

    Ctrl-C clears the line. Twice in a row it ends the shell, as Ctrl-D and `quit` do; what is
    open is rolled back then.
    """
    level = level_of(isolation)
    opened: AbstractAsyncContextManager[Store]
    if address is None:
        if secret is not None or secret_file is not None:
            raise InvalidArgument("a secret is for a server; give its address, too")
        opened, where = _own_store(serializable or "optimistic"), "a store of its own"
    elif serializable is not None:
        raise InvalidArgument(
            "the server chooses that: sdkit serve store --serializable " + serializable
        )
    else:
        host, port = parse_address(address)
        opened = StoreClient(host, port, secret=chosen_secret(secret, secret_file), timeout_s=None)
        where = f"{SCHEME}://{host}:{port}"
    for number in (signal.SIGTERM, signal.SIGHUP):  # as a window that is closed
        signal.signal(number, _leave)
    terminal: Terminal = Typed() if sys.stdin.isatty() else Piped()
    with Talk(opened, terminal, level) as talk:
        terminal.greet(f"{where}; help says what can be typed")
        while not talk.conversation.is_over:
            try:
                line = terminal.read(talk.conversation.speaker)
                terminal.say(talk.take(line))
            except EOFError:
                break
            except Refused as refusal:
                terminal.complain(refusal)
            except KeyboardInterrupt:
                terminal.interrupt()


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


@asynccontextmanager
async def _own_store(serializable: str) -> AsyncIterator[Store]:
    config = StoreServerConfig(
        serializable=serializable,  # type: ignore[arg-type]  # it refuses other words itself
        idle_transaction_timeout_s=HOUR_S,  # people think
        lock_wait_timeout_s=HOUR_S,
    )
    with (
        tempfile.TemporaryDirectory() as directory,
        LocalHost("shell", directory) as host,
        running_on(host),
    ):
        async with (
            StoreServer(host, config) as server,
            StoreClient(*server.address, timeout_s=None) as store,
        ):
            yield store


class Talk:
    """The conversation, on an event loop in a thread of its own.

    Args:
        opened: the store, while the conversation goes on.
        terminal: is told what is answered between two lines.
        isolation: the level of a `begin` that names none.
    """

    conversation: Conversation

    def __init__(
        self,
        opened: AbstractAsyncContextManager[Store],
        terminal: Terminal,
        isolation: Isolation = Isolation.REPEATABLE_READ,
    ) -> None:
        self._opened, self._terminal, self._isolation = opened, terminal, isolation
        self._begun: Future[None] = Future()
        self._left_open: list[str] = []
        self._turn = asyncio.Lock()  # a line's, or that of an answer that comes between two
        self._line: asyncio.Task[None] | None = None  # the last one that was begun
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._talk())
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._task])

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._begun.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
        if self._left_open:
            self._terminal.say([f"# rolled back: {', '.join(self._left_open)}"])

    def take(self, line: str) -> list[str]:
        """Carry out a line; what was answered by then. Raises `Refused`."""
        answered: Future[list[str]] = Future()
        try:
            self._loop.call_soon_threadsafe(self._begin, line, answered)
            return answered.result()
        except BaseException:
            # Ctrl-C, which may come at any instant: whatever has been begun by then is cut short.
            self._loop.call_soon_threadsafe(self._cut_short)
            raise

    def _begin(self, line: str, answered: Future[list[str]]) -> None:
        self._line = self._loop.create_task(self._take(line, answered))

    def _cut_short(self) -> None:
        if self._line is not None:
            self._line.cancel()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self._loop.close()

    async def _take(self, line: str, answered: Future[list[str]]) -> None:
        try:
            async with self._turn:
                answered.set_result(await self.conversation.take(line))
        except Exception as error:
            answered.set_exception(error)

    async def _talk(self) -> None:
        """What the thread does: keep the store open until this is cancelled, and listen."""
        try:
            async with self._opened as store:
                subject = StoreSubject(store, partial(_given, store), default=self._isolation)
                self.conversation = Conversation(subject)
                self._begun.set_result(None)
                try:
                    await self._listen(subject)
                finally:
                    self._left_open = subject.open_sessions()
                    await subject.close()
        except asyncio.CancelledError:
            pass  # the end of the conversation
        except Exception as error:
            if self._begun.done():
                raise
            self._begun.set_exception(error)

    async def _listen(self, subject: StoreSubject) -> None:
        while True:
            await subject.heard.wait()
            subject.heard.clear()
            async with self._turn:
                with suppress(ReaderGone):  # whoever reads the lines will notice, too
                    if news := self.conversation.news():
                        self._terminal.say_between(news)


async def _given(store: Store) -> Store:
    return store


class Terminal(Protocol):
    """Where lines come from, and answers go to."""

    def greet(self, text: str) -> None:
        """Say what a person should know before the first line."""
        ...

    def read(self, speaker: str) -> str:
        """The next line. Raises EOFError when there is none."""
        ...

    def say(self, lines: list[str]) -> None:
        """Show what a line was answered."""
        ...

    def say_between(self, lines: list[str]) -> None:
        """Show what was answered while a line is being read."""
        ...

    def complain(self, refusal: Refused) -> None:
        """The line just read was not understood."""
        ...

    def interrupt(self) -> None:
        """Ctrl-C was pressed. Raises KeyboardInterrupt if that is to be the end."""
        ...


class Typed:
    """A person: a prompt, a line that can be edited, and a history."""

    def __init__(self) -> None:
        self._prompt = ""
        self._interrupted = False  # since the last line
        self._typed: Callable[[], str] = str
        try:
            import readline  # `input` edits with it once it is imported; not every Python has it
        except ImportError:
            return
        self._typed = readline.get_line_buffer

    def greet(self, text: str) -> None:
        self.say([text])

    def read(self, speaker: str) -> str:
        self._prompt = f"{speaker}> "
        try:
            line = input(self._prompt)
        except (EOFError, KeyboardInterrupt):
            print()
            raise
        except UnicodeDecodeError as error:
            raise _no_text(error) from None
        self._interrupted = False
        return line

    def say(self, lines: list[str]) -> None:
        for line in lines:
            print(line, flush=True)

    def say_between(self, lines: list[str]) -> None:
        sys.stdout.write("\r\033[K")  # what is being typed, which comes again below
        self.say(lines)
        sys.stdout.write(self._prompt + self._typed())
        sys.stdout.flush()

    def complain(self, refusal: Refused) -> None:
        self.say([f"    {refusal}"])

    def interrupt(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self.say(["    Ctrl-C once more ends the shell and rolls back what is open"])


class Piped:
    """A file or a program: what comes out is a transcript, and a mistake is the end of it."""

    def __init__(self) -> None:
        self._number = 0

    def greet(self, text: str) -> None:
        pass

    def read(self, speaker: str) -> str:
        read = sys.stdin.buffer.readline()  # as bytes: text is decoded many lines at a time
        if not read:
            raise EOFError
        self._number += 1
        try:
            # Editors of some systems begin a file with a mark.
            line = read.decode("utf-8-sig" if self._number == 1 else "utf-8").rstrip()
        except UnicodeDecodeError as error:
            raise _no_text(error) from None
        if not is_answer(line):  # of another time
            self.say([line])
        return line

    def say(self, lines: list[str]) -> None:
        for line in lines:
            print(line, flush=True)

    say_between = say

    def complain(self, refusal: Refused) -> None:
        raise InvalidArgument(f"line {self._number}: {refusal}") from None

    def interrupt(self) -> None:
        raise KeyboardInterrupt


def _no_text(error: UnicodeDecodeError) -> Refused:
    byte = error.object[error.start]
    return Refused(f"byte 0x{byte:02x} is no text in UTF-8; a byte is typed as '\\x{byte:02x}'")
