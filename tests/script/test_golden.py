"""A script in a file: compared, or recorded again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sdkit.script import ScriptError, check, transcript
from tests.script.test_running import TURNS, LastFirst, Lock, Silent


def play(text: str, name: str) -> str:
    return asyncio.run(transcript(text, name, Lock()))


def play_last_first(text: str, name: str) -> str:
    return asyncio.run(transcript(text, name, LastFirst()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "turns.txt"
    path.write_text(TURNS, encoding="utf-8")
    return path


def test_a_script_that_is_true_passes_and_stays_as_it_is(path: Path) -> None:
    check(path, play)
    check(path, play, record=True)
    assert path.read_text(encoding="utf-8") == TURNS


def test_a_difference_names_the_file_and_the_line(path: Path) -> None:
    path.write_text(TURNS.replace("    bob: ok", "    bob: no"), encoding="utf-8")
    with pytest.raises(AssertionError) as raised:
        check(path, play)
    assert str(raised.value).startswith(f"{path}:12: the transcript differs\n")
    assert "-    bob: no\n+    bob: ok" in str(raised.value)


def test_recording_writes_the_answers_below_the_steps(path: Path) -> None:
    steps = "".join(line for line in TURNS.splitlines(True) if not line.startswith(" "))
    path.write_text(steps, encoding="utf-8")
    check(path, play, record=True)
    assert path.read_text(encoding="utf-8") == TURNS


def test_a_run_that_could_not_end_records_nothing(path: Path) -> None:
    with pytest.raises(ScriptError):
        check(path, play_last_first, record=True)
    with pytest.raises(ScriptError):
        check(path, lambda text, name: asyncio.run(transcript(text, name, Silent())), record=True)
    assert path.read_text(encoding="utf-8") == TURNS


def test_the_script_and_its_difference_on_the_page_are_these() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "script.md").read_text(encoding="utf-8")
    assert f"```text\n{TURNS}```" in page
    with pytest.raises(ScriptError) as raised:
        play_last_first(TURNS, "turns")
    assert f"```text\n{raised.value}\n```" in page


def test_a_transcript_that_cannot_be_written_leaves_the_script_as_it_was(path: Path) -> None:
    def surrogate(text: str, name: str) -> str:
        return play(text, name).replace("    ok\n", "    \udcff\n", 1)

    with pytest.raises(ScriptError, match=r":5: the transcript cannot be recorded"):
        check(path, surrogate, record=True)
    assert path.read_text(encoding="utf-8") == TURNS


@pytest.mark.parametrize("session", ["#alice", "a:b"])
def test_a_session_whose_steps_would_be_none_is_refused(path: Path, session: str) -> None:
    path.write_text(f"sessions bob {session}\nbob: lock\n{session}: lock\n", encoding="utf-8")
    with pytest.raises(ScriptError, match=r":1: no session can be named"):
        check(path, play, record=True)
