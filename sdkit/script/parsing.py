"""The text of a golden script becomes steps, or an error that says where.

Four kinds of lines are enough, told apart by how they begin:

    # a comment          kept when the script is recorded again
    sessions alice bob   once, before the first step
    alice: put x 1       a step: session, command, arguments
        ok               indented: what the step above answered

Sessions are named once at the top, so that a misspelt name is an error and not
one session more. Arguments are words between spaces; a quoted word may hold
spaces, as in a shell. What is indented is not read here: it is only compared,
by `running`, and replaced when the script is recorded.
"""

import shlex
from dataclasses import dataclass


class ScriptError(ValueError):
    """A script that cannot be run: the message names file, line and what was expected.

    If steps have been taken, `transcript` holds them with their answers, and the
    message ends with how they differ from the script so far, if they do.
    """

    def __init__(
        self, name: str, line: int, problem: str, *, transcript: str = "", difference: str = ""
    ) -> None:
        super().__init__(f"{name}:{line}: {problem}" + (difference and f"\n{difference}"))
        self.transcript = transcript


@dataclass(slots=True)
class Step:
    """One command of one session, and the number of its line, from 1."""

    line: int
    session: str
    command: str
    arguments: list[str]


def parse(text: str, name: str) -> list[Step]:
    """The steps of `text` in order; `name` is the file that errors speak of.

    Raises `ScriptError` for the first line that is not understood.
    """
    sessions: list[str] = []
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if is_answer(line):
            if not steps:
                raise ScriptError(name, number, "an answer before the first step")
        elif line.split()[0] == "sessions":
            if sessions:
                raise ScriptError(name, number, "sessions are named already; expected a step")
            sessions = line.split()[1:]
            if not sessions or len(set(sessions)) < len(sessions):
                raise ScriptError(name, number, "expected names of sessions, each once")
            for session in sessions:
                if session.startswith("#") or ":" in session:  # its steps would be none
                    problem = f"no session can be named {session!r}: no # first and no colon"
                    raise ScriptError(name, number, problem)
        else:
            steps.append(_step(line, number, name, sessions))
    if not steps:
        raise ScriptError(name, max(1, len(text.splitlines())), "expected at least one step")
    return steps


def is_answer(line: str) -> bool:
    """Is this a line of an answer? They are indented, and never empty."""
    return bool(line.strip()) and line[0].isspace()


def _step(line: str, number: int, name: str, sessions: list[str]) -> Step:
    session, colon, rest = line.partition(":")
    if not colon:
        raise ScriptError(name, number, f"expected 'session: command', found {line!r}")
    if session not in sessions:
        known = ", ".join(sessions) or "none, 'sessions NAME ...' is missing"
        raise ScriptError(name, number, f"no session {session!r}; named are: {known}")
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ScriptError(name, number, f"{error} in {rest.strip()!r}") from None
    if not words:
        raise ScriptError(name, number, f"expected a command after '{session}:'")
    return Step(number, session, words[0], words[1:])
