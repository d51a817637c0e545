"""The runner of golden scripts, on a lock small enough to be read here."""

import asyncio
from collections.abc import Sequence

import pytest

from sdkit.script import Answer, Refused, ScriptError, difference, transcript

TURNS = """\
# Who asks first is served first.
sessions alice bob carol

alice: lock
    ok
bob: lock
    waits
carol: lock
    waits
alice: unlock
    ok
    bob: ok
bob: unlock
    ok
    carol: ok
"""


class Lock:
    """One lock with a queue, whose holder unlocks it."""

    def __init__(self) -> None:
        self.queue: list[str] = []
        self.told: list[Answer] = []

    async def start(self, session: str, command: str, arguments: Sequence[str]) -> None:
        if arguments:
            raise Refused(f"{command} takes no argument")
        if command == "lock":
            self.queue.append(session)
            if len(self.queue) == 1:
                self.told.append(Answer(session, "ok"))
        elif command == "unlock":
            self.queue.pop(0)
            self.wake()
            self.told.append(Answer(session, "ok"))
        else:
            raise Refused(f"no command {command!r}; expected lock or unlock")

    def wake(self) -> None:
        if self.queue:
            self.told.append(Answer(self.queue[0], "ok"))

    def answers(self) -> list[Answer]:
        told, self.told = self.told, []
        return told

    def waiting(self) -> list[str]:
        return self.queue[1:]


class Silent(Lock):
    def waiting(self) -> list[str]:
        return []


class LastFirst(Lock):
    def wake(self) -> None:
        self.queue.reverse()
        super().wake()


def run(text: str, lock: Lock) -> str:
    return asyncio.run(transcript(text, "turns", lock))


def test_a_right_subject_gives_the_same_transcript() -> None:
    assert difference(TURNS, run(TURNS, Lock()), "turns") == ""


def test_a_script_without_answers_is_recorded_with_its_comments() -> None:
    bare = "".join(line for line in TURNS.splitlines(True) if not line.startswith(" "))
    assert run(bare, Lock()) == TURNS


def test_a_subject_that_never_says_it_waits_is_named_at_the_step() -> None:
    with pytest.raises(ScriptError, match="turns:6: no answer to bob, and the subject does not"):
        run(TURNS, Silent())


def test_waking_in_the_wrong_order_is_a_difference_at_its_line() -> None:
    text = TURNS[: TURNS.index("bob: unlock")].replace("carol: lock\n    waits\n", "")
    assert difference(text, run(text, Lock()), "turns") == ""
    changed = TURNS.replace("    bob: ok", "    carol: ok")
    assert difference(TURNS, changed, "turns").splitlines() == [
        "turns:12: the transcript differs",
        "--- turns",
        "+++ turns (this run)",
        "@@ -9,7 +9,7 @@",
        "     waits",
        " alice: unlock",
        "     ok",
        "-    bob: ok",
        "+    carol: ok",
        " bob: unlock",
        "     ok",
        "     carol: ok",
    ]


def test_a_run_that_cannot_go_on_says_how_it_differed_before() -> None:
    with pytest.raises(ScriptError) as raised:
        run(TURNS, LastFirst())
    why, where, *diff = str(raised.value).splitlines()
    assert why == "turns:13: bob still waits and cannot be asked"
    assert where == "turns:12: the transcript differs"
    assert diff[-2:] == ["-    bob: ok", "+    carol: ok"]
    assert raised.value.transcript.endswith("alice: unlock\n    ok\n    carol: ok\n")


def test_a_step_that_gets_no_answer_is_in_the_difference() -> None:
    with pytest.raises(ScriptError) as raised:
        run(TURNS, Silent())
    assert str(raised.value).splitlines()[-2:] == [" bob: lock", "-    waits"]


def test_who_waits_at_the_end_is_named() -> None:
    text = "sessions alice bob\nalice: lock\n    ok\nbob: lock\n    waits\n"
    with pytest.raises(ScriptError) as raised:
        run(text, Lock())
    assert str(raised.value) == "turns:5: at the end these still wait: bob"
    assert raised.value.transcript == text


class Echo(Lock):
    """Says its arguments, one a line."""

    async def start(self, session: str, command: str, arguments: Sequence[str]) -> None:
        self.told.append(Answer(session, "\n".join(arguments)))


@pytest.mark.parametrize("said", ["", "''", "'' ''", "a '' b", "a ''", "'' a", "' '", "'  a '"])
def test_an_answer_with_empty_lines_is_recorded_again_without_a_change(said: str) -> None:
    text = f"sessions a\n\na: say {said}\n\na: say x\n\n"
    once = run(text, Echo())
    assert run(once, Echo()) == once
    assert [line for line in once.splitlines() if not line.startswith(" ")] == text.splitlines()


def test_an_empty_line_of_an_answer_is_shown() -> None:
    text = run("sessions a\na: say a '' b\n", Echo())
    assert text.splitlines()[2:] == ["    a", "    (empty line)", "    b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t:1: expected at least one step"),
        ("a: lock\n", "t:1: no session 'a'"),
        ("sessions a\nb: lock\n", "t:2: no session 'b'; named are: a"),
        ("sessions a\nlock\n", "t:2: expected 'session: command'"),
        ("sessions a\na:\n", "t:2: expected a command"),
        ("sessions a\n    ok\n", "t:2: an answer before the first step"),
        ("sessions a a\n", "t:1: expected names of sessions, each once"),
        ("sessions a\na: 'x\n", "t:2: No closing quotation"),
        ("sessions a\na: steal\n", "t:2: no command 'steal'; expected lock or unlock"),
        ("sessions a\na: lock x\n", "t:2: lock takes no argument"),
    ],
)
def test_an_error_names_file_line_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        asyncio.run(transcript(text, "t", Lock()))


def test_runs_in_one_loop_each_have_their_own_subject() -> None:
    async def main() -> list[str]:
        return await asyncio.gather(*(transcript(TURNS, name, Lock()) for name in "abc"))

    assert asyncio.run(main()) == [TURNS] * 3
