"""Every name of ours that a docstring or a page mentions is there: readers follow them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("sdkit", "examples", "benchmarks", "tests")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACES = [*PAGES, *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))]
NAME = re.compile(r"(?<!`)`(sdkit(?:\.\w+)+)(?:\([^`]*\))?`")
FILE = re.compile(r"`{1,2}((?:sdkit|tests|docs|examples|benchmarks)/[\w./-]+\.\w+)`")
LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]+)?\)")


def is_there(name: str) -> bool:
    """A module, or what can be reached in one; of a class, what its source assigns as well."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                fields = getattr(found, "__annotations__", {}), getattr(found, "__slots__", ())
                return part == parts[-1] and any(part in names for names in fields)
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_name_and_file_that_is_mentioned_exists(place: Path) -> None:
    text = place.read_text(encoding="utf-8")
    assert [name for name in sorted(set(NAME.findall(text))) if not is_there(name)] == []
    assert [name for name in sorted(set(FILE.findall(text))) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = sorted(set(LINK.findall(page.read_text(encoding="utf-8"))))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(LINK.findall(index))


@pytest.mark.parametrize("name", ["sdkit.nothing", "sdkit.store.Nothing", "sdkit.store.engine.x"])
def test_a_name_that_is_not_there_is_found_out(name: str) -> None:
    assert not is_there(name)
