"""Hashing, compared: every scheme places the same keys; then a node joins, or one leaves.

What is counted is counted, key by key: who owns it before, who after. Beside it stand the share
that the scheme itself tells, which is exact for all keys that there could be, and what theory
says for a scheme that is perfectly even. What a lookup costs is counted in hashes, by a hash
function that counts; nanoseconds are in ``benchmarks/hashing.py``.

`BoundedRing` answers by what is held at the moment, so for it every key is a request that has
not ended: all are acquired, and after the change all again.
"""

from __future__ import annotations

import gc
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from types import FunctionType, MethodType, ModuleType
from typing import Final

from sdkit.hashing import (
    SLOT_COUNT,
    BoundedRing,
    Hash,
    Jump,
    KetamaRing,
    Modulo,
    Placement,
    Rendezvous,
    Ring,
    Slots,
    blake2b_64,
)
from sdkit.hashing.ring import VIRTUAL_NODES
from sdkit.scenarios.comparison import Cell, Comparison, Part, Plot, Table, Tell, Text, tell_nobody

NODES: Final = tuple("abcdefghij")
JOINS: Final = "k"
LEAVES: Final = "d"  # from the middle: for some schemes that differs from the last
KEYS: Final = 10_000
DRAWN_KEYS: Final = 64  # those of the picture
HOT_SHARE: Final = 0.2  # of the requests, for one key
REQUESTS: Final = 1_000  # at once


@dataclass(frozen=True)
class Scheme:
    """One row.

    Args:
        name: as shown.
        make: of nodes and, where it takes one, a hash.
        then: what a lookup does once it has hashed.
        theory: the shares that move when the eleventh node comes and when d goes, for a scheme
            that is perfectly even; empty if that depends on more than the nodes.
        own_hash: that of a scheme that takes none.
    """

    name: str
    make: Callable[[Sequence[str], Hash], Placement]
    then: str
    theory: tuple[float, float] | None
    own_hash: str = ""


_N: Final = len(NODES)
_LEAST: Final = (1 / (_N + 1), 1 / _N)  # the newcomer's part; the part of the one that leaves
_SEARCH: Final = f"search in {_N * VIRTUAL_NODES:,} points"

SCHEMES: Final = (
    Scheme("modulo", lambda n, h: Modulo(n, hash64=h), "a division", (_N / (_N + 1), 1 - 1 / _N)),
    Scheme("ring", lambda n, h: Ring(n, hash64=h), _SEARCH, _LEAST),
    Scheme("ketama", lambda n, _: KetamaRing(n), _SEARCH, _LEAST, "1 MD5"),
    Scheme("bounded", lambda n, h: BoundedRing(n, hash64=h), f"{_SEARCH}, past the full", None),
    Scheme("rendezvous", lambda n, h: Rendezvous(n, hash64=h), f"compare {_N} bids", _LEAST),
    Scheme(
        "jump",
        lambda n, h: Jump(n, hash64=h),
        f"{sum(1 / each for each in range(2, _N + 1)):.1f} jumps",
        (1 / (_N + 1), 1 / _N + (1 / _N) * (1 - 1 / (_N - 1))),
    ),
    Scheme("slots", lambda n, _: Slots(n), f"a look into {SLOT_COUNT:,}", _LEAST, "1 CRC16"),
)


def compare(seed: int, tell: Tell = tell_nobody) -> list[Part]:
    """All schemes side by side."""
    keys = draw_keys(seed)
    moved: list[list[Cell]] = []
    cost: list[list[Cell]] = []
    loads: dict[str, list[int]] = {}
    for number, scheme in enumerate(SCHEMES):
        tell(number, len(SCHEMES), scheme.name)
        hashes = _Counting()
        subject = scheme.make(NODES, hashes)
        hashes.count = 0
        owners = place(subject, keys)
        loads[scheme.name] = _loads(owners)
        moved.append([scheme.name, *_extremes(owners), *_what_moves(scheme, keys, owners)])
        hashed = scheme.own_hash or f"{hashes.count / KEYS:g} blake2b"
        cost.append([scheme.name, hashed, scheme.then, f"{_memory_bytes(subject) / 1024:.0f} KiB"])
    return [
        Table(
            f"{KEYS:,} keys on {_N} nodes; then {JOINS} joins, or {LEAVES} leaves",
            ("scheme", "busiest", "idlest", *["join moves", "told", "theory"], *_LEAVE_COLUMNS),
            moved,
            (
                "busiest, idlest: keys on a node, as a multiple of its fair share",
                "moves: keys whose owner changed; told: what add and remove returned, exact for",
                "all keys that could be; theory: of a scheme that is perfectly even",
                "bounded: every key is held, factor 1.25; after the change all are acquired anew",
            ),
        ),
        Table("what one lookup costs", ("scheme", "hashes", "and then", "memory"), cost),
        _strips("joins", JOINS, keys[:DRAWN_KEYS]),
        _strips("leaves", LEAVES, keys[:DRAWN_KEYS]),
        Plot(f"keys of each node, {NODES[0]} to {NODES[-1]}", loads),
        _hot(seed),
    ]


