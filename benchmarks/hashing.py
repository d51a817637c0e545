"""A lookup, in lookups per second: our ring, uhashring's, and the least that could do it.

In seconds of the processor: nothing here waits, and what other programs take does not count.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from hashlib import blake2b

from uhashring import HashRing

from benchmarks.harness import Bar, Contender, Work
from sdkit.hashing import (
    BoundedRing,
    Jump,
    KetamaRing,
    Modulo,
    Placement,
    Rendezvous,
    Ring,
    Slots,
    blake2b_64,
)

LOOKUPS = 200_000
NODES = [f"10.0.0.{number}:11211" for number in range(100)]
KEYS = [f"user:{number}" for number in range(LOOKUPS)]


def table() -> list[Work]:
    ring = Ring(NODES)
    return [
        Work(
            "ring lookup, 100 nodes, same hash function",
            "lookups/s",
            "more",
            [
                Contender("Ring.owner", "ours", lambda: _rate(ring.owner)),
                Contender("uhashring", "peer", _uhashring()),
                Contender("bare bisect + blake2b", "limit", _bare(ring)),
            ],
            [Bar("uhashring", 1.2), Bar("limit", 0.85)],
        ),
        Work(
            "hashing: lookup, 100 nodes, every scheme",
            "lookups/s",
            "more",
            [
                *[_contender(subject, LOOKUPS // 4) for subject in _schemes()],
                _contender(Rendezvous(NODES), LOOKUPS // 100),
                Contender("bare bisect + blake2b", "limit", _bare(ring)),
            ],
        ),
    ]


def _schemes() -> list[Placement]:
    return [
        Ring(NODES),
        KetamaRing(NODES),
        BoundedRing(NODES),
        Jump(NODES),
        Slots(NODES),
        Modulo(NODES),
    ]


def _contender(subject: Placement, count: int) -> Contender:
    return Contender(type(subject).__name__, "ours", lambda: _rate(subject.owner, count))


def _rate(owner: Callable[[str], object], count: int = LOOKUPS) -> float:
    keys = KEYS[:count]
    began = time.process_time()
    for key in keys:
        owner(key)
    return count / (time.process_time() - began)


def _uhashring() -> Callable[[], float]:
    ring = HashRing(NODES, vnodes=160, hash_fn=lambda key: blake2b_64(key.encode()))
    return lambda: _rate(ring.get_node)


def _bare(ring: Ring) -> Callable[[], float]:
    """The same points and the same hash, in a loop of its own: no call, no check, no object."""
    points, owners = ring._circle.points, ring._circle.owners

    def measure() -> float:
        began = time.process_time()
        for key in KEYS:
            digest = blake2b(key.encode(), digest_size=8).digest()
            owners[bisect_left(points, int.from_bytes(digest, "big"))]
        return LOOKUPS / (time.process_time() - began)

    return measure
