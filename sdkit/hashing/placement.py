"""Placement: the interface of every scheme, and what it takes for a key, a node and a weight.

Nodes go in; the owner of a key comes out. Everything else that a scheme promises follows
from one rule: *the answer depends on the key, the nodes and nothing else*, so that two
programs that have never met agree.

Three things to notice
    1. `Placement.add` and `Placement.remove` return the share of all keys that the change
       moves, as an exact `Fraction`: counted on a circle or in a table of slots, calculated
       where only arithmetic says who owns what. Before data is copied or a cache runs cold,
       that is the number to know; without the change, from a copy:
       ``copy.copy(ring).add("d")``.
    2. `Placement.owners` goes on where `Placement.owner` stops: the next nodes that would
       have the key, all different. They are where copies go, and whom to ask when the
       owner is down.
    3. A key is text or bytes, and text is its UTF-8 bytes: ``"a"`` and ``b"a"`` are one
       key. A client that reads keys from a socket and one that has them as text agree.
       Numbers are refused, since ``1``, ``"1"`` and ``1.0`` would be one key or three,
       depending on who wrote the code.

A node is a name (an address, say): the ring hashes it, and what an error or a table shows
should be readable. What belongs to the name is a dictionary of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from fractions import Fraction
from typing import Final, Protocol

from sdkit.arguments import SHOWN_MAX, check_between, shown
from sdkit.errors import InvalidArgument, LimitExceeded, Rejected

Key = str | bytes
Hash = Callable[[bytes], int]
Nodes = Iterable[str] | Mapping[str, float]

# Only ratios of weights matter, so nobody misses more, and no arithmetic overflows.
WEIGHT_MIN: Final = 1e-9
WEIGHT_MAX: Final = 1e9


NODES_MAX: Final = 1_000_000  # names come from an iterable, which may have no end


class DuplicateNode(Rejected, ValueError):
    """The node is there already; a node has one weight, and a change of it is remove and add."""

    code = "duplicate_node"


class UnknownNode(Rejected, KeyError):
    """No node of that name is there."""

    code = "unknown_node"


class Placement(Protocol):
    """Which node owns which key."""

    @property
    def nodes(self) -> Mapping[str, float]:
        """Every node with its weight, in the order in which they came."""
        ...

    def owner(self, key: Key) -> str:
        """The node that owns ``key``.

        Raises:
            InvalidArgument: ``key`` is neither text nor bytes.
        """
        ...

    def owners(self, key: Key, count: int) -> list[str]:
        """The first ``count`` nodes for ``key``, all different; the first is its owner.

        Raises:
            InvalidArgument: ``key`` is neither text nor bytes, or ``count`` is not between
                1 and the number of nodes. Fewer copies than asked for would be a surprise
                on the day when they are needed.
        """
        ...

    def add(self, node: str, weight: float = 1) -> Fraction:
        """Let ``node`` join; the exact share of all keys that thereby change their owner.

        Args:
            node: a name that is not empty.
            weight: how many times the keys of a node of weight 1 it gets.

        Raises:
            DuplicateNode: it is there already.
            InvalidArgument: the name is no text or empty; the weight is not above 0, or
                beyond a billion either way; or the scheme knows no weights and it is not 1.
        """
        ...

    def remove(self, node: str) -> Fraction:
        """Let ``node`` leave; the exact share of all keys that thereby change their owner.

        Raises:
            UnknownNode: it is not there.
            InvalidArgument: it is the only one, and keys must have an owner.
        """
        ...


def key_bytes(key: Key) -> bytes:
    """What is hashed of a key. Raises InvalidArgument if it is none."""
    if isinstance(key, bytes):
        return key
    if not isinstance(key, str):
        raise InvalidArgument(
            f"key is {shown(key)}, of type {type(key).__name__}; it must be str or bytes"
        )
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"{shown(key)} has no UTF-8 form ({error.reason}); pass bytes instead"
        ) from error


def checked_nodes(nodes: Nodes, *, weighted: bool = True) -> dict[str, float]:
    """The nodes with their weights, 1 where none is given.

    Args:
        nodes: names, or names with weights.
        weighted: whether the scheme knows other weights than 1.

    Raises:
        DuplicateNode: a name comes twice.
        InvalidArgument: there is none; or what `Placement.add` refuses.
        LimitExceeded: there are more than `NODES_MAX`.
    """
    if isinstance(nodes, str | bytes) or not isinstance(nodes, Iterable):
        # Text would be taken for a list of letters.
        raise InvalidArgument(
            f"nodes is {shown(nodes)}; it must be a list of names, or a dictionary"
        )
    checked: dict[str, float] = {}
    pairs = nodes.items() if isinstance(nodes, Mapping) else ((node, 1) for node in nodes)
    for node, weight in pairs:
        _check_node(checked, node, weight, weighted=weighted)
        if len(checked) == NODES_MAX:
            raise LimitExceeded(f"there are more than {NODES_MAX:,} nodes, the limit")
        checked[node] = weight
    if not checked:
        raise InvalidArgument("nodes is empty; a key must have an owner, so name at least one")
    return checked


def with_node(
    nodes: Mapping[str, float], node: str, weight: float, *, weighted: bool = True
) -> dict[str, float]:
    """A new mapping with one node more. Raises what `Placement.add` does."""
    _check_node(nodes, node, weight, weighted=weighted)
    return {**nodes, node: weight}


def _check_node(nodes: Mapping[str, float], node: str, weight: float, *, weighted: bool) -> None:
    if not isinstance(node, str) or not node:
        raise InvalidArgument(
            f"node is {shown(node)}; it must be a name, of type str and not empty"
        )
    key_bytes(node)  # schemes hash the name: refuse it here if that cannot be
    if node in nodes:
        raise DuplicateNode(
            f"node {shown(node)} is there already; to change its weight, remove it first", node=node
        )
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not is_number or not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise InvalidArgument(
            f"the weight of node {shown(node)} is {shown(weight)}; it must be a number above 0, "
            f"from {WEIGHT_MIN:g} to {WEIGHT_MAX:g}; a node that shall get no keys is left out",
            node=node,
        )
    if not weighted and weight != 1:
        raise InvalidArgument(
            f"the weight of node {shown(node)} is {weight}; this scheme knows no weight but 1; "
            "Ring, Rendezvous and Slots do",
            node=node,
        )


def without_node(nodes: Mapping[str, float], node: str) -> dict[str, float]:
    """A new mapping with one node less. Raises what `Placement.remove` does."""
    if not isinstance(node, str) or node not in nodes:
        raise UnknownNode(
            f"no node is called {shown(node)}; there are {_some(nodes)}",
            node=node if isinstance(node, str) else shown(node),
        )
    if len(nodes) == 1:
        raise InvalidArgument(
            f"node {shown(node)} is the only one, and a key must have an owner: add another first",
            node=node,
        )
    return {name: weight for name, weight in nodes.items() if name != node}


def check_count(count: int, nodes: Sized) -> None:
    """Refuse to find more owners than there are nodes, or none."""
    check_between("count", count, 1, len(nodes))


def described(placement: Placement) -> str:
    """A placement at one look, for its ``__repr__``: its type, and some of its nodes."""
    nodes = placement.nodes
    return (
        f"<{type(placement).__name__}: {len(nodes)} node{'s'[: len(nodes) != 1]}, {_some(nodes)}>"
    )


def _some(nodes: Iterable[str]) -> str:
    names = [name if len(name) <= SHOWN_MAX else shown(name) for name in nodes]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
