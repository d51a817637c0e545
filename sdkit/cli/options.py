"""Options: command line and TOML made from a room's config dataclass.

A config is written once, as a frozen dataclass whose docstring says what each
field is for. From its fields come the options of ``sdkit serve ROOM`` and the
keys of a TOML file; from its docstring comes the help. Units are spoken in both:

    --idle-timeout-s 250ms        idle_timeout_s = "250ms"
    --max-bytes 64MiB             max_bytes = "64MiB"

`sdkit.cli.units` reads the units.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import tomllib
import typing
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final

import typer

from sdkit.cli.units import option, parse_bytes, parse_seconds, size_in_words
from sdkit.errors import InvalidArgument
from sdkit.rooms import ROOMS
from sdkit.rpc.server import ServerConfig

OTHERS_MAY_READ: Final = 0o044


def chosen_secret(secret: str | None, file: Path | None) -> str | None:
    """The one of ``--secret`` and the first line of ``--secret-file`` that was given, if any.

    Raises:
        InvalidArgument: both were given, or the file cannot be read or is empty.
    """
    if file is None:
        return secret
    if secret is not None:
        raise InvalidArgument("both --secret and --secret-file are given; give one of them")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgument(f"the secret cannot be read from {file}: {why}") from error
    if not lines or not lines[0]:
        raise InvalidArgument(f"{file} is empty; the secret is its first line")
    hint_at_readers(file)
    return lines[0]


def hint_at_readers(file: Path) -> None:
    """Say on standard error that others may read a file that holds a secret."""
    if file.stat().st_mode & OTHERS_MAY_READ:
        sys.stderr.write(f"warning: others may read the secret in {file}: chmod 600 {file}\n")


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
    in_file = {} if file is None else _from_toml(config, file, table)
    said = {name: value for name, value in given.items() if value is not None}
    try:
        return config(**in_file | said)  # type: ignore[arg-type]
    except InvalidArgument as error:
        words = set(re.findall(r"\w+", error.message))
        if words & in_file.keys() - said.keys():  # it is about a value of the file
            raise InvalidArgument(f"{file}: [{table}] {error.message}", **error.fields) from error
        raise


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
    spoken = size_in_words(default) if is_size and isinstance(default, int) else default
    if field.name.endswith("_s") and isinstance(default, float):
        spoken = f"{default:g}s"
    shown = text if default in {None, ""} else f"{text} (default: {spoken})"
    kind = _kind(config, field.name)
    if field.name.endswith("_s"):
        made = typer.Option(flag, help=shown, parser=option(parse_seconds), metavar="DURATION")
        return typing.Annotated[float | None, made]
    if is_size:
        made = typer.Option(flag, help=shown, parser=option(parse_bytes), metavar="SIZE")
        return typing.Annotated[int | None, made]
    if kind is bool:
        return typing.Annotated[bool | None, typer.Option(f"{flag}/--no{flag[1:]}", help=shown)]
    if typing.get_origin(kind) is typing.Literal:
        made = typer.Option(flag, help=shown, metavar="|".join(typing.get_args(kind)))
        return typing.Annotated[str | None, made]
    return typing.Annotated[typing.cast(Any, kind) | None, typer.Option(flag, help=shown)]


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
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidArgument(f"{file} cannot be read as TOML: {why}") from error
    if unknown := sorted(document.keys() - {room.name for room in ROOMS}):
        raise InvalidArgument(
            f"{file} sets {unknown[0]}, which is no room; write the settings under [{table}]"
        )
    settings = document.get(table, {})
    if not isinstance(settings, dict):
        raise InvalidArgument(f"{file}: {table} must be a table, written [{table}]")
    known = {field.name for field in _settable(config)}
    values: dict[str, object] = {}
    for name, value in settings.items():
        if name not in known:
            near = get_close_matches(name, sorted(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
            raise InvalidArgument(f"{file}: [{table}] has no setting {name}; {hint}")
        values[name] = _value(f"{file}: [{table}] {name}", name, value, _kind(config, name))
    if "secret" in values:
        hint_at_readers(file)
    return values


def _value(where: str, name: str, value: object, kind: object) -> object:
    """A value of a file, its unit made a number."""
    try:
        if isinstance(value, str) and name.endswith("_s"):
            value = parse_seconds(value)
        elif isinstance(value, str) and "_bytes" in name:
            value = parse_bytes(value)
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error.message}") from error
    _check_type(where, value, kind)
    return value


def _check_type(name: str, value: object, kind: object) -> None:
    accepted = {int: (int,), float: (int, float), bool: (bool,)}.get(kind, (str,))  # type: ignore[call-overload]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(
            kind,  # type: ignore[call-overload]
            "text",
        )
        raise InvalidArgument(f"{name} is {value!r}; it must be {wanted}")
