"""The command ``sdkit``: its subcommands, and how an error is shown.

A person who mistypes a directory wants one line that says what was wrong and
what to do, not thirty lines of traceback; a person who debugs wants the
traceback. So: one line and exit status 2, unless ``--debug``.

    0      done; of what judges: it holds
    1      of what judges: something was lost, broken or damaged
    2      wrong words, or it could not be done; one line says why
    130    Ctrl-C
    141    nobody reads the output any more, as after ``| head -1``
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, cast

import typer

import sdkit
from sdkit.cli.lazy import LazyGroup, show_help
from sdkit.errors import InvalidArgument, SdkitError

INTERRUPTED: Final = 128 + signal.SIGINT


class _Commands(LazyGroup):
    summaries: ClassVar[dict[str, str]] = {
        "check": "Judge a recorded history: could it have happened?",
        "demo": "Move money through a store while it is killed; none is lost.",
        "serve": "Start one room's server.",
        "journal": "Show a journal's segments, records and positions.",
        "metrics": "Print what a running server counts, as Prometheus text.",
        "shell": "Type transactions of several sessions at a store.",
        "sim": "Run a scenario in the simulator, where power fails.",
    }

    def load(self, name: str) -> Callable[..., Any] | typer.Typer:
        loaded: Callable[..., Any] | typer.Typer
        loaded = getattr(importlib.import_module(f"sdkit.cli.{name}"), name)
        return loaded


app = typer.Typer(
    name="sdkit",
    cls=_Commands,
    help="Every box of a system-design diagram as code that runs. Read it, run it, break it.",
    epilog="Exit status: 0 done, or it holds; 1 what was judged is broken or lost; 2 it could not "
    "be done, and a line says why; 130 after Ctrl-C; 141 when nobody reads the output.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: boxes leave no room for long option names
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    _settings["debug"] = debug
    if version:
        print(f"sdkit {sdkit.__version__}")
        raise typer.Exit
    show_help(context)


_settings = {"debug": False}


def in_words(error: Exception) -> str:
    """What went wrong, without the number that the operating system has for it."""
    if isinstance(error, OSError) and not isinstance(error, SdkitError) and error.strerror:
        named = f"{error.filename}: " if error.filename is not None else ""
        return named + error.strerror
    return str(error)


def misuse_in_words(error: Any) -> str:
    """What was typed wrong, and which help says what is right."""
    text = str(error.format_message()).strip()
    text = text[:1].lower() + text[1:].rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else "sdkit"
    return f"{text} ({path} --help)"


def main() -> None:
    """Run the command line of this process; never returns normally."""
    _settings["debug"] = False
    try:
        _refuse_empty(sys.argv[1:])
        try:
            sys.exit(app(prog_name="sdkit", standalone_mode=False))
        finally:
            sys.stdout.flush()  # while what goes wrong with it can still be said
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    except (_MISUSE, SdkitError, OSError) as error:
        if _settings["debug"]:
            raise
        _complain(misuse_in_words(error) if isinstance(error, _MISUSE) else in_words(error))


def _refuse_empty(words: list[str]) -> None:
    """Refuse a word without a letter: a variable that is not set, whose file would be ``.``."""
    for before, word in zip(["sdkit", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            name = word.rstrip("=") or before
            raise InvalidArgument(f"behind {name} stands an empty word; is a variable not set?")


# Typer brings click along, under one name or another; this is its error of wrong words.
_MISUSE: Final = cast(type[Exception], typer.BadParameter.__mro__[2])


def _complain(text: str) -> None:
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
    line = " ".join(text.split("\n"))
    sys.stderr.write(f"{red}error:{plain} {line}\n")
    sys.exit(2)
