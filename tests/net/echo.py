"""Echo: a protocol that is not ours, in a few lines. Each line is said again."""

from __future__ import annotations

from sdkit.errors import SdkitError
from sdkit.net import Conversation

LINE_MAX = 1000


async def echo(talk: Conversation) -> None:
    """Say again each line that is heard, until there is none."""
    while await talk.more():
        await talk.write(await talk.read_until(b"\n", bytes_max=LINE_MAX))


def refusal(error: SdkitError) -> bytes:
    """An error as a line."""
    return f"sorry: {error.message}\n".encode()
