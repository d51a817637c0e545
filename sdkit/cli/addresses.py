"""Addresses: the forms of a server's address on the command line, for every command.

127.0.0.1:7000            what ``sdkit serve`` prints
store://127.0.0.1:7000    the same, as a URL; nothing checks that a store listens there
7000 or :7000             a port of this machine
[::1]:7000                IPv6
"""

from __future__ import annotations

import re
from typing import Final

from sdkit.errors import InvalidArgument

FORMS: Final = "HOST:PORT, store://HOST:PORT, or a port of this machine"
_ADDRESS: Final = re.compile(
    r"(?:store://)?(?:(?:\[([^\[\]/\s]+)\]|([^\[\]/\s:]*)):)?([0-9]{1,5})/?", re.ASCII
)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of an address in one of the forms above.

    Raises:
        InvalidArgument: it is none of these.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or not 0 < int(found[3]) < 65536:
        raise InvalidArgument(f"{text!r} is not an address; write {FORMS}, as in 127.0.0.1:7000")
    return found[1] or found[2] or "127.0.0.1", int(found[3])
