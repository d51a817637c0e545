"""Console: where commands print what is for people.

Rich fills the last column of a table with blanks. On a terminal nobody sees them; in a file
they are a difference in every comparison, and in a page of documentation noise.
"""

from __future__ import annotations

import re
import sys
from typing import IO, Any, Final, cast

from rich.console import Console

_BLANKS: Final = re.compile(r"[ ]+(?=\n)")


def console() -> Console:
    """The standard output; lines end without blanks if it is no terminal."""
    if sys.stdout.isatty():
        return Console()
    return Console(file=cast(IO[str], _Trimmed(sys.stdout)))


class _Trimmed:
    """A file for text: itself, but for the blanks at the ends of lines."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        self._file.write(_BLANKS.sub("", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
