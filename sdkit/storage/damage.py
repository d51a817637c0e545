"""Damage: what is wrong with a log, and in which words that is said.

A recovery that refuses to start is read by somebody in the middle of the night.
So every refusal names file and offset, which record belongs there, what proves
that it had been on the disk (`Proof`), and what may be done about it:

    CorruptData         it was synced and is gone: only a copy helps
    UnexplainedDamage   nothing proves that it was synced, and it does not look
                        torn: a person may decide to drop it
    ForeignFile         not damaged at all: it belongs somewhere else

`Cut` is the report of the one thing that is repaired without asking, a torn
tail. `sdkit.storage.recovery` decides which of them it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdkit.errors import CorruptData, Rejected


class UnexplainedDamage(CorruptData):
    """A record that nothing proves to have been synced is damaged, and not as a torn write is."""

    code = "unexplained_damage"


class ForeignFile(Rejected):
    """A file in the directory belongs to another room or another journal."""

    code = "foreign_file"


@dataclass(slots=True)
class Damage:
    """Where the log stops being readable, and how it looks there."""

    file: str
    offset: int
    lsn: int
    why: str
    torn: bool  # it lacks bytes, as an interrupted write does


@dataclass(frozen=True, slots=True)
class Cut:
    """What a torn tail cost: said in every report, so that nobody has to guess."""

    file: str
    offset: int
    bytes: int
    records: int  # whole ones that stood behind the damage
    why: str


@dataclass(slots=True)
class Proof:
    """The highest claim seen, and who makes it."""

    lsn: int
    by: str

    def raise_to(self, lsn: int, by: str) -> None:
        if lsn > self.lsn:
            self.lsn, self.by = lsn, by


def corruption(damage: Damage, proof: Proof) -> CorruptData:
    """Something that was on the disk is not there any more."""
    return CorruptData(
        f"{damage.file} is damaged at offset {damage.offset}, where record {damage.lsn} "
        f"belongs: {damage.why}. Record {proof.lsn} was on the disk, says {proof.by}: "
        "acknowledged data is lost. Restore the directory from a copy",
        **_fields(damage, proof),
    )


def unexplained(damage: Damage, proof: Proof) -> UnexplainedDamage:
    """Nobody knows whether it was on the disk, and it does not look like a torn write."""
    return UnexplainedDamage(
        f"{damage.file} is damaged at offset {damage.offset}, where record {damage.lsn} "
        f"belongs: {damage.why}, and no byte is missing as after an interrupted write. "
        f"Nothing proves that it was ever synced (proven: {proof.lsn}). "
        "If that record may be dropped: sdkit journal DIR --cut",
        **_fields(damage, proof),
    )


def _fields(damage: Damage, proof: Proof) -> dict[str, str | int]:
    return {
        "file": damage.file,
        "offset": damage.offset,
        "lsn": damage.lsn,
        "proven": proof.lsn,
        "proof": proof.by,
    }
