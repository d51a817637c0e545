"""Frames: any cut of the stream gives the same messages; what is no frame is refused."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdkit.errors import InvalidArgument, LimitExceeded, ProtocolError
from sdkit.rpc.frames import (
    BUFFER_BYTES,
    DEPTH_MAX,
    ELEMENTS_MAX,
    FIRST_BUFFER_BYTES,
    FrameBuffer,
    has_too_many_elements,
)
from sdkit.rpc.outbox import Outbox
from tests.rpc.services import frame

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=10,
)


def feed(buffer: FrameBuffer, pieces: Iterable[bytes]) -> list[list[object]]:
    messages = []
    for piece in pieces:
        while piece:
            space = buffer.space()
            part, piece = piece[: len(space)], piece[len(space) :]
            space[: len(part)] = part
            messages += [message for _, message in buffer.cut(len(part))]
    return messages


@given(st.lists(st.lists(VALUES, min_size=1, max_size=3), max_size=6), st.data())
def test_however_the_stream_is_cut_the_messages_are_the_same(
    messages: list[list[object]], data: st.DataObject
) -> None:
    outbox = Outbox("a", "b")
    outbox.frame_bytes_max = 1 << 20
    for message in messages:
        outbox.put(tuple(message))
    stream = outbox.take()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    buffer = FrameBuffer(1 << 20)
    assert feed(buffer, pieces) == messages
    assert buffer.waiting_bytes == 0


def test_a_frame_larger_than_the_buffer_arrives_whole_and_the_buffer_shrinks_again() -> None:
    buffer = FrameBuffer(16 * BUFFER_BYTES)
    large = [b"x" * (5 * BUFFER_BYTES)]
    assert feed(buffer, [frame([1]) + frame(large)[:100], frame(large)[100:] + frame([2])]) == [
        [1],
        large,
        [2],
    ]
    assert len(buffer.space()) == BUFFER_BYTES


def test_the_buffer_grows_with_what_came_and_not_with_what_was_announced() -> None:
    buffer = FrameBuffer(1 << 30)
    assert feed(buffer, [struct.pack(">I", 1 << 30) + b"x" * 100]) == []
    assert len(buffer.space()) < BUFFER_BYTES


def test_a_connection_that_says_little_keeps_a_small_buffer_and_a_busy_one_gets_a_large_one() -> (
    None
):
    buffer = FrameBuffer(1 << 20)
    for number in range(1_000):
        assert feed(buffer, [frame([number])]) == [[number]]
    assert len(buffer.space()) == FIRST_BUFFER_BYTES
    packet = frame([b"x" * 1_000]) * 10
    assert feed(buffer, [packet] * 100) == [[b"x" * 1_000]] * 1_000
    assert len(buffer.space()) + buffer.waiting_bytes > FIRST_BUFFER_BYTES
    full = frame([b"x" * 1_000]) * 300
    for _ in range(10):
        feed(buffer, [full])
    assert len(buffer.space()) == BUFFER_BYTES


def test_a_frame_over_the_limit_is_refused_when_only_its_length_has_come() -> None:
    with pytest.raises(ProtocolError, match="1001 bytes was announced; at most 1000"):
        feed(FrameBuffer(1000), [struct.pack(">I", 1001)])


def test_a_frame_at_the_limit_is_taken() -> None:
    exact = [b"x" * 100]
    assert feed(FrameBuffer(len(frame(exact)) - 4), [frame(exact)]) == [exact]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xc1",  # never used in MessagePack
        b"\x92\x01",  # a list of two that holds one
        b"\x91\x01\x02",  # a value behind the value
        b"\x91\xa2\xff\xff",  # text that is not UTF-8
        b"\x91\x81\x90\x01",  # a map whose key is a list
        b"\x91\xd6\xff\x00\x00\x00\x01",  # an extension type: a timestamp
        b"\x07",  # no list
        b"\x81\x00\x00",  # a map
        b"\x91" * (DEPTH_MAX + 1) + b"\x00",
        b"\xdd\x00\x00\xff\x00" * 100_000,
    ],
)
def test_what_is_not_one_list_of_plain_values_is_a_protocol_error(content: bytes) -> None:
    buffer = FrameBuffer(1 << 24)
    good = frame(["before"])
    messages: list[object] = []
    with pytest.raises(ProtocolError):
        stream = good + struct.pack(">I", len(content)) + content
        while stream:
            space = buffer.space()
            part, stream = stream[: len(space)], stream[len(space) :]
            space[: len(part)] = part
            for _, message in buffer.cut(len(part)):
                messages.append(message)
    assert messages == [["before"]]


def test_lists_that_claim_more_than_the_frame_holds_reserve_no_memory() -> None:
    import tracemalloc

    liar = b"\xdd\x00\x01\x00\x00" * 1000 + b"\x00" * 66_000  # 1000 levels of 65,536 each
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            feed(FrameBuffer(1 << 20), [struct.pack(">I", len(liar)) + liar])
        assert tracemalloc.get_traced_memory()[1] < 8 * BUFFER_BYTES  # 500 MB without the check
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300))
def test_no_bytes_lead_to_anything_but_messages_or_a_protocol_error(garbage: bytes) -> None:
    try:
        messages = feed(FrameBuffer(1000), [garbage])
    except ProtocolError:
        return
    assert all(type(message) is list for message in messages)


@pytest.mark.parametrize("value", [object(), 1 << 64, "\ud800", {1, 2}])
def test_what_cannot_travel_is_refused_and_leaves_nothing_behind(value: object) -> None:
    outbox = Outbox("a", "b")
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        outbox.put((1, [value]))
    outbox.put((2, "next"))
    assert outbox.take() == frame([2, "next"])


def test_a_message_longer_than_the_peer_accepts_is_not_sent() -> None:
    outbox = Outbox("a", "the server")
    outbox.frame_bytes_max = 10
    with pytest.raises(LimitExceeded, match="the server accepts at most 10"):
        outbox.put((1, b"x" * 10))
    assert not outbox.parts


def test_the_layout_of_the_page_is_what_is_sent() -> None:
    outbox = Outbox("a", "b")
    outbox.put((12,))
    assert outbox.take() == b"\x00\x00\x00\x02" + msgpack.packb([12])


# ------------------------------------------------------------- how many elements


def nest(inner: bytes, levels: int) -> bytes:
    """Lists of almost as many elements as allowed, each in the last place of the one before."""
    many = ELEMENTS_MAX - 1
    return (b"\xdd" + struct.pack(">I", many) + inner * (many - 1)) * levels + b"\xc0"


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd" + struct.pack(">I", 1 << 24) + b"\x90" * (1 << 24),  # 16 million empty lists
        b"\xdd" + struct.pack(">I", 1 << 24) + b"\x80" * (1 << 24),  # 16 million empty maps
        b"\xdf" + struct.pack(">I", 1 << 23) + b"\x01" * (1 << 24),  # a map with one key, again
        (b"\xdd" + struct.pack(">I", 40)) + (b"\xdc\x10\x00" + b"\x90" * 4096) * 40,
        nest(b"\x90", 9),
        nest(b"\x01", 9),
        nest(b"\xa2ab", 9),
    ],
    ids=["lists", "maps", "one key", "lists of lists", "nested lists", "nested ints", "nested str"],
)
def test_a_message_of_too_many_elements_is_refused_before_it_is_built(bomb: bytes) -> None:
    buffer = FrameBuffer(1 << 25)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="more than 131072 elements"):
            feed(buffer, [struct.pack(">I", len(bomb)) + bomb])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(bomb) + (1 << 20)  # the buffer, while it is doubled and copied


@settings(max_examples=25)
@given(VALUES, st.integers(0, 3))
def test_elements_are_counted_as_they_are(value: object, more: int) -> None:
    """The walk over headers ends exactly at the end, whatever the values before it are."""

    def elements(value: object) -> int:
        if isinstance(value, dict):
            return 2 * len(value) + sum(map(elements, value.values()))
        return len(value) + sum(map(elements, value)) if isinstance(value, list) else 0

    room = ELEMENTS_MAX - elements(value) - 2
    fits, exceeds = ([value, [None] * (room + extra)] for extra in (-more, 1 + more))
    assert not has_too_many_elements(msgpack.packb(fits))
    assert has_too_many_elements(msgpack.packb(exceeds))


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65535, 65536, 70_000])
def test_long_values_are_stepped_over_in_counting(size: int) -> None:
    values = [b"\xdd" * size, "x" * size, {1: 2.5}]  # 4 elements with the list behind, and 2
    most = [None] * (ELEMENTS_MAX - 6)
    assert not has_too_many_elements(msgpack.packb([*values, most]))
    assert has_too_many_elements(msgpack.packb([*values, [*most, None]]))


def test_as_many_elements_as_allowed_pass_and_one_more_is_not_sent() -> None:
    outbox = Outbox("a", "b")
    outbox.frame_bytes_max = 1 << 24
    most = [None] * (ELEMENTS_MAX - 2)
    outbox.put((5, [*most]))
    (message,) = feed(FrameBuffer(1 << 24), [outbox.take()])
    assert message == [5, most]
    with pytest.raises(LimitExceeded, match="send it in parts, as a stream"):
        outbox.put((5, [*most, None]))
    assert outbox.take() == b""


def test_a_long_frame_that_ends_too_early_is_refused() -> None:
    cut = msgpack.packb([1, b"x" * 200_000])[:-1]
    with pytest.raises(ProtocolError, match="cannot be read"):
        feed(FrameBuffer(1 << 24), [struct.pack(">I", len(cut)) + cut])
