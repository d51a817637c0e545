"""The pictures in the documentation are what the code draws today."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.pictures import pages, redrawn


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_pictures_of_a_page_are_drawn_from_a_run_of_this_code(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == redrawn(page), "run `make pictures`"
