"""Levels: the ladder of isolation, each by what it forbids beyond the one below it.

    read uncommitted      no G0
    read committed        and no G1a, G1b, G1c
    repeatable read       and no lost update, no G-single: all reads of a transaction
                          fit one state, and nothing that it read changed under it
    snapshot isolation    and no G-nonadjacent: there is one order of commits that all
                          states are taken from (Cerone and Gotsman, PODC 2016)
    serializable          and no G2-item, no G2: no circle at all, in some order of writes
    strict serializable   and none with "was over before the other began" (if real time
                          was asked for)

The names of the anomalies are explained in `isolation`.

"Repeatable read" means three different things. The standard's forbids fuzzy reads and
says nothing of phantoms; Adya's PL-2.99 forbids G2-item and allows G2; PostgreSQL's
and ours is a snapshot, forbids G-single with phantoms and all, and allows write skew.
The ladder has ours, since a ladder can have one. For PL-2.99, which stands beside it,
look whether G-single and G2-item are among `Verdict.anomalies`.

Between the third rung and the fourth lies what a snapshot in one place gives by itself
and several places do not: two readers may each see one state and disagree about which
of two writes came first. Databases that say "snapshot isolation" promise the fourth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sdkit.errors import InvalidArgument

LEVELS: Final[Mapping[str, tuple[str, ...]]] = {
    "read uncommitted": ("impossible read", "G0"),
    "read committed": ("G1a", "G1b", "G1c"),
    "repeatable read": ("lost update", "G-single"),
    "snapshot isolation": ("G-nonadjacent",),
    "serializable": ("G2-item", "G2", "no order"),
    "strict serializable": ("real time",),
}
"""Each level, and what it forbids beyond the one before it."""


def forbidden(level: str) -> tuple[str, ...]:
    """All anomalies that ``level`` forbids.

    Raises:
        InvalidArgument: there is no such level.
    """
    check_level(level)
    names: tuple[str, ...] = ()
    for each, more in LEVELS.items():
        names += more
        if each == level:
            break
    return names


def forbids(anomaly: str) -> str:
    """The lowest level that forbids it."""
    return next(level for level, names in LEVELS.items() if anomaly in names)


def check_level(level: str) -> None:
    """Refuse a level that is not on the ladder.

    Raises:
        InvalidArgument: it lists those that are.
    """
    if level not in LEVELS:
        raise InvalidArgument(f"no level {level!r}; there are: {', '.join(LEVELS)}", level=level)
