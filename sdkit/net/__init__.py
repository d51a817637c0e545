"""net: how one process calls another, and how a server begins, limits itself and ends.

Every distributed system is made of processes that send each other bytes. What
this room adds to a TCP connection: messages with limits, many calls at once on
one connection, deadlines that travel and cancel, streams that do not drown
their reader, errors that say whether it happened, and a server that leaves
nothing behind.

Read in this order
    smallest      the idea alone, and what it gets wrong
    frames        bytes into messages, and what an enemy may send
    messages      everything that may be said
    hello         versions, and a secret that is proved and never sent
    limits        every bound, in one place
    deadlines     where a deadline travels, and how thousands expire with one timer
    outbox        the messages of one turn leave together
    asking        the calls that we made, until each has its one end
    serving       the requests of the peer, until each is finished
    rpc_session   the connection under both: its states, its progress, its end
    handlers      which function serves a method, and what it may be given
    rpc_stream    the reading end of a stream
    rpc_calling   the caller's half: call, start, notify, stream
    rpc_handling  running handlers, in order, each to its one end
    connection    the asyncio shell: a socket, a clock, and the session
    rpc           `connect`
    descriptors   how many connections the process can hold
    listening     accepting connections, also when there is no descriptor for one more
    addresses     why a server cannot listen or be reached, and what to do about it
    server        `Server`, the beginning and the end of every server of the kit

The session is a core without I/O (as the Python community's "sans-I/O" library
h2 made popular); the protocol follows Birrell and Nelson, "Implementing Remote
Procedure Calls" (1984), for calls, HTTP/2 (RFC 9113) for credit and goodbyes,
and gRPC for deadlines. The page is ``docs/rpc.md``.
"""

from sdkit.net.addresses import AddressUnusable
from sdkit.net.connection import Connection
from sdkit.net.handlers import Detached, Handler
from sdkit.net.limits import Limits
from sdkit.net.rpc import connect
from sdkit.net.rpc_handling import Interrupted
from sdkit.net.rpc_stream import Stream
from sdkit.net.server import FewDescriptors, InsecureListener, Server, ServerConfig
from sdkit.net.serving import AnswerTooLarge, Stalled

__all__ = [
    "AddressUnusable",
    "AnswerTooLarge",
    "Connection",
    "Detached",
    "FewDescriptors",
    "Handler",
    "InsecureListener",
    "Interrupted",
    "Limits",
    "Server",
    "ServerConfig",
    "Stalled",
    "Stream",
    "connect",
]
