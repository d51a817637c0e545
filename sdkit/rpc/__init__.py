"""rpc: how one process calls another.

Every distributed system is made of processes that send each other bytes. What
this room adds to a TCP connection: messages with limits, many calls at once on
one connection, deadlines that travel and cancel, streams that do not drown
their reader, and errors that say whether it happened. How connections are
listened for, limited and ended is the room below, `sdkit.net`.

Read in this order
    smallest      the idea alone, and what it gets wrong
    frames        bytes into messages, and what an enemy may send
    messages      everything that may be said
    hello         versions, and a secret that is proved and never sent
    limits        every bound, in one place
    outbox        the messages of one turn leave together
    asking        the calls that we made, until each has its one end
    serving       the requests of the peer, until each is finished
    session       the connection under both: its states, its progress, its end
    handlers      which function serves a method, and what it may be given
    stream        the reading end of a stream
    calling       the caller's half: call, start, notify, stream
    run_queue     when a handler begins, and when its result is said
    handling      running handlers, in order, each to its one end
    connection    the asyncio shell: a socket, a clock, and the session
    client        `connect`
    server        `Server`, the beginning and the end of every server of calls

The session is a core without I/O (as the Python community's "sans-I/O" library
h2 made popular); the protocol follows Birrell and Nelson, "Implementing Remote
Procedure Calls" (1984), for calls, HTTP/2 (RFC 9113) for credit and goodbyes,
and gRPC for deadlines. The page is ``docs/rpc.md``.
"""

from sdkit.net.limits import Stalled
from sdkit.rpc.client import connect
from sdkit.rpc.connection import Connection
from sdkit.rpc.handlers import Detached, Handler
from sdkit.rpc.handling import Interrupted
from sdkit.rpc.limits import Limits
from sdkit.rpc.server import Server, ServerConfig
from sdkit.rpc.serving import AnswerTooLarge
from sdkit.rpc.stream import Stream

__all__ = [
    "AnswerTooLarge",
    "Connection",
    "Detached",
    "Handler",
    "Interrupted",
    "Limits",
    "Server",
    "ServerConfig",
    "Stalled",
    "Stream",
    "connect",
]
