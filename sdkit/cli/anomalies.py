"""Anomalies: each is a script of interleaved steps, run at a level and judged by what came back.

Isolation levels are sold by what cannot happen at them. To see whether it can, one
lets it happen: `sdkit/store/anomalies` has a script for each anomaly of
`sdkit.store.isolation`, in the form of golden scripts (`sdkit.script`).

    alice: begin                    at the level in question
    alice: get balance
        100                         what is answered if the anomaly happens
    bob: begin
    bob: put balance 200            no answer below: whatever it is
    bob: commit
        committed
    alice: get balance
        200

The anomaly is *observed* if every answer that the script gives is the one that came.
At a level that forbids it, something is different somewhere: a read answers
otherwise, a commit fails, somebody waits.

Things to notice
    1. A step that waits holds up its own session and nobody else: the session's next
       steps are taken when it goes on, before any that come later in the script. So
       one script serves the level that waits, the one that aborts and the one that
       lets it happen.
    2. Answers are needed only where the anomaly shows. Reads alone would not do: an
       anomaly among transactions that are then aborted is none, so the commits that
       matter are in the script as well.
    3. A script that could never be fulfilled would look like a store without anomalies.
       `setup` must succeed, and the tests run all scripts at a store that has no
       isolation at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final, Self, cast

from sdkit.cli.store_sessions import StoreSubject
from sdkit.script import Refused, ScriptError, Step, Subject, parse
from sdkit.script.parsing import is_answer
from sdkit.store.config import Serializable
from sdkit.store.interface import Isolation, Store
from sdkit.store.isolation import ANOMALIES

COMMITTED: Final = "committed"  # stands for the answer to a commit, which has a position in it
SETUP: Final = "setup"


@dataclass(frozen=True)
class AnomalyScript:
    """The steps of a script, and what is answered if the anomaly happens."""

    anomaly: str
    steps: list[Step]
    expected: dict[int, str]  # by the line of the step

    @classmethod
    def parsed(cls, anomaly: str, text: str) -> Self:
        """Raises `ScriptError` if a line is not understood, or no answer says what to look for."""
        steps = parse(text, anomaly)
        expected = _expected(text, {step.line for step in steps})
        if not expected:
            raise ScriptError(anomaly, steps[-1].line, "expected an answer below some step")
        return cls(anomaly, steps, expected)


@dataclass
class Course:
    """How a script went at some level."""

    script: AnomalyScript
    answers: dict[int, str] = field(default_factory=dict)  # by the line of the step

    @property
    def observed(self) -> bool:
        """Did the anomaly happen?"""
        expected = self.script.expected
        return all(self.answers.get(line) == answer for line, answer in expected.items())

    def __str__(self) -> str:
        """The steps with what came back, as a script."""
        lines = []
        for step in self.script.steps:
            lines.append(f"{step.session}: {' '.join([step.command, *step.arguments])}")
            answer = self.answers.get(step.line, "waits, to the end")
            lines += [f"    {line}" for line in answer.splitlines()]
        return "\n".join(lines)


def scripts() -> list[AnomalyScript]:
    """All of them, in the order of `sdkit.store.isolation.ANOMALIES`.

    They are files, which a simulated event loop refuses to touch: read them before.
    """
    folder = files("sdkit.store") / "anomalies"
    return [
        AnomalyScript.parsed(each, (folder / file_name(each)).read_text(encoding="utf-8"))
        for each in ANOMALIES
    ]


def file_name(anomaly: str) -> str:
    """What the file of its script is called."""
    return anomaly.replace(" ", "_").replace("-", "_") + ".txt"


def parts_of(level: str) -> tuple[Isolation, Serializable | None]:
    """What `sdkit.store.isolation.RULES` calls a level: as a transaction's, and the store's part.

    The store's is the value of ``StoreConfig.serializable`` that it needs, if it needs one.
    """
    name, _, kind = level.partition(" (")
    return Isolation(name), cast(Serializable, kind.removesuffix(")")) if kind else None


async def observe(
    script: AnomalyScript,
    isolation: Isolation,
    store: Store,
    open_store: Callable[[], Awaitable[Store]],
) -> Course:
    """Empty the store, and run one script on it at this level.

    Args:
        store: loses everything that is in it.
        open_store: gives each session its view of the same store.

    Raises:
        ScriptError: the script cannot be run here, whatever the level.
    """
    await _empty(store)
    subject = StoreSubject(store, open_store, default=isolation)
    try:
        return await run(script, subject)
    finally:
        await subject.close()


async def run(script: AnomalyScript, subject: Subject) -> Course:
    """Run a script to its end, or to where nobody goes on any more."""
    course = Course(script)
    at_work = _AtWork(course, subject)
    for step in script.steps:
        at_work.postponed.append(step)
        await at_work.go_on()
    return course


class _AtWork:
    """The steps that have been taken, and those that are held up."""

    def __init__(self, course: Course, subject: Subject) -> None:
        self.postponed: Final[list[Step]] = []
        self._course = course
        self._subject = subject
        self._asked: dict[str, Step] = {}  # by session: what it waits with

    async def go_on(self) -> None:
        """Take every step that nothing holds up, the earliest of the script first."""
        while step := next((it for it in self.postponed if it.session not in self._asked), None):
            self.postponed.remove(step)
            await self._take(step)

    async def _take(self, step: Step) -> None:
        self._asked[step.session] = step
        try:
            await self._subject.start(step.session, step.command, step.arguments)
        except Refused as refusal:
            raise self._error(step, str(refusal)) from None
        for answer in self._subject.answers():
            asked = self._asked.pop(answer.session)
            self._course.answers[asked.line] = _without_position(asked, answer.text)
        if silent := self._asked.keys() - set(self._subject.waiting()):
            raise self._error(step, f"no answer to {min(silent)}, who does not wait either")
        found = self._course.answers.get(step.line, f"{step.session} waits")
        if step.session == SETUP and found not in ("ok", COMMITTED):
            raise self._error(step, found)

    def _error(self, step: Step, problem: str) -> ScriptError:
        return ScriptError(self._course.script.anomaly, step.line, problem)


def _expected(text: str, steps: set[int]) -> dict[int, str]:
    """By the line of a step: the answer below it, if there is one."""
    answers: dict[int, list[str]] = {}
    step = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if number in steps:
            step = number
        elif is_answer(line):
            answers.setdefault(step, []).append(line.strip())
    return {step: "\n".join(lines) for step, lines in answers.items()}


def _without_position(step: Step, answer: str) -> str:
    """The answer, but for where in the log a commit is, which is another in each run."""
    took_place = answer.startswith(("commit ", "ok"))
    return COMMITTED if step.command == "commit" and took_place else answer


async def _empty(store: Store) -> None:
    async with store.begin() as transaction:
        for key in [key async for key, _ in transaction.scan()]:
            await transaction.delete(key)
