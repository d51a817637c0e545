"""The pictures in the documentation are what the code draws today."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pictures import pages, redrawn


def drawn_slowly(page: Path) -> list[pytest.MarkDecorator]:
    """`tests/without` makes the same hundreds of runs as the tables of one page."""
    return [pytest.mark.slow] if page.name == "break-it.md" else []


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.name, marks=drawn_slowly(page)) for page in pages()]
)
def test_the_pictures_of_a_page_are_drawn_from_a_run_of_this_code(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == redrawn(page), "run `make pictures`"
