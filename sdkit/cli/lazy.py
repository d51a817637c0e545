"""Lazy: a command made of commands, each of which is loaded when somebody asks for it.

``sdkit journal`` needs no simulator, and whoever mistypes a word needs nothing at
all; together all commands take half a second to import. So the words and what
they are for stand in a table, and a module is imported when its word is typed:

    sdkit --help        the table
    sdkit sim bank      sdkit.cli.sim, and nothing of the others
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """A group whose subclass says what its commands are for, and how each is loaded."""

    summaries: ClassVar[dict[str, str]]  # the commands, and a line about each

    def load(self, name: str) -> Callable[..., Any] | typer.Typer:
        """The command of that name: a function with typer's annotations, or a group of its own."""
        raise NotImplementedError

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, as click wants them."""
        return list(self.summaries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command itself; a name that is none ends in a `typer.BadParameter`."""
        if cmd_name.startswith("-"):
            return None  # an option, which click refuses by name
        if cmd_name not in self.summaries:
            near = get_close_matches(cmd_name, self.summaries, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(self.summaries)}"
            ctx.fail(f"no command {cmd_name!r}; {hint}")
        loaded = self.load(cmd_name)
        if not isinstance(loaded, typer.Typer):
            function, loaded = loaded, typer.Typer(rich_markup_mode=None, add_completion=False)
            loaded.command(cmd_name)(function)
        return typer.main.get_command(loaded)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The part of the help that names the commands; none of them is loaded for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))


def show_help(context: typer.Context) -> None:
    """What a group does that is given no command: show its help on standard error, status 2."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
