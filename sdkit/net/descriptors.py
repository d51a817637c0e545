"""Descriptors: how many connections this process can really hold.

Every connection is a file descriptor, and so is every file of the disk. A
process has a limited number (``ulimit -n``, often 1024), and when a flood of
connections has taken the last one, the disk cannot open its next segment: the
server that was to refuse strangers stops serving its friends. So a server takes
no more connections than leave a reserve.

The limit that holds, the *soft* one, is there for old programs that use
``select``; a process may raise it up to the *hard* one by itself, and most
servers do (https://0pointer.net/blog/file-descriptor-limits.html). So does
`Host.descriptors`.

What the reserve is for: files and everything else of this process, and the
connections that have been accepted and not yet looked at. Asyncio takes up to
``BACKLOG`` from the kernel in one turn of the loop, and it takes a few turns
until the ones too many are refused and closed.
"""

from __future__ import annotations

from typing import Final

from sdkit.host import Host

BACKLOG: Final = 64  # connections that the kernel keeps for us, and that one turn accepts
RESERVE: Final = 64 + 4 * BACKLOG


def connections_possible(wanted: int, host: Host) -> int:
    """How many of ``wanted`` connections leave a reserve on ``host``.

    Where the hard limit is very low, the reserve is half of it.
    """
    limit = host.descriptors(wanted + RESERVE)
    return min(wanted, max(limit - RESERVE, limit // 2, 1))
