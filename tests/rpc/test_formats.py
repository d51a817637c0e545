"""Version 1 of the protocol, recorded: these bytes must be understood for ever.

``tests/formats/rpc-1.txt`` holds one frame a line, who sent it first. Whatever a
later version adds, a session that is fed the recorded side of the one has to
come to the same events, and the two proofs have to be right.
"""

from __future__ import annotations

from pathlib import Path

from sdkit.errors import DeadlineExceeded
from sdkit.rpc.frames import FrameBuffer
from sdkit.rpc.hello import Side
from sdkit.rpc.limits import Limits
from sdkit.rpc.messages import (
    CALL,
    NOTIFY,
    STREAM,
    Answered,
    Credited,
    Ended,
    Failed,
    Item,
    Kind,
    Leaving,
    Opened,
    Request,
    Withdrawn,
)
from sdkit.rpc.session import Session
from sdkit.trace import SpanContext

RECORDED = Path(__file__).parent.parent / "formats" / "rpc-1.txt"
SECRET = b"version one"


def sessions() -> tuple[Session[str], Session[str]]:
    limits = Limits(stream_window_bytes=1024, frame_bytes_max=65536)

    def make(side: Side) -> Session[str]:
        name = side.name.lower()
        nonce = name[:1].encode() * 32
        return Session(side, limits=limits, name=name, nonce=nonce, secret=SECRET, now_ns=0)

    return make(Side.CLIENT), make(Side.SERVER)


class Conversation:
    """Two sessions without a network between them.

    Args:
        recorded: frames to deliver in place of what the two say now.
    """

    def __init__(self, recorded: list[tuple[str, bytes]] | None = None) -> None:
        self.client, self.server = sessions()
        self.said: list[tuple[str, bytes]] = []
        self.events: list[object] = []
        self._recorded = recorded

    def exchange(self) -> None:
        """Carry everything over, until neither has more to say."""
        while self.client.outbox.parts or self.server.outbox.parts:
            for source, target in ((self.client, self.server), (self.server, self.client)):
                data = source.take_output()
                while data:
                    length = 4 + int.from_bytes(data[:4], "big")
                    self.said.append((source.side.name.lower(), data[:length]))
                    who, frame = (
                        self._recorded[len(self.said) - 1] if self._recorded else self.said[-1]
                    )
                    assert who == source.side.name.lower()
                    self.events += give(target, frame)
                    data = data[length:]


def give(session: Session[str], frame: bytes) -> list[object]:
    session.space()[: len(frame)] = frame
    return list(session.receive(len(frame), 0))


def conversation(recorded: list[tuple[str, bytes]] | None = None) -> Conversation:
    """Every kind of message, both ways."""
    both = Conversation(recorded)
    client, server = both.client, both.server
    both.exchange()
    trace = SpanContext(1 << 60, 7)
    client.asking.call(CALL, "get", (b"key", "täxt", None, -1, 0.5, [True]), "get", 0, 10**9, trace)
    client.asking.call(CALL, "put", ({"a": 1 << 63},), "put", 0)
    client.asking.call(NOTIFY, "note", (), None, 0)
    rows = client.asking.call(STREAM, "rows", (), "rows", 0)
    both.exchange()
    server.serving.fail(2, DeadlineExceeded("too late", limit=3))
    server.serving.answer(1, b"value")
    server.serving.drop(3)
    for _ in range(2):
        server.serving.item(rows, b"x" * 600)
    both.exchange()
    client.asking.consumed(rows, 600)
    both.exchange()
    server.serving.end(rows)
    given_up = client.asking.call(CALL, "slow", (), "slow", 0)
    both.exchange()
    client.asking.cancel(given_up)
    server.asking.call(CALL, "back", (1,), "back", 0)  # either side may call
    both.exchange()
    client.serving.answer(1, [1])
    both.exchange()
    server.goodbye()
    both.exchange()
    return both


def recorded() -> list[tuple[str, bytes]]:
    lines = RECORDED.read_text(encoding="ascii").splitlines()
    pairs = [line.split() for line in lines if line and not line.startswith("#")]
    return [(who, bytes.fromhex(frame)) for who, frame in pairs]


def test_the_recorded_bytes_are_understood_as_they_were() -> None:
    both = conversation(recorded())
    assert both.client.ended is both.server.ended is None
    assert both.client.version == both.server.version == 1
    assert both.events == [
        Opened(),
        Opened(),
        Request(
            1,
            "get",
            [b"key", "täxt", None, -1, 0.5, [True]],
            10**9,
            SpanContext(1 << 60, 7),
            False,
        ),
        Request(2, "put", [{"a": 1 << 63}], None, None, False),
        Request(3, "note", [], None, None, False),
        Request(4, "rows", [], None, None, True),
        both.events[6],  # errors are compared by what they are, below
        Answered("get", b"value"),
        Item("rows", b"x" * 600, 606),
        Item("rows", b"x" * 600, 606),
        Credited(4),
        Request(5, "slow", [], None, None, False),
        Ended("rows"),
        Withdrawn(5),
        Request(1, "back", [1], None, None, False),
        Answered("back", [1]),
        Leaving(),
    ]
    failed = both.events[6]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DeadlineExceeded)
    assert (failed.waiter, failed.error.message, failed.error.fields) == (
        "put",
        "too late",
        {"limit": 3},
    )


def test_what_is_said_in_version_1_has_not_changed() -> None:
    assert conversation().said == recorded()


def test_every_kind_of_message_is_in_the_recording() -> None:
    kinds = {decoded[0] for _, frame in recorded() for _, decoded in _cut(frame)}
    assert kinds == set(Kind) - {Kind.PING, Kind.PONG}


def _cut(frame: bytes) -> list[tuple[int, list[object]]]:
    buffer = FrameBuffer(1 << 20)
    buffer.space()[: len(frame)] = frame
    return list(buffer.cut(len(frame)))
