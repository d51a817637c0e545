"""sdkit, the system design kit: every box of a system-design diagram as code that runs.

Each room (a package of this one) is one box: a core without I/O, and a thin
asyncio shell that puts it on a real disk and a real socket. Read a room in the
order its ``__init__`` gives; run it with ``sdkit serve ROOM``; break it with
``sdkit demo``.

    floor 0   errors  host  trace        what every room says, asks for and reports
    floor 1   storage  rpc  hashing      a durable log; calls over TCP; who owns a key
              net                        what every protocol stands on
    floor 2   store                      an ordered key-value store with transactions
    beside    sim                        an event loop in virtual time
    above     spec  cli                  what people check against, and what they start
"""

__version__ = "0.1.0"
