"""``sdkit journal``: what it prints for machines, and its exit status."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.errors import DirectoryUnusable, InvalidArgument
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal, LocalDisk, LocalHost
from sdkit.storage.inspect import inspect
from sdkit.trace import Record, listening

FIRST = "000000000001.wal"


def write(directory: Path, count: int = 3) -> None:
    async def main() -> None:
        journal = await Journal.open(LocalDisk(directory), room="room", random=Random(0))
        for number in range(count):
            await journal.wait(journal.append(b"record %d" % number))
        await journal.close()

    asyncio.run(main())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_json_holds_segments_records_and_findings(tmp_path: Path) -> None:
    write(tmp_path / "room")
    said = CliRunner().invoke(app, ["journal", str(tmp_path), "--json", "--from", "2"])
    assert said.exit_code == 0
    view = json.loads(said.stdout)
    assert view["room"] == "room"
    assert [segment["file"] for segment in view["segments"]] == [FIRST]
    assert view["records"][0]["lsn"] == 2
    assert view["records"][0]["content"] == "record 1"
    assert not view["damaged"]
    assert view["clean"]


def test_damage_has_a_place_a_kind_and_an_exit_status(tmp_path: Path) -> None:
    write(tmp_path)
    flip(tmp_path / FIRST, 110)
    said = CliRunner().invoke(app, ["journal", str(tmp_path), "--verify", "--json"])
    assert said.exit_code == 1
    (finding,) = json.loads(said.stdout)["findings"]
    assert (finding["kind"], finding["file"], finding["offset"]) == ("corruption", FIRST, 72)
    assert finding["lsn"] == 1


def test_damage_that_only_a_follower_could_meet_is_found_and_hinders_no_start(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        journal = await Journal.open(LocalDisk(tmp_path), room="room", random=Random(0))
        for number in range(3):
            await journal.wait(journal.append(b"record %d" % number))
        await journal.hold("a follower", 1)

        async def state() -> object:
            yield b"state"

        await journal.snapshot(3, state())  # type: ignore[arg-type]
        await journal.wait(journal.append(b"record 3"))
        await journal.close()
        flip(tmp_path / FIRST, 110)
        journal = await Journal.open(LocalDisk(tmp_path), room="room", random=Random(0))
        assert journal.recovered.last_lsn == 4
        await journal.close()

    asyncio.run(main())
    said = CliRunner().invoke(app, ["journal", str(tmp_path), "--verify"])
    assert said.exit_code == 1
    assert said.stdout.startswith("older damage:")


@pytest.mark.parametrize("width", [76, 80, 200])
def test_each_record_is_one_line_of_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    async def main() -> None:
        journal = await Journal.open(LocalDisk(tmp_path), room="room", random=Random(0))
        for number in range(3):
            await journal.wait(journal.append(b"[b]%d " % number + b"\0long " * 30))
        await journal.close()

    asyncio.run(main())
    monkeypatch.setenv("COLUMNS", str(width))
    said = CliRunner().invoke(app, ["journal", str(tmp_path)])
    lines = said.stdout.splitlines()
    rows = [line for line in lines if line.startswith(FIRST)][1:]  # the first is the segment's
    kinds = [line.split()[5] for line in rows]
    assert kinds.count("data") == 3
    assert kinds[-1] == "end"
    assert len(lines) == 1 + 2 + 1 + len(rows)  # a line about all of it, and two tables
    assert all(len(line.rstrip()) <= width for line in lines[1:])
    assert sum("…" in line for line in rows) == 3
    assert all("[b]" in line for line in rows if " data " in line)


def test_a_cut_needs_the_directory_for_itself(tmp_path: Path) -> None:
    write(tmp_path / "room")
    with LocalHost("server", tmp_path):
        said = CliRunner().invoke(app, ["journal", str(tmp_path), "--cut"])
    assert said.exit_code != 0
    assert "in use by process" in str(said.exception)


def test_a_directory_without_a_journal_is_named(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["journal", str(tmp_path)])
    assert said.exit_code != 0
    assert "is empty: no *.wal file" in str(said.exception)


@pytest.mark.parametrize("name", ["journal.opened", "journal.sync", "journal.close"])
def test_a_run_says_what_it_does(tmp_path: Path, name: str) -> None:
    heard: list[Record] = []
    with listening(heard.append):
        write(tmp_path)
    assert name in {record.name for record in heard}


@pytest.mark.parametrize(
    "name", ["000000000002.wal", "000000000002.wal.tmp", "snapshot", "snapshot.tmp", "journal.lock"]
)
def test_a_directory_with_the_name_of_a_file_is_in_the_way_and_said_to_be(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    said = CliRunner().invoke(app, ["journal", str(tmp_path), "--verify"])
    assert said.exit_code == 1
    assert f"{name} is a directory: move it away" in said.stdout


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "journal.lock").unlink()
    (tmp_path / "journal.lock").symlink_to(FIRST)
    before = (tmp_path / FIRST).read_bytes()
    assert CliRunner().invoke(app, ["journal", str(tmp_path), "--verify"]).exit_code == 1
    with pytest.raises(DirectoryUnusable):
        write(tmp_path)
    assert (tmp_path / FIRST).read_bytes() == before


@pytest.mark.parametrize(
    ("argument", "value"),
    [("records_max", -1), ("records_max", "5"), ("from_lsn", "1"), ("from_lsn", 0)],
)
def test_what_is_no_number_to_look_by_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=argument):
        run(inspect(SimulatedDisk(), **{argument: value}))
