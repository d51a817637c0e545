"""Versions: which write each read saw.

Adya's definitions ("Weak Consistency", MIT 1999) speak of versions: each committed
transaction that writes a key installs one, its last; the versions of a key are in an
order; a read sees one of them. A history seen from outside says only part of that:

    which one a read saw     always, since written values are unique
    lists, by append         the order too: a list that was read *is* the order
    registers                the order only as far as somebody read one version and wrote
                             the next, or if commits have positions

The order is put together in `orders`; here each read is put to the write that it saw.
Some reads are wrong by themselves, in any order of versions:

    G1a               it saw a write of a transaction that aborted
    G1b               it saw a value that its transaction replaced before it committed
    impossible read   it saw what nobody wrote, not its own write, or two lists of which
                      neither is the beginning of the other. No level allows that

A transaction of unknown outcome counts as committed if it has a position or if one
that counts has seen a write of it; if nobody has, it may as well not have happened.
That follows Elle (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from
Experimental Observations", VLDB 2020), as do lists.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sdkit.arguments import check_one_of
from sdkit.check.lines import MalformedHistory, each_of, shown
from sdkit.check.orders import UNBORN, Seen, Versions, put_in_order
from sdkit.check.transactions import STATUSES, Access, Id, Kind, Transaction


@dataclass(slots=True)
class Finding:
    """A read that is wrong by itself: its anomaly, who took part, and why."""

    name: str
    transactions: list[int]
    why: str


@dataclass(slots=True)
class Write:
    """One write of one value, by transaction number."""

    writer: int
    is_last: bool
    position: int | None


class Observed:
    """A history with every read put to its write.

    Raises:
        MalformedHistory: two writes of one value to a key, one id twice, or the like.
    """

    def __init__(self, transactions: Iterable[Transaction]) -> None:
        self.transactions: Final = each_of(Transaction, "transactions", transactions)
        self._check_ids()
        self.findings: Final[list[Finding]] = []
        self.versions: Final[dict[Hashable, Versions]] = {}
        self._accesses = [each.accesses() for each in self.transactions]
        self._writes: dict[tuple[Hashable, Hashable], Write] = {}
        self._lists: set[Hashable] = set()
        self._registers: set[Hashable] = set()
        self._longest: dict[Hashable, tuple[tuple[Hashable, ...], int]] = {}
        for number, accesses in enumerate(self._accesses):
            self._take_writes(number, accesses)
        self.counts: Final = self.who_counts()
        # An order first, and then the reads: what a read of a list saw depends on it.
        for number in range(len(self.transactions)):
            if self.counts[number]:
                self._take_versions(number)
        for number, each in enumerate(self.transactions):
            if self.counts[number]:
                self._take_reads(number, is_ordered=each.operations is not None)
        for key, versions in self.versions.items():
            put_in_order(versions, self._positions(key, versions), self._listed(key))
        self.unordered: Final = self.keys_in_no_order()

    def keys_in_no_order(self) -> list[Hashable]:
        """Those whose order of versions is not known."""
        return [key for key, found in self.versions.items() if found.gaps]

    # ── writes ───────────────────────────────────────────────────────────────

    def _check_ids(self) -> None:
        seen: dict[Id, int] = {}
        for each in self.transactions:
            each.check()
            if each.id in seen:
                before = f", as in line {seen[each.id]}" if seen[each.id] else ""
                raise MalformedHistory(f"id {each.id} is there twice{before}", line=each.line)
            seen[each.id] = each.line
            check_one_of("status", each.status, STATUSES)
            if each.status == "aborted" and each.position is not None:
                raise MalformedHistory(
                    f"transaction {each.id} is aborted and has position {each.position}; "
                    "only a commit has one",
                    line=each.line,
                )

    def _take_writes(self, number: int, accesses: Sequence[Access]) -> None:
        each = self.transactions[number]
        last = {access.key: access for access in accesses if access.kind in _WRITES}
        for access in accesses:
            if access.kind not in _WRITES:
                continue
            before = self._writes.get((access.key, access.value))
            if before is not None:
                raise MalformedHistory(
                    f"transactions {self.transactions[before.writer].id} and {each.id} both write "
                    f"{shown(access.value)} to key {shown(access.key)}; written values must be "
                    "unique, so that a read tells whose write it saw",
                    line=each.line,
                )
            position = each.position if access.position is None else access.position
            write = Write(number, self.installs(access, last[access.key]), position)
            self._writes[access.key, access.value] = write
            if access.kind is Kind.APPEND:
                self._lists.add(access.key)
            else:
                self._registers.add(access.key)
            if access.key in self._lists and access.key in self._registers:
                raise MalformedHistory(
                    f"key {shown(access.key)} is written and appended to; it must be one of them",
                    line=each.line,
                )

    def who_counts(self) -> list[bool]:
        """Committed, or unknown and seen by one that counts."""
        counts = [
            each.status == "committed" or (each.status == "unknown" and self._has_position(number))
            for number, each in enumerate(self.transactions)
        ]
        waiting = [number for number, is_counted in enumerate(counts) if is_counted]
        while waiting:
            for access in self._accesses[waiting.pop()]:
                if access.kind in _WRITES:
                    continue
                for value in self._elements(access):
                    write = self._writes.get((access.key, value))
                    if (
                        write is not None
                        and not counts[write.writer]
                        and self.transactions[write.writer].status == "unknown"
                    ):
                        counts[write.writer] = True
                        waiting.append(write.writer)
        return counts

    def installs(self, access: Access, last: Access) -> bool:
        """Is it the write that others may see?"""
        return access is last

    def _has_position(self, number: int) -> bool:
        accesses = self._accesses[number]
        return self.transactions[number].position is not None or any(
            access.position is not None for access in accesses
        )

    def _elements(self, access: Access) -> tuple[Hashable, ...]:
        """The written values in what was read."""
        if access.key in self._lists and isinstance(access.value, tuple):
            return access.value
        return (access.value,)

    def _take_versions(self, number: int) -> None:
        for access in self._accesses[number]:
            if access.kind in _WRITES:
                versions = self.versions.setdefault(access.key, Versions())
                versions.values[number] = access.value

    # ── reads ────────────────────────────────────────────────────────────────

    def _take_reads(self, number: int, *, is_ordered: bool) -> None:
        own: dict[Hashable, list[Hashable]] = {}
        if not is_ordered:
            for access in self._accesses[number]:
                if access.kind in _WRITES:
                    own.setdefault(access.key, []).append(access.value)
        for access in self._accesses[number]:
            if access.kind in _WRITES:
                if is_ordered:
                    own.setdefault(access.key, []).append(access.value)
                continue
            try:
                if access.key in self._lists:
                    self._take_list(number, access, own.get(access.key, []), is_ordered)
                elif not self._is_own(access, own.get(access.key, []), is_ordered):
                    self._take_value(number, access, access.value)
            except _Impossible as error:
                what = f"{access.kind.value} of {shown(access.key)}: {shown(access.value)}"
                reader = f"transaction {self.transactions[number].id}"
                self._find("impossible read", [number], f"{reader}: {what}, {error}")

    def _is_own(self, access: Access, own: list[Hashable], is_ordered: bool) -> bool:
        """Does it see what the transaction wrote itself?"""
        if not is_ordered:
            return access.value in own
        if own and access.value != own[-1]:
            raise _Impossible(f"though it had just written {shown(own[-1])}")
        return bool(own)

    def _take_value(self, number: int, access: Access, value: Hashable) -> None:
        """Put the read to its write, if that has installed a version."""
        if value is None or (value == () and access.key not in self.versions):
            self._see(number, access, UNBORN)  # a list that nobody appends to is empty
            return
        write = self._writes.get((access.key, value))
        if write is None:
            raise _Impossible("which nobody wrote")
        if write.writer == number:
            raise _Impossible("before it wrote that itself")
        writer = self.transactions[write.writer].id
        what = f"read {shown(value)} from key {shown(access.key)}"
        reader = self.transactions[number].id
        if not self.counts[write.writer]:
            self._find(
                "G1a",
                [number, write.writer],
                f"transaction {reader} {what}, written by transaction {writer}, which aborted",
            )
        elif not write.is_last:
            last = self.versions[access.key].values[write.writer]
            self._find(
                "G1b",
                [number, write.writer],
                f"transaction {reader} {what}, which transaction {writer} replaced by "
                f"{shown(last)} before it committed",
            )
        else:
            self._see(number, access, write.writer)

    def _take_list(
        self, number: int, access: Access, own: list[Hashable], is_ordered: bool
    ) -> None:
        """Put the read to the write of its last element, its own ones at the end left out."""
        value = _list(access.value)
        if len(set(value)) < len(value):
            raise _Impossible("in which one element is there twice")
        mine = []
        for element in value:
            write = self._writes.get((access.key, element))
            if write is None:
                raise _Impossible(f"and {shown(element)} was appended by nobody")
            if write.writer == number:
                mine.append(element)
            elif not self.counts[write.writer] and element != value[-1]:
                self._take_value(number, access, element)
        if is_ordered and mine != own:
            raise _Impossible(f"though so far it had appended {shown(tuple(own))}")
        longest, by = self._longest.get(access.key, ((), number))
        shorter, longer = sorted((value, longest), key=len)
        if longer[: len(shorter)] != shorter:
            raise _Impossible(
                f"where transaction {self.transactions[by].id} read {shown(longest)}: neither is "
                "the beginning of the other"
            )
        if len(value) > len(longest):
            self._longest[access.key] = (value, number)
        end = len(value)
        while end and value[end - 1] in mine:
            end -= 1
        self._take_value(number, access, value[end - 1] if end else None)

    def _see(self, reader: int, access: Access, writer: int) -> None:
        versions = self.versions.get(access.key)
        if versions is not None:  # else nobody writes it: nothing can contradict the read
            by_predicate = access.kind is Kind.PREDICATE_READ
            versions.seen.append(Seen(reader, writer, by_predicate))

    def _find(self, name: str, transactions: list[int], why: str) -> None:
        self.findings.append(Finding(name, transactions, why))

    # ── what is known of the order ───────────────────────────────────────────

    def _listed(self, key: Hashable) -> list[int] | None:
        """Who appended the elements of the longest list that was read; None for a register."""
        if key not in self._lists:
            return None
        elements, _ = self._longest.get(key, ((), 0))
        writers = [self._writes[key, element].writer for element in elements]
        return [writer for writer in writers if self.counts[writer]]

    def _positions(self, key: Hashable, versions: Versions) -> dict[int, int | None]:
        """Where each writer stands, if that was recorded."""
        positions: dict[int, int | None] = {}
        taken: dict[int, int] = {}
        for writer, value in versions.values.items():
            position = positions[writer] = self._writes[key, value].position
            if position is None:
                continue
            if position in taken:
                one, other = (self.transactions[each] for each in (taken[position], writer))
                raise MalformedHistory(
                    f"transactions {one.id} and {other.id} both write key {shown(key)} at "
                    f"position {position}; positions must differ",
                    line=other.line,
                )
            taken[position] = writer
        return positions


class _Impossible(Exception):
    """No database could have answered that."""


def _list(value: Hashable) -> tuple[Hashable, ...]:
    if value is None:
        return ()
    if not isinstance(value, tuple):
        raise _Impossible("which is no list, though the key is appended to")
    return value


_WRITES: Final = (Kind.WRITE, Kind.APPEND)
