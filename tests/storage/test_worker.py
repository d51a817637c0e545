"""The disk's thread: whatever becomes of its callers and their loops, nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from pathlib import Path

import pytest

from sdkit.storage import LocalDisk
from sdkit.storage.worker import Worker
from tests.storage.threads import own_disk_threads


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def until_ended() -> None:
    """Wait for the threads of this test's disks to end."""
    for thread in own_disk_threads():
        thread.join(30)
        assert not thread.is_alive()


def test_loops_that_end_before_their_calls_do_leave_nothing_behind(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)

    async def leave() -> None:
        listing = asyncio.ensure_future(disk.list())
        await asyncio.sleep(0)
        listing.cancel()

    before = descriptors()
    for _ in range(20):
        asyncio.run(leave())
    assert asyncio.run(disk.list()) == []
    until_ended()
    assert descriptors() == before


def test_a_thread_that_cannot_start_leaves_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="new thread"):
            await Worker().run(time.monotonic)

    before = descriptors()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    asyncio.run(main())
    assert descriptors() == before


def test_without_a_handle_for_the_pipe_it_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", refuse)

    async def main() -> None:
        file = await LocalDisk(tmp_path).open("f", create=True)
        file.append(b"kept")
        await file.sync()
        assert await file.read_at(0, 10) == b"kept"
        await file.close()

    asyncio.run(main())
    until_ended()
    assert not own_disk_threads()


def test_two_loops_of_one_thread_may_take_turns() -> None:
    worker = Worker()
    worker.files_open = 1  # so that its thread stays
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    waiting = first.create_task(worker.run(lambda: "first"))
    first.run_until_complete(asyncio.sleep(0))
    assert second.run_until_complete(worker.run(lambda: "second")) == "second"
    assert first.run_until_complete(waiting) == "first"
    worker.files_open = 0
    assert second.run_until_complete(worker.run(lambda: "last")) == "last"
    second.close()
    first.close()
    until_ended()
