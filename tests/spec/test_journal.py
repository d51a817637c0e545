"""Our journal keeps its sentences across crashes, and each sentence is broken by some journal."""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from typer.testing import CliRunner

from sdkit.cli.journal import holds_journal
from sdkit.cli.main import app
from sdkit.sim.disk import SimulatedDisk
from sdkit.spec import journal_promises as promises
from sdkit.spec.journal import Open, journal
from sdkit.spec.journal_crashes import journal_crashes
from sdkit.spec.journal_damage import Image, journal_damage
from sdkit.spec.journal_schedules import journal_schedules
from sdkit.storage.disk import Disk
from sdkit.storage.journal import Journal, JournalConfig
from sdkit.storage.local_disk import LocalDisk
from sdkit.storage.wal import SegmentHeader
from sdkit.without import storage as without
from tests.spec.bite import assert_caught
from tests.spec.mutants import journal as mutants


def opener(journal_type: type[Journal] = Journal, durability: str = "sync") -> Callable[[], Open]:
    """A new simulated disk each time, and a journal on it that rotates often."""
    config = JournalConfig(durability=durability, segment_bytes=4096)

    def place() -> Open:
        disk = SimulatedDisk()
        return lambda: journal_type.open(disk, room="spec", config=config, random=Random(0))

    return place


def in_a_directory() -> Open:
    """A new directory of the real disk each time, and a journal in it."""
    directory = tempfile.mkdtemp(dir=_somewhere["tmp_path"])
    config = JournalConfig(segment_bytes=4096)
    return lambda: Journal.open(LocalDisk(directory), room="spec", config=config, random=Random(0))


def fewer_examples(spec: type[unittest.TestCase]) -> type[unittest.TestCase]:
    """A real disk takes its time."""
    for name, test in list(vars(spec).items()):
        if hasattr(test, "hypothesis"):
            setattr(spec, name, settings(max_examples=15)(test))
    return spec


_somewhere: dict[str, Path] = {}


@pytest.fixture(autouse=True)
def _a_temporary_directory(tmp_path: Path) -> None:
    _somewhere["tmp_path"] = tmp_path


TestJournal = journal(opener())
TestJournalInterval = journal(opener(durability="interval"))
TestJournalOs = journal(opener(durability="os"))
TestJournalNone = journal(opener(durability="none"))
TestJournalOnARealDisk = fewer_examples(journal(in_a_directory, loop="real"))
TestJournalCrashes = journal_crashes(Journal, seeds=range(150))
TestJournalSchedules = journal_schedules(Journal, seeds=range(40))


def on_a_real_disk(image: Image) -> LocalDisk:
    """A new directory that holds these files."""
    directory = Path(tempfile.mkdtemp(dir=_somewhere["tmp_path"]))
    for name, content in image.items():
        (directory / name).write_bytes(content)
    return LocalDisk(directory)


def says_the_command(disk: LocalDisk) -> bool:
    """Is ``sdkit journal DIR --verify`` content?"""
    if not holds_journal(disk.path):
        return True  # it says so, and a start would begin a new one
    return CliRunner().invoke(app, ["journal", str(disk.path), "--verify"]).exit_code == 0


TestJournalDamage = journal_damage()
TestTheCommandOnARealDisk = fewer_examples(
    journal_damage(is_whole=says_the_command, put=on_a_real_disk, loop="real")
)


