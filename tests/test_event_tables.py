"""The tables of events on the pages name every event, every span and every fact, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = {  # a page, and the prefixes of the names in its tables, with the folders that say them
    "store.md": {"store": "store"},
    "breaker.md": {"breaker": "breaker"},
    "journal.md": {"journal": "storage"},
    "rpc.md": {"rpc": "rpc", "server": "net rpc"},
}
ROW = re.compile(r"^\| `(\w+\.\w+)`( \(span\))? \| ([^|]*)\|([^|]*)\|$", re.MULTILINE)
Said = dict[tuple[str, bool], set[str]]


def said_in_code(folders: str, prefix: str) -> Said:
    """Every event and span whose name is written out, with the names of its facts."""
    found: Said = {}
    for path in sorted(
        path for folder in folders.split() for path in (ROOT / "sdkit" / folder).glob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="event" | "span" as kind),
                    args=[ast.Constant(value=str(name)), *_],
                ) if name.startswith(f"{prefix}."):
                    facts = {keyword.arg for keyword in node.keywords if keyword.arg}
                    found.setdefault((name, kind == "span"), set()).update(facts)
    return found


def said_on_page(page: Path, prefix: str) -> Said:
    """The rows of the page; the facts stand in the column whose head says "fields"."""
    text = page.read_text(encoding="utf-8")
    table = text[re.search(r"^\| event \|", text, re.MULTILINE).start() :]  # type: ignore[union-attr]
    heads = [head.strip() for head in table.split("\n", 1)[0].split("|")]
    column = heads.index("fields") - 2
    return {
        (name, bool(span)): set(re.findall(r"\w+", columns[column]))
        if "`" not in columns[column]
        else set(re.findall(r"`(\w+)`", columns[column]))
        for name, span, *columns in ROW.findall(table)
        if name.startswith(f"{prefix}.")
    }


@pytest.mark.parametrize(
    ("page", "prefix"), [(page, prefix) for page, rooms in TABLES.items() for prefix in rooms]
)
def test_the_table_of_a_room_is_what_its_code_says(page: str, prefix: str) -> None:
    in_code = said_in_code(TABLES[page][prefix], prefix)
    on_page = said_on_page(ROOT / "docs" / page, prefix)
    assert in_code.keys() == on_page.keys()
    if page != "rpc.md":  # there some facts are handed on; tests/rpc/test_events.py listens
        assert in_code == on_page
