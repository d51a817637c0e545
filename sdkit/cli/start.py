"""Start: from the word ``sdkit`` to the command, and no traceback on the way.

Whatever a command is, three things are the same for all and are settled here.

    Ctrl-C while it loads   nothing has begun, so nothing has to be ended: the signal
                            does what it does to any program
    the standard streams    are open and take any text (`sdkit.cli.streams`)
    typer and rich          come with the extra ``cli``; rooms do without them
"""

from __future__ import annotations

import signal
import sys
from typing import Final

from sdkit.cli import streams

INSTALL: Final = "pip install 'system-design-kit[cli]'"
EXTRA: Final = {"typer", "rich", "click"}


def main() -> None:
    """Load the command line and run it; never returns normally."""
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeds:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    streams.prepare()
    try:
        from sdkit.cli.main import main as command

        if heeds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA:
            raise
        sys.stderr.write(f"error: the command line needs {missing}: {INSTALL}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
