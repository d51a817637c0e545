"""Simulated host: a machine whose clocks are the simulation's.

Both clocks follow the event loop, and stay apart all the same, as on a real
machine: `now_ns` tells the date and starts at an arbitrary one,
`monotonic_ns` starts at zero and is for durations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from sdkit.arguments import check_between
from sdkit.host import SECRET_BYTES_MAX, Host
from sdkit.sim.clocks import EPOCH_NS, Clock
from sdkit.sim.disk import SimulatedDisk

__all__ = ["EPOCH_NS", "SimulatedHost"]


class SimulatedHost(Host):
    """A host in virtual time; to be used inside a simulation only.

    Args:
        disk: its disk; a fresh one unless given. Keep it to start another
            host on the same data.
        seed: of its randomness, together with its name.
        clock: its clocks; right ones unless given.
        now: reads the true time, in seconds; that of the running loop unless given.
        descriptors_max: how many files and connections it may have open; any number unless given.
    """

    def __init__(
        self,
        name: str,
        disk: SimulatedDisk | None = None,
        *,
        seed: int | str = 0,
        clock: Clock | None = None,
        now: Callable[[], float] | None = None,
        descriptors_max: int | None = None,
    ) -> None:
        super().__init__(name, disk or SimulatedDisk(), random=Random(f"{seed} host {name}"))
        # A stream of its own: a secret more changes no jitter.
        self._secrets = Random(f"{seed} secrets of {name}")
        self._clock = clock or Clock()
        self._now = now or _loop_time
        self._descriptors_max = descriptors_max

    def now_ns(self) -> int:
        """Wall clock: virtual time since the first of January 2000, if the clock is right."""
        return self._clock.wall_ns(self._now())

    def monotonic_ns(self) -> int:
        """Virtual time since the simulation began."""
        return round(self._clock.monotonic(self._now()) * 1e9)

    def secret(self, count: int) -> bytes:
        """The same in every run of the seed, and different on every host and at every call."""
        check_between("count", count, 1, SECRET_BYTES_MAX)
        return self._secrets.randbytes(count)

    def descriptors(self, needed: int) -> int:
        """As set; the limit of the process that simulates is none of a simulated machine's."""
        return needed if self._descriptors_max is None else min(needed, self._descriptors_max)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
