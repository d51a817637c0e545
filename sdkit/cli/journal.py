"""`sdkit journal DIR`: a journal's files, records and positions; where damage is, and which kind.

Looking changes nothing and takes no lock, so it may be done beside a running
server, whose last records can then look torn. ``--cut`` is the one exception:
the explicit decision to give up a damaged end that recovery refuses to drop by
itself (`sdkit.storage.damage.UnexplainedDamage`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json as encoding
import random
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdkit.cli.console import console as make_console
from sdkit.errors import InvalidArgument
from sdkit.ownership import LOCK_NAME, DirectoryLock
from sdkit.storage.holders import HOLDERS_NAME
from sdkit.storage.inspect import Finding, JournalView, RecordView, SegmentView, inspect
from sdkit.storage.journal import Journal, Recovered
from sdkit.storage.local_disk import LocalDisk
from sdkit.storage.snapshot import SNAPSHOT_NAME, SNAPSHOT_TEMPORARY_NAME
from sdkit.storage.wal import segment_number

DAMAGE_STATUS = 1
CLAIM_NAME = f"journal.{LOCK_NAME}"
CONTENT_COLUMNS = (8, 40)  # of a record's content: never fewer, never more
GAP = 2  # columns between two of a table


def journal(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A room's directory, or a data directory.")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every byte; exit status 1 if one is damaged.")
    ] = False,
    cut: Annotated[
        bool,
        typer.Option("--cut", help="Give up a damaged end that does not look like a torn write."),
    ] = False,
    records: Annotated[int, typer.Option(min=0, help="How many records to list.")] = 20,
    from_lsn: Annotated[
        int | None,
        typer.Option(
            "--from", min=1, help="List from record number N (its LSN) on; else the last."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each journal.")] = False,
) -> None:
    """Show a journal's segments, records and positions."""
    console = make_console()
    damaged = False
    for found in journals_in(directory):
        if cut:
            report_cut(console, found, asyncio.run(cut_end(found, directory)))
            continue
        view = asyncio.run(inspect(LocalDisk(found), records_max=records, from_lsn=from_lsn))
        view.findings += in_the_way(found)
        damaged = damaged or view.damaged
        if json:
            print(encoding.dumps(as_json(found, view)))
        elif verify:
            print_verdict(console, found, view)
        else:
            print_view(console, found, view)
    if verify and damaged:
        raise typer.Exit(DAMAGE_STATUS)


def journals_in(directory: Path) -> list[Path]:
    """``directory`` if it holds a journal, else those below it that do.

    Raises:
        InvalidArgument: there is none; the message says what there is instead.
    """
    if not directory.exists():
        raise InvalidArgument(
            f"there is no directory {directory}; name the one that a server was given with --data"
        )
    if not directory.is_dir():
        raise InvalidArgument(
            f"{directory} is a file; name the directory that it is in: {directory.parent}"
        )
    candidates = [directory, *sorted(path for path in directory.glob("*") if path.is_dir())]
    holding = [path for path in candidates if holds_journal(path)]
    if not holding:
        what = "holds no journal" if any(directory.iterdir()) else "is empty"
        raise InvalidArgument(
            f"{directory} {what}: no *.wal file in it or just below it; "
            "name the directory that a server was given with --data"
        )
    return holding[:1] if holding[0] == directory else holding


def holds_journal(directory: Path) -> bool:
    return directory.is_dir() and any(
        path.name == SNAPSHOT_NAME or segment_number(path.name) is not None
        for path in directory.iterdir()
    )


def in_the_way(directory: Path) -> list[Finding]:
    """What has the name of a journal's file and is none: a start would stumble over it."""
    ours = (SNAPSHOT_NAME, SNAPSHOT_TEMPORARY_NAME, HOLDERS_NAME, CLAIM_NAME)
    found = []
    for path in sorted(directory.iterdir()):
        is_ours = path.name in ours or segment_number(path.name) is not None
        is_link = path.name == CLAIM_NAME and path.is_symlink()
        if is_ours and (path.is_dir() or is_link):
            message = f"{path.name} is {'a link' if is_link else 'a directory'}: move it away"
            found.append(Finding("unreadable", message, path.name))
    return found


