"""Options and TOML come from a config dataclass, and a wrong one is named."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from sdkit.cli.addresses import parse_address
from sdkit.cli.options import chosen_secret, config_from, field_help
from sdkit.cli.units import parse_bytes, parse_seconds
from sdkit.errors import InvalidArgument
from sdkit.rooms import ROOMS, find

STORE = find("store").config


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1.5s", 1.5), ("2min", 120), ("1.5h", 5400), ("3", 3), ("100us", 1e-4)]
    + [("250MS", 0.25), ("2 Min", 120)],
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 << 20), ("10kB", 10_000), ("512", 512), ("1GiB", 1 << 30)]
    + [("64mib", 64 << 20), ("1.5KIB", 1536), ("2 mb", 2_000_000)],
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "fast", "-1s", "1 parsec", "1e3", "0x10", "1.s", "inf", "nan", "9" * 30, "٣"]
)
def test_what_is_no_quantity_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a duration"):
        parse_seconds(text)
    with pytest.raises(InvalidArgument, match="is not a size"):
        parse_bytes(text)


def test_a_part_of_a_byte_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"'1.5' is 1.5 bytes; .* whole number"):
        parse_bytes("1.5")


def test_an_option_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text('[store]\nmax_bytes = "64MiB"\nlock_wait_timeout_s = "250ms"\n')
    config = config_from(STORE, {"max_bytes": 1 << 20, "durability": None}, file, "store")
    assert vars(config)["max_bytes"] == 1 << 20
    assert vars(config)["lock_wait_timeout_s"] == 0.25
    assert vars(config)["durability"] == "sync"


def test_a_misspelt_table_in_a_file_is_not_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text("[stroe]\nport = 3\n")
    with pytest.raises(InvalidArgument, match=r"sets stroe, which is no room.*\[store\]"):
        config_from(STORE, {}, file, "store")


def test_an_unknown_setting_in_a_file_is_named_beside_the_known_ones(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text("[store]\nmax_byte = 3\n")
    with pytest.raises(InvalidArgument, match=r"no setting max_byte; did you mean max_bytes\?"):
        config_from(STORE, {}, file, "store")
    file.write_text("[store]\ncolour = 3\n")
    with pytest.raises(InvalidArgument, match=r"no setting colour; there are: .*, max_bytes, "):
        config_from(STORE, {}, file, "store")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[store]\nmax_bytes = 'many'\n", r"\[store\] max_bytes: 'many' is not a size"),
        ("[store]\nmax_bytes = 1\n", r"\[store\] max_bytes is 1; "),
        ("[store]\ngrace_s = inf\n", r"\[store\] grace_s is inf; "),
        ("[store]\nlock_wait_timeout_s = -1\n", r"\[store\] lock_wait_timeout_s is -1; "),
        ("[store]\ntransactions_max = 'ten'\n", "transactions_max is 'ten'; .*whole number"),
        ("[store]\nport = 3.5\n", "port is 3.5; .*whole number"),
        ("[store]\ntransactions_max = true\n", "transactions_max"),
        ("[store]\ndurability = 'maybe'\n", r"\[store\] durability is 'maybe'"),
        ("store = 3\n", "store"),
        ("[store\n", "cannot be read as TOML"),
    ],
)
def test_a_wrong_value_in_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "store.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=f"{re.escape(str(file))}.*{said}"):
        config_from(STORE, {}, file, "store")


def test_an_option_that_is_wrong_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text("[store]\nport = 7000\n")
    with pytest.raises(InvalidArgument, match=r"^port is 99999"):
        config_from(STORE, {"port": 99999}, file, "store")


def test_a_secret_comes_from_one_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "secret"
    file.write_text("correct horse\nbattery\n")
    file.chmod(0o600)
    assert chosen_secret(None, None) is None
    assert chosen_secret("given", None) == "given"
    assert chosen_secret(None, file) == "correct horse"
    assert capsys.readouterr().err == ""
    with pytest.raises(InvalidArgument, match="both --secret and --secret-file"):
        chosen_secret("given", file)
    with pytest.raises(InvalidArgument, match="No such file"):
        chosen_secret(None, tmp_path / "nothing")
    file.write_text("\n")
    with pytest.raises(InvalidArgument, match="is empty"):
        chosen_secret(None, file)


def test_a_secret_that_others_may_read_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "store.toml"
    file.write_text("[store]\nsecret = 'correct horse'\n")
    file.chmod(0o640)
    config_from(STORE, {}, file, "store")
    chosen_secret(None, file)
    assert capsys.readouterr().err.count(f"chmod 600 {file}\n") == 2
    file.chmod(0o600)
    config_from(STORE, {}, file, "store")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_setting_of_every_room_is_explained(room: object) -> None:
    import dataclasses

    from sdkit.rooms import Room

    assert isinstance(room, Room)
    explained = field_help(room.config)
    missing = [
        field.name for field in dataclasses.fields(room.config) if not explained.get(field.name)
    ]
    assert not missing
    counted = Counter(explained.values())
    assert max(counted.values()) == 1, f"said of several: {counted.most_common(1)}"


@pytest.mark.parametrize("text", ["", "here", "127.0.0.1", ":0", "127.0.0.1:", "h:99999", "h:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not an address"):
        parse_address(text)


def test_an_address_has_a_host_and_a_port() -> None:
    assert parse_address("127.0.0.1:7000") == ("127.0.0.1", 7000)
    assert parse_address("[::1]:7000") == ("::1", 7000)


def test_a_room_that_is_not_there_is_named_beside_those_that_are() -> None:
    with pytest.raises(InvalidArgument, match="no room is named 'stor'; there are: store"):
        find("stor")
