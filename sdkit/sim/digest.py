"""Digest: a whole run in one line, to tell whether two runs were the same.

"The same seed gives the same run" is worth nothing unless it is checked, and
comparing what two runs ended with is not enough: they may differ in the middle
and agree by luck. So everything that happens goes into a hash, in its order:
every traced event and span, every message delivered, every step of a disk, every
boot and kill. Two runs with one digest took the same path.

Things to notice
    1. Only plain values are taken: None, bool, int, float, str, bytes, tuples
       of these. A set or an object would be written in the order, or with the
       address, of this process. Text with an address in it is refused by name.
    2. Of a message the length is taken and never the content: OpenSSL's
       randomness cannot be seeded, so the bytes of TLS always differ.
    3. What the dead do is left out: it has no effect (`sdkit.sim.freezing`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PENDING_MAX: Final = 1000  # lines hashed at a time: a call per line would cost more than hashing it
_PLAIN: Final = (bool, int, float, bytes, type(None))


@dataclass(slots=True)
class Recorded:
    """One thing that happened.

    Args:
        at_s: when, in true virtual seconds.
        machine: where; empty for the world itself.
        name: as in the trace (``store.commit``), or one of ``machine.boot``,
            ``machine.kill`` and so on, ``disk.sync`` and its other steps, ``net.data``,
            ``net.connect``, ``net.end``, ``net.reset``.
        fields: the facts, plain values only.
        duration_s: of a span, which is recorded at its end; by the machine's own clock.
    """

    at_s: float
    machine: str
    name: str
    fields: Mapping[str, object]
    duration_s: float | None = None


class Digest:
    """Takes in what happens.

    Args:
        keep: also keep it, in `recorded`.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.recorded: Final[list[Recorded]] = []
        self._keep = keep
        self._hash = hashlib.blake2b(digest_size=16)
        self._pending: list[str] = []

    def add(self, recorded: Recorded) -> None:
        """Take one thing in.

        Raises:
            TypeError: a field is no plain value, or differs from process to process.
        """
        fields = " ".join([f"{key}={_plain(value)}" for key, value in recorded.fields.items()])
        self._take(
            f"{recorded.at_s!r} {recorded.machine} {recorded.name} {recorded.duration_s} {fields}\n"
        )
        if self._keep:
            self.recorded.append(recorded)

    def add_message(self, at_s: float, source: str, target: str, kind: str, count: int) -> None:
        """Take in that ``count`` bytes have arrived: `add`, at a third of its cost."""
        self._take(f"{at_s!r} {source} {target} {kind} {count}\n")
        if self._keep:
            fields = {"source": source, "bytes": count}
            self.recorded.append(Recorded(at_s, target, f"net.{kind}", fields))

    def text(self) -> str:
        """The digest of everything so far, in hexadecimal."""
        self._flush()
        return self._hash.hexdigest()

    def _take(self, line: str) -> None:
        self._pending.append(line)
        if len(self._pending) >= PENDING_MAX:
            self._flush()

    def _flush(self) -> None:
        self._hash.update("".join(self._pending).encode("utf-8", "surrogatepass"))
        self._pending.clear()


def _plain(value: object) -> str:
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if kind is tuple:
        return f"({', '.join(map(_plain, value))})"  # type: ignore[call-overload]
    if isinstance(value, str) and " at 0x" not in value:
        return repr(str(value))
    if isinstance(value, _PLAIN):  # a subclass, such as an enum of int: as what it is
        return repr(value)
    raise TypeError(
        f"a digest takes None, bool, int, float, str, bytes and tuples of these, the same in "
        f"every process; not {value!r}"
    )
