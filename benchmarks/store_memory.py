"""The memory of a million keys, each contender in a process of its own.

What counts is the resident memory that the keys add, after a full collection.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Bar, Contender, Work

KEYS = 1_000_000


def work() -> Work:
    return Work(
        "memory for a million keys of 16 bytes with values of 100",
        "bytes a key",
        "less",
        [
            Contender("sdkit", "ours", lambda: _in_a_child("store")),
            Contender("dict", "limit", lambda: _in_a_child("dict")),
        ],
        [Bar("limit", 2.0, at_most=True)],
        rounds_max=1,
    )


def _in_a_child(what: str) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store_memory", what],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def _resident_bytes() -> int:
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:  # macOS: the peak is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * os.sysconf("SC_PAGE_SIZE")


def _dict() -> float:
    before = _resident_bytes()
    data = {b"%016d" % number: b"%0100d" % number for number in range(KEYS)}
    return (_resident_bytes() - before) / len(data)


async def _store(directory: str) -> float:
    from sdkit.storage import LocalHost
    from sdkit.store import StoreConfig, StoreEngine

    config = StoreConfig(durability="none", snapshot_log_bytes=1 << 40)
    with LocalHost("bench", directory) as host:
        async with StoreEngine(host, config) as store:
            before = _resident_bytes()
            for start in range(0, KEYS, 500):
                async with store.begin() as transaction:
                    for number in range(start, start + 500):
                        await transaction.put(b"%016d" % number, b"%0100d" % number)
            await store.sync()
            return (_resident_bytes() - before) / KEYS


if __name__ == "__main__":
    if sys.argv[1] == "dict":
        print(_dict())
    else:
        with tempfile.TemporaryDirectory() as name:
            print(asyncio.run(_store(name)))
