"""Promises: what a journal has told anybody, written down beside it.

`Told` is the oracle of `sdkit.spec.journal_crashes` and of
`sdkit.spec.journal_schedules`: the plain list of what was appended, and how
much of it was acknowledged, shown, or said not to have happened. It knows
nothing of files. The sentences have names, since a test that names what it
tests cannot pass by accident.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sdkit.errors import Indeterminate, SdkitError
from sdkit.sim.disk import SimulatedDisk, StaleHandle
from sdkit.storage.journal import Journal, JournalConfig

ACKNOWLEDGED: Final = "test_what_was_acknowledged_is_there"
PREFIX: Final = "test_what_is_there_is_a_prefix_of_what_was_appended"
SHOWN: Final = "test_what_was_shown_survives_the_next_power_cut"
GONE: Final = "test_what_did_not_happen_never_returns"
REFUSED: Final = "test_nothing_is_refused_without_a_fault"
FLIPPED: Final = "test_a_flipped_bit_costs_only_what_nothing_proves"
UNCHANGED: Final = "test_a_refusal_changes_nothing"
TWICE: Final = "test_opening_twice_is_opening_once"
CLEAN: Final = "test_after_a_clean_stop_no_flip_loses_data"
BEGUN: Final = "test_durable_never_passes_a_sync_begun_before_the_append"
HOLDER: Final = "a follower"
HELD: Final = "test_what_is_held_is_still_held_and_there"
SENTENCES: Final = (
    ACKNOWLEDGED,
    PREFIX,
    SHOWN,
    GONE,
    REFUSED,
    FLIPPED,
    UNCHANGED,
    TWICE,
    CLEAN,
    BEGUN,
    HELD,
)


class Broken(AssertionError):
    """One of the sentences does not hold."""

    def __init__(self, sentence: str, how: str) -> None:
        super().__init__(f"{sentence}: {how}")
        self.sentence = sentence


@dataclass
class Told:
    """The oracle: what was appended, and what anybody has reason to rely on."""

    log: list[bytes] = field(default_factory=list)  # log[lsn - 1]
    acknowledged: int = 0  # survives power cuts
    survives_kill: int = 0  # in the modes that promise no more
    shown: int = 0
    gone: set[bytes] = field(default_factory=set)
    serial: int = 0
    elsewhere: list[bytes] | None = None  # a state that may have taken the place of all that was
    held: set[int | None] = field(default_factory=lambda: {None})  # one of these is on the disk

    superseding: int | None = None  # from this LSN on, perhaps

    def superseded(self, lsn: int) -> None:
        """Nothing from ``lsn`` on counts any more, and none of it may return."""
        self.gone.update(self.log[lsn - 1 :])
        del self.log[lsn - 1 :]
        self.acknowledged = min(self.acknowledged, lsn - 1)
        self.survives_kill, self.shown = min(self.survives_kill, lsn - 1), min(self.shown, lsn - 1)
        self.superseding = None

    def holds(self, lsn: int | None, first: int) -> None:
        """An open has shown a holder at ``lsn``, in a log that begins at ``first``."""
        if lsn not in self.held:
            raise Broken(HELD, f"{lsn} is held; it was told to be one of {self.held}")
        if lsn is not None and lsn < first:
            raise Broken(HELD, f"{lsn} is held; the log begins at {first}")
        self.held = {lsn}

    def recovered(self, contents: list[bytes]) -> None:
        """An open has shown ``contents``."""
        if self.elsewhere is not None and contents[: len(self.elsewhere)] == self.elsewhere:
            self.log, self.gone = list(self.elsewhere), self.gone | set(self.log)
            self.acknowledged = self.shown = self.survives_kill = len(self.elsewhere)
        if self.superseding is not None and len(contents) == self.superseding - 1:
            self.superseded(self.superseding)
        self.elsewhere = self.superseding = None
        back = self.gone.intersection(contents)
        if back:
            raise Broken(GONE, f"{min(back)[:20]!r} is back")
        if contents != self.log[: len(contents)]:
            raise Broken(PREFIX, f"{len(contents)} records, and not those that were appended")
        for sentence, promised in (
            (ACKNOWLEDGED, max(self.acknowledged, self.survives_kill)),
            (SHOWN, self.shown),
        ):
            if len(contents) < promised:
                raise Broken(
                    sentence, f"{promised} records were promised, {len(contents)} are there"
                )
        self.gone.update(self.log[len(contents) :])
        del self.log[len(contents) :]
        self.shown = len(contents)
        self.survives_kill = 0

    def lost(self, first: int, error: SdkitError) -> None:
        if isinstance(error, Indeterminate):
            return  # indeterminate: it may come back, or not
        if first <= self.acknowledged:
            raise Broken(ACKNOWLEDGED, f"record {first} was acknowledged and then refused")
        self.gone.update(self.log[first - 1 :])
        del self.log[first - 1 :]


async def contents_of(journal: Journal) -> list[bytes]:
    """Every record's content, out of the snapshot and the log behind it."""
    contents: list[bytes] = []
    await journal.replay(
        on_snapshot=lambda chunk: contents.append(chunk[4:]),
        on_record=lambda lsn, content: contents.append(content),
    )
    return contents


async def foreign_records(journal_type: type[Journal]) -> bytes:
    """Records of another journal, as a user might store them: here they are only content."""
    disk = SimulatedDisk()
    config = JournalConfig(reserve_bytes=0)
    journal = await journal_type.open(disk, room="spec", config=config, random=Random(8))
    for number in range(60):
        journal.append(b"%d" % number)
    await journal.sync()
    await journal.close()
    (name,) = disk.names()
    return disk.contents(name)[-400:]


async def bury() -> None:
    """End every task of a process that is gone."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def expect_only_the_dead(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Tasks of a killed process end with `StaleHandle`, and nobody is left to hear it."""
    if not isinstance(context.get("exception"), StaleHandle):
        loop.default_exception_handler(context)
