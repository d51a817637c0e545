"""Disks that break one promise each."""

from __future__ import annotations

import copy
from typing import Any

from sdkit.sim.disk import SimulatedDisk, SimulatedFile
from sdkit.sim.drive import Claim


class _Wrong(SimulatedDisk):
    """A simulated disk that hands out another kind of file."""

    file_type: type[SimulatedFile] = SimulatedFile

    async def open(self, name: str, *, create: bool = False) -> SimulatedFile:
        file = await super().open(name, create=create)
        file.__class__ = self.file_type
        return file


class _KeepsTheEnd(SimulatedFile):
    async def truncate(self, size: int) -> None:
        return


class IgnoresTruncate(_Wrong):
    file_type = _KeepsTheEnd


class _ReadsFromTheStart(SimulatedFile):
    async def read_at(self, offset: int, length: int) -> bytes:
        return await super().read_at(0, length)


class IgnoresTheOffset(_Wrong):
    file_type = _ReadsFromTheStart


class _SyncsNothing(SimulatedFile):
    async def sync(self) -> None:
        self._check()


class ForgetsToSync(_Wrong):
    file_type = _SyncsNothing


class _ForgivesClosing(SimulatedFile):
    async def close(self) -> None:
        return


class StaysOpen(_Wrong):
    file_type = _ForgivesClosing


class _ShowsTheZeros(SimulatedFile):
    def preallocate(self, chunk: int) -> None:
        self.append(bytes(chunk))


class ShowsWhatIsPreallocated(_Wrong):
    file_type = _ShowsTheZeros


class CreatesOverWhatIsThere(SimulatedDisk):
    async def open(self, name: str, *, create: bool = False) -> SimulatedFile:
        if create and name in self.names():
            await self.remove(name)
        return await super().open(name, create=create)


class LeavesTheSource(SimulatedDisk):
    async def replace(self, source: str, target: str) -> None:
        data = self.contents(source)
        await super().replace(source, target)
        self.write(source, data)


class LosesTheNewName(SimulatedDisk):
    """Renames, and does not sync the directory."""

    quiet = False

    async def replace(self, source: str, target: str) -> None:
        other = copy.copy(self)
        other.quiet = True
        await SimulatedDisk.replace(other, source, target)

    async def sync_directory(self) -> None:
        if not self.quiet:
            await super().sync_directory()


class ListsInNoOrder(SimulatedDisk):
    async def list(self) -> list[str]:
        return (await super().list())[::-1]


class SharesItsDirectories(SimulatedDisk):
    def directory(self, name: str) -> SimulatedDisk:
        return self


class TakesAnyName(SimulatedDisk):
    def _join(self, name: str) -> str:
        return f"{self._path}/{name}"


class ForgivesAFailedSync(SimulatedDisk):
    def __init__(self) -> None:
        super().__init__(poison=False)


class _TakesAnyBytes(SimulatedFile):
    def append(self, data: Any) -> None:
        super().append(bytes(data) if type(data) is bytearray else data)


class TakesWhatMayChangeLater(_Wrong):
    file_type = _TakesAnyBytes


class _CountsFromTheEnd(SimulatedFile):
    async def read_at(self, offset: int, length: int) -> bytes:
        return await super().read_at(max(0, offset) if type(offset) is int else offset, length)


class ReadsBeforeTheBeginning(_Wrong):
    file_type = _CountsFromTheEnd


class _Grows(SimulatedFile):
    async def truncate(self, size: int) -> None:
        if size == self.size + 1:
            self.append(b"\0")
        await super().truncate(size)


class TruncatesToMore(_Wrong):
    file_type = _Grows


class OwnsTwice(SimulatedDisk):
    async def claim(self, name: str) -> Claim:
        self._drive.claims.clear()
        return await super().claim(name)
