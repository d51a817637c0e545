"""Store: an ordered map of bytes to bytes with transactions, durable, in memory, over TCP.

The block at the bottom of most diagrams, and the four letters that go with it.
*Atomic*: a transaction's writes are one record in the log, there or not there.
*Isolated*: readers see one committed state and never wait; writers of the same
key do. *Durable*: the log is on the disk before anybody sees the commit.
(*Consistent* is what your own transactions make of it.)

All data is held in memory; the disk holds the log and snapshots from which it
is rebuilt. That is the bargain of Redis and VoltDB, and of this lesson: no page
cache, no B-tree and no buffer pool stand between you and transactions. What
does not fit into memory needs another engine.

Read in this order
    smallest      the idea alone, and what it gets wrong
    interface     what a store offers, embedded or over TCP
    isolation     what each level reads and forbids: one table, which the code uses
    ranges        sets of keys as ranges, so that what is absent can be read, too
    accesses      who has read, or written, which keys and ranges
    snapshots     past states in use, as positions in the log
    versions      every key's values, newest first, so that readers never wait
    scan          a range as of one instant, piece by piece
    transaction   states, write set, savepoints
    locks         one writer a key, readers of keys and ranges, and a queue for each
    reorder       a circle of which nobody is a victim: the queues are put in another order
    deadlock      the cycle, found when it closes, and its victim
    lock_manager  who gets a lock, who waits for it, who gives way
    optimistic    serializable without waiting: dangerous structures, and who is aborted
    limits        what is refused, by name
    admission     what a statement must pass before it may change anything
    database      all of that together: a machine without clock, disk or wait
    vacuum        versions that nobody can see go, bit by bit
    records       what a commit looks like in the log
    checkpoint    the whole state written out while commits go on, and read back
    config        the settings, and what happens at each bound
    engine        the shell around it: journal, timers, background work
    home          the event loop that a store belongs to
    statements    each call on a transaction: the answer, or the rest to await
    handle        a transaction as its user holds it, and no more
    retry         again from the start, after a pause that nobody shares
    report        version chains, who waits for whom, gauges
    server        the engine on the network, one method per statement
    remote        a transaction at the other end of a socket
    client        the same interface as the engine, over a connection

It follows PostgreSQL where that can be seen from outside (snapshots, first
updater wins, what a statement is) and differs where a page says so.
"""

from sdkit.store.client import StoreClient
from sdkit.store.config import StoreConfig
from sdkit.store.deadlock import Deadlock
from sdkit.store.engine import StoreEngine
from sdkit.store.interface import Isolation, Store, Transaction, TransactionInfo, VersionInfo
from sdkit.store.isolation import SerializationFailure
from sdkit.store.limits import StoreFull
from sdkit.store.locks import LockTimeout
from sdkit.store.remote import TransactionLost
from sdkit.store.server import StoreServer, StoreServerConfig
from sdkit.store.transaction import IdleTimeout, ReadOnlyTransaction

__all__ = [
    "Deadlock",
    "IdleTimeout",
    "Isolation",
    "LockTimeout",
    "ReadOnlyTransaction",
    "SerializationFailure",
    "Store",
    "StoreClient",
    "StoreConfig",
    "StoreEngine",
    "StoreFull",
    "StoreServer",
    "StoreServerConfig",
    "Transaction",
    "TransactionInfo",
    "TransactionLost",
    "VersionInfo",
]
