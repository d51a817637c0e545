"""Digest: equal for equal runs, different for different ones, and picky about what it takes."""

from __future__ import annotations

import asyncio
import enum
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdkit.sim.digest import PENDING_MAX, Digest, Recorded
from sdkit.sim.world import World, simulate
from sdkit.trace import event, span

PROGRAM = Path(__file__).with_name("world_program.py")


def digest_of(**fields: object) -> str:
    digest = Digest()
    digest.add(Recorded(0.5, "db", "store.commit", fields))
    return digest.text()


class Colour(enum.IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


def test_plain_values_are_taken_and_told_apart() -> None:
    values = [None, True, 1, 1.0, "1", b"1", (1,), ((1,),), ("1",), (), ""]
    assert len({digest_of(value=value) for value in values}) == len(values)
    assert digest_of(value=Word("1")) == digest_of(value="1")
    digest_of(value=Colour.RED)


@pytest.mark.parametrize("value", [[1], {1}, {"a": 1}, object(), (1, [2]), f"a thing{' at 0x'}7f"])
def test_what_differs_from_process_to_process_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a digest takes"):
        digest_of(value=value)


def test_every_part_of_a_record_counts() -> None:
    records = [
        Recorded(0.5, "db", "a.b", {}),
        Recorded(0.6, "db", "a.b", {}),
        Recorded(0.5, "web", "a.b", {}),
        Recorded(0.5, "db", "a.c", {}),
        Recorded(0.5, "db", "a.b", {"x": 1}),
        Recorded(0.5, "db", "a.b", {}, 0.1),
    ]
    digests = set()
    for record in records:
        digest = Digest()
        digest.add(record)
        digests.add(digest.text())
    assert len(digests) == len(records)


def test_every_part_of_a_message_counts_and_it_is_kept_like_anything_else() -> None:
    messages: list[tuple[float, str, str, str, int]] = [
        (0.5, "db", "web", "data", 7),
        (0.6, "db", "web", "data", 7),
        (0.5, "cache", "web", "data", 7),
        (0.5, "db", "cache", "data", 7),
        (0.5, "db", "web", "end", 7),
        (0.5, "db", "web", "data", 8),
    ]
    digests = set()
    for message in messages:
        digest = Digest(keep=True)
        digest.add_message(*message)
        digests.add(digest.text())
    assert len(digests) == len(messages)
    assert digest.recorded == [Recorded(0.5, "web", "net.data", {"source": "db", "bytes": 8})]


def test_looking_at_a_digest_changes_nothing() -> None:
    looked, left = Digest(), Digest(keep=True)
    for number in range(2 * PENDING_MAX + 7):
        looked.add(Recorded(float(number), "db", "a.b", {"n": number}))
        left.add(Recorded(float(number), "db", "a.b", {"n": number}))
        if number % 100 == 0:
            looked.text()
    assert looked.text() == left.text()
    assert looked.recorded == []
    assert len(left.recorded) == 2 * PENDING_MAX + 7


async def traced(world: World) -> None:
    async def main() -> None:
        with span("test.work", n=1):
            event("test.begun", what="it")
            await asyncio.sleep(1)

    machine = world.machine("db")
    machine.boot(main)
    event("test.direct")
    await machine.ended


def test_a_run_records_traced_events_by_machine_and_true_time() -> None:
    run = simulate(traced, record=True)
    assert run.error is None
    seen = [(row.machine, row.name) for row in run.recorded if row.name.startswith("test.")]
    assert seen == [("", "test.direct"), ("db", "test.begun"), ("db", "test.work")]
    ended = run.recorded[-2]
    assert (ended.name, ended.fields) == ("test.work", {"n": 1})
    assert ended.duration_s == pytest.approx(1.0, abs=1e-4)
    assert simulate(traced).digest == run.digest
    assert simulate(traced).recorded == []
    assert simulate(traced, seed=1).digest != run.digest


def test_an_event_with_an_object_fails_the_program_that_says_it() -> None:
    async def main() -> None:
        event("test.bad", thing=object())

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(main)
        await machine.ended

    assert "db ended with TypeError: a digest takes" in str(simulate(play, may_fail=True).error)


@pytest.fixture(scope="module")
def digests() -> list[str]:
    """What one world prints in several processes."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), ballast],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed, ballast in [("1", "0"), ("2", "50000")]
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return outputs


def test_a_world_with_kills_is_the_same_in_every_process(digests: list[str]) -> None:
    assert len(digests[0].splitlines()) > 3
    assert digests[0] == digests[1]
