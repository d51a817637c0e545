"""A server that cannot listen says why, and gives the remedy that fits."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from sdkit.errors import AddressInUse, InvalidArgument, NotConnected, Unavailable
from sdkit.net import AddressUnusable
from sdkit.net.addresses import cannot_listen
from sdkit.rpc import Server, ServerConfig, connect
from sdkit.sim.loop import run


@pytest.mark.parametrize(
    ("error", "port", "kind", "said"),
    [
        (OSError(errno.EADDRINUSE, "in use"), 7000, AddressInUse, "choose another port, or 0"),
        (OSError(errno.EADDRNOTAVAIL, "?"), 7000, AddressUnusable, "has no such address; use 127"),
        (OSError("could not bind on any address out of []"), 1, AddressUnusable, "no such address"),
        (PermissionError(errno.EACCES, "?"), 80, AddressUnusable, "ports below 1024 are for root"),
        (PermissionError(errno.EACCES, "no"), 8000, AddressUnusable, ":8000: no"),
        (socket.gaierror(-2, "unknown"), 7000, AddressUnusable, "the name 'db' is not known; use"),
        (UnicodeError("label too long"), 7000, AddressUnusable, "the name 'db' is not known"),
    ],
)
def test_each_reason_has_its_own_words(
    error: OSError, port: int, kind: type[Unavailable], said: str
) -> None:
    explained = cannot_listen(error, "db", port)
    assert type(explained) is kind
    assert said in str(explained)
    assert explained.fields == {"host": "db", "port": port}


@pytest.mark.parametrize("host", ["no.such.name.invalid", "192.0.2.1", "a..b"])
def test_a_real_name_or_address_that_is_not_ours_is_no_port_in_use(host: str) -> None:
    async def main() -> None:
        with pytest.raises(AddressUnusable, match=r"127\.0\.0\.1"):
            async with Server(config=ServerConfig(host=host, secret="correct horse")):
                pass

    asyncio.run(main())


def test_a_port_in_use_is_told_from_that() -> None:
    async def main() -> None:
        async with Server() as first:
            with pytest.raises(AddressInUse, match="in use by another program"):
                async with Server(config=ServerConfig(port=first.address[1])):
                    pass

    run(main())


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [("", 80, "host is ''"), (None, 80, "host is None"), ("a", 0, "port is 0")]
    + [("a", 70_000, "port is 70000"), ("a", "80", "port is '80'"), ("a", True, "port is True")],
)
def test_a_client_is_told_what_is_no_address(host: str, port: int, said: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument, match=said):
            await connect(host, port)

    run(main())


def test_a_name_that_cannot_be_a_name_is_a_failed_connection() -> None:
    async def main() -> None:
        with pytest.raises(NotConnected, match="no host can have this name"):
            await connect("a..b", 80)

    asyncio.run(main())
