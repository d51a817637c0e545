"""Streams: make standard input, output and error safe for every command.

A program gets its streams from its parent, in any state. So printing can go wrong in five
ways, whatever is printed:

    closed (``>&-``)       The next file that is opened would get number 1, and a table would
                           be printed into it. So /dev/null takes the place of a closed
                           stream, as in git.
    a small character set  ``▇`` is not in ASCII. A plot's bars become digits, other
                           characters are written as ``\\u2502``.
    nobody reads           After ``| head -1`` the pipe is broken. The command ends with 141,
                           as if SIGPIPE had ended it. 1 would be a verdict.
    the disk is full       An ordinary error; `sdkit.cli.main` shows it in a line.
    ``kill`` ends it       A progress bar hides the terminal's cursor. It is shown again, and
                           then the signal ends the process.
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
    """The reader of a stream has gone; from now on its output is thrown away."""


class Output(io.TextIOWrapper):
    """A stream of text that ends the command when nobody reads it any more.

    It raises a `SystemExit`, since that goes through task groups and the ``except Exception``
    of libraries unchanged, and runs each ``finally`` on its way.
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
    """Replace a character that the stream's encoding does not have."""
    assert isinstance(error, UnicodeEncodeError)
    likeness = LIKENESSES.get(error.object[error.start])
    return (likeness, error.start + 1) if likeness else codecs.backslashreplace_errors(error)
