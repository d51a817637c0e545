"""Ketama: the ring of memcached clients, point by point, so that old and new programs agree.

When Last.fm published libketama in 2007, memcached clients spread keys by ``hash % n``. It was
ported to every language, and a cache that PHP and Python share works only if both place every
key at the same node: not on some ring, but on *that* ring. It is the one of `ring` with these
choices, all of them part of the interface now:

    hash of a key     the first 4 bytes of its MD5, read as a little-endian number
    points            MD5 of ``name-0``, ``name-1``, ...: each digest gives 4 points of 4 bytes
    of a node         floor(weight / all weights * 40 * nodes) digests, in single precision
    name              as in the list of servers: ``10.0.1.1:11211``

Three things to notice
    1. The number of points of a node depends on the *other* nodes. While all weights are equal
       it is 160 for ever; otherwise a node that joins changes everybody's count, and keys move
       between nodes that both stay. `Ring` does not do that.
    2. The division is made with the 24 bits of C's ``float`` and then rounded down. With more
       bits, some node of some cluster would have four points more or less. Hence `_single`.
    3. Points have 32 bits, so some collide; see `circle`.

libmemcached and spymemcached vary the theme: how a server is written, how weights are rounded,
how many points there are without weights. Compare some owners before you mix them.

Follows https://github.com/RJ/ketama, ``libketama/ketama.c``; the tests check against the MD5
of a million of its answers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from hashlib import md5
from typing import ClassVar, Final

from sdkit.arguments import shown
from sdkit.errors import InvalidArgument
from sdkit.hashing.circle import Circle
from sdkit.hashing.placement import Nodes
from sdkit.hashing.ring import Ring

DIGESTS_PER_NODE: Final = 40
_POINTS: Final = struct.Struct("<4I")  # four points of a digest


class KetamaRing(Ring):
    """A `Ring` with libketama's points.

    Args:
        nodes: their names, or names with weights (libketama's "memory").

    Raises:
        DuplicateNode, InvalidArgument, LimitExceeded: as `Ring`.
    """

    bits: ClassVar[int] = 32

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes, hash64=_hash_of_key)

    def _cut(self, nodes: Mapping[str, float]) -> Circle:
        total = _single(sum(nodes.values()))
        return Circle(
            (
                (point, node)
                for node, weight in nodes.items()
                for point in _points(node, _digest_count(node, weight, total, len(nodes)))
            ),
            bits=self.bits,
        )


def _digest_count(node: str, weight: float, total: float, nodes: int) -> int:
    share = _single(_single(weight) / total)
    count = math.floor(_single(share * DIGESTS_PER_NODE * nodes))
    if count < 1:
        # libketama would leave the node without a point, silently.
        raise InvalidArgument(
            f"the weight of node {shown(node)} is {weight} of {total:g}; that is less than one of "
            f"{DIGESTS_PER_NODE * nodes} digests: it would never own a key",
            node=node,
        )
    return count


def _points(node: str, digests: int) -> Iterator[int]:
    name = node.encode()
    for number in range(digests):
        yield from _POINTS.unpack(_md5(b"%b-%d" % (name, number)))


def _hash_of_key(key: bytes) -> int:
    return int(_POINTS.unpack(_md5(key))[0])


def _md5(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()


def _single(value: float) -> float:
    """``value`` rounded as a ``float`` of C."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
