"""Streams: standard input, output and error, as every command may rely on them.

A program is started with whatever its parent leaves it, and there are five ways
in which printing a line can go wrong that have nothing to do with the line:

    closed (``>&-``)       the next file that is opened gets number 1, and a table is
                           printed into the log: closed ones become /dev/null, as git does
    a small character set  ``▇`` has no place in ASCII: a plot's bars become figures, and what
                           has no likeness is written as ``\\u2502``
    nobody reads           after ``| head -1`` the pipe is broken: the command ends with
                           141, as one does that SIGPIPE ends; that is no verdict
    the disk is full       an error like another one; `sdkit.cli.main` says it in a line
    ``kill`` ends it       a progress bar hides the cursor of the terminal: it is shown again
                           before the process ends, as it would have ended without us
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from typing import Any, Final, NoReturn

NOBODY_READS: Final = 128 + signal.SIGPIPE
SHOW_CURSOR: Final = b"\x1b[?25h"
LIKENESSES: Final = {"·": ".", "…": "~"} | dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))


class ReaderGone(SystemExit):
    """Nobody reads what is written; from now on it goes nowhere."""


class Output(io.TextIOWrapper):
    """A stream of text that ends the command when nobody reads it any more.

    `SystemExit` does what an exception of another kind would not: it gets through task
    groups and the ``except`` clauses of libraries unchanged, and each ``finally`` on its
    way ends what was begun.
    """

    _goes_nowhere = False

    def write(self, text: str, /) -> int:
        """Write, as any stream does. Raises `ReaderGone`, from then on each time."""
        if self._goes_nowhere:
            raise ReaderGone(NOBODY_READS)
        try:
            return super().write(text)
        except BrokenPipeError:
            self._give_up()

    def flush(self) -> None:
        """Flush, as any stream does. Raises `ReaderGone`."""
        try:
            super().flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> NoReturn:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is still in the buffer goes there
        os.close(nowhere)
        self._goes_nowhere = True
        raise ReaderGone(NOBODY_READS) from None


def prepare() -> None:
    """Make the three streams of this process fit for any command."""
    codecs.register_error(_likeness.__name__, _likeness)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest: ``number``
    if sys.stdin is None:
        sys.stdin = open(0)  # noqa: SIM115  as long as the process
    if isinstance(sys.stdin, io.TextIOWrapper):  # a byte that is no text is to be refused
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    sys.stdout = sys.__stdout__ = _output(sys.stdout, 1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _output(sys.stderr, 2)  # type: ignore[misc]
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end_with_cursor)


def _end_with_cursor(number: int, _frame: object) -> None:
    for stream in (1, 2):
        if os.isatty(stream):
            os.write(stream, SHOW_CURSOR)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _output(stream: Any, number: int) -> Output:
    if stream is None:
        return Output(open(number, "wb"), encoding="utf-8", errors=_likeness.__name__)
    settings = {
        "encoding": stream.encoding,
        "line_buffering": stream.line_buffering,
        "write_through": stream.write_through,
    }
    return Output(stream.detach(), errors=_likeness.__name__, **settings)


def _likeness(error: UnicodeError) -> tuple[str | bytes, int]:
    """What is written for characters that the stream's encoding does not have."""
    assert isinstance(error, UnicodeEncodeError)
    likeness = LIKENESSES.get(error.object[error.start])
    return (likeness, error.start + 1) if likeness else codecs.backslashreplace_errors(error)
