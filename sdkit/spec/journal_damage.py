"""Specification: a check calls a journal whole if and only if it can be opened.

    TestMine = journal_damage()                        # `inspect` and `Journal`
    TestMine = journal_damage(is_whole=my_check)       # another way to look

People check a journal before a start. If the check calls it whole and the start then
refuses it, the check does harm. So this specification damages real journals in every way:
it flips and blanks bytes, it cuts, deletes, copies and renames files, and adds strange
ones. The check must say "whole" if and only if the journal opens, reports no cut and no
damaged file, and lets a follower read all that is kept. The oracle is the opening itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import unittest
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from random import Random
from typing import Any, Final, Literal, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import CorruptData, SdkitError
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.spec.journal_promises import bury
from sdkit.storage.disk import Disk
from sdkit.storage.inspect import inspect
from sdkit.storage.journal import Journal, JournalConfig

T = TypeVar("T")
D = TypeVar("D", bound=Disk)
Image = dict[str, bytes]
Damage = tuple[str, int, int, int]

ROOM: Final = "spec"
CONFIG: Final = JournalConfig(segment_bytes=4096, reserve_bytes=0)
NAMES: Final = (
    *(f"{number:012d}.wal" for number in (0, 1, 2, 3, 5, 9, 10**12, 10**18 - 1)),
    "000000000002.wal.tmp",
    f"{10**18 - 1}.wal.tmp",
    f"{10**30}.wal",
    "0000000000002.wal",  # thirteen digits
    "٠٠٠٠٠٠٠٠٠٠٠٢.wal",  # digits, but not ASCII
    "snapshot",
    "snapshot.tmp",
    "reserve",
    "notes.txt",
)
KINDS: Final = ("flip", "flip early", "blank", "cut", "empty", "zeros", "grow")
MOVES: Final = ("delete", "copy", "rename", "stray")

places = st.integers(0, 2**20)
damages = st.lists(
    st.tuples(st.sampled_from(KINDS + MOVES), places, places, places), min_size=1, max_size=3
)


def journal_damage(
    *,
    is_whole: Callable[[Any], bool] | None = None,
    put: Callable[[Image], Disk] | None = None,
    journal_type: type[Journal] = Journal,
    loop: Literal["virtual", "real"] = "virtual",
) -> type[unittest.TestCase]:
    """Build the test case.

    Args:
        is_whole: the check: whether the journal on a disk is whole. Default: `inspect`.
        put: makes a disk that holds these files. Default: a simulated disk.
        journal_type: what opens it.
        loop: the loop that ``put``'s disk needs.
    """

    def play(main: Coroutine[object, object, T]) -> T:
        return asyncio.run(main) if loop == "real" else run(main)

    look = is_whole or (lambda disk: not play(inspect(disk, records_max=0)).damaged)

    class JournalDamageSpec(unittest.TestCase):
        @given(st.sampled_from(sorted(JOURNALS)), damages)
        def test_looking_and_opening_judge_alike(self, which: str, done: list[Damage]) -> None:
            image = damaged(journals()[which], done)
            content = look((put or simulated)(image))
            trouble = play(trouble_at_opening((put or simulated)(image), journal_type))
            assert content == (trouble is None), (
                f"{which} after {done} looks {'whole' if content else 'damaged'}; "
                f"opening it: {trouble or 'no trouble'}"
            )

        @given(st.sampled_from(sorted(JOURNALS)), damages)
        def test_looking_changes_nothing(self, which: str, done: list[Damage]) -> None:
            disk = simulated(damaged(journals()[which], done))
            before = disk.image()
            (is_whole or (lambda disk: run(inspect(disk)).damaged))(disk)
            assert disk.image() == before

    if put is not None:
        del JournalDamageSpec.test_looking_changes_nothing  # it looks at simulated disks
    return JournalDamageSpec


async def trouble_at_opening(disk: Disk, journal_type: type[Journal]) -> str | None:
    """What goes wrong when the journal is opened, and read from every kept position on."""
    try:
        subject = await journal_type.open(disk, room=ROOM, config=CONFIG, random=Random(1))
    except SdkitError as refusal:
        return f"refused, {refusal}"
    try:
        if subject.recovered.cut is not None or subject.recovered.damaged:
            return f"reported, {subject.recovered}"
        return await trouble_of_followers(subject)
    finally:
        await subject.close()


async def trouble_of_followers(subject: Journal) -> str | None:
    lsn = subject.first
    while lsn <= subject.synced:
        async with contextlib.aclosing(subject.follow(lsn)) as follower:
            try:
                while lsn <= subject.synced:
                    lsn = (await anext(follower))[0] + 1
            except CorruptData as error:
                return f"a follower met {error}"
            except LookupError:  # a hole below the snapshot: perhaps it goes on behind it
                lsn += 1
    return None


def damaged(image: Image, done: list[Damage]) -> Image:
    """Apply the damages ``done`` to a copy of ``image``."""
    files = dict(image)
    for kind, which, where, what in done:
        name = sorted(files)[which % len(files)] if files else "nothing"
        other = NAMES[what % len(NAMES)]
        if kind in KINDS:
            files[name] = harmed(files.get(name, b""), kind, where, what)
        elif kind == "stray":
            files[other] = Random(where).randbytes(where % 200)
        elif name in files:
            content = files[name] if kind == "copy" else files.pop(name)
            if kind != "delete":
                files[other] = content
    return files


def harmed(content: bytes, kind: str, where: int, what: int) -> bytes:
    """Damage a copy of ``content`` in one place."""
    harmed = bytearray(content)
    end = len(content.rstrip(b"\0"))  # what is preallocated is not worth harming
    at = where % (end + 1)
    match kind:
        case "flip" | "flip early" if end:
            at = where % min(end, 200 if kind == "flip early" else end)
            harmed[at] ^= 1 << what % 8
        case "blank" if end:
            size = min(end - at, 1 + what % 600)
            harmed[at : at + size] = bytes(size)
        case "cut":
            del harmed[at:]
        case "empty":
            harmed.clear()
        case "zeros":
            harmed[:] = bytes(len(content))
        case "grow":
            harmed[end:] = Random(what).randbytes(what % 100)
    return bytes(harmed)


def simulated(image: Image) -> SimulatedDisk:
    """A simulated disk that holds these files."""
    disk = SimulatedDisk()
    for name, content in image.items():
        disk.write(name, content)
    return disk


@cache
def journals() -> dict[str, Image]:
    """Each journal of `JOURNALS`, as its files."""
    return {name: run(written(*made)) for name, made in JOURNALS.items()}


JOURNALS: Final = {
    # records, their length, a snapshot's position, a holder's, is it closed?
    "killed": (3, 8, 0, 0, False),
    "stopped": (3, 8, 0, 0, True),
    "long": (24, 600, 0, 0, False),
    "with a snapshot": (24, 600, 20, 0, True),
    "with a follower": (24, 600, 20, 3, True),
    "with a follower, killed": (24, 600, 20, 3, False),
}


async def written(count: int, length: int, snapshot: int, held: int, closed: bool) -> Image:
    disk = SimulatedDisk()
    subject = await Journal.open(disk, room=ROOM, config=CONFIG, random=Random(0))
    for number in range(1, count + 1):
        await subject.wait(subject.append(b"%08d" % number * (length // 8)))
        if held and number == 1:
            await subject.hold("a follower", held)
        if number == snapshot:
            await subject.snapshot(number, state())
    if closed:
        await subject.close()
    disk.kill()
    image = disk.image()
    await bury()
    return image


async def state() -> AsyncIterator[bytes]:
    """Two chunks of a snapshot."""
    yield b"a state"
    yield bytes(700)
