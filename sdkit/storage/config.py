"""Config: how durable is durable enough?

Every log has this switch, under some name (``synchronous_commit``,
``appendfsync``, ``flush.ms``), because the honest setting costs a sync per
group, and a cache that can be filled again need not pay for it.

What ``durability`` promises for a record called durable
    sync        it survives a power cut
    interval    it survives the death of the process at once, a power cut after
                ``interval_s``
    os          it survives the death of the process
    none        nothing: it is durable, in name, as soon as it is appended

``os`` and ``none`` sync in the background all the same, about once a second:
followers see only what is synced, and a recovery copies what is not.

The modes differ only in when somebody is told "durable". Recovery is the same
for all: what is not proven to have been synced is never claimed to be
(`sdkit.storage.recovery`), and followers are shown nothing unsynced in any mode.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from sdkit.arguments import check_between, check_one_of, shown
from sdkit.errors import InvalidArgument
from sdkit.storage.damage import Cut
from sdkit.storage.wal import RECORD_BYTES_LIMIT


class Durability(StrEnum):
    """What a record has survived when it is called durable; see this file's lesson."""

    SYNC = "sync"
    INTERVAL = "interval"
    OS = "os"
    NONE = "none"


@dataclass(frozen=True)
class JournalConfig:
    """How a journal writes.

    Args:
        durability: "sync", "interval", "os" or "none": `Durability` says what each promises.
        interval_s: in mode "interval", the longest that a power cut can take away.
        segment_bytes: a segment that has reached this gets a successor.
        record_bytes_max: the largest record.
        backlog_bytes_max: records that wait to be written may take so much memory.
        reserve_bytes: room kept back for recovery and snapshots on a full disk
            (`sdkit.storage.reserve`), at most one segment; 0 for none.

    Raises:
        InvalidArgument: naming the value and its limits.
    """

    durability: str = Durability.SYNC
    interval_s: float = 0.1
    segment_bytes: int = 16 * 2**20
    record_bytes_max: int = 16 * 2**20
    backlog_bytes_max: int = 256 * 2**20
    reserve_bytes: int = 2**20

    def __post_init__(self) -> None:
        check_one_of("durability", self.durability, list(Durability))
        check_between("interval_s", self.interval_s, 0.0001, 3600)
        check_between("segment_bytes", self.segment_bytes, 4096, 2**34)
        check_between("record_bytes_max", self.record_bytes_max, 1, RECORD_BYTES_LIMIT)
        check_between("backlog_bytes_max", self.backlog_bytes_max, self.record_bytes_max, 2**40)
        check_between("reserve_bytes", self.reserve_bytes, 0, 2**34)


@dataclass(frozen=True)
class Recovered:
    """What `Journal.open` found.

    Args:
        snapshot_lsn: where the snapshot stands; 0 without one.
        last_lsn: the last record there is.
        proven_lsn: up to here the log is proven to have been synced before.
        records: to be replayed after the snapshot.
        segments: read.
        cut: the torn tail that was left behind, or None.
        clean: the journal was closed and not interrupted.
        damaged: older files that cannot be read and are not needed.
    """

    snapshot_lsn: int
    last_lsn: int
    proven_lsn: int
    records: int
    segments: int
    cut: Cut | None
    clean: bool
    damaged: list[str]

    @property
    def bytes_cut(self) -> int:
        return self.cut.bytes if self.cut else 0

    @property
    def records_cut(self) -> int:
        """Whole records that stood behind the damage."""
        return self.cut.records if self.cut else 0


def check_parts(disk: object, config: object, random: object, *, cut_unexplained: object) -> None:
    """Refuse what a journal cannot be made of."""
    if not isinstance(cut_unexplained, bool):  # what it drops, no truth of a text may decide
        raise InvalidArgument(
            f"cut_unexplained is {shown(cut_unexplained)}; it must be True or False"
        )
    if not callable(getattr(disk, "claim", None)):
        raise InvalidArgument(
            f"disk is {shown(disk)}, of type {type(disk).__name__}; it must be a Disk, as "
            "LocalDisk('directory') is"
        )
    for name, value, kind in (
        ("config", config, JournalConfig),
        ("random", random, Random),
    ):
        if not isinstance(value, kind):
            raise InvalidArgument(
                f"{name} is {shown(value)}, of type {type(value).__name__}; it must be a "
                f"{kind.__name__}"
            )


def check_chunks(chunks: object) -> None:
    """Refuse what a snapshot cannot be made of."""
    if not isinstance(chunks, AsyncIterable):
        raise InvalidArgument(
            f"chunks is {shown(chunks)}, of type {type(chunks).__name__}; it must be an "
            "asynchronous iterable, as an `async def` with `yield` returns"
        )
