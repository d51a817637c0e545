"""Orders: in which order the writes of a key came to be, as far as that can be known.

Three things can tell it. A list that was read *is* the order of those who appended to
it. Positions of commits, if all writers of the key have one. And without either, whoever
read a version and wrote the key comes after that version: if it were not so, there
would be a circle of reads and writes, which is worse (G1c).

What is not known stays unknown. A *gap* says: after this version come these ones, in
some order. An order of versions without a gap is complete, and only if all of them
are can the absence of anomalies be a proof (`isolation.Verdict.complete`).

    T1 wrote 1; T2 read 1 and wrote 2; T3 wrote 3 and had read nothing

        positions 1, 2, 3       1 → 2 → 3
        none                    null → {1, 3}, a gap; 1 → 2
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

UNBORN: Final = -1
"""The writer of the version that was there before the first write."""


@dataclass(slots=True)
class Seen:
    """A counted transaction saw a version: the one that ``writer`` installed."""

    reader: int
    writer: int
    by_predicate: bool


@dataclass(slots=True)
class Gap:
    """After the version of ``writer`` come those of ``others``, in an order that is not known."""

    writer: int
    others: list[int]


@dataclass(slots=True)
class Versions:
    """What is known of one key.

    Args:
        order: writers one directly after the other, as pairs; `UNBORN` is before the first.
        is_inferred: the order follows from reads: each of the pairs read the one and wrote the
            other. If that were wrong, there would be a circle of reads and writes (G1c).
        gaps: where the order is not known.
        seen: the reads of installed versions.
        values: what each writer installed.
    """

    order: list[tuple[int, int]] = field(default_factory=list)
    is_inferred: bool = False
    gaps: list[Gap] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    values: dict[int, Hashable] = field(default_factory=dict)


def put_in_order(
    versions: Versions, positions: Mapping[int, int | None], listed: Sequence[int] | None
) -> None:
    """Fill in `Versions.order` and `Versions.gaps`.

    Args:
        versions: of one key, with the reads put to their writes.
        positions: where each writer's commit stands; None where that is not known.
        listed: who appended each element of the longest list that was read; None if the
            key is a register.
    """
    if listed is not None:
        _in_list_order(versions, positions, listed)
    elif _are_known(positions):
        _chain_or_gap(versions, positions, UNBORN, list(positions))
    else:
        _infer(versions)


def _in_list_order(
    versions: Versions, positions: Mapping[int, int | None], listed: Sequence[int]
) -> None:
    """Element by element: a transaction between two elements of another shows as a circle."""
    before = UNBORN
    for writer in listed:
        if writer != before:
            versions.order.append((before, writer))
            before = writer
    unseen = [writer for writer in positions if writer not in set(listed)]
    _chain_or_gap(versions, positions, before, unseen)


def _infer(versions: Versions) -> None:
    """Whoever read a version and wrote comes after it; who did not look, after the beginning."""
    versions.is_inferred = True
    after: dict[int, list[int]] = {UNBORN: []}
    following = set[int]()
    for seen in versions.seen:
        if seen.reader in versions.values and seen.reader not in following:
            after.setdefault(seen.writer, []).append(seen.reader)
            following.add(seen.reader)
    after[UNBORN] += [writer for writer in versions.values if writer not in following]
    for writer, others in after.items():
        if len(others) == 1:
            versions.order.append((writer, others[0]))
        elif others:
            versions.gaps.append(Gap(writer, others))


def _chain_or_gap(
    versions: Versions, positions: Mapping[int, int | None], before: int, rest: list[int]
) -> None:
    """``rest`` after ``before``, by position; a gap if positions are missing."""
    if not _are_known({writer: positions[writer] for writer in rest}):
        versions.gaps.append(Gap(before, rest))
        return
    for writer in sorted(rest, key=lambda writer: positions[writer] or 0):
        versions.order.append((before, writer))
        before = writer


def _are_known(positions: Mapping[int, int | None]) -> bool:
    """All of them; where there is one writer, nothing has to be known."""
    return len(positions) < 2 or None not in positions.values()
