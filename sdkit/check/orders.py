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
        of T1 and T2 only       null → {1, 3}, a gap; 1 → 2, and that is a fact

Most runs with faults have a writer of unknown outcome, and it has no position. Those
that the others have stay facts; the one without goes where its reads put it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
    """After the version of ``writer`` come those of ``others``, in an order that is not known.

    The next version is one of them; others of them may stand much later.
    """

    writer: int
    others: list[int]


@dataclass(slots=True)
class Versions:
    """What is known of one key.

    Args:
        order: writers one directly after the other, as pairs; `UNBORN` is before the first.
            Some follow from reads only: the second has read what the first wrote. If that were
            wrong, there would be a circle of reads and writes (G1c, or a lost update).
        facts: writers one after the other, as pairs, because a list or positions say so.
        chain: the writers whose order is known, the first one first.
        late: writers that come after the whole list, in an order that is not known.
        gaps: where the order is not known.
        seen: the reads of installed versions.
        values: what each writer installed.
    """

    order: list[tuple[int, int]] = field(default_factory=list)
    facts: list[tuple[int, int]] = field(default_factory=list)
    chain: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    values: dict[int, Hashable] = field(default_factory=dict)

    def put_after(self, writer: int, others: Iterable[int]) -> None:
        """The next version after that of ``writer`` is one of ``others``."""
        candidates = list(dict.fromkeys(others))
        if len(candidates) == 1:
            self.order.append((writer, candidates[0]))
        elif candidates:
            self.gaps.append(Gap(writer, candidates))


def put_in_order(
    versions: Versions, positions: Mapping[int, int | None], listed: Sequence[int] | None
) -> None:
    """Fill in the order of ``versions``, its gaps and its facts.

    Args:
        versions: of one key, with the reads put to their writes.
        positions: where each writer's commit stands; None where that is not known.
        listed: who appended each element of the longest list that was read; None if the
            key is a register.
    """
    placed = {writer: place for writer, place in positions.items() if place is not None}
    known = sorted(placed, key=placed.__getitem__)
    versions.facts += pairwise([UNBORN, *known])
    if listed is not None:
        _in_list_order(versions, known, listed)
    elif len(known) == len(positions):
        _in_known_order(versions, known)
    elif len(known) < 2:  # one position alone tells nothing
        versions.facts.clear()
        _infer(versions)
    else:
        _infer_between(versions, known)


def _in_known_order(versions: Versions, known: Sequence[int]) -> None:
    """Every writer has a position."""
    versions.chain += known
    versions.order += pairwise([UNBORN, *known])


def _in_list_order(versions: Versions, known: Sequence[int], listed: Sequence[int]) -> None:
    """Element by element: a transaction between two elements of another shows as a circle."""
    before, following = UNBORN, dict[int, int]()
    for writer in listed:
        if writer == before:
            continue
        versions.facts.append((before, writer))
        following[before] = writer
        if writer in versions.chain:  # it appended again: what it installed is the later one
            following.pop(writer, None)
        else:
            versions.chain.append(writer)
        before = writer
    is_listed = set(listed)
    unseen = [writer for writer in versions.values if writer not in is_listed]
    unseen_known = [writer for writer in known if writer not in is_listed]
    versions.facts += ((before, writer) for writer in unseen)
    versions.order += following.items()
    if len(unseen_known) == len(unseen):
        versions.chain += unseen_known
        versions.order += pairwise([before, *unseen_known])
    else:
        versions.late += unseen
        versions.put_after(before, unseen)


def _infer(versions: Versions) -> None:
    """Whoever read a version and wrote comes after it; who did not look, after the beginning."""
    after = _updaters(versions)
    following = {writer for others in after.values() for writer in others}
    blind = [writer for writer in versions.values if writer not in following]
    after[UNBORN] = [*after.get(UNBORN, []), *blind]
    for writer, others in after.items():
        versions.put_after(writer, others)
    next_of = dict(versions.order)
    writer = UNBORN
    while writer in next_of:
        writer = next_of[writer]
        versions.chain.append(writer)


def _infer_between(versions: Versions, known: Sequence[int]) -> None:
    """Some writers have positions; the others go where their reads put them.

    Who read a version and wrote the key stands between it and the next one that has a
    position, or there is a lost update. Who is blind can stand anywhere; if one with a
    position has read and overwritten it, between the one before that and that one.
    """
    versions.chain += known
    fixed = [UNBORN, *known]
    next_fixed = dict(pairwise(fixed))
    before_fixed = {writer: before for before, writer in next_fixed.items()}
    updaters = _updaters(versions)
    read = {writer: version for version, others in updaters.items() for writer in others}
    after = {version: [next_fixed[version]] for version in fixed[:-1]}
    for version in fixed:
        without_position = [each for each in updaters.get(version, ()) if each not in before_fixed]
        after.setdefault(version, []).extend(without_position)
    for version in versions.values:
        if version in before_fixed:
            continue
        head, passed = version, set[int]()
        while head in read and head not in before_fixed and head not in passed:
            passed.add(head)
            head = read[head]
        after[version] = [next_fixed[head]] if head in next_fixed else []
        after[version] += updaters.get(version, [])
        if version not in read:
            after[UNBORN].append(version)
        if head not in fixed:
            for each in updaters.get(version, ()):
                if each in before_fixed:
                    after[before_fixed[each]].append(head)
    for version, others in after.items():
        versions.put_after(version, others)


def _updaters(versions: Versions) -> dict[int, list[int]]:
    """For each version, who read it (before any other) and wrote the key."""
    found: dict[int, list[int]] = {}
    taken = set[int]()
    for seen in versions.seen:
        if seen.reader in versions.values and seen.reader not in taken:
            found.setdefault(seen.writer, []).append(seen.reader)
            taken.add(seen.reader)
    return found
