"""The command ``sdkit``: its subcommands, and how an error is shown.

A person who mistypes a directory wants one line that says what was wrong and
what to do, not thirty lines of traceback; a person who debugs wants the
traceback. So: one line and exit status 2, unless ``--debug``.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import sdkit
from sdkit.cli import check, demo, journal, metrics, serve, shell, sim
from sdkit.errors import SdkitError

app = typer.Typer(
    name="sdkit",
    help="Every box of a system-design diagram as code that runs. Read it, run it, break it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: boxes leave no room for long option names
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("check")(check.check)
app.command("demo")(demo.demo)
app.add_typer(serve.app, name="serve")
app.command("journal")(journal.journal)
app.command("metrics")(metrics.metrics)
app.command("shell")(shell.shell)
app.command("sim")(sim.sim)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    _settings["debug"] = debug
    if version:
        print(f"sdkit {sdkit.__version__}")
        raise typer.Exit


_settings = {"debug": False}


def in_words(error: SdkitError | OSError) -> str:
    """What went wrong, without the number that the operating system has for it."""
    if isinstance(error, SdkitError) or not error.strerror:
        return str(error)
    named = f"{error.filename}: " if error.filename is not None else ""
    return named + error.strerror


def main() -> None:
    """Run the command line of this process; never returns normally."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (SdkitError, OSError) as error:
        if _settings["debug"]:
            raise
        text = escape(in_words(error))  # it may hold brackets, which are no markup
        Console(stderr=True).print(f"[red]error:[/] {text}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
