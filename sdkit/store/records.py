"""Records: what a commit looks like in the log, and the state in a snapshot.

The log must say enough to do the commit again, and nothing that depends on
the process that wrote it. For a store of bytes that is short: which keys got
which values. One commit is one record, so that it is in the log whole or not
at all; its position in the log is the log's to give.

    commit record       [1, {key: value or nil for deleted, ...}]
    chunk of a snapshot [2, [key, position, value, key, position, value, ...]]

in MessagePack (https://msgpack.org). The number says what it is; a reader
ignores further elements, so that a later version may add some. A snapshot
keeps the position of each value's commit: a version chain reads the same after
a restart as before.

Only *redo* is recorded. Nothing uncommitted ever reaches the log, so there is
nothing to undo; ARIES (Mohan et al., 1992) has to undo as well because its
pages may be written before their transaction ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgpack

from sdkit.errors import CorruptData, UnsupportedFormat

COMMIT: Final = 1
SNAPSHOT: Final = 2

_packer: Final = msgpack.Packer(autoreset=True)  # kept: making one costs as much as packing


def encode_commit(writes: Mapping[bytes, bytes | None]) -> bytes:
    """The record of one commit; a value of None deletes."""
    packed: bytes = _packer.pack((COMMIT, writes))
    return packed


def decode_commit(record: bytes) -> dict[bytes, bytes | None]:
    """The writes in a commit record.

    Raises:
        UnsupportedFormat: another kind of record: a later version wrote it.
        CorruptData: not a record, although its checksum was right.
    """
    writes = _decode(record, COMMIT)
    if not isinstance(writes, dict):
        raise CorruptData("a commit record of the store does not hold keys and values")
    return writes


def encode_chunk(rows: list[tuple[bytes, int, bytes]]) -> bytes:
    """A part of a snapshot: keys, positions, values."""
    packed: bytes = _packer.pack((SNAPSHOT, [item for row in rows for item in row]))
    return packed


def decode_chunk(chunk: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The rows in a part of a snapshot. Raises what `decode_commit` does."""
    items = _decode(chunk, SNAPSHOT)
    if not isinstance(items, list) or len(items) % 3:
        raise CorruptData("a part of the store's snapshot does not hold keys, positions and values")
    parts = iter(items)
    return zip(parts, parts, parts, strict=True)


def _decode(data: bytes, kind: int) -> object:
    try:
        fields = msgpack.unpackb(data, strict_map_key=False)
        found, content = fields[0], fields[1]
    except (ValueError, TypeError, LookupError) as error:
        raise CorruptData(f"a record of the store cannot be decoded: {error!r}") from error
    if found != kind:
        raise UnsupportedFormat(
            f"a record of the store is of kind {found!r} where this version knows {kind}; "
            "a later version of sdkit wrote it"
        )
    return content
