"""The smallest write-ahead log: write each change to a file, and sync it, before the answer.

A program loses its memory when it dies. So it writes each change to the end of a file and
syncs the file. Only then it tells its caller that the change has happened. After a restart
it reads the file from the beginning and makes each change again.

    one record:  | length, 4 bytes | content |

    $ python -m sdkit.storage.smallest
    written and synced: +10 +20 -5, balance 25
    a crash: half of the next record is in the file
    read again: +10 +20 -5, balance 25; 3 bytes of a torn record are cut off
    written and synced: +10 +20 -5 +7, balance 32
    a byte changes on the disk
    read again: +90 +20 -5 +7, balance 112, and nothing complains

What it gets wrong, and where that is answered
    1. It grows for ever, and a restart reads all of history. `snapshotting` writes the
       state down, so that `segments` before it can go.
    2. A replica cannot read along while it is written (`follower`), keep what it has not
       read yet (`holders`), or drop what another log has superseded (`journal`).
    3. Damage is not noticed: `wal` has a checksum in each record. (No property of
       `sdkit.spec.journal` sees it; those of `sdkit.spec.journal_crashes` flip bits.)
    4. A bad length in the middle looks like a torn end, so the acknowledged records behind
       it are cut off. `recovery` tells the two apart. (The same.)
    5. If the disk fills up, only half a record may be written, and `append` does not notice.
       The next record is written behind the half, and cannot be found again.
       `group_commit` removes the half first. (The same.)
    6. Each append waits for a sync of its own. In `group_commit` one sync serves all that
       wait. (No property: it is only slow.)
    7. While it syncs, the program does nothing else. `worker` is a thread for that. (No
       property either.)
    8. The name of a new file can be lost with the power, and the log with it. `local_disk`
       syncs the directory too. (No property: it would take a power cut.)

The specification of the room is run against this file. It fails at numbers 1 and 2 only
(``tests/storage/test_smallest.py``, which shows 3 to 5 as well).
"""

from __future__ import annotations

import os
import struct
import tempfile

LENGTH = struct.Struct(">I")


class SmallestLog:
    """A list of records in a file.

    Args:
        path: made if it is missing. A torn record at its end is cut off.
    """

    def __init__(self, path: str) -> None:
        self.file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by `close`
        self.records: list[bytes] = []
        self.file.seek(0)
        data = self.file.read()
        at = 0
        while len(data) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(data, at)
            record = data[at + LENGTH.size : at + LENGTH.size + length]
            if len(record) < length:
                break
            self.records.append(record)
            at += LENGTH.size + length
        self.torn_bytes = len(data) - at
        self.file.truncate(at)

    def append(self, record: bytes) -> int:
        """Write ``record`` at the end, durably. Returns its number, counted from 1."""
        self.file.write(LENGTH.pack(len(record)) + record)
        os.fsync(self.file.fileno())
        self.records.append(record)
        return len(self.records)

    def close(self) -> None:
        """Close the file. Every record is written already."""
        self.file.close()


def shown(log: SmallestLog) -> str:
    """The records of an account, and what they add up to."""
    changes = [record.decode() for record in log.records]
    return f"{' '.join(changes)}, balance {sum(map(int, changes))}"


def main() -> None:
    """Show it at work."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "log")
        log = SmallestLog(path)
        for change in (b"+10", b"+20", b"-5"):
            log.append(change)
        print(f"written and synced: {shown(log)}")

        log.file.write(LENGTH.pack(2)[:3])
        log.close()
        print("a crash: half of the next record is in the file")
        log = SmallestLog(path)
        print(f"read again: {shown(log)}; {log.torn_bytes} bytes of a torn record are cut off")
        log.append(b"+7")
        print(f"written and synced: {shown(log)}")
        log.close()

        with open(path, "r+b") as file:
            file.seek(LENGTH.size + 1)
            file.write(b"9")
        print("a byte changes on the disk")
        log = SmallestLog(path)
        print(f"read again: {shown(log)}, and nothing complains")
        log.close()


if __name__ == "__main__":
    main()
