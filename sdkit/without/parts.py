"""Parts: the classes that a scenario builds its machines of, and how one of them is exchanged.

A server builds its engine, the engine its journal, the journal its writer: each
names the class of the next in an attribute. To exchange the innermost, every
class around it is derived once, with that one attribute changed
(`Parts.exchange`). What comes out are ordinary classes; nothing is patched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sdkit.host import Host
from sdkit.rpc.connection import Connection
from sdkit.sim.disk import SimulatedDisk
from sdkit.storage.journal import Journal
from sdkit.store import StoreClient, StoreEngine, StoreServer, StoreServerConfig
from sdkit.store.database import Database

Place = Literal[
    "disk",
    "journal",
    "journal.writer_type",
    "journal.recovery_type",
    "journal.segments_type",
    "journal.snapshots_type",
    "journal.follower_type",
    "database",
    "connection",
    "connection.session_type",
    "connection.handling_type",
    "connection.session_type.asking_type",
    "connection.session_type.serving_type",
]


@dataclass(frozen=True)
class Safeguard:
    """One rule of a room that can be left out.

    Args:
        name: ``room.rule``, as on the command line.
        rule: what it does, in a few words.
        otherwise: what happens without it.
        place: what is exchanged.
        variant: a subclass of it in which the rule is missing.
    """

    name: str
    rule: str
    otherwise: str
    place: Place
    variant: type[Any]


@dataclass(frozen=True)
class Parts:
    """What machines are made of; by default, of everything as it is."""

    disk: type[SimulatedDisk] = SimulatedDisk
    journal: type[Journal] = Journal
    database: type[Database] = Database
    connection: type[Connection] = Connection

    def exchange(self, safeguard: Safeguard) -> Parts:
        """The same parts without one safeguard."""
        field, *path = safeguard.place.split(".")
        changed = _derived(getattr(self, field), path, safeguard.variant)
        return replace(self, **{field: changed})

    def store_server(self, host: Host, config: StoreServerConfig) -> StoreServer:
        """A store on the network, made of these parts."""
        engine: Final = type("Engine", (StoreEngine,), {"journal_type": self.journal})
        server: Final = type("Server", (StoreServer,), {"connection_type": self.connection})
        made: StoreServer = server(
            host, config, engine=engine(host, config, database=self.database)
        )
        return made

    def store_client(self, host: str, port: int, **options: Any) -> StoreClient:
        """A client of such a server."""
        client: Final = type("Client", (StoreClient,), {"connection_type": self.connection})
        made: StoreClient = client(host, port, **options)
        return made


def _derived(whole: type[Any], path: list[str], variant: type[Any]) -> type[Any]:
    """``whole`` with the class at the end of ``path`` exchanged for ``variant``."""
    if not path:
        # The variant first: what it overrides wins, and what was changed before stays.
        return variant if whole in variant.__mro__ else type(variant.__name__, (variant, whole), {})
    inner = _derived(getattr(whole, path[0]), path[1:], variant)
    return type(whole.__name__, (whole,), {path[0]: inner})
