"""The longest turn of the event loop while a million keys are snapshotted, vacuumed and updated.

A turn is everything between two looks of the loop at its sockets and timers:
for so long nobody else is served. It is measured in CPU time of the loop's
thread, so that a busy machine does not count, and the garbage collector does.
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
import tempfile
import time

from benchmarks.harness import Bar, Contender, Work
from sdkit.storage import LocalHost
from sdkit.store import StoreConfig, StoreEngine
from sdkit.trace import Metrics, listening

KEYS = 1_000_000
UPDATES = 1_000_000
BATCH = 100


def work() -> Work:
    return Work(
        "longest turn of the event loop while a million keys are snapshotted, vacuumed and updated",
        "ms",
        "less",
        [Contender("sdkit", "ours", _in_a_child)],
        [Bar("", 20.0, at_most=True)],
        rounds_max=1,
    )


def _in_a_child() -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.store_turns"], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[0])


class TimedSelector(selectors.DefaultSelector):
    """Notes the longest time between two calls of `select`."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_s = 0.0
        self._began = time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.longest_s = max(self.longest_s, time.thread_time() - self._began)
        try:
            return super().select(timeout)
        finally:
            self._began = time.thread_time()


async def _load(directory: str) -> None:
    with LocalHost("bench", directory) as host:
        async with StoreEngine(host, StoreConfig(durability="none")) as store:
            for start in range(0, KEYS, BATCH):
                async with store.begin() as transaction:
                    for number in range(start, start + BATCH):
                        await transaction.put(b"%016d" % number, b"%0100d" % number)


async def _measure(directory: str, selector: TimedSelector) -> tuple[float, int, float]:
    config = StoreConfig(durability="none", snapshot_log_bytes=64 << 20)
    metrics = Metrics()
    with LocalHost("bench", directory) as host:
        async with StoreEngine(host, config) as store:
            await asyncio.sleep(0)
            selector.longest_s = 0.0  # recovery may take longer turns
            with listening(metrics):
                reader = store.begin(read_only=True)
                await reader.get(b"0")
                for start in range(0, UPDATES, BATCH):
                    if start == UPDATES // 2:
                        await reader.rollback()  # half a million versions to clean up
                    async with store.begin() as transaction:
                        for number in range(start, start + BATCH):
                            await transaction.put(b"%016d" % number, b"%0100d" % -number)
                    await asyncio.sleep(0)
                for _ in range(1_000):
                    if not store.gauges()["store.vacuum_queue"]:
                        break
                    await asyncio.sleep(0.01)
            removed = store.gauges()["store.versions_removed_total"]
            return selector.longest_s * 1e3, metrics.count("store.snapshot"), removed


def main() -> None:
    selector = TimedSelector()
    runner = asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector))
    with tempfile.TemporaryDirectory() as directory, runner:
        runner.run(_load(directory))
        longest_ms, snapshots, removed = runner.run(_measure(directory, selector))
    assert snapshots, "no snapshot was written; the run proves nothing"
    assert removed >= UPDATES // 2
    print(f"{longest_ms:.2f} ms, {snapshots} snapshots, {removed:.0f} versions removed")


if __name__ == "__main__":
    main()
