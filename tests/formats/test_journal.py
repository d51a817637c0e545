"""Every format of the journal that was ever released is read for ever."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from random import Random

from sdkit.storage import Journal, LocalDisk

KEPT = Path(__file__).parent / "journal-1"


def test_format_1_is_read(tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "journal")

    async def main() -> tuple[list[bytes], list[tuple[int, bytes]]]:
        disk = LocalDisk(tmp_path / "journal")
        journal = await Journal.open(disk, room="format", random=Random(0))
        chunks: list[bytes] = []
        records: list[tuple[int, bytes]] = []
        await journal.replay(
            on_snapshot=chunks.append, on_record=lambda lsn, record: records.append((lsn, record))
        )
        assert journal.recovered.clean
        await journal.close()
        return chunks, records

    assert asyncio.run(main()) == (
        [b"one,", b"two"],
        [(3, b"three"), (4, b"four"), (5, b""), (6, b"six\x00")],
    )
