"""net: what every protocol stands on, and no protocol itself.

A server of calls, of HTTP or of Redis's commands listens, counts its
connections and ends in the same way. That is here, and no message is known.

Read in this order
    addresses     why a server cannot listen or be reached, and what to do about it
    descriptors   how many connections the process can hold
    listening     accepting connections, also when there is no descriptor for one more
    deadlines     where a deadline travels, and how thousands expire with one timer

Calls are the room beside it, `sdkit.rpc`. The page is ``docs/rpc.md``.
"""

from sdkit.net.addresses import AddressUnusable

__all__ = ["AddressUnusable"]