_LEAVE_COLUMNS: Final = ("leave moves", "told", "theory")

HASHING: Final = Comparison(
    "hashing",
    "which node owns a key: seven schemes, and what moves when a node joins or leaves",
    compare,
)


def draw_keys(seed: int) -> list[str]:
    """The keys of a run, all different."""
    rng = Random(seed)
    return [f"user:{number}" for number in rng.sample(range(10**9), KEYS)]


# ── rows ─────────────────────────────────────────────────────────────────────


def place(subject: Placement, keys: Sequence[str]) -> list[str]:
    """The owner of each key."""
    if isinstance(subject, BoundedRing):
        return [subject.acquire(key) for key in keys]
    return [subject.owner(key) for key in keys]


def _what_moves(scheme: Scheme, keys: Sequence[str], owners: Sequence[str]) -> Iterator[str]:
    """For the node that joins and the one that leaves: what moves, what is told, what theory says.

    The share that a bounded ring tells is about what comes next, not about what is held.
    """
    for number, happens in enumerate(("joins", "leaves")):
        subject = scheme.make(NODES, blake2b_64)
        told = subject.add(JOINS) if happens == "joins" else subject.remove(LEAVES)
        changes = zip(place(subject, keys), owners, strict=True)
        yield _percent(sum(new != old for new, old in changes) / len(keys))
        yield _percent(float(told)) if scheme.theory else ""
        yield _percent(scheme.theory[number]) if scheme.theory else ""


class _Counting:
    """A hash that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, data: bytes) -> int:
        self.count += 1
        return blake2b_64(data)


def _loads(owners: Sequence[str]) -> list[int]:
    counts = Counter(owners)
    return [counts[node] for node in NODES]


def _extremes(owners: Sequence[str]) -> tuple[float, float]:
    loads = _loads(owners)
    fair = len(owners) / len(loads)
    return round(max(loads) / fair, 3), round(min(loads) / fair, 3)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _memory_bytes(subject: object) -> int:
    """All that ``subject`` holds, followed through its references. Code is not counted."""
    code = (type, ModuleType, FunctionType, MethodType)
    met: dict[int, object] = {}
    waiting = [subject]
    while waiting:
        each = waiting.pop()
        if id(each) not in met and not isinstance(each, code):
            met[id(each)] = each
            waiting += gc.get_referents(each)
    return sum(map(sys.getsizeof, met.values()))


# ── the picture of keys that move ────────────────────────────────────────────


def strips(happens: str, node: str, keys: Sequence[str]) -> list[str]:
    """A line for each scheme and a column for each key: its new owner, or a dot if it stays."""
    along_the_ring = sorted(keys, key=lambda key: blake2b_64(key.encode()))
    lines = []
    for scheme in SCHEMES:
        before, after = (scheme.make(NODES, blake2b_64) for _ in range(2))
        if happens == "joins":
            after.add(node)
        else:
            after.remove(node)
        changes = zip(place(before, along_the_ring), place(after, along_the_ring), strict=True)
        strip = "".join("." if old == new else new for old, new in changes)
        lines.append(f"{scheme.name:<10}  {strip}")
    return lines


def _strips(happens: str, node: str, keys: Sequence[str]) -> Text:
    title = f"{node} {happens}: {len(keys)} keys, a dot if the owner stays, else the new owner"
    return Text(title, strips(happens, node, keys))


# ── a hot key ────────────────────────────────────────────────────────────────


def _hot(seed: int) -> Table:
    rng = Random(seed)
    ordinary = draw_keys(seed)
    requests = [
        "hot" if rng.random() < HOT_SHARE else rng.choice(ordinary) for _ in range(REQUESTS)
    ]
    rows: list[list[Cell]] = []
    plain = Ring(NODES)
    for name, factor in (("ring", math.inf), ("bounded 2", 2.0), ("bounded 1.25", 1.25)):
        bounded = BoundedRing(NODES, factor=min(factor, float(REQUESTS)))
        served = [bounded.acquire(key) for key in requests]
        at_home = sum(node == plain.owner(key) for node, key in zip(served, requests, strict=True))
        on_hot = {node for node, key in zip(served, requests, strict=True) if key == "hot"}
        rows.append([name, *_extremes(served), len(on_hot), _percent(at_home / REQUESTS)])
    return Table(
        f"{REQUESTS:,} requests at once, {HOT_SHARE:.0%} of them for one key",
        ("scheme", "busiest", "idlest", "nodes with the hot key", "at the ring's owner"),
        rows,
    )