async def cut_end(found: Path, directory: Path) -> Recovered:
    """Recover the journal, dropping a damaged end whose loss nothing proves."""
    with ExitStack() as locks:
        for owned in dict.fromkeys([directory, found, found.parent]):
            if (owned / LOCK_NAME).exists():  # a data directory: no server may be running on it
                lock = DirectoryLock(owned)
                locks.callback(lock.release)
        view = await inspect(LocalDisk(found), records_max=0)
        if view.room is None:
            raise InvalidArgument(f"{found} holds no readable journal")
        opened = await Journal.open(
            LocalDisk(found), room=view.room, random=random.Random(), cut_unexplained=True
        )
        await opened.close()
        return opened.recovered


def report_cut(console: Console, found: Path, recovered: Recovered) -> None:
    """Say what was given up."""
    where = escape(str(found))
    if recovered.cut is None:
        say(console, f"{where}: nothing to cut; the log ends at LSN {recovered.last_lsn}")
        return
    say(
        console,
        f"{where}: cut {recovered.bytes_cut} bytes, {recovered.records_cut} whole records, after "
        f"LSN {recovered.last_lsn}; synced is proven up to {recovered.proven_lsn}",
    )


def print_verdict(console: Console, found: Path, view: JournalView) -> None:
    """Each thing that is wrong, one line each; or that nothing is."""
    for finding in view.findings:
        say(console, f"[bold]{finding.kind}[/]: {escape(finding.message)}")
    if not view.damaged:
        records = sum(segment.records for segment in view.segments)
        end = "stopped cleanly" if view.clean else "not stopped cleanly, nothing is torn"
        say(
            console,
            f"whole: {escape(str(found))}, {plural(len(view.segments), 'segment')}, "
            f"{plural(records, 'record')}, last LSN {view.last_lsn}, {end}",
        )


def print_view(console: Console, found: Path, view: JournalView) -> None:
    """Segments and records as tables, then what is wrong."""
    snapshot = "no snapshot"
    if view.snapshot_lsn is not None:
        snapshot = f"snapshot at LSN {view.snapshot_lsn} ({view.snapshot_bytes} bytes)"
    say(
        console,
        f"{escape(str(found))}: journal {view.journal_id} of room {view.room}, {snapshot}, "
        f"last LSN {view.last_lsn}, proven synced up to {view.proven_lsn}",
    )
    console.print(segments_table(view.segments))
    if view.records:
        console.print(records_table(view.records, console.width))
    for finding in view.findings:
        say(console, f"[bold]{finding.kind}[/]: {escape(finding.message)}")


def segments_table(segments: Iterable[SegmentView]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("segment", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("bytes", "base", "born", "records", "last LSN"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for it in segments:
        numbers = (it.bytes, it.base, it.born, it.records, it.last_lsn)
        shown = ["" if number is None else str(number) for number in numbers]
        table.add_row(it.file, it.state, *shown, it.note)
    return table


def records_table(records: Sequence[RecordView], width: int) -> Table:
    """One line each; the content gets what ``width`` leaves."""
    names = ("segment", "offset", "LSN", "synced", "bytes", "kind")
    rows = [
        (it.file, str(it.offset), str(it.lsn), str(it.synced), str(it.length), it.kind)
        for it in records
    ]
    used = sum(GAP + max(map(len, column)) for column in zip(names, *rows, strict=True))
    fewest, most = CONTENT_COLUMNS
    columns = max(fewest, min(most, width - used))
    table = Table(box=None, pad_edge=False)
    for name in names:
        right = name not in ("segment", "kind")
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    table.add_column("content", no_wrap=True)
    for it, row in zip(records, rows, strict=True):
        content = "" if it.kind != "data" else shortened(repr(it.content)[1:], columns)
        table.add_row(*row, escape(content))
    return table


def shortened(text: str, columns: int) -> str:
    """Enough of it to recognise."""
    return text if len(text) <= columns else text[: columns - 1] + "…"


def as_json(found: Path, view: JournalView) -> dict[str, object]:
    """The view as plain values; contents as text with escapes."""
    plain = dataclasses.asdict(view)
    for record in plain["records"]:
        record["content"] = repr(record["content"])[2:-1]
    return {"directory": str(found), "damaged": view.damaged, **plain}


def say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
