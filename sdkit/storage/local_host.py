"""Local host: the machine that this process runs on, with a directory of its own.

Two processes that write the same directory ruin it, and nothing in the files
says who was first. So a `LocalHost` locks its directory before anybody reads a
byte of it (`sdkit.ownership`), and gives it up in `Host.close`, or by dying.
"""

from __future__ import annotations

import os

from sdkit.host import Host
from sdkit.ownership import DirectoryLock
from sdkit.storage.local_disk import LocalDisk


class LocalHost(Host):
    """The real machine, owning ``data_dir`` (made if it is missing) until `close`.

    Dropped while it is open, it warns and gives the directory up.

    Raises:
        InvalidArgument: ``name`` or ``data_dir`` cannot be one.
        DirectoryInUse: a live process owns it; the message says which.
        DirectoryUnusable: it cannot be made or written, or this platform (Windows) has no
            locks on directories.
    """

    def __init__(self, name: str, data_dir: str | os.PathLike[str]) -> None:
        super().__init__(name, LocalDisk(data_dir))
        self._claim = DirectoryLock(data_dir)
