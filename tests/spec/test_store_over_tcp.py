"""The same specification, word for word, with a network between the caller and the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.spec.store import instant_of_commit, one_session, sessions
from sdkit.store import Store, StoreClient, StoreServer, StoreServerConfig
from tests.spec.bite import fewer

COMMIT_S = 5.0


def behind_a_socket(
    *, sync_s: float = 100e-6, patience_s: float = 1e3
) -> Callable[[], AbstractAsyncContextManager[Store]]:
    """A factory of empty stores, each served on a simulated connection."""
    config = StoreServerConfig(
        idle_transaction_timeout_s=patience_s,
        lock_wait_timeout_s=patience_s,
        segment_bytes=2**16,  # and so the reserve, which every new store writes
    )

    @asynccontextmanager
    async def make() -> AsyncIterator[Store]:
        host = SimulatedHost("db", SimulatedDisk(sync_s=sync_s))
        async with (
            StoreServer(host, config) as server,
            StoreClient(*server.address, timeout_s=None) as store,
        ):
            yield store

    return make


# The engine has had all the examples; here a part of them goes over the network.
TestOneSessionOverTcp = fewer(one_session(behind_a_socket()), 25)
TestSessionsOverTcp = fewer(sessions(behind_a_socket()), 25)
TestInstantOfCommitOverTcp = instant_of_commit(
    behind_a_socket(sync_s=COMMIT_S),
    behind_a_socket(sync_s=COMMIT_S, patience_s=1.0),
    commit_s=COMMIT_S,
)
