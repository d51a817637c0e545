"""Lazy: a group of commands that imports a command only when it is typed.

To import all commands takes half a second. But ``sdkit journal`` needs no simulator, and
a mistyped word needs no command at all. So a table holds the names and a line about each.
The module of a command is imported when its name is typed:

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
        """Load the command. An unknown name ends with an error that suggests a near one."""
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
        """Write the list of commands into the help; this loads none of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))


def show_help(context: typer.Context) -> None:
    """Show the help on standard error and end with status 2, if no command was given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
