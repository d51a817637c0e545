"""Simulated host: a machine whose clocks are the simulation's.

Both clocks follow the event loop, and stay apart all the same, as on a real
machine: `now_ns` tells the date and starts at an arbitrary one,
`monotonic_ns` starts at zero and is for durations.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

from sdkit.host import Host
from sdkit.sim.disk import SimulatedDisk

EPOCH_NS: Final = 946_684_800_000_000_000  # the first of January 2000, UTC


class SimulatedHost(Host):
    """A host in virtual time; to be used inside a simulation only.

    Args:
        disk: its disk; a fresh one unless given. Keep it to start another
            host on the same data.
        seed: of its randomness, together with its name.
    """

    def __init__(
        self, name: str, disk: SimulatedDisk | None = None, *, seed: int | str = 0
    ) -> None:
        super().__init__(name, disk or SimulatedDisk(), random=Random(f"{seed} host {name}"))

    def now_ns(self) -> int:
        """Wall clock: virtual time since the first of January 2000."""
        return EPOCH_NS + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Virtual time since the simulation began."""
        return round(asyncio.get_running_loop().time() * 1e9)
