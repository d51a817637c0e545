"""Isolation: what each level reads and what it forbids, in the table that the code uses.

Transactions that run one after another need no isolation. Those that overlap
do, and the standard sells it by degrees: the less a transaction asks for, the
less it waits and fails. What a level *means* comes down to three questions:

    which state does a statement read?
    what happens if somebody else has changed the key that I write?
    what happens if somebody else changes what I have read?

`RULES` answers them for every level; `sdkit.store.database` asks it and knows
no level by name. A further level is a further row.

What a level *forbids* follows from the answers. The names are those of Adya
("Weak Consistency", MIT 1999) and Berenson et al. ("A Critique of ANSI SQL
Isolation Levels", SIGMOD 1995):

    dirty write (G0)       two uncommitted writes of a key overtake each other
    aborted read (G1a)     read what is rolled back
    intermediate read      read what its writer overwrites before it commits
    (G1b)
    circular information   two transactions each read what the other has written
    flow (G1c)
    non-repeatable read    the same key, read twice, has two values
    phantom                the same range, read twice, has other keys
    read skew (G-single)   two keys, read one after the other, from two states
    lost update (P4)       read, then write, over somebody's write in between
    write skew (G2-item)   two read both keys, and each writes the other one
    predicate write skew   the same over a range: each adds a key that the other
    (G2)                   would have had to see
    read-only anomaly      a transaction that only reads sees the order of two
                           others contradicted

The first four are what "dirty read" stands for in the standard, and G0, which it
does not name. `sdkit/store/anomalies` has a script for each, which ``sdkit demo`` runs
at every level; that it sees what `Rules.forbids` leaves open, and no more, is a test.

Things to notice
    * *Repeatable read* here is a snapshot, as in PostgreSQL: it forbids
      phantoms and read skew, which the standard's table lets through, and
      allows write skew, which the standard's table does not mention. It is the
      default here as in InnoDB; PostgreSQL's default is read committed.
    * *Serializable* forbids everything, and there are two ways to it. By
      ``locking``, a transaction holds a shared lock on what it has read, and
      whoever wants to change that waits. Optimistic, nobody waits: it reads a
      snapshot, and is aborted if no order could explain what it did
      (`sdkit.store.optimistic`). A store has one of the two
      (``StoreConfig.serializable``).
    * Serializability is promised among transactions that all ask for it. One
      at a lower level beside them takes the same exclusive locks and waits for the
      same shared ones, so it overwrites nothing under them; but what it
      computed from, nobody looks after.
    * *Read uncommitted* is there to be seen, not to be used: since readers never
      wait for writers at any level but one, it is not even faster.
    * *First updater wins*: whoever writes a key first goes on; a second one
      waits, and fails if the first commits. "First committer wins" would let
      both work to the end and fail one at its commit: the same guarantee, and
      more work thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import cache
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import Aborted, InvalidArgument
from sdkit.store.config import Serializable
from sdkit.store.interface import Isolation


class SerializationFailure(Aborted):
    """What the transaction has read, or wants to write, others have changed since its snapshot."""

    code = "serialization_failure"


class Reads(Enum):
    """Which state a statement reads."""

    UNCOMMITTED = "what is there when the statement begins, committed or not"
    NEWEST_AT_STATEMENT = "the newest committed when the statement begins"
    NEWEST_AT_FIRST_STATEMENT = "the newest committed when the first statement began"
    NEWEST_UNDER_LOCK = "the newest committed, which nobody can change any more"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a level does, and so what it forbids."""

    reads: Reads
    _: KW_ONLY
    first_updater_wins: bool = False
    """Writing a key that changed since the snapshot aborts the transaction."""
    locks_reads: bool = False
    """Whoever wants to change what it has read waits until it has ended."""
    tracks_reads: bool = False
    """What it has read is remembered, and it is aborted if no order could explain it."""
    forbids: frozenset[str]


ANOMALIES: Final = (
    "dirty write",
    "aborted read",
    "intermediate read",
    "circular information flow",
    "non-repeatable read",
    "phantom",
    "read skew",
    "lost update",
    "write skew",
    "predicate write skew",
    "read-only anomaly",
)
# In this order a level forbids all up to some point:
_G0: Final = frozenset(ANOMALIES[:1])
_G1: Final = frozenset(ANOMALIES[:4])  # and G0
_ONE_STATE: Final = frozenset(ANOMALIES[:8])
_ALL: Final = frozenset(ANOMALIES)

RULES: Final[Mapping[str, Rules]] = {
    "read uncommitted": Rules(Reads.UNCOMMITTED, forbids=_G0),
    "read committed": Rules(Reads.NEWEST_AT_STATEMENT, forbids=_G1),
    "repeatable read": Rules(
        Reads.NEWEST_AT_FIRST_STATEMENT, first_updater_wins=True, forbids=_ONE_STATE
    ),
    "serializable (locking)": Rules(Reads.NEWEST_UNDER_LOCK, locks_reads=True, forbids=_ALL),
    "serializable (optimistic)": Rules(
        Reads.NEWEST_AT_FIRST_STATEMENT,
        first_updater_wins=True,
        tracks_reads=True,
        forbids=_ALL,
    ),
}


@cache
def rules_of(isolation: Isolation, serializable: Serializable) -> Rules:
    """The row of a level in a store that is serializable in this way."""
    if isolation is Isolation.SERIALIZABLE:
        return RULES[f"{isolation} ({serializable})"]
    return RULES[isolation]


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


def overtaken(
    number: int, key: bytes, snapshot: int, position: int, winner: int | None
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
        levels = ", ".join(map(repr, map(str, Isolation)))
        raise InvalidArgument(f"isolation is {shown(name)}; it must be one of {levels}") from None
