"""A directory has one owner, whatever is deleted, renamed or forked under it."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import warnings
import weakref
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sdkit.errors import DirectoryInUse, DirectoryUnusable, InvalidArgument, InvalidState
from sdkit.host import Host
from sdkit.ownership import DirectoryLock
from sdkit.storage import Journal, LocalDisk, LocalHost


def in_another_process(script: str, *arguments: object) -> str:
    """What the script prints; a process of its own may fork, and may be short of a module."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


TRY = """
import sys
from sdkit.errors import DirectoryInUse
from sdkit.storage import LocalHost
try:
    LocalHost("second", sys.argv[1]).close()
    print("owned")
except DirectoryInUse as error:
    print(error)
"""


# ── what is deleted or renamed ───────────────────────────────────────────────


def test_deleting_the_lock_file_lets_no_second_owner_in(tmp_path: Path) -> None:
    with LocalHost("first", tmp_path):
        (tmp_path / "lock").unlink()
        assert "in use by another process" in in_another_process(TRY, tmp_path)
        with pytest.raises(DirectoryInUse, match=f"process {os.getpid()}"):
            LocalHost("second", tmp_path)
        (tmp_path / "lock").write_text("process 1\n")
        assert "in use by process 1" in in_another_process(TRY, tmp_path)
    assert in_another_process(TRY, tmp_path) == "owned\n"


def test_deleting_the_lock_of_a_journal_lets_no_second_one_in(tmp_path: Path) -> None:
    async def main() -> None:
        first = await Journal.open(LocalDisk(tmp_path), room="room", random=Random(1))
        (tmp_path / "journal.lock").unlink()
        with pytest.raises(DirectoryInUse):
            await Journal.open(LocalDisk(tmp_path), room="room", random=Random(1))
        await first.close()

    asyncio.run(main())


def test_a_renamed_directory_stays_its_owners_and_the_new_one_is_another(tmp_path: Path) -> None:
    data, moved = tmp_path / "data", tmp_path / "moved"
    with LocalHost("first", data):
        data.rename(moved)
        with LocalHost("second", data), pytest.raises(DirectoryInUse):
            LocalHost("third", moved)
        data.joinpath("lock").unlink()
        data.rmdir()
        moved.rename(data)
        with pytest.raises(DirectoryInUse):
            LocalHost("fourth", data)


def test_a_journal_whose_directory_was_renamed_leaves_its_successors_files_alone(
    tmp_path: Path,
) -> None:
    async def state() -> object:
        yield b"state"

    async def main() -> None:
        data, moved = tmp_path / "data", tmp_path / "moved"
        first = await Journal.open(LocalDisk(data), room="room", random=Random(1))
        await first.wait(first.append(b"of the first"))
        data.rename(moved)
        second = await Journal.open(LocalDisk(data), room="room", random=Random(2))
        await second.wait(second.append(b"of the second"))
        await first.snapshot(1, state())  # type: ignore[arg-type]  # unlinks its first segment
        await first.close()
        await second.close()
        assert sorted(path.name for path in data.glob("*.wal")) == ["000000000001.wal"]
        assert sorted(path.name for path in moved.glob("*.wal")) == ["000000000002.wal"]
        again, found = await Journal.open(LocalDisk(data), room="room", random=Random(3)), []
        await again.replay(on_record=lambda _, record: found.append(record))
        await again.close()
        assert found == [b"of the second"]

    asyncio.run(main())


def test_owners_of_different_things_in_one_directory_do_not_exclude_each_other(
    tmp_path: Path,
) -> None:
    host, journal = DirectoryLock(tmp_path), DirectoryLock(tmp_path, "journal.lock")
    host.release()
    assert journal.is_held
    assert "in use by process" in in_another_process(TRY, tmp_path)
    journal.release()
    assert in_another_process(TRY, tmp_path) == "owned\n"


