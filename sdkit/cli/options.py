"""Options: command line and TOML made from a room's config dataclass.

A config is written once, as a frozen dataclass whose docstring says what each
field is for. From its fields come the options of ``sdkit serve ROOM`` and the
keys of a TOML file; from its docstring comes the help. Units are spoken in both:

    --idle-timeout-s 250ms        idle_timeout_s = "250ms"
    --max-bytes 64MiB             max_bytes = "64MiB"

This is the one place where ``250ms`` becomes 0.25: inside, seconds are floats
and sizes are whole bytes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final

import typer

from sdkit.errors import InvalidArgument
from sdkit.net.server import ServerConfig
from sdkit.rooms import ROOMS

_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "": 1.0}
_BYTES: Final = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_seconds(text: str) -> float:
    """Seconds from ``250ms``, ``1.5s``, ``2min`` or a bare number of seconds.

    Raises:
        InvalidArgument: it is none of these.
    """
    return _parse(text, _SECONDS, "a duration such as 250ms, 1.5s or 2min")


def parse_bytes(text: str) -> int:
    """Bytes from ``64MiB``, ``10kB`` or a bare number of bytes.

    Raises:
        InvalidArgument: it is none of these.
    """
    return int(_parse(text, _BYTES, "a size such as 64MiB, 10kB or 512"))


def config_from(
    config: type[ServerConfig], given: Mapping[str, object], file: Path | None, table: str
) -> ServerConfig:
    """A config from options and a TOML file; an option wins over the file.

    Args:
        config: the dataclass to make.
        given: what the command line said; None where it said nothing.
        file: a TOML file, whose table named ``table`` holds settings.

    Raises:
        InvalidArgument: an unknown key, a value of the wrong type or out of range.
    """
    values: dict[str, object] = {}
    if file is not None:
        values.update(_from_toml(config, file, table))
    values.update({name: value for name, value in given.items() if value is not None})
    return config(**values)  # type: ignore[arg-type]


def command(
    config: type[ServerConfig], call: Callable[..., None], extra: list[inspect.Parameter]
) -> Callable[..., None]:
    """A function that typer reads the options of ``config`` from; it calls ``call(**options)``.

    Args:
        config: the dataclass.
        call: gets every option by name.
        extra: further parameters, in front of those from the dataclass.
    """
    help_texts = field_help(config)
    parameters = extra + [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_option(config, field, help_texts.get(field.name, "")),
        )
        for field in _settable(config)
    ]

    def run(**options: object) -> None:
        call(**options)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__doc__ = call.__doc__
    return run


def field_help(config: type[ServerConfig]) -> dict[str, str]:
    """What the ``Args:`` sections of a config's docstring, and of its bases', say of each field."""
    found: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        section = re.search(r"Args:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(cls) or "", re.DOTALL)
        for match in re.finditer(
            r"^    ([\w, ]+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE
        ):
            text = " ".join(match[2].split()).replace("`", "")
            found.update((name.strip(), text) for name in match[1].split(","))
    return found


def _settable(config: type[ServerConfig]) -> list[dataclasses.Field[Any]]:
    """The fields that text can express; an ``ssl.SSLContext`` is given in a program."""
    return [field for field in dataclasses.fields(config) if _kind(config, field.name) is not None]


def _option(config: type[ServerConfig], field: dataclasses.Field[Any], text: str) -> object:
    flag = "--" + field.name.replace("_", "-")
    is_size = "_bytes" in field.name
    default: object = field.default
    spoken = _spoken(default) if is_size and isinstance(default, int) else default
    shown = text if default in {None, ""} else f"{text} (default: {spoken})"
    kind = _kind(config, field.name)
    if field.name.endswith("_s"):
        option = typer.Option(flag, help=shown, parser=_usage(parse_seconds), metavar="DURATION")
        return typing.Annotated[float | None, option]
    if is_size:
        option = typer.Option(flag, help=shown, parser=_usage(parse_bytes), metavar="SIZE")
        return typing.Annotated[int | None, option]
    if kind is bool:
        return typing.Annotated[bool | None, typer.Option(f"{flag}/--no{flag[1:]}", help=shown)]
    if typing.get_origin(kind) is typing.Literal:
        option = typer.Option(flag, help=shown, metavar="|".join(typing.get_args(kind)))
        return typing.Annotated[str | None, option]
    return typing.Annotated[typing.cast(Any, kind) | None, typer.Option(flag, help=shown)]


def _spoken(size: int) -> str:
    """A size as a person would write it."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return str(size)


def _kind(config: type[ServerConfig], name: str) -> object:
    """The type of a field without ``| None``; None if text cannot express it."""
    hint = typing.get_type_hints(config)[name]
    if typing.get_origin(hint) in (typing.Union, UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not NoneType)
    if hint in (str, int, float, bool) or typing.get_origin(hint) is typing.Literal:
        return typing.cast(object, hint)
    if isinstance(hint, type) and issubclass(hint, str):
        return hint
    return None


def _from_toml(config: type[ServerConfig], file: Path, table: str) -> dict[str, object]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(f"{file} cannot be read as TOML: {error}") from error
    if unknown := sorted(document.keys() - {room.name for room in ROOMS}):
        raise InvalidArgument(
            f"{file} sets {unknown[0]}, which is no room; write its settings under [{table}]"
        )
    settings = document.get(table, {})
    if not isinstance(settings, dict):
        raise InvalidArgument(f"{file}: {table} must be a table, written [{table}]")
    known = {field.name for field in _settable(config)}
    values: dict[str, object] = {}
    for name, value in settings.items():
        if name not in known:
            raise InvalidArgument(
                f"{file}: [{table}] has no setting {name}; there are: {', '.join(sorted(known))}"
            )
        if isinstance(value, str) and name.endswith("_s"):
            value = parse_seconds(value)
        elif isinstance(value, str) and "_bytes" in name:
            value = parse_bytes(value)
        _check_type(f"{file}: {name}", value, _kind(config, name))
        values[name] = value
    return values


def _check_type(name: str, value: object, kind: object) -> None:
    accepted = {int: (int,), float: (int, float), bool: (bool,)}.get(kind, (str,))  # type: ignore[call-overload]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", "text")
        raise InvalidArgument(f"{name} is {value!r}; it must be of type {wanted}")


def _parse(text: str, units: Mapping[str, float], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        raise InvalidArgument(f"{text!r} is not {wanted}")
    return float(match[1]) * units[match[2]]


def _usage(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parser(text: str) -> Any:
        try:
            return parse(text)
        except InvalidArgument as error:
            raise typer.BadParameter(str(error)) from error

    return parser
