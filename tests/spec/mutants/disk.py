"""Disks that break one promise each."""

from __future__ import annotations

import copy

from sdkit.sim.disk import SimulatedDisk, SimulatedFile


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
