"""Upload: a protocol that is not ours. Bytes of an announced length go to a slow reader.

client                                server
  length, bytes ...   ──>             to `sink`, piece by piece
                      <──             the number of bytes, as a line
  length 0            ──>             from here on it is `tests.net.echo`
  (says no more)      ──>
                      <──             "bye", and (says no more)
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from sdkit.errors import ConnectionLost
from sdkit.net import Conversation
from tests.net.echo import echo

HEAD = struct.Struct(">Q")
HEAD_S, BODY_S, LAST_S = 5.0, 60.0, 1.0  # how long a phase may take


def uploading(
    sink: Callable[[bytes], Awaitable[None]],
) -> Callable[[Conversation], Awaitable[None]]:
    """The protocol, with what reads."""

    async def receive(talk: Conversation, length: int) -> None:
        left = length
        while left:
            data = await talk.read(left)
            if not data:
                raise ConnectionLost("the upload ended early")
            left -= len(data)
            await sink(data)

    async def talk_of_uploads(talk: Conversation) -> None:
        while await talk.more():
            async with asyncio.timeout(HEAD_S):
                (length,) = HEAD.unpack(await talk.read_exactly(HEAD.size))
            if length == 0:
                await echo(talk)
                return
            async with asyncio.timeout(BODY_S):
                await receive(talk, length)
            await talk.write(b"%d\n" % length)
        await talk.write(b"bye\n")
        talk.end_writing()
        async with asyncio.timeout(LAST_S):
            await talk.read()

    return talk_of_uploads


async def upload(talk: Conversation, data: bytes, piece: int = 10_000) -> int:
    """The client's side: how many bytes the server has read."""
    await talk.write(HEAD.pack(len(data)))
    for at in range(0, len(data), piece):
        await talk.write(data[at : at + piece])
    return int(await talk.read_until(b"\n", bytes_max=30))
