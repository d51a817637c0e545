"""Units: durations and sizes as people write them.

    250ms, 1.5s, 2min, 1h      seconds, as a float
    512, 10kB, 64MiB           whole bytes

Units may be written in capitals or not. Only this file converts ``250ms`` to 0.25: all
other code takes seconds as floats and sizes as whole bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import typer

from sdkit.errors import InvalidArgument

T = TypeVar("T")

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_BYTES: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-z]*)", re.ASCII)


def parse_seconds(text: str) -> float:
    """Seconds from ``250ms``, ``1.5s``, ``2min``, ``1h`` or a bare number of seconds.

    Raises:
        InvalidArgument: it is none of these.
    """
    return _parse(text, _SECONDS, "a duration such as 250ms, 1.5s or 2min")


def parse_bytes(text: str) -> int:
    """Bytes from ``64MiB``, ``10kB`` or a bare number of bytes; exact up to 2**53.

    Raises:
        InvalidArgument: it is none of these, or no whole number of bytes.
    """
    size = _parse(text, _BYTES, "a size such as 64MiB, 10kB or 512")
    if not size.is_integer():
        raise InvalidArgument(f"{text!r} is {size:g} bytes; it must be a whole number of bytes")
    return int(size)


def option(parse: Callable[[str], T]) -> Callable[[str | T], T]:
    """Adapt ``parse`` to typer's ``parser=``: an error then names the option."""

    def parser(text: str | T) -> T:
        if not isinstance(text, str):
            return text  # the default
        try:
            return parse(text)
        except InvalidArgument as error:
            raise typer.BadParameter(str(error)) from error

    return parser


def size_in_words(size: int) -> str:
    """Write a size in the largest unit that divides it, as in 64MiB."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return str(size)


def _parse(text: str, units: Mapping[str, float], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        raise InvalidArgument(f"{text!r} is not {wanted}")
    return float(match[1]) * units[match[2].lower()]
