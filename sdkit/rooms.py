"""Rooms: the one list of what can be started by name.

``sdkit serve ROOM``, designs and the simulator all start a room the same way:
look its name up here, make its config, enter its server.

    room = find("store")
    async with room.server(host, room.config(durability="sync")) as server:
        print(server.address)

A room is imported when it is asked for, so that one does not pay for the others.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sdkit.errors import InvalidArgument

if TYPE_CHECKING:
    from sdkit.host import Host
    from sdkit.rpc.server import Server, ServerConfig


@dataclass(frozen=True)
class Room:
    """A kind of server: its name, and where its config and server classes are."""

    name: str
    summary: str
    module: str
    config_name: str
    server_name: str

    @property
    def config(self) -> type[ServerConfig]:
        """The frozen dataclass of its settings."""
        config: type[ServerConfig] = getattr(importlib.import_module(self.module), self.config_name)
        return config

    @property
    def server(self) -> Callable[[Host, ServerConfig], Server]:
        """The server class: ``server(host, config)`` is an async context manager."""
        server: Callable[[Host, ServerConfig], Server]
        server = getattr(importlib.import_module(self.module), self.server_name)
        return server


ROOMS: Final = (
    Room(
        "store",
        "an ordered key-value store with transactions",
        "sdkit.store.server",
        "StoreServerConfig",
        "StoreServer",
    ),
)


def find(name: str) -> Room:
    """The room of that name.

    Raises:
        InvalidArgument: there is none; the message lists those there are.
    """
    for room in ROOMS:
        if room.name == name:
            return room
    known = ", ".join(room.name for room in ROOMS)
    raise InvalidArgument(f"no room is named {name!r}; there are: {known}", name=name)