def test_a_full_disk_or_a_strange_lock_file_is_no_other_owner(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(DirectoryUnusable):
        LocalHost("first", tmp_path)
    (tmp_path / "lock").rmdir()
    LocalHost("second", tmp_path).close()


# ── forks ────────────────────────────────────────────────────────────────────

CHILD_LIVES_ON = """
import os, sys
from sdkit.errors import DirectoryInUse, InvalidState
from sdkit.storage import LocalHost
host = LocalHost("parent", sys.argv[1])
go_on, end = os.pipe(), os.pipe()
child = os.fork()
if not child:
    os.close(end[1])
    for use in (lambda: host.disk, host.__enter__):
        try:
            use()
        except InvalidState as error:
            print("child:", error, flush=True)
    try:
        LocalHost("child", sys.argv[1])
    except DirectoryInUse as error:
        print("child:", "process", os.getppid(), "in" if str(os.getppid()) in str(error) else error)
    sys.stdout.flush()
    os.write(go_on[1], b".")
    os.read(end[0], 1)
    host.close()  # gives nothing up: it is the parent's
    del host
    os._exit(0)
os.read(go_on[0], 1)
host.close()
with LocalHost("parent again", sys.argv[1]):
    print("parent: owned again")
os.close(end[1])
os.waitpid(child, 0)
"""


def test_a_child_that_lives_on_keeps_no_lock_and_owns_nothing(tmp_path: Path) -> None:
    said = in_another_process(CHILD_LIVES_ON, tmp_path).splitlines()
    assert sum("belongs to the process that this one was forked from" in line for line in said) == 2
    assert any(line.startswith("child: process") and line.endswith(" in") for line in said)
    assert said[-1] == "parent: owned again"


OPEN_FILES = """
import asyncio, os, random, sys
from sdkit.errors import InvalidState
from sdkit.storage import Journal, LocalDisk

async def main():
    disk = LocalDisk(sys.argv[1])
    journal = await Journal.open(disk, room="room", random=random.Random(1))
    file = await disk.open("beside", create=True)
    journal.append(b"before")
    child = os.fork()
    if not child:
        for use in (lambda: journal.append(b"child"), lambda: journal.wait(1),
                    lambda: file.append(b"child"), lambda: journal.follow(1)):
            try:
                use()
            except InvalidState as error:
                print("forked from" in str(error), flush=True)
        async def anew():
            other = LocalDisk(sys.argv[1] + "/child")
            mine = await Journal.open(other, room="room", random=random.Random(1))
            await mine.wait(mine.append(b"the child's own"))
            await mine.close()
            print(await disk.list(), flush=True)
            try:
                await journal.close()
            except InvalidState as error:
                print("forked from" in str(error), flush=True)
        import threading
        asyncio._set_running_loop(None)
        asyncio.run(anew())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    await journal.wait(journal.append(b"after"))
    file.append(b"parent")
    assert await file.read_at(0, 99) == b"parent"
    await file.close()
    await journal.close()
    again = await Journal.open(disk, room="room", random=random.Random(1))
    await again.replay(on_record=lambda lsn, record: print(record))
    await again.close()

asyncio.run(main())
"""


def test_a_child_writes_nothing_into_its_parents_files_and_may_open_its_own(
    tmp_path: Path,
) -> None:
    said = in_another_process(OPEN_FILES, tmp_path).splitlines()
    assert said.count("True") == 5
    assert "False" not in said
    assert said[-2:] == ["b'before'", "b'after'"]


# ── dropped ──────────────────────────────────────────────────────────────────


def test_a_closed_host_goes_without_the_collector(tmp_path: Path) -> None:
    gc.disable()
    try:
        host = LocalHost("db", tmp_path)
        gone = [weakref.ref(it) for it in (host, host.disk, host.random, host._claim)]
        host.close()
        del host
        assert [ref() for ref in gone] == [None] * 4
    finally:
        gc.enable()


def test_a_host_dropped_open_warns_and_gives_its_directory_up(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        host = LocalHost("db", tmp_path)
        del host
        LocalHost("second", tmp_path).close()
    assert [str(it.message) for it in said] == [
        f"<LocalHost db on LocalDisk({str(tmp_path)!r})> was dropped and not closed"
    ]


# ── how it may be used ───────────────────────────────────────────────────────


def test_a_closed_host_has_no_disk_any_more_and_is_not_entered_again(tmp_path: Path) -> None:
    with LocalHost("db", tmp_path) as host:
        with pytest.raises(InvalidState, match="entered before"):
            host.__enter__()
        assert repr(host) == f"<LocalHost db on LocalDisk({str(tmp_path)!r})>"
    with pytest.raises(InvalidState, match="host db is closed"):
        _ = host.disk
    with pytest.raises(InvalidState, match="host db is closed"):
        host.__enter__()
    assert repr(host).endswith(", closed>")
    assert repr(Host("thin")) == "<Host thin>"


@pytest.mark.parametrize("directory", ["", "a\0b", "\ud800", 5, None, b"bytes", True, ["a"]])
def test_what_is_no_path_is_no_directory(directory: Any) -> None:
    for make in (lambda it: LocalHost("db", it), LocalDisk, DirectoryLock):
        with pytest.raises(InvalidArgument, match=r"director|path"):
            make(directory)


def test_what_is_no_part_of_a_host_is_refused_by_name() -> None:
    for make, match in (
        (lambda: Host(5), "name is 5"),  # type: ignore[arg-type]
        (lambda: Host(""), "name is ''"),
        (lambda: Host("a", "data"), r"disk is 'data', of type str.*LocalHost"),  # type: ignore[arg-type]
        (lambda: Host("a", random=7), "random is 7"),  # type: ignore[arg-type]
        (lambda: Host("a").descriptors("3"), "needed is '3'"),  # type: ignore[arg-type]
        (lambda: Host("a").descriptors(-1), "needed is -1"),
    ):
        with pytest.raises(InvalidArgument, match=match):
            make()


def test_a_disk_stays_where_it_was_named_whatever_the_working_directory_becomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    disk = LocalDisk("data")
    monkeypatch.chdir(tmp_path / "elsewhere")

    async def main() -> None:
        journal = await Journal.open(disk, room="room", random=Random(1))
        await journal.close()

    asyncio.run(main())
    assert (tmp_path / "data" / "000000000001.wal").exists()
    assert not list((tmp_path / "elsewhere").iterdir())
