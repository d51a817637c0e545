"""Without: the rooms with one safeguard left out, to see what it was for.

Every rule of a journal, a store or a protocol answers a question that most
readers ask: why is this here? The shortest answer is a run in which it is
missing, and what happens then:

    $ sdkit sim bank --without journal.sync --runs 200

A safeguard is one small method. Its absence is a subclass that overrides it
(`Safeguard.variant`), put in its place by `assemble`; nothing is patched, and
the rooms know nothing of this.

Read in this order
    parts       the classes that a scenario builds its machines of, and how one is exchanged
    storage     the safeguards of the journal
    store       those of transactions
    isolation   those of the levels
    rpc         those of calls over a connection
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import reduce
from typing import Final

from sdkit.errors import InvalidArgument
from sdkit.without.isolation import SAFEGUARDS as ISOLATION
from sdkit.without.parts import Parts, Safeguard
from sdkit.without.rpc import SAFEGUARDS as RPC
from sdkit.without.storage import SAFEGUARDS as STORAGE
from sdkit.without.store import SAFEGUARDS as STORE

__all__ = ["SAFEGUARDS", "Parts", "Safeguard", "assemble", "find"]

SAFEGUARDS: Final = {each.name: each for each in (*STORAGE, *STORE, *ISOLATION, *RPC)}


def find(name: str) -> Safeguard:
    """The safeguard of that name.

    Raises:
        InvalidArgument: there is none; the message says which are near.
    """
    if name not in SAFEGUARDS:
        near = get_close_matches(name, SAFEGUARDS, 3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "sdkit sim --list shows them"
        raise InvalidArgument(f"no safeguard is called {name!r}; {hint}", name=name)
    return SAFEGUARDS[name]


def assemble(without: Iterable[str] = ()) -> Parts:
    """The parts of a machine, with these safeguards left out.

    Raises:
        InvalidArgument: a name is unknown.
    """
    return reduce(Parts.exchange, map(find, sorted(without)), Parts())
