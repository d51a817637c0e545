"""Hashing: which of the nodes owns this key, so that everybody who asks gets the same answer.

A cache of ten machines, a database of ten shards, ten servers that each keep some
sessions: every client must send the same key to the same node, and nobody wants to ask
a directory first. So the owner is *calculated*, from the key and the list of nodes. That
is easy until the list changes. Then two questions separate the schemes: how many keys
change their owner, and how evenly do they lie before and after?

The ideas, few and each with its own file
    * Dividing by the number of nodes spreads well and moves nearly every key when
      that number changes.
    * Hash the nodes too, onto the circle of the keys' hashes: a node that joins
      takes keys and no other key moves.
    * Or let every node bid for every key, and the highest bid wins.
    * Or cut the keys into a fixed number of slots, and move slots.
    * A fair share of the keys is not a fair share of the load; a bound is.

    from sdkit.hashing import Ring

    ring = Ring(["a", "b", "c"])
    ring.owner("user:42")          # one of the three, the same in every process
    ring.owners("user:42", 2)      # where two copies go
    ring.add("d")                  # Fraction: the exact share of all keys that moved

Read in this order
    smallest    the idea alone, and what it gets wrong
    placement   the one interface of all schemes; what is a key, a node, a weight
    hashes      64 bits of blake2b, and why never the built-in ``hash()``
    modulo      ``hash % n``: the bad case, and by how much
    circle      hashes on a circle, and the share of it that two cuts disagree about
    ring        consistent hashing: virtual nodes and weights
    ketama      the ring that memcached clients agree on, point by point
    bounded     a ring in which no node is loaded far above the others
    rendezvous  the highest bid wins
    jump        a few steps of arithmetic, and no memory
    slots       the 16,384 slots of Redis Cluster

All are plain objects without I/O, clock or randomness. A change builds the new state
beside the old one and swaps it in at its end: a refused change has changed nothing, and a
lookup in another thread sees the state before or after. (Of two changes at the same time one is
lost: make them one after the other.) ``docs/hashing.md`` puts them side by side, as
``sdkit sim hashing`` does.
"""

from sdkit.hashing.bounded import BoundedRing
from sdkit.hashing.hashes import blake2b_64
from sdkit.hashing.jump import Jump, jump_bucket
from sdkit.hashing.ketama import KetamaRing
from sdkit.hashing.modulo import Modulo
from sdkit.hashing.placement import DuplicateNode, Hash, Key, Placement, UnknownNode
from sdkit.hashing.rendezvous import Rendezvous
from sdkit.hashing.ring import Ring
from sdkit.hashing.slots import SLOT_COUNT, Slots, slot_of

__all__ = [
    "SLOT_COUNT",
    "BoundedRing",
    "DuplicateNode",
    "Hash",
    "Jump",
    "KetamaRing",
    "Key",
    "Modulo",
    "Placement",
    "Rendezvous",
    "Ring",
    "Slots",
    "UnknownNode",
    "blake2b_64",
    "jump_bucket",
    "slot_of",
]
