"""Transactions: what each one read and wrote, one JSON object a line.

    {"id": 7, "reads": [["x", 3]], "writes": [["x", 4], ["y", 5]], "position": 12}

That is all that a checker of isolation needs to know: who saw whose writes, and in
which order the writes of each key came to be. Nothing of locks, snapshots, clocks.

    id               a number or text, each once
    process          who ran it; for the picture
    reads            [key, value] pairs. null: the key had never been written
    predicate_reads  the same, for what a scan saw: *every* key of its range that the
                     history ever writes, those that were absent as null. Only so can a
                     row that appeared, or failed to, be told from one nobody looked for
    writes           [key, value] pairs in their order; the last one of a key is what
                     others may see. Or [key, value, position]
    appends          [key, element] pairs, for keys that hold lists. A read of such a
                     key is a list, and no transaction writes it
    operations       all of these in their order, in the place of the four: ["read", key,
                     value], ["predicate read", ...], ["write", ...], ["append", ...]
    position         where its commit stands in the order of commits, a whole number
    status           "committed" (if it is left out), "aborted", or "unknown"
    begin_ns,        when its client began it, and when the client was told of its commit;
    end_ns           only `isolation.check(..., real_time=True)` looks at them

Two things to notice
    * Written values must be unique for each key (a counter will do), so that a value
      read names its writer. That is no restriction on the system that is examined, only
      on the load it is examined with. For the same reason nobody may delete: an absent
      key would have two meanings. Write a value that stands for "deleted".
    * Without ``operations`` the reads count as made before the writes, and a read of
      what the transaction itself wrote as made after it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from sdkit.arguments import shown
from sdkit.check.lines import (
    MalformedHistory,
    check_label,
    check_whole,
    dumped,
    frozen,
    label,
    objects,
    one_of,
    only_known,
    thawed,
    whole,
)

Id = int | str
Status = Literal["committed", "aborted", "unknown"]
Pairs = Sequence[Sequence[object]]

STATUSES: Final = ("committed", "aborted", "unknown")


class Kind(StrEnum):
    """What a transaction did to a key."""

    READ = "read"
    PREDICATE_READ = "predicate read"
    WRITE = "write"
    APPEND = "append"


@dataclass(slots=True)
class Access:
    """One read or write of one key."""

    kind: Kind
    key: Hashable
    value: Hashable
    position: int | None = None


@dataclass(slots=True)
class Transaction:
    """One transaction; the fields are those of a line.

    Keys and values are whatever JSON can hold, or bytes, or tuples of them. `operations` takes
    the place of reads, predicate reads, writes and appends if it is given.
    """

    id: Id
    reads: Pairs = ()
    writes: Pairs = ()
    position: int | None = None
    status: Status = "committed"
    process: Id | None = None
    predicate_reads: Pairs = ()
    appends: Pairs = ()
    operations: Pairs | None = None
    begin_ns: int | None = None
    end_ns: int | None = None
    line: int = 0

    def check(self) -> None:
        """Refuse what is of a wrong kind; `accesses` does that for the reads and writes.

        Raises:
            MalformedHistory: naming the field and its value.
        """
        check_label(self.id, "id", self.line)
        if self.process is not None:
            check_label(self.process, f"process of transaction {self.id}", self.line)
        for name in ("position", "begin_ns", "end_ns"):
            check_whole(getattr(self, name), f"{name} of transaction {self.id}", self.line)
        if self.begin_ns is not None and self.end_ns is not None and self.end_ns < self.begin_ns:
            raise self._wrong(
                f"it began at {self.begin_ns} and ended at {self.end_ns}; an end cannot come "
                "before the beginning"
            )

    def accesses(self) -> list[Access]:
        """What it did, in order, values frozen.

        Raises:
            MalformedHistory: a pair is no pair, or a value is not one of JSON.
        """
        listed: list[tuple[str, object]] = []
        if self.operations is not None:
            for each in self._given("operations"):
                kind, *rest = self._items(each, "operations", (3, 4))
                listed.append((str(kind), rest))
        else:
            listed += [("read", pair) for pair in self._given("reads")]
            listed += [("predicate read", pair) for pair in self._given("predicate_reads")]
            listed += [("write", pair) for pair in self._given("writes")]
            listed += [("append", pair) for pair in self._given("appends")]
        return [self._access(kind, pair) for kind, pair in listed]

    def dumped(self) -> str:
        """It as a line, without line end."""
        pairs = {
            "reads": self.reads,
            "writes": self.writes,
            "appends": self.appends,
            "predicate_reads": self.predicate_reads,
            "operations": self.operations,
        }
        listed = {
            name: [[thawed(frozen(item)) for item in pair] for pair in value]
            for name, value in pairs.items()
            if value
        }
        return dumped(
            {
                "id": self.id,
                "process": self.process,
                **listed,
                "position": self.position,
                "status": None if self.status == "committed" else self.status,
                "begin_ns": self.begin_ns,
                "end_ns": self.end_ns,
            }
        )

    def _access(self, name: str, pair: object) -> Access:
        try:
            kind = Kind(name)
        except ValueError:
            known = ", ".join(kind.value for kind in Kind)
            raise self._wrong(f"operation {name!r}; there are: {known}") from None
        lengths = (2, 3) if kind is Kind.WRITE else (2,)
        key, value, *rest = self._items(pair, name, lengths)
        position = rest[0] if rest else None
        check_whole(position, f"position of a write of transaction {self.id}", self.line)
        try:
            found = Access(kind, frozen(key), frozen(value), position)  # type: ignore[arg-type]
        except ValueError as error:
            raise self._wrong(str(error)) from None
        if kind in (Kind.WRITE, Kind.APPEND) and found.value is None:
            raise self._wrong(
                f"{name} of null to {key!r}; null stands for a key that was never written, so "
                "let a value of its own stand for 'deleted'"
            )
        return found

    def _given(self, name: str) -> Iterable[object]:
        pairs = getattr(self, name)
        if not isinstance(pairs, Iterable):
            raise self._wrong(f"{name} is {shown(pairs)}; it must be a list of [key, value] pairs")
        return pairs

    def _items(self, pair: object, name: str, lengths: tuple[int, ...]) -> list[object]:
        if not isinstance(pair, list | tuple) or len(pair) not in lengths:
            raise self._wrong(f"{pair!r} in {name}; expected [key, value]")
        return list(pair)

    def _wrong(self, problem: str) -> MalformedHistory:
        return MalformedHistory(f"transaction {self.id}: {problem}", line=self.line)


def parse(lines: Iterable[str | bytes]) -> Iterator[Transaction]:
    """The transactions in ``lines``, which may be an open file.

    Raises:
        MalformedHistory: the first line that is wrong, and why.
    """
    for number, fields in objects(lines):
        only_known(fields, FIELDS, number)
        process = fields.get("process")
        status = one_of({"status": "committed", **fields}, "status", STATUSES, number)
        yield Transaction(
            id=label(fields, "id", number),
            process=None if process is None else label(fields, "process", number),
            status=status,  # type: ignore[arg-type]
            position=whole(fields, "position", number),
            begin_ns=whole(fields, "begin_ns", number),
            end_ns=whole(fields, "end_ns", number),
            # Null is none given, as with the others; an empty list is a list.
            operations=None
            if fields.get("operations") is None
            else _pairs(fields, "operations", number),
            line=number,
            **{name: _pairs(fields, name, number) for name in _LISTS},
        )


_LISTS: Final = ("reads", "predicate_reads", "writes", "appends")
FIELDS: Final = (
    *("id", "process", *_LISTS, "operations"),
    *("position", "status", "begin_ns", "end_ns"),
)


def _pairs(fields: dict[str, object], name: str, line: int) -> list[tuple[object, ...]]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(pair, list) for pair in value):
        raise MalformedHistory(f"{name} must be a list of [key, value] pairs", line=line)
    if name != "operations" and fields.get("operations") is not None and value:
        raise MalformedHistory(f"both operations and {name}; give one of them", line=line)
    return [tuple(pair) for pair in value]
