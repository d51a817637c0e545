"""Lines typed at ``sdkit shell``, without the process: a server and its client in virtual time."""

from __future__ import annotations

from sdkit.cli.conversation import Conversation
from sdkit.cli.store_sessions import StoreSubject
from sdkit.script import is_answer
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Store, StoreClient, StoreServer, StoreServerConfig


def answers(text: str, config: StoreServerConfig | None = None) -> str:
    """What comes out when these lines are typed at a server in virtual time, lines included."""

    async def main() -> str:
        async with (
            StoreServer(SimulatedHost("db"), config or StoreServerConfig()) as server,
            StoreClient(*server.address) as store,
        ):
            subject = StoreSubject(store, lambda: _given(store))
            try:
                return "\n".join(await typed(Conversation(subject), text)) + "\n"
            finally:
                await subject.close()

    return run(main())


def conversation(store: Store) -> Conversation:
    return Conversation(StoreSubject(store, lambda: _given(store)))


async def _given(store: Store) -> Store:
    return store


async def typed(talk: Conversation, text: str) -> list[str]:
    lines: list[str] = []
    for line in text.strip("\n").splitlines():
        if not is_answer(line):
            lines += [line, *await talk.take(line)]
    return lines
