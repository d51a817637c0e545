"""Drive: what all directories of one disk share: power, the clock of its steps, and faults.

Everything a disk does is a step, and the steps have numbers. So a crash or a
fault needs no timing: "at step 17" means the same thing in every run.

A fault is an exception (`OSError`), raised by `Drive.on_step` or planned with
`Failure`; whoever takes the step decides what it does to the data. A crash is
not: the code that it hits is not told, it is gone. Here its next touch of the
disk raises `StaleHandle`, since an object cannot be made to vanish: a handle
from before the crash is stale, and everything is to a life that is over.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Literal

from sdkit.errors import DirectoryInUse, DiskFailed
from sdkit.sim.life import current_life
from sdkit.sim.platter import Directory

Operation = Literal[
    "open", "read", "append", "truncate", "sync", "rename", "remove", "list", "sync_directory"
]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a disk is about to do; ``number`` counts from 1 over the disk's life."""

    number: int
    operation: Operation
    path: str  # of the file or, for list and sync_directory, of the directory; the root is ""


class StaleHandle(OSError):
    """The process that opened this file has been killed, or the machine is off."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ESTALE, "the process that opened it is gone", path)


class ShortWrite(OSError):
    """Raised by a hook before an append: it fails after its first ``kept`` bytes."""

    def __init__(self, code: int, path: str, kept: int) -> None:
        super().__init__(code, errno.errorcode[code], path)
        self.kept: Final = kept


@dataclass(slots=True)
class Failure:
    operation: Operation
    path: str | None
    nth: int
    times: int
    error: int
    kept: int

    def due(self, step: Step) -> bool:
        if step.operation != self.operation or self.path not in (None, step.path):
            return False
        self.nth -= 1
        return -self.times < self.nth <= 0


@dataclass(slots=True)
class Claim:
    """See `sdkit.storage.disk.Claim`."""

    drive: Drive
    path: str
    generation: int

    @property
    def is_held(self) -> bool:
        return self.drive.claims.get(self.path) is self and self.generation == self.drive.generation

    def release(self) -> None:
        if self.drive.claims.get(self.path) is self:
            del self.drive.claims[self.path]

    abandon = release  # a simulated machine's end is no news


@dataclass(slots=True)
class Drive:
    """What all directories of one disk share: power, steps, faults."""

    delay_s: float
    sync_s: float
    capacity_bytes: int | None
    poison: bool
    directories: dict[str, Directory] = field(default_factory=dict)
    generation: int = 0  # of the process: raised by every crash
    on: bool = True
    steps: int = 0
    last_serial: int = 0
    on_step: Callable[[Step], None] | None = None
    observer: Callable[[Step], None] | None = None
    slowness: float = 1.0
    lies: bool = False
    random: Random | None = None
    plan: list[Failure] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)  # of the process

    def claim(self, path: str) -> Claim:
        """The ownership of ``path`` by one user in this process; it ends with the process."""
        self._check_alive(self.generation, path)
        held = self.claims.get(path)
        if held is not None and held.generation == self.generation:
            raise DirectoryInUse(f"{path} is in use already", directory=path)
        self.claims[path] = Claim(self, path, self.generation)
        return self.claims[path]

    def serial(self) -> int:
        self.last_serial += 1
        return self.last_serial

    def begin(self, operation: Operation, path: str) -> None:
        """Count the step, and let it fail if somebody wants that."""
        generation = self.generation
        self._check_alive(generation, path)
        self.steps += 1
        step = Step(self.steps, operation, path)
        if self.observer is not None:
            self.observer(step)
        if self.on_step is not None:
            self.on_step(step)
            self._check_alive(generation, path)
        due = [failure for failure in self.plan if failure.due(step)]
        if due:
            raise ShortWrite(due[0].error, path, due[0].kept)

    async def step(self, operation: Operation, path: str, delay_s: float | None = None) -> None:
        """Take the time of a step; when it returns, the step may have its effect."""
        generation = self.generation
        failure: OSError | None = None
        try:
            self.begin(operation, path)
        except StaleHandle:
            raise
        except OSError as error:
            failure = error  # a failure takes its time, too
        await asyncio.sleep(self._takes(self.delay_s if delay_s is None else delay_s))
        self._check_alive(generation, path)
        if failure is not None:
            raise failure

    def _takes(self, delay_s: float) -> float:
        if self.random is not None:
            delay_s *= self.random.uniform(0.5, 1.5)
        return delay_s * self.slowness

    def _check_alive(self, generation: int, path: str) -> None:
        life = current_life.get()
        if not self.on or generation != self.generation or (life is not None and life.dead):
            raise StaleHandle(path)

    def check_not_poisoned(self, poisoned_in: int, path: str) -> None:
        """Refuse a handle of this generation through which a sync has failed."""
        if self.poison and poisoned_in == self.generation:
            raise DiskFailed(f"a sync of {path or 'the directory'} failed before; open it anew")

    def used_bytes(self) -> int:
        return sum(
            len(content.cache)
            for directory in self.directories.values()
            for content in directory.names.values()
        )

    def free_bytes(self) -> int | None:
        if self.capacity_bytes is None:
            return None
        return max(0, self.capacity_bytes - self.used_bytes())

    def end_in_zeros(self) -> None:
        """A crash: nobody has taken away what was preallocated, so the files end in it."""
        for _, directory in sorted(self.directories.items()):
            for _, content in sorted(directory.names.items()):
                room = self.free_bytes()
                if content.zeros and (room is None or content.zeros <= room):
                    content.append(bytes(content.zeros), self.serial())
                content.preallocated = 0

    def copy(self) -> Drive:
        """An independent drive in the same state, without the hooks."""
        directories = {path: it.copy() for path, it in self.directories.items()}
        plan = [replace(failure) for failure in self.plan]
        return replace(
            self, directories=directories, plan=plan, on_step=None, observer=None, claims={}
        )
