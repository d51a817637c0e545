"""``sdkit metrics ADDRESS``: what a running server counts, as Prometheus text."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from sdkit.arguments import check_between
from sdkit.cli.addresses import FORMS, parse_address
from sdkit.cli.options import chosen_secret
from sdkit.cli.units import option, parse_seconds
from sdkit.rpc import connect

DAY_S: Final = 86_400.0


def metrics(
    address: Annotated[str, typer.Argument(help=f"Of any sdkit server: {FORMS}.")],
    secret: Annotated[
        str | None,
        typer.Option(help="Shared secret, if it asks for one; `ps` shows it: see --secret-file."),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the secret.")
    ] = None,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout",
            parser=option(parse_seconds),
            metavar="DURATION",
            help="How long to wait, as in 500ms or 5s.",
        ),
    ] = 5.0,
) -> None:
    """Print what a running server counts, as Prometheus text."""
    host, port = parse_address(address)
    check_between("--timeout", timeout_s, 0.001, DAY_S)
    secret = chosen_secret(secret, secret_file)
    sys.stdout.write(asyncio.run(_fetch(host, port, secret, timeout_s)))


async def _fetch(host: str, port: int, secret: str | None, timeout_s: float) -> str:
    connection = await connect(host, port, secret=secret, timeout_s=timeout_s)
    try:
        return str(await connection.call("metrics", timeout_s=timeout_s))
    finally:
        await connection.close()
