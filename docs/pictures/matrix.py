"""The table of `docs/isolation.md`: which script of an anomaly shows it at which level."""

from __future__ import annotations

from contextlib import AsyncExitStack

from sdkit.cli.anomalies import observe, parts_of, scripts
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Store, StoreClient, StoreServer, StoreServerConfig
from sdkit.store.isolation import ANOMALIES, RULES

SCRIPTS = scripts()


def draw() -> str:
    seen = {level: run(_observed(level)) for level in RULES}
    rows = [
        f"| {anomaly} | "
        + " | ".join("**seen**" if anomaly in seen[level] else "" for level in RULES)
        for anomaly in ANOMALIES
    ]
    head = [f"| | {' | '.join(RULES)} |", "|---" * (len(RULES) + 1) + "|"]
    return "\n".join([*head, *(f"{row} |" for row in rows)]) + "\n"


async def _observed(level: str) -> list[str]:
    isolation, serializable = parts_of(level)
    config = StoreServerConfig(serializable=serializable or "optimistic")
    async with StoreServer(SimulatedHost("db"), config) as server, AsyncExitStack() as clients:

        async def connected() -> Store:
            return await clients.enter_async_context(StoreClient(*server.address))

        store = await connected()
        courses = [await observe(script, isolation, store, connected) for script in SCRIPTS]
    return [course.script.anomaly for course in courses if course.observed]
