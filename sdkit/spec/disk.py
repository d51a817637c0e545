"""Specification: what every disk promises.

    TestMine = disk(MyDisk)                                    # a factory of empty disks
    TestMine = disk(MyDisk, loop="real")                       # on the real loop
    TestMine = disk(MyDisk, power_cut=MyDisk.cut)              # if it can lose power

The oracle of a file is a ``bytearray``. What survives a power cut can only be
asked of a disk that can have one; what a failed sync does, only of one whose
sync can be made to fail (``fail_sync``).
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.running import finished, run
from sdkit.storage.disk import Disk

D = TypeVar("D", bound=Disk)
NO_NAMES: Final[Any] = ("", ".", "..", "a/b", "/", "/etc", "a\0b", "\0", None, 5, b"f", ["f"])
NO_BYTES: Final[Any] = ("text", None, 5, True, [1], bytearray(b"x"), memoryview(b"x"))
NO_NUMBERS: Final[Any] = (-1, True, None, "1", 1.0, float("nan"), float("inf"), 2**70)
pieces = st.binary(max_size=1200)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), pieces),
        st.tuples(st.just("truncate"), st.integers(0, 3000)),
        st.tuples(st.just("read"), st.tuples(st.integers(0, 4000), st.integers(0, 4000))),
        st.tuples(st.just("sync"), st.none()),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=12,
)


def disk(
    make: Callable[[], D],
    *,
    loop: Literal["virtual", "real"] = "virtual",
    power_cut: Callable[[D], None] | None = None,
    fail_sync: Callable[[D], None] | None = None,
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for one implementation.

    Args:
        make: an empty disk, a new one each time.
        power_cut: cuts the power and switches the machine on again.
        fail_sync: makes the next sync of a file fail.
    """

    def play(main: Coroutine[object, object, None]) -> None:
        if loop == "real":
            asyncio.run(main)
        else:
            run(main)

    class DiskSpec(unittest.TestCase):
        @given(steps)
        def test_a_file_is_what_was_appended_less_what_was_truncated(
            self, taken: list[tuple[str, object]]
        ) -> None:
            async def main() -> None:
                subject, expected = make(), bytearray()
                file = await subject.open("f", create=True)
                for step, argument in taken:
                    if step == "append":
                        assert isinstance(argument, bytes)
                        file.append(argument)
                        expected += argument
                    elif step == "truncate":
                        assert isinstance(argument, int)
                        del expected[argument:]
                        await file.truncate(min(argument, file.size))
                    elif step == "read":
                        assert isinstance(argument, tuple)
                        offset, length = argument
                        found = await file.read_at(offset, length)
                        assert found == expected[offset : offset + length]
                    elif step == "sync":
                        await file.sync()
                    else:
                        await file.close()
                        file = await subject.open("f")
                    assert file.size == len(expected)
                assert await file.read_at(0, len(expected) + 1) == expected
                await file.close()

            play(main())

        def test_a_new_file_must_be_new_and_an_old_one_must_be_there(self) -> None:
            async def main() -> None:
                subject = make()
                with pytest.raises(FileNotFoundError):
                    await subject.open("f")
                file = await subject.open("f", create=True)
                file.append(b"kept")
                with pytest.raises(FileExistsError):
                    await subject.open("f", create=True)
                assert await file.read_at(0, 10) == b"kept"
                assert file.name == "f"
                await file.close()

            play(main())

        @given(pieces, pieces)
        def test_what_is_preallocated_is_not_there(self, before: bytes, after: bytes) -> None:
            async def main() -> None:
                subject = make()
                file = await subject.open("f", create=True)
                file.append(before)
                file.preallocate(4096)
                file.append(after)
                await file.sync()
                assert file.size == len(before + after)
                assert await file.read_at(0, 10_000) == before + after
                await file.close()
                assert await contents(subject, "f") == before + after

            play(main())

        def test_replacing_leaves_the_whole_new_file_and_one_name(self) -> None:
            async def main() -> None:
                subject = make()
                for name in ("old", "new"):
                    await written(subject, name, name.encode())
                await subject.replace("new", "old")
                assert await subject.list() == ["old"]
                assert await contents(subject, "old") == b"new"

            play(main())

        def test_names_are_listed_in_order_until_they_are_removed(self) -> None:
            async def main() -> None:
                subject = make()
                assert await subject.list() == []
                for name in ("c", "a", "b"):
                    await written(subject, name, b"")
                assert await subject.list() == ["a", "b", "c"]
                await subject.remove("b")
                assert await subject.list() == ["a", "c"]
                with pytest.raises(FileNotFoundError):
                    await subject.remove("b")

            play(main())

        def test_directories_do_not_share_names(self) -> None:
            async def main() -> None:
                subject = make()
                below = subject.directory("below")
                assert await below.list() == []
                await written(subject, "f", b"above")
                await written(below, "f", b"below")
                assert await contents(subject, "f") == b"above"
                assert await contents(subject.directory("below"), "f") == b"below"
                assert await subject.list() == ["f"]

            play(main())

        def test_a_name_is_one_part(self) -> None:
            async def main() -> None:
                subject = make()
                await written(subject, "f", b"kept")
                for name in NO_NAMES:
                    for use in (
                        partial(subject.open, name, create=True),
                        partial(subject.open, name),
                        partial(subject.remove, name),
                        partial(subject.replace, name, "g"),
                        partial(subject.replace, "f", name),
                        partial(subject.claim, name),
                    ):
                        with pytest.raises(ValueError):
                            await use()
                    with pytest.raises(ValueError):
                        subject.directory(name)
                assert await subject.list() == ["f"]

            play(main())

        def test_what_is_not_bytes_is_not_written(self) -> None:
            async def main() -> None:
                file = await make().open("f", create=True)
                for data in NO_BYTES:
                    with pytest.raises(ValueError):
                        file.append(data)
                assert file.size == 0
                await file.close()

            play(main())

        def test_what_is_no_place_in_a_file_is_refused(self) -> None:
            async def main() -> None:
                file = await make().open("f", create=True)
                file.append(b"kept")
                for number in NO_NUMBERS:
                    for use in (
                        partial(file.read_at, number, 1),
                        partial(file.read_at, 0, number),
                        partial(file.truncate, number),
                    ):
                        with pytest.raises(ValueError):
                            await use()
                    with pytest.raises(ValueError):
                        file.preallocate(number)
                with pytest.raises(ValueError):
                    await file.truncate(5)
                assert await file.read_at(0, 10) == b"kept"
                await file.close()

            play(main())

        def test_one_owner_at_a_time_until_it_gives_up(self) -> None:
            async def main() -> None:
                subject = make()
                claim = await subject.claim("mine")
                held = [claim.is_held]
                with pytest.raises(OSError):
                    await subject.claim("mine")
                claim.release()
                claim.release()
                assert [*held, claim.is_held] == [True, False]
                (await subject.claim("mine")).release()

            play(main())

        def test_a_closed_file_refuses_and_closing_twice_is_closing(self) -> None:
            async def main() -> None:
                file = await make().open("f", create=True)
                await file.close()
                await file.close()
                with pytest.raises(ValueError):
                    file.append(b"late")
                with pytest.raises(ValueError):
                    await file.sync()

            play(main())

        @given(pieces, pieces)
        def test_what_was_synced_survives_a_power_cut(self, synced: bytes, unsynced: bytes) -> None:
            assert power_cut is not None

            async def main() -> None:
                subject = make()
                file = await subject.open("f.tmp", create=True)
                file.append(synced)
                await file.sync()
                await subject.replace("f.tmp", "f")
                file.append(unsynced)
                power_cut(subject)
                assert await subject.list() == ["f"]
                assert (await contents(subject, "f"))[: len(synced)] == synced

            play(main())

        def test_after_a_failed_sync_the_file_takes_nothing_more(self) -> None:
            assert fail_sync is not None

            async def main() -> None:
                subject = make()
                file = await subject.open("f", create=True)
                file.append(b"a")
                fail_sync(subject)
                with pytest.raises(OSError):
                    await file.sync()
                with pytest.raises(OSError):
                    await file.sync()
                with pytest.raises(OSError):
                    file.append(b"b")
                assert await file.read_at(0, 10) == b"a"
                await file.close()

            play(main())

    # What a subject offers no way to try is not asked of it.
    if power_cut is None:
        del DiskSpec.test_what_was_synced_survives_a_power_cut
    if fail_sync is None:
        del DiskSpec.test_after_a_failed_sync_the_file_takes_nothing_more
    return finished(DiskSpec, without, make=make)


async def written(subject: Disk, name: str, data: bytes) -> None:
    """Make a file with this content."""
    file = await subject.open(name, create=True)
    file.append(data)
    await file.sync()
    await file.close()


async def contents(subject: Disk, name: str) -> bytes:
    """All bytes of a file."""
    file = await subject.open(name)
    try:
        return await file.read_at(0, file.size)
    finally:
        await file.close()
