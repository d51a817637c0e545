"""Histories of systems that do not exist: right ones, and ones with a fault planted."""

from __future__ import annotations

from collections.abc import Hashable
from random import Random
from typing import Literal

from sdkit.check import Operation, Transaction


def register_calls(
    random: Random, *, clients: int, operations: int, keys: int = 1, stale: bool = False
) -> list[Operation]:
    """Reads and writes of registers, every written value unique, that could have happened.

    Each client makes one call after the other; each call takes effect at a random instant
    between its beginning and its end. With ``stale`` one read of the second half is made to
    answer a value that had been overwritten before it began.
    """
    free = [0] * clients
    planned = []
    for number in range(operations):
        client = min(range(clients), key=free.__getitem__)
        if random.random() < 0.5:
            client = random.randrange(clients)
        start = free[client] + random.randrange(1, 50)
        instant = start + random.randrange(1, 100)
        free[client] = instant + random.randrange(1, 100)
        planned.append((instant, client, start, free[client], number))
    values: dict[int, int] = {}
    calls = []
    for _, client, start, end, number in sorted(planned):
        key = random.randrange(keys)
        if random.random() < 0.5:
            calls.append(Operation(client, "read", key, None, values.get(key), "ok", start, end))
        else:
            values[key] = number + 1
            calls.append(Operation(client, "write", key, number + 1, None, "ok", start, end))
    calls.sort(key=lambda call: call.start)
    if stale:
        make_stale(random, calls)
    return calls


def make_stale(random: Random, calls: list[Operation]) -> Operation:
    """Let a read answer what another write had replaced before it began; the read."""
    reads = [call for call in calls if call.op == "read"]
    random.shuffle(reads)
    for read in reads:
        over = [
            write
            for write in calls
            if write.op == "write" and write.key == read.key and (write.end or 0) < read.start
        ]
        old = [
            write
            for write in over
            if any(other.start > (write.end or 0) for other in over if other is not write)
        ]
        if old and read.start > calls[len(calls) // 2].start:
            read.result = random.choice(old).argument
            return read
    raise AssertionError("no read is late enough; use more operations")


Level = Literal["read committed", "snapshot", "serializable"]


def store_transactions(
    random: Random,
    level: Level,
    *,
    count: int,
    keys: int = 50,
    at_once: int = 10,
    reads: int = 4,
    positions: bool = True,
) -> list[Transaction]:
    """What a store with versions would answer at each level, with positions of commits.

    Read committed reads the newest; a snapshot reads one state and fails if a key that it
    writes has changed; serializable fails if a key that it has read has changed.
    """
    versions: list[list[tuple[int, Hashable]]] = [[(0, None)] for _ in range(keys)]
    done: list[Transaction] = []
    running: list[tuple[int, list[tuple[int, Hashable]]]] = []
    position = value = 0
    while len(done) < count:
        if len(running) < at_once:
            running.append((position, []))
            continue
        snapshot, seen = random.choice(running)
        if len(seen) < reads:
            key = random.randrange(keys)
            of_key = versions[key]
            state = position if level == "read committed" else snapshot
            seen.append((key, next(v for at, v in reversed(of_key) if at <= state)))
            continue
        running = [each for each in running if each[1] is not seen]
        written = sorted({seen[0][0], random.randrange(keys)})
        watched = {"read committed": [], "snapshot": written}.get(
            level, [*written, *(key for key, _ in seen)]
        )
        if any(versions[key][-1][0] > snapshot for key in watched):
            continue
        position += 1
        writes = []
        for key in written:
            value += 1
            versions[key].append((position, value))
            writes.append((key, value))
        done.append(
            Transaction(len(done) + 1, seen, writes, position=position if positions else None)
        )
    return done
