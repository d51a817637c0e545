"""Start: from the word ``sdkit`` to the command, and no traceback on the way.

Loading typer, rich and every room takes half a second, on a busy machine several,
and impatient people press Ctrl-C in it. Nothing has begun yet, so nothing has to
be ended: until the command is loaded the signal does what it does to any program.
"""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command line and run it; never returns normally."""
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeds:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sdkit.cli.main import main as command  # the half second

    if heeds:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
