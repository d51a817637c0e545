"""The smallest log fails its specification exactly where its lesson says so."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from sdkit.spec.journal import Open, journal
from sdkit.storage import smallest
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG = {
    # 1: it keeps everything, and a snapshot changes nothing
    "test_what_is_held_stays_and_the_rest_goes",
    "test_a_snapshot_is_the_state_at_its_position_while_the_log_goes_on",
    "test_a_snapshot_that_is_read_stays_as_it_is_and_so_does_the_log_behind_it",
    "test_a_snapshot_from_elsewhere_takes_the_place_of_state_and_log",
    # 2
    "test_what_is_superseded_is_gone_and_its_numbers_are_given_out_again",
    "test_a_follower_learns_that_what_it_was_shown_is_superseded",
    "test_a_follower_sees_every_record_from_its_position_on",
    "test_what_is_held_is_still_held_when_it_is_opened_again",
}


OPENED: list[smallest.SmallestLog] = []  # a property that fails leaves its log open


class Adapter:
    """The smallest log behind the interface of a journal."""

    snapshot_lsn = 0

    def __init__(self, path: str) -> None:
        self._log = smallest.SmallestLog(path)
        OPENED.append(self._log)
        self.append = self._log.append

    @property
    def end(self) -> int:
        return len(self._log.records)

    synced = durable = end

    async def sync(self) -> None:
        """It is synced."""

    def wait(self, _lsn: int) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def snapshot(self, _lsn: int, _chunks: AsyncIterator[bytes]) -> None:
        """The log has everything."""

    async def replay(self, *, on_record: Callable[[int, bytes], None], **_: Any) -> None:
        for lsn, record in enumerate(self._log.records, 1):
            on_record(lsn, record)

    async def close(self) -> None:
        self._log.close()


@pytest.fixture(autouse=True)
def in_a_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    while OPENED:
        OPENED.pop().close()


def opener() -> Open:
    path = os.path.join(tempfile.mkdtemp(dir="."), "log")

    async def open_again() -> Any:
        return Adapter(path)

    return open_again


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(journal(cast("Any", opener), loop="real"), examples=20) == WRONG


def records_after(damage: Callable[[Path], object], path: Path) -> list[bytes]:
    """What is left of three records after ``damage``."""
    log = smallest.SmallestLog(str(path))
    for record in (b"one", b"two", b"three"):
        log.append(record)
    log.close()
    damage(path)
    log = smallest.SmallestLog(str(path))
    log.close()
    return log.records


def test_damage_is_not_noticed(tmp_path: Path) -> None:  # 3
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[5] ^= 1
        path.write_bytes(data)

    assert records_after(flip, tmp_path / "log") == [b"ooe", b"two", b"three"]


def test_a_bad_length_in_the_middle_loses_what_follows(tmp_path: Path) -> None:  # 4
    def lengthen(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[7] = 255  # the length of the second record
        path.write_bytes(data)

    assert records_after(lengthen, tmp_path / "log") == [b"one"]


def test_what_is_written_behind_half_a_record_is_not_found_again(tmp_path: Path) -> None:  # 5
    log = smallest.SmallestLog(str(tmp_path / "log"))
    log.append(b"one")
    log.file.write(smallest.LENGTH.pack(50) + b"as much as there was room for")
    log.append(b"acknowledged")
    log.close()
    log = smallest.SmallestLog(str(tmp_path / "log"))
    log.close()
    assert log.records == [b"one"]


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
