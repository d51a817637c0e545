"""Runs a script against a subject, and shows where the transcript differs.

After each step the runner waits until the subject stands still, takes the
answers, and asks who waits. Every session that was asked something must now
have answered or wait, and never both; a subject that keeps silent is an error
at once, because guessing by the clock is what a golden script replaces.

Things to notice
    1. The order of answers is the subject's own, so a queue that wakes in the
       wrong order shows as a difference. The step's own answer comes first all
       the same: it is what a reader looks for below the step.
    2. A run that cannot go on says why *and* how it differed up to there. If
       the wrong session was woken, the next step asks one that still waits;
       the difference three lines before is the reason (`ScriptError`).
    3. No line of an answer is empty in the transcript (`EMPTY`). An empty line
       belongs to the script, which keeps it when it is recorded again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Final, Protocol

from .parsing import ScriptError, Step, is_answer, parse

EMPTY: Final = "(empty line)"


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
    refuses a step, or if the subject neither answers nor says that it waits. What
    had come before, and how that differs from `text`, is in the error.
    """
    steps = {step.line: step for step in parse(text, name)}
    run = _Run(text, name, subject)
    for number, line in enumerate(run.script, start=1):
        if number in steps:
            await run.take(steps[number])
        elif not is_answer(line):
            run.lines.append(line)
    if run.asked:
        still = ", ".join(sorted(run.asked))
        raise run.stopped(len(run.script), f"at the end these still wait: {still}")
    return run.transcript()


class _Run:
    """A script, and its transcript as far as it has come."""

    def __init__(self, text: str, name: str, subject: Subject) -> None:
        self.script: Final = text.splitlines()
        self.lines: Final[list[str]] = []
        self.asked: Final[set[str]] = set()  # and not answered
        self._name = name
        self._subject = subject

    async def take(self, step: Step) -> None:
        """One step, and all answers that follow from it."""
        before = step.line - 1
        if step.session in self.asked:
            raise self.stopped(before, f"{step.session} still waits and cannot be asked", step.line)
        try:
            await self._subject.start(step.session, step.command, step.arguments)
        except Refused as refusal:
            raise self.stopped(before, str(refusal), step.line) from None
        self.lines.append(self.script[before])
        self.asked.add(step.session)
        if problem := self._answers(step.session) or self._silence():
            after = step.line
            while after < len(self.script) and is_answer(self.script[after]):
                after += 1
            raise self.stopped(after, problem, step.line)

    def _answers(self, session: str) -> str:
        """Write down who was told what; what is wrong with it, if anything is."""
        problem = ""
        answers = self._subject.answers()
        for answer in answers:
            if answer.session not in self.asked:
                problem = problem or f"{answer.session} was answered and had asked nothing"
            self.asked.discard(answer.session)
        own, others = answer_lines(answers, session)
        if session in self.asked and session in self._subject.waiting():
            own = ["    waits"]
        self.lines.extend(own + others)
        return problem

    def _silence(self) -> str:
        """Whoever has an open step must wait, and nobody else may."""
        waiting = set(self._subject.waiting())
        if silent := sorted(self.asked - waiting):
            return f"no answer to {silent[0]}, and the subject does not say that it waits"
        if both := sorted(waiting - self.asked):
            return f"the subject says that {both[0]} waits; it has no open step"
        return ""

    def transcript(self) -> str:
        return "\n".join(self.lines) + "\n"

    def stopped(self, end: int, problem: str, line: int | None = None) -> ScriptError:
        """The error at `line`; the transcript so far answers to the first `end` lines."""
        expected = "\n".join(self.script[:end])
        return ScriptError(
            self._name,
            line or end,
            problem,
            transcript=self.transcript(),
            difference=difference(expected, "\n".join(self.lines), self._name),
        )


def answer_lines(answers: Sequence[Answer], session: str | None) -> tuple[list[str], list[str]]:
    """The lines of a transcript: what ``session`` was answered, and what the others were."""
    own, others = [], []
    for answer in answers:
        first, *more = [line.rstrip() or EMPTY for line in answer.text.splitlines()] or [EMPTY]
        if answer.session == session:
            own += [f"    {line}" for line in [first, *more]]
        else:
            others += [f"    {answer.session}: {first}", *(f"        {line}" for line in more)]
    return own, others


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
