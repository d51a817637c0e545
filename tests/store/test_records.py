"""What the log and the snapshot hold, to the byte: an older store must stay readable for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import CorruptData, UnsupportedFormat
from sdkit.store.checkpoint import Checkpoint, Recovery
from sdkit.store.records import decode_chunk, decode_commit, encode_chunk, encode_commit
from sdkit.store.snapshots import Snapshots
from sdkit.store.versions import Versions

writes = st.dictionaries(st.binary(min_size=1, max_size=4), st.none() | st.binary(max_size=4))


@given(writes)
def test_a_commit_reads_back_as_it_was_written(commit: dict[bytes, bytes | None]) -> None:
    assert decode_commit(encode_commit(commit)) == commit


def test_the_golden_record_of_a_commit() -> None:
    record = encode_commit({b"a": b"1", b"gone": None})
    assert record == b"\x92\x01\x82\xc4\x01a\xc4\x011\xc4\x04gone\xc0"


def test_the_golden_chunk_of_a_snapshot() -> None:
    chunk = encode_chunk([(b"a", 7, b"1")])
    assert chunk == b"\x92\x02\x93\xc4\x01a\x07\xc4\x011"
    assert list(decode_chunk(chunk)) == [(b"a", 7, b"1")]


def test_what_a_later_version_adds_behind_is_ignored() -> None:
    assert decode_commit(b"\x93\x01\x81\xc4\x01a\xc4\x011\xc4\x03new") == {b"a": b"1"}


def test_a_record_of_an_unknown_kind_is_not_called_damage() -> None:
    with pytest.raises(UnsupportedFormat, match="kind 9"):
        decode_commit(b"\x92\x09\x80")


@pytest.mark.parametrize(
    "record", [b"", b"\xc1", b"\x91\x01", b"\x92\x01\x01", b"\x92\x01\x80\x80"]
)
def test_what_is_no_record_is_refused(record: bytes) -> None:
    with pytest.raises(CorruptData):
        decode_commit(record)


@given(st.lists(writes, max_size=20), st.integers(0, 20))
def test_a_snapshot_and_the_records_after_it_make_the_same_state(
    commits: list[dict[bytes, bytes | None]], at: int
) -> None:
    at = min(at, len(commits))
    snapshots = Snapshots()
    original = Versions(snapshots)
    for position, commit in enumerate(commits, 1):
        if position == at + 1:
            snapshots.take(at)  # it is written while later commits go on
        for key, value in commit.items():
            original.install(key, position, value)
    recovery, checkpoint = Recovery(), Checkpoint(original, at)
    while (chunk := checkpoint.next_chunk()) is not None:
        recovery.take_chunk(chunk)
    for position, commit in enumerate(commits[at:], at + 1):
        recovery.take_record(position, encode_commit(commit))
    copy = Versions(Snapshots())
    recovery.finish(copy)
    alive = {k: v[:2] for k, v in original.newest.items() if v[1] is not None}
    assert {key: version[:2] for key, version in copy.newest.items()} == alive
    assert list(copy.keys) == sorted(alive)
