"""``sdkit metrics ADDRESS``: what a running server counts, as Prometheus text."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from sdkit.errors import InvalidArgument
from sdkit.net import rpc


def metrics(
    address: Annotated[str, typer.Argument(help="HOST:PORT of any sdkit server.")],
    secret: Annotated[str | None, typer.Option(help="Shared secret, if it asks for one.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 5.0,
) -> None:
    """Print what a running server counts, as Prometheus text."""
    host, port = parse_address(address)
    sys.stdout.write(asyncio.run(_fetch(host, port, secret, timeout_s)))


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``.

    Raises:
        InvalidArgument: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidArgument(f"{text!r} is not an address; write HOST:PORT, as in 127.0.0.1:7000")
    return host.strip("[]"), int(port)


async def _fetch(host: str, port: int, secret: str | None, timeout_s: float) -> str:
    connection = await rpc.connect(host, port, secret=secret, timeout_s=timeout_s)
    try:
        return str(await connection.call("metrics", timeout_s=timeout_s))
    finally:
        await connection.close()
