"""net: what every protocol stands on, and no protocol itself.

A server of calls, of HTTP or of Redis's commands listens, counts its connections,
refuses the one too many and ends in the same way. That is here, and no message is
known. A protocol gives a class of connections (`sdkit.net.listener.Served`), or one
function (`sdkit.net.conversation`).

Read in this order
    limits        the bounds of every connection
    addresses     why a server cannot listen or be reached, and what to do about it
    descriptors   how many connections the process can hold
    acceptor      accepting connections, also when there is no descriptor for one more
    listener      counting, limiting and ending them: `Listener`
    outbox        what is said in one turn leaves together
    flow          how much may be said now: room, waiting for it, the last bytes
    alarm         one timer for all that a connection waits for
    conversation  a protocol as one function, from top to bottom
    deadlines     where a deadline travels, and how thousands expire with one timer

Calls are the room beside it, `sdkit.rpc`. The page is ``docs/rpc.md``.
"""

from sdkit.net.addresses import AddressUnusable
from sdkit.net.conversation import Conversation, converse, conversing
from sdkit.net.limits import ConnectionLimits, Stalled
from sdkit.net.listener import FewDescriptors, InsecureListener, Listener, ListenerConfig

__all__ = [
    "AddressUnusable",
    "ConnectionLimits",
    "Conversation",
    "FewDescriptors",
    "InsecureListener",
    "Listener",
    "ListenerConfig",
    "Stalled",
    "converse",
    "conversing",
]
