"""Conversations with the store, one behaviour per file: ``tests/store/scripts``.

``python -m pytest tests/store/test_scripts.py --record`` records them again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sdkit.script import ScriptError, check, difference
from sdkit.store.config import Serializable
from sdkit.store.database import Database
from sdkit.without.isolation import (
    CommitsWithoutALook,
    GivesLocksToTheLatecomer,
    GivesReadLocksUpAtOnce,
    LetsEverybodyWrite,
    LocksNoRanges,
    UpgradesStandInLine,
)
from sdkit.without.store import (
    LosesUpdates,
    NeverLooksForDeadlocks,
    ReadsTheNewestAtRepeatableRead,
    ReleasesLocksAtTheAppend,
    ShowsCommitsBeforeTheyAreDurable,
)
from tests.spec.mutants.store import (
    ForgetsSavepoints,
    KeepsTheFirstSnapshotAtReadCommitted,
    VacuumsWhatIsStillRead,
    WritesThoughReadOnly,
)
from tests.store.scripted import ScriptedStore, embedded, over_tcp, play

HERE = Path(__file__).parent
SCRIPTS = sorted((HERE / "scripts").glob("*.txt"))
Golden = Callable[[Path, Callable[[str, str], str]], None]


def kind_of(path: Path) -> Serializable:
    """The scripts about locking begin with that word."""
    return "locking" if path.stem.startswith("locking") else "optimistic"


def script(name: str) -> Path:
    return HERE / "scripts" / f"{name}.txt"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_store_answers_as_the_script_says(path: Path, golden: Golden) -> None:
    golden(path, play(partial(embedded, serializable=kind_of(path))))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_over_tcp_the_same_script_has_the_same_answers(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    here, there = (
        play(partial(where, serializable=kind_of(path)))(text, path.name)
        for where in (embedded, over_tcp)
    )
    assert difference(here, there, path.name) == ""


class NeverSaysThatItWaits(ScriptedStore):
    def waiting(self) -> list[str]:
        return []


def test_a_subject_that_never_says_that_it_waits_is_named_at_the_step() -> None:
    wrong = partial(embedded, subject=NeverSaysThatItWaits)
    with pytest.raises(ScriptError) as raised:
        check(script("lock_order"), play(wrong))
    first, *rest = str(raised.value).splitlines()
    assert "lock_order.txt:13: no answer to bob, and the subject does not say" in first
    assert rest[-3:] == ["     ok", " bob: put x 2", "-    waits"]


def test_a_store_that_wakes_in_the_wrong_order_fails_with_the_difference() -> None:
    with pytest.raises(ScriptError) as raised:
        check(script("lock_order"), play(partial(embedded, GivesLocksToTheLatecomer)))
    message = str(raised.value)
    assert "bob still waits and cannot be asked" in message.splitlines()[0]
    assert "-    bob: ok\n+    carol: 1" in message


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("get x", "alice has no transaction for 'get'; expected begin"),
        ("begin serial", "no level 'serial'; did you mean serializable?"),
        ("begin\nalice: begin", "alice has a transaction open; expected commit or rollback"),
        ("begin\nalice: fly x", "no command 'fly'; there are: begin, get"),
        ("begin\nalice: put x", "expected 'put KEY VALUE'"),
        ("begin\nalice: undo", "alice has no savepoint to undo; expected savepoint"),
        ("passes -1s", "expected 'passes 10s'"),
    ],
)
def test_a_step_that_cannot_be_is_refused_at_its_line(step: str, why: str) -> None:
    with pytest.raises(ScriptError, match=why) as raised:
        play(embedded)(f"sessions alice\nalice: {step}\n", "bad")
    assert str(raised.value).startswith(f"bad:{2 + step.count(chr(10))}: ")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("first_updater_wins", LosesUpdates),
        ("get_for_update", LosesUpdates),
        ("read_committed", ReadsTheNewestAtRepeatableRead),
        ("read_committed", KeepsTheFirstSnapshotAtReadCommitted),
        ("deadlock", NeverLooksForDeadlocks),
        ("deadlock_of_three", NeverLooksForDeadlocks),
        ("commit_waits_for_the_disk", ReleasesLocksAtTheAppend),
        ("commit_waits_for_the_disk", ShowsCommitsBeforeTheyAreDurable),
        ("savepoints", ForgetsSavepoints),
        ("vacuum", VacuumsWhatIsStillRead),
        ("read_only", WritesThoughReadOnly),
        ("read_uncommitted", LetsEverybodyWrite),
        ("serializable_optimistic", CommitsWithoutALook),
        ("locking_readers", GivesReadLocksUpAtOnce),
        ("locking_ranges", LocksNoRanges),
        ("locking_upgrade", UpgradesStandInLine),
    ],
)
def test_a_store_without_the_rule_fails_its_script(name: str, wrong: type[Database]) -> None:
    with pytest.raises((ScriptError, AssertionError), match="the transcript differs"):
        kind = kind_of(script(name))
        check(script(name), play(partial(embedded, wrong, serializable=kind)))


@pytest.mark.parametrize(
    ("page", "name"), [("store.md", "commit_waits_for_the_disk"), ("script.md", "deadlock")]
)
def test_a_script_on_a_page_is_the_one_that_is_run(page: str, name: str) -> None:
    shown = (HERE.parent.parent / "docs" / page).read_text(encoding="utf-8")
    assert f"```text\n{script(name).read_text(encoding='utf-8')}```" in shown
