"""Disk: files that tell the truth about what survives a power cut.

``write`` returns when the bytes are in the operating system's page cache. Kill
the process and they stay; cut the power and they are gone, or half of them, or
the second half without the first. Only ``fsync`` makes them last, and programs
that forget one lose data on the one day that matters, so the interface keeps
the two apart by name: `Disk`, `File` and `Claim`, whose methods are written down
in `sdkit.disk`, beside the host that has them.

The contract, which every implementation keeps and every user may rely on
    append      a plain call: into the page cache, survives `kill`, not power
    sync        what was appended *before the call* survives a power cut
    unsynced    may be lost wholly or in part, sector by sector, in any order;
                so may a file's size, and names made, renamed or removed
    replace     renames atomically and syncs the directory: afterwards the
                target is wholly the new file, whatever happens
    failure     a sync that failed *poisons* the file, as a failed directory
                sync poisons the directory: every later write or sync through
                it is refused
    zeros       a file that was preallocated and not closed ends in some
    handles     a lack of them (``EMFILE``, ``ENFILE``) is met before anything
                is done: nothing has happened and nothing is poisoned

Why a failed sync is final
    After ``fsync`` reports an error, Linux marks the pages clean. The next
    ``fsync`` finds nothing to write and says yes, and the data is not on the
    disk ("fsyncgate"; Rebello et al., "Can Applications Recover from fsync
    Failures?", USENIX ATC 2020). Nobody who retries can be right.

Errors are the operating system's own (``OSError``): what a full disk means for
a transaction is decided above, in `sdkit.storage.group_commit`.
"""

from __future__ import annotations

from sdkit.disk import Claim, Disk, File

__all__ = ["Claim", "Disk", "File"]
