"""Storage: what a program has been told is safe must still be there after the power comes back.

Everything with state stands on this room: a disk that says honestly what would
survive a power cut, and on it one durable log, the *journal*, which the store,
the queues, the streams and raft share.

The ideas, few and each with its own file
    * ``write`` is not ``sync``, and what lies between may be lost in any order.
    * Write ahead: the log first, then the answer. One sync serves all who wait.
    * After a crash the end of the log is unreadable as often as not. A torn
      write is left behind and reported; lost data is never called a torn write.
    * A snapshot lets the log before it go, so a restart follows the size of the
      state and not its history.

Read in this order
    smallest      the idea alone, and what it gets wrong
    worker        the one thread in which a disk's blocking calls are made
    disk          files, and what a sync promises
    local_disk    that promise, kept on a directory of the real file system
    local_host    the machine that owns such a directory
    wal           how records lie in a segment, and how to tell a good one
    snapshot      the state at one position, in a file
    damage        what is wrong, in words that help at night
    recovery      torn tail or corruption? the decision, from bytes alone
    reserve       a little room for the day when the disk is full
    segments      files whose name means that they are whole
    surveying     read all and decide, the same for a start and for a look
    opening       the order of steps from a directory to a running log
    config        what durable means, and the other settings
    waiting       what waits to be written, and who waits for it
    callbacks     functions of somebody else's, and what becomes of their errors
    group_commit  records, groups, syncs; and what to do when the disk says no
    follower      reading a log that goes on
    snapshotting  a new snapshot in the old one's place
    holders       who keeps the log from being truncated
    journal       all of it together: what the other rooms use
    inspect       what ``sdkit journal DIR`` shows

``docs/journal.md`` tears and flips bytes and shows what happens. ARIES (Mohan
et al., ACM TODS 1992) is the paper behind every log that is written ahead;
"All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014) is the one
about what disks really do.
"""

from sdkit.storage.config import Durability, JournalConfig, Recovered
from sdkit.storage.damage import Cut, ForeignFile, UnexplainedDamage
from sdkit.storage.disk import Disk, File
from sdkit.storage.follower import FollowerAhead, Superseded, Truncated
from sdkit.storage.journal import Journal
from sdkit.storage.local_disk import LocalDisk
from sdkit.storage.local_host import LocalHost

__all__ = [
    "Cut",
    "Disk",
    "Durability",
    "File",
    "FollowerAhead",
    "ForeignFile",
    "Journal",
    "JournalConfig",
    "LocalDisk",
    "LocalHost",
    "Recovered",
    "Superseded",
    "Truncated",
    "UnexplainedDamage",
]
