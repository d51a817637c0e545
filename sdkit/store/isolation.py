"""Isolation: what each level reads and what it forbids, in the table that the code uses.

Transactions that run one after another need no isolation. Those that overlap
do, and the standard sells it by degrees: the less a transaction asks for, the
less it waits and fails. What a level *means* comes down to two questions:

    which committed state does a statement read?
    what happens if somebody else has changed the key that I write?

`RULES` answers both for every level; `sdkit.store.database` asks it and knows
no level by name. A further level is a further row.

What a level *forbids* follows from the answers. The names are those of Adya
("Weak Consistency", MIT 1999) and Berenson et al. ("A Critique of ANSI SQL
Isolation Levels", SIGMOD 1995):

    dirty write (G0)       two uncommitted writes of a key overtake each other
    dirty read (G1)        read what is rolled back, or half of a transaction
    non-repeatable read    the same key, read twice, has two values
    phantom                the same range, read twice, has other keys
    read skew (G-single)   two keys, read one after the other, from two states
    lost update (P4)       read, then write, over somebody's write in between
    write skew (G2-item)   two read both keys, and each writes the other one
    predicate write skew   the same over a range: each adds a key that the other
    (G2)                   would have had to see
    read-only anomaly      a transaction that only reads sees the order of two
                           others contradicted

Things to notice
    * *Repeatable read* here is a snapshot, as in PostgreSQL: it forbids
      phantoms and read skew, which the standard's table lets through, and
      allows write skew, which the standard's table does not mention. It is the
      default here as in InnoDB; PostgreSQL's default is read committed.
    * *First updater wins*: whoever writes a key first goes on; a second one
      waits, and fails if the first commits. "First committer wins" would let
      both work to the end and fail one at its commit: the same guarantee, and
      more work thrown away.
    * Nobody ever waits to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sdkit.errors import Aborted, InvalidArgument
from sdkit.store.interface import Isolation


class SerializationFailure(Aborted):
    """Another transaction has changed the key since this one's snapshot; the first updater won."""

    code = "serialization_failure"


class Reads(Enum):
    """Which committed state a statement reads."""

    NEWEST_AT_STATEMENT = "the newest when the statement begins"
    NEWEST_AT_FIRST_STATEMENT = "the newest when the transaction's first statement began"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a level does, and so what it forbids."""

    reads: Reads
    first_updater_wins: bool
    """Writing a key that changed since the snapshot aborts the transaction."""
    forbids: tuple[str, ...]


_NOTHING_UNCOMMITTED: Final = ("dirty write", "dirty read")
_ONE_STATE: Final = ("non-repeatable read", "phantom", "read skew", "lost update")

RULES: Final[Mapping[Isolation, Rules]] = {
    Isolation.READ_COMMITTED: Rules(
        Reads.NEWEST_AT_STATEMENT, first_updater_wins=False, forbids=_NOTHING_UNCOMMITTED
    ),
    Isolation.REPEATABLE_READ: Rules(
        Reads.NEWEST_AT_FIRST_STATEMENT,
        first_updater_wins=True,
        forbids=_NOTHING_UNCOMMITTED + _ONE_STATE,
    ),
}


WINNERS_REMEMBERED: Final = 1024


class Winners:
    """Which transaction committed at a position, for error messages: the newest, not all."""

    def __init__(self) -> None:
        # A ring, since a dictionary would need cleaning up.
        self._ring = [(0, 0)] * WINNERS_REMEMBERED

    def remember(self, position: int, transaction: int) -> None:
        """It has committed at ``position``."""
        self._ring[position % WINNERS_REMEMBERED] = (position, transaction)

    def at(self, position: int) -> int | None:
        """Who has committed at ``position``; None if that is so long ago that nobody knows."""
        remembered, transaction = self._ring[position % WINNERS_REMEMBERED]
        return transaction if remembered == position else None


def serialization_failure(
    number: int, key: bytes, *, snapshot: int, position: int, winner: int | None
) -> SerializationFailure:
    """The error that names the key and who was faster (None: so long ago that nobody knows)."""
    by = "another transaction" if winner is None else f"transaction {winner}"
    return SerializationFailure(
        f"{key!r} was updated by {by} in commit {position}, after the snapshot at {snapshot} "
        f"of transaction {number}; repeat the transaction from its start",
        transaction=number,
        key=key,
        winner=winner,
        position=position,
        snapshot=snapshot,
    )


def level_of(name: str) -> Isolation:
    """The level of that name, `Isolation` itself included.

    Raises:
        InvalidArgument: there is none; the message lists those there are.
    """
    if type(name) is Isolation:
        return name
    try:
        return Isolation(name)
    except ValueError:
        raise InvalidArgument(
            f"isolation is {name!r}; it must be one of {', '.join(map(repr, map(str, Isolation)))}"
        ) from None
