"""Conversation: what people type at a store becomes steps of sessions, and answers become lines.

A student who wants to see an anomaly needs two transactions at once, so two
people; and both in one window, or the order of the steps is lost. The language is
that of golden scripts (`sdkit.script`), so that a conversation can be kept in a
file and told again, answers and all:

    alice: put x 1           who, and what
        ok                   what the step answered
    bob: put x 2
        waits for alice
    alice: commit
        commit 1
        bob: ok              what others heard because of it
    get x                    alice, who was named last
        1

Two liberties beside a script: whoever was named last speaks on, so a name need not
be repeated; and names need not be declared. Comments, empty lines, indented lines
(answers of another time) and the line ``sessions ...`` are no steps.

What a step means is its subject's business (`sdkit.cli.store_sessions`).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from sdkit.cli.store_sessions import USAGE, WITHOUT_A_TRANSACTION, StoreSubject, check_command
from sdkit.script import Refused, answer_lines, is_answer
from sdkit.store import Isolation

FIRST: Final = "alice"  # speaks until somebody is named
NOBODY: Final = ""  # a session that looks around, also for those who wait
OWN: Final = ("help", "quit")  # commands beside the subject's
HELP: Final = f"""\
    NAME: COMMAND     a step of the session NAME; who was named last speaks on
    NAME:             from now on NAME speaks
    begin [LEVEL] [read-only]
                      LEVEL is {", ".join(Isolation)};
                      without one, {Isolation.REPEATABLE_READ} (or see --isolation)
    get KEY | get_for_update KEY | put KEY VALUE | delete KEY
    scan [START END]  the keys from START up to END, which is excluded
    savepoint         begins a part that can be undone alone, by undo; or keep it
    commit | rollback
    versions KEY      the version chain, newest first
    transactions      all that are open
    locks             who holds what, what serializable ones have read, who waits for whom
    passes 10s        let time pass
    help | quit       at the end, what is open is rolled back
    A key or value with spaces is quoted; '\\xff' is a byte, and '' is empty."""
_NAMED: Final = re.compile(r"([\w-]+):(?:\s+(.*))?")


@dataclass(slots=True)
class Line:
    """Who speaks, and the words; no words where somebody is only named."""

    session: str
    words: list[str]


def parse_line(text: str, speaker: str) -> Line | None:
    """What a line says, or None if it is no step.

    Raises:
        Refused: a quote is not closed, or a command stands where a name should.
    """
    text = text.rstrip()
    if not text or text.startswith("#") or is_answer(text) or text.split()[0] == "sessions":
        return None
    if named := _NAMED.fullmatch(text):
        speaker, text = named[1], named[2] or ""
        if speaker in (*USAGE, *OWN):
            raise Refused(f"{speaker} is a command and no name; write NAME: {speaker} ...")
    try:
        return Line(speaker, shlex.split(text))
    except ValueError as error:
        raise Refused(f"{str(error).lower()} in {text!r}") from None


class Conversation:
    """Lines go in, the lines that answer them come out.

    Args:
        subject: carries out the steps.
    """

    def __init__(self, subject: StoreSubject) -> None:
        self.speaker = FIRST
        self.is_over = False
        self._subject: Final = subject
        self._asked: Final[set[str]] = set()  # and not answered

    async def take(self, text: str) -> list[str]:
        """Carry out what a line says; what is answered by then.

        Raises:
            Refused: it is not understood, or cannot be now. Nothing was done.
        """
        line = parse_line(text, self.speaker)
        if line is None:
            return []
        match line.words:
            case []:
                self.speaker = line.session
                return []
            case ["help"]:
                return HELP.splitlines()
            case ["quit"]:
                self.is_over = True
                return []
            case ["help" | "quit" as own, *_]:
                raise Refused(f"expected '{own}'")
        return await self._step(line.session, *line.words)

    async def _step(self, speaker: str, command: str, *arguments: str) -> list[str]:
        check_command(command, *OWN)
        session = NOBODY if command in WITHOUT_A_TRANSACTION else speaker
        if session in self._asked:
            raise Refused(f"{session} still {self._waits(session)} and cannot be asked")
        self._asked.add(session)
        try:
            await self._subject.start(session, command, arguments)
        except BaseException as error:
            # Refused: nothing was done. Ctrl-C: a look is over; what the store was asked goes on.
            if isinstance(error, Refused) or session == NOBODY:
                self._asked.discard(session)
            raise
        self.speaker = speaker
        return self.news(session)

    def news(self, session: str | None = None) -> list[str]:
        """What has been answered since the last time, the answer to ``session`` first."""
        answers = self._subject.answers()
        own, others = answer_lines(answers, session)
        self._asked.difference_update(answer.session for answer in answers)
        if session is not None and session in self._asked:
            own = [f"    {self._waits(session)}"]
        return own + others

    def _waits(self, session: str) -> str:
        ahead = self._subject.ahead_of(session)
        return f"waits for {', '.join(ahead)}" if ahead else "waits"
