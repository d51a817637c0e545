"""Slots: keys are cut into 16,384 slots for ever, and only slots have owners.

Redis Cluster does not calculate the owner of a key. It calculates its *slot*, which never
changes, and keeps a table that says where each slot is:

    key ── CRC16 mod 16,384 ──> slot 5,798 ── table ──> node b

Three things to notice
    1. A change of nodes is a change of the table, slot by slot. Somebody decides which slots
       move, and can move them one after another while both nodes serve. In the other
       schemes the formula decides, for all keys at once.
    2. The table has to be the same everywhere. In Redis the nodes gossip about it, and a client
       that asks the wrong one is told ``MOVED 5798 10.0.0.2:6379``. In return it may be cut
       in any way: exact shares, a slot that is hot alone on its node.
    3. **Hash tags**: if a key has braces, only what stands between them is hashed. So
       ``{user:7}.name`` and ``{user:7}.cart`` are in one slot, and one command may touch both.
       It is the first ``{`` and the first ``}`` after it, and something must stand between;
       otherwise the whole key is hashed. So ``{}x`` is hashed whole, and ``{{a}}`` by ``{a``.

The table starts as ``redis-cli --cluster create`` makes it: one run of slots for each node. A node
that joins takes slots from whoever has most for its weight; one that leaves gives each to
whoever has least. Hence the table depends on the past, as it does in Redis.

Follows the Redis Cluster specification, "Key distribution model" and "Hash tags". CRC16 is
the XMODEM one: polynomial 0x1021, starting with 0; of ``123456789`` it is 0x31c3.
"""

from __future__ import annotations

import math
from binascii import crc_hqx
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import InvalidArgument
from sdkit.hashing.placement import (
    Key,
    Nodes,
    check_count,
    checked_nodes,
    described,
    key_bytes,
    with_node,
    without_node,
)

SLOT_COUNT: Final = 16_384


def slot_of(key: Key) -> int:
    """The slot of ``key``, from 0 to 16,383, as in ``CLUSTER KEYSLOT``.

    Raises:
        InvalidArgument: ``key`` is neither text nor bytes.
    """
    return crc_hqx(_hashed_part(key_bytes(key)), 0) % SLOT_COUNT


def _hashed_part(key: bytes) -> bytes:
    opened = key.find(b"{")
    closed = key.find(b"}", opened + 1)
    return key[opened + 1 : closed] if opened >= 0 and closed > opened + 1 else key


class Slots:
    """A `Placement` by a table of slots.

    Args:
        nodes: their names, or names with weights, at most one for each slot.

    Raises:
        DuplicateNode, InvalidArgument: as in `Placement.add`; or there is no node, or one
            too light to get a slot.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = checked_nodes(nodes)
        self._table = self._runs(self._nodes)

    @property
    def nodes(self) -> Mapping[str, float]:
        return MappingProxyType(self._nodes)

    def __repr__(self) -> str:
        return described(self)

    def owner(self, key: Key) -> str:
        """The node that owns ``key``: a checksum and a look into the table."""
        return self._table[slot_of(key)]

    def owners(self, key: Key, count: int) -> list[str]:
        """The owner of the key's slot, then those met in the slots after it.

        Redis gives each owner replicas of its own instead; here every node has both parts.
        """
        check_count(count, self._nodes)
        table, slot = self._table, slot_of(key)
        met = dict.fromkeys([table[slot]])
        for step in range(1, SLOT_COUNT):
            if len(met) == count:
                break
            met.setdefault(table[(slot + step) % SLOT_COUNT])
        # A node may have left since they were counted: then count again, and refuse.
        return list(met) if len(met) == count else self.owners(key, count)

    def slots(self, node: str) -> list[int]:
        """The slots of ``node``, in order. Empty if it is not there."""
        return [slot for slot, owner in enumerate(self._table) if owner == node]

    def add(self, node: str, weight: float = 1) -> Fraction:
        """The new node takes its share of slots, one by one, from whoever has most to spare."""
        nodes = with_node(self._nodes, node, weight)
        share = _shares(nodes)[node]  # refuses
        kept = {other: self.slots(other) for other in self._nodes}
        taken: list[int] = []
        for _ in range(int(share * SLOT_COUNT)):
            givers = [other for other in kept if len(kept[other]) > 1]
            giver = max(givers, key=lambda other: (len(kept[other]) / nodes[other], other))
            taken.append(kept[giver].pop())
        return self._become(nodes, dict.fromkeys(taken, node))

    def remove(self, node: str) -> Fraction:
        """Each of the node's slots goes to whoever then has least for its weight."""
        nodes = without_node(self._nodes, node)
        count = Counter(self._table)
        given: dict[int, str] = {}
        for slot in self.slots(node):
            taker = min(nodes, key=lambda other: ((count[other] + 1) / nodes[other], other))
            count[taker] += 1
            given[slot] = taker
        return self._become(nodes, given)

    def _become(self, nodes: dict[str, float], changes: Mapping[int, str]) -> Fraction:
        table = list(self._table)
        for slot, node in changes.items():
            table[slot] = node
        self._nodes, self._table = nodes, table
        return Fraction(len(changes), SLOT_COUNT)

    @staticmethod
    def _runs(nodes: Mapping[str, float]) -> list[str]:
        table: list[str] = []
        end = Fraction(0)
        for node, share in _shares(nodes).items():
            end += share * SLOT_COUNT
            table += [node] * (math.floor(end + Fraction(1, 2)) - len(table))
        return table


def _shares(nodes: Mapping[str, float]) -> dict[str, Fraction]:
    """Each node's share by weight; none is less than a slot."""
    total = sum(map(Fraction, nodes.values()))
    shares = {node: Fraction(weight) / total for node, weight in nodes.items()}
    for node, share in shares.items():
        if share * SLOT_COUNT < 1:
            raise InvalidArgument(
                f"the weight of node {shown(node)} is {nodes[node]} of {float(total):g}; that is "
                f"less than one slot of {SLOT_COUNT:,}: make it larger, or have fewer nodes",
                node=node,
            )
    return shares