READ = "test_a_snapshot_that_is_read_stays_as_it_is_and_so_does_the_log_behind_it"
INSTALLED = "test_a_snapshot_from_elsewhere_takes_the_place_of_state_and_log"
SUPERSEDED = "test_what_is_superseded_is_gone_and_its_numbers_are_given_out_again"
HOLDS = "test_it_holds_what_was_appended_however_often_it_is_reopened"


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.StartsItsNumbersAtZero, HOLDS),
        (mutants.ReplaysTheSnapshotsLastRecordAgain, HOLDS),
        (mutants.WritesAGroupBackwards, HOLDS),
        (mutants.IgnoresHolders, "test_what_is_held_stays_and_the_rest_goes"),
        (
            mutants.KeepsHoldersInMemory,
            "test_what_is_held_is_still_held_when_it_is_opened_again",
        ),
        (mutants.ForgetsWhoReadsASnapshot, READ),
        (mutants.ReadsWhateverSnapshotIsThere, READ),
        (mutants.InstallsBesideTheLog, INSTALLED),
        (mutants.BelievesSupersededSegments, INSTALLED),
        (mutants.SupersedesInMemoryOnly, SUPERSEDED),
        (
            mutants.FollowersGoOnBehindTheOld,
            "test_a_follower_learns_that_what_it_was_shown_is_superseded",
        ),
        (mutants.NeverTruncates, "test_what_is_held_stays_and_the_rest_goes"),
        (
            mutants.StartsFollowersOneLater,
            "test_a_follower_sees_every_record_from_its_position_on",
        ),
        (
            mutants.SnapshotsWithALaterPosition,
            "test_a_snapshot_is_the_state_at_its_position_while_the_log_goes_on",
        ),
        (mutants.SharesOneFuture, "test_one_waiter_that_gives_up_takes_no_other_along"),
        (
            mutants.DropsItsBacklogOnClose,
            "test_closing_twice_is_closing_and_nothing_is_appended_later",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_specification_catches(mutant: type[Journal], caught_by: str) -> None:
    assert_caught(journal(opener(mutant)), by=caught_by)


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.DropsWhatIsNotProven, promises.ACKNOWLEDGED),
        (mutants.HidesARecordEverySecondTime, promises.TWICE),
        (mutants.ClaimsWithoutCopies, promises.REFUSED),
        (mutants.TakesThePositionAfterTheSync, promises.BEGUN),
        (mutants.ClaimsAnUnsyncedSegment, promises.REFUSED),
        (mutants.NamesAnUnsyncedHeader, promises.REFUSED),
        (mutants.NamesAnUnsyncedSnapshot, promises.REFUSED),
        (without.SnapshotsAheadOfItsLog, promises.REFUSED),
        (mutants.RefusesGapsInNumbers, promises.REFUSED),
        (mutants.LeavesAShortWrite, promises.GONE),
        (mutants.EndsTheLogAtTheFirstBadRecord, promises.FLIPPED),
        (mutants.ShowsFollowersWhatIsNotSynced, promises.SHOWN),
        (mutants.StopsWithoutAnEndRecord, promises.CLEAN),
        (mutants.WritesAGroupBackwards, promises.PREFIX),
        (mutants.TidiesBeforeItDecides, promises.UNCHANGED),
        (mutants.KeepsHoldersInMemory, promises.HELD),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_stories_catch(mutant: type[Journal], caught_by: str) -> None:
    assert_caught(journal_crashes(mutant, seeds=range(400)), by=caught_by)


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.ShowsWhatIsOnlyInThePageCache, "test_a_kill_then_a_power_cut"),
        (mutants.CutsInPlace, "test_a_torn_group_then_another"),
        (mutants.TrustsASyncOfTheOldFile, "test_a_failed_sync_then_a_kill"),
        (mutants.ClaimsWithoutCopies, "test_a_failed_sync_then_a_kill"),
        (mutants.TrustsTheNamesItSees, "test_two_recoveries_die"),
        (mutants.ClaimsAnUnsyncedSegment, "test_a_rotation_then_a_power_cut"),
        (mutants.SaysNoTooEarly, "test_a_short_write"),
        (mutants.LeavesAShortWrite, "test_a_short_write"),
        (mutants.NamesAnUnsyncedSnapshot, "test_a_snapshot_from_elsewhere_dies"),
        (mutants.ClearsTheWayFirst, "test_a_snapshot_from_elsewhere_dies"),
        (mutants.BelievesSupersededSegments, "test_a_snapshot_from_elsewhere_dies"),
        (mutants.BelievesSupersededClaims, "test_superseding_dies"),
        (mutants.SupersedesInMemoryOnly, "test_superseding_dies"),
        (mutants.UnlinksBeforeItSupersedes, "test_superseding_dies"),
        (mutants.LetsGoBeforeItIsWritten, "test_a_holder_moves_while_the_log_is_cut"),
        (mutants.RetriesAFailedSync, "test_a_failed_sync_then_a_power_cut"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_schedules_catch(mutant: type[Journal], caught_by: str) -> None:
    assert_caught(journal_schedules(mutant, seeds=range(400)), by=caught_by)


@pytest.mark.parametrize(
    ("disk", "caught_by"),
    [
        (without.LosesTheNamesOfSegments, "test_a_rotation_then_a_power_cut"),
        (without.LosesTheNameOfTheSnapshot, "test_a_snapshot_then_a_power_cut"),
    ],
)
def test_a_journal_needs_its_directory_synced(disk: type[SimulatedDisk], caught_by: str) -> None:
    assert_caught(journal_schedules(disk_type=disk, seeds=range(400)), by=caught_by)


def test_a_record_must_be_valid_in_one_place_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentHeader, "crc_start", mutants.AnywhereHeader.crc_start)
    spec = journal_schedules(seeds=range(400))
    assert_caught(spec, by="test_a_foreign_record_in_a_torn_group")


ALIKE = "test_looking_and_opening_judge_alike"


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.looks_only_where_a_header_names_the_room, ALIKE),
        (mutants.looks_only_at_what_the_state_needs, ALIKE),
        (mutants.overlooks_torn_tails, ALIKE),
        (mutants.minds_unfinished_files, ALIKE),
        (mutants.opens_what_it_looks_at, "test_looking_changes_nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_specification_catches_a_look(mutant: Callable[[Disk], bool], caught_by: str) -> None:
    assert_caught(journal_damage(is_whole=mutant), by=caught_by)


def test_the_specification_catches_an_opening_that_is_milder() -> None:
    spec = journal_damage(journal_type=mutants.CutsWithoutAWord)
    assert_caught(spec, by=ALIKE)
