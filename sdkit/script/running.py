"""Runs a script against a subject, and shows where the transcript differs.

After each step the runner waits until the subject stands still, takes the
answers, and asks who waits. Every session that was asked something must now
have answered or wait, and never both; a subject that keeps silent is an error
at once, because guessing by the clock is what a golden script replaces.

The order of answers is the subject's own, so a queue that wakes in the wrong
order shows as a difference. The step's own answer comes first all the same: it
is what a reader looks for below the step.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Protocol

from .parsing import ScriptError, parse


class Refused(ValueError):
    """The subject knows no such command, or not with these arguments; nothing was done."""


@dataclass(slots=True)
class Answer:
    """What a session was told; an error is shown as its code and message."""

    session: str
    text: str


class Subject(Protocol):
    """What a script is run against."""

    async def start(self, session: str, command: str, arguments: Sequence[str]) -> None:
        """Begin a command; come back when no session moves any more. May raise `Refused`."""

    def answers(self) -> Sequence[Answer]:
        """The answers since the last time this was asked, in the order they came."""

    def waiting(self) -> Collection[str]:
        """The sessions that wait for another one now."""


async def transcript(text: str, name: str, subject: Subject) -> str:
    """Run the script `text`; give it back with the answers that came this time.

    Raises `ScriptError`, naming the line, if it cannot be parsed, if the subject
    refuses a step, or if the subject neither answers nor says that it waits.
    """
    steps = {step.line: step for step in parse(text, name)}
    asked: set[str] = set()
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and line[0].isspace():
            continue
        lines.append(line)
        if number not in steps:
            continue
        step = steps[number]
        if step.session in asked:
            raise ScriptError(name, number, f"{step.session} still waits and cannot be asked")
        try:
            await subject.start(step.session, step.command, step.arguments)
        except Refused as refusal:
            raise ScriptError(name, number, str(refusal)) from None
        asked.add(step.session)
        try:
            lines += _answers(step.session, asked, subject)
        except ValueError as wrong:
            raise ScriptError(name, number, str(wrong)) from None
    if asked:
        raise ScriptError(name, number, f"at the end these still wait: {', '.join(sorted(asked))}")
    return "\n".join(lines) + "\n"


def _answers(session: str, asked: set[str], subject: Subject) -> list[str]:
    own, others = [], []
    for answer in subject.answers():
        if answer.session not in asked:
            raise ValueError(f"{answer.session} was answered and had asked nothing")
        asked.remove(answer.session)
        first, *more = answer.text.splitlines() or [""]
        if answer.session == session:
            own += [f"    {part}".rstrip() for part in [first, *more]]
        else:
            others += [f"    {answer.session}: {first}", *(f"        {part}" for part in more)]
    waiting = set(subject.waiting())
    if silent := sorted(asked - waiting):
        raise ValueError(f"no answer to {silent[0]}, and the subject does not say that it waits")
    if both := sorted(waiting - asked):
        raise ValueError(f"the subject says that {both[0]} waits; it has no open step")
    if session in asked:
        own = ["    waits"]
    return own + others


def difference(expected: str, actual: str, name: str) -> str:
    """A unified diff of two transcripts, with file and line; empty if they are the same."""
    before, after = expected.splitlines(), actual.splitlines()
    if before == after:
        return ""
    pairs = zip(before, after, strict=False)
    line = next(
        (n for n, (a, b) in enumerate(pairs, 1) if a != b), min(len(before), len(after)) + 1
    )
    diff = unified_diff(before, after, name, f"{name} (this run)", lineterm="")
    return f"{name}:{line}: the transcript differs\n" + "\n".join(diff)
