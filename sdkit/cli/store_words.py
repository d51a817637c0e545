"""Store words: how keys, values, versions and transactions are typed, and how they are shown.

A store holds bytes, and people type words. A word is the bytes of its text, and
``\\xff`` in quotes is one byte; what is shown is written so that it could be typed:

    meant("it's")            b"it's"
    meant(r"\\xff c")        b"\\xff c"
    shown(b"\\xff c")         '\\xff c'
    shown(b"")               ''
"""

from __future__ import annotations

import re
from itertools import starmap
from typing import Final

from sdkit.store import TransactionInfo, VersionInfo

_BYTE: Final = re.compile(rb"\\x([0-9a-fA-F]{2})")


def meant(word: str) -> bytes:
    """The bytes of a word that was typed: ``\\xff`` is one byte, all else is UTF-8."""
    return _BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), word.encode())


def shown(value: bytes) -> str:
    """Bytes as they could be typed: what does not print is escaped, what has to be is quoted."""
    text = "".join(map(_typed, value.decode(errors="surrogateescape")))
    return text if text and not set(text) & set(' "\\') else f"'{text}'"


def _typed(part: str) -> str:
    if part.isprintable() and part not in "\\'":
        return part
    return "".join(f"\\x{byte:02x}" for byte in part.encode(errors="surrogateescape"))


def describe_version(info: VersionInfo) -> str:
    """One version of a key, in a line."""
    value = "deleted" if info.value is None else shown(info.value)
    if info.position is None:
        return f"transaction {info.transaction}, not visible: {value}"
    return f"commit {info.position}: {value}"


def describe(info: TransactionInfo, names: dict[int, str]) -> str:
    """An open transaction, in a line; ``names`` are those of the sessions that are known."""
    parts = [info.state]
    if info.waits_for_key is not None:
        ahead = ", ".join(map(str, info.waits_for))
        parts = [f"waiting for {shown(info.waits_for_key)} behind {ahead}"]
    if info.locks:
        parts.append(f"holds {', '.join(map(shown, info.locks))}")
    if info.snapshot is not None:
        parts.append(f"reads at {info.snapshot}")
    if info.reads:
        parts.append(f"has read {', '.join(starmap(_range, info.reads))}")
    return f"{info.id} ({names.get(info.id, 'another')}): {'; '.join(parts)}"


def describe_locks(info: TransactionInfo, names: dict[int, str]) -> str:
    """What a transaction holds and waits for, in a line; empty if that is nothing.

    What it has read are shared locks, or if it reads a snapshot, marks (nobody waits for those).
    """
    parts = []
    if info.locks:
        parts.append(f"exclusive {', '.join(map(shown, info.locks))}")
    if info.reads:
        kind = "shared" if info.snapshot is None else "marks"
        parts.append(f"{kind} {', '.join(starmap(_range, info.reads))}")
    if info.waits_for_key is not None:
        ahead = ", ".join(names.get(each, f"transaction {each}") for each in info.waits_for)
        parts.append(f"waits for {shown(info.waits_for_key)} behind {ahead}")
    name = names.get(info.id, f"transaction {info.id}")
    return f"{name}: {'; '.join(parts)}" if parts else ""


def _range(start: bytes, end: bytes | None) -> str:
    if end == start + b"\0":
        return shown(start)
    first = shown(start) if start else "the beginning"
    return f"{first} to {'the end' if end is None else shown(end)}"
